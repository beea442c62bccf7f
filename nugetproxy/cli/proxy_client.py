"""A job's client of the proxy is opened here: of its socket while it runs, else of an application built for the job."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from nugetproxy.cli.control import NOBODY, Connection, opened, unreachable
from nugetproxy.cli.quiet import quiet
from nugetproxy.cli.socket_client import SocketClient
from nugetproxy.errors import BadRequest
from nugetproxy.jobs.proxy_client import ProxyClient

if TYPE_CHECKING:
    from nugetproxy.config import Config


@asynccontextmanager
async def proxy_client(settings: Config) -> AsyncIterator[ProxyClient]:
    """A client of the proxy that runs with this cache directory, or of one opened for now; raises StoreUnusable."""
    if await asyncio.to_thread(_runs, settings.cache.path):
        client = SocketClient(settings.cache.path)
        try:
            yield client
        finally:
            client.close()
        return
    from nugetproxy.jobs.inner_client import InnerClient

    with quiet():
        async with opened(settings) as app:
            for name, packages in app.packages.items():  # much that is held is not known, nor counted, at once
                app.tasks.keep(packages.stock.keep, name=f"holdings {name}")
            yield InnerClient(lambda: app.desk, f"uid {os.getuid()} (command line)")


def _runs(cache: Path) -> bool:
    connection = Connection(cache)
    try:
        connection.connect()
    except OSError as error:
        if error.errno in NOBODY:
            return False
        raise BadRequest(unreachable(cache, error)) from error
    finally:
        connection.close()
    return True
