"""Reaching opens the way that a job has to the proxy: its socket while it runs, else one of the job's own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nugetproxy.cli.door import NOBODY, Connection
from nugetproxy.cli.quiet import quiet
from nugetproxy.cli.socket_way import SocketWay
from nugetproxy.errors import BadRequest
from nugetproxy.jobs.way import Way

if TYPE_CHECKING:
    from nugetproxy.config import Config

OURS: Final = "http://localhost/"
"""Who we are to ourselves."""


@asynccontextmanager
async def reaching(settings: Config) -> AsyncIterator[Way]:
    """The way to the proxy that runs with this cache directory, or to one opened for now; raises StoreUnusable."""
    if await asyncio.to_thread(_runs, settings.cache.path):
        way = SocketWay(settings.cache.path)
        try:
            yield way
        finally:
            way.close()
        return
    from nugetproxy.app import build
    from nugetproxy.jobs.own_way import OwnWay

    with quiet():
        async with build(settings) as app:
            yield OwnWay(app.desk, f"uid {os.getuid()} (command line)")


def _runs(cache: Path) -> bool:
    connection = Connection(cache)
    try:
        connection.connect()
    except OSError as error:
        if error.errno in NOBODY:
            return False
        raise BadRequest(f"The running proxy cannot be reached: {error.strerror or error}.") from error
    finally:
        connection.close()
    return True
