"""Verifying is what it costs to look at the bytes of packages, here and now, without a server around it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from io import BytesIO

from nugetproxy.nuget.package import check_entries


def sha512_seconds(packages: Sequence[bytes]) -> float:
    """CPU seconds that the SHA-512 of each takes: what goes before an answer's end."""
    return _spent(packages, lambda content: hashlib.sha512(content).digest())


def checksum_seconds(packages: Sequence[bytes]) -> float:
    """CPU seconds of unpacking each to compare the checksums of the files in it.

    This is ``cache.check_contents``, which caches that do not look into packages never pay for.
    """
    return _spent(packages, lambda content: check_entries(BytesIO(content)))


def _spent(packages: Sequence[bytes], look: Callable[[bytes], object]) -> float:
    began = time.process_time()
    for content in packages:
        look(content)
    return time.process_time() - began
