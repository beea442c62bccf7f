"""ProxyProcess is the real command in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Self

import aiohttp

ROOT = Path(__file__).parent.parent.parent
UNTIL_PARENT = Path(__file__).parent / "until_parent.py"
LIMIT = 30.0
"""Seconds within which whatever a process is asked for must have happened."""
LINE_LIMIT = 2**20
FREE_PORT = "127.0.0.1:0"
PASS = """
import fcntl, os, sys
given = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 100) for number in sys.argv[1].split(",")]
for at, descriptor in enumerate(given):
    os.dup2(descriptor, 3 + at)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Passes sockets as systemd does (sd_listen_fds(3)), in a process that then becomes the proxy."""
BANNER_END = "</configuration>"
"""The last line of the banner but an empty one."""
LISTENING = re.compile(r"Listening on (https?://(.+):(\d+))/v3/index\.json")


def clean_environ() -> dict[str, str]:
    """The environment without what would configure a proxy."""
    return {name: value for name, value in os.environ.items() if not name.startswith("NUGETPROXY_")}


def until_this_one_ends(*command: str) -> list[str]:
    """The command line that runs ``command`` in a process that is killed when this one, its parent, ends."""
    return [sys.executable, "-S", str(UNTIL_PARENT), str(os.getpid()), *command]


class ProxyProcess:
    """``python -m nugetproxy serve`` on a free port; ``async with`` starts it, waits for its address, ends it.

    ``options`` are further ones of the command line, ``listen`` None leaves that one out. ``environ`` is its whole
    configuration from the environment: the tests' own ``NUGETPROXY_`` variables do not reach it. It may be started
    again once it has ended. ``stdout`` is a descriptor for its output instead of ``output``.
    ``sockets`` are passed to it as a service manager does, by name; ``stdin`` is its standard input. One that does not
    ``survive`` ends with this process, however that ends.
    """

    def __init__(
        self,
        *options: str | Path,
        environ: Mapping[str, str] | None = None,
        listen: str | None = FREE_PORT,
        stdout: int = asyncio.subprocess.PIPE,
        sockets: Mapping[str, socket.socket] | None = None,
        stdin: int = asyncio.subprocess.DEVNULL,
        survives: bool = True,
    ) -> None:
        self._options = [*map(str, options), *(("--listen", listen) if listen is not None else ())]
        self._environ = clean_environ() | dict(environ or {})
        self._stdout = stdout
        self._stdin = stdin
        self._survives = survives
        self._sockets = dict(sockets or {})
        self._process: asyncio.subprocess.Process | None = None
        self._readers: list[asyncio.Task[None]] = []
        self._told = asyncio.Condition()
        self._began = 0.0
        self.url = ""
        """Where it listens, without a slash at the end."""
        self.port = 0
        self.output: list[str] = []
        """The lines of stdout since the last start."""
        self.banner: list[str] = []
        """The lines of stderr that tell how to use it."""
        self.errors: list[str] = []
        """All other lines of stderr since the last start."""
        self.ready_after = 0.0
        """Seconds from the last start to the first 200 of ``/health/ready``, where somebody waited for that."""

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._process is not None
        return self._process.pid

    @property
    def events(self) -> list[dict[str, Any]]:
        """The log so far: every line of stdout."""
        return [json.loads(line) for line in self.output]

    async def __aenter__(self) -> Self:
        try:
            await self.start()
            await self.listening()
        except BaseException:
            await self.kill()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.kill()

    async def start(self) -> None:
        """Start it without waiting for anything."""
        self.url, self.port, self.output, self.banner, self.errors = "", 0, [], [], []
        self._began = time.monotonic()
        self._process = await asyncio.create_subprocess_exec(
            *self._command(),
            cwd=ROOT,
            env=self._environ | self._passed(),
            stdin=self._stdin,
            pass_fds=[one.fileno() for one in self._sockets.values()],
            stdout=self._stdout,
            stderr=asyncio.subprocess.PIPE,
            limit=LINE_LIMIT,
        )
        streams = ((self._process.stderr, self.errors), (self._process.stdout, self.output))
        self._readers = [asyncio.create_task(self._read(stream, lines)) for stream, lines in streams if stream]

    def _command(self) -> list[str]:
        serve = [sys.executable, "-m", "nugetproxy", "serve", *self._options]
        if not self._survives:
            serve = until_this_one_ends(*serve)
        if not self._sockets:
            return serve
        return [sys.executable, "-c", PASS, ",".join(str(one.fileno()) for one in self._sockets.values()), *serve]

    def _passed(self) -> dict[str, str]:
        if not self._sockets:
            return {}
        return {"LISTEN_FDS": str(len(self._sockets)), "LISTEN_FDNAMES": ":".join(self._sockets)}

    async def _read(self, stream: asyncio.StreamReader, lines: list[str]) -> None:
        async for line in stream:
            text = line.decode().rstrip("\n")
            if (match := LISTENING.fullmatch(text)) is not None:
                self.url, self.port = match[1], int(match[3])
                lines = self.banner
            lines.append(text)
            if lines is self.banner and not text and lines[-2] == BANNER_END:
                lines = self.errors
            async with self._told:
                self._told.notify_all()
        async with self._told:
            self._told.notify_all()

    async def listening(self) -> None:
        """Wait for the line with its address."""
        async with self._within("tell its address"), self._told:
            await self._told.wait_for(lambda: self.url or self._readers[0].done())
        assert self.url, self._story("it ended before it listened")

    async def logged(self, name: str, **fields: object) -> dict[str, Any]:
        """Wait for an event of the log, with these fields."""
        wanted = {"event": name, **fields}

        def found() -> list[dict[str, Any]]:
            return [event for event in self.events if wanted.items() <= event.items()]

        async with self._within(f"log {wanted}"), self._told:
            await self._told.wait_for(lambda: found() or self._readers[-1].done())
        assert found(), self._story(f"it ended without logging {wanted}")
        return found()[0]

    async def ready(self) -> None:
        """Wait until it is ready; a process is polled, it cannot tell by itself."""
        async with self._within("become ready"), aiohttp.ClientSession() as session:
            while True:
                async with session.get(f"{self.url}/health/ready") as answer:
                    if answer.status == 200:
                        self.ready_after = time.monotonic() - self._began
                        return
                await asyncio.sleep(0.02)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    async def ended(self, limit: float = LIMIT) -> int:
        """Wait until it has ended by itself; its exit code, negative for the signal that killed it."""
        assert self._process is not None
        async with self._within("end", limit):
            code = await self._process.wait()
            await asyncio.gather(*self._readers)
        return code

    async def stop(self) -> int:
        """End it as a service manager does; its exit code."""
        self.send(signal.SIGTERM)
        return await self.ended()

    async def kill(self) -> None:
        """kill -9, if it still runs."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
        if self._process is not None:
            await self._process.wait()
            await asyncio.gather(*self._readers)

    @contextlib.asynccontextmanager
    async def _within(self, what: str, limit: float = LIMIT) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(limit):
                yield
        except TimeoutError as error:
            raise AssertionError(self._story(f"it did not {what} within {limit:g} s")) from error

    def _story(self, problem: str) -> str:
        return "\n".join((problem, "stdout:", *self.output[-50:], "stderr:", *self.banner[-3:], *self.errors[-50:]))
