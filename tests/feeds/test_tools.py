"""tools.json with the downloads that it lists."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nugetproxy.nuget.documents.exact_json import InvalidDocument
from nugetproxy.nuget.documents.tools import check_tools, listed_tools, render_tools
from tests.conftest import StartProxy
from tests.fakes.asking import ask
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.origin import Origin, Script
from tests.fakes.proxy import Proxy

EXE = b"MZ" + bytes(range(256)) * 20
SOURCE = "https://dist.example/tools.json"
BASE = "http://here:5555/tools/"


def entry(version: str, root: str = "https://dist.example", **more: Any) -> dict[str, Any]:
    url = f"{root}/win-x86-commandline/v{version}/nuget.exe"
    return {"version": version, "url": url, "stage": "Released", "uploaded": "2024-01-01T00:00:00Z", **more}


def document(*entries: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"nuget.exe": list(entries), **more}).encode()


# --- the list --------------------------------------------------------------------------------------------------------


def test_only_the_addresses_change() -> None:
    body = document(entry("6.8.0", note="https://dist.example/x", size=0), other=["x", 1], more={"url": SOURCE})
    body = body.replace(b'"size": 0', b'"size": 1.50E+3')
    rendered = render_tools(body, SOURCE, BASE)
    assert b"1.50E+3" in rendered
    expected = json.loads(body)
    expected["nuget.exe"][0]["url"] = f"{BASE}win-x86-commandline/v6.8.0/nuget.exe"
    assert json.loads(rendered) == expected


def test_every_listed_download_has_a_place_and_so_has_the_latest() -> None:
    tools = listed_tools(document(entry("6.8.0"), entry("5.0.0")), SOURCE)
    assert {path: tool.versioned for path, tool in tools.items()} == {
        "win-x86-commandline/v6.8.0/nuget.exe": True,
        "win-x86-commandline/v5.0.0/nuget.exe": True,
        "win-x86-commandline/latest/nuget.exe": False,
    }
    assert (
        tools["win-x86-commandline/latest/nuget.exe"].url == "https://dist.example/win-x86-commandline/latest/nuget.exe"
    )


@pytest.mark.parametrize(
    "url",
    [
        "https://elsewhere.example/win-x86-commandline/v6.8.0/nuget.exe",
        "https://dist.example/a/v6.8.0/nuget.exe?sig=%2F",
        "https://dist.example/a/../v6.8.0/nuget.exe",
        "https://dist.example/.hidden/v6.8.0/nuget.exe",
        "https://dist.example/%2e%2e/v6.8.0/nuget.exe",
        "https://dist.example/v6.8.0/",
    ],
)
def test_an_unusual_address_gets_a_place_that_stands_for_it(url: str) -> None:
    body = document({"version": "6.8.0", "url": url})
    (stated,) = [one["url"] for one in json.loads(render_tools(body, SOURCE, BASE))["nuget.exe"]]
    path = stated.removeprefix(BASE)
    assert path.startswith("x/")
    assert "." not in path.removesuffix("nuget.exe") and "%" not in path
    assert listed_tools(body, SOURCE)[path].url == url


def test_two_hosts_with_the_same_path_are_two_downloads() -> None:
    tools = listed_tools(document(entry("6.8.0"), entry("6.8.0", "https://elsewhere.example")), SOURCE)
    assert len({tool.url for tool in tools.values()}) == len(tools) == 4


@pytest.mark.parametrize("value", [[], {}, {"nuget.exe": []}, {"nuget.exe": [{"version": "1.0.0"}]}, "x", None])
def test_what_lists_nothing_is_no_list(value: Any) -> None:
    with pytest.raises(InvalidDocument):
        check_tools(value)


# --- through the proxy -----------------------------------------------------------------------------------------------


@pytest.fixture
def dist(origin: Origin) -> Origin:
    """A server as dist.nuget.org."""
    origin.routes["/tools.json"] = Script(body=document(entry("6.8.0", origin.url), entry("6.7.0", origin.url)))
    for name in ("v6.8.0", "v6.7.0", "latest"):
        origin.routes[f"/win-x86-commandline/{name}/nuget.exe"] = Script(body=EXE + name.encode())
    return origin


@pytest.fixture
async def proxy(start_proxy: StartProxy, feed: FakeFeed, dist: Origin) -> Proxy:
    return await start_proxy(feed.index_url, tools={"url": f"{dist.url}/tools.json"})


async def test_every_listed_download_is_ours_and_answers(proxy: Proxy, dist: Origin) -> None:
    listed = json.loads((await ask(proxy, "/tools.json")).body)["nuget.exe"]
    for one in listed:
        assert one["url"].startswith(f"{proxy.url}/tools/")
        got = await ask(proxy, one["url"].removeprefix(proxy.url))
        assert (got.status, got.body) == (200, EXE + f"v{one['version']}".encode())
        assert "immutable" in got.headers["Cache-Control"]


async def test_a_version_is_fetched_once_the_latest_again_after_a_while(
    proxy: Proxy, dist: Origin, clock: FakeClock
) -> None:
    paths = [f"/win-x86-commandline/{name}/nuget.exe" for name in ("v6.8.0", "latest")]
    for _ in range(2):
        for path in paths:
            assert (await ask(proxy, f"/tools{path}")).status == 200
        clock.advance(2 * 3600)
    assert [dist.count(path) for path in paths] == [1, 2]
    latest = await ask(proxy, f"/tools{paths[1]}")
    assert latest.headers["Cache-Control"] == "no-cache"


async def test_everything_that_was_fetched_survives_an_outage(proxy: Proxy, dist: Origin, clock: FakeClock) -> None:
    paths = [
        "/tools.json",
        "/tools/win-x86-commandline/v6.8.0/nuget.exe",
        "/tools/win-x86-commandline/latest/nuget.exe",
    ]
    before = [(await ask(proxy, path)).body for path in paths]
    await dist.refuse()
    clock.advance(30 * 24 * 3600)
    assert [(await ask(proxy, path)).body for path in paths] == before
    missing = await ask(proxy, "/tools/win-x86-commandline/v6.7.0/nuget.exe")
    assert missing.status == 503


@pytest.mark.parametrize(
    "path",
    [
        "/tools",
        "/tools/",
        "/tools/secret.txt",
        "/tools/win-x86-commandline/v1.0.0/nuget.exe",
        "/tools/win-x86-commandline/v6.8.0/../../secret.txt",
        "/tools/http:/127.0.0.1/secret.txt",
        "/tools//secret.txt",
        "/tools/%2e%2e/secret.txt",
        "/tools/x/00000000000000000000000000000000/nuget.exe",
        "/tools/win-x86-commandline/v6.8.0/nuget.exe/",
        "/tools.json/x",
    ],
)
async def test_what_is_not_listed_is_never_fetched(proxy: Proxy, dist: Origin, path: str) -> None:
    dist.routes["/secret.txt"] = Script(body=b"secret")
    got = await ask(proxy, path)
    assert got.status == 404
    assert {seen.path for seen in dist.requests} <= {"/tools.json"}


async def test_conditions_ranges_and_head(proxy: Proxy, dist: Origin) -> None:
    path = "/tools/win-x86-commandline/v6.8.0/nuget.exe"
    head = await ask(proxy, path, "HEAD")
    assert (head.status, head.headers["Content-Length"]) == (200, str(len(EXE) + 6))
    etag = (await ask(proxy, path)).headers["ETag"]
    assert (await ask(proxy, path, headers={"If-None-Match": etag})).status == 304
    assert (await ask(proxy, path, headers={"Range": "bytes=0-1"})).body == b"MZ"
    listed = await ask(proxy, "/tools.json")
    assert (await ask(proxy, "/tools.json", headers={"If-None-Match": listed.headers["ETag"]})).status == 304


@pytest.mark.parametrize("answer", [Script(body=b"<html>"), Script(status=500), Script(body=b"[]"), Script(status=404)])
async def test_what_is_no_list_is_not_believed(proxy: Proxy, dist: Origin, clock: FakeClock, answer: Script) -> None:
    good = (await ask(proxy, "/tools.json")).body
    dist.routes["/tools.json"] = answer
    clock.advance(3 * 24 * 3600)
    got = await ask(proxy, "/tools.json")
    assert (got.status, got.body) == (200, good)
    told = (await ask(proxy, "/metrics")).body.splitlines()
    unusable = [line for line in told if line.startswith(b"nugetproxy_upstream_unusable{")]
    assert {line.split()[1] for line in unusable} == {b"0.0"}, "it is no feed, so that is no service index"


async def test_turned_off_it_is_not_there(start_proxy: StartProxy, feed: FakeFeed) -> None:
    proxy = await start_proxy(feed.index_url, tools={"url": ""})
    for path in ("/tools.json", "/tools/win-x86-commandline/latest/nuget.exe"):
        assert (await ask(proxy, path)).status == 404
