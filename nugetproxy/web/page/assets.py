"""Assets are the files of the page, read once, packed once."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from functools import cache
from hashlib import blake2b
from pathlib import Path
from types import MappingProxyType
from typing import Final

from msgspec import Struct

STATIC: Final = Path(__file__).parent / "static"
TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "page.html": "text/html; charset=utf-8",
        "page.css": "text/css; charset=utf-8",
        "page.js": "text/javascript; charset=utf-8",
    }
)
POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""Content-Security-Policy: nothing but our own files, and nobody's frame."""


class Asset(Struct, frozen=True):
    """One file, as it is sent."""

    type: str
    body: bytes
    packed: bytes
    """The same by gzip."""
    etag: str
    """Of both, so a weak one (RFC 9110 section 8.8.1)."""


@cache
def read_assets() -> Mapping[str, Asset]:
    """All of them by name. Blocks."""
    return MappingProxyType({name: _read(name, type_) for name, type_ in TYPES.items()})


def _read(name: str, type_: str) -> Asset:
    body = (STATIC / name).read_bytes()
    digest = blake2b(body, digest_size=12).hexdigest()
    return Asset(type_, body, gzip.compress(body, mtime=0), f'W/"{digest}"')
