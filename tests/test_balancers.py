"""Several processes behind a balancer, nginx or HAProxy as ``deploy/`` has them: what is asked once, what again."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest

from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.process import ProxyProcess

DEPLOY = Path(__file__).parent.parent / "deploy"
PATHS = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"
PACKAGES = [f"Storm.{number}" for number in range(12)]
CLIENTS = 8
LIMIT = 60.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def with_ports(text: str, ports: Sequence[int]) -> str:
    """The configuration with the ports of running processes in the places of the written ones."""
    assert len(re.findall(r"127\.0\.0\.1:555[1-4]\b", text)) == len(ports)
    left = iter(ports)
    return re.sub(r"127\.0\.0\.1:555[1-4]\b", lambda _: f"127.0.0.1:{next(left)}", text)


def nginx(folder: Path, port: int, ports: Sequence[int]) -> list[str]:
    site = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
    site = re.sub(r"^upstream nugetproxy \{.*?^\}$", "", site, flags=re.MULTILINE | re.DOTALL)
    site = with_ports((DEPLOY / "nginx-processes.conf").read_text(encoding="utf-8"), ports) + site
    site = site.replace("listen 443 ssl;", f"listen 127.0.0.1:{port};").replace("listen [::]:443 ssl;", "")
    site = "\n".join(line for line in site.splitlines() if not line.strip().startswith("ssl_"))
    names = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    scratch = " ".join(f"{name}_temp_path {folder}/{name};" for name in names)
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log stderr;\n"
        f"events {{}}\nhttp {{ access_log off; {scratch}\n{site}\n}}\n",
        encoding="utf-8",
    )
    return ["nginx", "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]


def haproxy(folder: Path, port: int, ports: Sequence[int]) -> list[str]:
    text = with_ports((DEPLOY / "haproxy.cfg").read_text(encoding="utf-8"), ports)
    text = text.replace("bind 127.0.0.1:5555", f"bind 127.0.0.1:{port}")
    (folder / "haproxy.cfg").write_text(text, encoding="utf-8")
    return ["haproxy", "-db", "-f", str(folder / "haproxy.cfg")]


BALANCERS = {"nginx": nginx, "haproxy": haproxy}


@asynccontextmanager
async def balancer(name: str, folder: Path, ports: Sequence[int]) -> AsyncIterator[str]:
    """Its address, once it answers."""
    port = free_port()
    command, *options = BALANCERS[name](folder, port, ports)
    program = shutil.which(command, path=PATHS)
    assert program is not None
    process = await asyncio.create_subprocess_exec(program, *options, stderr=asyncio.subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        async with asyncio.timeout(LIMIT), aiohttp.ClientSession() as session:
            while True:
                try:
                    if (await session.get(f"{url}/v3/index.json")).status == 200:
                        break
                except aiohttp.ClientConnectionError:
                    pass
                await asyncio.sleep(0.05)
        yield url
    finally:
        process.terminate()
        await process.wait()


async def restore(url: str, package: str) -> bytes:
    """What a client does for one package, on a connection of its own."""
    id_ = package.lower()
    async with aiohttp.ClientSession() as session:
        index = await (await session.get(f"{url}/v3/index.json")).json()
        content = next(one["@id"] for one in index["resources"] if one["@type"] == "PackageBaseAddress/3.0.0")
        assert content.startswith(url), "clients come back by the balancer"
        listed = await (await session.get(f"{content}{id_}/index.json")).json()
        (version,) = listed["versions"]
        answer = await session.get(f"{content}{id_}/{version}/{id_}.{version}.nupkg")
        assert answer.status == 200
        return await answer.read()


@pytest.mark.slow
@pytest.mark.parametrize("name", BALANCERS)
async def test_a_storm_of_cold_clients_costs_one_download_of_each_package(
    name: str, feed: FakeFeed, tmp_path: Path
) -> None:
    if shutil.which(name, path=PATHS) is None:
        pytest.skip(f"no {name} here")
    contents = {package: make_nupkg(package, "1.0.0", size=50_000) for package in PACKAGES}
    for nupkg in contents.values():
        feed.add(nupkg)
    environ = {"NUGETPROXY_UPSTREAMS__UP__URL": feed.index_url}
    async with AsyncExitStack() as stack:
        processes = [
            await stack.enter_async_context(ProxyProcess("--cache-dir", tmp_path / f"cache{number}", environ=environ))
            for number in range(4)
        ]
        url = await stack.enter_async_context(balancer(name, tmp_path, [one.port for one in processes]))
        got = await asyncio.gather(*(restore(url, package) for package in PACKAGES for _ in range(CLIENTS)))
        assert [await one.stop() for one in processes] == [0] * 4  # all is committed then
    assert got == [contents[package] for package in PACKAGES for _ in range(CLIENTS)]
    asked = Counter(seen.path for seen in feed.requests if seen.path.endswith(".nupkg"))
    assert len(asked) == len(PACKAGES)
    assert set(asked.values()) == {1}
    held = [len(list((tmp_path / f"cache{number}/up/packages").glob("*/*/*.nupkg"))) for number in range(4)]
    assert sum(held) == len(PACKAGES)
    assert sum(count > 0 for count in held) >= 2, "the work is shared"


@asynccontextmanager
async def silent(asked: list[str]) -> AsyncIterator[int]:
    """The port of one that is in good health, and closes the connection without an answer to anything else."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            method, path, _ = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)
            if path.startswith(b"/health/"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            else:
                asked.append(method.decode())
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("haproxy", path=PATHS) is None, reason="no haproxy here")
@pytest.mark.parametrize("name", ["haproxy.cfg", "haproxy-cluster.cfg"])
async def test_what_ends_without_an_answer_is_asked_again_unless_it_writes(name: str, tmp_path: Path) -> None:
    asked: list[str] = []
    port = free_port()
    text = re.sub(r"bind \S*:5555", f"bind 127.0.0.1:{port}", (DEPLOY / name).read_text(encoding="utf-8"))
    async with AsyncExitStack() as stack:
        servers = re.compile(r"(?<=127\.0\.0\.1:)555[1-4]\b|replica[1-3]:5555")
        there = iter([await stack.enter_async_context(silent(asked)) for _ in servers.findall(text)])
        text = servers.sub(lambda old: f"{next(there)}" if old[0].isdigit() else f"127.0.0.1:{next(there)}", text)
        (tmp_path / "haproxy.cfg").write_text(text, encoding="utf-8")
        program = shutil.which("haproxy", path=PATHS)
        assert program is not None
        process = await asyncio.create_subprocess_exec(program, "-db", "-f", str(tmp_path / "haproxy.cfg"))
        try:
            for method in ("GET", "DELETE", "POST"):
                await answered(method, f"http://127.0.0.1:{port}/v3/package/acme.a/1.0.0")
        finally:
            process.terminate()
            await process.wait()
    assert Counter(asked) == {"GET": 4, "DELETE": 1, "POST": 1}


async def answered(method: str, url: str) -> None:
    """Ask on a connection of its own, once the balancer is there."""
    async with asyncio.timeout(LIMIT):
        while True:
            try:
                async with aiohttp.request(method, url) as answer:
                    assert answer.status == 502
                    return
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.05)
