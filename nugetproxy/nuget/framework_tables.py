"""Framework tables say which framework runs what is made for which other one, as NuGet has it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

Numbers = tuple[int, int, int, int]
NONE: Final = (0, 0, 0, 0)

CORE: Final = "netcoreapp"
STANDARD: Final = "netstandard"
CLASSIC: Final = "net"
PORTABLE: Final = "portable"
DOTNET: Final = "dotnet"
ANY_NAME: Final = "any"

LONG_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        ".netframework": CLASSIC,
        ".netcoreapp": CORE,
        ".netstandard": STANDARD,
        ".netstandardapp": "netstandardapp",
        ".netplatform": DOTNET,
        ".netportable": PORTABLE,
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
PROFILE_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {"full": "", "windowsphone": "wp", "windowsphone71": "wp71", "compactframework": "cf"}
)
"""Profiles as they are called in full -> as short names have them."""

MONO: Final = ("monoandroid", "monomac", "monotouch", "xamarinios", "xamarinmac", "xamarintvos", "xamarinwatchos")

STANDARDS: Final[Mapping[str, tuple[tuple[Numbers, Numbers], ...]]] = MappingProxyType(
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
        "uap": (((10, 0, 15064, 0), (2, 0, 0, 0)), (NONE, (1, 4, 0, 0))),
        "tizen": (
            ((6, 0, 0, 0), (2, 1, 0, 0)),
            ((4, 0, 0, 0), (2, 0, 0, 0)),
            ((3, 0, 0, 0), (1, 6, 0, 0)),
        ),
        **dict.fromkeys(MONO, ((NONE, (2, 1, 0, 0)),)),
        "wpa": (((8, 1, 0, 0), (1, 2, 0, 0)),),
        "wp": (((8, 0, 0, 0), (1, 0, 0, 0)),),
        "netcore": (
            ((5, 0, 0, 0), (1, 4, 0, 0)),
            ((4, 5, 1, 0), (1, 2, 0, 0)),
            ((4, 5, 0, 0), (1, 1, 0, 0)),
        ),
    }
)
"""From which version on a framework runs which .NET Standard (NuGet's DefaultFrameworkMappings), highest first."""

GENERATIONS: Final[Mapping[str, tuple[tuple[Numbers, Numbers], ...]]] = MappingProxyType(
    {
        CLASSIC: (
            ((4, 6, 2, 0), (5, 6, 0, 0)),
            ((4, 6, 1, 0), (5, 5, 0, 0)),
            ((4, 6, 0, 0), (5, 4, 0, 0)),
            ((4, 5, 1, 0), (5, 3, 0, 0)),
            ((4, 5, 0, 0), (5, 2, 0, 0)),
        ),
        "uap": ((NONE, (5, 5, 0, 0)),),
        **dict.fromkeys(MONO, ((NONE, (5, 6, 0, 0)),)),
        "wpa": (((8, 1, 0, 0), (5, 3, 0, 0)),),
        "wp": (((8, 0, 0, 0), (5, 1, 0, 0)),),
        "netcore": (
            ((5, 0, 0, 0), (5, 5, 0, 0)),
            ((4, 5, 1, 0), (5, 3, 0, 0)),
            ((4, 5, 0, 0), (5, 2, 0, 0)),
        ),
    }
)
"""The same of ``dotnet``, which came before .NET Standard."""

EQUIVALENT: Final = (
    "uap uap10.0, win win8, win8 netcore45, netcore45 winrt45, netcore netcore45, winrt winrt45, win81 netcore451, "
    "wp wp7, wp7 sl3-wp, wp71 sl4-wp71, wp8 sl8-wp, wp81 sl81-wp, wpa wpa81, tizen tizen3, dotnet dotnet5.0"
)
"""Two names for the same."""
ALSO: Final[Mapping[str, str]] = MappingProxyType({"uap": "win81 wpa81 netcore50", "win": "winrt45"})
"""What a framework of any version runs besides."""

PROFILES: Final[Mapping[str, str]] = MappingProxyType(
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
WITH_MONO: Final = frozenset(
    f"profile{number}"
    for number in re.findall(
        r"\d+", "5 6 7 14 19 24 37 42 44 47 49 78 92 102 111 136 147 151 158 225 255 259 328 336 344"
    )
)
"""Those that Mono's frameworks run, too."""
OF_MONO: Final = "monoandroid+monotouch+xamarinios+xamarinmac+xamarinwatchos+xamarintvos"
PROFILE_STANDARDS: Final[Mapping[str, Numbers]] = MappingProxyType(
    {
        **dict.fromkeys(("profile7", "profile111"), (1, 1, 0, 0)),
        **dict.fromkeys(("profile32", "profile44", "profile151"), (1, 2, 0, 0)),
        **dict.fromkeys((f"profile{number}" for number in (31, 49, 78, 84, 157, 259)), (1, 0, 0, 0)),
    }
)
"""Which .NET Standard a portable project runs."""

OF_PACKAGES: Final = (CORE, "netstandardapp", STANDARD, DOTNET, "dnxcore", "uap", "tizen")
"""Frameworks that are themselves packages; the first ones nearest first."""
OF_PLATFORMS: Final = (CLASSIC, "netcore", "win", "wpa")
"""Others, nearest first."""
