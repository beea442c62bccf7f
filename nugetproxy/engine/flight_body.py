"""FlightBody is a package that is still being downloaded, as one of its readers gets it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing

from msgspec import Struct

from nugetproxy.engine.flight import Flight, Piece
from nugetproxy.engine.outcome import CacheStatus, Outcome
from nugetproxy.engine.pass_through import Bypass
from nugetproxy.store.fs import DiskFailure


class FlightBody(Struct):
    """A flight joined for one reader; where the disk fails it, the rest comes straight from upstream."""

    flight: Flight
    collapsed: bool
    """True when it was under way before."""
    _bypass: Bypass
    landed: Callable[[str], None] | None = None
    """Is told the SHA-512 (base64) of what has landed, before its last bytes go; raises where they must not."""
    _passed: AsyncGenerator[bytes, None] | None = None
    _first: bytes = b""
    _unsealed: str = ""
    """The SHA-512 of what came past the disk, all of it, before anybody could be told."""

    @property
    def size(self) -> int | None:
        """Bytes in all; None while upstream has not said it."""
        return self.flight.total

    @property
    def status(self) -> CacheStatus:
        """How the reply came about."""
        passed = self._passed is not None
        return CacheStatus(
            outcome=Outcome.COLLAPSED if self.collapsed else Outcome.MISS,
            forwarded="uri-miss",
            forward_status=200 if self.flight.is_fetched else None,
            stored=not self.collapsed and not passed,
            collapsed=self.collapsed,
            detail="disk" if passed else self.flight.detail,
        )

    async def begun(self) -> None:
        """Wait until a first byte can be read, from disk or past it; raises what upstream says instead of a package."""
        try:
            await self.flight.begun()
        except DiskFailure:
            self._passed = self._bypass.read(self.flight, 0, self._seal)
            self._first = await anext(self._passed)

    async def pieces(self, start: int, stop: int | None) -> AsyncIterator[Piece]:
        """The bytes from ``start`` up to ``stop``; raises what ended the flight."""
        if self._passed is not None:
            if self._unsealed:
                self._seal(self._unsealed)
            async for chunk in self._from_upstream(self._passed, start, stop):
                yield chunk
            return
        at = start
        try:
            async for part in self.flight.read(start, stop):
                if self.flight.landed is not None:
                    self._seal(self.flight.landed.sha512)
                yield part
                at = part.stop
        except DiskFailure:
            rest = self._bypass.read(self.flight, at, self._seal)
            async for chunk in self._from_upstream(rest, 0, None if stop is None else stop - at):
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

    def _seal(self, sha512: str) -> None:
        if self.landed is not None:
            self.landed(sha512)
        else:
            self._unsealed = sha512

    def close(self) -> None:
        """Leave the flight; once."""
        self.flight.leave()
