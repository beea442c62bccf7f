"""What goes wrong on the network, each with the word for it."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import trustme
from aiohttp.abc import ResolveResult

from nugetproxy.errors import ConfigError, Reason, UpstreamFailure, UpstreamRefused, UpstreamUnavailable
from nugetproxy.upstream import sessions
from nugetproxy.upstream.client import UpstreamClient
from nugetproxy.upstream.sessions import tls_context
from nugetproxy.upstream.settings import UpstreamSettings
from tests.fakes.clock import FakeClock
from tests.fakes.names import Names
from tests.fakes.origin import Origin, Script
from tests.upstream.conftest import MakeClient

Count = Callable[..., float]


async def failure(client: UpstreamClient, url: str) -> UpstreamFailure:
    with pytest.raises(UpstreamFailure) as caught:
        await client.get(url)
    return caught.value


async def test_refused(origin: Origin, client: UpstreamClient, count: Count) -> None:
    await origin.refuse()
    error = await failure(client, f"{origin.url}/x")
    assert isinstance(error, UpstreamUnavailable)
    assert error.reason is Reason.REFUSED
    assert count("upstream_failures", reason="refused") == 3


async def test_all_waits_for_a_refused_upstream_stay_below_a_second(
    origin: Origin, client: UpstreamClient, clock: object
) -> None:
    await origin.refuse()
    await failure(client, f"{origin.url}/x")
    assert 0 < sum(clock.slept) < 1  # type: ignore[attr-defined]


async def test_a_black_hole(origin: Origin, make_client: MakeClient, count: Count) -> None:
    origin.routes["/x"] = Script(gate=asyncio.Event())
    error = await failure(make_client(read_timeout=0.02), f"{origin.url}/x")
    assert error.reason is Reason.READ_TIMEOUT
    assert count("upstream_failures", reason="read_timeout") == 3


async def test_a_black_hole_is_left_at_the_deadline(origin: Origin, make_client: MakeClient) -> None:
    origin.routes["/x"] = Script(gate=asyncio.Event())
    client = make_client(document_deadline=0.05, tries=1, breaker_failures=2)
    assert (await failure(client, f"{origin.url}/x")).reason is Reason.READ_TIMEOUT
    assert client.breakers()[origin.url].failures == 2


@pytest.fixture
def full_queue() -> Iterator[str]:
    """A port whose accept queue is full: a connect neither succeeds nor fails."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


async def test_connect_hangs(full_queue: str, make_client: MakeClient, count: Count) -> None:
    error = await failure(make_client(connect_timeout=0.05, tries=2), f"{full_queue}/x")
    assert error.reason is Reason.CONNECT_TIMEOUT
    assert count("upstream_failures", reason="connect_timeout") == 2


async def test_connect_hangs_until_the_deadline(full_queue: str, make_client: MakeClient) -> None:
    error = await failure(make_client(document_deadline=0.05, tries=1), f"{full_queue}/x")
    assert error.reason is Reason.CONNECT_TIMEOUT


@pytest.mark.parametrize("known", [{}, {"feed.example": []}], ids=["unknown", "without an address"])
async def test_unknown_name(origin: Origin, make_client: MakeClient, known: dict[str, list[str]]) -> None:
    names = Names(known)
    error = await failure(make_client(resolver=names), f"http://feed.example:{origin.port}/x")
    assert isinstance(error, UpstreamUnavailable)
    assert error.reason is Reason.DNS
    assert names.asked == ["feed.example"] * 3


async def test_a_name_service_that_hangs_does_not_hold_up_others(origin: Origin, make_client: MakeClient) -> None:
    class Hanging(Names):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
        ) -> list[ResolveResult]:
            if host == "slow.example":
                await asyncio.Event().wait()
            return await super().resolve(host, port, family)

    client = make_client(resolver=Hanging({"feed.example": ["127.0.0.1"]}), connect_timeout=0.05, tries=1)
    origin.routes["/x"] = Script(body=b"{}")
    slow = asyncio.create_task(failure(client, f"http://slow.example:{origin.port}/x"))
    assert (await client.get(f"http://feed.example:{origin.port}/x")).status == 200
    assert (await slow).reason is Reason.DNS_TIMEOUT


@pytest.mark.parametrize("end", ["fin", "rst"])
async def test_a_connection_ended_before_the_headers(
    origin: Origin, client: UpstreamClient, count: Count, end: str
) -> None:
    origin.routes["/x"] = Script(raw=b"", end=end)  # type: ignore[arg-type]
    assert (await failure(client, f"{origin.url}/x")).reason is Reason.RESET
    assert (origin.count("/x"), count("upstream_retries")) == (3, 2)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("end", "reason"), [("fin", Reason.TRUNCATED), ("rst", Reason.RESET)])
async def test_a_document_cut_short(
    origin: Origin, client: UpstreamClient, clock: FakeClock, end: str, reason: Reason, chunked: bool
) -> None:
    gate = asyncio.Event()
    gate.set()
    cut = Script(body=b"x" * 1000, cut_at=500, end=end, chunked=chunked)  # type: ignore[arg-type]
    origin.routes["/x"] = cut
    error = await failure(client, f"{origin.url}/x")
    assert error.reason in {reason, Reason.RESET}
    assert origin.count("/x") == 3
    clock.advance(1)
    origin.routes["/x"] = [cut, Script(body=b"{}")]
    assert (await client.get(f"{origin.url}/x")).body == b"{}"


@pytest.mark.parametrize(
    "script",
    [
        Script(raw=b"this is no http\r\n\r\n"),
        Script(raw=b"HTTP/1.1 2x0 OK\r\n\r\n"),
        Script(raw=b"HTTP/9.9 200 OK\r\nContent-Length: 0\r\n\r\n"),
        Script(raw=b"SSH-2.0-OpenSSH_9.2\r\n", end="fin"),
        Script(body=b"{}", headers=[(f"X-{number}", "y") for number in range(200)]),
        Script(body=b"{}", headers=[("X", "y" * 33_000)]),
        Script(body=b"{}", headers=[("X", "a\0b")]),
        Script(body=b"{}", headers=[("X", "a\rb")]),
        Script(body=b"{}", headers=[("Bad Name", "x")]),
        Script(body=b"{}", headers=[("Content-Length", "5")]),
        Script(body=b"{}", headers=[("Content-Length", "2")], chunked=True),
        Script(body=b"{}", headers=[("Content-Length", "+2")], length=None),
        Script(body=b"zz\r\n{}", headers=[("Transfer-Encoding", "chunked")], length=None),
    ],
)
async def test_what_is_not_proper_http(origin: Origin, client: UpstreamClient, count: Count, script: Script) -> None:
    origin.routes["/x"] = script
    error = await failure(client, f"{origin.url}/x")
    assert isinstance(error, UpstreamRefused)
    assert error.reason is Reason.PROTOCOL
    assert origin.count("/x") == 1
    assert count("upstream_failures", reason="protocol") == 1


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (
            Script(headers=[("X-Secret", "y" * 33_000)]),
            "a line of the response's header section is longer than 32768 bytes",
        ),
        (Script(headers=[(f"X-{number}", "y") for number in range(200)]), "the response has too many header lines"),
    ],
)
async def test_what_was_too_long_is_said(origin: Origin, client: UpstreamClient, script: Script, said: str) -> None:
    origin.routes["/x"] = script
    error = await failure(client, f"{origin.url}/x")
    assert error.detail == f"{said} ({origin.url})"


async def test_a_long_header_costs_nobody_a_document(origin: Origin, client: UpstreamClient) -> None:
    origin.routes["/x"] = Script(body=b"{}", headers=[("Content-Security-Policy", "x" * 32_000)])
    assert (await client.get(f"{origin.url}/x")).body == b"{}"


async def test_a_broken_chunk_in_a_package(origin: Origin, client: UpstreamClient) -> None:
    gate = asyncio.Event()
    body = b"3\r\nabc\r\nzz\r\n"
    origin.routes["/x"] = Script(
        body=body, headers=[("Transfer-Encoding", "chunked")], length=None, gate=gate, gate_at=8
    )
    with pytest.raises(UpstreamFailure) as caught:
        async with client.download(f"{origin.url}/x") as download:
            pieces = download.chunks()
            assert await anext(pieces) == b"abc"
            gate.set()
            await anext(pieces)
    assert caught.value.reason is Reason.PROTOCOL


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


class TestTls:
    @pytest.fixture
    def ca_file(self, authority: trustme.CA, tmp_path: Path) -> str:
        path = tmp_path / "ca.pem"
        authority.cert_pem.write_to_path(str(path))
        return str(path)

    @pytest.fixture
    async def secure(self, authority: trustme.CA) -> AsyncIterator[Origin]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        async with Origin(ssl=context) as origin:
            origin.routes["/x"] = Script(body=b"{}")
            yield origin

    async def test_a_configured_authority_is_trusted(
        self, secure: Origin, ca_file: str, make_client: MakeClient
    ) -> None:
        client = make_client(index_url=f"{secure.localhost}/index.json", ca_file=ca_file)
        assert (await client.get(f"{secure.localhost}/x")).body == b"{}"

    async def test_an_unknown_authority(self, secure: Origin, make_client: MakeClient, count: Count) -> None:
        client = make_client(index_url=f"{secure.localhost}/index.json")
        error = await failure(client, f"{secure.localhost}/x")
        assert isinstance(error, UpstreamRefused)
        assert error.reason is Reason.TLS
        assert count("upstream_failures", reason="tls") == 1
        assert not secure.requests

    async def test_an_authority_that_comes_into_the_file_later(
        self, authority: trustme.CA, secure: Origin, ca_file: str, make_client: MakeClient
    ) -> None:
        trustme.CA().cert_pem.write_to_path(ca_file)
        client = make_client(index_url=f"{secure.localhost}/index.json", ca_file=ca_file)
        assert (await failure(client, f"{secure.localhost}/x")).reason is Reason.TLS
        authority.cert_pem.write_to_path(ca_file)
        await client.trust_again()
        assert (await client.get(f"{secure.localhost}/x")).body == b"{}"

    async def test_another_host(self, secure: Origin, ca_file: str, make_client: MakeClient) -> None:
        client = make_client(index_url=f"{secure.url}/index.json", ca_file=ca_file)
        assert (await failure(client, f"{secure.url}/x")).reason is Reason.TLS

    async def test_expired(self, authority: trustme.CA, ca_file: str, make_client: MakeClient) -> None:
        past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost", not_after=past).configure_cert(context)
        async with Origin(ssl=context) as expired:
            client = make_client(index_url=f"{expired.localhost}/index.json", ca_file=ca_file)
            assert (await failure(client, f"{expired.localhost}/x")).reason is Reason.TLS

    async def test_plain_http_where_tls_should_be(self, make_client: MakeClient) -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            error = await failure(make_client(index_url=f"{url}/index.json"), f"{url}/x")
        assert error.reason is Reason.TLS

    async def test_a_redirect_to_plain_http(
        self, secure: Origin, origin: Origin, ca_file: str, make_client: MakeClient
    ) -> None:
        client = make_client(index_url=f"{secure.localhost}/index.json", ca_file=ca_file)
        secure.routes["/x"] = Script(status=302, headers=[("Location", f"{origin.url}/x")])
        assert (await failure(client, f"{secure.localhost}/x")).reason is Reason.REDIRECT_DENIED
        assert not origin.requests

    async def test_a_cut_within_tls(self, secure: Origin, ca_file: str, make_client: MakeClient) -> None:
        client = make_client(index_url=f"{secure.localhost}/index.json", ca_file=ca_file)
        secure.routes["/x"] = [Script(body=b"x" * 1000, cut_at=500), Script(body=b"{}")]
        assert (await client.get(f"{secure.localhost}/x")).body == b"{}"

    async def test_authorities_are_read_with_the_first_request_off_the_loop(
        self, origin: Origin, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        readers: list[threading.Thread] = []
        make = ssl.create_default_context

        def watched() -> ssl.SSLContext:
            readers.append(threading.current_thread())
            return make()

        monkeypatch.setattr(ssl, "create_default_context", watched)
        sessions._system_context.cache_clear()
        origin.routes["/x"] = Script(body=b"{}")
        client = make_client()
        assert readers == []
        for _ in range(2):
            assert (await client.get(f"{origin.url}/x")).body == b"{}"
        (reader,) = readers
        assert reader is not threading.main_thread()

    def test_old_versions_are_off(self, ca_file: str) -> None:
        for file in (None, ca_file):
            context = tls_context(UpstreamSettings(name="feed", index_url="https://feed.example/", ca_file=file))
            assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
            assert context.verify_mode is ssl.CERT_REQUIRED
            assert context.check_hostname

    @pytest.mark.parametrize("content", [None, "not a certificate"])
    def test_a_ca_file_that_is_none(self, tmp_path: Path, content: str | None) -> None:
        path = tmp_path / "ca.pem"
        if content is not None:
            path.write_text(content)
        with pytest.raises(ConfigError, match="ca_file"):
            tls_context(UpstreamSettings(name="feed", index_url="https://feed.example/", ca_file=str(path)))


async def test_it_works_again_as_soon_as_the_fault_is_gone(origin: Origin, client: UpstreamClient) -> None:
    origin.routes["/x"] = Script(body=b"{}")
    await client.get(f"{origin.url}/x")
    await origin.refuse()
    await failure(client, f"{origin.url}/x")
    await origin.listen()
    assert (await client.get(f"{origin.url}/x")).body == b"{}"
