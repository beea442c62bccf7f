"""Probe finds out what a store really does when several write at once: what it says of itself proves nothing."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from typing import Final

from msgspec import Struct

from nugetproxy.cluster import keys
from nugetproxy.cluster.engines import EngineUnavailable, ObjectStore

RACERS: Final = 8
ROUNDS: Final = 3


class Honesty(Struct, frozen=True):
    """What a store can be trusted with."""

    creates: bool
    """Of several that create an object, one succeeds."""
    replaces: bool
    """Of several that replace a version, one succeeds."""

    has_two_winners: bool = False
    """That was seen, so there is no doubt about it."""

    @property
    def problem(self) -> str:
        """What an operator must know; empty where all is well."""
        if not self.creates:
            return (
                "it ignores If-None-Match, or lets several writers win: it cannot keep leases, nor whose a package id "
                "is; packages and documents are shared, these are not"
            )
        if not self.replaces:
            return "it ignores If-Match, or misreads it: leases need a coordination engine, such as Redis"
        return ""


async def probe(store: ObjectStore) -> Honesty:
    """Let eight race, several times where they find something wrong: a slow answer may look like a lost race.

    Raises EngineUnavailable.
    """
    seen = Honesty(creates=False, replaces=False)
    for _ in range(ROUNDS):
        one = await _round(store)
        seen = Honesty(creates=seen.creates or one.creates, replaces=seen.replaces or one.replaces)
        if one.has_two_winners or not seen.problem:
            return one
    return seen


async def _round(store: ObjectStore) -> Honesty:
    """Let eight race to create an object, then to replace it."""
    key = f"{keys.PROBES}{secrets.token_hex(16)}"
    try:
        created = await _race([store.create(key, b"%d" % number) for number in range(RACERS)])
        found = await store.read(key)
        if found is None:
            return Honesty(creates=False, replaces=False)
        late = await store.create(key, b"late")
        replaced = await _race([store.replace(key, b"next %d" % number, found.tag) for number in range(RACERS)])
        outdated = await store.replace(key, b"outdated", found.tag)
        wrong = created > 1 or late or replaced > 1 or outdated
        return Honesty(created == 1 and not late, replaced == 1 and not outdated, wrong)
    finally:
        with suppress(EngineUnavailable):  # or it would take the place of a cancellation
            await store.remove(key)


async def _race(racers: Sequence[Awaitable[bool]]) -> int:
    """How many have won; raises EngineUnavailable where one does not know, as it may have."""
    results = await asyncio.gather(*racers, return_exceptions=True)
    for one in results:
        if isinstance(one, BaseException):
            raise one
    return sum(one is True for one in results)
