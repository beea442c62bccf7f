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
    """For a job that nobody looks at."""

    def expect(self, count: int) -> None:
        """Nobody is to be told."""

    def moved(self, size: int) -> None:
        """Nobody is to be told."""

    def done(self, what: str) -> None:
        """Nobody is to be told."""
