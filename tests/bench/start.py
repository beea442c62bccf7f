"""Measures starts over many held packages: how soon clients are served, what it costs.

``python -m tests.bench.start [--packages 100000] [--folder FOLDER]``: the first start has lost its holdings; its
upstream is up, so that those that follow have an index as on any farm. The second one follows an orderly stop, the
third a kill, with upstream down; the last one has lost its documents, too. Making so many packages takes some minutes;
``--folder`` keeps them for the next measurement. TMPDIR=/dev/shm leaves the disk out of it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from rich.console import Console
from rich.table import Table

from tests.bench import accounting
from tests.bench.servers import Serving
from tests.fakes.packages import make_nupkg
from tests.outage.kit import lay_down

PORT = 41_009
"""Of the upstream: always the same one, or what is kept would be another feed's."""
CONFIG = f'[cache]\nscrub_rate = "off"\n[upstreams.feed]\nurl = "http://127.0.0.1:{PORT}/v3/index.json"\n'
"""Reading all packages once a day begins behind the start, and takes minutes: it is left out."""
INDEX = {
    "version": "3.0.0",
    "resources": [{"@type": "PackageBaseAddress/3.0.0", "@id": f"http://127.0.0.1:{PORT}/v3/content/"}],
}
READY_SECONDS = 1.0
MOST_SECONDS = 1200.0
BEHIND_SECONDS = 30.0
"""What goes on beyond that, a look at each registration, takes minutes of little work."""
PACKAGE = "/v3/content/acme.n{0}/1.0.0/acme.n{0}.1.0.0.nupkg"


class _Upstream(BaseHTTPRequestHandler):
    """A feed that has an index, and nothing else."""

    def do_GET(self) -> None:
        """Whatever is asked for."""
        body = json.dumps(INDEX).encode() if self.path == "/v3/index.json" else b""
        self.send_response(200 if body else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


@contextmanager
def _upstream() -> Iterator[None]:
    with ThreadingHTTPServer(("127.0.0.1", PORT), _Upstream) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()


class Started(Serving):
    """The proxy over a cache directory that is there already."""

    def __init__(self, folder: Path) -> None:
        (folder / "nugetproxy.toml").write_text(CONFIG)
        options = ["--config", str(folder / "nugetproxy.toml"), "--listen", "127.0.0.1:0"]
        options += ["--cache-dir", str(folder / "cache")]
        super().__init__([sys.executable, "-m", "nugetproxy", "serve", *options], folder / "access.log")

    def kill(self) -> None:
        """End it as a power cut would."""
        os.killpg(self.session, signal.SIGKILL)


@contextmanager
def _laid_down(count: int, kept: Path | None) -> Iterator[Path]:
    """A folder with a cache directory that holds so many packages, each of an id of its own."""
    with tempfile.TemporaryDirectory(prefix="nugetproxy-start-") as name:
        folder = kept or Path(name)
        packages = folder / "cache" / "feed" / "packages"
        if not packages.exists():
            for number in range(count):
                lay_down(packages, f"acme.n{number}", "1.0.0", make_nupkg(f"Acme.N{number}", "1.0.0"))
            (folder / "cache").chmod(0o700)
        yield folder


def _measure(folder: Path, table: Table, name: str, count: int, *, killed: bool) -> None:
    began = time.monotonic()
    with Started(folder) as proxy:
        ready = time.monotonic() - began
        cpu = accounting.cpu_seconds(proxy.session)
        for number in range(0, count, max(1, count // 100)):
            proxy.get(PACKAGE.format(number))
        served = time.monotonic() - began
        known = _wait_until_known(proxy, began)
        time.sleep(BEHIND_SECONDS)
        spent, memory = accounting.cpu_seconds(proxy.session), accounting.rss_mib(proxy.session)
        if killed:
            proxy.kill()
    met = "" if ready <= READY_SECONDS else " MISSED"
    table.add_row(
        name, f"{ready:.2f}{met}", f"{cpu:.2f}", f"{served:.2f}", f"{known:.1f}", f"{spent:.1f}", f"{memory:.0f}"
    )


def _wait_until_known(proxy: Started, began: float) -> float:
    """Seconds from the start until it knew all that it holds."""
    while b'"holdings.synced"' not in proxy.output.read_bytes():
        if time.monotonic() > began + MOST_SECONDS:
            raise RuntimeError("it does not get to know what it holds")
        time.sleep(0.1)
    return time.monotonic() - began


def main() -> None:
    """Measure, print."""
    parser = ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--packages", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="where the packages are, or are made to stay")
    arguments = parser.parse_args()
    count: int = arguments.packages
    ready = f"ready, s (<= {READY_SECONDS:g})"
    behind = f"CPU until {BEHIND_SECONDS:g} s after that, s"
    columns = (ready, "CPU until then, s", "100 packages served, s", "all known, s", behind, "RSS, MiB")
    table = Table(f"start with {count} packages", *columns)
    with _laid_down(count, arguments.folder) as folder:
        for file in (folder / "cache" / "feed").glob("holdings.db*"):
            file.unlink()
        shutil.rmtree(folder / "cache" / "run", ignore_errors=True)
        with _upstream():
            _measure(folder, table, "holdings lost", count, killed=False)
        _measure(folder, table, "after a stop", count, killed=True)
        _measure(folder, table, "after a kill", count, killed=False)
        shutil.rmtree(folder / "cache" / "documents")
        _measure(folder, table, "documents lost", count, killed=False)
    Console().print(table)


if __name__ == "__main__":
    main()
