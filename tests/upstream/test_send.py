"""Writes are sent once, answered in upstream's own words."""

from __future__ import annotations

import asyncio
import html
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, Self
from urllib.parse import quote

import pytest
from multidict import CIMultiDict

from nugetproxy.errors import Reason, UpstreamFailure, UpstreamRefused
from nugetproxy.upstream import slots
from nugetproxy.upstream.answers import Sent
from nugetproxy.upstream.client import UpstreamClient
from nugetproxy.upstream.failures import OutcomeUnknown
from tests.fakes.clock import FakeClock
from tests.fakes.origin import Origin, Script
from tests.upstream.conftest import MakeClient, turns

KEY = "canary-key-51c0"
Count = Callable[..., float]


async def pieces(count: int = 3, size: int = 1000) -> AsyncIterator[bytes]:
    for number in range(count):
        yield bytes([number % 251]) * size


async def send(client: UpstreamClient, url: str, method: str = "PUT", body: Any = "some", **headers: str) -> Sent:
    body = pieces() if body == "some" else body
    given = CIMultiDict({"X-NuGet-ApiKey": KEY, **headers})
    async with client.send(method, url, headers=given, body=body, timeout=5.0) as sent:
        return sent


async def failure(client: UpstreamClient, url: str, **more: Any) -> UpstreamFailure:
    with pytest.raises(UpstreamFailure) as caught:
        await send(client, url, **more)
    assert KEY not in f"{caught.value}{caught.value!r}"
    return caught.value


async def test_the_body_is_streamed_and_the_answer_told_as_it_is(origin: Origin, client: UpstreamClient) -> None:
    warnings = [("X-NuGet-Warning", "one"), ("X-NuGet-Warning", "two")]
    origin.routes["/push"] = Script(status=201, reason="Made it", headers=warnings, body=b"thanks")
    sent = await send(client, f"{origin.url}/push")
    assert (sent.status, sent.reason, sent.body) == (201, "Made it", b"thanks")
    assert sent.headers.getall("X-NuGet-Warning") == ["one", "two"]
    seen = origin.requests[0]
    assert (seen.method, seen.body) == ("PUT", b"".join([piece async for piece in pieces()]))
    assert seen.headers["X-NuGet-ApiKey"] == KEY
    assert seen.headers["Transfer-Encoding"] == "chunked"


async def test_a_known_length_is_kept(origin: Origin, client: UpstreamClient) -> None:
    origin.routes["/push"] = Script(status=201)
    await send(client, f"{origin.url}/push", **{"Content-Length": "3000", "Content-Type": "multipart/form-data"})
    seen = origin.requests[0]
    assert (seen.headers["Content-Length"], len(seen.body)) == ("3000", 3000)
    assert "Transfer-Encoding" not in seen.headers
    assert seen.headers["Content-Type"] == "multipart/form-data"


@pytest.mark.parametrize("method", ["DELETE", "POST", "PUT"])
async def test_no_body(origin: Origin, client: UpstreamClient, method: str) -> None:
    origin.routes["/x"] = Script(status=204, reason="Gone for good")
    sent = await send(client, f"{origin.url}/x?a=%2F", method=method, body=None)
    assert (sent.status, sent.reason, sent.body) == (204, "Gone for good", b"")
    assert (origin.requests[0].method, origin.requests[0].query) == (method, "a=%2F")


@pytest.mark.parametrize("status", [200, 202, 400, 401, 403, 404, 409, 413, 429, 500, 503])
async def test_every_status_is_an_answer(
    origin: Origin, make_client: MakeClient, clock: FakeClock, status: int
) -> None:
    client = make_client(breaker_failures=1)
    origin.routes["/push"] = Script(status=status, body=b"why", headers=[("Retry-After", "1")])
    for _ in range(2):
        assert (await send(client, f"{origin.url}/push")).status == status
    assert origin.count("/push") == 2
    assert not clock.slept
    assert not client.breakers()


async def test_what_belongs_to_the_clients_connection_stays_there(origin: Origin, make_client: MakeClient) -> None:
    origin.routes["/push"] = Script(status=201)
    given = {"Host": "evil", "Expect": "100-continue", "TE": "trailers", "Cookie": "a=b", "Upgrade": "h2c"}
    await send(make_client(user_agent="us"), f"{origin.url}/push", **given, **{"Accept-Encoding": "br"})
    headers = origin.requests[0].headers
    assert headers["Host"] == f"127.0.0.1:{origin.port}"
    assert not {"Expect", "TE", "Cookie", "Upgrade"} & set(headers)
    assert (headers["Accept-Encoding"], headers["User-Agent"]) == ("identity", "us")


class TestCredentials:
    async def test_the_configured_ones_never_go_along_unless_asked_to(
        self, origin: Origin, make_client: MakeClient
    ) -> None:
        origin.routes["/push"] = Script(status=201)
        ours = {"Authorization": "Basic ours", "X-Team": "build"}
        client = make_client(headers=ours, public_headers=frozenset({"x-team"}))
        await send(client, f"{origin.url}/push")
        headers = origin.requests[0].headers
        assert (headers["X-NuGet-ApiKey"], headers["X-Team"]) == (KEY, "build")
        assert "Authorization" not in headers

    async def test_the_callers_win_over_the_configured_which_go_to_exact_origins_only(
        self, origin: Origin, make_client: MakeClient
    ) -> None:
        origin.routes["/push"] = Script(status=201)
        client = make_client(headers={"X-NuGet-ApiKey": "ours", "Authorization": "Basic ours"})
        for url in (origin.url, origin.localhost):
            given = CIMultiDict({"X-NuGet-ApiKey": KEY})
            async with client.send(
                "PUT", f"{url}/push", headers=given, body=pieces(), timeout=5.0, credentials=True
            ) as sent:
                assert sent.status == 201
        assert [seen.headers["X-NuGet-ApiKey"] for seen in origin.requests] == [KEY, KEY]
        assert ["Authorization" in seen.headers for seen in origin.requests] == [True, False]

    async def test_an_answer_that_shows_the_request_does_not_show_our_secrets(
        self, origin: Origin, make_client: MakeClient
    ) -> None:
        secret = 'pass"word&1'
        shown = f"You sent {secret}"
        origin.routes["/push"] = Script(
            status=500,
            reason=shown,
            headers=[("X-NuGet-Warning", shown)],
            body=json.dumps([shown, html.escape(secret), quote(secret)]).encode(),
        )
        sent = await send(make_client(secrets=(secret,)), f"{origin.url}/push")
        assert sent.reason == sent.headers["X-NuGet-Warning"] == "You sent [hidden]"
        assert json.loads(sent.body) == ["You sent [hidden]", "[hidden]", "[hidden]"]


async def test_a_long_answer_is_cut_and_a_coded_one_decoded(origin: Origin, client: UpstreamClient) -> None:
    origin.routes["/push"] = [Script(status=400, body=b"x" * 200_000), Script(status=400, body=b"why", gzip=True)]
    assert len((await send(client, f"{origin.url}/push")).body) == 65536
    assert (await send(client, f"{origin.url}/push")).body == b"why"


@pytest.mark.parametrize("cut", [Script(status=201, body=b"x" * 100, cut_at=10, end="fin")])
async def test_a_status_is_told_even_if_its_body_breaks(origin: Origin, client: UpstreamClient, cut: Script) -> None:
    origin.routes["/push"] = cut
    assert (await send(client, f"{origin.url}/push")).status == 201


async def test_an_early_answer_ends_the_sending(origin: Origin, client: UpstreamClient) -> None:
    origin.routes["/push"] = Script(status=401, reason="Who are you", body=b"no", read_body=False)
    left = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal left
        while True:
            left += 1
            yield b"x" * 65536
            await asyncio.sleep(0)

    sent = await send(client, f"{origin.url}/push", body=endless())
    assert (sent.status, sent.reason, sent.body) == (401, "Who are you", b"no")
    before = left
    await turns()
    assert left == before


class Again:
    """A body of 3,000 bytes that can begin again."""

    def __init__(self) -> None:
        self.rest = pieces()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        return await anext(self.rest)

    async def rewind(self) -> bool:
        self.rest = pieces()
        return True


def moved(status: int, to: str) -> Script:
    return Script(status=status, headers=[("Location", to)])


class TestRedirects:
    @pytest.mark.parametrize("status", [301, 302, 307, 308])
    async def test_on_its_own_origin_it_is_followed_with_the_whole_body(
        self, origin: Origin, client: UpstreamClient, status: int
    ) -> None:
        origin.routes |= {"/push": moved(status, "/new?a=b"), "/new": Script(status=201, reason="Made")}
        body = Again()
        async with client.send(
            "PUT",
            f"{origin.url}/push",
            headers=CIMultiDict({"X-NuGet-ApiKey": KEY}),
            body=body,
            timeout=5.0,
            rewind=body.rewind,
        ) as sent:
            assert (sent.status, sent.reason, sent.moved) == (201, "Made", "")
        seen = origin.requests[1]
        assert (seen.method, seen.target, seen.headers["X-NuGet-ApiKey"]) == ("PUT", "/new?a=b", KEY)
        assert [len(seen.body) for seen in origin.requests] == [3000, 3000]

    async def test_one_without_a_body_is_followed(self, origin: Origin, client: UpstreamClient) -> None:
        origin.routes |= {"/x": moved(301, "/y"), "/y": Script(status=204)}
        assert (await send(client, f"{origin.url}/x", method="DELETE", body=None)).status == 204
        assert [seen.method for seen in origin.requests] == ["DELETE", "DELETE"]

    async def test_where_the_body_is_gone_the_answer_says_where_it_should_go(
        self, origin: Origin, client: UpstreamClient
    ) -> None:
        origin.routes["/push"] = moved(307, "/new")
        sent = await send(client, f"{origin.url}/push")
        assert (sent.status, sent.moved) == (307, f"{origin.url}/new")
        assert origin.count("/new") == 0

    async def test_an_origin_of_credential_origins_gets_it_with_the_credentials(
        self, origin: Origin, make_client: MakeClient
    ) -> None:
        client = make_client(headers={"Authorization": "Basic x"}, credential_origins=frozenset({origin.localhost}))
        origin.routes |= {"/x": moved(308, f"{origin.localhost}/y"), "/y": Script(status=200)}
        async with client.send(
            "DELETE", f"{origin.url}/x", headers=CIMultiDict(), body=None, timeout=5.0, credentials=True
        ) as sent:
            assert sent.status == 200
        assert origin.requests[1].headers["Authorization"] == "Basic x"

    async def test_a_loop_ends(self, origin: Origin, client: UpstreamClient) -> None:
        origin.routes |= {"/x": moved(307, "/y"), "/y": moved(307, "/x")}
        error = await failure(client, f"{origin.url}/x", method="DELETE", body=None)
        assert error.reason is Reason.REDIRECT_DENIED
        assert len(origin.requests) == 2


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("body", ["some", None])
async def test_a_redirect_to_another_origin_is_refused(
    origin: Origin, client: UpstreamClient, status: int, body: Any
) -> None:
    origin.routes["/push"] = Script(status=status, headers=[("Location", f"{origin.localhost}/push")])
    error = await failure(client, f"{origin.url}/push", body=body)
    assert error.reason is Reason.REDIRECT_DENIED
    assert not isinstance(error, OutcomeUnknown)
    assert len(origin.requests) == 1


class TestLost:
    @pytest.mark.parametrize("end", ["fin", "rst"])
    @pytest.mark.parametrize("read_body", [True, 500])
    async def test_after_something_was_sent_nobody_knows(
        self, origin: Origin, client: UpstreamClient, clock: FakeClock, end: Any, read_body: Any
    ) -> None:
        origin.routes["/push"] = Script(raw=b"", end=end, read_body=read_body)
        error = await failure(client, f"{origin.url}/push")
        assert isinstance(error, OutcomeUnknown)
        assert isinstance(error, UpstreamRefused)
        assert "unknown" in str(error)
        assert origin.count("/push") == 1
        assert not clock.slept

    @pytest.mark.parametrize("method", ["PUT", "DELETE", "POST"])
    async def test_a_request_without_body_is_not_sent_again_either(
        self, origin: Origin, client: UpstreamClient, method: str
    ) -> None:
        origin.routes["/push"] = [Script(status=204), Script(raw=b"", end="fin")]
        await send(client, f"{origin.url}/push", method=method, body=None)
        assert isinstance(await failure(client, f"{origin.url}/push", method=method, body=None), OutcomeUnknown)
        assert origin.count("/push") == 2

    async def test_no_answer_in_time(self, origin: Origin, client: UpstreamClient) -> None:
        origin.routes["/push"] = Script(gate=asyncio.Event())
        with pytest.raises(OutcomeUnknown) as caught:
            async with client.send("PUT", f"{origin.url}/push", headers=CIMultiDict(), body=pieces(), timeout=0.1):
                pass
        assert caught.value.reason is Reason.READ_TIMEOUT

    async def test_refused_is_known(self, origin: Origin, client: UpstreamClient) -> None:
        await origin.refuse()
        error = await failure(client, f"{origin.url}/push")
        assert (error.reason, isinstance(error, OutcomeUnknown)) == (Reason.REFUSED, False)

    async def test_an_open_breaker_is_known(self, origin: Origin, make_client: MakeClient) -> None:
        client = make_client(breaker_failures=1)
        origin.routes["/x"] = Script(status=503)
        with pytest.raises(UpstreamFailure):
            await client.get(f"{origin.url}/x")
        error = await failure(client, f"{origin.url}/push")
        assert (error.reason, isinstance(error, OutcomeUnknown)) == (Reason.BREAKER_OPEN, False)
        assert origin.count("/push") == 0

    async def test_a_write_is_never_repeated_by_a_probe(
        self, origin: Origin, make_client: MakeClient, clock: FakeClock
    ) -> None:
        client = make_client(breaker_failures=1)
        await origin.refuse()
        await failure(client, f"{origin.url}/push")
        await failure(client, f"{origin.url}/push")
        await origin.listen()
        clock.advance(5)
        await client.probe(origin.url)
        assert [(seen.method, seen.path) for seen in origin.requests] == [("GET", "/v3/index.json")]


class TestSource:
    async def test_its_own_error_comes_back_and_the_body_is_never_completed(
        self, origin: Origin, make_client: MakeClient
    ) -> None:
        class Stopped(Exception):
            pass

        async def broken() -> AsyncIterator[bytes]:
            yield b"x" * 1000
            raise Stopped

        client = make_client(breaker_failures=1)
        completed = []
        origin.routes["/push"] = lambda seen: (completed.append(seen), Script(status=201))[1]
        with pytest.raises(Stopped):
            await send(client, f"{origin.url}/push", body=broken())
        await turns()
        assert not completed
        assert not client.breakers()

    async def test_an_error_of_a_connection_is_still_its_own(self, origin: Origin, client: UpstreamClient) -> None:
        async def broken() -> AsyncIterator[bytes]:
            raise ConnectionResetError("the client left")
            yield b""

        with pytest.raises(ConnectionResetError, match="the client left"):
            await send(client, f"{origin.url}/push", body=broken())


async def test_a_303_makes_no_write_of_it(origin: Origin, client: UpstreamClient) -> None:
    origin.routes["/push"] = Script(status=303, headers=[("Location", "/other")])
    assert (await failure(client, f"{origin.url}/push")).reason is Reason.REDIRECT_DENIED
    assert origin.count("/other") == 0


class TestSlots:
    async def test_a_body_that_stalls_lets_others_pass(
        self, origin: Origin, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(slots, "STALLED", 0.01)
        client = make_client(connections=1)
        origin.routes |= {"/slow": Script(status=201), "/push": Script(status=201)}
        gate = asyncio.Event()

        async def stalling() -> AsyncIterator[bytes]:
            yield b"x" * 1000
            await gate.wait()
            yield b"y" * 1000

        slow = asyncio.create_task(send(client, f"{origin.url}/slow", body=stalling()))
        async with asyncio.timeout(5):
            while not origin.count("/slow"):
                await asyncio.sleep(0)
            assert (await send(client, f"{origin.url}/push")).status == 201
            assert not slow.done()
            gate.set()
            assert (await slow).status == 201
        assert origin.requests[0].body == b"x" * 1000 + b"y" * 1000

    @pytest.mark.parametrize("stalls", [False, True])
    async def test_an_answer_before_the_end_of_a_body_gives_its_connection_back(
        self, origin: Origin, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch, stalls: bool
    ) -> None:
        """The body waits for its client then, and took a place again as it was ended."""
        monkeypatch.setattr(slots, "STALLED", 0.0 if stalls else 60.0)
        client = make_client(connections=1)
        answered = asyncio.Event()
        refused = Script(status=401, read_body=10, gate=answered)
        origin.routes |= {"/refused": refused, "/push": Script(status=201)}

        async def endless() -> AsyncIterator[bytes]:
            yield b"x" * 1000
            answered.set()
            await asyncio.Event().wait()

        async with asyncio.timeout(5):
            for _ in range(3):
                assert (await send(client, f"{origin.url}/refused", body=endless())).status == 401
            assert (await send(client, f"{origin.url}/push")).status == 201

    async def test_a_body_that_never_begins_takes_no_connection(self, origin: Origin, make_client: MakeClient) -> None:
        client = make_client(connections=1)
        origin.routes["/push"] = Script(status=201)
        begun = asyncio.Event()

        async def silent() -> AsyncIterator[bytes]:
            begun.set()
            await asyncio.Event().wait()
            yield b""

        waiting = asyncio.create_task(send(client, f"{origin.url}/push", body=silent()))
        async with asyncio.timeout(5):
            await begun.wait()
            assert (await send(client, f"{origin.url}/push")).status == 201
        assert origin.connections == 1
        waiting.cancel()


async def test_an_https_upstream_never_gets_a_write_over_http(origin: Origin, make_client: MakeClient) -> None:
    client = make_client(index_url="https://127.0.0.1/index.json")
    assert (await failure(client, f"{origin.url}/push")).reason is Reason.ID_DENIED
    assert not origin.requests
