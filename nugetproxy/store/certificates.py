"""Certificates are read for when they end; all of it blocks.

By hand, as the library that reads the certificates of signatures takes 11 MB.
"""

from __future__ import annotations

import re
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

_PEM: Final = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_VERSION: Final = 0xA0
_FORMS: Final = {0x17: "%y%m%d%H%M%SZ", 0x18: "%Y%m%d%H%M%SZ"}
"""UTCTime, GeneralizedTime (RFC 5280 section 4.1.2.5)."""


def end_of(path: Path) -> float:
    """When the first of the certificates in a PEM file ends, in seconds since the epoch; raises OSError, ValueError."""
    blocks = _PEM.findall(path.read_text(encoding="utf-8", errors="replace"))
    if not blocks:
        raise ValueError("no certificate in PEM form")
    try:
        return min(_end(ssl.PEM_cert_to_DER_cert(block)) for block in blocks)
    except IndexError as error:
        raise ValueError("not a certificate") from error


def _end(der: bytes) -> float:
    """The notAfter of one certificate (RFC 5280 section 4.1); raises ValueError."""
    signed = _members(_content(der, 0)[0])[0][1]
    fields = [one for one in _members(signed) if one[0] != _VERSION]
    _, validity = fields[3]  # behind serial number, algorithm, issuer
    kind, text = _members(validity)[1]
    if kind not in _FORMS:
        raise ValueError("not a certificate")
    return datetime.strptime(text.decode("ascii"), _FORMS[kind]).replace(tzinfo=UTC).timestamp()


def _members(content: bytes) -> list[tuple[int, bytes]]:
    """(tag, content) of everything in a constructed value."""
    found, at = [], 0
    while at < len(content):
        inside, end = _content(content, at)
        found.append((content[at], inside))
        at = end
    return found


def _content(der: bytes, at: int) -> tuple[bytes, int]:
    """The content of the value at ``at`` with where it ends (X.690 section 8.1)."""
    if at + 2 > len(der):
        raise ValueError("not a certificate")
    size, begin = der[at + 1], at + 2
    if size & 0x80:
        count = size & 0x7F
        size, begin = int.from_bytes(der[begin : begin + count], "big"), begin + count
    if begin + size > len(der):
        raise ValueError("not a certificate")
    return der[begin : begin + size], begin + size
