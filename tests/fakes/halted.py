"""Halted holds up a read when it has what it reads, so that something can change before that is taken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest


class Halted:
    """The first call reads, then waits until it may go on; the others go through."""

    def __init__(self, read: Callable[..., Awaitable[Any]]) -> None:
        self._read = read
        self.has_read = asyncio.Event()
        self.goes_on = asyncio.Event()

    async def __call__(self, *words: Any) -> Any:
        found = await self._read(*words)
        if not self.has_read.is_set():
            self.has_read.set()
            await asyncio.wait_for(self.goes_on.wait(), 30)
        return found


@asynccontextmanager
async def halting(
    monkeypatch: pytest.MonkeyPatch, owner: object, name: str, act: Callable[[], Awaitable[Any]]
) -> AsyncIterator[asyncio.Task[Any]]:
    """``act`` under way, halted when its call of ``owner.name`` has read; at the end it goes on, to its own end."""
    halted = Halted(getattr(owner, name))
    monkeypatch.setattr(owner, name, halted)
    acting = asyncio.ensure_future(act())
    await asyncio.wait_for(halted.has_read.wait(), 30)
    yield acting
    halted.goes_on.set()
    await acting
