"""Newest tells of several reads of one thing which to believe: what was begun last."""

from __future__ import annotations


class Newest:
    """An earlier read that is over later may lack what has changed meanwhile; nothing of it is to be taken."""

    def __init__(self) -> None:
        self._begun = 0
        self._taken = 0

    def begin(self) -> int:
        """The number of a read that begins now."""
        self._begun += 1
        return self._begun

    def takes(self, number: int) -> bool:
        """Whether what that read has found is to be taken; then it is the newest so far."""
        if number < self._taken:
            return False
        self._taken = number
        return True
