"""A service manager is told when clients are served, when not, that the event loop lives."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from nugetproxy.web.supervisor import Supervisor
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.process import ProxyProcess

pytestmark = pytest.mark.slow  # most tests start processes


@pytest.fixture(params=["a path", "an abstract name"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """The socket of a service manager with its name in the environment."""
    name = str(tmp_path / "notify") if request.param == "a path" else f"@nugetproxy-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name[1:]}" if name.startswith("@") else name)
        listener.settimeout(20)
        yield listener, name


async def heard(listener: socket.socket, word: str) -> dict[str, str]:
    """The next message with this word in it; the others before it do not matter."""
    while True:
        text = (await asyncio.to_thread(listener.recv, 4096)).decode()
        said = dict(line.split("=", 1) for line in text.splitlines())
        if word in said:
            return said


async def test_it_is_told_what_the_proxy_does(
    manager: tuple[socket.socket, str], feed: FakeFeed, tmp_path: Path
) -> None:
    listener, name = manager
    words = ("--upstream", feed.index_url, "--cache-dir", tmp_path / "cache")
    async with ProxyProcess(*words, environ={"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "400000"}) as proxy:
        assert await heard(listener, "READY") == {"READY": "1", "STATUS": "serving clients"}
        for _ in range(3):
            await heard(listener, "WATCHDOG")
        proxy.send(signal.SIGHUP)
        reloading = await heard(listener, "RELOADING")
        assert int(reloading["MONOTONIC_USEC"]) > 0
        await heard(listener, "READY")
        proxy.send(signal.SIGTERM)
        assert (await heard(listener, "STOPPING"))["STOPPING"] == "1"
        assert await proxy.ended() == 0


async def test_a_manager_that_is_gone_disturbs_nobody(tmp_path: Path, feed: FakeFeed) -> None:
    words = ("--upstream", feed.index_url, "--cache-dir", tmp_path / "cache")
    async with ProxyProcess(*words, environ={"NOTIFY_SOCKET": str(tmp_path / "nobody")}) as proxy:
        await proxy.ready()
        assert await proxy.stop() == 0


@pytest.mark.parametrize(
    ("environ", "beat"),
    [
        ({}, 0.0),
        ({"WATCHDOG_USEC": "60000000"}, 30.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "7"}, 30.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "8"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
    ],
)
def test_signs_of_life_come_twice_as_often_as_they_must(environ: dict[str, str], beat: float) -> None:
    assert Supervisor(environ, 7).beat == beat
    assert environ == {}, "children must not answer"


async def test_without_a_manager_there_is_no_beat(clock: FakeClock) -> None:
    await Supervisor({}, 7).live(clock)
    assert clock.slept == []
