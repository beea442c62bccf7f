"""Reply is what a feed answers, before HTTP conditions are applied."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from nugetproxy.engine.flight import Flight
from nugetproxy.engine.outcome import CacheStatus
from nugetproxy.engine.target import Found
from nugetproxy.nuget.kinds import JSON_TYPE, Kind
from nugetproxy.store.fs import DiskFailure
from nugetproxy.store.packages.held import HeldPackage

NO_CACHE = "no-cache"
IMMUTABLE = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """How one client sees the feed."""

    base: str
    """The URL below which it finds us, as in ``http://host:5555/v3/``."""
    gzip: bool = False
    head: bool = False

    @property
    def secure(self) -> bool:
        """True when the client came over https."""
        return self.base.startswith("https:")


@dataclass(frozen=True, slots=True)
class HeldBody:
    """A package in the folder, its descriptor acquired for this reply."""

    held: HeldPackage

    @property
    def size(self) -> int:
        """Bytes in all."""
        return self.held.size

    def close(self) -> None:
        """Give the descriptor back; once."""
        self.held.release()


@dataclass(slots=True)
class FlightBody:
    """A package that is still being downloaded, its flight joined for this reply."""

    flight: Flight
    pass_through: Callable[[int], AsyncGenerator[bytes, None]]
    """The bytes from an offset on straight from upstream, should the disk fail."""
    _passed: AsyncGenerator[bytes, None] | None = None
    _first: bytes = b""

    @property
    def size(self) -> int | None:
        """Bytes in all; None while upstream has not said it."""
        return self.flight.total

    async def bypass_disk(self) -> None:
        """Begin to pass the body through, before a status is sent; raises what upstream says instead of a package."""
        self._passed = self.pass_through(0)
        self._first = await anext(self._passed)

    async def chunks(self, start: int, stop: int | None) -> AsyncIterator[bytes]:
        """The bytes from ``start`` up to ``stop``; raises what ended the flight."""
        if self._passed is not None:
            async for chunk in self._from_upstream(self._passed, start, stop):
                yield chunk
            return
        at = start
        try:
            async for chunk in self.flight.read(start, stop):
                at += len(chunk)
                yield chunk
        except DiskFailure:
            async for chunk in self._from_upstream(self.pass_through(at), 0, None if stop is None else stop - at):
                yield chunk

    async def _from_upstream(
        self, passed: AsyncGenerator[bytes, None], start: int, stop: int | None
    ) -> AsyncIterator[bytes]:
        """What of the bytes passed through lies from ``start`` to ``stop``; all are read, so a cut does not go by."""
        async with aclosing(passed):
            at, chunk = 0, self._first
            while True:
                wanted = chunk[max(0, start - at) : None if stop is None else max(0, stop - at)]
                at += len(chunk)
                if wanted:
                    yield wanted
                try:
                    chunk = await anext(passed)
                except StopAsyncIteration:
                    return

    def close(self) -> None:
        """Leave the flight; once."""
        self.flight.leave()


@dataclass(frozen=True, slots=True)
class RelayedBody:
    """A file that is too large to be stored, straight from upstream."""

    size: int | None
    """Bytes in all; None where upstream did not say it."""
    start_from: Callable[[int], AsyncIterator[bytes]]
    """The bytes from an offset on."""

    async def chunks(self, start: int, stop: int | None) -> AsyncIterator[bytes]:
        """The bytes from ``start`` up to ``stop``; raises UpstreamFailure."""
        left = None if stop is None else stop - start
        async for chunk in self.start_from(start):
            wanted = chunk if left is None else chunk[:left]
            left = None if left is None else left - len(wanted)
            if wanted:
                yield wanted
            if left == 0:
                return

    def close(self) -> None:
        """Nothing is held before the body is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A selected representation with what HTTP needs to know of it (RFC 9110 section 3.2)."""

    kind: Kind
    cache: CacheStatus
    status: int = 200
    content_type: str = JSON_TYPE
    body: bytes | HeldBody | FlightBody | RelayedBody = b""
    relayed: bool = False
    """True when the body is not here: a HEAD was relayed to upstream."""
    length: int | None = None
    """Of a body that is not here, as far as upstream said it."""
    etag: str | None = None
    modified: float | None = None
    age: float | None = None
    cache_control: str = NO_CACHE
    gzipped: bool = False
    warnings: tuple[str, ...] = ()
    """What a person must know (``X-NuGet-Warning``, which NuGet prints)."""
    negotiated: bool = False
    """True when other clients may get this in another content coding (``Vary``)."""

    @property
    def size(self) -> int | None:
        """Bytes of the whole body; None when not known yet."""
        if self.relayed:
            return self.length
        return len(self.body) if isinstance(self.body, bytes) else self.body.size

    def close(self) -> None:
        """Release what the body holds; must be called exactly once."""
        if not isinstance(self.body, bytes):
            self.body.close()


def absent_reply(kind: Kind, found: Found, now: float) -> Reply:
    """A 404 that upstream has said, now or a short while ago (``now`` as in ``Entry.stored_at``)."""
    body = b'{"error":"The upstream has no such document."}'
    return Reply(
        kind=kind, cache=found.status, status=404, body=body, age=now - found.entry.stored_at, warnings=found.warnings
    )
