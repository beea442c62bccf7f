"""Measures cold packages of 20 kB on a disk whose syncs take long: ``python -m tests.bench.slow_sync``.

Every sync of the package folder takes so many milliseconds more (``--ms``, default 20); 16 clients. It says how many
packages a second were answered, and how long the last of them took to be committed behind the answers.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from nugetproxy.clock import Clock
from nugetproxy.store.fs import FsOps
from tests.bench import load, material, nginx
from tests.bench.points import CONNECTIONS
from tests.bench.servers import Server
from tests.fakes.proxy import Proxy

PATH = f"/v3/content/{material.COLD_SMALL}/1.0.{{0}}/{material.COLD_SMALL}.1.0.{{0}}.nupkg"


class SlowDisk(FsOps):
    """Waits before it syncs, as a disk does whose every flush takes so long."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def call(self, op: str, path: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if op in {"fsync", "fsync_dir"}:
            time.sleep(self._seconds)
        return super().call(op, path, function, *args, **kwargs)


class Here(Server):
    """The proxy in this process, as those who ask it see it."""

    def __init__(self, port: int) -> None:
        super().__init__([], Path())
        self.port = port


async def measure(count: int, ms: int) -> str:
    """Ask for ``count`` packages; what there is to say of it."""
    with tempfile.TemporaryDirectory(prefix="nugetproxy-sync-") as name:
        folder = Path(name)
        material.write_cold(folder / "feed", lists=0, small=count, large=0)
        with nginx.Static(folder / "feed", folder / "static") as origin:
            index = f"{origin.root}/v3/index.json"
            proxy = Proxy(index, folder / "cache", clock=Clock(), fs=SlowDisk(ms / 1000))
            await proxy.start()
            try:
                here = Here(proxy.client.port or 0)
                done = await asyncio.to_thread(load.misses, here, PATH, first=0, count=count, clients=CONNECTIONS)
                began = time.monotonic()
                while proxy.metric("pending_commits"):
                    await asyncio.sleep(0.02)
                behind = time.monotonic() - began
            finally:
                await proxy.stop()
    return f"{ms} ms for a sync: {count / done.seconds:.0f} packages/s, the last committed {behind:.2f} s later"


def main() -> None:
    """Do what the arguments say."""
    parser = ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--packages", type=int, default=1000)
    parser.add_argument("--ms", type=int, default=20)
    arguments = parser.parse_args()
    structlog.configure(processors=[_drop])
    print(asyncio.run(measure(arguments.packages, arguments.ms)))


def _drop(_logger: object, _method: str, _event: object) -> str:
    raise structlog.DropEvent


if __name__ == "__main__":
    main()
