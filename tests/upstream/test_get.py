"""Documents: what comes back, what is sent."""

from __future__ import annotations

import asyncio
import gzip
import os
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from nugetproxy.caching.entry import Answer, Validators
from nugetproxy.errors import Reason, UpstreamFailure, UpstreamRefused, UpstreamUnavailable
from nugetproxy.nuget.documents.exact_json import InvalidDocument
from nugetproxy.upstream.asking import OWN
from nugetproxy.upstream.client import UpstreamClient
from nugetproxy.upstream.patience import impatience
from tests.fakes.clock import FakeClock
from tests.fakes.origin import Origin, Script
from tests.upstream.conftest import MakeClient

JSON = b'{"version":"3.0.0"}'
ETAG, DATE = '"abc"', "Fri, 15 Jan 2027 08:00:00 GMT"
Count = Callable[..., float]


async def parses(answer: Answer) -> None:
    """What a document must do at least."""
    try:
        orjson.loads(answer.body)
    except ValueError:
        raise InvalidDocument("not JSON") from None


async def failure(client: UpstreamClient, url: str, **more: Any) -> UpstreamFailure:
    with pytest.raises(UpstreamFailure) as caught:
        await client.get(url, **more)
    return caught.value


async def test_a_document_with_all_that_is_known_of_it(origin: Origin, client: UpstreamClient, count: Count) -> None:
    headers = [("ETag", ETAG), ("Last-Modified", DATE), ("Content-Type", "application/json; charset=utf-8")]
    origin.routes["/v3/index.json"] = Script(body=JSON, headers=headers)
    assert await client.get(f"{origin.url}/v3/index.json?semVerLevel=2.0.0") == Answer(
        status=200,
        body=JSON,
        content_type="application/json; charset=utf-8",
        validators=Validators(ETAG, DATE),
        url=f"{origin.url}/v3/index.json",
    )
    assert origin.requests[0].query == "semVerLevel=2.0.0"
    assert count("upstream_requests", method="GET") == 1
    assert count("received_bytes") == len(JSON)


async def test_requests_are_built_from_nothing(origin: Origin, make_client: MakeClient) -> None:
    origin.routes["/x"] = Script(body=JSON, headers=[("Set-Cookie", "a=b")])
    client = make_client(user_agent="nugetproxy/1.0")
    for _ in range(2):
        await client.get(f"{origin.url}/x")
    for seen in origin.requests:
        assert dict(seen.headers) == {
            "Host": f"127.0.0.1:{origin.port}",
            "Accept": "application/json, */*;q=0.8",
            "Accept-Encoding": "gzip",
            "User-Agent": "nugetproxy/1.0",
            "CDN-Loop": OWN,
        }
    assert origin.connections == 1


async def test_the_query_and_path_arrive_byte_for_byte(origin: Origin, client: UpstreamClient) -> None:
    origin.fallback = lambda seen: Script(body=JSON)
    target = "/a%2Fb/%e2%82%ac/c;d?sig=a%2Fb%2B%3D&x=a+b&y=%20&&z"
    await client.get(origin.url + target)
    assert origin.requests[0].target == target


async def test_both_conditions_are_sent_and_304_comes_back(origin: Origin, client: UpstreamClient) -> None:
    origin.routes["/x"] = Script(status=304, headers=[("ETag", ETAG)])
    answer = await client.get(f"{origin.url}/x", validators=Validators(ETAG, DATE))
    assert (answer.status, answer.body, answer.validators.etag) == (304, b"", ETAG)
    assert origin.requests[0].headers["If-None-Match"] == ETAG
    assert origin.requests[0].headers["If-Modified-Since"] == DATE


async def test_304_to_an_unconditional_request_is_no_answer(origin: Origin, client: UpstreamClient) -> None:
    origin.routes["/x"] = Script(status=304)
    assert (await failure(client, f"{origin.url}/x")).reason is Reason.PROTOCOL


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 418, 451])
async def test_other_4xx_are_answers_without_body(origin: Origin, client: UpstreamClient, status: int) -> None:
    origin.routes["/x"] = Script(status=status, body=b"<html>no</html>")
    for _ in range(2):
        answer = await client.get(f"{origin.url}/x")
        assert (answer.status, answer.body) == (status, b"")
    assert origin.connections == 1
    assert not client.breakers()


@pytest.mark.parametrize("status", [201, 204, 206, 300, 305])
async def test_other_statuses_are_refused(origin: Origin, client: UpstreamClient, status: int) -> None:
    origin.routes["/x"] = Script(status=status, body=b"" if status == 204 else b"part")
    error = await failure(client, f"{origin.url}/x")
    assert isinstance(error, UpstreamRefused)
    assert error.reason is Reason.STATUS
    assert origin.count("/x") == 1


async def test_rejected_credentials_are_counted(origin: Origin, client: UpstreamClient, count: Count) -> None:
    origin.routes["/x"] = Script(status=401)
    await client.get(f"{origin.url}/x")
    assert count("upstream_failures", reason="auth") == 1


async def test_a_long_error_page_is_not_read(origin: Origin, client: UpstreamClient) -> None:
    origin.routes["/x"] = Script(status=404, body=b"x" * 1_000_000)
    assert (await client.get(f"{origin.url}/x")).status == 404


async def test_an_error_page_that_stalls_does_not_hold_the_answer(origin: Origin, client: UpstreamClient) -> None:
    origin.routes["/x"] = Script(status=404, body=b"x" * 100, stall_at=10)
    async with asyncio.timeout(5):
        assert (await client.get(f"{origin.url}/x")).status == 404


class TestCoding:
    @pytest.mark.parametrize("size", [0, 1000, 500_000])
    async def test_gzip_is_removed(self, origin: Origin, client: UpstreamClient, size: int) -> None:
        body = bytes(number % 251 for number in range(size))
        origin.routes["/x"] = Script(body=body, gzip=True)
        assert (await client.get(f"{origin.url}/x")).body == body

    async def test_a_large_body_is_decoded_off_the_loop(self, origin: Origin, client: UpstreamClient) -> None:
        body = os.urandom(300_000)
        origin.routes["/x"] = Script(body=body, gzip=True, chunked=True)
        assert (await client.get(f"{origin.url}/x")).body == body

    @pytest.mark.parametrize("coding", ["br", "deflate", "zstd", "gzip, gzip", "gzip, br"])
    async def test_other_codings_are_refused(self, origin: Origin, client: UpstreamClient, coding: str) -> None:
        origin.routes["/x"] = Script(body=gzip.compress(JSON), headers=[("Content-Encoding", coding)])
        assert (await failure(client, f"{origin.url}/x")).reason is Reason.PROTOCOL
        assert origin.count("/x") == 1

    @pytest.mark.parametrize("coding", ["aws-chunked,gzip", "gzip, Binary", "GZIP,none,utf-8"])
    async def test_gzip_among_words_that_are_no_codings(
        self, origin: Origin, client: UpstreamClient, coding: str
    ) -> None:
        origin.routes["/x"] = Script(body=gzip.compress(JSON), headers=[("Content-Encoding", coding)])
        assert (await client.get(f"{origin.url}/x")).body == JSON

    @pytest.mark.parametrize("coding", ["identity", "Identity", "aws-chunked", "binary", "UTF-8", "none", "x, none,"])
    async def test_words_that_are_no_codings_change_nothing(
        self, origin: Origin, client: UpstreamClient, coding: str
    ) -> None:
        origin.routes["/x"] = Script(body=JSON, headers=[("Content-Encoding", coding)])
        assert (await client.get(f"{origin.url}/x")).body == JSON

    async def test_plain_bytes_that_claim_to_be_gzip(self, origin: Origin, client: UpstreamClient) -> None:
        origin.routes["/x"] = Script(body=JSON, headers=[("Content-Encoding", "gzip")])
        assert (await failure(client, f"{origin.url}/x")).reason is Reason.PROTOCOL

    async def test_a_gzip_stream_cut_short_is_fetched_again(self, origin: Origin, client: UpstreamClient) -> None:
        cut = Script(body=gzip.compress(JSON)[:-4], headers=[("Content-Encoding", "gzip")], length=None)
        origin.routes["/x"] = [cut, Script(body=JSON)]
        assert (await client.get(f"{origin.url}/x")).body == JSON


class TestSize:
    async def test_the_limit_is_exact(self, origin: Origin, client: UpstreamClient) -> None:
        origin.routes["/x"] = Script(body=b"x" * 1000)
        assert len((await client.get(f"{origin.url}/x", limit=1000)).body) == 1000
        assert (await failure(client, f"{origin.url}/x", limit=999)).reason is Reason.TOO_LARGE

    @pytest.mark.parametrize("script", [Script(body=b"x" * 1001, chunked=True), Script(body=b"x" * 1001, length=None)])
    async def test_an_unstated_length_is_counted(self, origin: Origin, client: UpstreamClient, script: Script) -> None:
        origin.routes["/x"] = script
        assert (await failure(client, f"{origin.url}/x", limit=1000)).reason is Reason.TOO_LARGE

    async def test_a_stated_length_is_refused_before_the_body(self, origin: Origin, client: UpstreamClient) -> None:
        origin.routes["/x"] = Script(length=10**12, stall_at=0)
        assert (await failure(client, f"{origin.url}/x")).reason is Reason.TOO_LARGE

    async def test_a_gzip_bomb_is_refused(self, origin: Origin, make_client: MakeClient) -> None:
        origin.routes["/x"] = Script(body=b"\0" * 20_000_000, gzip=True)
        error = await failure(make_client(max_document=10_000_000), f"{origin.url}/x")
        assert error.reason is Reason.TOO_LARGE
        assert isinstance(error, UpstreamRefused)


class TestHead:
    async def test_what_a_get_would_say(self, origin: Origin, client: UpstreamClient) -> None:
        origin.routes["/x"] = Script(body=b"x" * 1234, headers=[("ETag", ETAG), ("Content-Type", "a/b")])
        head = await client.head(f"{origin.url}/x?y")
        assert (head.status, head.length, head.validators.etag, head.content_type) == (200, 1234, ETAG, "a/b")
        assert head.url == f"{origin.url}/x"
        assert origin.requests[0].method == "HEAD"
        assert origin.requests[0].headers["Accept-Encoding"] == "identity"

    async def test_a_coded_length_is_not_the_length(self, origin: Origin, client: UpstreamClient) -> None:
        origin.routes["/x"] = Script(body=b"x" * 1234, gzip=True)
        assert (await client.head(f"{origin.url}/x")).length is None

    async def test_absent(self, origin: Origin, client: UpstreamClient) -> None:
        assert (await client.head(f"{origin.url}/x")).status == 404

    async def test_redirects_and_retries_as_with_get(self, origin: Origin, client: UpstreamClient) -> None:
        origin.routes["/x"] = [Script(status=503), Script(status=302, headers=[("Location", "/y")])]
        origin.routes["/y"] = Script(body=b"123")
        assert (await client.head(f"{origin.url}/x")).length == 3
        assert [seen.method for seen in origin.requests] == ["HEAD"] * 3


class TestRetries:
    @pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
    async def test_a_status_that_may_pass(
        self, origin: Origin, client: UpstreamClient, clock: FakeClock, count: Count, status: int
    ) -> None:
        origin.routes["/x"] = [Script(status=status), Script(status=status), Script(body=JSON)]
        assert (await client.get(f"{origin.url}/x")).body == JSON
        assert len(clock.slept) == 2
        assert count("upstream_retries") == 2

    async def test_the_last_failure_is_told(self, origin: Origin, client: UpstreamClient, count: Count) -> None:
        origin.routes["/x"] = Script(status=502, body=b"<html>")
        error = await failure(client, f"{origin.url}/x")
        assert isinstance(error, UpstreamUnavailable)
        assert error.reason is Reason.SERVER_ERROR
        assert origin.count("/x") == 3
        assert count("upstream_failures", reason="5xx") == 3

    async def test_a_short_retry_after_is_waited_for(
        self, origin: Origin, client: UpstreamClient, clock: FakeClock
    ) -> None:
        origin.routes["/x"] = [Script(status=429, headers=[("Retry-After", "4")]), Script(body=JSON)]
        assert (await client.get(f"{origin.url}/x")).body == JSON
        assert 4.0 <= clock.slept[0] <= 4.3

    async def test_a_long_retry_after_is_handed_on_and_kept_to(
        self, origin: Origin, client: UpstreamClient, clock: FakeClock
    ) -> None:
        origin.routes["/x"] = Script(status=429, headers=[("Retry-After", "120")])
        error = await failure(client, f"{origin.url}/x")
        assert (error.reason, error.retry_after) == (Reason.RATE_LIMITED, 60.0)
        assert not clock.slept
        clock.advance(59)
        held = await failure(client, f"{origin.url}/other")
        assert held.reason is Reason.BREAKER_OPEN
        assert held.retry_after == pytest.approx(1.0)
        assert len(origin.requests) == 1

    async def test_only_so_many_tries_as_configured(self, origin: Origin, make_client: MakeClient) -> None:
        origin.routes["/x"] = Script(status=500)
        await failure(make_client(tries=1), f"{origin.url}/x")
        assert origin.count("/x") == 1

    async def test_a_stale_pooled_connection_costs_nothing(
        self, origin: Origin, make_client: MakeClient, clock: FakeClock, count: Count
    ) -> None:
        client = make_client(breaker_failures=1)
        origin.routes["/x"] = [Script(body=JSON), Script(raw=b"", end="fin"), Script(body=JSON)]
        for _ in range(2):
            assert (await client.get(f"{origin.url}/x")).body == JSON
        assert origin.connections == 2
        assert not clock.slept
        assert not client.breakers()
        assert count("upstream_retries") == 1
        assert not count("upstream_failures", reason="reset")

    async def test_a_fresh_connection_that_is_closed_is_a_failure(
        self, origin: Origin, client: UpstreamClient, clock: FakeClock, count: Count
    ) -> None:
        origin.routes["/x"] = [Script(raw=b"", end="fin"), Script(body=JSON)]
        assert (await client.get(f"{origin.url}/x")).body == JSON
        assert len(clock.slept) == 1
        assert count("upstream_failures", reason="reset") == 1

    async def test_the_deadline_covers_all_tries(self, origin: Origin, make_client: MakeClient) -> None:
        """Also a body that keeps coming, only too slowly."""

        async def trickle() -> object:
            while True:
                await asyncio.sleep(0.02)
                yield b" "

        origin.routes["/x"] = Script(stream=trickle, chunked=True)  # type: ignore[arg-type]
        error = await failure(make_client(document_deadline=1.0, tries=1), f"{origin.url}/x")
        assert error.reason is Reason.READ_TIMEOUT


class TestBreaker:
    async def test_a_dead_upstream_is_soon_left_alone(
        self, origin: Origin, make_client: MakeClient, clock: FakeClock, count: Count
    ) -> None:
        client = make_client(breaker_failures=5)
        await origin.refuse()
        assert (await failure(client, f"{origin.url}/x")).reason is Reason.REFUSED
        asked = count("upstream_requests", method="GET")
        error = await failure(client, f"{origin.url}/x", patience=impatience())
        assert (error.reason, error.retry_after) == (Reason.BREAKER_OPEN, client.breakers()[origin.url].retry_after)
        assert count("upstream_requests", method="GET") == asked == 3
        assert "refused: the connection was refused" in str(error), "it names what it is open for"
        assert "2027-01-15T08:00:0" in str(error)

        await origin.listen()
        origin.routes["/x"] = Script(body=JSON)
        clock.advance(5)
        assert (await client.get(f"{origin.url}/x")).body == JSON
        assert not client.breakers()

    async def test_its_gauge(self, origin: Origin, make_client: MakeClient, clock: FakeClock, metrics: object) -> None:
        def shown() -> float | None:
            labels = {"upstream": "feed", "origin": origin.url}
            value: float | None = metrics.registry.get_sample_value("nugetproxy_breaker_open", labels)  # type: ignore[attr-defined]
            return value

        client = make_client(breaker_failures=1)
        assert shown() is None
        origin.routes["/x"] = [Script(status=503), Script(body=JSON)]
        await failure(client, f"{origin.url}/x", patience=impatience())
        assert shown() == 1
        clock.advance(10)
        await client.get(f"{origin.url}/x")
        assert shown() == 0

    @pytest.mark.parametrize("status", [404, 401, 403, 400])
    async def test_answers_do_not_count(self, origin: Origin, make_client: MakeClient, status: int) -> None:
        client = make_client(breaker_failures=1)
        origin.routes["/x"] = Script(status=status)
        await client.get(f"{origin.url}/x")
        assert not client.breakers()

    async def test_one_origin_in_trouble_does_not_close_another(self, origin: Origin, make_client: MakeClient) -> None:
        client = make_client(breaker_failures=1)
        origin.routes["/bad"] = Script(status=503)
        origin.routes["/good"] = Script(body=JSON)
        await failure(client, f"{origin.localhost}/bad")
        assert (await client.get(f"{origin.url}/good")).status == 200
        refused = await failure(client, f"{origin.localhost}/good", patience=impatience())
        assert refused.reason is Reason.BREAKER_OPEN

    async def test_a_captive_portal_opens_it(self, origin: Origin, make_client: MakeClient, count: Count) -> None:
        client = make_client(breaker_failures=3)
        origin.fallback = lambda _: Script(body=b"<html>sign in</html>")
        for number in range(3):
            error = await failure(client, f"{origin.url}/{number}?a=b", verify=parses)
            assert error.reason is Reason.INVALID_CONTENT
        refused = await failure(client, f"{origin.url}/x", patience=impatience())
        assert refused.reason is Reason.BREAKER_OPEN
        assert "invalid_content: Not a usable NuGet document: not JSON (" in str(refused)
        assert count("upstream_failures", reason="invalid_content") == 3

    @pytest.mark.parametrize(
        ("script", "reason"),
        [
            (Script(body=b"<html>quarantine</html>"), Reason.INVALID_CONTENT),
            (Script(status=500), Reason.SERVER_ERROR),
            (Script(body=b"{}", headers=[("Content-Encoding", "br")]), Reason.PROTOCOL),
            (Script(body=b"{" * 100, cut_at=10), Reason.TRUNCATED),
        ],
    )
    async def test_one_bad_target_is_left_alone_and_nothing_else(
        self, origin: Origin, make_client: MakeClient, clock: FakeClock, count: Count, script: Script, reason: Reason
    ) -> None:
        client = make_client(breaker_failures=1, tries=1)
        origin.routes["/bad"] = script
        origin.routes["/good"] = Script(body=JSON)
        asked = []
        for _ in range(20):
            assert (await failure(client, f"{origin.url}/bad", verify=parses)).reason is reason
            asked.append(origin.count("/bad"))
            assert (await client.get(f"{origin.url}/good")).body == JSON
            clock.advance(0.5)
        assert asked[:8] == [1, 1, 2, 2, 2, 2, 3, 3], "after one second, after two more, four, eight"
        assert asked[-1] == 4
        assert count("upstream_failures", reason=reason) == 4, "what is remembered is no further failure"
        assert not client.breakers()

    async def test_a_bad_target_is_forgiven_when_it_is_well_again(
        self, origin: Origin, make_client: MakeClient, clock: FakeClock
    ) -> None:
        client = make_client(tries=1)
        bad, good = Script(status=500), Script(body=JSON)
        origin.routes["/x"] = [bad, bad, good, bad, good]
        for span in (1.0, 2.0):
            await failure(client, f"{origin.url}/x")
            clock.advance(span)
        assert (await client.get(f"{origin.url}/x")).body == JSON
        await failure(client, f"{origin.url}/x")
        clock.advance(1.0)
        assert (await client.get(f"{origin.url}/x")).body == JSON, "the first second again, not four"

    @pytest.mark.parametrize("status", [429, 503])
    async def test_what_a_host_says_of_itself_counts_for_it(
        self, origin: Origin, make_client: MakeClient, status: int
    ) -> None:
        client = make_client(breaker_failures=2, tries=1)
        origin.routes["/x"] = Script(status=status)
        for _ in range(2):
            await failure(client, f"{origin.url}/x")
        assert (await failure(client, f"{origin.url}/y", patience=impatience())).reason is Reason.BREAKER_OPEN

    async def test_a_cancelled_probe_does_not_block_it(
        self, origin: Origin, make_client: MakeClient, clock: FakeClock
    ) -> None:
        client = make_client(breaker_failures=1, tries=1)
        gate = asyncio.Event()
        origin.routes["/x"] = [Script(status=503), Script(gate=gate), Script(body=JSON)]
        await failure(client, f"{origin.url}/x")
        clock.advance(5)
        probe = asyncio.create_task(client.get(f"{origin.url}/x"))
        while origin.count("/x") < 2:
            await asyncio.sleep(0)
        assert (await failure(client, f"{origin.url}/x", patience=impatience())).reason is Reason.BREAKER_OPEN
        probe.cancel()
        with pytest.raises(asyncio.CancelledError):
            await probe
        assert (await client.get(f"{origin.url}/x")).body == JSON


class TestBulkheads:
    async def test_hanging_downloads_do_not_hold_up_documents(self, origin: Origin, make_client: MakeClient) -> None:
        client = make_client(connections=3)
        origin.routes["/p"] = Script(body=b"x" * 100, stall_at=50)
        origin.routes["/d"] = Script(body=JSON)

        async def hang() -> None:
            async with client.download(f"{origin.url}/p") as download:
                async for _ in download.chunks():
                    pass

        tasks = [asyncio.create_task(hang()) for _ in range(10)]
        while origin.active < 3:
            await asyncio.sleep(0)
        assert (await client.get(f"{origin.url}/d")).body == JSON
        assert origin.count("/p") == 3
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def test_waiting_for_a_turn_is_not_upstreams_fault(
        self, origin: Origin, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("nugetproxy.upstream.wire.SLOT_WAIT", 0.02)
        client = make_client(connections=1, tries=1, breaker_failures=1)
        origin.routes["/x"] = Script(body=b"x" * 100)
        async with client.download(f"{origin.url}/x"):
            with pytest.raises(UpstreamFailure) as caught:
                await client.download(f"{origin.url}/y").__aenter__()
        assert caught.value.reason is Reason.CONNECT_TIMEOUT
        assert origin.count("/y") == 0
        assert not client.breakers()


async def test_after_close_requests_fail_as_stopping(origin: Origin, client: UpstreamClient) -> None:
    await client.close()
    assert (await failure(client, f"{origin.url}/x")).reason is Reason.STOPPING


async def test_a_document_that_a_proxy_on_the_way_has_changed_is_an_answer(
    origin: Origin, client: UpstreamClient
) -> None:
    origin.routes["/x"] = Script(status=203, body=JSON)
    answer = await client.get(f"{origin.url}/x", verify=parses)
    assert (answer.status, answer.body) == (200, JSON)
    origin.routes["/x"] = Script(status=203, body=b"<html>")
    assert (await failure(client, f"{origin.url}/x", verify=parses)).reason is Reason.INVALID_CONTENT
