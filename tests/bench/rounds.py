"""Rounds measures every server on every point, in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256

from tests.bench import accounting, load
from tests.bench.material import (
    COLD_LARGE,
    COLD_LIST,
    COLD_SMALL,
    CROWD,
    LARGE,
    MB,
    MEDIUM,
    PACED,
    Package,
    content_of,
    crowd,
)
from tests.bench.points import CONNECTIONS, Hit
from tests.bench.report import OURS, Samples, Target
from tests.bench.servers import Origin, Server
from tests.bench.verifying import checksum_seconds, sha512_seconds

GB = 1e9
LATE = 5
STILL_SECONDS = 0.5
STILL_SPENT = 0.01
"""A server that spent no more CPU in so many seconds has done what it does behind its answers."""
BATCH = 10_000
"""Distinct documents that are asked for in one go: as many as a slow machine manages in the time of a load."""
VERIFIED = 50
"""How often verifying is measured."""
SMALL_COLD_RATE, LIST_COLD_RATE = Target(800, least=True), Target(2500, least=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much to measure."""

    rounds: int
    small_seconds: float
    bytes_by_point: float
    """Of large hits, in each round."""
    crowd_rounds: int
    crowd_clients: int
    cold: int
    """Misses in each round; of large packages a tenth."""
    documents: int
    """Distinct documents, for memory."""


FULL = Effort(
    rounds=5,
    small_seconds=3,
    bytes_by_point=2.4 * GB,
    crowd_rounds=3,
    crowd_clients=100,
    cold=1000,
    documents=100_000,
)
QUICK = Effort(
    rounds=3,
    small_seconds=1,
    bytes_by_point=0.6 * GB,
    crowd_rounds=1,
    crowd_clients=100,
    cold=500,
    documents=5000,
)


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
            self.samples.add("RSS idle, MiB", server.name, accounting.rss_mib(server.session), Target(60))

    def hits(self, points: Sequence[Hit]) -> None:
        """Small hits: CPU and rate."""
        for hit in points:
            digests = {hit.digest(server) for server in self.servers for _ in range(3)}
            if len(digests) != 1 and "package" in hit.what.value:
                raise RuntimeError(f"the servers disagree about the {hit.name}")
            self._in_turns(self.effort.rounds, partial(self._hit, hit=hit))

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

    def cold(self) -> None:
        """What nobody has yet: CPU with all that is done behind the answer, rate."""
        count = self.effort.cold
        for number in range(self.effort.rounds):
            for server in self._order(number):
                path = f"{server.flat}/{COLD_LIST}{{}}/index.json"
                self._cold(server, path, number * count, count, ("cold version list", Target(6, True), LIST_COLD_RATE))
                path = f"{server.flat}/{COLD_SMALL}/1.0.{{0}}/{COLD_SMALL}.1.0.{{0}}.nupkg"
                wanted = ("cold 20 kB package", Target(15, True), SMALL_COLD_RATE)
                self._cold(server, path, number * count, count, wanted)
                path = f"{server.flat}/{COLD_LARGE}/1.0.{{0}}/{COLD_LARGE}.1.0.{{0}}.nupkg"
                self._cold(server, path, number * count // 10, count // 10, ("cold 1 MB package", None, None))
        packages = [content_of(Package(COLD_LARGE), MB)] * VERIFIED
        for name, look in (("SHA-512 of", sha512_seconds), ("checksums inside", checksum_seconds)):
            self.samples.add(f"{name} a 1 MB package: CPU us/request", OURS, look(packages) / VERIFIED * 1e6)

    def memory(self) -> None:
        """What many distinct documents leave in memory, after each batch: whether there is an end to it."""
        for first in range(0, self.effort.documents, BATCH):
            after = min(first + BATCH, self.effort.documents)
            point = f"RSS after {after} documents, MiB"
            for server in self.servers:
                path = f"{server.flat}/{COLD_LIST}{{}}/index.json"
                load.misses(server, path, first=first, count=after - first, clients=CONNECTIONS)
                settle(server)
                self.samples.add(point, server.name, accounting.rss_mib(server.session), Target(100))

    def _in_turns(self, rounds: int, measure: Callable[[Server], None]) -> None:
        for number in range(rounds):
            for server in self._order(number):
                measure(server)

    def _order(self, number: int) -> Sequence[Server]:
        return self.servers if number % 2 == 0 else self.servers[::-1]

    def _warm(self, path: str) -> None:
        """Let every server fetch it, see that all have the same package."""
        digests = {sha256(server.get(server.flat + path)).hexdigest() for server in self.servers for _ in range(2)}
        if len(digests) != 1:
            raise RuntimeError(f"the servers disagree about {path}")

    def _hit(self, server: Server, *, hit: Hit) -> None:
        before = accounting.cpu_seconds(server.session)
        done = load.hits(server, hit, self.effort.small_seconds)
        spent = accounting.cpu_seconds(server.session) - before
        wanted = Target(hit.limit, relative=True)
        self.samples.add(f"{hit.name}: CPU us/request", server.name, spent / done.requests * 1e6, wanted)
        self.samples.add(f"{hit.name}: requests/s", server.name, done.requests / done.seconds)

    def _cold(
        self, server: Server, path: str, first: int, count: int, wanted: tuple[str, Target | None, Target | None]
    ) -> None:
        before = accounting.cpu_seconds(server.session)
        done = load.misses(server, path, first=first, count=count, clients=CONNECTIONS)
        settle(server)
        spent = accounting.cpu_seconds(server.session) - before
        name, cost, rate = wanted
        self.samples.add(f"{name}: CPU us/request", server.name, spent / done.requests * 1e6, cost)
        self.samples.add(f"{name}: requests/s", server.name, done.requests / done.seconds, rate)

    def _large(self, server: Server, *, path: str, clients: int, gets: int, point: str) -> None:
        before = accounting.cpu_seconds(server.session)
        done = load.big(server, server.flat + path, clients=clients, gets=gets)
        spent = accounting.cpu_seconds(server.session) - before
        self.samples.add(f"{point}: CPU ms/GB", server.name, spent / (done.size / GB) * 1e3, Target(1.5, True))
        self.samples.add(f"{point}: GB/s", server.name, done.size / GB / done.seconds)

    def _crowd(self, server: Server, package: Package, point: str) -> None:
        upstream_path = f"/flat/{package.path}"
        before = self.origin.counts().get(upstream_path, 0)
        cpu = accounting.cpu_seconds(server.session)
        seen = load.crowd(server, f"{server.flat}/{package.path}", clients=self.effort.crowd_clients, late=LATE)
        cpu = accounting.cpu_seconds(server.session) - cpu
        values = {
            "upstream downloads": (self.origin.counts().get(upstream_path, 0) - before, Target(1)),
            "first byte median, ms": (seen.first[len(seen.first) // 2] * 1e3, None),
            "first byte last, ms": (seen.first[-1] * 1e3, None),
            "late first byte, ms": (seen.late[-1] * 1e3, Target(50) if "paced" in point else None),
            "total, s": (seen.seconds, None),
            "CPU, s": (cpu, None),
        }
        for name, (value, wanted) in values.items():
            self.samples.add(f"{point}: {name}", server.name, value, wanted)


def settle(server: Server) -> None:
    """Wait until ``server`` spends nothing any more: what it does behind its answers belongs to their cost."""
    spent = -1.0
    while (now := accounting.cpu_seconds(server.session)) > spent + STILL_SPENT:
        spent = now
        time.sleep(STILL_SECONDS)
