"""Layout names every path of one upstream's package folder."""

from __future__ import annotations

import base64
import binascii
import hashlib
import itertools
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.on_disk import is_dir
from nugetproxy.store.fs import FsOps

HASH_SUFFIX = ".sha512"
PART = ".part"
"""How names of unfinished files end."""
LONGEST_NAME = 255
"""Bytes that a name may have on the usual file systems."""
_PROCESS = secrets.token_hex(12)
_NUMBERS = itertools.count()
_BETWEEN = "~"
"""Neither ids nor versions contain it."""


class Places(Struct, frozen=True, kw_only=True):
    """The paths of one package, as ``Layout`` has them: made at once, as strings."""

    parent: str
    """The folder of all versions of its id."""
    directory: str
    nupkg: str
    nuspec: str
    marker: str
    warnings: str


class Layout(Struct, frozen=True):
    """Paths below ``root``; ``packages`` is what NuGet reads as a folder feed (VersionFolderPathResolver).

    Nothing unfinished may lie in ``packages``: NuGet takes a feed for the old flat layout when a first-level folder
    directly contains a ``.nupkg``.
    """

    root: Path

    @property
    def packages(self) -> Path:
        """``<id>/<version>/`` with the three files of each package."""
        return self.root / "packages"

    @property
    def staging(self) -> Path:
        """Files that are being written, or wait for their commit; a start commits these, sweeps those."""
        return self.root / "staging"

    @property
    def quarantine(self) -> Path:
        """Damaged packages, for the operator to look at."""
        return self.root / "quarantine"

    def directory(self, identity: PackageIdentity) -> Path:
        """The folder of one package."""
        return self.packages / identity.id / identity.version

    def nupkg(self, identity: PackageIdentity) -> Path:
        """The package itself."""
        return self.directory(identity) / identity.nupkg_name

    def nuspec(self, identity: PackageIdentity) -> Path:
        """Its manifest, unpacked; NuGet wants it beside the package."""
        return self.directory(identity) / identity.nuspec_name

    def marker(self, identity: PackageIdentity) -> Path:
        """The hash file; its presence says "completely written" to NuGet as to us."""
        return self.directory(identity) / f"{identity.nupkg_name}{HASH_SUFFIX}"

    def warnings(self, identity: PackageIdentity) -> Path:
        """What upstream had to say about it, a line each; only where it had."""
        return self.directory(identity) / f"{identity.nupkg_name}.warnings"

    def places(self, identity: PackageIdentity) -> Places:
        """All paths of one package."""
        parent = f"{self.root}/packages/{identity.id}"
        directory = f"{parent}/{identity.version}"
        nupkg = f"{directory}/{identity.nupkg_name}"
        return Places(
            parent=parent,
            directory=directory,
            nupkg=nupkg,
            nuspec=f"{directory}/{identity.nuspec_name}",
            marker=f"{nupkg}{HASH_SUFFIX}",
            warnings=f"{nupkg}.warnings",
        )

    def scratch(self) -> str:
        """A new name in staging, different in every process."""
        return f"{self.root}/staging/{_PROCESS}-{next(_NUMBERS)}{PART}"

    def sealed(self, identity: PackageIdentity, sha512: str) -> str | None:
        """Where a verified package (SHA-512 in base64) waits for its commit; None where that name were too long."""
        digest = sha512.rstrip("=").translate(_URL_SAFE)
        name = _BETWEEN.join((identity.id, identity.version, digest))
        return f"{self.root}/staging/{name}" if len(os.fsencode(name)) <= LONGEST_NAME else None

    def prepare(self, fs: FsOps) -> None:
        """Make what is missing of the fixed directories, parents included."""
        missing = []
        path = self.root
        while not is_dir(path):
            missing.append(path)
            path = path.parent
        for directory in (*reversed(missing), self.packages, self.staging, self.quarantine):
            if fs.mkdir(directory):
                fs.fsync_dir(directory.parent)

    def identities_of(self, fs: FsOps, id_name: str) -> Iterator[PackageIdentity]:
        """The folders of packages below one folder of ``packages``; what has other names than ours is not ours."""
        for version_name in fs.names(f"{self.root}/packages/{id_name}"):
            identity = PackageIdentity.parse(id_name, version_name)
            if identity is not None and (identity.id, identity.version) == (id_name, version_name):
                yield identity


_URL_SAFE = str.maketrans("+/", "-_")


def parse_sealed(name: str) -> tuple[PackageIdentity, str] | None:
    """What ``Layout.sealed`` says in a name: the package with its SHA-512 in base64; None for any other name."""
    id_, _, rest = name.partition(_BETWEEN)
    version, _, digest = rest.partition(_BETWEEN)
    identity = PackageIdentity.parse(id_, version)
    if identity is None or (identity.id, identity.version) != (id_, version):
        return None
    try:
        raw = base64.urlsafe_b64decode(digest + "==")
    except (binascii.Error, ValueError):
        return None
    return (identity, base64.b64encode(raw).decode()) if len(raw) == hashlib.sha512().digest_size else None
