"""Recovery commits at a start what the last run had verified, but was ended before it had committed."""

from __future__ import annotations

import structlog

from nugetproxy.errors import Reason
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.nuspec import InvalidPackage
from nugetproxy.store.fs import DiskFailure, FsOps
from nugetproxy.store.packages.commit import Verified, publish, remove_file
from nugetproxy.store.packages.layout import Layout, parse_sealed
from nugetproxy.store.packages.staging import FULL
from nugetproxy.store.packages.verify import check_whole

log = structlog.get_logger(__name__)


def recover(fs: FsOps, layout: Layout) -> tuple[int, int]:
    """Commit whatever lies complete in staging, remove the rest; how many of each. Blocks, raises DiskFailure.

    What a full disk does not let be committed stays for the next start.
    """
    recovered = swept = 0
    for name in fs.names(layout.staging):
        sealed = parse_sealed(name)
        try:
            if sealed is not None and _commit(fs, layout, *sealed):
                recovered += 1
                continue
        except DiskFailure as failure:
            if failure.errno not in FULL:
                raise
            log.warning("staging.unrecovered", package=name, reason=Reason.DISK, detail=str(failure))
            continue
        swept += remove_file(fs, layout.staging / name)
    if recovered:
        fs.fsync_dir(layout.packages)
    return recovered, swept


def _commit(fs: FsOps, layout: Layout, identity: PackageIdentity, sha512: str) -> bool:
    """False where it is held already, or not whole: a power cut has kept its bytes from the disk."""
    path = layout.sealed(identity, sha512)
    if path is None or fs.exists(layout.nupkg(identity)):
        return False
    fd = fs.open(path)
    try:
        nuspec, _ = check_whole(fs, fd, fs.fstat(fd).st_size, identity, sha512)
        publish(fs, layout, Verified(identity=identity, path=path, fd=fd, nuspec=nuspec.xml, sha512=sha512))
    except InvalidPackage:
        return False
    except DiskFailure as failure:
        if failure.op != "read":
            raise
        return False
    finally:
        fs.close(fd)
    return True
