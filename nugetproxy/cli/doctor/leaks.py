"""Leaks are looked for in what the configured upstreams, or a running proxy, would publish."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack

from multidict import CIMultiDict, CIMultiDictProxy
from rich.console import Console

from nugetproxy.app import App, build
from nugetproxy.cli.doctor.findings import told
from nugetproxy.cli.doctor.running import running_walk
from nugetproxy.cli.doctor.tables import show
from nugetproxy.cli.terminal import shown
from nugetproxy.config import Cache, Config, safe_url
from nugetproxy.errors import ProxyError, UpstreamFailure
from nugetproxy.feeds.feed import Feed
from nugetproxy.feeds.reply import View
from nugetproxy.jobs.leaks import Fetch, LeakWalk
from nugetproxy.jobs.proxy_client import Fetched
from nugetproxy.nuget.routes import parse_route
from nugetproxy.sources.inspection import health_of

PRETENDED = "https://nugetproxy.invalid/"
"""Who we are for the examination: https, so that everything is published that ever is."""

NO_BREAKER = {"breaker_failures": 0}
"""One address that fails, or that asks for patience, must not hide what the others say."""


async def find_leaks(
    config: Config, *, proxy: str, own: bool = False, packages: Sequence[str], console: Console
) -> bool:
    """Print where every URL leads that we publish; True when a client may be led astray.

    Examines the configured upstreams with a fresh cache, or the running proxy whose service index is ``proxy``: all
    feeds of it, where it is this machine's ``own``.
    """
    wrong = False
    async with AsyncExitStack() as stack:
        others = list(config.published)[1:] if own else []
        walks = await running_walk(proxy, others, own=own) if proxy else await _fresh(config, stack)
        for name, walk in walks:
            try:
                with console.status(f"Reading {name} ..."):
                    report = await walk.run(packages)
            except ProxyError as error:
                where = name if proxy else f"{name} ({_upstreams(config, name)})"
                console.print(shown(f"{where}: {error}"), style="red", markup=False, soft_wrap=True)
                wrong = True
                continue
            show(name, report, console)
            wrong = wrong or report.leaks
    return wrong


def _upstreams(config: Config, feed: str) -> str:
    return ", ".join(safe_url(config.upstreams[name].url) for name in config.published[feed].sources)


async def _fresh(config: Config, stack: AsyncExitStack) -> list[tuple[str, LeakWalk]]:
    """A walk for each upstream, through an application with a cache of its own."""
    directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="nugetproxy-doctor-"))
    upstreams = {name: one.but(**NO_BREAKER) for name, one in config.upstreams.items()}
    cache = Cache(directory=directory, force_network_filesystem=True)
    app = await stack.enter_async_context(build(config.but(cache=cache, upstreams=upstreams)))
    return [
        (name, LeakWalk(_through(app, feed), root=PRETENDED, base=f"{PRETENDED}v3/"))
        for name, feed in app.feeds.items()
    ]


def _through(app: App, feed: Feed) -> Fetch:
    """Fetches from the application itself, as its server would."""

    async def fetch(url: str, headers_only: bool) -> Fetched:
        path, _, query = url.removeprefix(PRETENDED).partition("?")
        view = View(base=f"{PRETENDED}v3/", head=headers_only)
        site = app.sites.get(path.partition("/")[0])
        try:
            if site is not None:
                reply = await site.read(path, CIMultiDictProxy(CIMultiDict()), View(base=PRETENDED, head=headers_only))
            elif (route := parse_route(path.removeprefix("v3/"))) is not None and path.startswith("v3/"):
                reply = await feed.read(route, query, view)
            else:
                return Fetched(404)
        except ProxyError as error:
            return Fetched(503, failure=_why(error, feed)) if isinstance(error, UpstreamFailure) else Fetched(404)
        try:
            body = reply.body if isinstance(reply.body, bytes) else b""
            return Fetched(reply.status, reply.content_type, body)
        finally:
            reply.close()

    return fetch


def _why(failure: UpstreamFailure, feed: Feed) -> str:
    """Why there is no answer, with what to do about it where its service index cannot be had."""
    todo = {health.todo for source in feed.sources if (health := health_of(source)).name == failure.upstream}
    return ". ".join(filter(None, (told(failure), *todo))).rstrip(".")
