"""The demo runs as a newcomer runs it: real processes, nothing of the network, nothing left behind."""

from __future__ import annotations

import asyncio
import io
import os
import re
import signal
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest
from rich.console import Console

from nugetproxy.demo.packages import nupkg
from nugetproxy.demo.report import COLD, OUTAGE, WARM, sentences, table
from nugetproxy.demo.rounds import Round
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.nuspec import inspect_package

pytestmark = pytest.mark.slow  # it starts two processes and restores
LIMIT = 50.0
"""Seconds; on a machine with nothing else to do it takes five."""
ROW = re.compile(r"(cold|warm|outage): [a-z ]+?\s+(\d+)\s+(\d+)\s+([\d.]+)\s+(\d+)%\s+(\d+)\s+([\d.]+) s")


class Demo:
    """``nugetproxy demo`` as a process, without a dotnet on its PATH, its temporary files in ``place``."""

    def __init__(self, place: Path, *options: str) -> None:
        self._place = place
        self._options = options
        self.output = ""

    async def __aenter__(self) -> Demo:
        environment = {**os.environ, "TMPDIR": str(self._place), "PATH": os.defpath, "COLUMNS": "100"}
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "nugetproxy", "demo", *self._options),
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()

    async def read_until(self, words: str) -> None:
        """Until it has said ``words``."""
        assert self._process.stdout is not None
        async with asyncio.timeout(LIMIT):
            while words not in self.output:
                line = await self._process.stdout.readline()
                assert line, f"it ended without {words!r}:\n{self.output}"
                self.output += line.decode()

    async def end(self, number: signal.Signals | None = None) -> int:
        """Its exit code, after a signal if one is given."""
        if number is not None:
            self._process.send_signal(number)
        async with asyncio.timeout(LIMIT):
            rest, _ = await self._process.communicate()
        self.output += rest.decode()
        return self._process.returncode or 0

    def servers(self) -> list[int]:
        """The processes that it has told of."""
        return [int(pid) for pid in re.findall(r"\(process (\d+)\)", self.output)]

    def nothing_is_left(self) -> None:
        """No server of it runs, no file of it lies around."""
        assert list(self._place.iterdir()) == []
        for pid in self.servers():
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)


async def test_it_shows_a_cold_a_warm_and_an_outage_round(tmp_path: Path) -> None:
    async with Demo(tmp_path) as demo:
        assert await demo.end() == 0, demo.output

    rows = {name: (packages, requests, *rest) for name, packages, requests, *rest in ROW.findall(demo.output)}
    assert list(rows) == [COLD, WARM, OUTAGE], demo.output
    assert len({row[:3] for row in rows.values()}) == 1, "every round gets the same"
    packages, requests = int(rows[WARM][0]), int(rows[WARM][1])
    assert requests == 2 * packages + 1
    assert [rows[name][3] for name in (WARM, OUTAGE)] == ["100", "100"]
    assert int(rows[COLD][4]) >= 2 * packages
    assert rows[WARM][4] == "0"
    assert f"all {requests} answers out of the cache; the upstream was asked for nothing" in demo.output
    assert len(demo.servers()) >= 2
    demo.nothing_is_left()


@pytest.mark.slow
async def test_it_is_kept_until_it_is_interrupted(tmp_path: Path) -> None:
    async with Demo(tmp_path, "--keep") as demo:
        await demo.read_until("Ctrl-C ends")
        assert '<add key="demo" value="http://127.0.0.1:' in demo.output
        assert list(tmp_path.iterdir()) != []

        assert await demo.end(signal.SIGINT) == 0
    demo.nothing_is_left()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_it_leaves_nothing_behind_when_it_is_ended_early(tmp_path: Path, number: signal.Signals) -> None:
    async with Demo(tmp_path) as demo:
        await demo.read_until("Started an upstream")

        assert await demo.end(number) == 130
    demo.nothing_is_left()


def test_its_packages_are_packages() -> None:
    content = nupkg("Demo.A", "1.0.0", ["Demo.B"], 1000)

    nuspec = inspect_package(io.BytesIO(content), PackageIdentity("demo.a", "1.0.0"))
    assert [need.id for group in nuspec.dependency_groups for need in group.dependencies] == ["Demo.B"]
    assert ZipFile(io.BytesIO(content)).testzip() is None
    assert content == nupkg("Demo.A", "1.0.0", ["Demo.B"], 1000)


def one(name: str, client: str, **more: float) -> Round:
    values = {"packages": 3, "requests": 7, "from_cache": 7, "stale": 0, "asked": 0, "size": 1000, "seconds": 0.5}
    return Round(name=name, client=client, **{**values, **more})  # type: ignore[arg-type]


ROUNDS = [
    one(COLD, "HTTP", from_cache=0, asked=6),
    one(WARM, "HTTP", seconds=0.25),
    one(OUTAGE, "HTTP", stale=4),
    one(COLD, "dotnet", from_cache=0, asked=6),
    one(WARM, "dotnet", from_cache=6, asked=1),
    one(OUTAGE, "dotnet", stale=3, seconds=2),
]


def test_the_sentences_say_what_was_counted() -> None:
    first, second = sentences(ROUNDS)

    assert "got 13 of 14 answers" in first
    assert "asked once" in first
    assert "7 of its documents" in second
    assert "0.50 s instead of 0.25 s (HTTP) and 2.00 s instead of 0.50 s (dotnet)" in second


def test_the_table_fits_a_narrow_terminal() -> None:
    console = Console(width=80, file=io.StringIO(), record=True)

    console.print(table(ROUNDS))

    shown = console.export_text()
    assert "outage: no upstream" in shown
    assert "…" not in shown
