"""The other event loop serves as the first one does, from a process of its own."""

from __future__ import annotations

import asyncio
import signal
import ssl
import sys
from pathlib import Path

import aiohttp
import pytest
import trustme

from nugetproxy.config import Config, Server, Upstream
from nugetproxy.config.checks import contradictions
from tests.fakes.asking import LARGE, PACKAGE, VERSIONS
from tests.fakes.feed import FakeFeed
from tests.fakes.process import ProxyProcess

pytest.importorskip("uvloop")


def settings(folder: Path, *, tls: bool) -> dict[str, str]:
    """The environment of a proxy on uvloop."""
    named = {"NUGETPROXY_SERVER__EVENT_LOOP": "uvloop"}
    if tls:
        named |= {
            "NUGETPROXY_SERVER__TLS_CERTIFICATE": str(folder / "certificate.pem"),
            "NUGETPROXY_SERVER__TLS_KEY": str(folder / "key.pem"),
        }
    return named


@pytest.mark.slow
@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
async def test_uvloop_serves_the_same_bytes(feed: FakeFeed, tmp_path: Path, tls: bool) -> None:
    feed.add(LARGE)
    trust = ssl.create_default_context()
    if tls:
        authority = trustme.CA()
        authority.configure_trust(trust)
        issued = authority.issue_cert("127.0.0.1")
        issued.private_key_pem.write_to_path(tmp_path / "key.pem")
        issued.cert_chain_pems[0].write_to_path(tmp_path / "certificate.pem")
    words = ("--upstream", feed.index_url, "--cache-dir", tmp_path / "cache")
    async with ProxyProcess(*words, environ=settings(tmp_path, tls=tls)) as proxy:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust)) as session:

            async def body(path: str, **headers: str) -> bytes:
                async with session.get(proxy.url + path, headers=headers) as answer:
                    assert answer.status in {200, 206}
                    return await answer.read()

            crowd = await asyncio.gather(*(body(PACKAGE) for _ in range(20)))
            assert set(crowd) == {LARGE}
            assert feed.count("/v3-flatcontainer/acme.a/1.0.0/acme.a.1.0.0.nupkg") == 1
            for _ in range(3):  # hits: from the file, from the lane
                assert await body(PACKAGE) == LARGE
                assert await body(PACKAGE, Range="bytes=1000-299999") == LARGE[1000:300_000]
                assert b"1.0.0" in await body(VERSIONS)
        proxy.send(signal.SIGTERM)
        assert await proxy.ended() == 0


def test_a_loop_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(
        server=Server(event_loop="uvloop"), upstreams={"up": Upstream(url="https://feed.example/v3/index.json")}
    )
    assert contradictions(config) == ()
    monkeypatch.setitem(sys.modules, "uvloop", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    (problem,) = contradictions(config)
    assert problem.startswith("server.event_loop: uvloop is not installed")
