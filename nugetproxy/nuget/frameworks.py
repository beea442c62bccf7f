"""Frameworks are what packages are made for: their names, which may use what is made for which."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache, lru_cache
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from nugetproxy.nuget.framework_tables import (
    ALSO,
    ANY_NAME,
    CLASSIC,
    CORE,
    DOTNET,
    EQUIVALENT,
    GENERATIONS,
    LONG_NAMES,
    NONE,
    OF_MONO,
    PORTABLE,
    PROFILE_NAMES,
    PROFILE_STANDARDS,
    PROFILES,
    STANDARD,
    STANDARDS,
    WITH_MONO,
    Numbers,
)

ERA: Final = (6, 0, 0, 0)
PLATFORM_ALIAS: Final = MappingProxyType({"android": "monoandroid", "tizen": "tizen"})
"""Which older framework a platform of .NET 6 may use."""


class Framework(Struct, frozen=True):
    """One target framework; names in lower case."""

    name: str
    version: Numbers = NONE
    profile: str = ""
    platform: str = ""
    platform_version: Numbers = NONE

    @staticmethod
    def parse(text: str) -> Framework | None:
        """Read ``net8.0-windows``, ``.NETFramework4.7.2``, ``.NETCoreApp,Version=v3.1``; None for what is none."""
        return _parse(text.strip().lower()) if 0 < len(text.strip()) <= 200 else None

    @property
    def has_fallback(self) -> bool:
        """Whether the SDK lets it use packages for .NET Framework, with a warning (AssetTargetFallback)."""
        return self.name in {CORE, STANDARD} and self.version >= (2, 0, 0, 0)

    @property
    def is_portable(self) -> bool:
        """Whether it stands for several, which all run it."""
        return self.name == PORTABLE

    @property
    def is_of_platform(self) -> bool:
        """Whether it is .NET 6 or later for one platform."""
        return self.name == CORE and self.version >= ERA and bool(self.platform)

    def uses(self, other: Framework) -> bool:
        """Whether what is made for ``other`` may be used (NuGet's CompatibilityProvider)."""
        return other.name == ANY_NAME or self == other or _uses(self, other)


ANY: Final = Framework(ANY_NAME)


@lru_cache(maxsize=8192)
def _uses(target: Framework, candidate: Framework) -> bool:
    if candidate.is_portable:
        mine = members(target) if target.is_portable else (target,)
        theirs = members(candidate, optional=True)
        return 0 < len(mine) <= len(theirs) and all(any(one.uses(other) for other in theirs) for one in mine)
    return any(_runs(one, other) for other in _closure(candidate, _equals) for one in _expanded(target))


def _runs(target: Framework, candidate: Framework) -> bool:
    if target.is_of_platform and target.name != candidate.name:
        return PLATFORM_ALIAS.get(target.platform) == candidate.name
    alike = target.profile == candidate.profile or (
        target.name == CLASSIC and {target.profile, candidate.profile} <= {"", "client"}
    )
    if target.name != candidate.name or not alike or candidate.version > target.version:
        return False
    return not candidate.platform or (
        candidate.platform == target.platform and candidate.platform_version <= target.platform_version
    )


@lru_cache(maxsize=1024)
def _expanded(target: Framework) -> frozenset[Framework]:
    """What it stands for (NuGet's FrameworkExpander)."""
    standard = PROFILE_STANDARDS.get(target.profile) if target.is_portable else None
    return _closure(target, _steps) | ({Framework(STANDARD, standard)} if standard else frozenset())


def _closure(framework: Framework, steps: Callable[[Framework], Iterator[Framework]]) -> frozenset[Framework]:
    seen, waiting = {framework}, [framework]
    while waiting:
        new = set(steps(waiting.pop())) - seen
        seen |= new
        waiting += new
    return frozenset(seen)


def _steps(framework: Framework) -> Iterator[Framework]:
    for one, others in _equivalent().items():
        if one.name == framework.name and one.profile == framework.profile and one.version <= framework.version:
            yield from others
    for name, table in ((STANDARD, STANDARDS), (DOTNET, GENERATIONS)):
        rows = table.get(framework.name, ())
        if not framework.profile or framework.name == CLASSIC:
            yield from (Framework(name, runs) for lowest, runs in rows if framework.version >= lowest)
    if framework.name == "netstandardapp":
        yield Framework(STANDARD, framework.version)
    yield from _all(ALSO.get(framework.name, ""), " ")


def _equals(framework: Framework) -> Iterator[Framework]:
    yield from _equivalent().get(framework, ())


@cache
def _equivalent() -> Mapping[Framework, tuple[Framework, ...]]:
    pairs = [_all(pair, " ") for pair in EQUIVALENT.split(", ")]
    both = [*pairs, *([other, one] for one, other in pairs)]
    return {one: tuple(other for first, other in both if first == one) for one, _ in both}


@lru_cache(maxsize=1024)
def members(portable: Framework, *, optional: bool = False) -> tuple[Framework, ...]:
    """What a portable one is for; with the ``optional`` ones, which run it, too."""
    text = PROFILES.get(portable.profile, portable.profile)
    return tuple(_all(f"{text}+{OF_MONO}" if optional and portable.profile in WITH_MONO else text, "+"))


def _all(text: str, between: str) -> list[Framework]:
    return [one for part in text.split(between) if (one := _parse(part)) is not None]


_SHORT = re.compile(r"(\.?[a-z][a-z.]*?)(\d[\d.]*)?(?:-(.+))?")
_LONG = re.compile(r"(\.?[a-z][a-z.]*),\s*version=v?(\d[\d.]*)(?:,\s*profile=(.+))?")
_PLATFORM = re.compile(r"([a-z]+?)(\d[\d.]*)?")


@lru_cache(maxsize=2048)
def _parse(text: str) -> Framework | None:
    long = _LONG.fullmatch(text)
    match = long or _SHORT.fullmatch(text)
    if match is None:
        return None
    name = LONG_NAMES.get(match[1], match[1])
    version = _numbers(match[2] or "", dotted=long is not None or match[1].startswith("."))
    rest = match[3] or ""
    if version is None:
        return None
    if name == CLASSIC and version >= (5, 0, 0, 0):
        name = CORE
    if name == CORE and version >= (5, 0, 0, 0) and rest:
        platform = _PLATFORM.fullmatch(rest)
        numbers = _numbers(platform[2] or "", dotted=True) if platform else None
        return Framework(name, version, "", platform[1], numbers) if platform and numbers else None
    return Framework(name, version, _numbered(rest) if name == PORTABLE else PROFILE_NAMES.get(rest, rest))


def _numbered(profile: str) -> str:
    """A portable profile by its number, where its frameworks are those of one, with Mono's or without."""
    if profile in PROFILES:
        return profile
    found = frozenset(_first_name(one) for one in _all(profile, "+"))
    needed = frozenset(one for one in found if one.name not in OF_MONO.split("+"))
    return next(
        (one for one, names in _profiles().items() if names == (needed if one in WITH_MONO else found)), profile
    )


@cache
def _profiles() -> Mapping[str, frozenset[Framework]]:
    return {one: frozenset(map(_first_name, _all(names, "+"))) for one, names in PROFILES.items()}


def _first_name(framework: Framework) -> Framework:
    """The same for all that are equivalent."""
    return min(_closure(framework, _equals), key=lambda one: (one.name, one.version, one.profile))


def _numbers(text: str, *, dotted: bool) -> Numbers | None:
    """``4.7.2`` or, in short names, ``472``."""
    parts = text.split(".") if "." in text or dotted else list(text)
    if len(parts) > 4 or not all(part.isdigit() and len(part) < 7 for part in parts if text):
        return None
    numbers = [int(part) for part in parts if part]
    first, second, third, fourth = (*numbers, 0, 0, 0, 0)[:4]
    return first, second, third, fourth
