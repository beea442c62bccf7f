"""A restart is not an outage: what it costs clients, with passed sockets, behind nginx, with signals of all kinds."""

from __future__ import annotations

import asyncio
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import aiohttp
import pytest

from nugetproxy.web.listening import AddressUnusable, passed_sockets
from tests.fakes.asking import PACKAGE, REGISTRATION, SMALL, UP_VERSIONS, VERSIONS, until
from tests.fakes.feed import FakeFeed
from tests.fakes.origin import Script
from tests.fakes.packages import make_nupkg
from tests.fakes.process import FREE_PORT, ROOT, ProxyProcess, clean_environ

pytestmark = pytest.mark.slow  # every test starts processes
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
DEPLOY = ROOT / "deploy"
NOBODY = "http://127.0.0.1:9/v3/index.json"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A socket as a service manager keeps it."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as one:
        yield one


def proxying(feed: FakeFeed, cache: Path, **more: object) -> ProxyProcess:
    return ProxyProcess("--upstream", feed.index_url, "--cache-dir", cache, **more)  # type: ignore[arg-type]


def cpu_seconds(pid: int) -> float:
    """What a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Watcher:
    """Asks again and again, each time on a new connection, one request after the other."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.answers: list[int | str] = []
        self._going = True

    async def run(self) -> None:
        while self._going:
            async with aiohttp.ClientSession() as session:
                try:
                    async with session.get(self._url, timeout=aiohttp.ClientTimeout(total=60)) as answer:
                        await answer.read()
                        self.answers.append(answer.status)
                except aiohttp.ClientError as error:
                    self.answers.append(repr(error))

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.run())
        await until(lambda: len(self.answers) > 3)
        yield
        seen = len(self.answers)
        async with asyncio.timeout(40):
            while len(self.answers) <= seen + 3:
                await asyncio.sleep(0.01)
        self._going = False
        await task


async def test_connections_wait_in_a_passed_socket_while_the_process_is_replaced(
    feed: FakeFeed, cache: Path, listener: socket.socket
) -> None:
    feed.add(SMALL)
    async with proxying(feed, cache, sockets={"http": listener}) as proxy:
        assert proxy.port == listener.getsockname()[1]
        watcher = Watcher(proxy.url + PACKAGE)
        async with watcher.watching():
            assert await proxy.stop() == 0
            await proxy.start()
            await proxy.listening()
    assert set(watcher.answers) == {200}
    assert proxy.errors == []


def test_a_stop_costs_little_beside_a_start(cache: Path) -> None:
    """Every second between the last answer of one process and the first of the next is one that clients wait."""
    command = [sys.executable, "-m", "nugetproxy", "serve", "--listen", FREE_PORT, "--upstream", NOBODY]
    with subprocess.Popen(
        [*command, "--cache-dir", cache],
        cwd=ROOT,
        env=clean_environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        assert any(b"proxy.started" in line for line in process.stdout)
        assert any(b"breaker.opened" in line for line in process.stdout)  # it has read authorities, asked for the index
        before = cpu_seconds(process.pid)
        process.send_signal(signal.SIGTERM)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
    assert used.ru_utime + used.ru_stime - before < before / 8


async def test_a_passed_admin_socket_answers_operators_and_nobody_else(
    feed: FakeFeed, cache: Path, listener: socket.socket
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as admin:
        sockets = {"admin": admin, "nugetproxy.socket": listener}
        async with (
            proxying(feed, cache, sockets=sockets, environ={"NUGETPROXY_SERVER__METRICS_FROM": "[]"}) as proxy,
            aiohttp.ClientSession() as session,
        ):
            assert proxy.port == listener.getsockname()[1]
            place = f"http://127.0.0.1:{admin.getsockname()[1]}"
            statuses = {}
            for base in (place, proxy.url):
                for path in ("/metrics", "/health/live", "/v3/index.json"):
                    async with session.get(base + path) as answer:
                        statuses[base == place, path] = answer.status
    assert statuses == {
        (True, "/metrics"): 200,
        (True, "/health/live"): 200,
        (True, "/v3/index.json"): 404,
        (False, "/metrics"): 404,
        (False, "/health/live"): 200,
        (False, "/v3/index.json"): 200,
    }


def test_sockets_for_another_process_are_left_alone() -> None:
    environ = {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "http"}
    assert passed_sockets(environ) == {}
    assert environ == {}, "no child may take them for its own"


def test_a_socket_of_an_unknown_name_is_refused_with_its_name() -> None:
    environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "htpp"}
    with pytest.raises(AddressUnusable, match="FileDescriptorName=htpp"):
        passed_sockets(environ)


@pytest.mark.slow
@pytest.mark.skipif(NGINX is None, reason="no nginx here")
async def test_nginx_rides_out_a_restart_of_a_proxy_whose_address_nobody_keeps(
    feed: FakeFeed, cache: Path, tmp_path: Path
) -> None:
    feed.add(SMALL)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    async with proxying(feed, cache, listen=address) as proxy, front(tmp_path, proxy.port, restart=True) as url:
        watcher = Watcher(url + PACKAGE)
        async with watcher.watching():
            assert await proxy.stop() == 0
            await proxy.start()
            await proxy.listening()
    assert set(watcher.answers) == {200}


@pytest.mark.skipif(NGINX is None, reason="no nginx here")
async def test_nginx_before_a_passed_socket_loses_nothing(
    feed: FakeFeed, cache: Path, tmp_path: Path, listener: socket.socket
) -> None:
    feed.add(SMALL)
    async with (
        proxying(feed, cache, sockets={"http": listener}) as proxy,
        front(tmp_path, proxy.port, restart=False) as url,
    ):
        watcher = Watcher(url + PACKAGE)
        async with watcher.watching():
            assert await proxy.stop() == 0
            await proxy.start()
            await proxy.listening()
    assert set(watcher.answers) == {200}


@asynccontextmanager
async def front(folder: Path, port: int, *, restart: bool) -> AsyncIterator[str]:
    """nginx as ``deploy/`` has it, without TLS, before a proxy."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    site = (DEPLOY / "nginx.conf").read_text(encoding="utf-8").replace("127.0.0.1:5555", f"127.0.0.1:{port}")
    site = site.replace("listen 443 ssl;", f"listen {address};").replace("listen [::]:443 ssl;", "")
    site = "\n".join(line for line in site.splitlines() if not line.strip().startswith("ssl_"))
    if restart:
        site = site.replace("# error_page", "error_page")
        site = site.replace("    location / {", f"    include {DEPLOY}/nginx-restart.conf;\n    location / {{")
    names = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    scratch = " ".join(f"{name}_temp_path {folder}/{name};" for name in names)
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log stderr;\n"
        f"events {{}}\nhttp {{ access_log off; {scratch}\n{site}\n}}\n",
        encoding="utf-8",
    )
    assert NGINX is not None
    nginx = await asyncio.create_subprocess_exec(
        *(NGINX, "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        host, _, number = address.partition(":")
        async with asyncio.timeout(20):
            while True:
                try:
                    _, writer = await asyncio.open_connection(host, int(number))
                    break
                except ConnectionRefusedError:
                    await asyncio.sleep(0.02)
            writer.close()
        yield f"http://{address}"
    finally:
        nginx.terminate()
        await nginx.wait()


async def test_a_document_does_not_hold_up_the_stop(feed: FakeFeed, cache: Path) -> None:
    """Its client is told to ask again, and does, of the next process."""
    feed.origin.routes[UP_VERSIONS] = Script(gate=asyncio.Event())
    async with proxying(feed, cache) as proxy, aiohttp.ClientSession() as session:
        await proxy.ready()
        waiting = asyncio.create_task(session.get(proxy.url + VERSIONS))
        await until(lambda: feed.count(UP_VERSIONS) == 1)
        began = asyncio.get_running_loop().time()
        proxy.send(signal.SIGTERM)
        answer = await waiting
        assert (answer.status, answer.headers["Connection"]) == (503, "close")
        assert "stopping" in await answer.text()
        assert await proxy.ended() == 0
        assert asyncio.get_running_loop().time() - began < 15  # the time to drain is 30 s
    assert proxy.errors == []


@pytest.mark.slow
async def test_a_document_that_nobody_reads_does_not_hold_up_the_stop_either(feed: FakeFeed, cache: Path) -> None:
    for number in range(60):
        feed.add(make_nupkg("Acme.A", f"{number}.0.0", description=Random(number).randbytes(100_000).hex()))
    async with proxying(feed, cache) as proxy, aiohttp.ClientSession() as session:
        async with session.get(proxy.url + REGISTRATION) as answer:
            assert len(await answer.read()) > 5_000_000
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", proxy.port))
            client.sendall(f"GET {REGISTRATION} HTTP/1.1\r\nHost: 127.0.0.1:{proxy.port}\r\n\r\n".encode())
            await proxy.logged("request", outcome="hit", path=REGISTRATION)
            began = asyncio.get_running_loop().time()
            assert await proxy.stop() == 0
            assert asyncio.get_running_loop().time() - began < 15  # the time to drain is 30 s


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
async def test_a_service_outlives_signals_that_are_not_for_it(
    feed: FakeFeed, cache: Path, number: signal.Signals
) -> None:
    async with proxying(feed, cache) as proxy:
        proxy.send(number)
        if number is signal.SIGHUP:
            await proxy.logged("configuration.reloaded", changed=[], restart=[])
        await proxy.ready()
        assert await proxy.stop() == 0
    assert proxy.errors == []


async def test_a_closed_terminal_stops_what_runs_in_it(feed: FakeFeed, cache: Path) -> None:
    main, other = pty.openpty()
    try:
        async with proxying(feed, cache, stdin=other) as proxy:
            proxy.send(signal.SIGHUP)
            assert await proxy.ended() == 0
    finally:
        os.close(main)
        os.close(other)
