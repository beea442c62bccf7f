"""The page: who may see it, what it says, its stream of changes; through HTTP."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from nugetproxy.admin.page.charts import SPANS
from nugetproxy.web.page import assets, streams
from tests.conftest import StartProxy
from tests.fakes.asking import ask, until
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.origin import Script
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy
from tests.web.test_tokens import basic, token

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
PACKAGE = "/v3/content/acme.a/1.0.0/acme.a.1.0.0.nupkg"
ICON = b"\x89PNG\r\n\x1a\n" + bytes(range(200))
EVERY_PART = (
    "about",
    "live",
    "chart?span=day",
    "packages",
    "search?q=acme",
    "package?id=acme.a",
    "restores",
    "restore?number=1",
    "audit",
    "trouble",
)


@pytest.fixture
def feed(feed: FakeFeed) -> FakeFeed:
    feed.add(
        make_nupkg(
            "Acme.A",
            "1.0.0",
            readme="# Acme\n",
            license_file="Do what you want.",
            icon=ICON,
            dependencies={"net8.0": [("Acme.B", "[2.0.0, )")]},
            files={"lib/net8.0/Acme.A.dll": b"x" * 100},
        )
    )
    feed.add(make_nupkg("Acme.A", "2.0.0-beta.1"))
    feed.add(make_nupkg("Acme.Tool", "3.0.0", package_types=["DotnetTool"]))
    return feed


async def shown(proxy: Proxy, part: str, **headers: str) -> dict[str, Any]:
    """What the page is told."""
    answer = await ask(proxy, f"/page/{part}", headers=headers)
    assert answer.status == 200, answer.body
    said: dict[str, Any] = orjson.loads(answer.body)
    return said


async def have(proxy: Proxy, path: str = PACKAGE, **headers: str) -> None:
    assert (await ask(proxy, path, headers=headers)).status == 200
    await proxy.app.history.flush()


# --- the document ---


async def test_a_browser_gets_the_page_everybody_else_what_they_got_before(proxy: Proxy) -> None:
    page = await ask(proxy, "/", headers=HTML)
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert b"<main" in page.body
    for accept in ("*/*", "application/json", ""):
        other = await ask(proxy, "/", headers={"Accept": accept})
        assert other.status == 404
        assert orjson.loads(other.body)["error"].startswith("There is no such resource")


async def test_who_mistypes_a_feed_is_not_sent_to_another_one(proxy: Proxy) -> None:
    """NuGet prints the reason phrase alone."""
    other = await ask(proxy, "/compnay/v3/index.json")
    assert (other.status, "that of a feed NAME is /NAME/v3/index.json" in other.reason) == (404, True)


async def test_the_page_may_load_its_own_files_only(proxy: Proxy) -> None:
    page = await ask(proxy, "/", headers=HTML)
    policy = dict(part.split(" ", 1) for part in page.headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    named = re.findall(r'(?:src|href)="([^"#]+)"', page.body.decode())
    assert {"page/page.css", "page/page.js"} <= set(named)
    for name in {"page/page.css", "page/page.js"} & set(named):
        assert (await ask(proxy, f"/{name}")).status == 200


def test_no_file_of_the_page_names_another_place() -> None:
    for name in assets.TYPES:
        text = (assets.STATIC / name).read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert re.findall(r"\bhttps?://[a-z]", text) == [], name
        assert "innerHTML" not in text, "text of packages must not become markup"


async def test_its_files_are_packed_and_asked_for_again_only_when_they_changed(proxy: Proxy) -> None:
    plain = await ask(proxy, "/page/page.js")
    packed = await ask(proxy, "/page/page.js", headers={"Accept-Encoding": "gzip"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert len(packed.body) < len(plain.body) / 2
    tag = plain.headers["ETag"]
    assert tag == packed.headers["ETag"] and tag.startswith("W/"), "one of both is a weak one"
    for known in (tag, tag.removeprefix("W/"), f'"other", {tag}', "*"):
        again = await ask(proxy, "/page/page.js", headers={"If-None-Match": known})
        assert (again.status, again.body) == (304, b""), known
    for other in ('"other"', f"{tag} {tag}", ""):
        assert (await ask(proxy, "/page/page.js", headers={"If-None-Match": other})).status == 200


async def test_a_strange_host_name_gets_nothing(proxy: Proxy) -> None:
    """A page of a stranger whose name leads here must not read it (DNS rebinding)."""
    for part in EVERY_PART:
        assert (await ask(proxy, f"/page/{part}", headers={"Host": "evil.example.com"})).status == 421


async def test_other_methods_and_parts_are_refused(proxy: Proxy) -> None:
    assert (await ask(proxy, "/page/live", "POST")).status == 405
    assert (await ask(proxy, "/page/nothing")).status == 404
    assert (await ask(proxy, "/page/chart?span=century")).status == 400
    assert (await ask(proxy, "/page/restore?number=x")).status == 400
    assert (await ask(proxy, "/page/restore?number=7")).status == 404
    assert (await ask(proxy, "/page/package?id=acme.z")).status == 404
    assert (await ask(proxy, "/page/package?id=../..")).status == 404


# --- who sees what ---


async def test_where_reading_wants_a_token_so_does_the_page(proxy: Proxy) -> None:
    await have(proxy, **{"X-NuGet-Session-Id": "s"})
    secret = await token(proxy, "read")
    for path in ("/", "/page/page.js", "/page/events", *(f"/page/{part}" for part in EVERY_PART)):
        refused = await ask(proxy, path, headers=HTML)
        assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, 'Basic realm="nugetproxy"'), path
        assert (await ask(proxy, path, headers=HTML | basic("wrong"))).status == 401, path
    for path in ("/", *(f"/page/{part}" for part in EVERY_PART)):
        assert (await ask(proxy, path, headers=HTML | basic(secret))).status == 200, path


async def test_a_token_for_nothing_that_is_shown_is_told_so(proxy: Proxy) -> None:
    await token(proxy, "read", name="reader")
    pusher = await token(proxy, "push", name="pusher")
    assert (await ask(proxy, "/", headers=HTML | basic(pusher))).status == 403


async def test_names_and_addresses_of_clients_are_for_administrators(proxy: Proxy) -> None:
    secret, admin = await token(proxy, "read", name="farm"), await token(proxy, "admin", name="ops")
    await have(proxy, **basic(secret), **{"X-NuGet-Session-Id": "the-session"})
    for part in ("restores", "restore?number=1", "package?id=acme.a"):
        for words in ("127.0.0.1", "the-session", '"farm"'):
            assert words not in orjson.dumps(await shown(proxy, part, **basic(secret))).decode().replace(proxy.url, "")
            assert words in orjson.dumps(await shown(proxy, part, **basic(admin))).decode() or "session" in words
    assert (await shown(proxy, "package?id=acme.a", **basic(secret)))["users"] == 1


async def test_whoever_may_read_one_feed_sees_nothing_of_another(start_proxy: StartProxy, feed: FakeFeed) -> None:
    async with FakeFeed() as private:
        private.add(make_nupkg("Secret.Plans", "1.0.0"))
        proxy = await start_proxy(feed.index_url, upstreams={"hidden": {"url": private.index_url}})
        reader, other = (
            await token(proxy, "read", "up", name="reader"),
            await token(proxy, "read", "hidden", name="other"),
        )
        path = "/hidden/v3/content/secret.plans/1.0.0/secret.plans.1.0.0.nupkg"
        await have(proxy, path, **basic(other), **{"X-NuGet-Session-Id": "s"})
        await private.set_mode("5xx")
        await ask(proxy, "/hidden/v3/content/secret.more/index.json", headers=basic(other))
        await proxy.app.history.flush()
        for part in (*EVERY_PART, "search?q=secret"):
            answer = await ask(proxy, f"/page/{part}", headers=basic(reader))
            assert b"ecret" not in answer.body, part
            assert b"hidden" not in answer.body, part
        assert (await ask(proxy, "/page/package?id=secret.plans", headers=basic(reader))).status == 404
        assert (await shown(proxy, "search?q=secret", **basic(other)))["total"] == 1
        assert (await shown(proxy, "chart?span=hour", **basic(reader)))["sums"]["requests"] == 0


async def test_signing_in_asks_for_an_administrator_and_leads_back(proxy: Proxy) -> None:
    admin = await token(proxy, "admin")
    assert (await ask(proxy, "/page/sign-in")).status == 401
    back = await ask(proxy, "/page/sign-in", headers=basic(admin), allow_redirects=False)
    assert (back.status, back.headers["Location"]) == (303, "../")
    assert (await shown(proxy, "about", **basic(admin)))["admin"] is True


# --- what it says ---


async def test_each_feed_has_the_nuget_config_to_paste(start_proxy: StartProxy, feed: FakeFeed) -> None:
    proxy = await start_proxy(feed.index_url, upstreams={"2nd": {"url": feed.index_url}})
    secret = await token(proxy, "read", "2nd")
    first, second = (await shown(proxy, "about", **basic(secret)))["feeds"]
    assert (first["url"], second["url"]) == (f"{proxy.url}/v3/index.json", f"{proxy.url}/2nd/v3/index.json")
    assert f'<add key="up" value="{proxy.url}/v3/index.json"' in first["config"]
    assert "packageSourceCredentials" not in first["config"]
    assert "<_x0032_nd>" in second["config"], "an XML name cannot begin with a digit"
    assert "%NUGETPROXY_TOKEN%" in second["config"]
    for one, path in ((first, ""), (second, "/2nd")):
        assert one["asof"] == f"{proxy.url}{path}/asof/YYYY-MM-DD/v3/index.json"
    assert (await ask(proxy, f"{path}/asof/2026-03-01/v3/index.json", headers=basic(secret))).status == 200


async def test_health_is_in_plain_words_with_the_last_failure(proxy: Proxy, feed: FakeFeed, clock: FakeClock) -> None:
    await have(proxy)
    (well,) = (await shown(proxy, "live"))["health"]
    assert (well["name"], well["condition"], well["sentence"], well["failure"]) == ("up", "well", "It answers.", "")
    assert (well["packages"], well["size"]) == (
        1,
        (proxy.packages / PACKAGE.removeprefix("/v3/content/")).stat().st_size,
    )
    clock.advance(600)
    await feed.set_mode("refused")
    for version in ("1.0.1", "1.0.2", "1.0.3"):
        await ask(proxy, f"/v3/content/acme.a/{version}/acme.a.{version}.nupkg")
    (lost,) = (await shown(proxy, "live"))["health"]
    assert lost["condition"] == "lost"
    assert "What is stored is served" in lost["sentence"]
    assert lost["failure"].startswith("refused: ")
    failed_at = lost["failed_at"]
    await feed.set_mode("up")
    clock.advance(600)
    await proxy.app.prober.round()
    (back,) = (await shown(proxy, "live"))["health"]
    assert (back["condition"], back["failed_at"]) == ("well", failed_at), "the last failure is still told"


@pytest.mark.parametrize(
    ("index", "word"),
    [
        (Script(status=404), "V3 service index"),
        (Script(body=b"<html></html>", headers=[("Content-Type", "text/html")]), "V3 service index"),
        (Script(status=401), "username and password"),
        (Script(status=508), "See what answers at its url"),
        (Script(status=302, headers=[("Location", "ftp://elsewhere.example/index.json")]), "V3 service index"),
    ],
)
async def test_an_upstream_without_a_usable_index_is_said_to_be_one(
    start_proxy: StartProxy, feed: FakeFeed, clock: FakeClock, index: Script, word: str
) -> None:
    feed.origin.routes["/v3/index.json"] = index
    proxy = await start_proxy(feed.index_url)
    for _ in range(2):
        assert (await ask(proxy, "/v3/index.json")).status >= 400
    (one,) = (await shown(proxy, "live"))["health"]
    assert one["condition"] == "unusable"
    assert word in one["todo"]
    assert proxy.metric("upstream_unusable", upstream="up") == 1
    now = [found for found in (await shown(proxy, "trouble"))["troubles"] if found["now"]]
    assert [(found["about"], found["todo"]) for found in now] == [("up", one["todo"])]
    secret = await token(proxy, "admin")
    said = await ask(proxy, "/-/stats", headers={"Authorization": f"Bearer {secret}"})
    assert orjson.loads(said.body)["upstreams"][0]["trouble"] == {
        feed.index_url: f"{one['failure']}. {one['todo']}".rstrip(".")
    }
    del feed.origin.routes["/v3/index.json"]
    clock.advance(600)
    assert (await ask(proxy, "/v3/index.json")).status == 200
    (one,) = (await shown(proxy, "live"))["health"]
    assert (one["condition"], proxy.metric("upstream_unusable", upstream="up")) == ("well", 0)


async def test_an_offline_upstream_is_said_to_be_one(start_proxy: StartProxy, feed: FakeFeed) -> None:
    proxy = await start_proxy(feed.index_url, upstream={"offline": True})
    (one,) = (await shown(proxy, "live"))["health"]
    assert one["condition"] == "offline"


async def test_a_folder_that_cannot_be_read_is_said_to_be_one(start_proxy: StartProxy, tmp_path: Path) -> None:
    proxy = await start_proxy(str(tmp_path / "missing"))
    await ask(proxy, "/v3/content/acme.a/index.json")
    (one,) = (await shown(proxy, "live"))["health"]
    assert (one["condition"], bool(one["failure"])) == ("unreadable", True)
    assert proxy.metric("upstream_unusable", upstream="up") == 1
    now = [found for found in (await shown(proxy, "trouble"))["troubles"] if found["now"]]
    assert [(found["about"], found["todo"]) for found in now] == [("up", one["todo"])], "now, and the upstream's"
    assert "mounted" in one["todo"]


async def test_what_lies_in_a_folder_is_not_said_to_be_held(start_proxy: StartProxy, tmp_path: Path) -> None:
    (tmp_path / "shelf").mkdir()
    (tmp_path / "shelf" / "acme.a.1.0.0.nupkg").write_bytes(make_nupkg("Acme.A", "1.0.0"))
    proxy = await start_proxy(str(tmp_path / "shelf"))
    assert (await ask(proxy, PACKAGE)).status == 200
    (one,) = (await shown(proxy, "live"))["health"]
    assert (one["packages"], one["size"]) == (1, None), "the page adds up what is held by the sizes"


async def test_what_is_downloading_now_is_shown_with_its_progress(proxy: Proxy, feed: FakeFeed) -> None:
    gate, body = asyncio.Event(), make_nupkg("Acme.Big", "1.0.0", size=400_000)
    feed.origin.routes["/v3-flatcontainer/acme.big/1.0.0/acme.big.1.0.0.nupkg"] = Script(
        body=body, gate=gate, gate_at=200_000
    )
    async with proxy.client.get("/v3/content/acme.big/1.0.0/acme.big.1.0.0.nupkg") as answer:
        await answer.content.readexactly(100_000)
        (one,) = (await shown(proxy, "live"))["downloads"]
        assert (one["source"], one["id"], one["version"], one["readers"]) == ("up", "acme.big", "1.0.0", 1)
        assert 100_000 < one["size"] <= 200_000
        assert one["total"] == len(body)
        gate.set()
        await answer.read()
    assert (await shown(proxy, "live"))["downloads"] == []


@pytest.mark.parametrize("span", SPANS)
async def test_charts_have_every_point_and_their_sums(proxy: Proxy, clock: FakeClock, span: str) -> None:
    seconds, points = SPANS[span]
    await have(proxy)
    clock.advance(2 * seconds)
    for _ in range(3):
        await have(proxy)
    said = await shown(proxy, f"chart?span={span}")
    starts = [point["start"] for point in said["points"]]
    assert starts == list(range(starts[0], starts[0] + points * seconds, seconds))
    assert starts[-1] == int(clock.now()) // seconds * seconds
    assert [point["requests"] for point in said["points"]][-3:] == [1, 0, 3]
    assert said["sums"]["ratio"] == 3 / 4
    assert said["sums"]["saved"] * 4 == said["sums"]["bytes"] * 3


async def test_newest_and_most_used_packages(proxy: Proxy, clock: FakeClock) -> None:
    tool = "/v3/content/acme.tool/3.0.0/acme.tool.3.0.0.nupkg"
    for path in (PACKAGE, PACKAGE, tool):
        clock.advance(1)
        await have(proxy, path)
    await until(lambda: len(proxy.app.tasks) == 0)
    said = await shown(proxy, "packages")
    assert [(one["id"], one["version"]) for one in said["newest"]] == [("Acme.Tool", "3.0.0"), ("Acme.A", "1.0.0")]
    assert [(one["id"], one["times"]) for one in said["used"]] == [("Acme.A", 2), ("Acme.Tool", 1)]


async def test_search_and_all_of_a_package(proxy: Proxy) -> None:
    await have(proxy)
    await have(proxy, "/v3/content/acme.a/2.0.0-beta.1/acme.a.2.0.0-beta.1.nupkg")
    await until(lambda: len(proxy.app.tasks) == 0)
    found = await shown(proxy, "search?q=acme")
    assert [(one["id"], one["version"], one["versions"]) for one in found["packages"]] == [
        ("Acme.A", "2.0.0-beta.1", 2)
    ]
    newest = await shown(proxy, "package?id=ACME.a")
    assert (newest["id"], newest["version"]) == ("Acme.A", "2.0.0-beta.1")
    one = await shown(proxy, "package?id=acme.a&version=1.0.0")
    assert [version["version"] for version in one["versions"]] == ["2.0.0-beta.1", "1.0.0"]
    assert one["readme"] == "# Acme\n"
    assert one["license_text"] == "Do what you want."
    assert one["dependencies"] == [{"framework": "net8.0", "needs": [["Acme.B", "[2.0.0, )"]]}]
    assert ["lib/net8.0/Acme.A.dll", 100] in one["files"]
    lines = dict(one["lines"])
    assert lines["dotnet add package"] == "dotnet add package Acme.A --version 1.0.0"
    assert lines["PackageReference"] == '<PackageReference Include="Acme.A" Version="1.0.0" />'
    assert lines["Paket"] == "paket add Acme.A --version 1.0.0"
    assert one["pulls"] == {"1.0.0": 1, "2.0.0-beta.1": 1}
    assert (await ask(proxy, "/page/package?id=acme.a&version=9.9.9")).status == 404


async def test_looking_at_a_package_asks_no_upstream(proxy: Proxy, feed: FakeFeed) -> None:
    await have(proxy)
    await until(lambda: len(proxy.app.tasks) == 0)
    feed.requests.clear()
    for part in EVERY_PART[:-3]:
        await shown(proxy, part)
    assert feed.requests == []


async def test_the_icon_of_a_package_is_served_by_us(proxy: Proxy, feed: FakeFeed) -> None:
    feed.add(make_nupkg("Acme.Script", "1.0.0", icon=b"<svg onload='alert(1)' xmlns='http://www.w3.org/2000/svg'/>"))
    for path in (PACKAGE, "/v3/content/acme.script/1.0.0/acme.script.1.0.0.nupkg"):
        await have(proxy, path)
    await have(proxy, "/v3/content/acme.tool/3.0.0/acme.tool.3.0.0.nupkg")
    await until(lambda: len(proxy.app.tasks) == 0)
    feed.requests.clear()
    assert (await shown(proxy, "package?id=acme.a&version=1.0.0"))["icon"] is True
    assert (await shown(proxy, "package?id=acme.tool"))["icon"] is False
    got = await ask(proxy, "/page/icon?id=Acme.A&version=1.0.0")
    assert (got.status, got.headers["Content-Type"], got.body) == (200, "image/png", ICON)
    assert got.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert got.headers["X-Content-Type-Options"] == "nosniff"
    for other in ("id=acme.script&version=1.0.0", "id=acme.tool&version=3.0.0", "id=acme.a&version=9.0.0", "id=x", ""):
        assert (await ask(proxy, f"/page/icon?{other}")).status == 404, other
    assert feed.requests == [], "nobody is asked for it"
    await token(proxy, "read")
    assert (await ask(proxy, "/page/icon?id=Acme.A&version=1.0.0")).status == 401


async def test_a_tool_is_installed_not_referenced(proxy: Proxy) -> None:
    await have(proxy, "/v3/content/acme.tool/3.0.0/acme.tool.3.0.0.nupkg")
    await until(lambda: len(proxy.app.tasks) == 0)
    lines = dict((await shown(proxy, "package?id=acme.tool"))["lines"])
    assert "dotnet tool install Acme.Tool --version 3.0.0" in lines.values()
    assert "PackageReference" not in lines


async def test_the_audit_shows_what_should_not_be_used_any_more(proxy: Proxy, feed: FakeFeed) -> None:
    hole = {"url": "https://example.test/1", "severity": 2, "versions": "(, 1.0.0]"}
    feed.vulnerabilities["base"] = {"acme.a": [hole]}
    admin = await token(proxy, "admin")
    await have(proxy)
    said = await shown(proxy, "audit")
    (one,) = said["findings"]
    assert (one["id"], one["version"], one["severity"]) == ("acme.a", "1.0.0", "high")
    assert one["says"] == ["advisory https://example.test/1"]
    assert (one["users"], one["clients"]) == ([], 1), "who that is, administrators see"
    (one,) = (await shown(proxy, "audit", **basic(admin)))["findings"]
    assert [use["client"] for use in one["users"]] == ["127.0.0.1"]


async def test_an_audit_on_the_page_asks_no_upstream_for_what_rules_look_at(proxy: Proxy, feed: FakeFeed) -> None:
    await have(proxy)
    await proxy.reload(feeds={"up": {"sources": ["up"], "rules": [{"name": "week", "min_age": "7d"}]}})
    feed.requests.clear()
    await shown(proxy, "audit")
    assert not [seen.path for seen in feed.requests if "acme.a" in seen.path]


async def test_recent_trouble_says_what_to_do(proxy: Proxy, feed: FakeFeed) -> None:
    feed.origin.routes["/v3-flatcontainer/acme.a/1.0.0/acme.a.1.0.0.nupkg"] = Script(body=b"<html>log in</html>")
    answer = await ask(proxy, PACKAGE)
    await proxy.app.history.flush()
    (one,) = (await shown(proxy, "trouble"))["troubles"]
    assert (one["now"], one["times"], one["about"]) == (False, 1, "acme.a 1.0.0")
    assert one["what"] == orjson.loads(answer.body)["error"]
    assert "log-in page" in one["todo"]


@pytest.mark.parametrize("status", [401, 403, 451])
async def test_trouble_knows_what_an_upstream_would_not_give_us(proxy: Proxy, feed: FakeFeed, status: int) -> None:
    """Its final no is a 403 for the client: its builds break, though nobody here has refused it anything."""
    feed.origin.routes["/v3-flatcontainer/acme.a/1.0.0/acme.a.1.0.0.nupkg"] = Script(status=status)
    answer = await ask(proxy, PACKAGE)
    assert answer.status == {401: 403}.get(status, status)
    await proxy.app.history.flush()
    (one,) = (await shown(proxy, "trouble"))["troubles"]
    assert one["what"] == orjson.loads(answer.body)["error"]


# --- live ---


async def next_event(stream: aiohttp.ClientResponse) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while True:
            line = await stream.content.readline()
            assert line, "the stream ended"
            if line.startswith(b"data: "):
                said: dict[str, Any] = orjson.loads(line[6:])
                return said


async def test_the_stream_says_what_changes(proxy: Proxy, feed: FakeFeed) -> None:
    async with proxy.client.get("/page/events") as stream:
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        first = await next_event(stream)
        assert first["health"][0]["packages"] == 0
        await have(proxy)
        while (await next_event(stream))["health"][0]["packages"] == 0:
            pass


async def test_streams_end_at_once_when_the_proxy_stops(proxy: Proxy) -> None:
    opened = [await proxy.client.get("/page/events") for _ in range(3)]
    for one in opened:
        await next_event(one)
    loop = asyncio.get_running_loop()
    began = loop.time()
    server = proxy._server.limited
    server.pre_shutdown()
    await asyncio.gather(*(one.read() for one in opened))  # complete bodies, not cut ones
    assert loop.time() - began < 0.9, "they end by themselves, before a stop cancels documents"
    assert proxy.open_connections() == 0 or not server._peers


async def test_there_are_so_many_streams_at_most(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    assert streams.MOST == 50
    monkeypatch.setattr(streams, "MOST", 2)
    opened = [await proxy.client.get("/page/events") for _ in range(2)]
    for one in opened:
        await next_event(one)
    refused = await ask(proxy, "/page/events")
    assert refused.status == 503
    assert "open pages" in orjson.loads(refused.body)["error"]
    opened[0].close()
    await until(lambda: proxy.open_connections() < 3)
    async with asyncio.timeout(10):
        while (again := await proxy.client.get("/page/events")).status == 503:  # noticed at the next look
            await again.read()
    await next_event(again)
    again.close()
    opened[1].close()


async def test_a_stream_ends_when_who_may_look_has_changed(proxy: Proxy) -> None:
    """Its page asks again, and gets what may be seen now."""
    for change in (lambda: proxy.reload(history={"restores": 5}), lambda: token(proxy, "read")):
        async with proxy.client.get("/page/events") as stream:
            await next_event(stream)
            await change()
            async with asyncio.timeout(10):
                await stream.read()
    assert (await ask(proxy, "/page/events")).status == 401


async def test_how_much_is_remembered_follows_a_reload(proxy: Proxy) -> None:
    await have(proxy, **{"X-NuGet-Session-Id": "before"})
    await proxy.reload(history={"restores": 0, "usage": "off"})
    await have(proxy, **{"X-NuGet-Session-Id": "after"})
    assert [one["packages"] for one in (await shown(proxy, "restores"))["restores"]] in ([1], [])
    assert (await shown(proxy, "package?id=acme.a"))["keeps_usage"] is False
    assert sum(one.times for one in await proxy.app.history.uses("acme.a", "")) <= 1


async def test_a_problem_of_the_proxy_itself_is_told_to_administrators(proxy: Proxy) -> None:
    """It names directories of the machine."""
    proxy.app.room.problem = "The disk of /srv/cache is nearly full."
    admin = await token(proxy, "admin")
    (one,) = (await shown(proxy, "trouble", **basic(admin)))["troubles"]
    assert (one["now"], one["what"]) == (True, "The disk of /srv/cache is nearly full.")
    (one,) = (await shown(proxy, "trouble"))["troubles"]
    assert (one["now"], "/srv" in one["what"]) == (True, False)
