"""FloodGate lets a few events of each kind through, counting the rest."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from msgspec import Struct


class _Window(Struct):
    began: float
    passed: int = 0
    held: int = 0


class FloodGate:
    """``burst`` events per key in each ``every`` seconds; remembers the ``keys`` last used keys."""

    def __init__(
        self,
        *,
        burst: int = 5,
        every: float = 10.0,
        keys: int = 1000,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._burst = burst
        self._every = every
        self._keys = keys
        self._monotonic = monotonic
        self._windows: OrderedDict[str, _Window] = OrderedDict()

    def admit(self, key: str) -> int | None:
        """None to stay silent, else how many were held back since the last one that passed."""
        now = self._monotonic()
        window = self._windows.setdefault(key, _Window(now))
        self._windows.move_to_end(key)
        if len(self._windows) > self._keys:
            self._windows.popitem(last=False)
        if now - window.began >= self._every:
            window.began, window.passed = now, 0
        if window.passed >= self._burst:
            window.held += 1
            return None
        window.passed += 1
        held, window.held = window.held, 0
        return held
