"""Material is the folder of packages that a measurement is about."""

from __future__ import annotations

import json
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from random import Random
from zipfile import ZipFile

from tests.fakes.packages import make_nupkg

VERSION = "1.0.0"
SMALL = "bench.small"
SMALLISH = "bench.smallish"
"""20 kB."""
MIDDLING = "bench.middling"
"""1 MB."""
MEDIUM = "bench.medium"
LARGE = "bench.large"
PAGED = "bench.paged"
"""Of which there are only documents."""
PACED = "bench.paced"
"""Sent slowly by the origin, a new version for every round: nobody has it when a crowd asks for it."""
CROWD = "bench.crowd"
"""The same, sent as fast as it goes."""
COLD_LIST, COLD_SMALL, COLD_LARGE = "bench.list", "bench.cold", "bench.coldlarge"
"""What is asked for once."""
MB = 10**6


@dataclass(frozen=True, slots=True)
class Package:
    """One package of the origin."""

    id: str
    version: str = VERSION

    @property
    def path(self) -> str:
        """Below a flat container."""
        return f"{self.id}/{self.version}/{self.id}.{self.version}.nupkg"

    @property
    def nuspec(self) -> str:
        """Where its description is, below a flat container."""
        return f"{self.id}/{self.version}/{self.id}.nuspec"


def crowd(id: str, number: int) -> Package:
    """The package of round ``number`` for a crowd of cold clients."""
    return Package(id, f"1.0.{number}")


def write(folder: Path, *, crowds: int, small: bool = True, large: bool = True) -> None:
    """Make all packages; equal on every machine, incompressible."""
    sizes: dict[Package, int] = {}
    if small:
        sizes |= {Package(SMALL): 0, Package(SMALLISH): 20_000, Package(MIDDLING): MB}  # the first: about 1 kB
    if large:
        sizes |= {Package(MEDIUM): 30 * MB, Package(LARGE): 300 * MB}
    for number in range(crowds):
        sizes |= {crowd(PACED, number): 30 * MB, crowd(CROWD, number): 30 * MB}
    for package, size in sizes.items():
        _write(folder, package, size)


def write_cold(folder: Path, *, lists: int, small: int, large: int) -> None:
    """Make a static feed below ``folder``: version lists of ids of their own, packages of 20 kB and of 1 MB."""
    flat = folder / "flat"
    for number in range(lists):
        file = flat / f"{COLD_LIST}{number}" / "index.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps({"versions": [f"1.{minor}.{number}" for minor in range(60)]}))
    for id, size, count in ((COLD_SMALL, 20_000, small), (COLD_LARGE, MB, large)):
        for number in range(count):
            _write(flat, Package(id, f"1.0.{number}"), size)


def content_of(package: Package, size: int) -> bytes:
    """A package with so many bytes of content."""
    return make_nupkg(package.id, package.version, files=_noise(package, size))


def _write(folder: Path, package: Package, size: int) -> None:
    file = folder / package.path
    file.parent.mkdir(parents=True)
    content = content_of(package, size)
    file.write_bytes(content)
    if package.id == SMALL:
        with ZipFile(BytesIO(content)) as archive:
            (folder / package.nuspec).write_bytes(archive.read(f"{package.id}.nuspec"))


def _noise(package: Package, size: int) -> dict[str, bytes]:
    """Incompressible files; the random module makes at most 256 MiB at once."""
    source = Random(f"{package}")
    parts = range(0, size, 100 * MB)
    return {f"noise{at}.bin": source.randbytes(min(100 * MB, size - at)) for at in parts}
