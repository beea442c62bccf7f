"""Tally counts sightings that differ in their times alone."""

from __future__ import annotations

import math
from typing import Final

from nugetproxy.store.history.sighting import What, Who

MINUTE: Final = 60


class Tally:
    """How many there were within one minute, the first and the last of them."""

    __slots__ = ("_ends", "first", "last", "minute", "times", "what", "who")

    def __init__(self, at: float, what: What, who: Who) -> None:
        """The first one was seen ``at`` a wall time."""
        self.what = what
        self.who = who
        self.minute = int(at) // MINUTE * MINUTE
        """Wall time of its beginning."""
        self.times = 1
        self.first = self.last = at
        self._ends: float = self.minute + MINUTE

    def takes(self, at: float, who: Who) -> bool:
        """Count one more of the same ``who`` (the same object); False where it belongs to another tally."""
        if who is not self.who or not self.minute <= at < self._ends:
            return False
        self.times += 1
        if at > self.last:
            self.last = at
        elif at < self.first:
            self.first = at
        return True

    def close(self) -> None:
        """It takes no more: somebody writes it down."""
        self._ends = -math.inf
