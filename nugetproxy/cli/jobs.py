"""What the commands of long jobs have in common."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from nugetproxy.cli.exits import FAILED, INTERRUPTED, USAGE, exit_code, fail
from nugetproxy.errors import BadRequest, ProxyError

if TYPE_CHECKING:
    from nugetproxy.config import Config
    from nugetproxy.nuget.identity import PackageIdentity

T = TypeVar("T")


def settings_with(feed: str, config: Path | None, cache_dir: str | None) -> Config:
    """The configuration; ends the command where it publishes no such ``feed`` (empty: the first one)."""
    from nugetproxy.config import load

    settings = load(config, cache_dir=cache_dir)
    if feed and feed not in settings.published:
        fail([f"There is no feed {feed!r}; there are {', '.join(settings.published)}."], USAGE)
    return settings


def finished(work: Coroutine[Any, Any, T]) -> T:
    """What a job brings; ends the command where the job fails, or where somebody ends it."""
    try:
        return asyncio.run(_stoppable(work))
    except (KeyboardInterrupt, asyncio.CancelledError):
        fail(["Ended; what is done stays. Run it again to go on."], INTERRUPTED)
    except ProxyError as error:
        if exit_code(error) is not None:
            raise
        fail([str(error)], FAILED)


async def _stoppable(work: Coroutine[Any, Any, T]) -> T:
    """What it brings; SIGTERM ends it as Ctrl-C does."""
    task = asyncio.current_task()
    assert task is not None, "it runs in one"
    if threading.current_thread() is threading.main_thread():  # nobody else may, as with asyncio.run's own for Ctrl-C
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await work


def remote_upstreams(settings: Config) -> list[str]:
    """The names of the upstreams that packages are held of; ends the command where there is none."""
    found = [name for name, one in settings.upstreams.items() if one.folder is None]
    if not found:
        fail(["All upstreams are folders of packages: copy out of, or into, those folders themselves."], FAILED)
    return found


def resolved(files: Sequence[Path]) -> tuple[frozenset[PackageIdentity], tuple[str, ...]]:
    """The versions that lock files and the like name, with remarks; ends the command for what cannot be read."""
    from nugetproxy.jobs.repository import read_all
    from nugetproxy.jobs.wants import Wants

    try:
        wants = Wants.of(one.needs for one in read_all(files))
    except BadRequest as error:
        fail([str(error)], USAGE)
    left_out = ("Projects name no versions; only lock files and the like were looked at.",) if wants.graphs else ()
    return frozenset((*wants.exact, *wants.direct)), (*wants.remarks, *left_out)
