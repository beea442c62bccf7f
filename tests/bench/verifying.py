"""Verifying is what it costs to look at the bytes of packages, here and now, without a server around it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

from nugetproxy.nuget.package import check_contents, open_archive


def sha512_seconds(packages: Sequence[bytes]) -> float:
    """CPU seconds that the SHA-512 of each takes: what goes before an answer's end."""
    return _spent(packages, lambda content: hashlib.sha512(content).digest())


def checksum_seconds(packages: Sequence[bytes]) -> float:
    """CPU seconds of unpacking each to compare the checksums of the files in it.

    This is ``cache.check_contents``, which caches that do not look into packages never pay for.
    """
    return _spent(packages, lambda content: check_contents(open_archive(BytesIO(content))))


def create_seconds(folder: Path, files: int) -> float:
    """CPU seconds of making so many files below ``folder``, as a miss does.

    Where many were deleted within the last five minutes ext4 looks at each of those first: 400 us instead of 10.
    """
    with TemporaryDirectory(dir=folder) as made:
        began = time.process_time()
        for number in range(files):
            Path(made, str(number)).touch()
        return time.process_time() - began


def _spent(packages: Sequence[bytes], look: Callable[[bytes], object]) -> float:
    began = time.process_time()
    for content in packages:
        look(content)
    return time.process_time() - began
