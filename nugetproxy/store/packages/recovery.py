"""Recovery finds at a start what the last run had verified, but was ended before it had committed."""

from __future__ import annotations

import errno
from collections.abc import Callable

import structlog

from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.nuspec import InvalidPackage
from nugetproxy.store.fs import DiskFailure, FsOps
from nugetproxy.store.packages.commit import Verified, remove_file
from nugetproxy.store.packages.held import Descriptor, HeldPackage
from nugetproxy.store.packages.layout import Layout, parse_sealed
from nugetproxy.store.packages.verify import check_whole

log = structlog.get_logger(__name__)


def recover(
    fs: FsOps, layout: Layout, own: Callable[[int], Descriptor], name: str
) -> tuple[Verified, HeldPackage] | None:
    """The package that lies in staging as ``name``, whole; None where it is none, and removed.

    What can neither be read nor removed stays there: what is held is served all the same. ``own`` makes its
    descriptor's owner. Blocks; raises DiskFailure for a disk that is read-only.
    """
    sealed = parse_sealed(name)
    try:
        found = None if sealed is None else _verify(fs, layout, own, *sealed)
        if found is None:
            remove_file(fs, layout.staging / name)
    except DiskFailure as failure:
        if failure.errno == errno.EROFS:
            raise
        log.warning("staging.unswept", detail=str(failure))
        return None
    return found


def _verify(
    fs: FsOps, layout: Layout, own: Callable[[int], Descriptor], identity: PackageIdentity, sha512: str
) -> tuple[Verified, HeldPackage] | None:
    """None where it is held already, or not whole: a power cut has kept its bytes from the disk."""
    path = layout.sealed(identity, sha512)
    if path is None or fs.exists(layout.nupkg(identity)):
        return None
    descriptor = own(fs.open(path))
    try:
        state = fs.fstat(descriptor.fd)
        nuspec, _ = check_whole(fs, descriptor.fd, state.st_size, identity, sha512)
    except InvalidPackage:
        descriptor.release()
        return None
    except DiskFailure as failure:
        descriptor.release()
        if failure.op != "read":
            raise
        return None
    package = Verified(identity=identity, path=path, fd=descriptor.fd, nuspec=nuspec.xml, sha512=sha512, is_sealed=True)
    return package, HeldPackage(identity, descriptor, state, sha512)
