"""https of our own: links, signatures, whole packages, a certificate that is renewed."""

from __future__ import annotations

import asyncio
import hashlib
import io
import signal
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import trustme

from tests.fakes.asking import LARGE, PACKAGE
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.process import ProxyProcess
from tests.web.test_push import PUSH, form, sending


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """What a client has that trusts the authority."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def issue(authority: trustme.CA, folder: Path) -> None:
    """Put a new certificate where the proxy looks for it."""
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    certificate = folder / "certificate.new"
    certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    certificate.replace(folder / "certificate.pem")


@pytest.fixture
async def secure(feed: FakeFeed, tmp_path: Path, authority: trustme.CA) -> AsyncIterator[ProxyProcess]:
    """A proxy that speaks https."""
    issue(authority, tmp_path)
    environ = {
        "NUGETPROXY_SERVER__TLS_CERTIFICATE": str(tmp_path / "certificate.pem"),
        "NUGETPROXY_SERVER__TLS_KEY": str(tmp_path / "key.pem"),
    }
    words = ("--upstream", feed.index_url, "--cache-dir", tmp_path / "cache")
    async with ProxyProcess(*words, environ=environ) as proxy:
        yield proxy


async def shown(port: int, context: ssl.SSLContext) -> bytes:
    """A digest of the certificate that a new connection is shown."""
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return hashlib.sha256(certificate).digest()
    finally:
        writer.close()


async def test_every_link_is_https_and_signatures_are_published(
    secure: ProxyProcess, feed: FakeFeed, trusting: ssl.SSLContext
) -> None:
    assert secure.url.startswith("https://127.0.0.1:")
    assert any(f"{secure.url}/v3/index.json" in line for line in secure.banner)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting)) as session:
        async with session.get(f"{secure.url}/v3/index.json") as answer:
            rows = (await answer.json())["resources"]
        assert [row["@id"] for row in rows if not row["@id"].startswith("https://")] == []
        assert sum(row["@id"].startswith(f"{secure.url}/v3/") for row in rows) > 20
        (signatures,) = [row["@id"] for row in rows if row["@type"] == "RepositorySignatures/5.0.0"]
        async with session.get(signatures) as answer:
            assert "allRepositorySigned" in await answer.json()


async def test_packages_are_whole(secure: ProxyProcess, feed: FakeFeed, trusting: ssl.SSLContext) -> None:
    feed.add(LARGE)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting)) as session:
        for span in (None, None, (1000, 300_000)):
            headers = {} if span is None else {"Range": f"bytes={span[0]}-{span[1] - 1}"}
            async with session.get(secure.url + PACKAGE, headers=headers) as answer:
                assert await answer.read() == (LARGE if span is None else LARGE[slice(*span)])


@pytest.mark.slow
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_modern_versions_and_http_1_1(
    secure: ProxyProcess, trusting: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    trusting.minimum_version = trusting.maximum_version = version
    trusting.set_alpn_protocols(["h2", "http/1.1"])
    _, writer = await asyncio.open_connection("127.0.0.1", secure.port, ssl=trusting)
    assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
    writer.close()


@pytest.mark.slow
async def test_old_versions_are_refused(secure: ProxyProcess, trusting: ssl.SSLContext) -> None:
    with pytest.warns(DeprecationWarning):
        trusting.minimum_version = trusting.maximum_version = ssl.TLSVersion.TLSv1_1
    trusting.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection("127.0.0.1", secure.port, ssl=trusting)


async def test_a_stop_lets_a_package_under_way_reach_its_end(
    secure: ProxyProcess, feed: FakeFeed, trusting: ssl.SSLContext
) -> None:
    content = make_nupkg("Acme.A", "1.0.0", size=8_000_000)
    feed.add(content)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting)) as session:
        async with session.get(secure.url + PACKAGE) as answer:
            assert await answer.read() == content
        async with session.get(secure.url + PACKAGE) as answer:
            first = await answer.content.readexactly(100_000)
            secure.send(signal.SIGTERM)
            await secure.logged("proxy.draining")
            assert first + await answer.read() == content
    assert await secure.ended() == 0


@pytest.mark.parametrize("size", [1000, 3_000_000])
async def test_what_is_pushed_arrives_whole(
    secure: ProxyProcess, feed: FakeFeed, trusting: ssl.SSLContext, size: int
) -> None:
    content = make_nupkg("Acme.New", "1.0.0", size=size)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting)) as session:
        body = io.BytesIO(form(content))
        async with session.put(f"{secure.url}{PUSH}", data=body, headers=sending()) as answer:
            assert answer.status == 201
    assert feed.shelf.find("Acme.New", "1.0.0").content == content


@pytest.mark.slow
async def test_a_renewed_certificate_drops_no_connection(
    secure: ProxyProcess, trusting: ssl.SSLContext, authority: trustme.CA, tmp_path: Path
) -> None:
    first = await shown(secure.port, trusting)
    reader, writer = await asyncio.open_connection("127.0.0.1", secure.port, ssl=trusting)

    async def alive() -> bytes:
        writer.write(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        return head + await reader.readexactly(len(b"alive\n"))

    assert (await alive()).startswith(b"HTTP/1.1 200")
    issue(authority, tmp_path)
    await secure.logged("tls.read")
    second = await shown(secure.port, trusting)
    assert second != first
    assert (await alive()).endswith(b"alive\n"), "the connection of before goes on"
    (tmp_path / "key.pem").write_bytes(authority.issue_cert("127.0.0.1").private_key_pem.bytes())
    event = await secure.logged("tls.unreadable")
    assert event["detail"]
    assert await shown(secure.port, trusting) == second, "what does not fit together is not shown"
    writer.close()
