"""The bar of a long command: things, bytes, rate, time left; nothing where nobody looks on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from nugetproxy.jobs.progress import Progress as Looker
from nugetproxy.jobs.progress import Unseen


class Bar:
    """One line: how many of how many, how many bytes at which rate, how long it will take."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task
        self._expected = 0
        self._size = 0

    def expect(self, count: int) -> None:
        """So many more things are to be done."""
        self._expected += count
        self._progress.update(self._task, total=self._expected)

    def moved(self, size: int) -> None:
        """So many bytes more have come."""
        self._size += size
        self._progress.update(self._task, size=_told(self._size, self._progress.tasks[0].elapsed or 0.0))

    def done(self, what: str) -> None:
        """One thing more is done."""
        self._progress.update(self._task, advance=1)


def _told(size: int, seconds: float) -> str:
    rate = size / seconds / 1e6 if seconds else 0.0
    return f"{size / 1e6:.1f} MB, {rate:.1f} MB/s"


@contextmanager
def bar(what: str) -> Iterator[Looker]:
    """A bar on stderr where that is a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Unseen()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[size]}"),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=console, transient=True, expand=True) as progress:
        yield Bar(progress, progress.add_task(what, total=None, size=""))
