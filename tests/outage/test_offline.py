"""Offline mode: upstream is never contacted, what is held is the feed."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from structlog.testing import capture_logs

from nugetproxy.config import load
from tests.conftest import StartProxy
from tests.fakes.asking import SMALL, ask, failures, held, until
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy
from tests.outage.kit import COMMON, HIVES, INDEX, is_acceptable, package_url, read, routes_of

VERSIONS = "/v3/content/acme.a/index.json"
REGISTRATION = "/v3/registration/gz-semver2/acme.a/index.json"
SEARCH = "/v3/query?q=acme"
LISTS = (VERSIONS, REGISTRATION, SEARCH)


@pytest.fixture
def contacts(monkeypatch: pytest.MonkeyPatch, feed: FakeFeed) -> Iterator[list[str]]:
    """From ``forbid`` on, every attempt to look up a name or to open a connection to upstream fails and is noted."""
    tried: list[str] = []

    async def connect(_self: object, request: Any, *_: object, **__: object) -> None:
        if request.url.port != feed.origin.port:
            return await allowed(_self, request, *_, **__)
        tried.append(str(request.url))
        raise AssertionError("upstream was contacted")

    allowed: Any = aiohttp.TCPConnector.connect
    monkeypatch.setattr(aiohttp.TCPConnector, "connect", connect)
    real = socket.getaddrinfo

    def look_up(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        if port == feed.origin.port:
            tried.append(f"{host}:{port}")
            raise AssertionError("upstream was looked up")
        return real(host, port, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    yield tried
    assert tried == []


@pytest.fixture
async def directory(start_proxy: StartProxy, feed: FakeFeed) -> Path:
    """A cache directory that was filled online: one of three versions held, all listed; its proxy has stopped."""
    feed.add(SMALL)
    feed.add(make_nupkg("Acme.A", "2.0.0"))
    feed.add(make_nupkg("Acme.A", "3.0.0-beta.1"))
    feed.add(make_nupkg("Acme.B", "1.0.0"))
    proxy = await start_proxy(feed.index_url)
    for path in (
        INDEX,
        package_url("acme.a"),
        *LISTS,
        *(f"/v3/registration/{hive}/acme.a/index.json" for hive in HIVES),
    ):
        assert (await ask(proxy, path)).status == 200
    await proxy.stop()
    feed.requests.clear()
    return proxy.directory


async def offline(start_proxy: StartProxy, feed: FakeFeed, directory: Path, **more: Any) -> Proxy:
    return await start_proxy(feed.index_url, directory=directory, upstream={"offline": True, **more})


@pytest.mark.slow
@pytest.mark.parametrize("versions", ["held", "known"])
async def test_upstream_is_never_contacted(
    start_proxy: StartProxy, feed: FakeFeed, directory: Path, clock: FakeClock, contacts: list[str], versions: str
) -> None:
    """Whatever is asked for, pushed, or done in the background; however old what is stored has become."""
    proxy = await offline(start_proxy, feed, directory, offline_versions=versions)
    proxy.app.start_background()
    clock.advance(365 * 86400)
    for path in [*COMMON, *routes_of("acme.a"), *routes_of("acme.b"), "/v3/catalog/index.json", "/health/ready"]:
        for method in ("GET", "HEAD"):
            got = await ask(proxy, path, method)
            assert got.status in {200, 404}, (path, got.status)
    for method, path in (("PUT", "/v3/package"), ("DELETE", "/v3/package/acme.a/1.0.0"), ("PUT", "/v3/symbolpackage")):
        got = await ask(proxy, path, method, data=b"x", headers={"X-NuGet-ApiKey": "key"})
        assert got.status == 405
        assert b"is offline; nothing can be written to it" in got.body
    key = "5d1c2b3a4f5e6d7c8b9a0f1e2d3c4b5a1"
    for path in ("/tools.json", f"/symbols/acme.pdb/{key}/acme.pdb"):
        for method in ("GET", "HEAD"):
            assert (await ask(proxy, path, method)).status in {404, 503}, path
    await proxy.app.prober.round()
    await proxy.app.scrub.round()
    await proxy.app.housekeeping.round()
    assert (contacts, feed.requests, feed.origin.connections) == ([], [], feed.origin.connections)


async def test_the_guard_would_notice(start_proxy: StartProxy, feed: FakeFeed, contacts: list[str]) -> None:
    proxy = await start_proxy(feed.index_url)
    assert (await ask(proxy, INDEX)).status == 500
    assert contacts
    contacts.clear()


async def test_lists_name_what_is_held(
    start_proxy: StartProxy, feed: FakeFeed, directory: Path, contacts: list[str]
) -> None:
    proxy = await offline(start_proxy, feed, directory)
    await proxy.held.stock.take()
    for path in LISTS:
        got = await ask(proxy, path)
        assert got.status == 200
        assert got.cache == "detail=synthesized"
        is_acceptable(path, got)
        assert b"2.0.0" not in got.body.replace(b'"version":"3.0.0"', b"")
    assert json.loads((await ask(proxy, VERSIONS)).body) == {"versions": ["1.0.0"]}


async def test_or_all_that_was_ever_listed(
    start_proxy: StartProxy, feed: FakeFeed, directory: Path, clock: FakeClock, contacts: list[str]
) -> None:
    proxy = await offline(start_proxy, feed, directory, offline_versions="known")
    clock.advance(365 * 86400)
    got = await ask(proxy, VERSIONS)
    assert json.loads(got.body) == {"versions": ["1.0.0", "2.0.0", "3.0.0-beta.1"]}
    assert got.cache.startswith("hit")
    assert got.cache.endswith("detail=offline")


async def test_what_is_held_was_not_there_when_its_lists_were_asked_for(proxy: Proxy, feed: FakeFeed) -> None:
    """A 404 that is stored is of before."""
    for path in (VERSIONS, REGISTRATION):
        assert (await ask(proxy, path)).status == 404
    feed.add(SMALL)
    assert (await ask(proxy, package_url("acme.a"))).status == 200
    await until(lambda: not proxy.app.tasks.running())
    await proxy.reload(upstream={"offline": True, "offline_versions": "known"})
    assert json.loads((await ask(proxy, VERSIONS)).body) == {"versions": ["1.0.0"]}
    for path in (REGISTRATION, REGISTRATION.replace("index", "1.0.0")):
        assert (await ask(proxy, path)).status == 200


MISSES = [
    package_url("acme.b"),
    package_url("acme.a", "2.0.0"),
    "/v3/content/acme.b/index.json",
    "/v3/registration/gz-semver2/acme.b/index.json",
    "/v3/registration/semver1/acme.b/1.0.0.json",
    package_url("acme.b", file="readme"),
]


@pytest.mark.parametrize("versions", ["held", "known"])
async def test_a_miss_is_an_honest_404(
    start_proxy: StartProxy, feed: FakeFeed, directory: Path, contacts: list[str], versions: str
) -> None:
    """It is what the operator wants: no failure to be counted, or to be warned of."""
    proxy = await offline(start_proxy, feed, directory, offline_versions=versions)
    with capture_logs() as logs:
        for path in MISSES:
            got = await ask(proxy, path)
            assert got.status == 404, path
            assert "Retry-After" not in got.headers
            assert json.loads(got.body)["error"] == "The feed 'up' is offline, and this is not in its cache."
    assert [entry for entry in logs if entry["log_level"] in {"warning", "error"}] == []
    assert failures(proxy, "offline") == 0


async def test_a_search_that_finds_nothing_finds_nothing(
    start_proxy: StartProxy, feed: FakeFeed, directory: Path, contacts: list[str]
) -> None:
    """Here what is held is all there is."""
    proxy = await offline(start_proxy, feed, directory)
    for level, hive in (("", "gz-semver1"), ("&semVerLevel=2.0.0", "gz-semver2")):
        found = await read(proxy, f"/v3/query?q=nothingofthekind{level}")
        assert (found["totalHits"], found["data"]) == (0, [])
        assert found["@context"]["@base"] == f"{proxy.url}/v3/registration/{hive}/"
    assert (await read(proxy, "/v3/autocomplete?q=nothingofthekind"))["data"] == []
    versions = await read(proxy, "/v3/autocomplete?id=nothing.of.the.kind")
    assert ({*versions}, versions["data"]) == ({"@context", "data"}, []), "as that of an id that is known"


async def test_a_directory_of_packages_alone_is_enough(
    start_proxy: StartProxy, feed: FakeFeed, directory: Path, tmp_path: Path, contacts: list[str]
) -> None:
    """Somebody copied the folder to a site without a network."""
    copied = tmp_path / "site"
    (copied / "up" / "packages").parent.mkdir(parents=True)
    (directory / "up" / "packages").rename(copied / "up" / "packages")
    proxy = await offline(start_proxy, feed, copied)
    await proxy.held.stock.take()
    assert (await ask(proxy, "/health/ready")).status == 200
    for path in (INDEX, *LISTS, package_url("acme.a")):
        got = await ask(proxy, path)
        assert got.status == 200, path
    assert got.body == SMALL


async def test_nothing_held_at_all(start_proxy: StartProxy, feed: FakeFeed, contacts: list[str]) -> None:
    proxy = await start_proxy(feed.index_url, upstream={"offline": True})
    for path in (VERSIONS, package_url("acme.a"), REGISTRATION):
        assert (await ask(proxy, path)).status == 404
    assert (await read(proxy, SEARCH))["totalHits"] == 0
    assert held(proxy) == set()


async def test_a_damaged_package_is_not_there(
    start_proxy: StartProxy, feed: FakeFeed, directory: Path, contacts: list[str]
) -> None:
    file = directory / "up" / "packages" / "acme.a" / "1.0.0" / "acme.a.1.0.0.nupkg"
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)
    proxy = await offline(start_proxy, feed, directory)
    for _ in range(2):
        got = await ask(proxy, package_url("acme.a"))
        assert got.status == 503
        assert bytes(content) != got.body
    assert proxy.metric("quarantined_total", reason="hash") == 1


def test_the_command_line_sets_all_upstreams_offline(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text(
        '[upstreams.a]\nurl = "https://a.example/v3/index.json"\n[upstreams.b]\nurl = "https://b.example/i"\n'
    )
    for upstreams in ([], ["https://c.example/v3/index.json", "https://d.example/v3/index.json"]):
        config = load(file, upstreams=upstreams, offline=True, environ={})
        assert [upstream.offline for upstream in config.upstreams.values()] == [True, True]
        assert [upstream.offline for upstream in load(file, upstreams=upstreams, environ={}).upstreams.values()] == [
            False,
            False,
        ]
    assert load(offline=True, environ={}).upstreams["nuget.org"].offline
