"""Proxy is the real application behind a real socket, in this process."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractResolver
from aiohttp.test_utils import BaseTestServer, TestClient

from nugetproxy.app import App, build
from nugetproxy.app.reload import Reload, Reloaded
from nugetproxy.clock import Clock
from nugetproxy.config import Config
from nugetproxy.config.tables import read
from nugetproxy.engine.packages import Packages
from nugetproxy.sources.folder import FolderSource
from nugetproxy.store.fs import FsOps
from nugetproxy.web.server import LimitedServer
from tests.fakes import canary

PATIENT = {"connect_timeout": "10s", "read_timeout": "10s", "document_deadline": "20s"}
"""Upstream times that no test comes near on a busy machine; tests of a hanging upstream set short ones."""


FOREGROUND = {
    kind: {"refresh": "0s"} for kind in ("versions", "registration", "registration_page", "registration_leaf")
}
"""Revalidation that clients wait for, as most tests of it want to see; ``policy={}`` gives a test the shipped table."""


class Proxy:
    """Starts and stops as often as a test wants, on the same cache directory.

    ``tables`` are configuration tables by name; ``upstream`` in them adds to the first upstream's table, ``upstreams``
    are further ones. ``fs`` and ``resolver`` replace the file system and the name look-ups.
    """

    def __init__(
        self,
        index_url: str,
        directory: Path,
        *,
        clock: Clock,
        fs: FsOps | None = None,
        resolver: AbstractResolver | None = None,
        **tables: Any,
    ) -> None:
        self._index_url = index_url
        self.directory = directory
        self.config = self.configured(**tables)
        self._clock = clock
        self._fs = fs
        self._resolver = resolver
        self.app: App
        self.client: TestClient[web.BaseRequest, Any]
        self.running = False

    def configured(self, **tables: Any) -> Config:
        """The configuration with these tables."""
        upstream = {"url": self._index_url, **PATIENT, **tables.pop("upstream", {})}
        tables = {"symbols": {"urls": []}, "tools": {"url": ""}, **tables}
        server = {"drain": "1s", **tables.pop("server", {})}
        policy = tables.pop("policy", FOREGROUND)
        cache = {"directory": str(self.directory), "min_free": "0", **tables.pop("cache", {})}
        upstreams = {"up": upstream, **tables.pop("upstreams", {})}
        upstreams = {name: table for name, table in upstreams.items() if table is not None}
        tables |= {"upstreams": upstreams, "cache": cache, "server": server, "policy": policy}
        return read(Config, tables)

    async def reload(self, **tables: Any) -> Reloaded:
        """Follow the configuration with these tables instead; an upstream that is None is there no more."""
        self._wanted = self.configured(**tables)
        done = await self._reload.now()
        self.config = self.app.config
        return done

    async def start(self) -> None:
        """Open the store and listen."""
        self.app = build(self.config, jitter=0.0, clock=self._clock, fs=self._fs, resolver=self._resolver)
        await self.app.__aenter__()
        self._wanted = self.config
        self._reload = Reload(self.app, lambda: self._wanted)
        self._server = _Server(self.app)
        self.client = TestClient(self._server, trace_configs=[canary.watch()])
        await self.client.start_server()
        self.running = True

    async def stop(self) -> None:
        """Stop listening, then close the store; may be called again."""
        if self.running:
            self.running = False
            await self.client.close()
            await self.app.__aexit__(None, None, None)
            assert not canary.sightings(self._labels()), "a secret in the metrics"
            assert not (found := canary.search(self.directory)), f"secrets in the cache directory: {found}"

    def _labels(self) -> bytes:
        """All text in the metrics that is not the same in every proxy."""
        families = self.app.metrics.registry.collect()
        return "\n".join(label for one in families for at in one.samples for label in at.labels.values()).encode()

    async def restart(self) -> None:
        """Stop and start as a new process would."""
        await self.stop()
        await self.start()

    def listens(self, *, local: bool) -> None:
        """From now on it is as if clients came in by a socket of this machine only, or by one for everybody."""
        with socket.create_server(("127.0.0.1" if local else "0.0.0.0", 0)) as listener:
            self.app.admission.listens_on([listener])

    @property
    def url(self) -> str:
        """Our address without a slash at its end."""
        return str(self.client.make_url("/")).rstrip("/")

    @property
    def held(self) -> Packages:
        """What the remote upstream's source holds."""
        return self.app.packages["up"]

    @property
    def library(self) -> FolderSource:
        """The source of a folder of packages."""
        source = self.app.sources["up"]
        assert isinstance(source, FolderSource)
        return source

    @property
    def packages(self) -> Path:
        """The package folder."""
        return self.directory / "up" / "packages"

    def open_connections(self) -> int:
        """Of clients, now."""
        return self._server.limited.open_connections

    def metric(self, name: str, **labels: str) -> float:
        """The value of one metric now; 0 if it was never counted."""
        full = f"nugetproxy_{name}"
        registry = self.app.metrics.registry
        # All would take 3 ms; but not all collectors say beforehand what they have.
        for family in list(registry.restricted_registry([full]).collect()) or registry.collect():
            for sample in family.samples:
                if sample.name == full and sample.labels == labels:
                    return sample.value
        return 0.0


class _Server(BaseTestServer):
    limited: LimitedServer

    def __init__(self, app: App) -> None:
        super().__init__()
        self._app = app

    async def _make_runner(self, **_: Any) -> web.ServerRunner:
        limits = self._app.config.server
        self.limited = LimitedServer(
            self._app.answer,
            max_connections=self._app.descriptors.clients,
            max_per_ip=limits.max_connections_per_ip,
            front_ends=limits.trusted_proxies,
            header_timeout=limits.header_timeout,
            write_timeout=limits.write_timeout,
            metrics=self._app.metrics,
            lane=self._app.lane,
        )
        return web.ServerRunner(self.limited, shutdown_timeout=limits.drain)
