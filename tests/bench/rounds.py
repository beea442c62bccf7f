"""Rounds measures every server on every point, in turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256

from tests.bench import accounting, load
from tests.bench.material import CROWD, LARGE, MEDIUM, PACED, SMALL, Package, crowd
from tests.bench.report import Samples
from tests.bench.servers import Origin, Server

GB = 1e9
LATE = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much to measure."""

    rounds: int
    small_seconds: float
    bytes_by_point: float
    """Of large hits, in each round."""
    crowd_rounds: int
    crowd_clients: int


FULL = Effort(rounds=5, small_seconds=3, bytes_by_point=2.4 * GB, crowd_rounds=3, crowd_clients=100)
QUICK = Effort(rounds=2, small_seconds=1, bytes_by_point=0.6 * GB, crowd_rounds=1, crowd_clients=100)


@dataclass(slots=True)
class Rounds:
    """Takes samples of ``servers``; each part of it may be left out."""

    origin: Origin
    servers: Sequence[Server]
    effort: Effort
    samples: Samples = field(default_factory=Samples)

    def idle(self) -> None:
        """Memory before the first request for a package."""
        for server in self.servers:
            self.samples.add("RSS idle, MiB", server.name, accounting.rss_mib(server.session))

    def small(self) -> None:
        """Small hits: CPU and rate."""
        points = {"version list, gzip": f"/{SMALL}/index.json", "1 kB package": f"/{Package(SMALL).path}"}
        for name, path in points.items():
            self._warm(path)
            self._in_turns(self.effort.rounds, partial(self._small, path=path, name=name))

    def large(self) -> None:
        """Large hits: CPU by volume, rate, memory after it."""
        for name, id, size in (("30 MB", MEDIUM, 30e6), ("300 MB", LARGE, 300e6)):
            path = f"/{Package(id).path}"
            self._warm(path)
            for clients in (1, 8):
                gets = max(1, round(self.effort.bytes_by_point / size / clients))
                point = f"{name}, {clients} client{'s' if clients > 1 else ''}"
                self._in_turns(
                    self.effort.rounds, partial(self._large, path=path, clients=clients, gets=gets, point=point)
                )
        for server in self.servers:
            self.samples.add("RSS after 300 MB hits, MiB", server.name, accounting.rss_mib(server.session))

    def crowds(self) -> None:
        """Simultaneous cold clients: downloads, first bytes, time."""
        for number in range(self.effort.crowd_rounds):
            for name, id in (("paced", PACED), ("fast", CROWD)):
                package = crowd(id, number)
                for server in self._order(number):
                    self._crowd(server, package, f"crowd, {name} upstream")

    def _in_turns(self, rounds: int, measure: Callable[[Server], None]) -> None:
        for number in range(rounds):
            for server in self._order(number):
                measure(server)

    def _order(self, number: int) -> Sequence[Server]:
        return self.servers if number % 2 == 0 else self.servers[::-1]

    def _warm(self, path: str) -> None:
        """Let every server fetch it, see that all have the same package (a document is ours in another spelling)."""
        digests = {sha256(server.get(server.flat + path)).hexdigest() for server in self.servers for _ in range(2)}
        if len(digests) != 1 and path.endswith(".nupkg"):
            raise RuntimeError(f"the servers disagree about {path}")

    def _small(self, server: Server, *, path: str, name: str) -> None:
        before = accounting.cpu_seconds(server.session)
        done = load.small(server, server.flat + path, self.effort.small_seconds)
        spent = accounting.cpu_seconds(server.session) - before
        self.samples.add(f"{name}: CPU us/request", server.name, spent / done.requests * 1e6)
        self.samples.add(f"{name}: requests/s", server.name, done.requests / done.seconds)

    def _large(self, server: Server, *, path: str, clients: int, gets: int, point: str) -> None:
        before = accounting.cpu_seconds(server.session)
        done = load.big(server, server.flat + path, clients=clients, gets=gets)
        spent = accounting.cpu_seconds(server.session) - before
        self.samples.add(f"{point}: CPU ms/GB", server.name, spent / (done.size / GB) * 1e3)
        self.samples.add(f"{point}: GB/s", server.name, done.size / GB / done.seconds)

    def _crowd(self, server: Server, package: Package, point: str) -> None:
        upstream_path = f"/flat/{package.path}"
        before = self.origin.counts().get(upstream_path, 0)
        cpu = accounting.cpu_seconds(server.session)
        seen = load.crowd(server, f"{server.flat}/{package.path}", clients=self.effort.crowd_clients, late=LATE)
        cpu = accounting.cpu_seconds(server.session) - cpu
        values = {
            "upstream downloads": self.origin.counts().get(upstream_path, 0) - before,
            "first byte median, ms": seen.first[len(seen.first) // 2] * 1e3,
            "first byte last, ms": seen.first[-1] * 1e3,
            "late first byte, ms": seen.late[-1] * 1e3,
            "total, s": seen.seconds,
            "CPU, s": cpu,
        }
        for name, value in values.items():
            self.samples.add(f"{point}: {name}", server.name, value)
