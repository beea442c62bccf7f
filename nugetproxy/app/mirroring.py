"""Mirroring in the background fetches what the configuration names, then keeps it current."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from nugetproxy.admin.desk import Desk
from nugetproxy.clock import Clock
from nugetproxy.config import Config
from nugetproxy.config.units import day_seconds
from nugetproxy.errors import ProxyError
from nugetproxy.jobs.inner_client import InnerClient
from nugetproxy.jobs.mirror import Mirrored, Mirroring, Selection

log = structlog.get_logger(__name__)

AGAIN_SECONDS = 300.0
"""After what ended it, as an upstream that is down at the start."""


async def keep_mirrored(config: Config, desk: Callable[[], Desk], clock: Clock) -> None:
    """Everything that ``[mirror]`` names once, then what changes of it; runs until it is cancelled.

    ``desk`` is asked each time: a reload makes another.
    """
    table = config.mirror
    wish = Selection(
        patterns=tuple(pattern.strip().lower() for pattern in table.ids),
        latest=table.latest,
        since=day_seconds(table.since),
        prerelease=table.prerelease,
        unlisted=table.unlisted,
        dependencies=table.dependencies,
    )
    job = Mirroring(InnerClient(desk, "mirror"), wish, feed=table.feed)
    while True:
        try:
            await job.follow(config.cache.path / "mirror.json", _told, clock.sleep)
        except ProxyError as failure:
            log.warning("mirror.failed", detail=str(failure)[:300])
        await clock.sleep(AGAIN_SECONDS)


def _told(one: Mirrored) -> None:
    log.info(
        "mirror.fetched",
        id=one.id,
        versions=one.versions,
        packages=one.fetched,
        size=one.size,
        held=one.held,
        missing=len(one.missing),
        denied=len(one.denied),
    )
