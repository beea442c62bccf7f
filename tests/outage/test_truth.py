"""What is made here never says less than what is stored: advisories, deprecations, dates, what is unlisted."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from nugetproxy.sources.remote import RemoteSource
from nugetproxy.upstream.breaker import Phase
from tests.conftest import StartProxy
from tests.fakes.asking import Got, ask, held, until
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.origin import Script
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy
from tests.outage.kit import lay_down, package_url

VERSIONS = ("1.0.0", "1.1.0", "2.0.0")
REGISTRATION = "/v3/registration/{hive}/acme.a/index.json"
UP_PACKAGE = "/v3-flatcontainer/acme.a/{version}/acme.a.{version}.nupkg"
UP_REGISTRATION = "/v3/registration5-gz-semver2/acme.a/index.json"
DEPRECATION = {"reasons": ["CriticalBugs"], "message": "Use Acme.B", "alternatePackage": {"id": "Acme.B", "range": "*"}}
ADVISORY = {"url": "https://example.org/A-1", "severity": 2, "versions": "(, 1.1.0)"}
UNREADABLE = {"url": "https://example.org/A-2", "severity": 0, "versions": "all of them"}
DATES = {"1.0.0": "2021-03-04T05:06:07.89+00:00", "1.1.0": "2021-04-04T00:00:00Z", "2.0.0": "2022-01-01T00:00:00"}
STAMPS = {"1.0.0": 1614834367.89, "1.1.0": 1617494400.0, "2.0.0": 1640995200.0}


@pytest.fixture
def known(feed: FakeFeed) -> FakeFeed:
    """A feed of one id: 1.0.0 is vulnerable and deprecated, 1.1.0 unlisted, each has a date of its own."""
    for version in VERSIONS:
        feed.add(make_nupkg("Acme.A", version), listed=version != "1.1.0")
    feed.vulnerabilities["base"] = {"acme.a": [ADVISORY], "acme.other": [ADVISORY]}
    extra: dict[str, dict[str, Any]] = {version: {"published": date} for version, date in DATES.items()}
    extra["1.0.0"]["deprecation"] = DEPRECATION
    extra["1.1.0"] |= {"published": "1900-01-01T00:00:00+00:00", "listed": False}
    feed.registration_extra["acme.a"] = extra
    return feed


async def fetch(proxy: Proxy, *versions: str) -> None:
    """What a restore asks for: packages, nothing that says more of them."""
    for version in versions:
        assert (await ask(proxy, package_url("acme.a", version))).status == 200
    await proxy.held.stock.take()


async def advisories(proxy: Proxy) -> None:
    """What an audit asks for."""
    pages = json.loads((await ask(proxy, "/v3/vulnerabilities/index.json")).body)
    for page in pages:
        assert (await ask(proxy, page["@id"].removeprefix(proxy.url))).status == 200


def source_of(proxy: Proxy) -> RemoteSource:
    """The source of its upstream."""
    source = proxy.app.sources["up"]
    assert isinstance(source, RemoteSource)
    return source


async def keep(proxy: Proxy) -> None:
    """What happens behind the clients' backs."""
    await source_of(proxy).registrations_kept.round()
    await until(lambda: not proxy.app.tasks.running())


async def entries(proxy: Proxy, hive: str = "gz-semver2") -> tuple[Mapping[str, dict[str, Any]], Got]:
    """The registration's catalog entries by version."""
    got = await ask(proxy, REGISTRATION.format(hive=hive))
    assert got.status == 200, got.body
    items = [item for page in json.loads(got.body)["items"] for item in page["items"]]
    return {item["catalogEntry"]["version"]: item["catalogEntry"] for item in items}, got


def vulnerable(entry: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(one["advisoryUrl"], one["severity"]) for one in entry.get("vulnerabilities", [])]


def file_time(proxy: Proxy, version: str) -> float:
    return (proxy.packages / "acme.a" / version / f"acme.a.{version}.nupkg").stat().st_mtime


async def go_offline(start_proxy: StartProxy, proxy: Proxy, feed: FakeFeed) -> Proxy:
    await proxy.stop()
    return await start_proxy(feed.index_url, directory=proxy.directory, upstream={"offline": True})


# --- advisories ---


async def test_made_registrations_and_searches_say_what_is_vulnerable(start_proxy: StartProxy, known: FakeFeed) -> None:
    known.vulnerabilities["update"] = {"Acme.A": [UNREADABLE]}
    proxy = await start_proxy(known.index_url)
    await fetch(proxy, *VERSIONS)
    await advisories(proxy)
    await known.set_mode("refused")
    odd = ("https://example.org/A-2", "0")
    for hive in ("semver1", "gz-semver1", "gz-semver2"):
        found, _ = await entries(proxy, hive)
        assert vulnerable(found["1.0.0"]) == [("https://example.org/A-1", "2"), odd]
        assert vulnerable(found["1.1.0"]) == [odd], "a range that nobody can read has every version"
    leaf = json.loads((await ask(proxy, "/v3/registration/gz-semver2/acme.a/1.0.0.json")).body)
    assert vulnerable(leaf) == [("https://example.org/A-1", "2"), odd]
    (hit,) = json.loads((await ask(proxy, "/v3/query?q=acme")).body)["data"]
    assert vulnerable(hit) == [odd]


async def test_what_is_not_known_is_said(start_proxy: StartProxy, known: FakeFeed) -> None:
    proxy = await start_proxy(known.index_url)
    await fetch(proxy, "1.0.0")
    await known.set_mode("refused")
    _, got = await entries(proxy)
    warning = "made from held packages, deprecation and vulnerabilities unknown"
    assert got.headers.getall("X-NuGet-Warning") == [warning]
    await known.set_mode("up")
    await proxy.restart()
    await advisories(proxy)
    await known.set_mode("refused")
    _, got = await entries(proxy)
    assert got.headers.getall("X-NuGet-Warning") == ["made from held packages, deprecation unknown"]
    lists = await ask(proxy, "/v3/content/acme.a/index.json")
    assert "X-NuGet-Warning" not in lists.headers, "warnings can be errors"


async def test_an_advisory_page_that_is_lost_is_no_all_clear(
    start_proxy: StartProxy, known: FakeFeed, clock: FakeClock
) -> None:
    proxy = await start_proxy(known.index_url)
    await fetch(proxy, "1.0.0")
    await advisories(proxy)
    await keep(proxy)
    await known.set_mode("refused")
    await proxy.stop()
    shutil.rmtree(proxy.directory / "documents")
    await proxy.start()
    found, got = await entries(proxy)
    assert vulnerable(found["1.0.0"]) == []
    assert got.headers["X-NuGet-Warning"] == "made from held packages, vulnerabilities unknown"


# --- facts ---


async def test_facts_outlive_the_documents_that_said_them(start_proxy: StartProxy, known: FakeFeed) -> None:
    proxy = await start_proxy(known.index_url)
    assert (await ask(proxy, REGISTRATION.format(hive="gz-semver2"))).status == 200
    await fetch(proxy, *VERSIONS)
    await known.set_mode("refused")
    await proxy.stop()
    shutil.rmtree(proxy.directory / "documents")
    await proxy.start()
    found, got = await entries(proxy, "semver1")
    assert "deprecation unknown" not in got.headers["X-NuGet-Warning"]
    assert found["1.0.0"]["deprecation"] == DEPRECATION
    assert "deprecation" not in found["2.0.0"]
    assert [found[version]["listed"] for version in VERSIONS] == [True, False, True]
    assert found["1.1.0"]["published"].startswith("1900-01-01")
    assert found["1.0.0"]["published"] == "2021-03-04T05:06:07.890+00:00"


async def test_what_is_unlisted_is_not_found_by_a_search(start_proxy: StartProxy, known: FakeFeed) -> None:
    """Also after the record of held packages was made anew."""
    proxy = await start_proxy(known.index_url)
    await fetch(proxy, "1.1.0")
    await keep(proxy)
    proxy = await go_offline(start_proxy, proxy, known)
    assert json.loads((await ask(proxy, "/v3/query?q=acme")).body)["data"] == []
    await proxy.stop()
    (proxy.directory / "up" / "holdings.db").unlink()
    await proxy.start()
    source_of(proxy).start(proxy.app.tasks, secure=False)
    await until(lambda: not [task for task in proxy.app.tasks.running() if task.get_name() == "unlisted up"])
    assert json.loads((await ask(proxy, "/v3/query?q=acme")).body)["data"] == []
    listed = json.loads((await ask(proxy, "/v3/content/acme.a/index.json")).body)
    assert listed == {"versions": ["1.1.0"]}, "what is unlisted can be restored"


async def test_a_search_result_and_a_leaf_say_it_too(start_proxy: StartProxy, known: FakeFeed) -> None:
    hit = {"id": "Acme.A", "version": "1.0.0", "versions": [], "deprecation": DEPRECATION}
    known.origin.routes["/azuresearch-usnc/query"] = Script(body=json.dumps({"totalHits": 1, "data": [hit]}).encode())
    proxy = await start_proxy(known.index_url)
    await fetch(proxy, "1.0.0", "1.1.0")
    assert (await ask(proxy, "/v3/query?q=acme")).status == 200
    assert (await ask(proxy, "/v3/registration/gz-semver2/acme.a/1.1.0.json")).status == 200
    await until(lambda: not proxy.app.tasks.running())
    await known.set_mode("refused")
    found, _ = await entries(proxy, "semver1")
    assert found["1.0.0"]["deprecation"] == DEPRECATION
    assert found["1.1.0"]["listed"] is False


# --- offline ---


async def test_offline_a_stored_registration_is_filtered_to_what_is_held(
    start_proxy: StartProxy, known: FakeFeed
) -> None:
    proxy = await start_proxy(known.index_url)
    stored, _ = await entries(proxy)
    await fetch(proxy, "1.0.0", "1.1.0")
    proxy = await go_offline(start_proxy, proxy, known)
    found, got = await entries(proxy)
    assert list(found) == ["1.0.0", "1.1.0"]
    for version, entry in found.items():
        before = {**stored[version], "@id": "", "packageContent": ""}
        assert {**entry, "@id": "", "packageContent": ""} == before, "as upstream said it"
    assert not [url for url in (known.url,) if url.encode() in got.body]
    for page in json.loads(got.body)["items"]:
        assert (page["count"], page["lower"], page["upper"]) == (2, "1.0.0", "1.1.0")
        for item in page["items"]:
            leaf = json.loads((await ask(proxy, item["@id"].removeprefix(proxy.url))).body)
            assert leaf["version"] == item["catalogEntry"]["version"]
            assert (await ask(proxy, item["packageContent"].removeprefix(proxy.url))).status == 200
    assert got.headers["X-NuGet-Warning"] == "made from held packages, vulnerabilities unknown"


# --- behind the clients' backs ---


async def test_registrations_of_what_is_held_are_fetched_once(
    start_proxy: StartProxy, known: FakeFeed, clock: FakeClock
) -> None:
    proxy = await start_proxy(known.index_url)
    await fetch(proxy, "1.0.0", "2.0.0")
    assert known.count(UP_REGISTRATION) == 0
    for _ in range(3):
        await keep(proxy)
        clock.advance(3600)
    assert known.count(UP_REGISTRATION) == 1
    await known.set_mode("refused")
    found, _ = await entries(proxy)
    assert found["1.0.0"]["deprecation"] == DEPRECATION
    proxy = await go_offline(start_proxy, proxy, known)
    found, _ = await entries(proxy)
    assert found["1.0.0"]["deprecation"] == DEPRECATION


@pytest.mark.parametrize(
    ("tables", "kept"),
    [
        ({}, True),
        ({"cache": {"keep_registrations": False}}, False),
        ({"upstream": {"offline": True}}, False),
    ],
    ids=["by default", "turned off", "offline"],
)
async def test_whether_registrations_are_kept(
    start_proxy: StartProxy, known: FakeFeed, tables: dict[str, Any], kept: bool
) -> None:
    proxy = await start_proxy(known.index_url, **tables)
    source_of(proxy).start(proxy.app.tasks, secure=False)
    assert ("registrations up" in {task.get_name() for task in proxy.app.tasks.running()}) is kept


async def test_a_changed_version_list_has_its_registration_fetched_again(
    start_proxy: StartProxy, known: FakeFeed, clock: FakeClock
) -> None:
    proxy = await start_proxy(known.index_url)
    await ask(proxy, "/v3/content/acme.a/index.json")
    await ask(proxy, "/v3/content/acme.never/index.json")
    await fetch(proxy, "1.0.0")
    await keep(proxy)
    clock.advance(400)
    await ask(proxy, "/v3/content/acme.a/index.json")
    await keep(proxy)
    assert known.count(UP_REGISTRATION) == 1, "the list is as it was"
    known.add(make_nupkg("Acme.A", "3.0.0"))
    clock.advance(400)
    await ask(proxy, "/v3/content/acme.a/index.json")
    await until(lambda: not proxy.app.tasks.running())
    await keep(proxy)
    assert known.count(UP_REGISTRATION) == 2
    assert not [seen for seen in known.requests if "registration" in seen.path and "acme.a" not in seen.path]


async def test_registrations_are_fetched_side_by_side(
    start_proxy: StartProxy, known: FakeFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that one transaction stores several; an operator is told when all are there."""
    paces: list[float] = []
    for number in range(10):
        known.add(make_nupkg(f"Many.N{number}", "1.0.0"))
    proxy = await start_proxy(known.index_url)
    for number in range(10):
        assert (await ask(proxy, package_url(f"many.n{number}", "1.0.0"))).status == 200
    asked: list[set[str]] = []

    async def sleep(seconds: float) -> None:
        paces.append(seconds)
        asked.append({seen.path for seen in known.requests if "/many.n" in seen.path and "registration" in seen.path})

    monkeypatch.setattr(source_of(proxy).registrations_kept, "_clock", SimpleNamespace(sleep=sleep))
    with capture_logs() as logs:
        await keep(proxy)
        await keep(proxy)
    assert paces == [pytest.approx(8 * 0.3), pytest.approx(2 * 0.3)]
    assert [len(some) for some in asked] == [8, 10]
    told = [entry for entry in logs if entry["event"] == "registrations.kept"]
    assert [(entry["upstream"], entry["fetched"]) for entry in told] == [("up", 10)]


async def test_after_a_start_all_that_is_held_is_visited_once(
    start_proxy: StartProxy, known: FakeFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some at a time; whom a failure has kept from being visited comes later."""
    monkeypatch.setattr("nugetproxy.sources.registration_keeper.LOOK", 4)
    monkeypatch.setattr("nugetproxy.sources.registration_keeper.AT_ONCE", 3)
    proxy = await start_proxy(known.index_url)
    wanted = [f"many.n{number}" for number in range(10)]
    for id in wanted:
        known.add(make_nupkg(id, "1.0.0"))
        assert (await ask(proxy, package_url(id, "1.0.0"))).status == 200
    await until(lambda: proxy.metric("flights") == 0)
    await proxy.restart()
    paths = [UP_REGISTRATION.replace("acme.a", id) for id in wanted]
    known.origin.routes[paths[4]] = Script(status=500)
    proxy.app.start_background()
    await until(lambda: all(known.count(path) for path in paths))
    assert [known.count(path) for path in paths if path != paths[4]] == [1] * 9


async def test_where_one_registration_fails_no_others_are_asked_for(start_proxy: StartProxy, known: FakeFeed) -> None:
    """Two that fail alike would be taken for a lost upstream, which clients then would not be served from."""
    proxy = await start_proxy(known.index_url)
    known.add(make_nupkg("Acme.B", "1.0.0"))
    await fetch(proxy, "1.0.0")
    assert (await ask(proxy, package_url("acme.b", "1.0.0"))).status == 200
    for id in ("acme.a", "acme.b"):
        known.origin.routes[UP_REGISTRATION.replace("acme.a", id)] = Script(status=500)
    await source_of(proxy).registrations_kept.round()
    assert {seen.path for seen in known.requests if "registration" in seen.path} == {UP_REGISTRATION}
    assert not {state.phase for state in source_of(proxy).breakers().values()} - {Phase.CLOSED}


async def test_nothing_is_fetched_while_something_else_is_under_way(start_proxy: StartProxy, known: FakeFeed) -> None:
    proxy = await start_proxy(known.index_url)
    await fetch(proxy, "1.0.0")
    await known.set_mode("hang")
    asking = asyncio.create_task(ask(proxy, "/v3/content/acme.b/index.json"))
    await until(lambda: known.count("/v3-flatcontainer/acme.b/index.json") == 1)
    await source_of(proxy).registrations_kept.round()
    assert known.count(UP_REGISTRATION) == 0
    await known.set_mode("up")
    await asking
    await keep(proxy)
    assert known.count(UP_REGISTRATION) == 1


async def test_a_lost_upstream_is_left_alone(start_proxy: StartProxy, known: FakeFeed) -> None:
    proxy = await start_proxy(known.index_url)
    await fetch(proxy, "1.0.0")
    await known.set_mode("5xx")
    for number in range(8):
        await ask(proxy, f"/v3/content/acme.missing{number}/index.json")
    await source_of(proxy).registrations_kept.round()
    assert known.count(UP_REGISTRATION) == 0


# --- dates ---


async def test_a_package_has_the_date_on_which_it_was_published(start_proxy: StartProxy, known: FakeFeed) -> None:
    for version in VERSIONS:
        held_package = known.shelf.find("Acme.A", version)
        modified = ("Last-Modified", "Mon, 03 Feb 2020 04:05:06 GMT")
        path = UP_PACKAGE.format(version=version)
        known.origin.routes[path] = Script(body=held_package.content, headers=[modified])
    proxy = await start_proxy(known.index_url)
    await fetch(proxy, "2.0.0")
    assert file_time(proxy, "2.0.0") == 1580702706.0, "as the answer said"
    assert (await ask(proxy, package_url("acme.a", "2.0.0"))).headers[
        "Last-Modified"
    ] == "Mon, 03 Feb 2020 04:05:06 GMT"
    assert (await ask(proxy, REGISTRATION.format(hive="gz-semver2"))).status == 200
    await until(lambda: not proxy.app.tasks.running())
    assert file_time(proxy, "2.0.0") == STAMPS["2.0.0"], "as the registration said later"
    await fetch(proxy, "1.0.0", "1.1.0")
    assert file_time(proxy, "1.0.0") == pytest.approx(STAMPS["1.0.0"], abs=0.001), "as the registration said before"
    assert file_time(proxy, "1.1.0") == 1580702706.0, "1900 is not a date"
    got = await ask(proxy, package_url("acme.a", "2.0.0"))
    assert got.cache == "hit"
    assert int(got.headers["Age"]) < 10 * 86400 * 366, "since it was fetched"


async def test_a_file_whose_time_alone_was_changed_is_hashed_again(proxy: Proxy, known: FakeFeed) -> None:
    await fetch(proxy, "1.0.0")
    (path,) = proxy.packages.rglob("*.nupkg")
    os.utime(path, (86400.0, 86400.0))
    got = await ask(proxy, package_url("acme.a", "1.0.0"))
    assert (got.status, got.cache) == (200, "hit")
    assert got.body == path.read_bytes()
    assert not list((proxy.packages.parent / "quarantine").glob("*"))


async def test_the_date_of_a_package_is_not_its_last_use(
    start_proxy: StartProxy, feed: FakeFeed, tmp_path: Path
) -> None:
    """A package whose hash file is lost has no last use; its date, years ago, would make it the first to go."""
    proxy = await start_proxy(feed.index_url)
    await ask(proxy, "/v3/index.json")
    lay_down(proxy.packages, "old", "1.0.0", make_nupkg("Old", "1.0.0"))
    (path,) = proxy.packages.rglob("*.nupkg")
    os.utime(path, (86400.0, 86400.0))
    for marker in proxy.packages.rglob("*.sha512"):
        marker.unlink()
    ((_, _, used),) = proxy.held.folder.walk()
    assert used == path.stat().st_ctime
    assert held(proxy)
