"""Servers are started as processes, each the leader of a session of its own, then ended by their ids."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

START_SECONDS = 20.0
STOP_SECONDS = 15.0
ROOT = Path(__file__).resolve().parents[2]
_LISTENING = re.compile(r"istening on http://127\.0\.0\.1:(\d+)")


class NotStarted(RuntimeError):
    """A server ended, or was not ready in time."""


class Server:
    """A process that listens on 127.0.0.1; what it says goes to a file."""

    name = "server"
    flat = "/flat"
    """The path of its flat container."""

    def __init__(self, command: list[str], output: Path) -> None:
        self.port = 0
        self.output = output
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        # Settings of whoever measures are no settings of what is measured.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("NUGETPROXY_")}
        with self.output.open("wb") as output:
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        process = self._process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(STOP_SECONDS)

    @property
    def session(self) -> int:
        """The id by which ``accounting`` finds all its processes."""
        assert self._process is not None
        return self._process.pid

    def ready(self) -> bool:
        """Whether it answers; finds out the port on the way."""
        match = _LISTENING.search(self.output.read_text(errors="replace"))
        if match is None:
            return False
        self.port = int(match[1])
        return True

    def _wait(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while not self.ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise NotStarted(f"{self.name} did not start:\n{self.output.read_text(errors='replace')[-3000:]}")
            time.sleep(0.02)

    def get(self, path: str) -> bytes:
        """The body of a GET."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60) as answer:
            body: bytes = answer.read()
        return body


class Origin(Server):
    """The upstream of all other servers."""

    name = "origin"

    def __init__(self, packages: Path, output: Path, *, paced_seconds: float) -> None:
        options = ["--paced-seconds", str(paced_seconds)]
        super().__init__([sys.executable, "-m", "tests.bench.origin", str(packages), *options], output)

    def counts(self) -> Mapping[str, int]:
        """How often each path was asked for."""
        counts: dict[str, int] = json.loads(self.get("/counts"))
        return counts


class Proxy(Server):
    """nugetproxy as shipped: level info, JSON because its output is a file."""

    name = "nugetproxy"
    flat = "/v3/content"

    def __init__(self, origin: Origin, folder: Path) -> None:
        folder.mkdir()
        options = ["--listen", "127.0.0.1:0", "--upstream", f"http://127.0.0.1:{origin.port}/v3/index.json"]
        command = [sys.executable, "-m", "nugetproxy", "serve", *options, "--cache-dir", str(folder / "cache")]
        super().__init__(command, folder / "access.log")

    def ready(self) -> bool:
        """Listening alone is not enough."""
        try:
            return super().ready() and b'"ready":true' in self.get("/health/ready")
        except OSError:
            return False
