"""Fill gets the bytes of one package into its staged file, attempt after attempt."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Protocol

import structlog

from nugetproxy.caching.entry import NO_VALIDATORS
from nugetproxy.clock import Clock
from nugetproxy.engine.flight import HOLD, Flight
from nugetproxy.errors import NotFound, ProxyError, Reason, UpstreamFailure, UpstreamUnavailable, upstream_failure
from nugetproxy.metrics import Metrics
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.zip_archive import ZIP_MAGIC
from nugetproxy.store.packages.staging import Staged
from nugetproxy.upstream.answers import Download
from nugetproxy.upstream.client import UpstreamClient
from nugetproxy.upstream.patience import Patience

log = structlog.get_logger(__name__)

RESUMES_WITHOUT_PROGRESS = 3
RESUME_PAUSE = 0.2
RESUME_SECONDS = 5.0
"""What resumes have at least, after the silence that made them necessary."""
ABSENT = frozenset({404, 410})
_BLANK, _PAGES = b"\xef\xbb\xbf \t\r\n", (b"<", b"{", b"[")
"""How pages of HTML, XML or JSON begin."""


class Stage(Protocol):
    """Makes an empty file for a package; up to ``in_memory`` bytes need none."""

    def __call__(self, identity: PackageIdentity, /, *, in_memory: int = 0) -> Awaitable[Staged]: ...


class Abandoned(ProxyError):
    """A download that nobody waited for was given up."""

    def __init__(self, what: str, size: int, total: int) -> None:
        super().__init__(what, size, total)
        self.what = what
        self.size = size
        self.total = total

    def __str__(self) -> str:
        return f"The download of {self.what} was given up at {self.size} of {self.total} bytes: nobody waited for it."


class Fill:
    """One package on its way from upstream to disk; a break in the middle is resumed where it happened."""

    def __init__(
        self, upstream: UpstreamClient, flight: Flight, stage: Stage, *, clock: Clock, metrics: Metrics
    ) -> None:
        """``stage`` makes the file when the body begins: hundreds of packages may wait for a connection."""
        self._upstream = upstream
        self._flight = flight
        self._stage = stage
        self.staged: Staged | None = None
        """The file, once there is one; its closing is the caller's, whatever becomes of it."""
        self._clock = clock
        self._metrics = metrics
        self._url = ""
        """Where the package comes from, once its headers are here."""
        self._validators = NO_VALIDATORS
        # With the read time-out as it comes 45 s, all resumes included: clients give up after 60.
        self._longest_silence = upstream.read_timeout + max(upstream.read_timeout / 2, RESUME_SECONDS)
        self._last_byte = asyncio.get_running_loop().time()
        self._limit: asyncio.Timeout | None = None

    @property
    def url(self) -> str:
        """Where the package came from; empty if it did not."""
        return self._url

    async def run(self, urls: tuple[str, ...]) -> Staged:
        """The file with the whole body.

        ``urls`` are asked in order until one does not say 404. Raises NotFound when all do, UpstreamFailure when
        none gives the package, DiskFailure when the disk cannot take it, Abandoned when nobody wants it any more.
        """
        left = RESUMES_WITHOUT_PROGRESS
        while True:
            before = self._size
            try:
                return await (self._resume() if self._url else self._first(urls))
            except UpstreamUnavailable as failure:
                # A trickle gets further every time, and would for ever.
                progress = self._size > before and failure.reason is not Reason.SLOW
                left = RESUMES_WITHOUT_PROGRESS if progress else left - 1
                if self._size == 0 or left == 0 or self._silence_left() <= 0:
                    raise
                self._metrics.upstream_resumes.labels(self._upstream.name).inc()
                package = self._flight.identity.nupkg_name
                log.info("download.resumed", package=package, at=self._size, reason=failure.reason)
                await self._clock.sleep(RESUME_PAUSE)

    @property
    def _size(self) -> int:
        return self.staged.size if self.staged is not None else 0

    async def _first(self, urls: tuple[str, ...]) -> Staged:
        """Take the body of the first URL that has the package."""
        failed: UpstreamFailure | None = None
        patience = Patience()
        for url in urls:
            try:
                async with self._upstream.download(url, patience=patience) as download:
                    if download.status in ABSENT:
                        continue
                    self._url, self._validators = url, download.validators
                    return await self._copy(download, 0)
            except UpstreamFailure as failure:
                if self._size > 0:
                    raise
                if self._url:
                    self._upstream.blame(url, failure)
                self._url = ""
                failed = failure
        raise failed or NotFound(f"The upstream {self._upstream.name!r} has no {self._flight.identity.nupkg_name}.")

    def _silence_left(self) -> float:
        """Seconds until clients will have waited for too long for the next byte."""
        return self._last_byte + self._longest_silence - asyncio.get_running_loop().time()

    async def _resume(self) -> Staged:
        """Once more, as long as clients can be expected to wait: what stalls again ends sooner than it did first."""
        try:
            async with asyncio.timeout(self._silence_left()) as self._limit:
                return await self._again()
        except TimeoutError as error:
            detail = f"nothing more of the body arrived in {self._longest_silence:g} s"
            raise self._upstream.refused(Reason.STALL, detail) from error

    async def _again(self) -> Staged:
        """Ask for the rest; where upstream sends everything again, what we have must be the start of it."""
        etag = self._validators.etag
        # Only a strong validator may guard a range (RFC 9110 section 13.1.5).
        guard = etag if etag is not None and not etag.startswith("W/") else None
        start = self._size if guard is not None else 0
        async with self._upstream.download(self._url, start=start, if_range=guard) as download:
            if download.status in ABSENT:
                raise upstream_failure(self._upstream.name, Reason.GONE, "the package vanished while it was downloaded")
            if download.status == 416:
                self._validators = NO_VALIDATORS  # what is here may be all of it: only the whole tells
                raise upstream_failure(self._upstream.name, Reason.TRUNCATED, f"nothing behind byte {start}")
            if self._flight.total is not None and download.total not in {None, self._flight.total}:
                raise self._changed()
            if download.status == 206 and download.validators.etag not in {None, guard}:
                raise self._changed()  # upstream did not heed If-Range (RFC 9110 section 15.3.7)
            return await self._copy(download, start if download.status == 206 else 0)

    async def _copy(self, download: Download, at: int) -> Staged:
        """Append what comes, from byte ``at`` of the package on."""
        staged = self.staged
        async for received in download.blocks():
            chunk = received
            self._moved()
            if staged is not None and at < staged.size:
                known = min(len(chunk), staged.size - at)
                if await staged.read(known, at) != chunk[:known]:
                    raise self._changed()
                at += known
                chunk = chunk[known:]
            if at < len(ZIP_MAGIC):
                self._recognise(chunk, at)
            if chunk:
                staged = staged or await self._begin(download)
                at += len(chunk)
                if self._borrows(staged, chunk, download):
                    continue
                await staged.write(chunk)
                self._flight.grow(staged.size)
                self._last_byte = asyncio.get_running_loop().time()
                self._check_readers()
        if staged is None or at < len(ZIP_MAGIC):
            raise self._refused(Reason.INVALID_CONTENT, "the answer is empty or shorter than a zip signature")
        if self._flight.total is not None and at < self._flight.total:
            raise upstream_failure(self._upstream.name, Reason.TRUNCATED, f"{at} of {self._flight.total} bytes")
        return staged

    async def _begin(self, download: Download) -> Staged:
        """Make the file. Not before there are bytes for it: what comes meanwhile is lost where upstream breaks off."""
        # Of a small one nobody gets a byte before it is verified: it needs no file before that either.
        small = download.total is None or download.total <= HOLD
        self.staged = await self._stage(self._flight.identity, in_memory=HOLD if small else 0)
        self.staged.warnings = download.warnings
        self.staged.published = _time(download.validators.last_modified)
        self._flight.begin(self.staged, download.total)
        return self.staged

    def _borrows(self, staged: Staged, chunk: bytes | memoryview, download: Download) -> bool:
        """Whether all of the package is in memory, from where one thread takes it: nobody gets any of it before."""
        if staged.size or len(chunk) != self._flight.total:
            return False
        give_back = download.keep()
        if give_back is None:
            return False
        staged.borrow(chunk, give_back)
        return True

    def _recognise(self, chunk: bytes | memoryview, at: int) -> None:
        """A page is refused at once, so that another URL may be asked; anything else may be a package behind a stub."""
        if chunk[: len(ZIP_MAGIC) - at] == ZIP_MAGIC[at : at + len(chunk)]:
            return
        if at == 0 and bytes(chunk).lstrip(_BLANK).startswith(_PAGES):
            raise self._refused(Reason.INVALID_CONTENT, "the answer is not a package (no zip signature)")
        self._flight.doubt()

    def _moved(self) -> None:
        """Something arrives, be it what is here already: a resume is given a little longer."""
        if self._limit is not None and not self._limit.expired():
            soon = asyncio.get_running_loop().time() + self._upstream.read_timeout / 2
            self._limit.reschedule(max(self._last_byte + self._longest_silence, soon))

    def _check_readers(self) -> None:
        if self._flight.unwanted and self._flight.total is not None:
            gone = Abandoned(self._flight.identity.nupkg_name, self._size, self._flight.total)
            self._flight.fail(gone)  # now, so that nobody joins it while it is cleared away
            raise gone

    def _changed(self) -> UpstreamFailure:
        return self._refused(Reason.PIN, "the package changed while it was downloaded")

    def _refused(self, reason: Reason, detail: str) -> UpstreamFailure:
        self._metrics.integrity_failures.labels(reason).inc()
        return self._upstream.refused(reason, detail)


def _time(last_modified: str | None) -> float | None:
    """A ``Last-Modified`` (RFC 9110 section 8.8.2) in seconds since the epoch; None for what is none."""
    with suppress(ValueError, TypeError, OverflowError):  # the last for years beyond any calendar
        return parsedate_to_datetime(last_modified).timestamp() if last_modified else None
    return None
