"""Patience is how long a request may wait for an upstream that has just been lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar

from msgspec import Struct, field

LONGEST_WAIT = 3.0
"""Seconds that a request waits in all for an upstream that has just been lost."""

Spare = Callable[[], Awaitable[bool]]
_spare: ContextVar[Spare | None] = ContextVar("spare", default=None)


class spared:
    """What is asked inside waits for no lost upstream when ``spare`` says that something can be served instead.

    ``spare`` is asked only where it matters. Holds in tasks that are started inside, too.
    """

    __slots__ = ("_spare", "_token")

    def __init__(self, spare: Spare) -> None:
        self._spare = spare

    def __enter__(self) -> None:
        self._token = _spare.set(self._spare)

    def __exit__(self, *_: object) -> None:
        _spare.reset(self._token)


async def has_spare() -> bool:
    """Whether something can be served instead of what upstream would say."""
    spare = _spare.get()
    return spare is not None and await spare()


def is_spared() -> bool:
    """Whether ``spared`` is in force: such fetches are not shared with those who have nothing else."""
    return _spare.get() is not None


class Patience(Struct):
    """How long one request may still wait for a lost upstream, all its tries together, in seconds."""

    left: float = LONGEST_WAIT
    spare: Spare | None = field(default_factory=_spare.get)
    once: bool = False
    """Its first failure is final: there is something to serve instead."""

    async def is_over(self) -> bool:
        """Whether it must not wait (any more)."""
        if self.left > 0 and self.spare is not None:
            spare, self.spare = self.spare, None
            if await spare():
                self.left = 0.0
        return self.left <= 0


def impatience() -> Patience:
    """Of a request that has something to serve instead."""
    return Patience(0.0, None, once=True)
