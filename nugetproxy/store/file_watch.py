"""FileWatch tells when files that an operator or a machine replaces have changed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Final

from nugetproxy.clock import Clock

SECONDS: Final = 1.0
"""Between two looks."""

Changed = Callable[[], Awaitable[None]]


class FileWatch:
    """Looks at every file once a second: a stat sees what mounts, symbolic links and other machines do, too."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._watched: list[_Watched] = []

    def add(self, files: Iterable[Path], changed: Changed) -> None:
        """From now on call ``changed`` after one of ``files`` is another one than it was."""
        watched = _Watched(tuple(files), changed)
        if watched.files:
            self._watched.append(watched)

    def clear(self) -> None:
        """Watch nothing any more."""
        self._watched.clear()

    async def look(self) -> None:
        """Look once at all files; call those that wait for a change."""
        if not self._watched:
            return
        watched = tuple(self._watched)
        seen = await asyncio.to_thread(lambda: [one.look() for one in watched])
        for one, now in zip(watched, seen, strict=True):
            if now != one.seen:
                one.seen = now
                await one.changed()

    async def run(self) -> None:
        """Look every ``SECONDS`` until cancelled."""
        while True:
            await self.look()
            await self._clock.sleep(SECONDS)


Look = tuple[tuple[int, ...] | None, ...]


class _Watched:
    """Files that belong together."""

    def __init__(self, files: tuple[Path, ...], changed: Changed) -> None:
        self.files = files
        self.changed = changed
        self.seen = self.look()

    def look(self) -> Look:
        """What tells the files from what they were; blocks."""
        return tuple(map(_state, self.files))


def _state(file: Path) -> tuple[int, ...] | None:
    """With the time of its last change of any sort: one that nobody could read may be given to us."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size
