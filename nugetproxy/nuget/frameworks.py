"""Frameworks are what packages are made for: their names, which may use what is made for which."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from msgspec import Struct

_Numbers = tuple[int, int, int, int]
_NONE: Final = (0, 0, 0, 0)

CORE: Final = "netcoreapp"
STANDARD: Final = "netstandard"
CLASSIC: Final = "net"
ANY_NAME: Final = "any"

_LONG_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        ".netframework": CLASSIC,
        ".netcoreapp": CORE,
        ".netstandard": STANDARD,
        ".netstandardapp": "netstandardapp",
        ".netplatform": "dotnet",
        ".netportable": "portable",
        ".netcore": "netcore",
        ".netmicroframework": "netmf",
        "xamarin.ios": "xamarinios",
        "xamarin.mac": "xamarinmac",
        "xamarin.tvos": "xamarintvos",
        "xamarin.watchos": "xamarinwatchos",
        "xamarinios": "xamarinios",
        "windowsphone": "wp",
        "windowsphoneapp": "wpa",
        "windows": "win",
        "silverlight": "sl",
        "native": "native",
        "agnostic": ANY_NAME,
        "any": ANY_NAME,
    }
)
"""Identifiers in nuspecs and lock files -> the short names that projects use."""

_STANDARDS: Final[Mapping[str, tuple[tuple[_Numbers, _Numbers], ...]]] = MappingProxyType(
    {
        CORE: (
            ((3, 0, 0, 0), (2, 1, 0, 0)),
            ((2, 0, 0, 0), (2, 0, 0, 0)),
            ((1, 1, 0, 0), (1, 7, 0, 0)),
            ((1, 0, 0, 0), (1, 6, 0, 0)),
        ),
        CLASSIC: (
            ((4, 6, 1, 0), (2, 0, 0, 0)),
            ((4, 6, 0, 0), (1, 3, 0, 0)),
            ((4, 5, 1, 0), (1, 2, 0, 0)),
            ((4, 5, 0, 0), (1, 1, 0, 0)),
        ),
        "uap": (((10, 0, 15064, 0), (2, 0, 0, 0)), ((0, 0, 0, 0), (1, 4, 0, 0))),
        "tizen": (
            ((6, 0, 0, 0), (2, 1, 0, 0)),
            ((4, 0, 0, 0), (2, 0, 0, 0)),
            ((3, 0, 0, 0), (1, 6, 0, 0)),
        ),
        **dict.fromkeys(
            ("monoandroid", "monomac", "monotouch", "xamarinios", "xamarinmac", "xamarintvos", "xamarinwatchos"),
            (((0, 0, 0, 0), (2, 1, 0, 0)),),
        ),
        "wpa": (((8, 1, 0, 0), (1, 2, 0, 0)),),
        "win": (((8, 1, 0, 0), (1, 2, 0, 0)), ((8, 0, 0, 0), (1, 1, 0, 0))),
        "wp": (((8, 0, 0, 0), (1, 0, 0, 0)),),
        "netcore": (
            ((5, 0, 0, 0), (1, 4, 0, 0)),
            ((4, 5, 1, 0), (1, 2, 0, 0)),
            ((4, 5, 0, 0), (1, 1, 0, 0)),
        ),
    }
)
"""From which version on a framework runs which .NET Standard (NuGet's DefaultFrameworkMappings), highest first."""

_PORTABLE: Final = "portable"
_PROFILES: Final[Mapping[str, str]] = MappingProxyType(
    {
        f"profile{number}": members
        for number, members in re.findall(
            r"(\d+) ([^\s,]+)",
            """
    2 net40+win8+sl4+wp7, 3 net40+sl4, 4 net45+sl4+win8+wp7, 5 net40+win8, 6 net403+win8, 7 net45+win8,
    14 net40+sl5, 18 net403+sl4, 19 net403+sl5, 23 net45+sl4, 24 net45+sl5, 31 win81+wp81, 32 win81+wpa81,
    36 net40+sl4+win8+wp8, 37 net40+sl5+win8, 41 net403+sl4+win8, 42 net403+sl5+win8, 44 net451+win81,
    46 net45+sl4+win8, 47 net45+sl5+win8, 49 net45+wp8, 78 net45+win8+wp8, 84 wp81+wpa81,
    88 net40+sl4+win8+wp75, 92 net40+win8+wpa81, 95 net403+sl4+win8+wp7, 96 net403+sl4+win8+wp75,
    102 net403+win8+wpa81, 104 net45+sl4+win8+wp75, 111 net45+win8+wpa81, 136 net40+sl5+win8+wp8,
    143 net403+sl4+win8+wp8, 147 net403+sl5+win8+wp8, 151 net451+win81+wpa81, 154 net45+sl4+win8+wp8,
    157 win81+wp81+wpa81, 158 net45+sl5+win8+wp8, 225 net40+sl5+win8+wpa81, 240 net403+sl5+win8+wpa81,
    255 net45+sl5+win8+wpa81, 259 net45+win8+wpa81+wp8, 328 net40+sl5+win8+wpa81+wp8,
    336 net403+sl5+win8+wpa81+wp8, 344 net45+sl5+win8+wpa81+wp8
""",
        )
    }
)
"""What the numbered portable profiles are for (NuGet's DefaultPortableFrameworkMappings)."""
_DOTNET: Final[tuple[tuple[_Numbers, _Numbers], ...]] = (
    ((5, 2, 0, 0), (4, 5, 0, 0)),
    ((5, 3, 0, 0), (4, 5, 1, 0)),
    ((5, 4, 0, 0), (4, 6, 0, 0)),
    ((5, 5, 0, 0), (4, 6, 1, 0)),
    ((5, 6, 0, 0), (4, 6, 2, 0)),
)
"""Up to which version of ``dotnet``, which came before .NET Standard, which .NET Framework runs it."""
_LIKE: Final = (CORE, "netstandardapp", STANDARD, "dotnet")
"""Frameworks that are themselves packages, nearest first."""
_ERA: Final = (6, 0, 0, 0)
_PLATFORM_ALIAS: Final = MappingProxyType({"android": "monoandroid", "tizen": "tizen"})
"""Which older framework a platform of .NET 6 may use."""


class Framework(Struct, frozen=True):
    """One target framework; names in lower case."""

    name: str
    version: _Numbers = (0, 0, 0, 0)
    profile: str = ""
    platform: str = ""
    platform_version: _Numbers = (0, 0, 0, 0)

    @staticmethod
    def parse(text: str) -> Framework | None:
        """Read ``net8.0-windows``, ``.NETFramework4.7.2``, ``.NETCoreApp,Version=v3.1``; None for what is none."""
        return _parse(text.strip().lower()) if 0 < len(text.strip()) <= 200 else None

    @property
    def has_fallback(self) -> bool:
        """Whether the SDK lets it use packages for .NET Framework, with a warning (AssetTargetFallback)."""
        return self.name in {CORE, STANDARD} and self.version >= (2, 0, 0, 0)

    def uses(self, other: Framework) -> bool:
        """Whether what is made for ``other`` may be used."""
        if other.name == ANY_NAME or self == other:
            return True
        era = self.name == CORE and self.version >= _ERA and self.platform
        if era and _PLATFORM_ALIAS.get(self.platform) == other.name:
            return True
        if other.name == STANDARD and self.name != STANDARD:
            return not other.profile and other.version <= self._standard()
        if self.name == CLASSIC and other.name in {_PORTABLE, "dotnet"}:
            lowest = _lowest_classic(other)
            return lowest is not None and lowest <= self.version
        alike = self.profile == other.profile or (
            self.name == CLASSIC and {self.profile, other.profile} <= {"", "client"}
        )
        if self.name != other.name or not alike or other.version > self.version:
            return False
        return not other.platform or (
            other.platform == self.platform and other.platform_version <= self.platform_version
        )

    def _standard(self) -> _Numbers:
        """The highest .NET Standard that it runs."""
        if self.name == _PORTABLE:
            return min((member._standard() for member in _members(self)), default=_NONE)
        rows = _STANDARDS.get(self.name, ())
        return next((standard for lowest, standard in rows if self.version >= lowest), (0, 0, 0, 0))


ANY: Final = Framework(ANY_NAME)
_FALLBACKS: Final = tuple(
    Framework(CLASSIC, version)
    for version in (
        (4, 6, 1, 0),
        (4, 6, 2, 0),
        (4, 7, 0, 0),
        (4, 7, 1, 0),
        (4, 7, 2, 0),
        (4, 8, 0, 0),
        (4, 8, 1, 0),
    )
)


def nearest(target: Framework, offered: Iterable[Framework]) -> Framework | None:
    """Which of ``offered`` a project for ``target`` uses (NuGet's FrameworkReducer); None where none fits."""
    offers = tuple(offered)
    found = _nearest(target, offers)
    if target.has_fallback and (found is None or found == ANY):
        for fallback in _FALLBACKS:
            second = _nearest(fallback, offers)
            if second is not None and second != ANY:
                return second
    return found


def _nearest(target: Framework, offered: tuple[Framework, ...]) -> Framework | None:
    if target in offered:
        return target
    fit = [one for one in offered if target.uses(one)]
    reduced = [one for one in fit if not any(other.uses(one) and not one.uses(other) for other in fit)]
    alias = _PLATFORM_ALIAS.get(target.platform)
    if not any(one.name == CORE and one.version >= _ERA for one in reduced):  # what was before them is not nearer
        reduced = [one for one in reduced if one.name == alias] or reduced
    same = [one for one in reduced if one.name == target.name]
    return max(same or reduced, key=_rank, default=None)


def _lowest_classic(framework: Framework) -> _Numbers | None:
    """From which .NET Framework on it may be used; None for never."""
    if framework.name == "dotnet":
        return next((classic for highest, classic in _DOTNET if framework.version <= highest), None)
    return min((member.version for member in _members(framework) if member.name == CLASSIC), default=None)


def _members(framework: Framework) -> list[Framework]:
    """What a portable one is for."""
    profile = _PROFILES.get(framework.profile, framework.profile)
    return [member for text in profile.split("+") if (member := _parse(text)) is not None]


def _rank(framework: Framework) -> tuple[int, bool, _Numbers, bool, _Numbers]:
    if framework.name == _PORTABLE:  # only where nothing else fits; the fewer others it is for, the better
        few = (-len(_members(framework)), 0, 0, 0)
        return -len(_LIKE), False, _lowest_classic(framework) or _NONE, False, few
    near = -_LIKE.index(framework.name) if framework.name in _LIKE else 1
    return (
        near,
        not framework.profile,
        framework.version,
        bool(framework.platform),
        framework.platform_version,
    )


_SHORT = re.compile(r"(\.?[a-z][a-z.]*?)(\d[\d.]*)?(?:-(.+))?")
_LONG = re.compile(r"(\.?[a-z][a-z.]*),\s*version=v?(\d[\d.]*)(?:,\s*profile=(.+))?")
_PLATFORM = re.compile(r"([a-z]+?)(\d[\d.]*)?")


@lru_cache(maxsize=2048)
def _parse(text: str) -> Framework | None:
    long = _LONG.fullmatch(text)
    match = long or _SHORT.fullmatch(text)
    if match is None:
        return None
    name = _LONG_NAMES.get(match[1], match[1])
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
    profile = "" if rest in {"full", ""} else rest
    return Framework(name, version, profile)


def _numbers(text: str, *, dotted: bool) -> _Numbers | None:
    """``4.7.2`` or, in short names, ``472``."""
    parts = text.split(".") if "." in text or dotted else list(text)
    if len(parts) > 4 or not all(part.isdigit() and len(part) < 7 for part in parts if text):
        return None
    numbers = [int(part) for part in parts if part]
    first, second, third, fourth = (*numbers, 0, 0, 0, 0)[:4]
    return first, second, third, fourth
