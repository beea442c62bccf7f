"""Symbols are files that debuggers ask for by name with a key (the Simple Symbol Query Protocol)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from msgspec import Struct

MAX_CHECKSUM = 1024
CHECKSUM_HEADER = "SymbolChecksum"

_FILE = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._+~-]{0,198}[A-Za-z0-9_+~-])?")
# A hexadecimal number, or what it is of before it: elf-buildid-sym-..., mach-uuid-..., sha1-...
_KEY = re.compile(r"(?:[a-z0-9]{1,16}(?:-[a-z]{1,16}){0,3}-)?[0-9a-f]{1,96}", re.IGNORECASE)
_CHECKSUM = re.compile(r"(SHA1|SHA256|SHA384|SHA512):([0-9a-f]+)", re.IGNORECASE)
_DIGITS = {"SHA1": 40, "SHA256": 64, "SHA384": 96, "SHA512": 128}


class SymbolFile(Struct, frozen=True):
    """One file of one build."""

    file: str
    key: str

    @staticmethod
    def parse(path: str) -> SymbolFile | None:
        """``{file}/{key}/{file}`` (raw, as in a URL); None for anything else.

        Among that are the compressed forms (``name.pd_``, ``file.ptr``) that debuggers ask for after a miss: symbol
        servers of NuGet have none, and every question would go upstream.
        """
        parts = path.split("/")
        if len(parts) != 3 or parts[0].lower() != parts[2].lower():
            return None
        known = _FILE.fullmatch(parts[0]) and _KEY.fullmatch(parts[1]) and ".." not in parts[0]
        return SymbolFile(parts[0], parts[1]) if known else None

    @property
    def path(self) -> str:
        """As it is asked for: nothing in it needs encoding. The spelling is the client's, as servers may mind it."""
        return f"{self.file}/{self.key}/{self.file}"


def parse_checksums(values: Iterable[str]) -> str | None:
    """The ``SymbolChecksum`` headers of a request in canonical form; empty for none, None where one is malformed.

    ``SHA256:<hex>;SHA384:<hex>``: what the file must match, as its executable says.
    """
    text = ";".join(values)
    if not text.strip():
        return ""
    if len(text) > MAX_CHECKSUM:
        return None
    found: list[str] = []
    for part in text.split(";"):
        match = _CHECKSUM.fullmatch(part.strip())
        if match is None or len(match[2]) != _DIGITS[match[1].upper()]:
            return None
        found.append(f"{match[1].upper()}:{match[2].lower()}")
    return ";".join(dict.fromkeys(found))
