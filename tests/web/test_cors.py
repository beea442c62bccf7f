"""Which feeds a web page of any origin may read through the browser of whoever looks at it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartProxy
from tests.fakes.asking import PACKAGE, SMALL, VERSIONS, Got, ask
from tests.fakes.feed import FakeFeed
from tests.fakes.names import Names
from tests.fakes.proxy import Proxy

ORIGIN = {"Origin": "https://page.example"}
PREFLIGHT = {**ORIGIN, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "x-nuget-session-id"}


def shown(got: Got) -> str | None:
    return got.headers.get("Access-Control-Allow-Origin")


@pytest.fixture
async def public(start_proxy: StartProxy, feed: FakeFeed) -> Proxy:
    """A proxy of a feed with a public name."""
    return await publish(start_proxy, feed)


async def publish(start_proxy: StartProxy, feed: FakeFeed, **tables: Any) -> Proxy:
    feed.add(SMALL)
    port = feed.index_url.split(":")[2].split("/")[0]
    return await start_proxy(
        f"http://feed.example:{port}/v3/index.json",
        resolver=Names({"feed.example": ["127.0.0.1"]}),
        upstream={"hosts": ["feed.example"]},
        **tables,
    )


@pytest.mark.parametrize(
    "path", ["/v3/index.json", "/v3/query?q=acme", "/v3/nothing/here", "/v3/content/no/index.json"]
)
async def test_a_public_feed_is_read_by_pages_whatever_it_answers(public: Proxy, path: str) -> None:
    got = await ask(public, path, headers=ORIGIN)
    assert shown(got) == "*"
    assert "ETag" in got.headers["Access-Control-Expose-Headers"]


async def test_a_preflight_is_answered(public: Proxy) -> None:
    got = await ask(public, "/v3/index.json", "OPTIONS", headers=PREFLIGHT)
    assert (got.status, got.body, shown(got)) == (204, b"", "*")
    assert got.headers["Access-Control-Allow-Methods"] == "GET, HEAD"
    assert got.headers["Access-Control-Allow-Headers"] == "*"
    assert "Content-Length" not in got.headers


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("OPTIONS", "/v3/package"),
        ("DELETE", "/v3/package/acme.a/1.0.0"),
        ("GET", "/metrics"),
        ("GET", "/health/ready"),
        ("GET", "/-/token/list"),
        ("OPTIONS", "/metrics"),
    ],
)
async def test_writes_and_what_operators_read_are_never_for_pages(public: Proxy, method: str, path: str) -> None:
    got = await ask(public, path, method, headers=PREFLIGHT if method == "OPTIONS" else ORIGIN)
    assert shown(got) is None


PRIVATE: list[dict[str, Any]] = [
    {},  # a feed at a loopback address
    {"server": {"cors": "public"}},
    {"server": {"cors": "off"}},
]


@pytest.mark.parametrize("tables", PRIVATE, ids=["by default", "public", "off"])
async def test_a_private_feed_is_not(start_proxy: StartProxy, feed: FakeFeed, tables: dict[str, Any]) -> None:
    feed.add(SMALL)
    proxy = await start_proxy(feed.index_url, **tables)
    for path in ("/v3/index.json", VERSIONS, PACKAGE):
        assert shown(await ask(proxy, path, headers=ORIGIN)) is None
    got = await ask(proxy, VERSIONS, "OPTIONS", headers=PREFLIGHT)
    assert (got.status, shown(got)) == (405, None)


async def test_turned_off_not_even_a_public_feed_is(start_proxy: StartProxy, feed: FakeFeed) -> None:
    proxy = await publish(start_proxy, feed, server={"cors": "off"})
    assert shown(await ask(proxy, "/v3/index.json", headers=ORIGIN)) is None
    assert (await ask(proxy, "/v3/index.json", "OPTIONS", headers=PREFLIGHT)).status == 405


async def test_credentials_make_a_feed_private(
    start_proxy: StartProxy, feed: FakeFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEED_PASSWORD", "canary-9d2b77")
    port = feed.index_url.split(":")[2].split("/")[0]
    proxy = await start_proxy(
        f"http://feed.example:{port}/v3/index.json",
        resolver=Names({"feed.example": ["127.0.0.1"]}),
        upstream={"hosts": ["feed.example"], "username": "u", "password": "env:FEED_PASSWORD"},
    )
    assert shown(await ask(proxy, "/v3/index.json", headers=ORIGIN)) is None


async def test_a_folder_is_private_unless_all_are_for_pages(start_proxy: StartProxy, tmp_path: Path) -> None:
    folder = tmp_path / "packages"
    folder.mkdir()
    (folder / "acme.a.1.0.0.nupkg").write_bytes(SMALL)
    for cors, said in (("public", None), ("all", "*")):
        proxy = await start_proxy(str(folder), directory=tmp_path / cors, server={"cors": cors})
        assert shown(await ask(proxy, PACKAGE, headers=ORIGIN)) == said
