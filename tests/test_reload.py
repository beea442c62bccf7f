"""A running proxy follows another configuration without losing a connection or a download."""

from __future__ import annotations

import asyncio
import signal
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme

from nugetproxy.app import reload
from nugetproxy.config import Config
from nugetproxy.config.cluster import Cluster
from nugetproxy.config.difference import ONLY_AT_START
from nugetproxy.config.section import keys_of
from nugetproxy.errors import ConfigError
from nugetproxy.sources.folder import FolderSource
from nugetproxy.sources.remote import RemoteSource
from nugetproxy.store.token_file import TokenFile
from tests.conftest import StartProxy
from tests.engine.test_signatures import GOOD, ROOT, wanted
from tests.fakes.asking import (
    LARGE,
    PACKAGE,
    SMALL,
    UP_PACKAGE,
    UP_VERSIONS,
    VERSIONS,
    ask,
    until,
)
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.halted import halting
from tests.fakes.origin import Script
from tests.fakes.packages import make_nupkg
from tests.fakes.process import ProxyProcess
from tests.fakes.proxy import Proxy
from tests.test_control import cli
from tests.web.test_tls import issue, shown
from tests.web.test_tokens import basic, token

OTHER = make_nupkg("Acme.B", "1.0.0")
OTHER_PACKAGE = "/two/v3/content/acme.b/1.0.0/acme.b.1.0.0.nupkg"


@pytest.fixture
async def second() -> Any:
    """Another feed, with a package of its own."""
    async with FakeFeed() as feed:
        feed.add(OTHER)
        yield feed


async def test_upstreams_and_feeds_come_and_go(proxy: Proxy, feed: FakeFeed, second: FakeFeed) -> None:
    feed.add(SMALL)
    assert (await ask(proxy, PACKAGE)).body == SMALL
    assert (await ask(proxy, OTHER_PACKAGE)).status == 404
    table = {"url": second.index_url, "private": False}
    feeds = {"all": {"sources": ["up", "two"], "default": True}}
    done = await proxy.reload(upstreams={"two": table}, feeds=feeds, upstream={"private": False})
    assert done.changed == ("upstreams.up.private", "upstreams.two", "feeds.all")
    assert (await ask(proxy, OTHER_PACKAGE)).body == OTHER
    assert (await ask(proxy, "/v3/content/acme.b/1.0.0/acme.b.1.0.0.nupkg")).body == OTHER, "in the feed of both"
    assert (await ask(proxy, PACKAGE)).body == SMALL
    await proxy.reload()
    for path in (OTHER_PACKAGE, "/all/v3/index.json", "/v3/content/acme.b/1.0.0/acme.b.1.0.0.nupkg"):
        assert (await ask(proxy, path)).status == 404, path
    await second.set_mode("refused")
    await proxy.reload(upstreams={"two": table})
    again = await ask(proxy, OTHER_PACKAGE)
    assert (again.status, again.body) == (200, OTHER), "what is held is still there"
    assert again.cache.startswith("hit")
    assert feed.count(UP_PACKAGE) == 1


async def test_a_download_goes_on_and_is_joined(proxy: Proxy, feed: FakeFeed) -> None:
    gate = asyncio.Event()
    feed.origin.routes[UP_PACKAGE] = Script(body=LARGE, gate=gate, gate_at=200_000)
    async with proxy.client.get(PACKAGE) as first:
        start = await first.content.readexactly(100_000)
        await proxy.reload(upstream={"tries": 5, "headers": {"X-Team": "build"}}, cache={"abandon_above": "1 GiB"})
        async with proxy.client.get(PACKAGE) as late:
            assert "collapsed" in late.headers["Cache-Status"]
            gate.set()
            assert await late.content.read() == LARGE
            assert start + await first.content.read() == LARGE
    assert feed.count(UP_PACKAGE) == 1
    await until(lambda: not proxy.app.retired)
    feed.add(make_nupkg("Acme.C", "1.0.0"))
    assert (await ask(proxy, "/v3/content/acme.c/1.0.0/acme.c.1.0.0.nupkg")).status == 200
    assert feed.requests[-1].headers["X-Team"] == "build"


async def test_a_package_that_was_asked_for_just_before_its_upstream_went_offline_is_not_held(
    proxy: Proxy, feed: FakeFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed.add(SMALL)
    source = proxy.app.sources["up"]
    assert isinstance(source, RemoteSource)
    async with halting(monkeypatch, source._cache, "known_absent", lambda: ask(proxy, PACKAGE)) as under_way:
        await proxy.reload(upstream={"offline": True})
    before, after = await under_way, await ask(proxy, PACKAGE)
    assert (before.status, before.body) == (after.status, after.body)
    assert after.status == 404


async def test_connections_of_before_are_closed_once_nobody_uses_them(proxy: Proxy, feed: FakeFeed) -> None:
    gate = asyncio.Event()
    feed.origin.routes[UP_VERSIONS] = Script(body=b'{"versions":["1.0.0"]}', gate=gate)
    waiting = asyncio.create_task(ask(proxy, VERSIONS))
    await until(lambda: feed.count(UP_VERSIONS) == 1)
    await proxy.reload(upstream={"tries": 5})
    await proxy.reload(upstream={"tries": 6})
    await asyncio.sleep(0)
    assert len(proxy.app.retired) == 2
    gate.set()
    assert (await waiting).status == 200
    await until(lambda: not proxy.app.retired)


async def test_a_folder_of_before_is_closed_once_nobody_uses_it(
    start_proxy: StartProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its index's connections, its threads stayed until the end."""
    closed = []
    close = FolderSource.close

    async def closing(source: FolderSource) -> None:
        await close(source)
        closed.append(source)

    monkeypatch.setattr(FolderSource, "close", closing)
    roots = tmp_path / "roots.pem"
    roots.write_bytes(ROOT.pem)
    (tmp_path / "shelf").mkdir()
    (tmp_path / "shelf" / "acme.a.1.0.0.nupkg").write_bytes(GOOD)
    proxy = await start_proxy((tmp_path / "shelf").as_uri())
    assert (await ask(proxy, PACKAGE)).status == 200
    before = []
    for mode in ("warn", "require"):
        before.append(proxy.app.sources["up"])
        await proxy.reload(upstream=wanted(mode, roots))
        assert (await ask(proxy, PACKAGE)).status == 200
    await until(lambda: closed == before)


async def test_an_upstream_that_stays_as_it_is_keeps_what_it_knows(
    proxy: Proxy, feed: FakeFeed, second: FakeFeed
) -> None:
    source = proxy.app.sources["up"]
    await proxy.reload(
        upstreams={"two": {"url": second.index_url}}, server={"body_timeout": "7s"}, upstream={"private": True}
    )
    assert proxy.app.sources["up"] is source
    await proxy.reload(limits={"document": "1 MiB"})
    assert proxy.app.sources["up"] is not source


async def test_an_upstream_that_comes_back_follows_what_has_changed_meanwhile(proxy: Proxy, second: FakeFeed) -> None:
    tables = {"upstreams": {"two": {"url": second.index_url, "private": False}}, "upstream": {"private": False}}
    small = {"limits": {"package": "50 KiB"}}
    second.add(make_nupkg("Acme.B", "2.0.0", size=100_000))
    await proxy.reload(**tables)
    await proxy.reload()
    await proxy.reload(**small)
    await proxy.reload(**tables, **small)
    assert (await ask(proxy, OTHER_PACKAGE.replace("1.0.0", "2.0.0"))).status == 502


@pytest.mark.parametrize("kept", [{}, {"offline": True}], ids=["removed", "offline"])
async def test_an_upstream_that_nobody_asks_any_more_is_not_lost_for_ever(
    start_proxy: StartProxy, feed: FakeFeed, second: FakeFeed, kept: dict[str, Any]
) -> None:
    table = {"url": second.index_url, "tries": 1, "breaker_failures": 1}
    proxy = await start_proxy(feed.index_url, upstreams={"two": table})
    await second.set_mode("refused")
    origin = second.index_url.removesuffix("/v3/index.json")
    assert (await ask(proxy, OTHER_PACKAGE)).status == 503
    assert proxy.metric("breaker_open", upstream="two", origin=origin) == 1
    await proxy.reload(upstreams={"two": {**table, **kept}} if kept else {})
    assert proxy.metric("breaker_open", upstream="two", origin=origin) == 0
    await proxy.reload(upstreams={"two": table})
    assert proxy.metric("breaker_open", upstream="two", origin=origin) == (0 if kept else 1), "as it was left"


async def test_a_folder_that_nobody_looks_into_any_more_is_not_counted(
    start_proxy: StartProxy, feed: FakeFeed, tmp_path: Path
) -> None:
    folder = tmp_path / "packages"
    folder.mkdir()
    (folder / "acme.a.1.0.0.nupkg").write_bytes(SMALL)
    proxy = await start_proxy(feed.index_url, upstreams={"lib": {"url": str(folder)}})
    proxy.app.start_background()
    await until(lambda: proxy.metric("folder_packages", upstream="lib") == 1)
    await proxy.reload()
    assert proxy.metric("folder_packages", upstream="lib") == 0
    await proxy.reload(upstreams={"lib": {"url": str(folder)}})
    await until(lambda: proxy.metric("folder_packages", upstream="lib") == 1)


async def test_policies_and_limits_are_followed(proxy: Proxy, feed: FakeFeed, clock: FakeClock) -> None:
    feed.add(SMALL)
    for _ in range(3):
        assert (await ask(proxy, VERSIONS)).status == 200
    assert feed.count(UP_VERSIONS) == 1
    clock.advance(10)
    await proxy.reload(policy={"versions": {"fresh": "5s", "refresh": "0s"}})
    assert (await ask(proxy, VERSIONS)).cache.startswith("fwd=stale")
    assert feed.count(UP_VERSIONS) == 2
    feed.add(make_nupkg("Acme.A", "2.0.0", size=100_000))
    await proxy.reload(limits={"package": "50 KiB"}, cache={"max_size": "20 MiB"})
    assert (await ask(proxy, "/v3/content/acme.a/2.0.0/acme.a.2.0.0.nupkg")).status == 502
    assert proxy.metric("store_limit_bytes", part="packages") == 20 * 2**20


async def test_who_may_read_is_asked_from_the_next_request_on(
    proxy: Proxy, feed: FakeFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed.add(SMALL)
    secret = await token(proxy, "admin", name="only-admin")
    for _ in range(3):  # the last ones on the fast lane
        assert (await ask(proxy, PACKAGE)).status == 200
    await proxy.reload(upstream={"anonymous": False})
    assert (await ask(proxy, PACKAGE)).status == 401
    assert (await ask(proxy, PACKAGE, headers=basic(secret))).status == 403
    monkeypatch.setenv("NUGETPROXY_TEST_TOKEN", "a token of sixteen characters")
    given = {"name": "ci", "token": "env:NUGETPROXY_TEST_TOKEN", "scopes": ["read"]}
    await proxy.reload(upstream={"anonymous": False}, access={"tokens": [given]})
    shown = basic("a token of sixteen characters")
    assert (await ask(proxy, PACKAGE, headers=shown)).status == 200
    await proxy.reload(upstream={"anonymous": False})
    assert (await ask(proxy, PACKAGE, headers=shown)).status == 401
    await proxy.reload()
    assert (await ask(proxy, PACKAGE)).status == 200


async def test_nothing_is_opened_by_accident(proxy: Proxy, feed: FakeFeed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUGETPROXY_TEST_SECRET", "what the upstream wants")
    proxy.listens(local=False)
    app = proxy.app
    before = (app.config, app.edge, app.sources, app.admission, app.room.tenants)
    with pytest.raises(ConfigError, match="would read up with your credentials"):
        await proxy.reload(upstream={"headers": {"X-Api-Token": "env:NUGETPROXY_TEST_SECRET"}})
    assert (app.config, app.edge, app.sources, app.admission, app.room.tenants) == before
    assert (await ask(proxy, "/v3/index.json")).status == 200


async def test_what_cannot_be_opened_changes_nothing(proxy: Proxy, second: FakeFeed) -> None:
    (proxy.directory / "two").write_text("in the way")
    app = proxy.app
    before = (app.config, app.edge, app.sources, app.room.tenants)
    with pytest.raises(Exception, match="two"):
        await proxy.reload(upstreams={"two": {"url": second.index_url}})
    assert (app.config, app.edge, app.sources, app.room.tenants) == before
    (proxy.directory / "two").unlink()
    await proxy.reload(upstreams={"two": {"url": second.index_url}})
    assert (await ask(proxy, OTHER_PACKAGE)).body == OTHER


def with_token(file: Path) -> dict[str, Any]:
    """Another token of the configuration, another way to ask ``up``."""
    file.write_text("a token of sixteen characters")
    given = {"name": "ci", "token": f"file:{file}", "scopes": ["read"]}
    return {"access": {"tokens": [given]}, "upstream": {"tries": 5}}


async def test_a_secret_that_goes_while_folders_are_opened_holds_up_nothing(
    proxy: Proxy, feed: FakeFeed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed.add(SMALL)
    tables = with_token(file := tmp_path / "token")
    async with halting(monkeypatch, reload, "settle_ledger", lambda: proxy.reload(**tables)):
        file.unlink()
    shown = basic("a token of sixteen characters")
    assert proxy.app.config.upstreams["up"].tries == 5
    assert [(await ask(proxy, PACKAGE, headers=headers)).status for headers in ({}, shown)] == [401, 200]


@pytest.mark.parametrize("of_upstream", [False, True])
async def test_a_secret_that_went_before_it_was_read_changes_nothing(
    proxy: Proxy, second: FakeFeed, tmp_path: Path, of_upstream: bool
) -> None:
    tables = with_token(file := tmp_path / "token")
    if of_upstream:
        headers = {"headers": {"X-Secret": f"file:{file}"}, "anonymous": True}
        tables = {"upstreams": {"two": {"url": second.index_url}}, "upstream": headers}
    app = proxy.app
    before = (app.config, app.edge, app.sources, app.room.tenants)
    proxy._wanted = proxy.configured(**tables)
    file.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        await proxy._reload.now()
    assert (app.config, app.edge, app.sources, app.room.tenants) == before


async def test_what_needs_a_restart_is_named_and_stays(proxy: Proxy, feed: FakeFeed, second: FakeFeed) -> None:
    done = await proxy.reload(
        server={"listen": "127.0.0.1:1", "drain": "9s", "body_timeout": "7s"},
        cache={"hot_memory": "64 MiB", "directory": "/elsewhere"},
        upstream={"url": second.index_url, "tries": 9},
    )
    assert done.changed == ("server.body_timeout",)
    assert done.restart == (
        "cache.directory",
        "cache.hot_memory",
        "server.drain",
        "server.listen",
        "upstreams.up.url",
        "upstreams.up.tries",
    ), "nothing else of what is another feed is followed: that is said, too"
    assert proxy.app.config.upstreams["up"].url == feed.index_url
    assert not (await proxy.reload(server={"body_timeout": "7s"})).restart


SECTIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "server": (
        {"listen": "127.0.0.1:1", "admin_listen": "127.0.0.1:2", "drain": "9s", "event_loop": "uvloop"},
        {"body_timeout": "7s", "allowed_hosts": ["nuget.example.com"], "public_url": "http://nuget.example.com"},
    ),
    "network": ({}, {"no_proxy": ["example.com"]}),
    "cache": (
        {"directory": "/elsewhere", "hot_memory": "64 MiB", "scrub_rate": "1 MiB", "force_network_filesystem": True},
        {"max_size": "1 GiB", "unused_for": "9d", "keep_last": 4},
    ),
    "limits": ({}, {"push": "7 MiB"}),
    "policy": ({}, {"versions": {"fresh": "9s"}}),
    "feeds": ({}, {"all": {"sources": ["up"]}}),
    "symbols": ({}, {"urls": ["https://symbols.example.com"]}),
    "tools": ({}, {"url": "https://tools.example.com/tools.json"}),
    "access": ({"tokens_file": "/elsewhere/tokens"}, {}),
    "log": ({"format": "json", "traces": "http://127.0.0.1:1"}, {"sample_hits": 7}),
    "history": ({}, {"restores": 7, "usage": "7d"}),
    "cluster": ({"coordination": "redis://127.0.0.1:1/0"}, {}),
    "mirror": ({"ids": ["acme.*"], "latest": 3, "since": "2026-01-31", "prerelease": True, "unlisted": True}, {}),
}
"""By section: what wants a restart, what does not."""


def test_every_section_is_looked_at() -> None:
    assert set(SECTIONS) | {"upstreams"} == set(keys_of(Config))
    named = {(section, key) for section, (fixed, _) in SECTIONS.items() for key in fixed}
    alike = {("mirror", "feed"), ("mirror", "dependencies")} | {("cluster", name) for name in keys_of(Cluster)}
    assert ONLY_AT_START - named <= alike, "which go with those that are tried"
    assert named <= ONLY_AT_START


@pytest.mark.parametrize("section", SECTIONS)
async def test_what_a_section_has_that_wants_a_restart_is_named(proxy: Proxy, section: str) -> None:
    fixed, followed = SECTIONS[section]
    before = proxy.app.config
    done = await proxy.reload(**{section: {**fixed, **followed}})
    assert done.restart == tuple(f"{section}.{key}" for key in sorted(fixed))
    assert bool(done.changed) == bool(followed)
    assert all(key.startswith(f"{section}.") for key in done.changed)
    now = proxy.app.config
    for key in fixed:
        assert getattr(getattr(now, section), key) == getattr(getattr(before, section), key)
    if followed:
        assert getattr(now, section) != getattr(before, section)


async def test_an_upstream_that_went_may_not_come_back_as_another_feed(
    proxy: Proxy, feed: FakeFeed, second: FakeFeed
) -> None:
    async with FakeFeed() as third:
        await proxy.reload(upstreams={"two": {"url": second.index_url}})
        await proxy.reload()
        done = await proxy.reload(upstreams={"two": {"url": third.index_url}})
        assert done.restart == ("upstreams.two.url",)
        assert (await ask(proxy, OTHER_PACKAGE)).body == OTHER


async def test_an_upstream_that_comes_while_the_ledger_is_tidied_disturbs_nothing(
    proxy: Proxy, second: FakeFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = proxy.app.ledger
    async with halting(monkeypatch, ledger.links("up"), "trim", ledger.tidy):
        await proxy.reload(upstreams={"two": {"url": second.index_url}})
    assert (await ask(proxy, OTHER_PACKAGE)).body == OTHER


@pytest.mark.slow
async def test_nobody_notices_a_reload_under_load(start_proxy: StartProxy, feed: FakeFeed, second: FakeFeed) -> None:
    for number in range(40):
        feed.add(make_nupkg("Acme.A", f"1.0.{number}", size=30_000))
    proxy = await start_proxy(feed.index_url)
    proxy.app.start_background()
    stop, statuses = asyncio.Event(), list[int]()

    async def restore(session: aiohttp.ClientSession, at: int) -> None:
        while not stop.is_set():
            for path in (f"/v3/content/acme.a/1.0.{at % 40}/acme.a.1.0.{at % 40}.nupkg", VERSIONS, "/v3/index.json"):
                async with session.get(proxy.url + path) as answer:
                    await answer.read()
                    statuses.append(answer.status)
            at += 1

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        clients = [asyncio.create_task(restore(session, at)) for at in range(0, 40, 4)]
        for number in range(12):
            seen = len(statuses)
            await until(lambda least=seen + 40: len(statuses) >= least)  # type: ignore[misc]
            two = {"two": {"url": second.index_url}} if number % 2 else {}
            await proxy.reload(upstream={"tries": 2 + number % 8}, upstreams=two, limits={"push": f"{number + 1} MiB"})
        stop.set()
        await asyncio.gather(*clients)
    assert set(statuses) == {200}
    assert {feed.count(f"/v3-flatcontainer/acme.a/1.0.{at}/acme.a.1.0.{at}.nupkg") for at in range(40)} <= {0, 1}
    await until(lambda: not proxy.app.retired)


# --- the process ---


@pytest.fixture
def file(tmp_path: Path, feed: FakeFeed) -> Path:
    file = tmp_path / "proxy.toml"
    file.write_text(text(tmp_path, feed))
    return file


def text(folder: Path, feed: FakeFeed, more: str = "") -> str:
    return f'[cache]\ndirectory = "{folder / "cache"}"\n[upstreams.up]\nurl = "{feed.index_url}"\n{more}'


async def test_the_command_says_what_came_of_it(file: Path, tmp_path: Path, feed: FakeFeed, second: FakeFeed) -> None:
    words = ("reload", "--config", file)
    code, _, told = await cli(*words)
    assert (code, "no proxy has run with it" in told) == (1, True)
    two = f'[upstreams.two]\nurl = "{second.index_url}"\n'
    async with ProxyProcess("--config", file) as proxy, aiohttp.ClientSession() as session:
        assert await cli(*words) == (0, "Nothing has changed.\n", "")
        file.write_text(text(tmp_path, feed, two + '[log]\nlevel = "debug"\nformat = "json"\n'))
        code, out, told = await cli(*words)
        assert (code, out) == (0, "Changed: log.level\nChanged: upstreams.two\n")
        assert "Needs a restart: log.format\n" in told
        async with session.get(f"{proxy.url}{OTHER_PACKAGE}") as answer:
            assert await answer.read() == OTHER
        await proxy.logged("configuration.reloaded", changed=["log.level", "upstreams.two"], restart=["log.format"])
        file.write_text(text(tmp_path, feed, "[upstreams.two]\n"))
        code, out, told = await cli(*words)
        assert (code, out, "upstreams.two.url: is missing" in told) == (78, "", True)
        async with session.get(f"{proxy.url}{OTHER_PACKAGE}") as answer:
            assert answer.status == 200


async def refused_reload(folder: Path) -> str:
    """What the proxy says to a reload that it cannot carry out."""
    connector = aiohttp.UnixConnector(str(folder / "cache" / "run" / "control.sock"))
    session = aiohttp.ClientSession(connector=connector)
    async with session, session.post("http://localhost/-/reload", json={}) as answer:
        told: str = (await answer.json())["error"]
        assert (answer.status, told.partition(": ")[0]) == (400, "The configuration was not changed"), told
        return told


async def test_the_running_proxy_says_why_it_does_not_follow(
    file: Path, tmp_path: Path, feed: FakeFeed, second: FakeFeed
) -> None:
    async with ProxyProcess("--config", file, environ={"NUGETPROXY_LOG__LEVEL": "info"}) as proxy:
        file.write_text(text(tmp_path, feed, "[limits]\npush = 12\n"))
        proxy.send(signal.SIGHUP)
        refused = await proxy.logged("configuration.refused")
        assert "limits.push" in refused["detail"]
        assert "limits.push" in await refused_reload(tmp_path)
        (tmp_path / "cache" / "two").write_text("in the way")
        file.write_text(text(tmp_path, feed, f'[upstreams.two]\nurl = "{second.index_url}"\n'))
        assert "Move the file away" in await refused_reload(tmp_path)
        file.write_text(text(tmp_path, feed, '[limits]\npush = "12 MiB"\n'))
        proxy.send(signal.SIGHUP)
        await proxy.logged("configuration.reloaded", changed=["limits.push"])


@pytest.mark.slow
async def test_another_certificate_is_shown_to_new_connections(tmp_path: Path, feed: FakeFeed) -> None:
    authority, file = trustme.CA(), tmp_path / "proxy.toml"
    context = ssl.create_default_context()
    authority.configure_trust(context)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        issue(authority, tmp_path / name)

    def server(name: str) -> str:
        files = [tmp_path / name / one for one in ("certificate.pem", "key.pem")]
        return f'[server]\ntls_certificate = "{files[0]}"\ntls_key = "{files[1]}"\n'

    file.write_text(text(tmp_path, feed, server("one")))
    async with ProxyProcess("--config", file) as proxy:
        before = await shown(proxy.port, context)
        file.write_text(text(tmp_path, feed, server("two")))
        code, out, _ = await cli("reload", "--config", file)
        assert (code, out) == (0, "Changed: server.tls_certificate\nChanged: server.tls_key\n")
        await proxy.logged("tls.read")
        after = await shown(proxy.port, context)
        assert after != before
        issue(authority, tmp_path / "two")
        async with asyncio.timeout(20):
            while await shown(proxy.port, context) == after:
                await asyncio.sleep(0.1)
        file.write_text(text(tmp_path, feed))
        _, _, told = await cli("reload", "--config", file)
        assert "Needs a restart: server.tls_certificate\n" in told


@pytest.mark.parametrize("more", [{}, {"limits": {"document": "1 MiB"}}])
async def test_a_secret_that_was_replaced_a_moment_before_is_read(
    start_proxy: StartProxy, feed: FakeFeed, tmp_path: Path, more: dict[str, Any]
) -> None:
    """Whoever rotates a secret writes its file, then has the proxy reload; the watch has not looked in between."""
    file = tmp_path / "secret"
    file.write_text("the one of before")
    feed.add(SMALL)
    upstream = {"headers": {"X-Secret": f"file:{file}"}, "anonymous": True}
    proxy = await start_proxy(feed.index_url, upstream=upstream)
    feed.add(make_nupkg("Acme.B", "1.0.0"))
    file.write_text("the new one")
    await proxy.reload(upstream=upstream, server={"body_timeout": "7s"}, **more)
    await proxy.app.watch.look()

    assert (await ask(proxy, "/v3/content/acme.b/index.json")).status == 200
    assert feed.requests[-1].headers["X-Secret"] == "the new one"


async def test_an_authority_that_was_replaced_in_its_file_is_read(proxy: Proxy, tmp_path: Path) -> None:
    file = tmp_path / "authority.pem"
    trustme.CA().cert_pem.write_to_path(file)
    upstream = {"ca_file": str(file)}
    await proxy.reload(upstream=upstream)
    source = proxy.app.sources["up"]
    assert not (await proxy.reload(upstream=upstream)).changed
    trustme.CA().cert_pem.write_to_path(file)
    assert (await proxy.reload(upstream=upstream)).changed == ("upstreams.up.ca_file",)
    assert proxy.app.sources["up"] is not source
    assert not (await proxy.reload(upstream=upstream)).changed


async def test_a_secret_that_was_replaced_while_its_upstream_was_away_is_read(
    proxy: Proxy, second: FakeFeed, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    file.write_text("the one of before")
    two = {"url": second.index_url, "headers": {"X-Secret": f"file:{file}"}, "anonymous": True}
    await proxy.reload(upstreams={"two": two})
    await proxy.reload()
    file.write_text("the new one")
    await proxy.reload(upstreams={"two": two})
    await proxy.app.watch.look()
    assert (await ask(proxy, OTHER_PACKAGE)).status == 200
    assert second.requests[-1].headers["X-Secret"] == "the new one"


async def test_a_token_that_another_process_revoked_a_moment_before_is_good_no_more(
    start_proxy: StartProxy, feed: FakeFeed, tmp_path: Path
) -> None:
    feed.add(SMALL)
    access = {"tokens_file": str(tmp_path / "tokens.json")}
    proxy = await start_proxy(feed.index_url, access=access)
    secret = await token(proxy, "read")
    await proxy.app.watch.look()
    assert (await ask(proxy, VERSIONS, headers=basic(secret))).status == 200
    await TokenFile(tmp_path / "tokens.json").remove_token("one")
    await proxy.reload(access=access, server={"body_timeout": "7s"})
    await proxy.app.watch.look()

    assert proxy.app.tokens.of(secret) is None
