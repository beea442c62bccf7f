"""Pace is how fast a body arrives."""

from __future__ import annotations

PACE_SPAN = 60.0
LEAST_PACE = 1024


class Pace:
    """Notices a body that arrives too slowly to ever be worth the wait.

    Counts only time that was spent waiting for upstream, so a slow client is never held against it.
    """

    def __init__(self, *, least: float = LEAST_PACE, span: float = PACE_SPAN) -> None:
        """``least`` in bytes per second, over ``span`` seconds."""
        self._least = least
        self._span = span
        self._waited = 0.0
        self._size = 0

    def too_slow(self, waited: float, size: int) -> bool:
        """After another ``size`` bytes, for which ``waited`` seconds passed: is this below the least rate?"""
        self._waited += waited
        self._size += size
        if self._waited < self._span:
            return False
        slow = self._size < self._least * self._waited
        self._waited, self._size = 0.0, 0
        return slow
