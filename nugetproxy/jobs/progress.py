"""Progress is what a long job tells of itself while it runs."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Somebody who looks on."""

    def expect(self, count: int) -> None:
        """So many more things are to be done."""

    def moved(self, size: int) -> None:
        """So many bytes more have come."""

    def done(self, what: str) -> None:
        """One thing more is done."""


class Unseen:
    """Nobody looks on."""

    def expect(self, count: int) -> None:
        """Nothing."""

    def moved(self, size: int) -> None:
        """Nothing."""

    def done(self, what: str) -> None:
        """Nothing."""
