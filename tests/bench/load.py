"""Load asks a server for the same thing over and over, from a process of its own."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from tests.bench.points import Hit
from tests.bench.servers import ROOT, Server

LIMIT_SECONDS = 120
"""For what is bounded by a count."""


@dataclass(frozen=True, slots=True)
class Load:
    """What was got, in how many seconds; ``size`` in bytes is 0 where nobody counted."""

    requests: int
    size: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """Clients that asked at once for what the server did not have; times in seconds, ascending."""

    first: tuple[float, ...]
    late: tuple[float, ...]
    """First bytes of those who came at half of the download."""
    seconds: float


def generator() -> str:
    """What loads for small hits."""
    return "wrk" if shutil.which("wrk") else "own client (no wrk found: requests/s is the client's limit)"


def hits(server: Server, hit: Hit, seconds: float) -> Load:
    """Hits for some seconds, gzip accepted, connections kept."""
    wrk = shutil.which("wrk")
    path, headers = hit.path(server), hit.headers(server)
    if wrk is None or hit.method != "GET":  # wrk waits for the body of a HEAD
        options = ["--clients", str(hit.connections), "--seconds", str(seconds), "--method", hit.method]
        return _load(_clients("repeat", server, path, [*options, *(f"--header={header}" for header in headers)]))
    options = ["-t1", f"-c{hit.connections}", f"-d{max(1, round(seconds))}s", "-H", "Accept-Encoding: gzip"]
    for header in headers:
        options += ["-H", header]
    said = _run([wrk, *options, f"{server.root}{path}"], seconds + LIMIT_SECONDS)
    count = re.search(r"(\d+) requests in ([\d.]+)s", said)
    if count is None or "Non-2xx" in said or "Socket errors" in said:
        raise RuntimeError(f"{server.name}: {said}")
    return Load(int(count[1]), 0, float(count[2]))


def big(server: Server, path: str, *, clients: int, gets: int) -> Load:
    """Hits of a large body: so many clients at once, so many times each."""
    options = ["--clients", str(clients), "--gets", str(gets), "--seconds", str(LIMIT_SECONDS)]
    return _load(_clients("repeat", server, path, options))


def misses(server: Server, path: str, *, first: int, count: int, clients: int) -> Load:
    """Each path once: ``{}`` in it is a number from ``first`` on."""
    options = ["--clients", str(clients), "--first", str(first), "--gets", str(count), "--seconds", str(LIMIT_SECONDS)]
    return _load(_clients("sequence", server, path, options))


def crowd(server: Server, path: str, *, clients: int, late: int) -> Crowd:
    """Clients that ask at once, late ones at half of the download."""
    options = ["--clients", str(clients), "--late", str(late), "--seconds", str(LIMIT_SECONDS)]
    seen = _clients("crowd", server, path, options)
    return Crowd(first=tuple(seen["first"]), late=tuple(seen["late"]), seconds=seen["seconds"])


def _load(seen: dict[str, float]) -> Load:
    return Load(int(seen["requests"]), int(seen["bytes"]), seen["seconds"])


def _clients(what: str, server: Server, path: str, options: list[str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.bench.clients", what, str(server.port), path, *options]
    seen: dict[str, Any] = json.loads(_run(command, LIMIT_SECONDS + 20))
    return seen


def _run(command: list[str], seconds: float) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command[:4]}: {done.stderr[-2000:]}")
    return done.stdout
