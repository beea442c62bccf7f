"""Staged is a package file while it is being downloaded."""

from __future__ import annotations

from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.nuspec import Nuspec
from nugetproxy.store.held import HeldPackage


class Staged:
    """SIGNATURES ONLY SO FAR; the code follows. Made by ``PackageFolder.stage``; its maker is its first holder."""

    identity: PackageIdentity
    size: int
    """Bytes that may be read; stays right after a failed write."""

    @property
    def fd(self) -> int:
        """Open for read and write; any number of readers may os.pread below ``size``, also after commit/abandon."""
        raise NotImplementedError

    def acquire(self) -> Staged:
        """For each reader."""
        raise NotImplementedError

    def release(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """The maker's release; may be called more than once."""
        raise NotImplementedError

    async def write(self, data: bytes) -> None:
        """Append; raises DiskFailure, after which only abandon() is left (reading on is fine)."""
        raise NotImplementedError

    async def verify(self, identity: PackageIdentity) -> Nuspec:
        """Raises InvalidPackage(reason, detail) of nuget.nuspec, DiskFailure."""
        raise NotImplementedError

    @property
    def sha512(self) -> str:
        """Base64 SHA-512 of what was written so far."""
        raise NotImplementedError

    async def commit(self, nuspec: Nuspec) -> HeldPackage:
        """Publish durably; raises DiskFailure, and then nothing is left on disk. Borrowed: acquire() it to keep it."""
        raise NotImplementedError

    async def abandon(self) -> None:
        """Remove the file; never raises; nothing after commit. Does not close the descriptor: close() does."""
        raise NotImplementedError
