"""Redirects are followed by us only, credentials by exact origin."""

from __future__ import annotations

import asyncio

import pytest

from nugetproxy.errors import Reason, UpstreamFailure, UpstreamRefused
from nugetproxy.upstream.client import UpstreamClient
from tests.fakes.names import Names
from tests.fakes.origin import Origin, Script
from tests.upstream.conftest import MakeClient

CANARY = "canary-7f3a91"
SECRETS = {"Authorization": f"Basic {CANARY}", "X-NuGet-ApiKey": CANARY}


def to(location: str, status: int = 302) -> Script:
    return Script(status=status, headers=[("Location", location)], body=b"<a>moved</a>")


def secrets_seen(origin: Origin) -> list[bool]:
    return [CANARY in str(seen.headers) for seen in origin.requests]


async def denied(client: UpstreamClient, url: str) -> UpstreamFailure:
    with pytest.raises(UpstreamRefused) as caught:
        await client.get(url)
    return caught.value


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_each_redirect_status_is_followed(origin: Origin, client: UpstreamClient, status: int) -> None:
    origin.routes["/a"] = to("/b", status)
    origin.routes["/b"] = Script(body=b"{}")
    answer = await client.get(f"{origin.url}/a")
    assert (answer.body, answer.url) == (b"{}", f"{origin.url}/b")
    assert origin.connections == 1


async def test_an_address_written_for_people_is_asked_for_as_it_is_meant(
    origin: Origin, client: UpstreamClient
) -> None:
    origin.routes["/a"] = to("/my feed/größe?of=a%2Fb c".encode().decode("latin-1"))
    origin.routes["/my%20feed/gr%C3%B6%C3%9Fe"] = Script(body=b"{}")
    assert (await client.get(f"{origin.url}/a")).body == b"{}"
    assert origin.requests[-1].query == "of=a%2Fb%20c"


async def test_a_signed_query_is_kept_byte_for_byte_and_told_to_nobody(origin: Origin, client: UpstreamClient) -> None:
    target = "/blob/a%2Bb.nupkg?sv=2020-04-08&sig=a%2Fb%2B%3D&se=x+y&%7E"
    origin.routes["/a"] = to(origin.localhost + target)
    origin.routes["/blob/a%2Bb.nupkg"] = Script(body=b"PK")
    async with client.download(f"{origin.url}/a") as download:
        assert download.url == f"{origin.localhost}/blob/a%2Bb.nupkg"
    assert origin.requests[1].target == target


class TestCredentials:
    async def test_go_to_the_index_origin(self, origin: Origin, make_client: MakeClient) -> None:
        origin.routes["/a"] = to("/b")
        origin.routes["/b"] = Script(body=b"{}")
        await make_client(headers=SECRETS).get(f"{origin.url}/a")
        assert secrets_seen(origin) == [True, True]

    async def test_stay_behind_on_the_way_to_another_host(self, origin: Origin, make_client: MakeClient) -> None:
        origin.routes["/a"] = to(f"{origin.localhost}/b")
        origin.routes["/b"] = Script(body=b"{}")
        await make_client(headers=SECRETS).get(f"{origin.url}/a")
        assert secrets_seen(origin) == [True, False]

    async def test_stay_behind_on_the_way_to_another_port(self, origin: Origin, make_client: MakeClient) -> None:
        async with Origin() as other:
            origin.routes["/a"] = to(f"{other.url}/b")
            other.routes["/b"] = Script(body=b"{}")
            await make_client(headers=SECRETS).get(f"{origin.url}/a")
            assert secrets_seen(other) == [False]

    async def test_come_back_with_the_origin(self, origin: Origin, make_client: MakeClient) -> None:
        origin.routes["/a"] = to(f"{origin.localhost}/b")
        origin.routes["/b"] = to(f"{origin.url}/c")
        origin.routes["/c"] = Script(body=b"{}")
        await make_client(headers=SECRETS).get(f"{origin.url}/a")
        assert secrets_seen(origin) == [True, False, True]

    async def test_go_to_listed_origins(self, origin: Origin, make_client: MakeClient) -> None:
        client = make_client(headers=SECRETS, credential_origins=frozenset({f"{origin.localhost.upper()}/"}))
        origin.routes["/a"] = to(f"{origin.localhost}/b")
        origin.routes["/b"] = Script(body=b"{}")
        await client.get(f"{origin.url}/a")
        assert secrets_seen(origin) == [True, True]

    async def test_are_not_sent_to_other_hosts_of_the_feed(self, origin: Origin, make_client: MakeClient) -> None:
        origin.routes["/b"] = Script(body=b"{}")
        await make_client(headers=SECRETS).get(f"{origin.localhost}/b")
        assert secrets_seen(origin) == [False]

    async def test_are_in_no_failure_nor_on_the_terminal(
        self, origin: Origin, make_client: MakeClient, capfd: pytest.CaptureFixture[str]
    ) -> None:
        client = make_client(headers=SECRETS, tries=1, breaker_failures=1, read_timeout=0.05)
        scripts = {
            "/raw": Script(raw=b"nonsense\r\n\r\n", end="fin"),
            "/bytes": Script(headers=[("X", "y" * 40_000)]),
            "/cut": Script(body=b"x" * 100, cut_at=10),
            "/stall": Script(body=b"x", stall_at=0),
            "/500": Script(status=500),
            "/loop": to(f"/loop?sig={CANARY}"),
            "/userinfo": to(f"http://u:{CANARY}@host/"),
        }
        told = []
        for path, script in scripts.items():
            origin.routes[path] = script
            with pytest.raises(UpstreamFailure) as caught:
                await make_client(headers=SECRETS, tries=1, read_timeout=0.05).get(f"{origin.url}{path}?sig={CANARY}")
            told += [str(caught.value), repr(caught.value), caught.value.detail]
        with pytest.raises(UpstreamFailure):
            await client.get(f"{origin.url}/500?sig={CANARY}")
        told += [repr(client._settings), str(client.breakers()), *capfd.readouterr()]
        assert CANARY in str(origin.requests[0].headers)
        assert not [text for text in told if CANARY in text]


class TestDenied:
    @pytest.mark.parametrize(
        "location",
        [
            "\\\\evil\\x",
            "/\\evil",
            "http:/x",
            "ftp://127.0.0.1/",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "http://user:pw@127.0.0.1/",
            "http://[::1/x",
            "http://[::1]@/x",
            "//with space/x",
            "http://",
            "data:,x",
            "http://h:99999/",
        ],
    )
    async def test_what_is_no_proper_http_url(self, origin: Origin, client: UpstreamClient, location: str) -> None:
        origin.routes["/a"] = to(location)
        origin.fallback = lambda seen: Script(body=b"{}")
        if location == "http:/x":  # as browsers do, a path of the same origin
            assert (await client.get(f"{origin.url}/a")).url == f"{origin.url}/x"
            return
        assert (await denied(client, f"{origin.url}/a")).reason is Reason.REDIRECT_DENIED
        assert len(origin.requests) == 1

    @pytest.mark.parametrize("host", ["a..b", f"{64 * 'a'}.example"])
    async def test_a_name_that_no_name_can_be(self, origin: Origin, client: UpstreamClient, host: str) -> None:
        """The system's look-up fails otherwise for it than for one that nobody has."""
        origin.routes["/a"] = to(f"http://{host}/x")
        with pytest.raises(UpstreamFailure) as caught:
            await client.get(f"{origin.url}/a")
        assert caught.value.reason is Reason.DNS

    async def test_no_location(self, origin: Origin, client: UpstreamClient) -> None:
        origin.routes["/a"] = Script(status=302)
        assert (await denied(client, f"{origin.url}/a")).reason is Reason.REDIRECT_DENIED

    async def test_a_loop(self, origin: Origin, client: UpstreamClient) -> None:
        origin.routes["/a"] = to("/b")
        origin.routes["/b"] = to("/a")
        assert (await denied(client, f"{origin.url}/a")).reason is Reason.REDIRECT_DENIED
        assert len(origin.requests) == 2

    async def test_a_sixth_hop(self, origin: Origin, client: UpstreamClient) -> None:
        origin.fallback = lambda seen: to(f"{seen.path}x")
        assert (await denied(client, f"{origin.url}/a")).reason is Reason.REDIRECT_DENIED
        assert len(origin.requests) == 6

    async def test_none_of_it_counts_against_the_origin(self, origin: Origin, make_client: MakeClient) -> None:
        client = make_client(breaker_failures=1)
        origin.routes["/a"] = Script(status=302)
        await denied(client, f"{origin.url}/a")
        assert not client.breakers()


class TestReach:
    """The origin poses as several hosts; the feed's own name is public as far as anybody knows."""

    @pytest.fixture
    def names(self) -> Names:
        hosts = ["feed.example", "cdn.example", "evil.example", "0x7f000001"]
        return Names({host: ["127.0.0.1"] for host in hosts})

    @pytest.fixture
    def public(self, origin: Origin, make_client: MakeClient, names: Names) -> UpstreamClient:
        return make_client(
            index_url=f"http://feed.example:{origin.port}/index.json",
            hosts=frozenset({"cdn.example"}),
            resolver=names,
            headers=SECRETS,
        )

    async def test_a_listed_host_may_be_private(self, origin: Origin, public: UpstreamClient) -> None:
        origin.routes["/a"] = to(f"http://cdn.example:{origin.port}/b")
        origin.routes["/b"] = Script(body=b"{}")
        assert (await public.get(f"http://feed.example:{origin.port}/a")).body == b"{}"
        assert secrets_seen(origin) == [True, False]

    @pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0x7f000001"])
    async def test_a_redirect_to_a_private_address(self, origin: Origin, public: UpstreamClient, host: str) -> None:
        origin.routes["/a"] = to(f"http://{host}:{origin.port}/b")
        error = await denied(public, f"http://feed.example:{origin.port}/a")
        assert error.reason is Reason.REDIRECT_DENIED
        assert origin.count("/b") == 0

    @pytest.mark.parametrize(
        "host", ["evil.example", "127.0.0.1", "[::1]", "169.254.169.254", "0x7f000001", "2130706433", "127.1"]
    )
    async def test_a_url_from_a_document_at_a_private_address(
        self, origin: Origin, public: UpstreamClient, host: str
    ) -> None:
        async with asyncio.timeout(5):
            error = await denied(public, f"http://{host}:{origin.port}/b")
        assert error.reason is Reason.ID_DENIED
        assert not origin.requests

    @pytest.mark.parametrize("url", ["file:///etc/passwd", "http://u:p@feed.example/", "urn:x", "", "http://a b/"])
    async def test_a_url_from_a_document_that_is_none(self, public: UpstreamClient, url: str) -> None:
        assert (await denied(public, url)).reason is Reason.ID_DENIED
        with pytest.raises(UpstreamRefused):
            await public.head(url)
        with pytest.raises(UpstreamRefused):
            await public.download(url).__aenter__()

    async def test_an_https_index_never_leads_to_http(self, origin: Origin, make_client: MakeClient) -> None:
        client = make_client(index_url="https://feed.example/index.json", internal=True)
        assert (await denied(client, f"{origin.url}/x")).reason is Reason.ID_DENIED
        assert not origin.requests
