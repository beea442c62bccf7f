"""Roots of signatures, read out of the files that an operator has named."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from nugetproxy.nuget.signatures.roots import Roots

if TYPE_CHECKING:
    from nugetproxy.nuget.signatures.certificates import Certificate


def read_roots(paths: tuple[str, ...]) -> Roots:
    """The certificates of all these PEM files; what was read before is known. Raises OSError, ValueError. Blocks."""
    found: list[Certificate] = []
    for text in paths:
        path = Path(text).expanduser()
        state = path.stat()
        found += _read(path, state.st_mtime_ns, state.st_size)
    return Roots(found)


@lru_cache(maxsize=64)
def _read(path: Path, _changed: int, _size: int) -> tuple[Certificate, ...]:
    from nugetproxy.nuget.signatures.certificates import load_pem

    return load_pem(path.read_bytes())
