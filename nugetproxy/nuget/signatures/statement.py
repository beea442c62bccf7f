"""The statement that a package's signature signs: the digest of the package without it."""

from __future__ import annotations

import base64
import hashlib
import re
from binascii import Error
from types import MappingProxyType
from typing import Final

from nugetproxy.nuget.signatures.archive import SignedArchive
from nugetproxy.nuget.signatures.flaw import Flaw, Flawed

_HASHES: Final = MappingProxyType(
    {
        "2.16.840.1.101.3.4.2.1-Hash": "sha256",
        "2.16.840.1.101.3.4.2.2-Hash": "sha384",
        "2.16.840.1.101.3.4.2.3-Hash": "sha512",
    }
)
"""As NuGet's SignatureContent names them."""
_NAME: Final = re.compile(r"[a-zA-Z0-9.\-/]+")
_LINE: Final = re.compile(r"\r\n|\r|\n")


def check_content(archive: SignedArchive, statement: bytes) -> None:
    """Raise Flawed unless ``archive`` is what was signed; OSError if the disk fails."""
    name, stated = read_statement(statement)
    digest = hashlib.new(name)
    for piece in archive.content():
        digest.update(piece)
    if digest.digest() != stated:
        raise Flawed(Flaw.CONTENT, "the package was changed after it was signed")


def read_statement(statement: bytes) -> tuple[str, bytes]:
    """The name of a hash function, with what the package hashes to; raises Flawed."""
    try:
        lines = _LINE.split(statement.decode("utf-8"))
        version, rest = _section(lines)
        hashes, _ = _section(rest)
        if version.get("Version") != "1":
            raise Flawed(Flaw.DAMAGED, "the signature is of another version of the format")
        for key, value in hashes.items():
            if key in _HASHES:
                return _HASHES[key], base64.b64decode(value, validate=True)
    except (ValueError, Error) as error:
        raise Flawed(Flaw.DAMAGED, "what the signature signs cannot be read") from error
    raise Flawed(Flaw.DAMAGED, "the signature does not say what the package hashes to")


def _section(lines: list[str]) -> tuple[dict[str, str], list[str]]:
    """The pairs up to the next empty line, with the lines behind it; raises ValueError."""
    end = lines.index("")
    pairs: dict[str, str] = {}
    for line in lines[:end]:
        key, colon, value = line.partition(":")
        if not colon or not value or _NAME.fullmatch(key) is None or key in pairs:
            raise ValueError(line)
        pairs[key] = value
    return pairs, lines[end + 1 :]
