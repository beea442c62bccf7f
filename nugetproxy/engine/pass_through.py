"""PassThrough gets a package that the disk cannot take from upstream to a client, checked on its way."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import ParamSpec, Protocol

from nugetproxy.engine.flight import HOLD, Flight
from nugetproxy.engine.pins import Pins
from nugetproxy.engine.signatures import Signatures
from nugetproxy.errors import NotFound, Reason, UpstreamFailure, upstream_failure
from nugetproxy.metrics import Metrics
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.nuspec import InvalidPackage
from nugetproxy.nuget.passing_package import PassingPackage
from nugetproxy.nuget.zip_archive import ZIP_MAGIC
from nugetproxy.off_loop import off_loop
from nugetproxy.store.packages.verify import PackageHash
from nugetproxy.upstream.client import UpstreamClient

_P = ParamSpec("_P")

ZIP_END = b"PK\x05\x06"
"""The end of central directory record; with its comment it fits into the block that is kept back."""


class Hashes(Protocol):
    """What upstream's metadata says that packages must hash to."""

    async def sha512(self, identity: PackageIdentity) -> str | None:
        """In base64; None where nothing is known of it."""


class Bypass:
    """Gets packages that the disk cannot take straight from upstream."""

    def __init__(
        self, upstream: UpstreamClient, hashes: Hashes, pins: Pins, signatures: Signatures, metrics: Metrics
    ) -> None:
        self._upstream = upstream
        self._hashes = hashes
        self._pins = pins
        self._signatures = signatures
        self._metrics = metrics

    async def read(self, flight: Flight, start: int, seal: Callable[[str], None]) -> AsyncGenerator[bytes, None]:
        """The bytes from ``start`` on of the package that ``flight`` could not land, of the first URL that has it.

        ``seal`` is told the SHA-512 (base64) of all of it before the last ones; raises where those must not go. Raises
        NotFound or UpstreamFailure, before the first byte where upstream answers with something else.
        """
        if self._signatures.required:  # which takes all of it, in any order
            raise upstream_failure(self._upstream.name, Reason.DISK, "the disk cannot take it to verify its signature")
        failed: UpstreamFailure | None = None
        for url in flight.urls:
            passage = PassThrough(flight.identity, start, flight.written if start else (0, ""))
            try:
                async with self._upstream.download(url) as download:
                    if download.status != 200:
                        continue
                    async for received in download.chunks():
                        if ready := self._sound(passage.take, received):
                            yield ready
                    yield await self._last(passage, flight.identity, seal)
            except UpstreamFailure as failure:
                if passage.has_given:
                    raise
                failed = failure
            else:
                return
        raise failed or NotFound(f"The upstream {self._upstream.name!r} has no {flight.identity.nupkg_name}.")

    async def _last(self, passage: PassThrough, identity: PackageIdentity, seal: Callable[[str], None]) -> bytes:
        known = (await self._hashes.sha512(identity), await self._pins.get(identity))
        last = await off_loop(passage.weight, self._sound, passage.finish, *known)
        seal(passage.sha512)
        return last

    def _sound(self, work: Callable[_P, bytes], *args: _P.args, **kwargs: _P.kwargs) -> bytes:
        """What ``work`` gives; raises UpstreamFailure for a package that is not sound."""
        try:
            return work(*args, **kwargs)
        except InvalidPackage as problem:
            raise refused(self._upstream.name, problem.reason, problem.detail, self._metrics) from problem


def refused(upstream: str, reason: Reason, detail: str, metrics: Metrics) -> UpstreamFailure:
    """The failure of a package whose bytes are not what they must be; counted."""
    metrics.integrity_failures.labels(reason).inc()
    metrics.upstream_failures.labels(upstream, reason).inc()
    return upstream_failure(upstream, reason, detail)


class PassThrough:
    """Takes all bytes of a package and gives those from ``start`` on, the last block only when everything checks out.

    ``before`` is what the client may have had of an earlier download: so many bytes with this SHA-512 (base64).
    """

    def __init__(self, identity: PackageIdentity, start: int, before: tuple[int, str] = (0, "")) -> None:
        self.has_given = False
        """Whether anything of it has gone."""
        self._identity = identity
        self._passing = PassingPackage()
        self._skip = start
        self._before = before
        self._taken = 0
        self._kept = b""
        self._hash = PackageHash()

    def take(self, chunk: bytes) -> bytes:
        """What may be sent now; raises InvalidPackage."""
        self._kept += chunk
        self._passing.take(chunk)
        if self._taken < len(ZIP_MAGIC) <= len(self._kept) and not self._kept.startswith(ZIP_MAGIC):
            raise InvalidPackage(Reason.INVALID_CONTENT, "the answer is not a package (no zip signature)")
        boundary = self._before[0] - self._taken
        if 0 < boundary <= len(chunk):
            self._hash.update(chunk[:boundary])
            if self._hash.text != self._before[1]:
                raise InvalidPackage(Reason.PIN, "the package changed while it was downloaded")
            chunk = chunk[boundary:]
            self._taken += boundary
        self._hash.update(chunk)
        self._taken += len(chunk)
        ready = max(0, len(self._kept) - HOLD)
        sent, self._kept = self._kept[:ready], self._kept[ready:]
        return self._from_start(sent)

    def finish(self, *expected: str | None) -> bytes:
        """The last block; raises InvalidPackage unless all is the package that was asked for, with every SHA-512 that
        is known.
        """
        if self._taken < len(ZIP_MAGIC) or ZIP_END not in self._kept:
            raise InvalidPackage(Reason.ZIP, "the answer is not a whole zip file")
        if self._taken < self._before[0]:
            raise InvalidPackage(Reason.PIN, "the package changed while it was downloaded")
        known = {sha512 for sha512 in expected if sha512 is not None}
        if known - {self.sha512}:
            raise InvalidPackage(Reason.HASH, "its SHA-512 is not the one that is known of this version")
        self._passing.check(self._identity)
        return self._from_start(self._kept)

    @property
    def weight(self) -> int:
        """Bytes that ``finish`` looks at."""
        return self._passing.weight

    @property
    def sha512(self) -> str:
        """Of what came so far, in base64."""
        return self._hash.text

    def _from_start(self, chunk: bytes) -> bytes:
        skipped = min(self._skip, len(chunk))
        self._skip -= skipped
        self.has_given = self.has_given or skipped < len(chunk)
        return chunk[skipped:]
