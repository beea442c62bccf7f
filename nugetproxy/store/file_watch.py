"""FileWatch tells when files that an operator or a machine replaces have changed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
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
        self._past: dict[Path, State] = {}
        self._rests = False

    def add(self, files: Iterable[Path], changed: Changed) -> None:
        """From now on call ``changed`` after one of ``files`` is another one than it was."""
        watched = _Watched(tuple(files), changed, self._past)
        if watched.files:
            self._watched.append(watched)

    def clear(self) -> None:
        """Watch nothing any more; what is watched again is compared with what it was at the last look."""
        self._past = {file: seen for one in self._watched for file, seen in zip(one.files, one.seen, strict=True)}
        self._watched.clear()

    @contextmanager
    def resting(self) -> Iterator[None]:
        """While others are made who are to be told: those of now are not, as the others would never be then."""
        self._rests = True
        try:
            yield
        finally:
            self._rests = False

    async def look(self) -> None:
        """Look once at all files; call those that wait for a change."""
        if not self._watched:
            return
        watched = tuple(self._watched)
        seen = await asyncio.to_thread(lambda: [one.look() for one in watched])
        for one, now in zip(watched, seen, strict=True):
            if now != one.seen and one in self._watched and not self._rests:
                one.seen = now
                await one.changed()

    async def run(self) -> None:
        """Look every ``SECONDS`` until cancelled."""
        while True:
            await self.look()
            await self._clock.sleep(SECONDS)


State = tuple[int, ...] | None
"""What tells a file from what it was; None where there is none."""


class _Watched:
    """Files that belong together."""

    def __init__(self, files: tuple[Path, ...], changed: Changed, past: Mapping[Path, State]) -> None:
        self.files = files
        self.changed = changed
        self.seen = tuple(past[file] if file in past else state_of(file) for file in files)

    def look(self) -> tuple[State, ...]:
        """What tells the files from what they were; blocks."""
        return tuple(map(state_of, self.files))


def state_of(file: Path) -> State:
    """What tells it from what it was, with who may read it and the time of its last change of any sort: one that nobody
    could read may be given to us."""
    try:
        found = file.stat()
    except OSError:
        return None
    content, access = (found.st_mtime_ns, found.st_size), (found.st_mode, found.st_uid, found.st_gid)
    return found.st_dev, found.st_ino, found.st_ctime_ns, *content, *access
