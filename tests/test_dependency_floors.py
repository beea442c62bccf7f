"""Dependencies: not below a version with a known hole, declared where used, pinned by hash."""

from __future__ import annotations

import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from nugetproxy import __version__
from tests.modules import imports_of

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DIRECT = {canonicalize_name(need.name): need for need in map(Requirement, PROJECT["dependencies"])}
FOR_TESTS = {canonicalize_name(need.name): need for need in map(Requirement, PROJECT["optional-dependencies"]["test"])}
EXTRAS = ("uvloop", "cluster", "otel")
"""Extras of the product itself; whoever wants one installs what it names."""
OPTIONAL = {
    canonicalize_name(need.name): need
    for extra in EXTRAS
    for need in map(Requirement, PROJECT["optional-dependencies"][extra])
}

IMPORTED_AS = {"cyclonedx-python-lib": "cyclonedx", "pyyaml": "yaml"}
"""Where the name is another one."""

FLOORS = {
    "aiohttp": ("3.14.5", "request smuggling, DNS cache growth, credentials on redirects; fixed one by one up to here"),
    "cachetools": ("6.0", "LRUCache and TTLCache with getsizeof as we use them"),
    "defusedxml": ("0.7.1", "entity expansion"),
    "diskcache": ("5.6.3", "CVE-2025-69872 has no fix in any release; store/strict.py never unpickles"),
    "yarl": ("1.25.1", "the URL parsing that aiohttp 3.14.5 was released with"),
}
"""Lowest version that may run, with the reason."""

NOT_INSTALLED = ("brotli", "brotlicffi", "brotlipy", "backports.zstd", *OPTIONAL)
"""Codecs would be further ways for a small body to become a huge one (aiohttp does not know zstandard, which is for
bundles); extras are for whoever asks for them."""

PINS = re.compile(r"^([a-z0-9._-]+)==([^ ;]+)(?: ; (.+?))? \\$", re.MULTILINE)


def pins_of(name: str) -> dict[str, Version]:
    text = (ROOT / "config" / name).read_text(encoding="utf-8")
    return {canonicalize_name(match[1]): Version(match[2]) for match in PINS.finditer(text)}


@pytest.mark.parametrize("name", FLOORS)
def test_what_is_installed_is_not_below_its_floor(name: str) -> None:
    floor, why = FLOORS[name]
    assert Version(importlib.metadata.version(name)) >= Version(floor), why


@pytest.mark.parametrize("name", FLOORS)
def test_what_is_asked_for_is_not_below_its_floor(name: str) -> None:
    floor, _ = FLOORS[name]
    (lowest,) = [Version(bound.version) for bound in DIRECT[name].specifier if bound.operator == ">="]
    assert lowest >= Version(floor)


@pytest.mark.parametrize("name", [*DIRECT, *FOR_TESTS])
def test_every_requirement_has_a_lower_bound_that_is_met(name: str) -> None:
    need = DIRECT.get(name) or FOR_TESTS[name]
    assert [bound.operator for bound in need.specifier] == [">="]
    assert need.specifier.contains(importlib.metadata.version(name), prereleases=True)


def test_aiohttp_parses_with_its_c_extension() -> None:
    """From 3.14.4 on a pure wheel exists, which is slower and parses more leniently."""
    from aiohttp.http_parser import HttpRequestParser, HttpRequestParserPy

    assert HttpRequestParser is not HttpRequestParserPy


@pytest.mark.parametrize("name", NOT_INSTALLED)
def test_what_we_do_without_is_in_no_constraints(name: str) -> None:
    assert canonicalize_name(name) not in pins_of("constraints.txt")
    assert canonicalize_name(name) not in DIRECT


def test_the_version_is_the_same_everywhere() -> None:
    assert PROJECT["version"] == __version__


def imported_by(folder: Path) -> set[str]:
    """The top-level names of everything that is imported below ``folder``, standard library excluded."""
    found: set[str] = set()
    for path in folder.rglob("*.py"):
        found.update(module.split(".")[0] for module, _ in imports_of(path))
    return found - set(sys.stdlib_module_names) - {"nugetproxy", "tests", "__future__"}


def module_of(name: str) -> str:
    """What a requirement is imported as; all of OpenTelemetry is one name."""
    return "opentelemetry" if name.startswith("opentelemetry-") else IMPORTED_AS.get(name, name.replace("-", "_"))


@pytest.mark.slow
def test_declared_is_what_is_imported() -> None:
    modules = set(map(module_of, (*DIRECT, *OPTIONAL)))
    assert imported_by(ROOT / "nugetproxy") == modules


@pytest.mark.slow
def test_tests_import_what_is_declared_for_them() -> None:
    declared = set(map(module_of, (*DIRECT, *OPTIONAL, *FOR_TESTS)))
    assert imported_by(ROOT / "tests") <= declared | {"packaging"}  # packaging comes with pytest


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-cluster.txt", "constraints-test.txt"])
def test_constraints_are_pins_with_hashes_and_nothing_else(name: str) -> None:
    lines = (ROOT / "config" / name).read_text(encoding="utf-8").splitlines()
    pinned = [number for number, line in enumerate(lines) if line[:1].isalnum()]
    assert len(pinned) == len(pins_of(name)) > 20
    for number, line in enumerate(lines):
        assert PINS.match(f"{line}\n") or re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}(?: \\)?", line), line
        if number in pinned:
            assert "--hash=" in lines[number + 1], f"{line}: no hash"


def test_constraints_satisfy_what_the_project_asks_for() -> None:
    run, test = pins_of("constraints.txt"), pins_of("constraints-test.txt")
    for name, need in DIRECT.items():
        assert need.specifier.contains(run[name]), name
    for name, need in FOR_TESTS.items():
        assert need.specifier.contains(test[name]), name
    assert run.items() <= test.items()
    assert not set(FOR_TESTS) & set(run)
