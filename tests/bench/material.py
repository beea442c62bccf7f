"""Material is the folder of packages that a measurement is about."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.fakes.packages import make_nupkg

VERSION = "1.0.0"
SMALL = "bench.small"
MEDIUM = "bench.medium"
LARGE = "bench.large"
PACED = "bench.paced"
"""Sent slowly by the origin, a new version for every round: nobody has it when a crowd asks for it."""
CROWD = "bench.crowd"
"""The same, sent as fast as it goes."""
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


def crowd(id: str, number: int) -> Package:
    """The package of round ``number`` for a crowd of cold clients."""
    return Package(id, f"1.0.{number}")


def write(folder: Path, *, crowds: int, small: bool = True, large: bool = True) -> None:
    """Make all packages; equal on every machine, incompressible."""
    sizes: dict[Package, int] = {}
    if small:
        sizes[Package(SMALL)] = 0  # about 1 kB
    if large:
        sizes |= {Package(MEDIUM): 30 * MB, Package(LARGE): 300 * MB}
    for number in range(crowds):
        sizes |= {crowd(PACED, number): 30 * MB, crowd(CROWD, number): 30 * MB}
    for package, size in sizes.items():
        file = folder / package.path
        file.parent.mkdir(parents=True)
        file.write_bytes(make_nupkg(package.id, package.version, files=_noise(package, size)))


def _noise(package: Package, size: int) -> dict[str, bytes]:
    """Incompressible files; the random module makes at most 256 MiB at once."""
    source = Random(f"{package}")
    parts = range(0, size, 100 * MB)
    return {f"noise{at}.bin": source.randbytes(min(100 * MB, size - at)) for at in parts}
