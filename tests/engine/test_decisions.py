"""The decision table through HTTP: what is served, what is stored, what ``Cache-Status`` says."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import FormData
from structlog.testing import capture_logs

from nugetproxy.engine.hot_documents import HotDocuments
from nugetproxy.engine.target import Target
from nugetproxy.nuget.kinds import Kind
from nugetproxy.store.documents.documents import Stored
from tests.conftest import StartProxy
from tests.fakes import canary
from tests.fakes.asking import (
    PACKAGE,
    REGISTRATION,
    SEARCH,
    SMALL,
    UP_INDEX,
    UP_PACKAGE,
    UP_REGISTRATION,
    UP_VERSIONS,
    VERSIONS,
    ask,
    failures,
    until,
)
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.origin import Script
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy

ONE = b'{"versions":["1.0.0"]}'
TWO = b'{"versions":["1.0.0","2.0.0"]}'
NONE = b'{"versions":[]}'


def listed(body: bytes, etag: str = '"v1"', **more: object) -> Script:
    return Script(body=body, headers=[("ETag", etag)], **more)  # type: ignore[arg-type]


@pytest.fixture
async def warm(proxy: Proxy, feed: FakeFeed) -> Proxy:
    """A proxy that holds the service index and the list of one version."""
    feed.origin.routes[UP_VERSIONS] = listed(ONE)
    await ask(proxy, VERSIONS)
    return proxy


async def test_what_has_landed_since_it_was_looked_up_is_not_fetched_again(
    proxy: Proxy, feed: FakeFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed.origin.routes[UP_VERSIONS] = listed(ONE)
    looked, landed = asyncio.Event(), asyncio.Event()
    read = HotDocuments.read

    async def late(documents: HotDocuments, target: Target) -> Stored | None:
        """The first one who finds no list goes on once there is one."""
        found = await read(documents, target)
        if target.kind is Kind.VERSIONS and not looked.is_set():
            looked.set()
            await landed.wait()
        return found

    monkeypatch.setattr(HotDocuments, "lacks", lambda *_: False)  # as before the store knows what is there
    monkeypatch.setattr(HotDocuments, "read", late)
    late_one = asyncio.create_task(ask(proxy, VERSIONS))
    await looked.wait()
    assert (await ask(proxy, VERSIONS)).body == ONE
    landed.set()
    got = await late_one
    assert (got.body, got.cache.split(";")[0]) == (ONE, "hit")
    assert feed.count(UP_VERSIONS) == 1


async def test_nothing_stored_then_200(proxy: Proxy, feed: FakeFeed) -> None:
    feed.origin.routes[UP_VERSIONS] = listed(ONE)
    got = await ask(proxy, VERSIONS)
    assert (got.status, got.body, got.cache) == (200, ONE, "fwd=uri-miss; fwd-status=200; stored")
    assert got.headers["Age"] == "0"


@pytest.mark.parametrize("status", [404, 410])
async def test_nothing_stored_then_404(proxy: Proxy, feed: FakeFeed, clock: FakeClock, status: int) -> None:
    feed.origin.routes[UP_VERSIONS] = Script(status=status)
    got = await ask(proxy, VERSIONS)
    assert got.status == 404
    assert got.cache == "fwd=uri-miss; fwd-status=404; stored"
    clock.advance(10)
    again = await ask(proxy, VERSIONS)
    assert (again.status, again.cache, again.headers["Age"]) == (404, "hit; ttl=20", "10")
    assert feed.count(UP_VERSIONS) == 1
    clock.advance(21)
    feed.origin.routes[UP_VERSIONS] = listed(ONE)
    assert (await ask(proxy, VERSIONS)).body == ONE, "a 404 is forgotten after 30 seconds"


@pytest.mark.parametrize(
    ("path", "up"), [(VERSIONS, UP_VERSIONS), (REGISTRATION, UP_REGISTRATION), (PACKAGE, UP_PACKAGE)]
)
async def test_a_known_absence_is_believed_for_a_week_of_outage(
    start_proxy: StartProxy, feed: FakeFeed, clock: FakeClock, path: str, up: str
) -> None:
    """NuGet needs the answer of every source for a floating version: one dead feed must not break it."""
    proxy = await start_proxy(feed.index_url)
    assert (await ask(proxy, path)).status == 404
    feed.origin.routes[up] = Script(status=500)
    for seconds in (31, 3600, 6 * 86400):
        clock.advance(seconds)
        got = await ask(proxy, path)
        assert (got.status, got.cache) == (404, 'fwd=stale; detail="5xx"'), seconds
        assert int(got.headers["Age"]) >= seconds
    await proxy.restart()
    assert (await ask(proxy, path)).status == 404, "a restart does not forget it"
    assert (await ask(proxy, path.replace("acme.a", "acme.never"))).status == 404, "upstream answers about others"
    clock.advance(86400)
    assert (await ask(proxy, path)).status == 503
    del feed.origin.routes[up]
    feed.add(SMALL)
    clock.advance(3600)
    assert (await ask(proxy, path)).status == 200


async def test_what_was_never_asked_is_no_absence(start_proxy: StartProxy, feed: FakeFeed, clock: FakeClock) -> None:
    proxy = await start_proxy(feed.index_url)
    assert (await ask(proxy, VERSIONS)).status == 404
    await feed.set_mode("refused")
    clock.advance(31)
    assert (await ask(proxy, VERSIONS)).status == 404
    for path in (VERSIONS, REGISTRATION, PACKAGE):
        assert (await ask(proxy, path.replace("acme.a", "acme.never"))).status == 503


async def test_a_slow_upstream_is_waited_for_before_an_absence_is_believed(
    proxy: Proxy, feed: FakeFeed, clock: FakeClock
) -> None:
    """It may have what it lacked, so that it is slow says nothing."""
    assert (await ask(proxy, VERSIONS)).status == 404
    clock.advance(31)
    feed.add(SMALL)
    await feed.set_mode("hang")
    asking = asyncio.create_task(ask(proxy, VERSIONS))
    done, _ = await asyncio.wait({asking}, timeout=1.0)
    assert not done
    await feed.set_mode("up")
    assert (await asking).body == ONE


async def test_one_failure_is_tried_again_before_an_absence_is_believed(
    proxy: Proxy, feed: FakeFeed, clock: FakeClock
) -> None:
    assert (await ask(proxy, VERSIONS)).status == 404
    clock.advance(31)
    feed.origin.routes[UP_VERSIONS] = [Script(status=503), listed(ONE)]
    assert (await ask(proxy, VERSIONS)).body == ONE


async def test_a_package_that_a_later_list_names_is_no_absence(proxy: Proxy, feed: FakeFeed, clock: FakeClock) -> None:
    assert (await ask(proxy, PACKAGE)).status == 404
    feed.add(SMALL)
    clock.advance(31)
    assert (await ask(proxy, VERSIONS)).body == ONE
    feed.origin.routes[UP_PACKAGE] = Script(status=500)
    assert (await ask(proxy, PACKAGE)).status == 503


async def test_an_absence_from_before_a_held_package_does_not_hide_it(
    proxy: Proxy, feed: FakeFeed, clock: FakeClock
) -> None:
    assert (await ask(proxy, VERSIONS)).status == 404
    feed.add(SMALL)
    assert (await ask(proxy, PACKAGE)).status == 200
    await feed.set_mode("5xx")
    clock.advance(31)
    got = await ask(proxy, VERSIONS)
    assert (got.status, got.body, got.cache) == (200, ONE, "detail=synthesized")


async def test_an_absence_from_before_a_write_is_not_believed(proxy: Proxy, feed: FakeFeed, clock: FakeClock) -> None:
    assert (await ask(proxy, VERSIONS)).status == 404
    clock.advance(1)
    proxy.app.ledger.raise_epoch("up", "acme.a")
    feed.origin.routes[UP_VERSIONS] = Script(status=500)
    assert (await ask(proxy, VERSIONS)).status == 503


@pytest.mark.parametrize(("mode", "detail"), [("refused", "refused"), ("5xx", "5xx")])
async def test_nothing_stored_then_a_failure(start_proxy: StartProxy, feed: FakeFeed, mode: str, detail: str) -> None:
    proxy = await start_proxy(feed.index_url, upstream={"breaker_failures": 100})
    await ask(proxy, "/v3/index.json")
    await feed.set_mode(mode)  # type: ignore[arg-type]
    got = await ask(proxy, VERSIONS)
    assert (got.status, got.cache) == (503, f'fwd=uri-miss; detail="{detail}"')
    assert got.headers["Retry-After"] == "1"
    await feed.set_mode("up")
    assert (await ask(proxy, VERSIONS)).status == 404, "the failure was not stored"


async def test_fresh(warm: Proxy, feed: FakeFeed, clock: FakeClock) -> None:
    clock.advance(100)
    got = await ask(warm, VERSIONS)
    assert (got.body, got.cache, got.headers["Age"]) == (ONE, "hit; ttl=200", "100")
    assert feed.count(UP_VERSIONS) == 1


async def test_fresh_after_a_restart(warm: Proxy, feed: FakeFeed, clock: FakeClock) -> None:
    await feed.set_mode("refused")
    await warm.restart()
    clock.advance(100)
    got = await ask(warm, VERSIONS)
    assert (got.body, got.cache) == (ONE, "hit; ttl=200")


async def test_stale_then_304(warm: Proxy, feed: FakeFeed, clock: FakeClock) -> None:
    feed.origin.routes[UP_VERSIONS] = Script(status=304)
    clock.advance(301)
    got = await ask(warm, VERSIONS)
    assert (got.status, got.body, got.cache) == (200, ONE, "fwd=stale; fwd-status=304")
    assert feed.requests[-1].headers["If-None-Match"] == '"v1"'
    assert got.headers["Age"] == "0"
    clock.advance(100)
    assert (await ask(warm, VERSIONS)).cache == "hit; ttl=200"


async def test_stale_then_200(warm: Proxy, feed: FakeFeed, clock: FakeClock) -> None:
    feed.origin.routes[UP_VERSIONS] = listed(TWO, '"v2"')
    clock.advance(301)
    got = await ask(warm, VERSIONS)
    assert (got.body, got.cache) == (TWO, "fwd=stale; fwd-status=200; stored")
    assert (await ask(warm, VERSIONS)).cache == "hit; ttl=300"


async def test_304_to_an_unconditional_request_is_never_an_empty_200(proxy: Proxy, feed: FakeFeed) -> None:
    feed.origin.routes[UP_VERSIONS] = Script(status=304)
    got = await ask(proxy, VERSIONS)
    assert (got.status, got.cache) == (502, 'fwd=uri-miss; detail="protocol"')


@pytest.mark.parametrize(
    ("script", "detail"),
    [
        (Script(status=500), '"5xx"'),
        (Script(status=503), '"5xx"'),
        (Script(status=429), '"429"'),
        (Script(status=401), "auth"),
        (Script(status=403), "auth"),
        (Script(status=418), "status"),
        (Script(status=204), "status"),
        (Script(status=302, headers=[("Location", "file:///etc/passwd")]), "redirect_denied"),
        (Script(raw=b"", end="rst"), "reset"),
        (Script(raw=b"HTTP/1.1 200\r\n\x00\r\n\r\n", end="fin"), "protocol"),
        (listed(b"<html>log in</html>"), "invalid_content"),
        (listed(b'{"versions":['), "invalid_content"),
        (listed(b"[]"), "invalid_content"),
        (listed(b'{"versions":["1.0.0"]', length=500, end="fin"), "truncated"),
    ],
    ids=lambda value: str(value.status) if isinstance(value, Script) else value,
)
async def test_stale_then_a_failure(
    start_proxy: StartProxy, feed: FakeFeed, clock: FakeClock, script: Script, detail: str
) -> None:
    proxy = await start_proxy(feed.index_url, upstream={"breaker_failures": 100})
    feed.origin.routes[UP_VERSIONS] = listed(ONE)
    await ask(proxy, VERSIONS)
    feed.origin.routes[UP_VERSIONS] = script
    clock.advance(3600)
    with capture_logs() as logs:
        got = await ask(proxy, VERSIONS)
    assert (got.status, got.body) == (200, ONE)
    assert got.cache == f"fwd=stale; detail={detail}"
    assert got.headers["Age"] >= "3600"
    (line,) = [entry for entry in logs if entry["event"] == "document.stale"]
    assert line["reason"] == detail.strip('"')
    feed.origin.routes[UP_VERSIONS] = listed(TWO)
    clock.advance(60)
    assert (await ask(proxy, VERSIONS)).body == TWO, "nothing is left of the failure"


async def test_stale_past_on_error_then_a_failure(start_proxy: StartProxy, feed: FakeFeed, clock: FakeClock) -> None:
    proxy = await start_proxy(feed.index_url, policy={"versions": {"on_error": "1h"}})
    feed.origin.routes[UP_VERSIONS] = [listed(ONE), Script(status=502)]
    await ask(proxy, VERSIONS)
    clock.advance(3600 + 301)
    got = await ask(proxy, VERSIONS)
    assert (got.status, got.cache) == (503, 'fwd=stale; detail="5xx"')
    assert feed.count(UP_VERSIONS) == 4, "there was nothing to serve instead: it was tried three times"
    clock.advance(1)
    feed.origin.routes[UP_VERSIONS] = Script(status=304)
    assert (await ask(proxy, VERSIONS)).body == ONE, "what was stored is kept all the same"


async def test_stale_while_revalidate(proxy: Proxy, feed: FakeFeed, clock: FakeClock) -> None:
    before = await ask(proxy, "/v3/index.json")
    gate = asyncio.Event()
    body = json.loads(before.body) | {"comment": "a new one"}
    body["resources"] = [{"@id": f"{feed.url}/v3-flatcontainer/", "@type": "PackageBaseAddress/3.0.0"}]
    feed.origin.routes[UP_INDEX] = Script(body=json.dumps(body).encode(), gate=gate)
    clock.advance(3600 + 100)
    for _ in range(3):
        stale = await ask(proxy, "/v3/index.json")
        assert (stale.body, stale.cache) == (before.body, "hit; ttl=-100")
    gate.set()
    await until(lambda: len(proxy.app.tasks) == 0)
    fresh = await ask(proxy, "/v3/index.json")
    assert (len(json.loads(fresh.body)["resources"]), fresh.cache) == (1, "hit; ttl=3600")
    assert feed.count(UP_INDEX) == 2, "one refresh, however many asked"


async def test_a_refresh_behind_the_clients_back_that_fails_is_silent(
    proxy: Proxy, feed: FakeFeed, clock: FakeClock
) -> None:
    before = await ask(proxy, "/v3/index.json")
    await feed.set_mode("html")
    for _ in range(3):
        clock.advance(3700)
        assert (await ask(proxy, "/v3/index.json")).body == before.body
        await until(lambda: len(proxy.app.tasks) == 0)
    assert failures(proxy, "invalid_content") == 3


async def test_an_expired_list_is_asked_for_once_by_all(warm: Proxy, feed: FakeFeed, clock: FakeClock) -> None:
    gate = asyncio.Event()
    feed.origin.routes[UP_VERSIONS] = listed(TWO, gate=gate)
    clock.advance(301)
    asked = [asyncio.create_task(ask(warm, VERSIONS)) for _ in range(20)]
    await until(lambda: warm.metric("collapsed_total") == 19 and feed.count(UP_VERSIONS) == 2)
    gate.set()
    answers = [await one for one in asked]
    assert {one.body for one in answers} == {TWO}
    assert [one.cache for one in answers].count("fwd=stale; fwd-status=200; collapsed") == 19
    assert feed.count(UP_VERSIONS) == 2


async def test_a_question_that_fails_for_all_makes_stale_what_they_get(
    warm: Proxy, feed: FakeFeed, clock: FakeClock
) -> None:
    """What counts answers out of the cache would lack those who joined."""
    gate = asyncio.Event()
    feed.origin.routes[UP_VERSIONS] = Script(body=b"<html>no list</html>", gate=gate)
    clock.advance(301)
    asked = [asyncio.create_task(ask(warm, VERSIONS)) for _ in range(20)]
    await until(lambda: warm.metric("collapsed_total") == 19 and feed.count(UP_VERSIONS) == 2)
    gate.set()
    answers = [await one for one in asked]
    assert {one.body for one in answers} == {ONE}
    assert sum("; collapsed" in one.cache for one in answers) == 19
    assert warm.metric("requests_total", upstream="up", kind="versions", outcome="stale", status="200") == 20


class TestSlowUpstream:
    async def test_what_is_stored_is_served_after_half_a_second(
        self, start_proxy: StartProxy, feed: FakeFeed, clock: FakeClock
    ) -> None:
        proxy = await start_proxy(feed.index_url, upstream={"read_timeout": "20s"})
        feed.origin.routes[UP_VERSIONS] = listed(ONE)
        await ask(proxy, VERSIONS)
        gate = asyncio.Event()
        feed.origin.routes[UP_VERSIONS] = listed(TWO, gate=gate)
        clock.advance(301)
        loop = asyncio.get_running_loop()
        began = loop.time()
        got = await ask(proxy, VERSIONS)
        assert 0.4 < loop.time() - began < 0.75
        assert (got.body, got.cache) == (ONE, "hit; ttl=-1; detail=slow_upstream")
        gate.set()
        await until(lambda: len(proxy.app.tasks) == 0)
        assert (await ask(proxy, VERSIONS)).body == TWO, "the answer that came late was not in vain"

    async def test_what_was_stored_before_a_write_is_not_served_meanwhile(
        self, start_proxy: StartProxy, feed: FakeFeed, clock: FakeClock
    ) -> None:
        proxy = await start_proxy(feed.index_url, upstream={"read_timeout": "20s"})
        feed.origin.routes[UP_VERSIONS] = listed(ONE)
        await ask(proxy, VERSIONS)
        clock.advance(1)
        form = FormData()
        form.add_field("package", SMALL, filename="package.nupkg", content_type="application/octet-stream")
        got = await ask(proxy, "/v3/package", "PUT", data=form, headers={"X-NuGet-ApiKey": canary.API_KEY})
        assert got.status == 201
        gate = asyncio.Event()
        feed.origin.routes[UP_VERSIONS] = listed(TWO, '"v2"', gate=gate)
        asked = asyncio.create_task(ask(proxy, VERSIONS))
        done, _ = await asyncio.wait({asked}, timeout=0.8)  # longer than the soft deadline
        assert not done
        gate.set()
        assert (await asked).body == TWO

    async def test_with_nothing_stored_it_is_an_error_in_the_end(self, start_proxy: StartProxy, feed: FakeFeed) -> None:
        proxy = await start_proxy(feed.index_url, upstream={"read_timeout": "150ms"})
        await ask(proxy, "/v3/index.json")
        await feed.set_mode("hang")
        got = await ask(proxy, VERSIONS)
        assert (got.status, got.headers["Retry-After"]) == (503, "1")
        assert failures(proxy, "read_timeout") >= 1


class TestBreaker:
    async def test_open_everything_stored_is_served_at_once(
        self, warm: Proxy, feed: FakeFeed, clock: FakeClock
    ) -> None:
        await feed.set_mode("refused")
        clock.advance(301)
        for _ in range(2):
            await ask(warm, "/v3/content/acme.b/index.json")
        assert warm.metric("breaker_open", upstream="up", origin=feed.url) == 1
        before = warm.metric("upstream_requests_total", upstream="up", method="GET")
        for path in (VERSIONS, VERSIONS, "/v3/index.json"):
            got = await ask(warm, path)
            assert got.status == 200
        assert (await ask(warm, VERSIONS)).cache == "fwd=stale; detail=breaker_open"
        assert warm.metric("upstream_requests_total", upstream="up", method="GET") == before

    async def test_open_for_a_while_a_miss_is_refused_at_once_with_the_cause(
        self, warm: Proxy, feed: FakeFeed, clock: FakeClock
    ) -> None:
        await feed.set_mode("refused")
        for _ in range(2):
            await ask(warm, "/v3/content/acme.b/index.json")
        clock.advance(16)
        await warm.app.prober.round()
        slept = len(clock.slept)
        for path in ("/v3/content/acme.c/index.json", PACKAGE, SEARCH, REGISTRATION):
            got = await ask(warm, path)
            assert (got.status, got.cache) == (503, 'fwd=uri-miss; detail="breaker_open"')
            assert got.headers["Retry-After"] == "1", "not longer: NuGet sleeps for as long as it is told"
            assert b"refused: the connection was refused" in got.body
        assert len(clock.slept) == slept, "nobody waited"
        ready = await ask(warm, "/health/ready")
        assert json.loads(ready.body)["breakers"] == {"up": {feed.url: "open"}}

    async def test_it_closes_when_upstream_is_back(self, warm: Proxy, feed: FakeFeed, clock: FakeClock) -> None:
        await feed.set_mode("refused")
        for _ in range(2):
            await ask(warm, "/v3/content/acme.b/index.json")
        await feed.set_mode("up")
        clock.advance(6)
        feed.origin.routes[UP_VERSIONS] = listed(TWO)
        clock.advance(301)
        assert (await ask(warm, VERSIONS)).body == TWO
        assert warm.metric("breaker_open", upstream="up", origin=feed.url) == 0

    async def test_retry_after_of_a_429_holds_it_open_but_is_not_for_the_client(
        self, warm: Proxy, feed: FakeFeed, clock: FakeClock
    ) -> None:
        feed.retry_after = "120"
        await feed.set_mode("429")
        first = await ask(warm, PACKAGE)
        assert (first.status, first.headers["Retry-After"]) == (503, "1")
        clock.advance(30)
        before = len(feed.requests)
        second = await ask(warm, PACKAGE)
        assert (second.status, second.headers["Retry-After"]) == (503, "1")
        assert len(feed.requests) == before
        clock.advance(31)
        await feed.set_mode("up")
        feed.add(SMALL)
        assert (await ask(warm, PACKAGE)).body == SMALL


class TestDoubt:
    """What was there and is gone is believed when upstream still says so a minute later."""

    @pytest.mark.parametrize(
        ("script", "detail"), [(Script(status=404), "gone"), (listed(NONE), "shrunk_index")], ids=["gone", "empty"]
    )
    async def test_a_list_that_vanishes(
        self, warm: Proxy, feed: FakeFeed, clock: FakeClock, script: Script, detail: str
    ) -> None:
        feed.origin.routes[UP_VERSIONS] = script
        clock.advance(301)
        for wait in (0, 30, 29):
            clock.advance(wait)
            got = await ask(warm, VERSIONS)
            assert (got.status, got.body, got.cache) == (200, ONE, f"fwd=stale; detail={detail}")
        assert failures(warm, detail) >= 1
        clock.advance(2)
        got = await ask(warm, VERSIONS)
        assert (got.status, got.body) in ((404, got.body), (200, NONE))

    async def test_a_list_that_comes_back_needs_a_minute_again(
        self, warm: Proxy, feed: FakeFeed, clock: FakeClock
    ) -> None:
        gone = Script(status=404)
        for script, expected in ((gone, ONE), (listed(ONE), ONE), (gone, ONE)):
            feed.origin.routes[UP_VERSIONS] = script
            clock.advance(301)
            assert (await ask(warm, VERSIONS)).body == expected

    async def test_packages_that_are_held_outlive_their_list(
        self, proxy: Proxy, feed: FakeFeed, clock: FakeClock
    ) -> None:
        feed.add(SMALL)
        await ask(proxy, PACKAGE)
        await ask(proxy, VERSIONS)
        feed.remove("Acme.A", "1.0.0")
        feed.origin.routes[UP_PACKAGE] = Script(status=404)
        for _ in range(3):
            clock.advance(400)
            await ask(proxy, VERSIONS)
        assert (await ask(proxy, VERSIONS)).status == 404
        assert (await ask(proxy, PACKAGE)).body == SMALL

    async def test_the_service_index_is_never_given_up(self, warm: Proxy, feed: FakeFeed, clock: FakeClock) -> None:
        """Without it nothing that is stored could be served."""
        feed.origin.routes[UP_INDEX] = Script(status=404)
        feed.origin.routes[UP_VERSIONS] = listed(ONE)
        clock.advance(7 * 86400)
        for _ in range(4):
            clock.advance(100)
            assert (await ask(warm, "/v3/index.json")).status == 200
            assert (await ask(warm, VERSIONS)).status == 200

    async def test_an_empty_list_of_a_package_that_never_had_versions_is_the_answer(
        self, proxy: Proxy, feed: FakeFeed
    ) -> None:
        feed.origin.routes[UP_VERSIONS] = listed(NONE)
        assert (await ask(proxy, VERSIONS)).body == NONE


async def test_a_clock_set_back_makes_nothing_fresh_for_ever(warm: Proxy, feed: FakeFeed, clock: FakeClock) -> None:
    feed.origin.routes[UP_VERSIONS] = listed(TWO)
    clock.advance(-86400)
    got = await ask(warm, VERSIONS)
    assert got.body == TWO
    assert int(got.headers["Age"]) >= 0


async def test_a_package_absent_for_half_a_minute(proxy: Proxy, feed: FakeFeed, clock: FakeClock) -> None:
    for cache in ("fwd=uri-miss; fwd-status=404; stored", "hit; ttl=30"):
        got = await ask(proxy, PACKAGE)
        assert (got.status, got.cache) == (404, cache)
    assert feed.count(UP_PACKAGE) == 1
    clock.advance(31)
    feed.add(SMALL)
    assert (await ask(proxy, PACKAGE)).body == SMALL


@pytest.mark.parametrize("path", [VERSIONS, PACKAGE, REGISTRATION, SEARCH, "/v3/index.json"])
async def test_offline_upstream_is_never_asked(
    start_proxy: StartProxy, feed: FakeFeed, clock: FakeClock, path: str
) -> None:
    feed.add(SMALL)
    online = await start_proxy(feed.index_url)
    body = (await ask(online, path)).body
    base = online.url
    await online.stop()
    before = len(feed.requests)
    offline = await start_proxy(
        feed.index_url, directory=online.directory, upstream={"offline": True, "offline_versions": "known"}
    )
    clock.advance(10 * 86400)
    got = await ask(offline, path)
    assert (got.status, got.body.replace(offline.url.encode(), base.encode())) == (200, body)
    assert got.cache.startswith("hit")
    assert len(feed.requests) == before


async def test_a_search_is_asked_once_per_canonical_query(proxy: Proxy, feed: FakeFeed) -> None:
    feed.add(make_nupkg("Acme.A", "1.0.0"))
    first = await ask(proxy, "/v3/query?q=acme&prerelease=false&take=5")
    again = await ask(proxy, "/v3/query?take=5&q=acme&prerelease=false")
    assert (again.body, again.cache) == (first.body, "hit; ttl=120")
    for other in ("q=acme&prerelease=true&take=5", "q=acme&prerelease=false&take=5&semVerLevel=2.0.0", "q=ACME"):
        assert (await ask(proxy, f"/v3/query?{other}")).cache.startswith("fwd=uri-miss")


@pytest.mark.parametrize("query", ["q=a%26b", "q=%2B", "q=a+b", "q=%C3%A9", "q=", "q=x&f=a&f=b", "q=a%20b&unknown=1"])
async def test_a_query_arrives_as_it_was_sent(proxy: Proxy, feed: FakeFeed, query: str) -> None:
    from yarl import URL

    url = URL(f"{proxy.url}/v3/query?{query}", encoded=True)
    async with proxy.client.session.get(url) as response:
        assert response.status == 200
    assert feed.requests[-1].query == query


@pytest.mark.parametrize("query", ["take=abc", "skip=-1"])
async def test_a_query_that_upstream_refuses_is_the_clients_mistake(proxy: Proxy, feed: FakeFeed, query: str) -> None:
    feed.origin.routes["/azuresearch-usnc/query"] = Script(status=400)
    got = await ask(proxy, f"/v3/query?{query}")
    assert got.status == 400
    feed.origin.routes.clear()
    assert (await ask(proxy, SEARCH)).status == 200
