"""The proxy under test is a real process."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from pathlib import Path
from typing import Self

import aiohttp

ROOT = Path(__file__).parents[2]
START_LIMIT = 30.0
STOP_LIMIT = 30.0
LISTENING = re.compile(r"(https?://[\w.:\[\]]+)/v3/index\.json")


class Proxy:
    """``python -m nugetproxy serve`` on a free port, ready to answer.

    With ``config``, the text of a configuration file, that names the upstream; without, the command line does.
    ``program`` is a module that does as ``nugetproxy`` does, with the arguments that come before ``serve``.
    """

    def __init__(
        self, cache: Path, *, upstream: str = "", config: str = "", program: tuple[str, ...] = ("nugetproxy",)
    ) -> None:
        self.cache = cache
        self.url = ""
        self.output = ""
        """Everything that it has said so far."""
        self._command = [*program, "serve", "--cache-dir", str(cache), "--listen", "127.0.0.1:0"]
        if upstream:
            self._command += ["--upstream", upstream]
        if config:
            file = cache.with_suffix(".toml")
            file.write_text(config)
            self._command += ["--config", str(file)]
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._listening = asyncio.Event()

    @property
    def index_url(self) -> str:
        """The source that a client is given."""
        return f"{self.url}/v3/index.json"

    @property
    def packages(self) -> Path:
        """The folder with the packages of the only upstream."""
        (found,) = self.cache.glob("*/packages")
        return found

    def peak(self) -> int:
        """The most memory that the process had, in MiB."""
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        return int(re.findall(r"^VmHWM:\s+(\d+)", status, re.MULTILINE)[0]) // 1024

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start the process (again, with the same cache) and wait until it is ready."""
        # The tests' own NUGETPROXY_ variables are no settings of the proxy.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("NUGETPROXY_")}
        self._listening.clear()
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            *self._command,
            cwd=ROOT,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = asyncio.create_task(self._read(self._process))
        try:
            async with asyncio.timeout(START_LIMIT):
                await self._listening.wait()
                await self._ready()
        except BaseException as error:
            await self.kill()
            if isinstance(error, TimeoutError | AssertionError):
                raise AssertionError(f"the proxy did not start:\n{self.output}") from error
            raise

    async def stop(self) -> int:
        """End the process as a service manager does; its exit code."""
        if self._process is None or self._reader is None:
            return 0
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_LIMIT):
                code = await self._process.wait()
                await self._reader
        except TimeoutError as error:
            await self.kill()
            raise AssertionError(f"the proxy did not stop:\n{self.output}") from error
        self._process = self._reader = None
        return code

    async def reload(self, config: str) -> None:
        """Have the running process follow another configuration."""
        self.cache.with_suffix(".toml").write_text(config)
        command = ["nugetproxy", "reload", "--cache-dir", str(self.cache), "--config"]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            *command,
            str(self.cache.with_suffix(".toml")),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        assert process.returncode == 0, said.decode()

    async def kill(self) -> None:
        """End the process without a word."""
        if self._process is not None and self._reader is not None:
            if self._process.returncode is None:
                os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()
            await self._reader
        self._process = self._reader = None

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            text = line.decode(errors="replace")
            self.output += text
            match = LISTENING.search(text)
            if match is not None and "istening" in text and not self._listening.is_set():
                self.url = match[1]
                self._listening.set()
        # An end without an address wakes the one who waits for it.
        self._listening.set()

    async def _ready(self) -> None:
        async with aiohttp.ClientSession() as session:
            while True:
                assert self._process is not None
                assert self.url, "it ended at once"
                assert self._process.returncode is None, "it ended at once"
                try:
                    async with session.get(f"{self.url}/health/ready") as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientConnectionError:
                    pass
                await asyncio.sleep(0.05)
