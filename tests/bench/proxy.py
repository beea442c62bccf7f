"""The benchmark of the proxy against nginx's proxy_cache, on this machine in one run.

``python -m tests.bench.proxy`` takes some ten minutes, ``--quick`` five; ``--json FILE`` keeps every sample, ``--only
hits,cold`` leaves out the other parts (``memory`` is asked for by name alone). Nothing leaves 127.0.0.1, and nothing
stays behind. ``tests.bench.restore`` measures real restores.

An origin process, the real proxy (``serve``; its log at level info, as JSON to a file), nginx (one worker, sendfile,
its access log to a file) and for hits Varnish run side by side, each left out where it is not installed; each point is
measured on one server after the other, in rounds whose order alternates. Over TLS both speak version 1.3 with the same
cipher, on connections that are kept. CPU is user plus system time of all processes of a server. On loopback the
kernel's work for both ends of a connection is mostly done in the sender's time, so it counts for the servers. The table
shows medians; what a machine can do besides is in the ratios.

Misses make files: ``making_a_file_us`` in what is printed should be 5 to 20. ``create_seconds`` says why it may be 400;
TMPDIR names another place for all files.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

import trustme

from tests.bench import load, material, nginx, varnish
from tests.bench.points import AGGREGATED, FORMS, LANE, RULED, TLS
from tests.bench.report import Samples, document, table
from tests.bench.rounds import FULL, QUICK, Effort, Rounds
from tests.bench.servers import Origin, Proxy, Published, Server
from tests.bench.verifying import create_seconds

PARTS = ("idle", "hits", "full", "tls", "aggregated", "rules", "cold", "large", "crowd")
PACED_SECONDS = 3.0
FILES = 500
"""Made before, to see what the file system asks for that."""
FARM = """[upstreams.one]
url = "{one}/v3/index.json"
private = true
[upstreams.two]
url = "{two}/v3/index.json"
private = false
[feeds.both]
sources = ["one", "two"]
[feeds.single]
sources = ["one"]
"""
POLICY = """[upstreams.up]
url = "{one}/v3/index.json"
[feeds.ruled]
sources = ["up"]
[[feeds.ruled.rules]]
name = "own"
ids = ["Contoso.*"]
action = "allow"
[[feeds.ruled.rules]]
name = "cooldown"
min_age = "7d"
[[feeds.ruled.rules]]
name = "holes"
max_severity = "high"
[feeds.open]
sources = ["up"]
"""


@dataclass(slots=True)
class Bench:
    """Everything that is measured, with what it is measured on."""

    folder: Path
    effort: Effort
    stack: ExitStack
    samples: Samples = field(default_factory=Samples)

    def measure(self, parts: frozenset[str]) -> None:
        """Take all samples of these parts."""
        crowds = self.effort.crowd_rounds if "crowd" in parts else 0
        material.write(self.folder / "packages", crowds=crowds, large="large" in parts)
        log = self.folder / "origin.log"
        origin = self.stack.enter_context(Origin(self.folder / "packages", log, paced_seconds=PACED_SECONDS))
        ours_and_nginx = self._pair(origin, "")
        rounds = self._rounds(origin, ours_and_nginx)
        hits = ours_and_nginx
        if varnish.version() is not None and parts & {"hits", "full"}:
            hits = [*hits, self.stack.enter_context(varnish.Varnish(origin, self.folder / "varnish"))]
        measures: dict[str, Callable[[], None]] = {
            "idle": rounds.idle,
            "hits": partial(self._rounds(origin, hits).hits, LANE),
            "full": partial(self._rounds(origin, hits).hits, FORMS),
            "tls": partial(self._tls, origin),
            "aggregated": partial(self._aggregated, origin),
            "rules": partial(self._ruled, origin),
            "cold": partial(self._cold, origin, "cold"),
            "large": rounds.large,
            "crowd": rounds.crowds,
            "memory": partial(self._cold, origin, "memory"),
        }
        for part, take in measures.items():
            if part in parts:
                print(f"measuring: {part} ...", file=sys.stderr, flush=True)
                take()

    def _rounds(self, origin: Origin, servers: Sequence[Server]) -> Rounds:
        return Rounds(origin, servers, self.effort, self.samples)

    def _pair(
        self, origin: Server, name: str, *, config: str = "", pem: tuple[Path, Path] | None = None
    ) -> list[Server]:
        """A fresh nugetproxy, a fresh nginx where there is one."""
        servers: list[Server] = [Proxy(origin, self.folder / f"nugetproxy{name}", config=config)]
        if nginx.version() is not None:
            servers.append(nginx.Nginx(origin, self.folder / f"nginx{name}", certificate=pem))
        return [self.stack.enter_context(server) for server in servers]

    def _tls(self, origin: Origin) -> None:
        if shutil.which("wrk") is None:
            print("tls is left out: there is no wrk", file=sys.stderr)
            return
        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1")
        certificate, key = self.folder / "certificate.pem", self.folder / "key.pem"
        issued.cert_chain_pems[0].write_to_path(certificate)
        issued.private_key_pem.write_to_path(key)
        config = f'''[server]\ntls_certificate = "{certificate}"\ntls_key = "{key}"\n'''
        config += f'[upstreams.up]\nurl = "{origin.root}/v3/index.json"\n'
        servers = self._pair(origin, "-tls", config=config, pem=(certificate, key))
        self._rounds(origin, servers).hits(TLS)

    def _aggregated(self, origin: Origin) -> None:
        (self.folder / "nothing").mkdir()
        empty = Origin(self.folder / "nothing", self.folder / "empty.log", paced_seconds=PACED_SECONDS)
        self.stack.enter_context(empty)
        config = FARM.format(one=origin.root, two=empty.root)
        proxy = self.stack.enter_context(Proxy(origin, self.folder / "nugetproxy-farm", config=config))
        servers = [Published(proxy, "nugetproxy", "both"), Published(proxy, "one source", "single")]
        self._rounds(origin, servers).hits(AGGREGATED)

    def _ruled(self, origin: Origin) -> None:
        config = POLICY.format(one=origin.root)
        proxy = self.stack.enter_context(Proxy(origin, self.folder / "nugetproxy-rules", config=config))
        servers = [Published(proxy, "nugetproxy", "ruled"), Published(proxy, "no rules", "open")]
        self._rounds(origin, servers).hits(RULED)

    def _cold(self, origin: Origin, part: str) -> None:
        if nginx.version() is None:
            print(f"{part} is left out: nginx, its upstream, is not installed", file=sys.stderr)
            return
        root = self.folder / f"{part}-feed"
        count = self.effort.cold * self.effort.rounds
        if part == "cold":
            material.write_cold(root, lists=count, small=count, large=count // 10)
        else:
            material.write_cold(root, lists=self.effort.documents, small=0, large=0)
        static = self.stack.enter_context(nginx.Static(root, self.folder / f"{part}-static"))
        rounds = self._rounds(origin, self._pair(static, f"-{part}"))
        if part == "cold":
            rounds.cold()
        else:
            rounds.memory()


def measure(effort: Effort, parts: frozenset[str]) -> Samples:
    """Start everything, take all samples, end everything."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nugetproxy-bench-")))
        bench = Bench(folder, effort, stack)
        bench.measure(parts)
        return bench.samples


def facts(effort: Effort) -> dict[str, object]:
    """On what, with what."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "making_a_file_us": round(create_seconds(Path(tempfile.gettempdir()), FILES) / FILES * 1e6, 1),
        "load_average_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "aiohttp": version("aiohttp"),
        "nginx": nginx.version() or "not installed: it has no column",
        "varnish": varnish.version() or "not installed: it has no column",
        "small_hits_by": load.generator(),
        "logs": "nugetproxy: info, JSON, to a file; nginx: access_log, combined, to a file; varnish: none",
        "paced_seconds": PACED_SECONDS,
        "effort": asdict(effort),
    }


def main() -> None:
    """Measure, print the table."""
    parser = ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="some five minutes, for a first impression")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write every sample")
    parser.add_argument("--only", default=",".join(PARTS), metavar="PARTS", help="default: %(default)s")
    arguments = parser.parse_args()
    parts = frozenset(arguments.only.split(","))
    if unknown := parts.difference((*PARTS, "memory")):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, _stop)
    effort = QUICK if arguments.quick else FULL
    about = facts(effort)
    samples = measure(effort, parts)
    about["load_average_after"] = round(os.getloadavg()[0], 2)
    print("\n".join(f"* {name}: {value}" for name, value in about.items()), end="\n\n")
    print(table(samples))
    if arguments.json:
        arguments.json.write_text(json.dumps(document(samples, about), indent=1) + "\n")


def _stop(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)  # so that what was started is ended


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
