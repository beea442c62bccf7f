"""The processes of the demo: real servers on loopback, ended when the demo ends."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final, Self
from urllib.request import urlopen

START_SECONDS: Final = 20.0
STOP_SECONDS: Final = 5.0
_LISTENING: Final = re.compile(r"^Listening on http://([\w.:\[\]]+)/v3/index\.json$", re.MULTILINE)


class DemoFailed(Exception):
    """The demo cannot go on; the argument says why."""


class Server:
    """``nugetproxy serve`` with some options, its output in the file ``log``; an asynchronous context manager."""

    def __init__(self, what: str, log: Path, *options: str) -> None:
        self.what = what
        self._log = log
        self._options = options
        self._address = "127.0.0.1:0"
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """Its address without a slash at its end."""
        return f"http://{self._address}"

    @property
    def pid(self) -> int:
        """Of the running process."""
        return self._process.pid if self._process is not None else 0

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start it (again at the same address) and wait until it is ready; raises DemoFailed."""
        command = (sys.executable, "-m", "nugetproxy", "serve", "--listen", self._address, *self._options)
        # Settings of this machine's own proxy are not meant for the demo's.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("NUGETPROXY_")}
        with self._log.open("wb") as output:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the demo, which then ends it in order
            )
        try:
            async with asyncio.timeout(START_SECONDS):
                while not await asyncio.to_thread(self._ready):
                    if self._process.returncode is not None:
                        raise DemoFailed(f"The {self.what} ended at once:\n{self._said()}")
                    await asyncio.sleep(0.05)
        except TimeoutError as slow:
            raise DemoFailed(f"The {self.what} did not start within {START_SECONDS:g} s:\n{self._said()}") from slow

    async def stop(self) -> None:
        """End it by its process id; may be called again."""
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            process.send_signal(number)
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    await process.wait()
                    return

    async def kill(self) -> None:
        """End it as a crash does."""
        if self._process is not None:
            self._process.kill()
            await self._process.wait()
            self._process = None

    def _ready(self) -> bool:
        found = _LISTENING.search(self._said())
        if found is None:
            return False
        self._address = found[1]
        try:
            with urlopen(f"{self.url}/health/ready", timeout=2) as answer:  # noqa: S310 - an address of our own
                return bool(answer.status == 200)
        except OSError:
            return False

    def _said(self) -> str:
        return self._log.read_text(errors="replace")
