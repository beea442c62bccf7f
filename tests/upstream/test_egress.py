"""The way out through a company's HTTP proxy: which requests take it, what is told, what it must not open."""

from __future__ import annotations

import asyncio
import base64
import shutil
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trustme
from multidict import CIMultiDict
from structlog.testing import capture_logs

from nugetproxy.app.egress import egress_of
from nugetproxy.config import Config
from nugetproxy.config.tables import read
from nugetproxy.errors import Reason, UpstreamFailure, UpstreamUnavailable
from nugetproxy.upstream.addresses import AddressRule
from nugetproxy.upstream.client import UpstreamClient
from nugetproxy.upstream.egress import DIRECT, Egress, EgressProxy, is_listed
from nugetproxy.upstream.egress_choice import EgressChoice
from nugetproxy.upstream.settings import UpstreamSettings
from nugetproxy.upstream.urls import parse_url
from tests.fakes import canary
from tests.fakes.clock import FakeClock
from tests.fakes.names import Names
from tests.fakes.origin import Origin, Script
from tests.upstream.conftest import MakeClient

FEED = "http://feed.corp.example"
INDEX = f"{FEED}/v3/index.json"


def through(origin: Origin, **more: Any) -> Egress:
    proxy = EgressProxy(origin.url, more.pop("authorization", ""), "HTTPS_PROXY")
    return Egress(proxies={"http": proxy, "https": proxy}, **more)


def basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


async def failure(client: UpstreamClient, url: str) -> UpstreamFailure:
    with pytest.raises(UpstreamFailure) as caught:
        await client.get(url)
    return caught.value


@pytest.mark.parametrize(
    ("names", "host", "port", "listed"),
    [
        ("*", "feed.example", 443, True),
        ("feed.example", "feed.example", 443, True),
        ("feed.example", "sub.feed.example", 443, True),
        ("feed.example", "otherfeed.example", 443, False),
        (".feed.example", "sub.feed.example", 443, True),
        ("*.feed.example", "sub.feed.example", 443, True),
        ("Feed.Example:8443", "feed.example", 8443, True),
        ("feed.example:8443", "feed.example", 443, False),
        ("10.0.0.0/8", "10.1.2.3", 80, True),
        ("10.0.0.0/8", "11.1.2.3", 80, False),
        ("10.0.0.0/8", "feed.example", 80, False),
        ("fd00::/8", "fd00::1", 80, True),
        ("::1", "::1", 80, True),
        ("[::1]:81", "::1", 80, False),
        ("127.0.0.1", "127.0.0.1", 80, True),
        ("", "feed.example", 80, False),
        ("other, feed.example", "feed.example", 80, True),
        (".", "feed.example", 80, False),
    ],
)
def test_what_no_proxy_names(names: str, host: str, port: int, listed: bool) -> None:
    assert is_listed(host, port, tuple(names.split(","))) is listed


ENVIRON = {
    "HTTPS_PROXY": "http://env:1",
    "http_proxy": "plain:2",
    "HTTP_PROXY": "http://loses:3",
    "NO_PROXY": "x,y",
}


class TestChoice:
    """Which proxy an upstream is asked through."""

    def chosen(self, environ: dict[str, str], network: dict[str, Any] | None = None, **upstream: Any) -> Egress:
        config = read(Config, {"network": network or {}, "upstreams": {"u": {"url": INDEX, **upstream}}})
        return egress_of(config, "u", config.upstreams["u"], environ)

    def test_the_environments(self) -> None:
        egress = self.chosen(ENVIRON, {"no_proxy": ["z"]})
        assert {scheme: (proxy.url, proxy.said_by) for scheme, proxy in egress.proxies.items()} == {
            "https": ("http://env:1", "HTTPS_PROXY"),
            "http": ("http://plain:2", "http_proxy"),
        }
        assert (egress.no_proxy, egress.only_public) == (("z", "x", "y"), True)

    @pytest.mark.parametrize(
        ("network", "upstream", "url"),
        [
            ({}, {"internal": True}, None),
            ({"use_environment": False}, {}, None),
            ({"proxy": "http://net:9"}, {}, "http://net:9"),
            ({"proxy": "http://net:9"}, {"internal": True}, None),
            ({"proxy": "http://net:9"}, {"proxy": "none"}, None),
            ({"proxy": "http://net:9"}, {"proxy": "http://own", "internal": True}, "http://own:80"),
        ],
    )
    def test_what_the_operator_says_comes_first(
        self, network: dict[str, Any], upstream: dict[str, Any], url: str | None
    ) -> None:
        egress = self.chosen(ENVIRON, network, **upstream)
        assert {proxy.url for proxy in egress.proxies.values()} == ({url} if url else set())

    def test_credentials_are_given_by_reference(self) -> None:
        environ = {"EGRESS": "http://us%40er:p%3Aw@net:9/"}
        for egress in (
            self.chosen(environ, {"proxy": "env:EGRESS"}),
            self.chosen(environ, proxy="env:EGRESS"),
            self.chosen({"HTTPS_PROXY": environ["EGRESS"]}),
        ):
            proxy = egress.proxies["https"]
            assert (proxy.url, proxy.authorization) == ("http://net:9", basic("us@er", "p:w"))
            assert proxy.secrets == ("p:w", basic("us@er", "p:w").removeprefix("Basic "))
            assert "p:w" not in repr(egress)

    def test_a_variable_that_names_no_http_proxy_is_said_to_be_ignored(self) -> None:
        with capture_logs() as logs:
            assert self.chosen({"HTTPS_PROXY": "socks5://x:1"}).proxies == {}
        assert [(line["event"], line["variable"]) for line in logs] == [("network.proxy_ignored", "HTTPS_PROXY")]

    def test_a_site_that_is_no_feed_goes_the_same_way(self) -> None:
        assert egress_of(Config(), "symbols", None, ENVIRON).proxies["https"].url == "http://env:1"


class TestPlain:
    """Without TLS the proxy is given the whole URL."""

    async def test_it_is_asked_for_a_name_that_it_alone_knows(self, origin: Origin, make_client: MakeClient) -> None:
        client = make_client(index_url=INDEX, egress=through(origin), resolver=Names({}))
        origin.routes[INDEX] = Script(body=b"{}")
        with capture_logs() as logs:
            for _ in range(2):
                assert (await client.get(INDEX)).body == b"{}"
        assert [seen.target for seen in origin.requests] == [INDEX] * 2
        assert origin.requests[0].headers["Host"] == "feed.corp.example"
        told = [line for line in logs if line["event"] == "upstream.through_proxy"]
        assert [(line["proxy"], line["said_by"]) for line in told] == [(origin.url, "HTTPS_PROXY")]

    async def test_our_credentials_for_it_stay_with_it(self, origin: Origin, make_client: MakeClient) -> None:
        told = basic(canary.USER, canary.PASSWORD)
        client = make_client(index_url=INDEX, egress=through(origin, authorization=told), resolver=Names({}))
        origin.routes |= {INDEX: Script(body=b"{}"), "/direct": Script(body=b"{}")}
        await client.get(INDEX)
        assert origin.requests[0].headers["Proxy-Authorization"] == told

    async def test_nor_does_a_page_of_it_show_them_to_who_pushes(self, origin: Origin, make_client: MakeClient) -> None:
        place = origin.url.replace("//", f"//{canary.USER}:{quote(canary.PASSWORD, safe='')}@")
        config = read(Config, {"network": {"proxy": "env:EGRESS"}, "upstreams": {"u": {"url": INDEX}}})
        egress = egress_of(config, "u", config.upstreams["u"], {"EGRESS": place})
        origin.routes[f"{FEED}/push"] = lambda seen: Script(
            status=403, body=seen.headers["Proxy-Authorization"].encode()
        )
        client = make_client(index_url=INDEX, egress=egress, resolver=Names({}))
        async with client.send("DELETE", f"{FEED}/push", headers=CIMultiDict(), body=None, timeout=20) as sent:
            assert (sent.status, sent.body) == (403, b"Basic [hidden]")

    @pytest.mark.parametrize(
        ("index", "known"),
        [
            ("http://nuget.corp/index.json", ["10.1.2.3"]),
            ("http://10.1.2.3/index.json", []),
            ("http://127.0.0.1/index.json", []),
            ("http://localhost/index.json", []),
            ("http://nuget.corp/index.json", ["fd00::1", "10.0.0.1"]),
        ],
    )
    async def test_an_upstream_that_is_private_is_asked_directly(
        self, origin: Origin, index: str, known: list[str]
    ) -> None:
        names = Names({"nuget.corp": known} if known else {})
        for only_public in (True, False):
            settings = UpstreamSettings(name="feed", index_url=index, egress=through(origin, only_public=only_public))
            proxy = await EgressChoice(settings, AddressRule.of(settings), names, FakeClock()).proxy_for(
                parse_url(index)
            )
            assert (proxy is None) is only_public

    @pytest.mark.parametrize("trouble", [socket.gaierror(socket.EAI_AGAIN, "later"), TimeoutError()], ids=str)
    async def test_a_name_service_in_trouble_decides_nothing_for_good(
        self, origin: Origin, trouble: OSError, clock: FakeClock
    ) -> None:
        names = Names({"nuget.corp": ["10.1.2.3"]})
        index = "http://nuget.corp/index.json"
        settings = UpstreamSettings(name="feed", index_url=index, egress=through(origin))
        choice = EgressChoice(settings, AddressRule.of(settings), names, clock)
        names.trouble = trouble
        for _ in range(3):
            assert await choice.proxy_for(parse_url(index)) is not None
        assert len(names.asked) == 1, "what is not known costs a look-up a minute"
        names.trouble = None
        clock.advance(61)
        for _ in range(3):
            assert await choice.proxy_for(parse_url(index)) is None
        assert len(names.asked) == 2

    async def test_unless_the_operator_said_so_for_it(self, origin: Origin, make_client: MakeClient) -> None:
        index = "http://10.1.2.3/index.json"
        origin.routes[index] = Script(body=b"{}")
        client = make_client(index_url=index, egress=through(origin, only_public=False))
        assert (await client.get(index)).body == b"{}"

    async def test_what_no_proxy_names_is_asked_directly(self, origin: Origin, make_client: MakeClient) -> None:
        names = Names({"feed.corp.example": ["127.0.0.1"]})
        index = f"http://feed.corp.example:{origin.port}/v3/index.json"
        origin.routes["/v3/index.json"] = Script(body=b"{}")
        egress = through(origin, no_proxy=(".corp.example",), only_public=False)
        client = make_client(index_url=index, egress=egress, resolver=names)
        assert (await client.get(index)).body == b"{}"
        assert [seen.target for seen in origin.requests] == ["/v3/index.json"]

    @pytest.mark.parametrize(
        "egress",
        [
            Egress(proxies={"https": EgressProxy("http://proxy.corp:3128")}),
            Egress(proxies={"http": EgressProxy("http://proxy.corp:3128")}, no_proxy=("example",)),
        ],
        ids=["another scheme's", "listed"],
    )
    async def test_an_index_that_is_asked_directly_stays_where_it_was_found(
        self, origin: Origin, make_client: MakeClient, egress: Egress
    ) -> None:
        names = Names({"feed.example": ["1.1.1.1"]})
        index = f"http://feed.example:{origin.port}/v3/index.json"
        client = make_client(index_url=index, egress=egress, resolver=names)
        await client.settle()
        names.known["feed.example"] = ["127.0.0.1"]
        assert (await failure(client, index)).reason is Reason.ID_DENIED
        assert not origin.requests

    @pytest.mark.parametrize(
        "host",
        ["localhost", "a.localhost", "10.0.0.1", "[::1]", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0x7F.1"],
    )
    async def test_names_of_this_machine_are_not_asked_for(
        self, origin: Origin, make_client: MakeClient, host: str
    ) -> None:
        url = f"http://{host}/x"
        origin.routes[url] = Script(body=b"{}")
        client = make_client(index_url=INDEX, egress=through(origin, only_public=False), resolver=Names({}))
        assert (await failure(client, url)).reason is Reason.ID_DENIED
        assert not origin.requests

    async def test_a_document_does_not_lead_to_the_proxy_itself(self, make_client: MakeClient) -> None:
        proxy = EgressProxy("http://proxy.corp:3128")
        names = Names({"proxy.corp": ["10.0.0.1"]})
        client = make_client(index_url=INDEX, egress=Egress(proxies={"http": proxy}), resolver=names)
        assert (await failure(client, "http://proxy.corp:3128/admin")).reason is Reason.ID_DENIED

    async def test_one_that_wants_credentials_is_not_taken_for_the_feed(
        self, origin: Origin, make_client: MakeClient
    ) -> None:
        origin.routes[INDEX] = Script(status=407, headers=[("Proxy-Authenticate", "Basic")])
        client = make_client(index_url=INDEX, egress=through(origin), resolver=Names({}), tries=1)
        error = await failure(client, INDEX)
        assert (error.reason, "status 407" in error.detail) == (Reason.REFUSED, True)

    async def test_a_write_that_it_does_not_pass_on_was_surely_not_carried_out(
        self, origin: Origin, make_client: MakeClient
    ) -> None:
        origin.routes[f"{FEED}/push"] = Script(status=407, headers=[("Proxy-Authenticate", "Basic")])
        client = make_client(index_url=INDEX, egress=through(origin), resolver=Names({}))

        async def body() -> AsyncIterator[bytes]:
            yield b"PK" * 1000

        with pytest.raises(UpstreamFailure) as caught:
            async with client.send("PUT", f"{FEED}/push", headers=CIMultiDict(), body=body(), timeout=20):
                pass
        assert (caught.value.reason, "unknown" in str(caught.value)) == (Reason.REFUSED, False)

    async def test_one_that_is_down_is_named(self, origin: Origin, make_client: MakeClient) -> None:
        await origin.refuse()
        client = make_client(index_url=INDEX, egress=through(origin), resolver=Names({}), tries=1)
        error = await failure(client, INDEX)
        assert (error.reason, error.detail) == (Reason.REFUSED, f"the egress proxy cannot be reached ({FEED})")


@pytest.mark.skipif(shutil.which("tinyproxy") is None, reason="no tinyproxy here")
class TestTinyproxy:
    """A real proxy, with CONNECT; the feed is https at a name of this machine, which is its index host."""

    @pytest.fixture
    async def tiny(self, tmp_path: Path) -> AsyncIterator[str]:
        """Its address; it wants a user name and a password."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        config = tmp_path / "tinyproxy.conf"
        config.write_text(
            f"Port {port}\nListen 127.0.0.1\nTimeout 20\nMaxClients 20\nAllow 127.0.0.1\n"
            f'BasicAuth {canary.USER} word\nLogFile "{tmp_path}/tiny.log"\nLogLevel Connect\n'
        )
        process = await asyncio.create_subprocess_exec(
            "tinyproxy", "-d", "-c", config, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            async with asyncio.timeout(20):
                while not await _listens(port):
                    await asyncio.sleep(0.01)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            await process.wait()

    @pytest.fixture
    async def secure(self, tmp_path: Path) -> AsyncIterator[tuple[Origin, str]]:
        """An https feed with the file of its authority."""
        authority = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        async with Origin(ssl=context) as origin:
            yield origin, str(tmp_path / "ca.pem")

    def through(self, tiny: str, password: str | None) -> Egress:
        proxy = EgressProxy(tiny, basic(canary.USER, password) if password else "")
        return Egress(proxies={"http": proxy, "https": proxy}, only_public=False)

    async def test_documents_packages_and_pushes_go_through_a_tunnel(
        self, tiny: str, secure: tuple[Origin, str], make_client: MakeClient, tmp_path: Path
    ) -> None:
        origin, ca_file = secure
        client = make_client(
            index_url=f"{origin.localhost}/index.json", ca_file=ca_file, egress=self.through(tiny, "word")
        )
        origin.routes |= {
            "/x": Script(body=b"{}"),
            "/p": Script(body=b"PK" * 100_000),
            "/push": Script(status=201),
        }
        assert (await client.get(f"{origin.localhost}/x")).body == b"{}"
        async with client.download(f"{origin.localhost}/p") as download:
            assert b"".join([piece async for piece in download.chunks()]) == b"PK" * 100_000
        package = [b"PK" * 1000] * 100

        async def body() -> AsyncIterator[bytes]:
            for piece in package:
                yield piece

        key = CIMultiDict({"X-NuGet-ApiKey": canary.API_KEY})
        async with client.send(
            "PUT", f"{origin.localhost}/push", headers=key, body=body(), timeout=20, rewind=None
        ) as sent:
            assert sent.status == 201
        pushed = origin.requests[-1]
        assert (pushed.method, pushed.body) == ("PUT", b"".join(package))
        assert pushed.headers["X-NuGet-ApiKey"] == canary.API_KEY
        assert [seen.target for seen in origin.requests] == ["/x", "/p", "/push"]
        assert not [seen for seen in origin.requests if "Proxy-Authorization" in seen.headers]
        assert f"CONNECT localhost:{origin.port}" in (tmp_path / "tiny.log").read_text()

    @pytest.mark.parametrize("password", [None, "wrong"])
    async def test_it_refuses_who_has_no_credentials(
        self, tiny: str, secure: tuple[Origin, str], make_client: MakeClient, password: str | None
    ) -> None:
        origin, ca_file = secure
        client = make_client(
            index_url=f"{origin.localhost}/index.json", ca_file=ca_file, egress=self.through(tiny, password), tries=1
        )
        error = await failure(client, f"{origin.localhost}/x")
        assert error.reason is Reason.REFUSED
        assert "the egress proxy" in error.detail
        assert not origin.requests

    async def test_a_feed_that_it_cannot_reach_is_unavailable(
        self, tiny: str, secure: tuple[Origin, str], make_client: MakeClient
    ) -> None:
        origin, ca_file = secure
        client = make_client(
            index_url=f"{origin.localhost}/index.json", ca_file=ca_file, egress=self.through(tiny, "word"), tries=1
        )
        await origin.refuse()
        error = await failure(client, f"{origin.localhost}/x")
        assert isinstance(error, UpstreamUnavailable)
        assert "the egress proxy gives no connection to it" in error.detail


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def test_without_anything_said_nothing_is_used() -> None:
    config = read(Config, {"upstreams": {"u": {"url": INDEX}}})
    assert egress_of(config, "u", config.upstreams["u"], {}).proxies == DIRECT.proxies == {}
