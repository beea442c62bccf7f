"""The benchmark of the proxy against nginx's proxy_cache, on this machine in one run.

``python -m tests.bench.proxy`` takes some minutes, ``--quick`` less than one; ``--json FILE`` keeps every sample,
``--only small,crowd`` leaves out the other parts. Nothing leaves 127.0.0.1, and nothing stays behind.

An origin process, the real proxy (``serve``; its log at level info, as JSON to a file) and nginx (one worker,
sendfile, its access log to a file; left out where it is not installed) run side by side; each point is measured on
one server after the other, in rounds whose order alternates. CPU is user plus system time of all processes of a
server, from /proc. On loopback the kernel's work for both ends of a connection is mostly done in the sender's time,
so it counts for the servers. The table shows medians; what a machine can do besides is in the ratios.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
import tempfile
from argparse import ArgumentParser
from contextlib import ExitStack
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

from tests.bench import load, material, nginx
from tests.bench.report import Samples, document, table
from tests.bench.rounds import FULL, QUICK, Effort, Rounds
from tests.bench.servers import Origin, Proxy, Server

PARTS = ("idle", "small", "large", "crowd")
PACED_SECONDS = 3.0


def measure(effort: Effort, parts: frozenset[str]) -> Samples:
    """Start everything, take all samples, end everything."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nugetproxy-bench-")))
        crowds = effort.crowd_rounds if "crowd" in parts else 0
        material.write(folder / "packages", crowds=crowds, large="large" in parts)
        origin = stack.enter_context(Origin(folder / "packages", folder / "origin.log", paced_seconds=PACED_SECONDS))
        servers: list[Server] = [stack.enter_context(Proxy(origin, folder / "nugetproxy"))]
        if nginx.version() is not None:
            servers.append(stack.enter_context(nginx.Nginx(origin, folder / "nginx")))
        rounds = Rounds(origin, servers, effort)
        measures = {"idle": rounds.idle, "small": rounds.small, "large": rounds.large, "crowd": rounds.crowds}
        for part in PARTS:
            if part in parts:
                print(f"measuring: {part} ...", file=sys.stderr, flush=True)
                measures[part]()
        return rounds.samples


def facts(effort: Effort) -> dict[str, object]:
    """On what, with what."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "load_average_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "aiohttp": version("aiohttp"),
        "nginx": nginx.version() or "not installed: its columns stay empty",
        "small_hits_by": load.generator(),
        "logs": "nugetproxy: info, JSON, to a file; nginx: access_log, combined, to a file",
        "paced_seconds": PACED_SECONDS,
        "effort": asdict(effort),
    }


def main() -> None:
    """Measure, print the table."""
    parser = ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="less than a minute, for a first impression")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write every sample")
    parser.add_argument("--only", default=",".join(PARTS), metavar="PARTS", help="default: %(default)s")
    arguments = parser.parse_args()
    parts = frozenset(arguments.only.split(","))
    if unknown := parts.difference(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, _stop)
    effort = QUICK if arguments.quick else FULL
    about = facts(effort)
    samples = measure(effort, parts)
    print("\n".join(f"{name}: {value}" for name, value in about.items()), end="\n\n")
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
