"""Ctrl-C ends a long command at once, with its own exit code; nothing is left half done."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from nugetproxy.jobs.importing import Importing
from nugetproxy.jobs.inner_client import InnerClient
from nugetproxy.jobs.progress import Unseen
from tests.fakes.asking import until
from tests.fakes.feed import FakeFeed
from tests.fakes.origin import Script
from tests.fakes.packages import make_nupkg
from tests.fakes.process import LIMIT, ROOT, ProxyProcess, clean_environ
from tests.fakes.proxy import Proxy
from tests.jobs.test_bundles import Options, box, held, keys, warmed
from tests.jobs.test_repository import write
from tests.test_control import cli

pytestmark = pytest.mark.slow  # every test starts processes
INTERRUPTED = 130
SLOW = make_nupkg("Acme.B", "2.0.0", size=600_000)
UP_SLOW = "/v3-flatcontainer/acme.b/2.0.0/acme.b.2.0.0.nupkg"


@pytest.fixture
async def gate(feed: FakeFeed) -> AsyncIterator[asyncio.Event]:
    """While it is shut, Acme.B stops in the middle of its way; Acme.A comes at once."""
    feed.add(make_nupkg("Acme.A", "1.0.0", size=3000))
    feed.add(SLOW)
    gate = asyncio.Event()
    feed.origin.routes[UP_SLOW] = Script(body=SLOW, gate=gate, gate_at=300_000)
    yield gate
    gate.set()


@asynccontextmanager
async def maybe_running(options: Options, *, running: bool) -> AsyncIterator[None]:
    if not running:
        yield
        return
    async with ProxyProcess(*options) as proxy:
        await proxy.ready()
        yield


either = pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])


async def begun(*words: object) -> asyncio.subprocess.Process:
    """A command of its own process."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "nugetproxy", *map(str, words)),
        cwd=ROOT,
        env=clean_environ(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def ended(command: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    """Exit code, stdout, stderr."""
    async with asyncio.timeout(LIMIT):
        out, err = await command.communicate()
    return command.returncode, out.decode(), err.decode()


async def interrupted(command: asyncio.subprocess.Process) -> None:
    """Press Ctrl-C; it says so, nothing else."""
    command.send_signal(signal.SIGINT)
    code, _, err = await ended(command)
    assert code == INTERRUPTED, err
    assert err.splitlines()[-1] == "Ended; what is done stays. Run it again to go on."
    assert "Traceback" not in err


async def asked(feed: FakeFeed, path: str, times: int = 1) -> None:
    async with asyncio.timeout(LIMIT):
        while feed.count(path) < times:
            await asyncio.sleep(0.01)


def left_over(root: Path, name: str) -> list[str]:
    """What no finished command leaves: staged downloads, folders of transfers."""
    cache = root / name
    return [path.name for path in (*(cache / "up" / "staging").glob("*"), *(cache / "run").glob("transfer-*"))]


@either
@pytest.mark.parametrize(
    "words", [("warm", "{root}/wanted.txt"), ("mirror", "Acme.A", "Acme.B")], ids=["warm", "mirror"]
)
async def test_what_was_fetched_stays_the_rest_is_fetched_the_next_time(
    feed: FakeFeed, gate: asyncio.Event, tmp_path: Path, words: tuple[str, ...], running: bool
) -> None:
    options = box(tmp_path, "first", feed)
    write(tmp_path, {"wanted.txt": "Acme.A@1.0.0\nAcme.B@2.0.0"})
    command = [word.format(root=tmp_path) for word in words]
    async with maybe_running(options, running=running):
        process = await begun(*command, *options)
        await asked(feed, UP_SLOW)
        await until(lambda: held(tmp_path, "first") == {"acme.a.1.0.0.nupkg.sha512"})
        await interrupted(process)
        assert held(tmp_path, "first") == {"acme.a.1.0.0.nupkg.sha512"}
        if not running:
            assert left_over(tmp_path, "first") == []
        gate.set()
        code, out, err = await cli(*command, *options)
        assert code == 0, out + err
        await until(lambda: len(held(tmp_path, "first")) == 2)
        assert left_over(tmp_path, "first") == []


@either
async def test_a_mirror_that_follows_is_ended_so(
    feed: FakeFeed, gate: asyncio.Event, tmp_path: Path, running: bool
) -> None:
    options, place = box(tmp_path, "first", feed), tmp_path / "first" / "run" / "mirror.json"
    async with maybe_running(options, running=running):
        process = await begun("mirror", "Acme.A", "--follow", *options)
        async with asyncio.timeout(LIMIT):
            while not place.exists() or b'"complete":true' not in place.read_bytes():
                await asyncio.sleep(0.01)
        await interrupted(process)
        assert held(tmp_path, "first") == {"acme.a.1.0.0.nupkg.sha512"}
        assert [path.name for path in place.parent.glob("mirror*")] == ["mirror.json"]


@either
async def test_a_verification_ends_in_the_middle_of_a_repair(
    feed: FakeFeed, gate: asyncio.Event, tmp_path: Path, running: bool
) -> None:
    gate.set()
    options = await warmed(tmp_path, feed, "Acme.A@1.0.0", "Acme.B@2.0.0")
    configuration = tmp_path / "first.toml"
    configuration.write_text(f'{configuration.read_text()}[cache]\nscrub_rate = "0"\n')  # nobody else finds it
    (package,) = (tmp_path / "first" / "up" / "packages").glob("acme.b/*/*.nupkg")
    async with maybe_running(options, running=running):
        package.chmod(0o600)
        with package.open("r+b") as file:  # never shorter, whoever looks at it meanwhile
            file.seek(-1, os.SEEK_END)
            file.write(b"x")
        gate.clear()
        process = await begun("verify", *options)
        await asked(feed, UP_SLOW, 2)
        await interrupted(process)
        assert held(tmp_path, "first") == {"acme.a.1.0.0.nupkg.sha512"}, "it was set aside"
        gate.set()
        code, out, err = await cli("verify", *options)
        assert (code, "0 damaged." in out) == (0, True), out + err
    async with ProxyProcess(*options):
        assert (await cli("warm", tmp_path / "wanted.txt", *options))[0] == 0
        await until(lambda: len(held(tmp_path, "first")) == 2)


@either
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_bundle_that_is_not_whole_is_not_there(
    feed: FakeFeed, gate: asyncio.Event, tmp_path: Path, running: bool, number: signal.Signals
) -> None:
    gate.set()
    options = await warmed(tmp_path, feed, "Acme.A@1.0.0", "Acme.B@2.0.0")
    pipe, bundle = tmp_path / "b.tar.zst.part", tmp_path / "b.tar.zst"
    os.mkfifo(pipe)  # nothing goes on as long as nobody reads it
    async with maybe_running(options, running=running):
        process = await begun("export", bundle, *options)
        reader = await asyncio.to_thread(pipe.open, "rb")
        assert await asyncio.to_thread(reader.read, 1000)
        process.send_signal(number)
        drained = asyncio.create_task(asyncio.to_thread(reader.read))
        code, out, err = await ended(process)
        assert (code, out) == (INTERRUPTED, ""), err
        assert len(await drained) < len(SLOW)
        reader.close()
        assert not pipe.exists()
        assert not bundle.exists()
        assert left_over(tmp_path, "first") == []
        code, out, err = await cli("export", bundle, *options)
        assert (code, bundle.exists()) == (0, True), out + err


@either
async def test_an_import_that_was_not_verified_leaves_nothing(
    feed: FakeFeed, gate: asyncio.Event, tmp_path: Path, running: bool
) -> None:
    gate.set()
    first = await warmed(tmp_path, feed, "Acme.A@1.0.0", "Acme.B@2.0.0")
    private, public = keys(tmp_path, "ours")
    await cli("export", tmp_path / "b", "--sign", private, *first)
    second = box(tmp_path, "second", feed)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)  # nothing goes on until somebody has written the key
    async with maybe_running(second, running=running):
        process = await begun("import", tmp_path / "b", "--trust", pipe, *second)
        writer = await asyncio.to_thread(pipe.open, "wb")
        assert len(left_over(tmp_path, "second")) == 1, "the folder of the transfer"
        process.send_signal(signal.SIGINT)
        writer.write(public.read_bytes())
        writer.close()
        code, out, err = await ended(process)
        assert (code, out) == (INTERRUPTED, ""), err
        assert held(tmp_path, "second") == set()
        assert left_over(tmp_path, "second") == []
        assert (await cli("import", tmp_path / "b", "--trust", public, *second))[0] == 0
        assert len(held(tmp_path, "second")) == 2


class Slow(Unseen):
    """Somebody who holds up the work at one of its steps."""

    def __init__(self, step: str) -> None:
        self._step = step
        self.there, self.on = threading.Event(), threading.Event()

    def _hold(self, step: str) -> None:
        if step == self._step:
            self.there.set()
            self.on.wait(LIMIT)

    def moved(self, size: int) -> None:
        self._hold("moved")

    def done(self, what: str) -> None:
        self._hold("done")


async def bundle_of(feed: FakeFeed, root: Path) -> Path:
    first = await warmed(root, feed, "Acme.A@1.0.0", "Acme.B@2.0.0")
    assert (await cli("export", root / "b", *first))[0] == 0
    return root / "b"


async def test_an_import_that_is_being_unpacked_ends_with_its_thread(
    feed: FakeFeed, gate: asyncio.Event, proxy: Proxy, tmp_path: Path
) -> None:
    gate.set()
    bundle, slow = await bundle_of(feed, tmp_path), Slow("moved")
    job = Importing(InnerClient(lambda: proxy.app.desk, "test"), proxy.directory, slow, upstreams=["up"], into="")
    importing = asyncio.create_task(job.bundle(bundle, None))
    assert await asyncio.to_thread(slow.there.wait, LIMIT)
    assert list((proxy.directory / "run").glob("transfer-*/*"))
    importing.cancel()
    await asyncio.sleep(0)
    assert not importing.done(), "the thread still writes"
    slow.on.set()
    with pytest.raises(asyncio.CancelledError):
        await importing
    job.close()
    assert not list((proxy.directory / "run").glob("transfer-*"))
    assert not list(proxy.packages.glob("*/*"))


async def test_an_import_that_has_begun_to_merge_merges_all(
    feed: FakeFeed, gate: asyncio.Event, proxy: Proxy, tmp_path: Path
) -> None:
    gate.set()
    bundle = await bundle_of(feed, tmp_path)
    halfway = Halfway()
    job = Importing(InnerClient(lambda: proxy.app.desk, "test"), proxy.directory, halfway, upstreams=["up"], into="")
    importing = halfway.task = asyncio.create_task(job.bundle(bundle, None))
    done = await importing
    job.close()
    assert halfway.cancelled
    assert done.taken == 2
    assert len(list(proxy.packages.glob("*/*/*.sha512"))) == 2


async def test_what_came_while_an_import_looked_on_was_held_before(proxy: Proxy, tmp_path: Path) -> None:
    (tmp_path / "a.nupkg").write_bytes(make_nupkg("Acme.A", "1.0.0"))
    asked = InnerClient(lambda: proxy.app.desk, "test")
    for counts in ((1, 0), (0, 1)):
        job = Importing(Early(asked), proxy.directory, Unseen(), upstreams=["up"], into="")
        done = await job.folder(tmp_path)
        job.close()
        assert (done.taken, done.held, done.refused) == (*counts, ())


class Early:
    """Asks what is held before anything is."""

    def __init__(self, proxy: InnerClient) -> None:
        self._proxy = proxy
        self.get = proxy.get

    async def command(self, name: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        if name == "transfer/fits":
            return {"held": [], "refused": {}}
        return await self._proxy.command(name, arguments)


class Halfway(Unseen):
    """Somebody who presses Ctrl-C when the first package is there."""

    task: asyncio.Task[object]
    cancelled = False

    def done(self, what: str) -> None:
        if not self.cancelled:
            self.cancelled = self.task.cancel()
