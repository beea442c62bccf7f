"""A sieve lets through what was put in, and little else."""

from __future__ import annotations

from nugetproxy.store.sieve import Sieve


def test_what_was_put_in_passes() -> None:
    sieve = Sieve(f"a{number}" for number in range(5_000))
    for number in range(5_000):
        sieve.add(f"b{number}")
    assert all(f"{letter}{number}" in sieve for letter in "ab" for number in range(5_000))


def test_of_the_rest_hardly_anything_does() -> None:
    sieve = Sieve(f"a{number}" for number in range(50_000))
    assert sum(f"b{number}" in sieve for number in range(10_000)) < 20


def test_nothing_passes_an_empty_one() -> None:
    assert not any(f"a{number}" in Sieve() for number in range(100))
