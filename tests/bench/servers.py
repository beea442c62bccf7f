"""Servers are started as processes, each the leader of a session of its own, then ended by their ids."""

from __future__ import annotations

import json
import os
import re
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from http.client import HTTPResponse
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

START_SECONDS = 20.0
STOP_SECONDS = 15.0
ROOT = Path(__file__).resolve().parents[2]
_LISTENING = re.compile(r"istening on https?://127\.0\.0\.1:(\d+)")
_ANYBODY = ssl.create_default_context()
_ANYBODY.check_hostname = False
_ANYBODY.verify_mode = ssl.CERT_NONE


class NotStarted(RuntimeError):
    """A server ended, or was not ready in time."""


class Server:
    """A process that listens on 127.0.0.1; what it says goes to a file."""

    name = "server"
    flat = "/flat"
    """The path of its flat container."""
    registration = "/registration"
    """The path of its registration hive."""
    search = "/query"
    scheme = "http"

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

    @property
    def root(self) -> str:
        """Its address."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def get(self, path: str) -> bytes:
        """The body of a GET."""
        with self.open(path) as answer:
            body: bytes = answer.read()
        return body

    def open(self, path: str, headers: Mapping[str, str] = MappingProxyType({})) -> HTTPResponse:
        """The answer to a GET, its body not yet read."""
        request = urllib.request.Request(f"{self.root}{path}", headers=dict(headers))
        answer: HTTPResponse = urllib.request.urlopen(request, timeout=60, context=_ANYBODY)
        return answer


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


class Serving(Server):
    """nugetproxy, however it was started."""

    name = "nugetproxy"

    def ready(self) -> bool:
        """Listening alone is not enough."""
        try:
            return super().ready() and b'"ready":true' in self.get("/health/ready")
        except OSError:
            return False


class Proxy(Serving):
    """nugetproxy as shipped: level info, JSON because its output is a file."""

    flat = "/v3/content"
    registration = "/v3/registration/gz-semver2"
    search = "/v3/query"

    def __init__(self, origin: Server, folder: Path, *, config: str = "") -> None:
        """``config`` is a configuration file's text, which then names the upstreams."""
        folder.mkdir()
        self.scheme = "https" if "tls_certificate" in config else "http"
        options = ["--listen", "127.0.0.1:0", "--cache-dir", str(folder / "cache")]
        if config:
            (folder / "nugetproxy.toml").write_text(config)
            options += ["--config", str(folder / "nugetproxy.toml")]
        else:
            options += ["--upstream", f"{origin.root}/v3/index.json"]
        super().__init__([sys.executable, "-m", "nugetproxy", "serve", *options], folder / "access.log")


class Published(Server):
    """One of the feeds of a proxy that runs."""

    def __init__(self, proxy: Proxy, name: str, feed: str) -> None:
        super().__init__([], proxy.output)
        self.name, self.port, self._proxy = name, proxy.port, proxy
        self.flat, self.registration = f"/{feed}{Proxy.flat}", f"/{feed}{Proxy.registration}"
        self.search = f"/{feed}{Proxy.search}"

    @property
    def session(self) -> int:
        """That of the proxy."""
        return self._proxy.session
