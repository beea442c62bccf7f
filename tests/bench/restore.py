"""Real restores by the SDK of today: directly, through us, through nginx, from a folder.

``NUGETPROXY_TEST_DOTNET10=.../dotnet NUGETPROXY_TEST_PACKAGES=FOLDER python -m tests.bench.restore [--quick]``. FOLDER
holds packages and an ``app.csproj`` whose restore takes exactly these. The upstream is a process on this machine whose
answers begin 0, 20 or 80 ms after the request. Each restore has empty caches of its own; "cold" means that the cache in
between is empty too. Time is that of ``dotnet restore`` from start to end, CPU that of the cache's processes until they
are still. What we do behind a cold restore in the minute after it (fetch the registrations of what is held, read every
package once more) is a row of its own; the warm one begins behind it. nginx rewrites the service index with
``sub_filter``, as a recipe for NuGet does.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from argparse import ArgumentParser
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench import accounting, nginx
from tests.bench.proxy import facts
from tests.bench.report import OURS, Samples, Target, document, table
from tests.bench.rounds import QUICK, settle
from tests.bench.servers import Proxy, Server
from tests.bench.verifying import checksum_seconds, sha512_seconds
from tests.e2e.clients import find_client
from tests.e2e.test_sdk10 import Box10

CLOSE, NEAR, FAR = 0.0, 0.02, 0.08
LAST_EVENTS = ("registrations.kept", "scrub.finished")
"""What the proxy logs when it has done what a cold restore leaves to it."""
BEHIND_SECONDS = 300.0


class SlowFeed(Server):
    """The upstream."""

    name = "direct"

    def __init__(self, packages: Path, output: Path, seconds: float) -> None:
        options = [str(packages), "--seconds", str(seconds)]
        super().__init__([sys.executable, "-m", "tests.bench.slow_feed", *options], output)


@dataclass(slots=True)
class Restores:
    """Takes samples with ``dotnet`` of the application in ``packages``."""

    folder: Path
    dotnet: str
    packages: Path
    rounds: int
    samples: Samples = field(default_factory=Samples)
    _number: int = 0

    async def all(self) -> None:
        """Every distance in turn, then the client's own folder."""
        for seconds in (CLOSE, NEAR, FAR):
            for number in range(self.rounds):
                print(f"measuring: {seconds * 1000:g} ms, round {number + 1} ...", file=sys.stderr, flush=True)
                await self._distance(seconds, f"{seconds * 1000:g} ms")
        packages = [path.read_bytes() for path in self.packages.glob("*.nupkg")]
        self.samples.add("SHA-512 of the packages: CPU s", OURS, sha512_seconds(packages))
        self.samples.add("checksums inside the packages: CPU s", OURS, checksum_seconds(packages))

    async def _distance(self, seconds: float, away: str) -> None:
        with ExitStack() as stack:
            self._number += 1
            here = self.folder / str(self._number)
            here.mkdir()
            feed = stack.enter_context(SlowFeed(self.packages, here / "feed.log", seconds))
            caches: list[Server] = [stack.enter_context(Proxy(feed, here / "nugetproxy"))]
            if nginx.version() is not None:
                caches.append(stack.enter_context(nginx.Recipe(feed, here / "nginx")))
            for server in (feed, *caches) if self._number % 2 else (*caches, feed):
                cold = Target(1.05, relative=True) if seconds else None
                await self._sample(server, here, f"restore, cold, upstream {away} away", cold)
                if server is caches[0]:
                    await self._behind(server, f"behind a cold restore, upstream {away} away: CPU s")
            for server in caches:
                await self._sample(server, here, f"restore, warm, upstream {away} away", None)
            if seconds == CLOSE:
                point = "restore, warm, against a folder: s"
                self.samples.add(point, OURS, await self._restore(f"{caches[0].root}/v3/index.json", here))
                self.samples.add(point, "direct", await self._restore(str(self.packages), here))
                self.samples.targets[point] = Target(1.2, relative=True)

    async def _sample(self, server: Server, here: Path, point: str, target: Target | None) -> None:
        before = accounting.cpu_seconds(server.session)
        took = await self._restore(f"{server.root}/v3/index.json", here)
        settle(server)
        spent = accounting.cpu_seconds(server.session) - before
        self.samples.add(f"{point}: s", server.name, took, target)
        if server.name != "direct":
            self.samples.add(f"{point}: CPU s", server.name, spent)

    async def _behind(self, proxy: Server, point: str) -> None:
        """What the proxy still spends until it has done what a cold restore leaves to it; raises TimeoutError."""
        before = accounting.cpu_seconds(proxy.session)
        async with asyncio.timeout(BEHIND_SECONDS):
            while any(f'"{event}"' not in proxy.output.read_text() for event in LAST_EVENTS):
                await asyncio.sleep(1.0)
        settle(proxy)
        self.samples.add(point, proxy.name, accounting.cpu_seconds(proxy.session) - before)

    async def _restore(self, source: str, here: Path) -> float:
        """Seconds of one restore with empty caches."""
        self._number += 1
        box = Box10(here / f"box{self._number}", source)
        # The time of checking signatures is the client's own.
        box.variables = {"DOTNET_NUGET_SIGNATURE_VERIFICATION": "false"}
        (box.work / "app.csproj").write_bytes((self.packages / "app.csproj").read_bytes())
        began = time.monotonic()
        (await box.run(self.dotnet, "restore")).ok()
        took = time.monotonic() - began
        expected = len(list(self.packages.glob("*.nupkg")))
        if (got := len(box.restored())) != expected:
            raise RuntimeError(f"{got} of {expected} packages came from {source}")
        shutil.rmtree(box.root)
        return took


def main() -> None:
    """Measure, print the table."""
    parser = ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one round")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write every sample")
    arguments = parser.parse_args()
    packages = Path(os.environ["NUGETPROXY_TEST_PACKAGES"])
    dotnet = find_client("NUGETPROXY_TEST_DOTNET10", "dotnet")
    about = {name: value for name, value in facts(QUICK).items() if name not in {"effort", "paced_seconds"}}
    with tempfile.TemporaryDirectory(prefix="nugetproxy-bench-") as folder:
        restores = Restores(Path(folder), dotnet, packages, 1 if arguments.quick else 3)
        asyncio.run(restores.all())
    about["load_average_after"] = round(os.getloadavg()[0], 2)
    print("\n".join(f"* {name}: {value}" for name, value in about.items()), end="\n\n")
    print(table(restores.samples))
    if arguments.json:
        arguments.json.write_text(json.dumps(document(restores.samples, about), indent=1) + "\n")


if __name__ == "__main__":
    main()
