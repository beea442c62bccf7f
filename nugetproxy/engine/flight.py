"""Flight is one package download that many readers follow while it grows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, NamedTuple

from nugetproxy.engine.tasks import Tasks
from nugetproxy.errors import ProxyError
from nugetproxy.metrics import Metrics
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.packages.held import HeldPackage
from nugetproxy.store.packages.staging import Staged

HOLD = 64 * 1024
"""The last bytes of a package, kept back until it is verified and committed: a bad download ends as a cut
connection instead of a complete wrong package, and a package smaller than this gets a proper error status."""


class FilePart(NamedTuple):
    """Bytes of an open file that can be sent as they are."""

    fd: int
    start: int
    stop: int


Piece = bytes | FilePart
"""What a body is sent in: bytes, or a part of a file that never comes into this process."""


class Flight:
    """The growing file of one download, with its end: landed or failed.

    Readers may join at any time and at any offset. The writer never waits for a reader, and a reader that leaves
    stops the writer only when it was the last one, of a flight far from its end.
    """

    def __init__(self, identity: PackageIdentity, urls: tuple[str, ...], *, abandon_above: int) -> None:
        """``urls``: where upstream may have it, best first. ``abandon_above``: bytes, see :attr:`unwanted`."""
        self.identity = identity
        self.urls = urls
        self.total: int | None = None
        """Size of the whole package in bytes, as soon as upstream has said it."""
        self.landed: HeldPackage | None = None
        self.error: ProxyError | None = None
        self.detail = ""
        """Where it comes from, or what was waited for, if that is not upstream."""
        self.is_fetched = True
        """False where it came from another replica."""
        self.doubted = False
        """It does not begin as packages do: a page, or a package with something before it, which the end shows."""
        self._abandon_above = abandon_above
        self._readers = 0
        self._staged: Staged | None = None
        self._size = 0
        self._ended = False
        self._grew = asyncio.Event()

    def __repr__(self) -> str:
        state = "landed" if self.landed is not None else f"failed: {self.error}" if self.error is not None else "flying"
        total = "?" if self.total is None else self.total
        return (
            f"<Flight of {self.identity.nupkg_name}: {state}, {self._size} of {total} bytes, {self._readers} readers>"
        )

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._size

    @property
    def written(self) -> tuple[int, str]:
        """How many bytes the file got, with their SHA-512 (base64)."""
        return (self._staged.size, self._staged.sha512) if self._staged is not None else (0, "")

    @property
    def content(self) -> bytes | None:
        """All of what has landed, where it is in memory."""
        return self._staged.content if self._staged is not None and self.landed is not None else None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What upstream had to say about the package."""
        return self._staged.warnings if self._staged is not None else ()

    @property
    def ready(self) -> int:
        """Bytes that readers may have now: everything but the last block, until the commit."""
        if self.landed is not None:
            return self._size
        if self.doubted:
            return 0
        held_back_from = (self._size if self.total is None else self.total) - HOLD
        return max(0, min(self._size, held_back_from))

    @property
    def over(self) -> bool:
        """True when no more bytes will come."""
        return self.landed is not None or self.error is not None

    @property
    def readers(self) -> int:
        """How many clients read it now."""
        return self._readers

    @property
    def unwanted(self) -> bool:
        """True when no reader is left and it is not worth finishing: large, with less than half of it written."""
        if self._readers > 0 or self.total is None:
            return False
        return self.total > self._abandon_above and self._size * 2 < self.total

    def begin(self, staged: Staged, total: int | None) -> None:
        """The upstream answered 200 and its body goes to ``staged``."""
        self._staged = staged
        self.total = total

    def doubt(self) -> None:
        """Its first bytes are no zip signature: nobody gets any of it before it is verified."""
        self.doubted = True

    def grow(self, size: int) -> None:
        """``size`` bytes are in the file now."""
        before, self._size = self.ready, size
        if self.ready > before:  # else nobody could do anything with it
            self._wake()

    def land(self, held: HeldPackage) -> None:
        """The package is committed; every byte may be read."""
        held.acquire()
        self.landed = held
        self._size = self.total = held.size
        self._wake()

    def fail(self, error: ProxyError) -> None:
        """The download is over without a package; readers get ``error``."""
        self.error = error
        self._wake()

    def _wake(self) -> None:
        waiting, self._grew = self._grew, asyncio.Event()
        waiting.set()

    async def begun(self) -> None:
        """Wait until a first byte can be read.

        Raises the flight's error when it failed before; later failures come out of :meth:`read`.
        """
        while self.ready == 0 and not self.over:
            await self._grew.wait()
        if self.error is not None and self.ready == 0:
            raise self.error

    async def landing(self) -> None:
        """Wait until the package is committed; raises the flight's error when it fails."""
        while not self.over:
            await self._grew.wait()
        if self.error is not None:
            raise self.error

    async def read(self, start: int = 0, stop: int | None = None) -> AsyncIterator[FilePart]:
        """The bytes from ``start`` up to ``stop`` (default: the end) as they become ready; only between
        :meth:`join` and :meth:`leave`.

        Raises the flight's error once it failed, even where bytes are still unread: they may be the bad ones.
        """
        at = start
        while stop is None or at < stop:
            end = self.ready if stop is None else min(self.ready, stop)
            if self.error is not None:
                raise self.error
            if at < end:
                yield FilePart(self._fd(), at, end)
                at = end
            elif self.landed is not None:
                return
            else:
                await self._grew.wait()

    def join(self) -> None:
        """One more reader: the file stays open until it leaves."""
        self._readers += 1

    def leave(self) -> None:
        """A reader is done; the last one out closes the files of a flight that is over."""
        self._readers -= 1
        self._close_if_done()

    def end(self) -> None:
        """The download task has ended; nothing is written any more."""
        self._ended = True
        self._close_if_done()

    def _close_if_done(self) -> None:
        if not self._ended or self._readers > 0:
            return
        if self._staged is not None:
            self._staged.close()
        if self.landed is not None:
            self.landed.release()

    def _fd(self) -> int:
        if self._staged is not None:
            return self._staged.fd
        if self.landed is not None:
            return self.landed.fd
        raise RuntimeError("a flight without a file has nothing to read")


class Flights:
    """The downloads in progress: at most one for each package, each owned by this table."""

    def __init__(self, tasks: Tasks, metrics: Metrics, *, abandon_above: int) -> None:
        """``abandon_above``: bytes; a package up to this size is downloaded to its end, whoever leaves."""
        self._tasks = tasks
        self._metrics = metrics
        self.abandon_above = abandon_above
        self._under_way: dict[PackageIdentity, Flight] = {}

    def __contains__(self, identity: object) -> bool:
        return identity in self._under_way

    def __len__(self) -> int:
        return len(self._under_way)

    def under_way(self) -> tuple[Flight, ...]:
        """All of them that have not failed."""
        return tuple(flight for flight in self._under_way.values() if flight.error is None)

    def get(self, identity: PackageIdentity) -> Flight | None:
        """The flight of this package that is under way; not one that has failed and only cleans up."""
        flight = self._under_way.get(identity)
        return flight if flight is not None and flight.error is None else None

    def launch(
        self, identity: PackageIdentity, urls: tuple[str, ...], fly: Callable[[Flight], Coroutine[Any, Any, None]]
    ) -> Flight:
        """Start a flight; ``fly`` must land or fail it, and it leaves the table only after that."""
        flight = Flight(identity, urls, abandon_above=self.abandon_above)
        self._under_way[identity] = flight
        self._metrics.flights.inc()
        self._tasks.start(self._fly(flight, fly), name=f"flight {identity.nupkg_name}")
        return flight

    async def _fly(self, flight: Flight, fly: Callable[[Flight], Coroutine[Any, Any, None]]) -> None:
        try:
            await fly(flight)
        finally:
            if self._under_way.get(flight.identity) is flight:  # else a later one has taken its place
                del self._under_way[flight.identity]
            self._metrics.flights.dec()
            flight.end()
