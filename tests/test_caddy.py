"""Caddy's front end of deploy/ does what it says, with a certificate of its own."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import socket
import ssl
from pathlib import Path

import aiohttp
import pytest
import trustme

from tests.fakes.asking import LARGE, PACKAGE
from tests.fakes.feed import FakeFeed
from tests.fakes.process import ROOT, ProxyProcess

CADDY = shutil.which("caddy", path="/usr/bin:/usr/local/bin")
TEXT = (ROOT / "deploy" / "Caddyfile").read_text(encoding="utf-8")


def adapted(folder: Path, port: int, proxy: int, authority: trustme.CA) -> Path:
    """The file for this machine."""
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    issued.cert_chain_pems[0].write_to_path(folder / "certificate.pem")
    text = TEXT.replace("127.0.0.1:5555", f"127.0.0.1:{proxy}")
    site = f"https://127.0.0.1:{port} {{\n\ttls {folder / 'certificate.pem'} {folder / 'key.pem'}"
    text, count = re.subn(r"^nuget\.example\.com \{", site, text, flags=re.MULTILINE)
    assert count == 1
    file = folder / "Caddyfile"
    file.write_text("{\n\tadmin off\n\tauto_https disable_redirects\n}\n" + text)
    return file


@pytest.mark.slow
@pytest.mark.skipif(CADDY is None, reason="no caddy here")
async def test_clients_come_in_by_caddy(feed: FakeFeed, tmp_path: Path) -> None:
    feed.add(LARGE)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    authority, context = trustme.CA(), ssl.create_default_context()
    authority.configure_trust(context)
    environ = {"NUGETPROXY_SERVER__TRUSTED_PROXIES": "127.0.0.1"}
    async with ProxyProcess("--upstream", feed.index_url, "--cache-dir", tmp_path / "cache", environ=environ) as proxy:
        file = adapted(tmp_path, port, proxy.port, authority)
        caddy = await asyncio.create_subprocess_exec(
            str(CADDY), "run", "--config", str(file), "--adapter", "caddyfile",
            env={**os.environ, "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)},
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            await listening(port)
            base = f"https://127.0.0.1:{port}"
            connector = aiohttp.TCPConnector(ssl=context)
            async with aiohttp.ClientSession(connector=connector) as session:
                lies = {"X-Forwarded-Prefix": "/evil", "X-Forwarded-Host": "evil.example"}
                async with session.get(f"{base}/v3/index.json", headers=lies) as answer:
                    index = json.loads(await answer.read())
                content = {one["@id"] for one in index["resources"] if one["@type"] == "PackageBaseAddress/3.0.0"}
                assert content == {f"{base}/v3/content/"}
                assert "evil" not in json.dumps(index)
                async with session.get(f"{base}{PACKAGE}") as answer:
                    assert await answer.read() == LARGE
                for path in ("/metrics", "/-/stats"):
                    async with session.get(f"{base}{path}") as answer:
                        assert (answer.status, answer.headers.get("Cache-Status")) == (404, None), "Caddy's own"
        finally:
            caddy.terminate()
            await caddy.wait()


async def listening(port: int) -> None:
    """Wait for Caddy, which cannot tell by itself."""
    async with asyncio.timeout(30):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return
