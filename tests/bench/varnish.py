"""Varnish is the other cache that people put in front of things: from memory, in the set-up that Debian ships."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

from tests.bench.nginx import free_port
from tests.bench.servers import Server

_CONFIG = """vcl 4.1;
backend origin {{ .host = "127.0.0.1"; .port = "{origin}"; }}
sub vcl_backend_response {{ set beresp.ttl = 7d; }}
"""


def version() -> str | None:
    """The Varnish that there is; None where there is none."""
    path = _path()
    if path is None:
        return None
    said = subprocess.run([path, "-V"], capture_output=True, text=True, timeout=10, check=True)
    return (said.stderr + said.stdout).partition("varnish-")[2].partition(" ")[0]


class Varnish(Server):
    """One Varnish with a cache in memory; it writes no access log of its own."""

    name = "varnish"

    def __init__(self, origin: Server, folder: Path) -> None:
        folder.mkdir()
        path = _path()
        assert path is not None
        config = folder / "default.vcl"
        config.write_text(_CONFIG.format(origin=origin.port))
        self.port = port = free_port()
        options = ["-F", "-j", "none", "-n", str(folder / "varnish"), "-a", f"127.0.0.1:{port}", "-f", str(config)]
        super().__init__([path, *options, "-T", "none", "-s", "malloc,512m"], folder / "output")
        self.port = port

    def ready(self) -> bool:
        """Whether it listens."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def _path() -> str | None:
    return shutil.which("varnishd", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin")))
