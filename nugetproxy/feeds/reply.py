"""Reply is what a feed answers, before HTTP conditions are applied."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from nugetproxy.engine.flight import Flight
from nugetproxy.engine.outcome import CacheStatus
from nugetproxy.nuget.policies import Kind
from nugetproxy.store.fs import DiskFailure
from nugetproxy.store.held import HeldPackage

NO_CACHE = "no-cache"
IMMUTABLE = "public, max-age=31536000, immutable"


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


@dataclass(frozen=True, slots=True)
class FlightBody:
    """A package that is still being downloaded, its flight joined for this reply."""

    flight: Flight
    pass_through: Callable[[int], AsyncIterator[bytes]]
    """The bytes from an offset on straight from upstream, should the disk fail."""

    @property
    def size(self) -> int | None:
        """Bytes in all; None while upstream has not said it."""
        return self.flight.total

    async def chunks(self, start: int, stop: int | None) -> AsyncIterator[bytes]:
        """The bytes from ``start`` up to ``stop``; raises what ended the flight."""
        at = start
        try:
            async for chunk in self.flight.read(start, stop):
                at += len(chunk)
                yield chunk
        except DiskFailure:
            async for chunk in self.pass_through(at):
                wanted = chunk if stop is None else chunk[: stop - at]
                at += len(wanted)
                if wanted:
                    yield wanted

    def close(self) -> None:
        """Leave the flight; once."""
        self.flight.leave()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A selected representation with what HTTP needs to know of it (RFC 9110 section 3.2)."""

    kind: Kind
    cache: CacheStatus
    status: int = 200
    content_type: str = "application/json; charset=utf-8"
    body: bytes | HeldBody | FlightBody = b""
    relayed: bool = False
    """True when the body is not here: a HEAD was relayed to upstream."""
    length: int | None = None
    """Of a body that is not here, as far as upstream said it."""
    etag: str | None = None
    modified: float | None = None
    age: float | None = None
    cache_control: str = NO_CACHE
    gzipped: bool = False
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
