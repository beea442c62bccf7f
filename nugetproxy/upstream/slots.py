"""Slots counts the connections that one sort of request has at once; a write that stalls lends its own."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Self

from nugetproxy.upstream.asking import asking


class Turns:
    """A semaphore that goes round by client: one with hundreds of requests does not starve the others."""

    def __init__(self, most: int) -> None:
        self._free = most
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        """By client, the one whose turn is next first; empty while something is free."""

    def __repr__(self) -> str:
        waiting = {client: len(turns) for client, turns in self._waiting.items()}
        return f"{self._free} free, waiting {waiting}"

    def at_once(self) -> bool:
        """Take one if any is free, which it is only where nobody waits."""
        if self._free <= 0:
            return False
        self._free -= 1
        return True

    async def acquire(self) -> None:
        """Take one when it is this client's turn."""
        if self.at_once():
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(asking().client, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # given in the moment in which nobody wanted it any more
                self.release()
            raise

    def release(self) -> None:
        """Give it to the next client, whose other requests then wait behind everybody else's."""
        while self._waiting:
            client = next(iter(self._waiting))
            turns = self._waiting.pop(client)
            turn = turns.popleft()
            if turns:
                self._waiting[client] = turns
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


class Slots:
    """So many requests at once; the others wait."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._free = Turns(most)

    def __repr__(self) -> str:
        return f"<Slots: {self._most}, {self._free!r}>"

    def at_once(self) -> Slot | None:
        """One slot, to be lent in the end, if any is free."""
        return Slot(self._free) if self._free.at_once() else None

    async def take(self, seconds: float) -> Slot:
        """As ``at_once``, waited for; raises TimeoutError when none is free for ``seconds``."""
        async with asyncio.timeout(seconds):
            await self._free.acquire()
        return Slot(self._free)


class Slot:
    """One request's place among those that are under way."""

    def __init__(self, free: Turns) -> None:
        self._free = free
        self._held = True
        self._ended = False

    def lend(self) -> None:
        """Let another request have it."""
        if self._held:
            self._held = False
            self._free.release()

    def end(self) -> None:
        """Lend it for good: a body that still waits for its client, which nobody wants any more, takes none again."""
        self._ended = True
        self.lend()

    async def take(self) -> None:
        """Have one again, before the end; the caller's own deadline bounds the wait."""
        if not self._held and not self._ended:
            await self._free.acquire()
            self._held = True
            if self._ended:
                self.lend()


STALLED = 1.0
"""After so many seconds without a byte a body no longer flows: another write may have its place."""


class Outgoing:
    """Counts what is taken from it and remembers what went wrong at the source."""

    def __init__(self, source: AsyncIterator[bytes]) -> None:
        self._source = source
        self._first = b""
        self._slot: Slot | None = None
        self.size = 0
        """Bytes handed over so far."""
        self.error: Exception | None = None
        """What the source raised."""

    async def begin(self) -> None:
        """Wait for the first piece: until then no connection is needed. Raises what the source does."""
        self._first = await anext(self._source, b"")

    def hold_while_flowing(self, slot: Slot) -> None:
        """From now on ``slot`` is held only while the body flows: clients that stall must not stop all others."""
        self._slot = slot

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            piece = await self._flowing()
        except StopAsyncIteration:
            raise
        except Exception as error:
            # Kept and raised again by the caller: aiohttp would wrap it in a failure of the connection.
            self.error = error
            raise
        self.size += len(piece)
        return piece

    async def _flowing(self) -> bytes:
        if self._first:
            piece, self._first = self._first, b""
            return piece
        slot = self._slot
        if slot is None:
            return await anext(self._source)
        timer = asyncio.get_running_loop().call_later(STALLED, slot.lend)
        try:
            return await anext(self._source)
        finally:
            timer.cancel()
            await slot.take()
