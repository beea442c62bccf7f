"""Leaks are looked for in what the configured upstreams, or a running proxy, would publish."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from itertools import groupby
from urllib.parse import urlsplit

import structlog
from multidict import CIMultiDict, CIMultiDictProxy
from rich.console import Console

from nugetproxy.app import App, build
from nugetproxy.clock import Clock
from nugetproxy.config import Cache, Config
from nugetproxy.errors import ProxyError, UpstreamFailure
from nugetproxy.feeds.published import ReadSide
from nugetproxy.feeds.reply import View
from nugetproxy.jobs.leaks import Fetch, Fetched, LeakWalk, Report
from nugetproxy.metrics import Metrics
from nugetproxy.nuget.kinds import JSON_TYPE
from nugetproxy.nuget.leaks import Verdict
from nugetproxy.nuget.routes import parse_route
from nugetproxy.upstream.client import UpstreamClient
from nugetproxy.upstream.settings import UpstreamSettings

PRETENDED = "https://nugetproxy.invalid/"
"""Who we are for the examination: https, so that everything is published that ever is."""
STYLES = {Verdict.LEAK: "bold red", Verdict.BROKEN: "red", Verdict.WEB: "cyan", Verdict.INFORMATION: "blue"}


def find_leaks(config: Config, *, proxy: str, packages: Sequence[str], console: Console) -> bool:
    """Print where every URL leads that we publish; True when one leads clients away.

    Examines the configured upstreams with a fresh cache, or the running proxy whose service index is ``proxy``.
    """
    before = structlog.get_config()
    structlog.configure(processors=[_drop])
    try:
        return asyncio.run(_find_leaks(config, proxy, packages, console))
    finally:
        structlog.configure(**before)


async def _find_leaks(config: Config, proxy: str, packages: Sequence[str], console: Console) -> bool:
    leaks = False
    async with AsyncExitStack() as stack:
        walks = await _running(proxy, stack) if proxy else await _fresh(config, stack)
        for name, walk in walks:
            try:
                with console.status(f"Reading {name} ..."):
                    report = await walk.run(packages)
            except ProxyError as error:
                console.print(f"{name}: {error}", style="red", markup=False)
                leaks = True
                continue
            _print(name, report, console)
            leaks = leaks or report.leaks
    return leaks


async def _fresh(config: Config, stack: AsyncExitStack) -> list[tuple[str, LeakWalk]]:
    """A walk for each upstream, through an application with a cache of its own."""
    directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="nugetproxy-doctor-"))
    app = await stack.enter_async_context(
        build(config.model_copy(update={"cache": Cache(directory=directory, force_network_filesystem=True)}))
    )
    feeds: dict[str, ReadSide] = {**app.feeds, **app.folders}
    return [
        (name, LeakWalk(_through(app, feeds[name]), root=PRETENDED, base=f"{PRETENDED}v3/"))
        for name in config.upstreams
    ]


def _through(app: App, feed: ReadSide) -> Fetch:
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
            return Fetched(503 if isinstance(error, UpstreamFailure) else 404)
        try:
            body = reply.body if isinstance(reply.body, bytes) else b""
            return Fetched(reply.status, reply.content_type, body)
        finally:
            reply.close()

    return fetch


async def _running(proxy: str, stack: AsyncExitStack) -> list[tuple[str, LeakWalk]]:
    """A walk through a running proxy."""
    parts = urlsplit(proxy)
    settings = UpstreamSettings(name="the proxy", index_url=proxy, internal=True)
    client = UpstreamClient(settings, clock=Clock(), metrics=Metrics())
    stack.push_async_callback(client.close)

    async def fetch(url: str, headers_only: bool) -> Fetched:
        try:
            if headers_only:
                return Fetched((await client.head(url)).status)
            answer = await client.get(url)
        except UpstreamFailure:
            return Fetched(503)
        return Fetched(answer.status, answer.content_type or JSON_TYPE, answer.body)

    base = proxy.rpartition("/")[0] + "/"
    root = f"{parts.scheme}://{parts.netloc}{parts.path.partition('v3/')[0]}"
    return [(proxy, LeakWalk(fetch, root=root, base=base))]


def _print(name: str, report: Report, console: Console) -> None:
    order = list(Verdict)
    console.print(f"Where {name} leads away", style="bold", markup=False)
    rows = sorted(report.found.items(), key=lambda row: (order.index(row[0].verdict), row[0].why, row[0].field))
    for (verdict, why), group in groupby(rows, key=lambda row: (row[0].verdict, row[0].why)):
        console.print(f"\n{verdict}: {why}", style=STYLES[verdict], markup=False, soft_wrap=True)
        for sighting, (count, first) in group:
            where = f"{sighting.field} in {first}" if sighting.field and first != "index.json" else sighting.field
            times = f" ({count} times)" if count > 1 else ""
            console.print(f"  {sighting.url}", style="default", markup=False, soft_wrap=True)
            console.print(f"      {where or first}{times}", style="dim", markup=False, soft_wrap=True)
    counts = [f"{sum(s.verdict is v for s in report.found)} {v.lower()}" for v in order if v is not Verdict.OURS]
    sampled = ", ".join(report.packages) or "none"
    told = f"{report.read} documents read; sample packages: {sampled}; {', '.join(counts)}."
    console.print(f"\n{told}", markup=False, soft_wrap=True)
    verdict = "Some links lead clients away." if report.leaks else "No link leads a client away."
    console.print(verdict, style="bold red" if report.leaks else "green")


def _drop(_logger: object, _method: str, _event: object) -> str:
    """What the application logs meanwhile would be torn into the table."""
    raise structlog.DropEvent
