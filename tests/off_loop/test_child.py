"""The process for large documents: what it is told, what it may do, when it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from nugetproxy.nuget.documents.check import check
from nugetproxy.nuget.documents.exact_json import InvalidDocument
from nugetproxy.nuget.documents.registration import registration_versions
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.version import Version
from nugetproxy.off_loop import CHILD, HEAVY, off_loop
from nugetproxy.off_loop.child import Child, WorkLost
from nugetproxy.off_loop.values import Packed, pack_call

ROOT = Path(__file__).parent.parent.parent
LIMIT = 30.0
REGISTRATION = b'{"items":[{"items":[{"catalogEntry":{"id":"Foo","version":"1.0"}}]}]}'


def versions_of(body: bytes) -> Packed:
    return pack_call(registration_versions, [[body]], {})


async def gone(pid: int) -> None:
    """Wait until there is no such process, nor what is left of one that nobody has asked for."""
    async with asyncio.timeout(LIMIT):
        while Path(f"/proc/{pid}").exists():
            await asyncio.sleep(0.01)


@pytest.fixture
async def make() -> AsyncIterator[Callable[..., Child]]:
    made: list[Child] = []

    def make(**times: float) -> Child:
        made.append(Child(**times))
        return made[-1]

    yield make
    for child in made:
        await child.end()


@pytest.fixture
def child(make: Callable[..., Child]) -> Child:
    return make()


async def test_it_returns_what_the_function_returns(child: Child) -> None:
    assert await child.run(versions_of(REGISTRATION)) == (Version(1),)


async def test_it_raises_what_the_function_raises(child: Child) -> None:
    with pytest.raises(InvalidDocument, match="markup"):
        await child.run(pack_call(check, [Kind.REGISTRATION, b"<html>"], {"id": "foo"}))


async def test_one_process_does_one_thing_after_the_other(child: Child) -> None:
    bodies = [REGISTRATION + b" " * number for number in range(5)]
    await asyncio.gather(*(child.run(versions_of(body)) for body in bodies))
    first = child.pid
    await child.run(versions_of(REGISTRATION + b" " * 9))
    assert (child.pid, child.jobs) == (first, 6)


async def test_what_was_found_out_is_not_found_out_again(child: Child) -> None:
    for _ in range(2):
        assert await child.run(versions_of(REGISTRATION)) == (Version(1),)
        with pytest.raises(InvalidDocument):
            await child.run(versions_of(b"<html>"))
    assert child.jobs == 2


async def test_it_inherits_no_socket_and_no_secret(child: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEED_PASSWORD", "not-for-children")
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    for listening in server.sockets:  # as one that systemd has passed
        os.set_inheritable(listening.fileno(), True)
    async with server:
        await child.run(versions_of(REGISTRATION))
        at = Path(f"/proc/{child.pid}")
        open_files = {str(one.readlink()).partition(":")[0] for one in (at / "fd").iterdir()}
        libraries = {one for one in open_files if ".so." in one}  # libffi keeps itself open, from 3.5 on
        assert open_files - libraries == {"pipe", "/dev/null"}
        assert b"not-for-children" not in (at / "environ").read_bytes()
        assert os.getpgid(child.pid or 0) != os.getpgid(0), "Ctrl-C is for us"


async def test_it_is_gone_when_there_was_nothing_to_do_for_a_while(make: Callable[..., Child]) -> None:
    child = make(idle=0.05)
    await child.run(versions_of(REGISTRATION))
    pid = child.pid
    assert pid is not None
    await gone(pid)
    assert child.pid is None
    assert await child.run(versions_of(REGISTRATION + b" ")) == (Version(1),), "another one is started"


async def test_it_stays_while_there_is_something_to_do(make: Callable[..., Child]) -> None:
    child = make(idle=LIMIT)
    await child.run(versions_of(REGISTRATION))
    pid = child.pid
    child._retire(child.jobs - 1)  # the time of an earlier job is over
    assert child.pid == pid


async def test_one_that_was_killed_is_replaced(child: Child) -> None:
    await child.run(versions_of(REGISTRATION))
    pid = child.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert await child.run(versions_of(REGISTRATION + b" ")) == (Version(1),)
    assert child.pid != pid


async def test_work_that_takes_too_long_ends_with_its_process(make: Callable[..., Child]) -> None:
    child = make(limit=0.0)
    with pytest.raises(WorkLost, match=r"took too long.*SIGKILL.*limits\.document"):
        await child.run(versions_of(REGISTRATION))
    assert child.pid is None


async def test_whatever_else_goes_wrong_is_said(child: Child) -> None:
    with pytest.raises(WorkLost, match="TypeError"):
        await child.run(pack_call(registration_versions, [], {}))
    assert await child.run(versions_of(REGISTRATION)) == (Version(1),), "the process goes on"


async def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    program = f"""
import asyncio, os, signal
from nugetproxy.nuget.documents.registration import registration_versions
from nugetproxy.off_loop.child import Child
from nugetproxy.off_loop.values import pack_call

async def main():
    child = Child()
    await child.run(pack_call(registration_versions, [[{REGISTRATION!r}]], {{}}))
    os.kill(child.pid, signal.SIGSTOP)  # it cannot see that its pipes were closed
    print(child.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    async with asyncio.timeout(LIMIT):
        said, wrong = await parent.communicate()
    assert parent.returncode == -signal.SIGKILL, wrong.decode()
    status = Path(f"/proc/{int(said)}/stat")
    async with asyncio.timeout(LIMIT):
        while status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z":  # init may be slow
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(("size", "jobs"), [(HEAVY, 0), (HEAVY + 1, 1)])
async def test_only_what_is_large_is_done_there(size: int, jobs: int) -> None:
    before, body = CHILD.jobs, REGISTRATION + f"{size:99}".encode().translate(None, b"0123456789")
    try:
        assert await off_loop(size, registration_versions, [body + b" " * (size % 7)]) == (Version(1),)
    finally:
        await CHILD.end()
    assert CHILD.jobs - before == jobs


async def test_what_is_not_plain_is_done_in_a_thread() -> None:
    before = CHILD.jobs
    assert await off_loop(HEAVY + 1, registration_versions, iter([REGISTRATION])) == (Version(1),)
    assert await off_loop(HEAVY + 1, len, REGISTRATION) == len(REGISTRATION)
    assert CHILD.jobs == before
