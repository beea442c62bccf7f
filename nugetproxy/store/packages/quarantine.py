"""Quarantine sets damaged packages aside, for the operator to look at."""

from __future__ import annotations

import contextlib
import time

from structlog.typing import FilteringBoundLogger

from nugetproxy.metrics import Metrics
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.fs import DiskFailure
from nugetproxy.store.packages.commit import keep_aside, set_aside
from nugetproxy.store.packages.layout import Layout
from nugetproxy.store.packages.staging import Staged
from nugetproxy.store.threads import DiskCalls


class Quarantine:
    """What is set aside is counted even where the disk does not let it go: it stays refused by every check."""

    def __init__(self, layout: Layout, calls: DiskCalls, *, metrics: Metrics, log: FilteringBoundLogger) -> None:
        self._layout = layout
        self._calls = calls
        self._fs = calls.fs
        self._metrics = metrics
        self._log = log

    async def take(self, identity: PackageIdentity, reason: str) -> int:
        """A held package, with its lock held; its size in bytes, 0 where it was not there or stays where it is."""
        self._metrics.quarantined.labels(reason).inc()
        self._log.error("package.quarantined", package=str(identity), damage=reason)
        name = _name(identity, reason)
        with contextlib.suppress(DiskFailure):
            return await self._calls.run(self._calls.threads.write, set_aside, self._fs, self._layout, identity, name)
        return 0

    async def take_staged(self, staged: Staged, reason: str) -> None:
        """A download."""
        self._metrics.quarantined.labels(reason).inc()
        name = _name(staged.identity, reason)
        with contextlib.suppress(DiskFailure):
            await self._calls.run(
                self._calls.threads.write, lambda: keep_aside(self._fs, self._layout, staged.make_file(), name)
            )


def _name(identity: PackageIdentity, reason: str) -> str:
    return f"{time.time_ns()}-{reason}-{identity.nupkg_name}"
