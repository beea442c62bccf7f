"""The packages of the demo are made up: two applications, each with what it stands on."""

from __future__ import annotations

import hashlib
import io
import random
import string
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct, field

PARTS: Final = ("Core", "Data", "Net", "Text", "Web")
LEAVES: Final = 12
"""Packages that each part stands on, named by letters."""
LARGEST: Final = 400 * 1024
"""Bytes; sizes are spread evenly below."""
OLD: Final = ("0.8.0", "0.9.0")
"""Versions that nobody uses, so that version lists are lists."""


class MadePackages(Struct, frozen=True):
    """A folder of packages with the SHA-256 of each, by file name (lower case)."""

    folder: Path
    digests: dict[str, str] = field(default_factory=dict)

    def fill(self, application: str) -> None:
        """Write the packages of an application."""
        for id, dependencies, size in _application(application):
            for version in OLD:
                self._put(id, version, (), 0)
            self._put(id, "1.0.0", dependencies, size)

    def _put(self, id: str, version: str, dependencies: Sequence[str], size: int) -> None:
        content = nupkg(id, version, dependencies, size)
        name = f"{id}.{version}.nupkg".lower()
        (self.folder / name).write_bytes(content)
        self.digests[name] = hashlib.sha256(content).hexdigest()


def nupkg(id: str, version: str, dependencies: Sequence[str] = (), size: int = 0) -> bytes:
    """A package that depends on version 1.0.0 of others, with ``size`` bytes that do not compress."""
    needs = "".join(f'<dependency id="{other}" version="1.0.0" />' for other in dependencies)
    nuspec = (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        '<package xmlns="http://schemas.microsoft.com/packaging/2013/05/nuspec.xsd"><metadata>'
        f"<id>{id}</id><version>{version}</version><authors>nugetproxy demo</authors>"
        f"<description>{id}, made up for the demo</description>"
        f'<dependencies><group targetFramework="netstandard2.0">{needs}</group></dependencies>'
        "</metadata></package>\n"
    )
    # Seeded, so that every demo has the same packages; nothing here is a secret.
    noise = random.Random(f"{id} {version}").randbytes(size)  # noqa: S311
    return _zip({f"{id}.nuspec": nuspec.encode(), "lib/netstandard2.0/_._": b"", "content/noise.bin": noise})


def _zip(entries: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, content in entries.items():
            archive.writestr(zipfile.ZipInfo(path), content)
    return buffer.getvalue()


def _application(name: str) -> Iterator[tuple[str, Sequence[str], int]]:
    """(id, dependencies, bytes) of the application itself, its parts, and what they stand on."""
    yield name, [f"{name}.{part}" for part in PARTS], 1000
    for number, part in enumerate(PARTS):
        leaves = [f"{name}.{part}.{leaf}" for leaf in string.ascii_uppercase[:LEAVES]]
        # Every part shares one package with the next one, as real ones do.
        yield f"{name}.{part}", [*leaves, f"{name}.{PARTS[(number + 1) % len(PARTS)]}.A"], 20_000
        for leaf, id in enumerate(leaves):
            yield id, (), LARGEST * (1 + number * LEAVES + leaf) // (len(PARTS) * LEAVES)
