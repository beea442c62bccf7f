"""The real process: what it prints, how it tells its health, how it stops, what it refuses to start with."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from nugetproxy.store.lock import DirectoryLock
from tests.fakes.asking import LARGE, PACKAGE, SMALL, UP_PACKAGE, VERSIONS, until
from tests.fakes.feed import FakeFeed
from tests.fakes.origin import Script
from tests.fakes.packages import make_nupkg
from tests.fakes.process import LIMIT, ROOT, ProxyProcess, clean_environ

pytestmark = pytest.mark.slow  # every test starts processes; outage/test_processes.py is in every run
NOBODY = "http://127.0.0.1:1/v3/index.json"
"""An upstream that refuses every connection."""


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def proxying(feed: FakeFeed, cache: Path, **environ: str) -> ProxyProcess:
    """A proxy of ``feed``; ``server__drain="1s"`` sets NUGETPROXY_SERVER__DRAIN."""
    variables = {f"NUGETPROXY_{name.upper()}": value for name, value in environ.items()}
    return ProxyProcess("--upstream", feed.index_url, "--cache-dir", cache, environ=variables)


async def fetch(proxy: ProxyProcess, path: str, **headers: str) -> tuple[int, bytes]:
    """Status and whole body, on a connection of its own."""
    async with aiohttp.ClientSession() as session, session.get(proxy.url + path, headers=headers) as answer:
        return answer.status, await answer.read()


async def readiness(proxy: ProxyProcess) -> tuple[int, str]:
    status, body = await fetch(proxy, "/health/ready")
    return status, " ".join(json.loads(body)["reasons"])


async def refuses_connections(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:  # it waited to be accepted as the listening socket was closed
        return False
    writer.close()
    return False


# --- the start ---


async def test_the_start_tells_what_to_do_with_it(feed: FakeFeed, cache: Path) -> None:
    async with proxying(feed, cache) as proxy:
        await proxy.logged("proxy.started", port=proxy.port, pid=proxy.pid)
        text = "\n".join(proxy.banner)

    assert text.startswith(f"Listening on {proxy.url}/v3/index.json\n")
    assert f": {feed.index_url}\n" in text
    assert f"Storing in {cache} (" in text
    config = ElementTree.fromstring(text[text.index("<?xml") : text.index("</configuration>") + 16].encode())
    (source,) = config.iterfind("packageSources/add")
    assert (source.get("value"), source.get("protocolVersion")) == (f"{proxy.url}/v3/index.json", "3")
    assert source.get("allowInsecureConnections") == "true"


async def test_the_source_that_it_prints_is_a_service_index(feed: FakeFeed, cache: Path) -> None:
    async with proxying(feed, cache) as proxy:
        status, body = await fetch(proxy, "/v3/index.json")

    assert status == 200
    assert {row["@id"] for row in json.loads(body)["resources"] if row["@type"] == "PackageBaseAddress/3.0.0"} == {
        f"{proxy.url}/v3/content/"
    }


async def test_the_environment_can_say_everything(feed: FakeFeed, cache: Path, tmp_path: Path) -> None:
    file = tmp_path / "proxy.toml"
    file.write_text(
        '[server]\nlisten = "127.0.0.1:1"\n[log]\nlevel = "error"\n[upstreams.mine]\nurl = "' + NOBODY + '"\n'
    )
    environ = {
        "NUGETPROXY_SERVER__LISTEN": "127.0.0.2:0",
        "NUGETPROXY_CACHE__DIRECTORY": str(cache),
        "NUGETPROXY_LOG__LEVEL": "info",
        "NUGETPROXY_UPSTREAMS__MINE__URL": feed.index_url,
    }
    async with ProxyProcess("--config", file, listen=None, environ=environ) as proxy:
        await proxy.ready()
        await proxy.logged("proxy.started", address="127.0.0.2")

    assert proxy.url.startswith("http://127.0.0.2:")
    assert f"Proxying mine: {feed.index_url}" in proxy.banner
    assert (cache / "mine" / "packages").is_dir()


async def test_the_cache_is_the_users_unless_said_otherwise(feed: FakeFeed, tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "xdg")}
    async with ProxyProcess("--upstream", feed.index_url, environ=environ) as proxy:
        await proxy.ready()

    (line,) = (line for line in proxy.banner if line.startswith("Storing in "))
    directory = Path(line.removeprefix("Storing in ").partition(" (")[0])
    assert directory.is_relative_to(tmp_path)
    assert (directory / "lock").is_file()


def refused(*arguments: object, **environ: str) -> subprocess.CompletedProcess[str]:
    """What a start that must fail says."""
    return subprocess.run(
        [sys.executable, "-m", "nugetproxy", "serve", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT,
        cwd=ROOT,
        env=clean_environ() | environ,
    )


def test_every_mistake_in_the_configuration_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "proxy.toml"
    file.write_text('[server]\nlisen = "127.0.0.1:0"\n[cache]\nmax_size = "many"\n')

    result = refused("--config", file, "--cache-dir", tmp_path / "cache", NUGETPROXY_LOG__LEVEL="loud")

    assert (result.returncode, result.stdout) == (78, "")
    lines = result.stderr.splitlines()
    assert len(lines) == 3
    for words in (("server.lisen", "server.listen"), ("cache.max_size",), ("NUGETPROXY_LOG__LEVEL", "log.level")):
        (line,) = (line for line in lines if words[0] in line)
        assert all(word in line for word in words)
    assert not (tmp_path / "cache").exists()


def test_an_address_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        result = refused("--listen", address, "--upstream", NOBODY, "--cache-dir", tmp_path / "cache")

    assert result.returncode == 75
    (line,) = result.stderr.splitlines()
    assert address in line
    assert "in use" in line


async def test_a_second_instance_is_told_who_is_first(feed: FakeFeed, cache: Path) -> None:
    feed.add(SMALL)
    async with proxying(feed, cache) as first:
        await first.ready()
        second = await asyncio.to_thread(
            refused, "--listen", "127.0.0.1:0", "--upstream", feed.index_url, "--cache-dir", cache
        )

        assert second.returncode == 75
        (line,) = second.stderr.splitlines()
        assert re.search(rf"\bprocess {first.pid}\b", line)
        assert str(cache) in line
        assert await fetch(first, PACKAGE) == (200, SMALL)


TWENTY_STARTS = 120.0
"""Seconds; each start is most of a second of one processor."""


@pytest.mark.slow
@pytest.mark.timeout(TWENTY_STARTS + 30)
async def test_of_twenty_started_at_once_exactly_one_runs(feed: FakeFeed, cache: Path) -> None:
    proxies = [proxying(feed, cache) for _ in range(20)]
    try:
        await asyncio.gather(*(proxy.start() for proxy in proxies))
        ends = {asyncio.create_task(proxy.ended(TWENTY_STARTS)): proxy for proxy in proxies}
        done: set[asyncio.Task[int]] = set()
        while len(done) < 19:
            done |= (await asyncio.wait(set(ends) - done, return_when=asyncio.FIRST_COMPLETED))[0]
        ((running, winner),) = ((task, proxy) for task, proxy in ends.items() if task not in done)

        await winner.ready()
        assert [task.result() for task in done] == [75] * 19
        losers = [proxy for proxy in proxies if proxy is not winner]
        assert all(f"process {winner.pid} " in "".join(loser.errors) for loser in losers)
        assert not any(loser.url for loser in losers)
        winner.send(signal.SIGTERM)
        assert await running == 0
    finally:
        await asyncio.gather(*(proxy.kill() for proxy in proxies))


async def test_kill_9_frees_the_directory(feed: FakeFeed, cache: Path) -> None:
    async with proxying(feed, cache) as first:
        await first.ready()
        await first.kill()
        async with proxying(feed, cache) as second:
            await second.ready()
            assert str(second.pid) in (cache / "lock").read_text()


async def test_a_directory_removed_under_it_is_taken_again(feed: FakeFeed, cache: Path) -> None:
    feed.add(SMALL)
    async with proxying(feed, cache) as first:
        await first.ready()
        shutil.rmtree(cache, ignore_errors=True)  # the proxy may write something meanwhile
        await first.logged("lock.removed", directory=str(cache))
        second = await asyncio.to_thread(refused, "--upstream", feed.index_url, "--cache-dir", cache)

        assert second.returncode == 75
        assert f"process {first.pid} " in second.stderr
        assert await fetch(first, PACKAGE) == (200, SMALL)


async def test_a_directory_that_another_one_has_taken_is_left_to_it(feed: FakeFeed, cache: Path) -> None:
    async with proxying(feed, cache) as first:
        await first.ready()
        shutil.rmtree(cache, ignore_errors=True)  # the proxy may write something meanwhile
        with DirectoryLock(cache):
            assert await first.ended() == 75
        assert f"process {os.getpid()} has used it since" in "".join(first.errors)


async def test_a_start_names_what_no_upstream_needs_any_more(feed: FakeFeed, cache: Path) -> None:
    (cache / "gone" / "packages").mkdir(parents=True)
    (cache / "gone" / "packages" / "file").write_bytes(bytes(3 * 1024))
    async with proxying(feed, cache) as proxy:
        event = await proxy.logged("upstream.leftover", upstream="gone", size="3 KiB")
    assert event["detail"].endswith(f"remove it with: rm -r {cache}/gone")


async def test_another_feeds_packages_are_not_served_as_ones_own(feed: FakeFeed, cache: Path) -> None:
    feed.add(SMALL)
    async with ProxyProcess("--cache-dir", cache, environ=named_up(feed.index_url)) as proxy:
        assert await fetch(proxy, PACKAGE) == (200, SMALL)
    async with ProxyProcess("--cache-dir", cache, environ=named_up(NOBODY)) as proxy:
        event = await proxy.logged("upstream.url_changed", upstream="up")
        assert (await fetch(proxy, PACKAGE))[0] == 503
    assert f"its packages came from {feed.index_url.removeprefix('http://')} " in event["detail"]
    async with ProxyProcess("--cache-dir", cache, environ=named_up(feed.index_url)) as proxy:
        await feed.set_mode("refused")
        assert await fetch(proxy, PACKAGE) == (200, SMALL)


def named_up(url: str) -> dict[str, str]:
    return {"NUGETPROXY_UPSTREAMS__UP__URL": url}


async def test_leftovers_of_a_crash_are_swept_at_the_start(feed: FakeFeed, cache: Path) -> None:
    async with proxying(feed, cache) as proxy:
        await proxy.ready()
        (staging,) = cache.glob("*/staging")
        await proxy.kill()
        for name in ("0123.part", "4567.part", "push-89ab"):
            (staging / name).write_bytes(b"PK\x03\x04 half a package")
        await proxy.start()
        await proxy.listening()

        assert list(staging.iterdir()) == []
        await proxy.logged("staging.swept", files=3)
        assert (await metrics(proxy))["nugetproxy_orphans_removed_total"] == 3


# --- health and metrics ---


async def test_it_lives_before_it_is_ready(feed: FakeFeed, cache: Path) -> None:
    await feed.set_mode("refused")
    async with proxying(feed, cache) as proxy:
        assert await fetch(proxy, "/health/live") == (200, b"alive\n")
        status, reasons = await readiness(proxy)
        assert status == 503
        assert "refused" in reasons
        assert await fetch(proxy, "/health/live") == (200, b"alive\n")

        await feed.set_mode("up")
        await proxy.ready()
        assert await readiness(proxy) == (200, "")


async def test_a_slow_upstream_is_a_reason_too(feed: FakeFeed, cache: Path) -> None:
    await feed.set_mode("hang")
    async with proxying(feed, cache) as proxy:
        status, reasons = await readiness(proxy)
        assert status == 503
        assert "slow" in reasons


async def test_a_warm_directory_is_ready_without_upstream(feed: FakeFeed, cache: Path) -> None:
    feed.add(LARGE)
    async with proxying(feed, cache) as proxy:
        assert (await fetch(proxy, PACKAGE))[0] == 200
        versions = await fetch(proxy, VERSIONS)
        assert await proxy.stop() == 0

        await feed.set_mode("refused")
        await proxy.start()
        await proxy.listening()
        assert await readiness(proxy) == (200, "")
        assert await fetch(proxy, PACKAGE) == (200, LARGE)
        assert await fetch(proxy, VERSIONS) == versions


async def metrics(proxy: ProxyProcess) -> dict[str, float]:
    """Every sample without labels, and the sum over the labels of the others."""
    status, body = await fetch(proxy, "/metrics")
    assert status == 200
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
    return sums


async def test_metrics_are_prometheus_text(feed: FakeFeed, cache: Path) -> None:
    feed.add(SMALL)
    async with proxying(feed, cache) as proxy:
        before = await metrics(proxy)
        await fetch(proxy, PACKAGE)
        after = await metrics(proxy)

    assert after["nugetproxy_received_bytes_total"] - before["nugetproxy_received_bytes_total"] >= len(SMALL)
    assert after["nugetproxy_store_packages"] == 1
    assert after["nugetproxy_flights"] == 0


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
async def test_metrics_are_not_for_the_clients_of_a_front_proxy(feed: FakeFeed, cache: Path, header: str) -> None:
    async with proxying(feed, cache) as proxy:
        assert (await fetch(proxy, "/metrics", **{header: "127.0.0.1"}))[0] == 404
        assert (await fetch(proxy, "/metrics"))[0] == 200


def own_address() -> str:
    """An address of this machine that is not a loopback one; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but the loopback one")
        return str(probe.getsockname()[0])


async def test_metrics_are_for_this_machine_only(feed: FakeFeed, cache: Path) -> None:
    address = own_address()
    arguments = ("--upstream", feed.index_url, "--cache-dir", cache)
    async with ProxyProcess(*arguments, listen="0.0.0.0:0") as proxy:
        statuses = {}
        for host in ("127.0.0.1", address):
            proxy.url = f"http://{host}:{proxy.port}"
            statuses[host] = [(await fetch(proxy, path))[0] for path in ("/metrics", "/health/live")]

    assert statuses == {"127.0.0.1": [200, 200], address: [404, 200]}


async def test_a_socket_for_both_families_knows_ipv4_addresses_as_such(feed: FakeFeed, cache: Path) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    address = own_address()
    trusted = {"NUGETPROXY_SERVER__TRUSTED_PROXIES": "127.0.0.1"}
    arguments = ("--upstream", feed.index_url, "--cache-dir", cache)
    async with ProxyProcess(*arguments, listen="[::]:0", environ=trusted) as proxy:
        bases = {}
        for host, headers in ((address, {}), ("127.0.0.1", {"X-Forwarded-Host": "nuget.example"}), ("[::1]", {})):
            proxy.url = f"http://{host}:{proxy.port}"
            status, body = await fetch(proxy, "/v3/index.json", **headers)
            assert status == 200, body
            bases[host] = json.loads(body)["resources"][0]["@id"].partition("/v3/")[0]
        assert bases == {
            address: f"http://{address}:{proxy.port}",
            "127.0.0.1": "http://nuget.example",
            "[::1]": f"http://[::1]:{proxy.port}",
        }
        proxy.url = f"http://127.0.0.1:{proxy.port}"
        assert (await fetch(proxy, "/metrics"))[0] == 200
        for client in (address, "127.0.0.1", "::1"):
            await proxy.logged("request", client=client)


# --- the stop ---

POINTS = 20
SIZES = (3_000, 90_000, 1_000_000)


async def test_downloads_are_finished_before_the_end(feed: FakeFeed, cache: Path) -> None:
    """The upstream stands still at 20 points of the bodies of three sizes while SIGTERM arrives."""
    gate = asyncio.Event()
    wanted: dict[str, bytes] = {}
    for size in SIZES:
        for point in range(POINTS):
            held = feed.add(make_nupkg(f"Acme.S{size}", f"{point}.0.0", size=size))
            at = point * (len(held.content) - 1) // (POINTS - 1)
            name = f"{held.lower}/{held.url_version}/{held.lower}.{held.url_version}.nupkg"
            feed.origin.routes[f"/v3-flatcontainer/{name}"] = Script(body=held.content, gate=gate, gate_at=at)
            wanted[f"/v3/content/{name}"] = held.content
    async with proxying(feed, cache) as proxy:
        await proxy.ready()
        feed.requests.clear()
        downloads = {path: asyncio.create_task(fetch(proxy, path)) for path in wanted}
        await until(lambda: len(feed.requests) == len(wanted))

        proxy.send(signal.SIGTERM)
        await proxy.logged("proxy.draining", connections=len(wanted))
        await until_refused(proxy.port)
        gate.set()

        for path, content in wanted.items():
            assert await downloads[path] == (200, content), path
        assert await proxy.ended() == 0
    assert proxy.errors == []
    (folder,) = cache.glob("*/packages")
    assert {path.read_bytes() for path in folder.rglob("*.nupkg")} == set(wanted.values())


async def until_refused(port: int) -> None:
    async with asyncio.timeout(LIMIT):
        while not await refuses_connections(port):
            await asyncio.sleep(0.01)


async def test_an_answer_that_is_sent_but_not_read_is_waited_for(feed: FakeFeed, cache: Path) -> None:
    """Sizes around what the kernel takes: of some answers the rest is still in the proxy, whose handler has ended."""
    contents = {
        f"/v3/content/acme.late/{number}.0.0/acme.late.{number}.0.0.nupkg": feed.add(
            make_nupkg("Acme.Late", f"{number}.0.0", size=number * 40_000)
        ).content
        for number in range(1, 40)
    }
    async with proxying(feed, cache) as proxy:
        await proxy.ready()
        clients = {path: await LateClient.ask(proxy, path) for path in contents}
        for client in clients.values():
            await client.wait_for_the_head()
        await until_everything_landed(proxy)
        proxy.send(signal.SIGTERM)
        await proxy.logged("proxy.draining")
        sent = [event["path"] for event in proxy.events if event.get("path") in contents]
        late, *others = contents.keys() - set(sent)
        for path in others:
            clients[path].close()
        assert 1 < len(sent) < len(contents)

        ending = asyncio.create_task(proxy.ended())
        # What is sent lies in the kernel, which delivers it in any case; the end of one answer does not.
        await asyncio.wait((ending,), timeout=0.5)
        assert not ending.done(), "it left an answer half sent"
        for path in (late, *sent):
            assert await clients[path].rest() == contents[path], path
        assert await ending == 0


async def until_everything_landed(proxy: ProxyProcess) -> None:
    async with asyncio.timeout(LIMIT):
        while (await metrics(proxy))["nugetproxy_flights"]:
            await asyncio.sleep(0.01)


class LateClient:
    """A client with a small receive buffer that reads when told to."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.setblocking(False)

    @classmethod
    async def ask(cls, proxy: ProxyProcess, path: str) -> LateClient:
        client = cls(path)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client._socket, ("127.0.0.1", proxy.port))
        request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{proxy.port}\r\nAccept-Encoding: identity\r\n\r\n"
        await loop.sock_sendall(client._socket, request.encode())
        return client

    async def wait_for_the_head(self) -> None:
        """Until the answer has begun, which is left in the socket."""
        waiting = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().add_reader(self._socket, lambda: waiting.done() or waiting.set_result(None))
        async with asyncio.timeout(LIMIT):
            await waiting
        asyncio.get_running_loop().remove_reader(self._socket)

    def close(self) -> None:
        """Leave without reading."""
        self._socket.close()

    async def rest(self) -> bytes:
        """The body, read until the server closes."""
        answer = bytearray()
        async with asyncio.timeout(LIMIT):
            while piece := await asyncio.get_running_loop().sock_recv(self._socket, 65536):
                answer += piece
        self.close()
        head, _, body = bytes(answer).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        return body


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_proxy_without_work_stops_at_once(feed: FakeFeed, cache: Path, number: signal.Signals) -> None:
    async with proxying(feed, cache) as proxy, aiohttp.ClientSession() as idle:
        async with idle.get(f"{proxy.url}/health/live") as answer:
            await answer.read()  # the connection stays open
        proxy.send(number)
        async with asyncio.timeout(5):
            assert await proxy.ended() == 0
        await proxy.logged("proxy.stopped", code=0)
    assert proxy.errors == []


@pytest.mark.parametrize(("first", "second"), [(signal.SIGTERM, signal.SIGINT), (signal.SIGINT, signal.SIGTERM)])
async def test_a_second_signal_does_not_wait(
    feed: FakeFeed, cache: Path, first: signal.Signals, second: signal.Signals
) -> None:
    async with proxying(feed, cache) as proxy:
        download = await stuck(feed, proxy)
        proxy.send(first)
        await proxy.logged("proxy.draining")
        proxy.send(second)
        async with asyncio.timeout(5):
            assert await proxy.ended() == 128 + second
        with pytest.raises(aiohttp.ClientError):
            await download
        assert proxy.errors == []

        await proxy.start()
        await proxy.listening()
        (staging,) = cache.glob("*/staging")
        assert list(staging.iterdir()) == []


async def test_a_download_that_never_ends_is_given_up(feed: FakeFeed, cache: Path) -> None:
    async with proxying(feed, cache, server__drain="2s") as proxy:
        download = await stuck(feed, proxy)
        began = asyncio.get_running_loop().time()
        proxy.send(signal.SIGTERM)
        assert await proxy.ended() == 0
        assert 2.0 <= asyncio.get_running_loop().time() - began < 3.9  # not twice as long
        with pytest.raises(aiohttp.ClientError):
            await download
    assert proxy.errors == []


async def stuck(feed: FakeFeed, proxy: ProxyProcess) -> asyncio.Task[tuple[int, bytes]]:
    """A download whose upstream says nothing after the half."""
    feed.origin.routes[UP_PACKAGE] = Script(body=LARGE, stall_at=len(LARGE) // 2)
    download = asyncio.create_task(fetch(proxy, PACKAGE))
    await until(lambda: feed.count(UP_PACKAGE) == 1)
    return download


# --- the log ---

CANARY = "canary-key-5f1c0b"


async def test_the_log_is_one_object_per_request_without_keys(feed: FakeFeed, cache: Path) -> None:
    feed.api_key = CANARY
    feed.add(SMALL)
    paths = [PACKAGE, PACKAGE, VERSIONS, "/v3/content/nobody/index.json", "/nothing", "/health/live"]
    async with proxying(feed, cache, log__level="debug") as proxy:
        for path in paths:
            await fetch(proxy, path)
        pushed = make_nupkg("Acme.B", "1.0.0")
        assert await push(proxy, pushed) == 201
        assert await push(proxy, pushed) == 409
        await feed.set_mode("refused")
        assert await push(proxy, pushed) >= 500
        await fetch(proxy, f"/v3/query?q={CANARY}")
        assert await proxy.stop() == 0

    events = [json.loads(line) for line in proxy.output]
    assert all({"event", "level", "timestamp"} <= event.keys() for event in events)
    requests = [(event["method"], event["path"]) for event in events if event["event"] == "request"]
    gets = [("GET", path) for path in paths]
    assert requests == [*gets, *[("PUT", "/v3/package")] * 3, ("GET", "/v3/query")]
    statuses = [event["status"] for event in events if event["event"] == "request"]
    assert statuses[:8] == [200, 200, 200, 404, 404, 200, 201, 409]
    assert [seen.headers["X-NuGet-ApiKey"] for seen in feed.requests if seen.method == "PUT"] == [CANARY] * 2
    assert CANARY not in "\n".join([*proxy.output, *proxy.errors])
    stored = [path.read_bytes() for path in cache.rglob("*") if path.is_file()]
    assert stored
    assert not any(CANARY.encode() in content for content in stored)


async def push(proxy: ProxyProcess, nupkg: bytes) -> int:
    form = aiohttp.FormData()
    form.add_field("package", nupkg, filename="package.nupkg", content_type="application/octet-stream")
    headers = {"X-NuGet-ApiKey": CANARY}
    async with (
        aiohttp.ClientSession() as session,
        session.put(f"{proxy.url}/v3/package", data=form, headers=headers) as answer,
    ):
        return answer.status


def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture(params=["closed", "full"])
def unread_pipe(request: pytest.FixtureRequest) -> Iterator[int]:
    """The writing end of a pipe that nobody reads: its reader is gone, or never takes anything."""
    reader, writer = os.pipe()
    if request.param == "closed":
        os.close(reader)
    else:
        size = fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
        os.write(writer, b"x" * size)
    yield writer
    os.close(writer)
    if request.param == "full":
        os.close(reader)


async def test_a_log_that_nobody_reads_holds_nothing_up(feed: FakeFeed, cache: Path, unread_pipe: int) -> None:
    feed.add(LARGE)
    arguments = ("--upstream", feed.index_url, "--cache-dir", cache)
    async with ProxyProcess(*arguments, listen=free_address(), stdout=unread_pipe) as proxy:
        await proxy.ready()
        for _ in range(200):  # far more than a pipe of one page takes
            assert await fetch(proxy, PACKAGE) == (200, LARGE)
        assert await proxy.stop() == 0
    assert proxy.errors == []
