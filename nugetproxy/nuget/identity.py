"""Which package is meant: its id, with the version its identity."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple

from msgspec import Struct

from nugetproxy.nuget.version import Version

__all__ = ["MAX_ID", "PackageId", "PackageIdentity", "Version", "invariant_lower", "is_word_character"]

MAX_ID = 100
"""Longest package id, in characters (NuGet's PackageIdValidator)."""

_MAX_FILE_NAME = 255
"""Bytes that file systems allow in one name; the longest that a package needs ends in ``.nupkg.sha512``."""

_ASCII_ID = re.compile(r"[0-9A-Za-z_]+(?:[.-][0-9A-Za-z_]+)*")
_WORD_CATEGORIES = frozenset({"Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Nd", "Pc"})
"""What ``\\w`` means to .NET; characters beyond U+FFFF are surrogate pairs there, thus no word characters."""

_DEVICES = frozenset(
    {"con", "prn", "aux", "nul", *(f"com{n}" for n in range(1, 10)), *(f"lpt{n}" for n in range(1, 10))}
)
"""Names that Windows reserves: no folder feed can hold a package that is called so."""


class PackageId(Struct, frozen=True):
    """A package id that keeps to NuGet's grammar ``^\\w+([.-]\\w+)*$``."""

    text: str
    """As given."""
    lower: str
    """As in paths, file names and keys; two ids are the same if this is equal."""

    @staticmethod
    def parse(text: str) -> PackageId | None:
        """Read an id (already percent-decoded), None if no package can be called so."""
        return _parse_id(text) if 0 < len(text) <= MAX_ID else None


class PackageIdentity(NamedTuple):  # looked up 40 times for a cold package: a dataclass takes four times as long
    """One version of one package, in the spelling of the flat container."""

    id: str
    """Lower case."""
    version: str
    """Normalised, lower case, without metadata."""

    @staticmethod
    def parse(id_text: str, version_text: str) -> PackageIdentity | None:
        """Read any spelling of id and version; None if no package can have them or no file can be named so."""
        package, version = PackageId.parse(id_text), Version.parse(version_text)
        if package is None or version is None:
            return None
        identity = PackageIdentity(package.lower, version.url)
        name = f"{identity.nupkg_name}.sha512"
        # A character has at most 3 bytes in UTF-8 here, so most names need no encoding to be judged.
        if 3 * len(name) > _MAX_FILE_NAME and len(name.encode()) > _MAX_FILE_NAME:
            return None
        return identity

    @property
    def nupkg_name(self) -> str:
        """The package's file name in the flat container, ``{id}.{version}.nupkg``."""
        return f"{self.id}.{self.version}.nupkg"

    @property
    def nuspec_name(self) -> str:
        """The nuspec's file name in the flat container, ``{id}.nuspec``."""
        return f"{self.id}.nuspec"

    def __str__(self) -> str:
        return f"{self.id} {self.version}"


def invariant_lower(text: str) -> str:
    """.NET's ToLowerInvariant: character by character, whatever the locale.

    ``str.lower`` alone would look at the context (final sigma) and make two characters of U+0130.
    """
    if text.isascii():
        return text.lower()
    return "".join(low if len(low := char.lower()) == 1 else char for char in text)


@lru_cache(maxsize=2048)
def _parse_id(text: str) -> PackageId | None:
    if not (_ASCII_ID.fullmatch(text) if text.isascii() else _is_word_grammar(text)):
        return None
    lower = invariant_lower(text)
    return None if lower in _DEVICES else PackageId(text, lower)


def _is_word_grammar(text: str) -> bool:
    segments = text.replace("-", ".").split(".")
    return all(segment and all(map(is_word_character, segment)) for segment in segments)


def is_word_character(char: str) -> bool:
    """True for what .NET's ``\\w`` matches, which is not what Python's does: combining marks are word characters."""
    return char <= "\uffff" and unicodedata.category(char) in _WORD_CATEGORIES
