"""The history: what was asked for, by whom, how that went; through HTTP, with the clock of the tests."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
import threading
from collections.abc import Sequence
from typing import Any

import aiohttp
import orjson
import pytest

from nugetproxy.admin.commands import carry_out
from nugetproxy.store.history import history as histories
from nugetproxy.store.history.history import HistoryUnavailable
from nugetproxy.store.history.reading import Use
from nugetproxy.store.history.sighting import Sighting
from nugetproxy.store.history.tally import Tally
from nugetproxy.store.history.writing import write
from nugetproxy.store.sqlite_file import SqliteFile
from tests.conftest import StartProxy
from tests.fakes.asking import ask, until
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy
from tests.web.test_tokens import basic, token

LIST = "/v3/content/acme.a/index.json"
PACKAGE = "/v3/content/acme.a/1.0.0/acme.a.1.0.0.nupkg"
OTHER = "/v3/content/acme.a/2.0.0/acme.a.2.0.0.nupkg"
DAY = 86400.0


def session(name: str) -> dict[str, str]:
    return {"X-NuGet-Session-Id": name}


@pytest.fixture
def feed(feed: FakeFeed) -> FakeFeed:
    feed.add(make_nupkg("Acme.A", "1.0.0"))
    feed.add(make_nupkg("Acme.A", "2.0.0"))
    return feed


@pytest.mark.parametrize(
    ("parts", "times"), [(["0-"], 1), (["0-9", "10-"], 1), (["0-9"], 0), (["0-", "0-"], 2)], ids=str
)
async def test_who_takes_a_package_in_parts_has_got_it_with_the_last_one(
    proxy: Proxy, parts: list[str], times: int
) -> None:
    """On its way, out of its file, in the lane."""
    for part in parts:
        assert (await ask(proxy, PACKAGE, headers={"Range": f"bytes={part}"})).status == 206
    await proxy.app.history.flush()
    assert sum(one.times for one in await proxy.app.history.uses("acme.a", "")) == times


async def test_answers_are_counted_by_minute_hour_and_day(proxy: Proxy) -> None:
    bodies = [await ask(proxy, PACKAGE) for _ in range(4)]
    assert proxy.app.lane.answered > 0, "hits of the lane are among them"
    await proxy.app.history.flush()
    size = len(bodies[0].body)
    for span in (60, 3600, 86400):
        (one,) = await proxy.app.history.counts(span, 0, ["up"])
        assert one.start == int(proxy.app.clock.now()) // span * span
        assert (one.requests, one.hits, one.fetches, one.failed) == (4, 3, 1, 0)
        assert (one.bytes, one.saved, one.packages) == (4 * size, 3 * size, 4)
    assert await proxy.app.history.counts(60, 0, ["another feed"]) == ()


async def test_old_counts_are_dropped_the_finest_first(proxy: Proxy, clock: FakeClock) -> None:
    await ask(proxy, LIST)
    await proxy.app.history.flush()
    for days, kept in ((3, (0, 1, 1)), (63, (0, 0, 1)), (1831, (0, 0, 0))):
        clock.advance(days * DAY)
        await proxy.app.history.flush()
        found = [len(await proxy.app.history.counts(span, 0, ["up"])) for span in (60, 3600, 86400)]
        assert tuple(found) == kept


async def test_requests_of_one_session_are_one_restore(proxy: Proxy) -> None:
    for path in (LIST, PACKAGE, PACKAGE, OTHER):
        await ask(proxy, path, headers=session("first"))
    await ask(proxy, LIST, headers=session("second"))
    await ask(proxy, LIST)
    await proxy.app.history.flush()
    second, first = await proxy.app.history.restores(10)
    assert (first.session, first.client, first.token) == ("first", "127.0.0.1", "")
    restore = first.restore
    assert (restore.requests, restore.packages, restore.hits, restore.fetches, restore.failed) == (4, 3, 1, 3, 0)
    assert restore.feeds == ("up",)
    assert {(step.id, step.version) for step in restore.slowest} == {
        ("acme.a", ""),
        ("acme.a", "1.0.0"),
        ("acme.a", "2.0.0"),
    }
    assert (second.session, second.restore.requests) == ("second", 1)


async def test_what_a_client_first_asks_without_its_token_is_no_restore_of_its_own(proxy: Proxy) -> None:
    """As every NuGet client does for each of its requests."""
    secret = await token(proxy, "read")
    for path in (LIST, PACKAGE):
        assert (await ask(proxy, path, headers=session("one"))).status == 401
        assert (await ask(proxy, path, headers=session("one") | basic(secret))).status == 200
    await proxy.app.history.flush()
    (one,) = await proxy.app.history.restores(10)
    assert (one.session, one.token, one.restore.requests) == ("one", "one", 2)


async def test_a_restore_goes_on_over_batches(proxy: Proxy, clock: FakeClock) -> None:
    await ask(proxy, LIST, headers=session("one"))
    await proxy.app.history.flush()
    clock.advance(5)
    await ask(proxy, PACKAGE, headers=session("one"))
    await proxy.app.history.flush()
    (one,) = await proxy.app.history.restores(10)
    assert one.restore.requests == 2
    assert one.restore.seconds == pytest.approx(5, abs=0.5)
    assert one.restore.busy < 1, "nothing was asked for in between"


async def test_only_the_last_restores_are_kept(start_proxy: StartProxy, feed: FakeFeed, clock: FakeClock) -> None:
    proxy = await start_proxy(feed.index_url, history={"restores": 2})
    for name in ("a", "b", "c", "d"):
        clock.advance(1)
        await ask(proxy, LIST, headers=session(name))
    clock.advance(histories.PRUNE_SECONDS)
    await proxy.app.history.flush()
    assert [one.session for one in await proxy.app.history.restores(10)] == ["d", "c"]


async def test_who_got_what_is_known_by_token_and_address(start_proxy: StartProxy, feed: FakeFeed) -> None:
    proxy = await start_proxy(feed.index_url)
    secret = await token(proxy, "read", name="farm")
    await ask(proxy, PACKAGE, headers=basic(secret))
    await ask(proxy, PACKAGE, headers=basic(secret))
    await ask(proxy, LIST, headers=basic(secret))
    await proxy.app.history.flush()
    (one,) = await proxy.app.history.uses("acme.a", "")
    assert (one.id, one.version, one.feed, one.token, one.client) == ("acme.a", "1.0.0", "up", "farm", "127.0.0.1")
    assert one.times == 2
    assert await proxy.app.history.uses("acme.a", "2.0.0") == ()
    assert await proxy.app.history.used_by("farm", "", 0) == (one,)
    assert await proxy.app.history.used_by("farm", "10.0.0.1", 0) == ()


async def test_a_bill_of_materials_tells_of_the_feed_that_a_package_came_from(
    start_proxy: StartProxy, feed: FakeFeed
) -> None:
    async with FakeFeed() as second:
        second.add(make_nupkg("Acme.A", "1.0.0", authors="others"))
        proxy = await start_proxy(
            feed.index_url,
            upstream={"private": False},
            upstreams={"two": {"url": second.index_url, "private": False}},
            feeds={"all": {"sources": ["two", "up"]}},
        )
        for feeds in ("up", "two", "all", "up two"):
            _, secret = await proxy.app.tokens.add(feeds.replace(" ", "-"), ["read"], [], None)
            got = [(await ask(proxy, f"/{name}{PACKAGE}", headers=basic(secret))).body for name in feeds.split()]
            bill = await carry_out(proxy.app.desk, "sbom", {"token": feeds.replace(" ", "-")}, by="test")
            (one,) = bill["components"]
            told = [entry["content"] for entry in one.get("hashes", [])]
            assert told == ([hashlib.sha512(got[0]).hexdigest()] if len(got) == 1 else []), "which one, nobody can tell"


async def test_what_was_got_before_a_purge_is_not_told_of_the_bytes_that_came_after_it(
    proxy: Proxy, feed: FakeFeed, clock: FakeClock
) -> None:
    for name, text in (("before", "first"), ("after", "other")):
        _, secret = await proxy.app.tokens.add(name, ["read"], [], None)
        feed.add(nupkg := make_nupkg("Acme.A", "1.0.0", description=text))
        assert (await ask(proxy, PACKAGE, headers=basic(secret))).body == nupkg
        assert await billed(proxy, name) == {"description": text, "sha512": hashlib.sha512(nupkg).hexdigest()}
        await carry_out(proxy.app.desk, "purge", {"id": "Acme.A"}, by="test")
        clock.advance(60)
    assert (await ask(proxy, PACKAGE, headers=basic(secret))).body == nupkg

    assert await billed(proxy, "before") == {}, "nobody knows those bytes any more"
    assert (await billed(proxy, "after"))["description"] == "other"


async def billed(proxy: Proxy, token: str) -> dict[str, str]:
    """What is told of the one package that came by a token."""
    (one,) = (await carry_out(proxy.app.desk, "sbom", {"token": token}, by="test"))["components"]
    hashes = [{"sha512": entry["content"]} for entry in one.get("hashes", [])]
    return {name: one[name] for name in ("description",) if name in one} | (hashes[0] if hashes else {})


async def test_a_token_that_is_shown_to_an_open_feed_is_known_too(start_proxy: StartProxy, feed: FakeFeed) -> None:
    proxy = await start_proxy(feed.index_url, server={"allow_anonymous": True})
    secret = await token(proxy, "read", name="farm")
    for _ in range(4):  # the last ones by the lane
        await ask(proxy, PACKAGE, headers=basic(secret))
    await ask(proxy, PACKAGE, headers=basic("nobody's"))
    assert proxy.app.lane.answered
    assert {(one.token, one.times) for one in await uses(proxy)} == {("farm", 4), ("", 1)}


async def uses(proxy: Proxy) -> tuple[Use, ...]:
    await proxy.app.history.flush()
    return await proxy.app.history.uses("acme.a", "")


async def test_usage_is_kept_for_so_many_days(start_proxy: StartProxy, feed: FakeFeed, clock: FakeClock) -> None:
    proxy = await start_proxy(feed.index_url, history={"usage": "2d"})
    await ask(proxy, PACKAGE)
    clock.advance(1.5 * DAY)
    await ask(proxy, OTHER)
    assert {one.version for one in await uses(proxy)} == {"1.0.0", "2.0.0"}
    clock.advance(1 * DAY)
    assert {one.version for one in await uses(proxy)} == {"2.0.0"}


async def test_usage_can_be_off(start_proxy: StartProxy, feed: FakeFeed) -> None:
    proxy = await start_proxy(feed.index_url, history={"usage": "off", "restores": 0})
    await ask(proxy, PACKAGE, headers=session("one"))
    assert await uses(proxy) == ()
    assert await proxy.app.history.restores(10) == ()
    await proxy.stop()
    assert b"127.0.0.1" not in (proxy.directory / "history.db").read_bytes()


async def test_a_stop_writes_what_is_pending(proxy: Proxy) -> None:
    await ask(proxy, PACKAGE)
    await proxy.restart()
    assert [one.times for one in await proxy.app.history.uses("acme.a", "")] == [1]


async def test_failed_requests_are_one_trouble_with_the_last_words(proxy: Proxy, feed: FakeFeed) -> None:
    await ask(proxy, LIST)
    await feed.set_mode("5xx")
    for path in (PACKAGE, OTHER):
        answer = await ask(proxy, path)
        assert answer.status == 503
    await proxy.app.history.flush()
    (one,) = await proxy.app.history.troubles(0, ["up"])
    assert (one.feed, one.kind, one.times, one.id, one.version) == ("up", "package", 2, "acme.a", "2.0.0")
    assert one.reason in {"5xx", "breaker_open"}
    assert one.detail == orjson.loads(answer.body)["error"]


async def test_a_damaged_history_is_begun_afresh_and_holds_nobody_up(proxy: Proxy) -> None:
    await ask(proxy, PACKAGE)
    await proxy.stop()
    (proxy.directory / "history.db").write_bytes(b"no database" * 1000)
    await proxy.start()
    assert (await ask(proxy, PACKAGE)).status == 200
    await proxy.app.history.flush()
    await ask(proxy, OTHER)
    await proxy.app.history.flush()
    assert {one.version for one in await proxy.app.history.uses("acme.a", "")} >= {"2.0.0"}
    assert list(proxy.directory.glob("history.db.corrupt-*"))


async def test_what_cannot_be_written_is_dropped_and_counted(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: Any, **__: Any) -> None:
        raise HistoryUnavailable("SQLITE_FULL")

    with monkeypatch.context() as patched:
        patched.setattr(SqliteFile, "write", fails)
        assert (await ask(proxy, PACKAGE)).status == 200
        await proxy.app.history.flush()
    assert proxy.metric("history_dropped_total") == 1
    await ask(proxy, PACKAGE)
    assert [one.times for one in await uses(proxy)] == [1]


async def test_what_waits_for_a_slow_disk_is_bounded(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(histories, "MOST_PENDING", 3)
    for _ in range(5):
        await ask(proxy, "/v3/content/acme.b/index.json")
    assert len(proxy.app.history.pending) == 3
    assert proxy.metric("history_dropped_total") == 2


async def test_health_and_metrics_are_no_part_of_it(proxy: Proxy) -> None:
    await ask(proxy, "/health/live")
    await ask(proxy, "/metrics")
    assert proxy.app.history.pending == []


async def test_a_client_that_takes_its_time_is_known_as_slow(start_proxy: StartProxy, feed: FakeFeed) -> None:
    feed.add(make_nupkg("Acme.Big", "1.0.0", size=8_000_000))
    proxy = await start_proxy(feed.index_url)
    path = "/v3/content/acme.big/1.0.0/acme.big.1.0.0.nupkg"
    await ask(proxy, path)
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.client.port, limit=4096)
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nX-NuGet-Session-Id: slow\r\nConnection: close\r\n\r\n".encode()
    )
    await reader.readline()
    for _ in range(100):  # meanwhile it takes nothing, and what is for it fills the buffers of the kernel
        await ask(proxy, "/health/live")
    while await reader.read(65536):
        pass
    writer.close()
    await until(
        lambda: any(not isinstance(one, Tally) and one[2].session == "slow" for one in proxy.app.history.pending)
    )
    await proxy.app.history.flush()
    restore = (await proxy.app.history.restores(1))[0].restore
    assert restore.client > restore.here + restore.upstream
    assert restore.upstream == 0


async def test_a_client_that_leaves_is_no_failure_of_ours(start_proxy: StartProxy, feed: FakeFeed) -> None:
    feed.add(make_nupkg("Acme.Big", "1.0.0", size=8_000_000))
    proxy = await start_proxy(feed.index_url)
    path = "/v3/content/acme.big/1.0.0/acme.big.1.0.0.nupkg"
    await ask(proxy, path)
    async with proxy.client.get(path) as answer:
        await answer.content.readexactly(1000)
        answer.close()
    await until(lambda: len(proxy.app.history.pending) == 2)
    await proxy.app.history.flush()
    (count,) = await proxy.app.history.counts(60, 0, ["up"])
    assert (count.requests, count.failed) == (2, 0)
    assert await proxy.app.history.troubles(0, ["up"]) == ()


@pytest.mark.slow
async def test_thousands_of_hits_wait_for_no_write(
    proxy: Proxy, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that hangs holds up nobody; when it is back, all of it is one batch in a small file."""
    hung, batches = threading.Event(), list[int]()

    def slow(connection: sqlite3.Connection, batch: Sequence[Sighting | Tally], **more: Any) -> None:
        hung.wait(60)
        batches.append(len(batch))
        write(connection, batch, **more)

    monkeypatch.setattr(histories, "write", slow)
    assert (await ask(proxy, PACKAGE)).status == 200
    first = asyncio.create_task(proxy.app.history.flush())
    try:
        await until(lambda: not proxy.app.history.pending)
        before = proxy.app.lane.answered
        await asyncio.gather(*(hits(proxy, 500, f"session-{at}") for at in range(10)))
        assert proxy.app.lane.answered - before >= 4900, "on the fast lane"
        assert not first.done()
        assert len(proxy.app.history.pending) == 5000
    finally:
        hung.set()
    await first
    await proxy.app.history.flush()
    assert batches == [1, 5000]
    assert sum(path.stat().st_size for path in proxy.directory.glob("history.db*")) < 2_000_000
    (minute,) = await proxy.app.history.counts(60, 0, ["up"])
    assert (minute.requests, minute.hits) == (5001, 5000)


async def hits(proxy: Proxy, times: int, name: str) -> None:
    """So many hits of one session, over one connection."""
    async with aiohttp.ClientSession(headers=session(name)) as client:
        for _ in range(times):
            async with client.get(proxy.url + PACKAGE) as answer:
                assert answer.status == 200
                await answer.read()


async def test_what_a_hanging_disk_cannot_take_is_counted(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(histories, "MOST_PENDING", 100)
    for _ in range(150):
        assert (await ask(proxy, LIST, headers=session("one"))).status == 200
    assert len(proxy.app.history.pending) == 100
    assert proxy.metric("history_dropped_total") == 50
    await proxy.app.history.flush()
    (minute,) = await proxy.app.history.counts(60, 0, ["up"])
    assert minute.requests == 100


@pytest.mark.parametrize("fields", [{}, {"X-Unknown": "1"}], ids=["as clients ask", "on the ordinary path"])
async def test_hits_alike_take_one_place_while_a_disk_hangs(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch, fields: dict[str, str]
) -> None:
    monkeypatch.setattr(histories, "MOST_PENDING", 4)
    laned = proxy.app.lane.answered
    for _ in range(100):
        assert (await ask(proxy, PACKAGE, headers=fields)).status == 200
    assert (proxy.app.lane.answered - laned > 90) == (not fields)
    assert len(proxy.app.history.pending) <= 3, "the miss, hits on the ordinary path, those in the lane"
    assert proxy.metric("history_dropped_total") == 0
    assert [one.times for one in await uses(proxy)] == [100]
    (minute,) = await proxy.app.history.counts(60, 0, ["up"])
    assert (minute.requests, minute.packages) == (100, 100)


async def test_what_is_counted_together_is_dropped_by_its_number(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: Any, **__: Any) -> None:
        raise HistoryUnavailable("SQLITE_FULL")

    for _ in range(10):
        await ask(proxy, PACKAGE)
    with monkeypatch.context() as patched:
        patched.setattr(SqliteFile, "write", fails)
        await proxy.app.history.flush()
    assert proxy.metric("history_dropped_total") == 10


async def test_hits_while_a_batch_is_written_are_in_the_next_one(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    hung = threading.Event()

    def slow(connection: sqlite3.Connection, batch: Sequence[Sighting | Tally], **more: Any) -> None:
        hung.wait(60)
        write(connection, batch, **more)

    for _ in range(5):
        await ask(proxy, PACKAGE)
    monkeypatch.setattr(histories, "write", slow)
    first = asyncio.create_task(proxy.app.history.flush())
    try:
        await until(lambda: not proxy.app.history.pending)
        for _ in range(5):
            await ask(proxy, PACKAGE)
    finally:
        hung.set()
    await first
    assert [one.times for one in await uses(proxy)] == [10]
