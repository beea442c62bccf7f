"""A scene is a proxy with a past: two upstreams, packages, a month of requests.

``python -m tests.browser.scene`` keeps one.

What it shows is of our own making: no package, client or address of it exists.
"""

from __future__ import annotations

import asyncio
import random
import struct
import tempfile
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from nugetproxy.clock import Clock
from nugetproxy.metrics import Metrics
from nugetproxy.store.fs import FsOps
from nugetproxy.store.history.history import History
from nugetproxy.store.history.sighting import Sighting, What, Who
from tests.fakes.feed import FakeFeed
from tests.fakes.origin import Script
from tests.fakes.packages import make_nupkg
from tests.fakes.process import ProxyProcess
from tests.fakes.signing import Seal, authority, signed

ADMIN = "nupx_scene-of-the-page-admin-token"
README = """\
# Contoso.Http

Resilient HTTP for **small services**: retries, time-outs, one place for all of it.

```csharp
services.AddContosoHttp(options => options.Retries = 3);
```

- typed clients
- see [the guide](https://example.com/guide) for `IHttpPolicy`
"""
LICENSE = "MIT License\n\nCopyright (c) Contoso\n"
PACKAGES = {
    "Contoso.Http": ["1.8.0", "2.0.0", "2.1.3"],
    "Contoso.Logging": ["4.0.1", "4.1.0"],
    "Contoso.Json": ["12.0.3", "13.0.1"],
    "Contoso.Testing": ["2.9.3"],
    "Contoso.Data.Sqlite": ["8.0.2"],
    "Contoso.Data": ["8.0.2"],
    "Contoso.Identity": ["5.6.0-preview.2", "5.5.1"],
    "Contoso.Caching.Memory": ["9.0.0"],
    "Fabrikam.Tools.Format": ["3.1.0"],
}
LONG, LONG_VERSION = f"Unbroken.{'x' * 60}.{'y' * 30}", f"1.0.0-{'z' * 60}"
BACKWARDS = "\u202e osotnoC"
PRIVATE = {"Northwind.Billing": ["1.4.0", "1.5.0"], "Northwind.Contracts": ["7.0.2"]}
ROOT = authority("Contoso Root")
AUTHOR = ROOT.issue("Contoso")
SLOW, SLOW_VERSION = "contoso.data.sqlite", "8.0.2"
BIG = "contoso.native"
SLOW_SECONDS = 3.2
SESSION = "5c1d2f6e-0d3b-4c58-9a41-6a2b7b1f9e10"


@dataclass(slots=True)
class Scene:
    """What a driver needs to know."""

    proxy: ProxyProcess
    public: FakeFeed
    private: FakeFeed
    more: asyncio.Event
    """Lets the big download go on to its end."""

    async def restore(self) -> None:
        """A client restores: what it needs is fetched, one package slowly."""
        headers = {"X-NuGet-Session-Id": SESSION}
        async with aiohttp.ClientSession(headers=headers) as session:
            for id_, version in ((SLOW, SLOW_VERSION), ("contoso.data", "8.0.2"), ("contoso.json", "13.0.1")):
                for path in (f"{id_}/index.json", f"{id_}/{version}/{id_}.{version}.nupkg"):
                    async with session.get(f"{self.proxy.url}/v3/content/{path}") as answer:
                        assert answer.status == 200, await answer.text()
                        await answer.read()

    async def fail(self) -> None:
        """Clients ask for what is not held, while the upstream is away."""
        async with aiohttp.ClientSession() as session:
            for number in range(4):
                async with session.get(f"{self.proxy.url}/v3/content/contoso.new{number}/index.json") as answer:
                    assert answer.status == 503

    @asynccontextmanager
    async def downloading(self) -> AsyncIterator[None]:
        """Meanwhile a client has begun a download that does not end before ``more``."""
        path = f"/v3/content/{BIG}/6.2.0/{BIG}.6.2.0.nupkg"
        async with aiohttp.ClientSession() as session, session.get(f"{self.proxy.url}{path}") as answer:
            assert answer.status == 200
            yield


@asynccontextmanager
async def scene(directory: Path) -> AsyncIterator[Scene]:
    """A running one; what it takes from upstreams is real, its past is written down."""
    more = asyncio.Event()
    async with FakeFeed() as public, FakeFeed() as private:
        fill(public, private, more)
        directory.joinpath("admin").write_text(ADMIN)
        directory.joinpath("roots.pem").write_bytes(ROOT.pem)
        await seed(directory / "cache")
        config = directory / "proxy.toml"
        config.write_text(CONFIG.format(public=public.index_url, private=private.index_url, directory=directory))
        async with ProxyProcess("--config", config) as proxy:
            await proxy.ready()
            await warm(proxy.url)
            yield Scene(proxy, public, private, more)
            more.set()


CONFIG = """
[cache]
directory = "{directory}/cache"
min_free = "0"
max_size = "1 GiB"
keep_registrations = false
[server]
allow_anonymous = true
drain = "1s"
[symbols]
urls = []
[tools]
url = ""
[[access.tokens]]
name = "ops"
token = "file:{directory}/admin"
scopes = ["admin"]
[upstreams."nuget.org"]
url = "{public}"
signatures = "warn"
signature_roots = ["{directory}/roots.pem"]
read_timeout = "300s"
private = false
[upstreams.company]
url = "{private}"
private = true
[feeds.farm]
sources = ["company", "nuget.org"]
"""


def fill(public: FakeFeed, private: FakeFeed, more: asyncio.Event) -> None:
    """Both upstreams' packages."""
    for id_, versions in PACKAGES.items():
        for version in versions:
            public.add(packed(id_, version))
    for id_, versions in PRIVATE.items():
        for version in versions:
            private.add(packed(id_, version))
    public.add(make_nupkg(LONG, LONG_VERSION, authors=BACKWARDS, dependencies=[(LONG, "[1.0.0, )")]))
    public.vulnerabilities["base"] = {
        "contoso.http": [
            {"url": "https://example.com/advisories/CVE-2026-0001", "severity": 3, "versions": "(, 2.0.0]"},
            {"url": "https://example.com/advisories/CVE-2026-0002", "severity": 1, "versions": "(, 1.9.0]"},
        ]
    }
    public.registration_extra["contoso.json"] = {"12.0.3": {"deprecation": {"reasons": ["Legacy"]}}}
    big = signed(make_nupkg("Contoso.Native", "6.2.0", size=6_000_000), Seal(by=AUTHOR))
    public.add(big)
    path = f"/v3-flatcontainer/{BIG}/6.2.0/{BIG}.6.2.0.nupkg"
    public.origin.routes[path] = Script(body=big, gate=more, gate_at=2_500_000)
    slow = f"/v3-flatcontainer/{SLOW}/{SLOW_VERSION}/{SLOW}.{SLOW_VERSION}.nupkg"

    async def slowly(_: object) -> Script:
        await asyncio.sleep(SLOW_SECONDS)
        return Script(body=packed("Contoso.Data.Sqlite", SLOW_VERSION))

    public.origin.routes[slow] = slowly


def picture(side: int = 64) -> bytes:
    """A PNG: a disc on nothing."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    middle = (side - 1) / 2
    rows = (
        b"\0"
        + b"".join(
            bytes((94, 53, 177, 255 if (x - middle) ** 2 + (y - middle) ** 2 < middle**2 else 0)) for x in range(side)
        )
        for y in range(side)
    )
    head = struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0)
    pixels = zlib.compress(b"".join(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def packed(id_: str, version: str) -> bytes:
    """A package with everything that the page shows; those of Contoso are signed."""
    tool = id_.startswith("Fabrikam.Tools")
    nupkg = make_nupkg(
        id_,
        version,
        description=f"{id_.replace('.', ' ')} for services that must answer, whatever else does not.",
        authors="Contoso",
        tags="contoso services resilience",
        readme=README if id_ == "Contoso.Http" else None,
        icon=picture() if id_ == "Contoso.Http" else None,
        license_file=LICENSE,
        dependencies={
            "net8.0": [("Contoso.Json", "[13.0.1, )"), ("Contoso.Logging", "[4.1.0, )")],
            "netstandard2.0": [],
        }
        if id_ == "Contoso.Http"
        else (),
        package_types=["DotnetTool"] if tool else (),
        files={f"lib/net8.0/{id_}.dll": "x" * 9000, f"lib/net8.0/{id_}.xml": "<doc/>"},
    )
    return signed(nupkg, Seal(by=AUTHOR)) if id_.startswith("Contoso.") else nupkg


async def warm(url: str) -> None:
    """Have most packages held, and heard what upstream says of one."""
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{url}/v3/registration/gz-semver2/contoso.json/index.json") as answer:
            assert answer.status == 200, await answer.text()
        for id_, versions in {**PACKAGES, **PRIVATE, LONG: [LONG_VERSION]}.items():
            for version in versions:
                name = f"{id_}/{version}/{id_}.{version}.nupkg".lower()
                if id_.lower() != SLOW and id_ not in {"Contoso.Data"}:
                    async with session.get(f"{url}/v3/content/{name}") as answer:
                        assert answer.status == 200, (name, await answer.text())
                        await answer.read()


async def seed(cache: Path) -> None:
    """A month of requests, as the history would have seen them."""
    cache.mkdir(parents=True)
    history = History(fs=FsOps(), clock=Clock(), metrics=Metrics(), restores=1000, usage=30 * 86400.0)
    await history.open(cache)
    history.pending += past(time.time())
    await history.flush()
    await history.close()


def past(now: float) -> list[Sighting]:
    """Deterministic but for when it is: more by day than by night, more hits as time goes by."""
    chance = random.Random("a month")
    found = []
    ids = [(id_.lower(), version) for id_, versions in PACKAGES.items() for version in versions]
    for at in [now - hours * 3600 - chance.random() * 3600 for hours in range(1, 720)]:
        busy = 1.0 if 7 <= time.gmtime(at).tm_hour <= 18 else 0.25
        found += _restore(chance, at, ids, int(2 + 10 * busy * chance.random()))
    for minute in range(2, 58):
        found += _restore(chance, now - minute * 60, ids, chance.randrange(1, 9))
    return found


def _restore(chance: random.Random, at: float, ids: list[tuple[str, str]], packages: int) -> list[Sighting]:
    client = f"10.20.4.{chance.randrange(11, 19)}"
    who = Who(client, f"{chance.getrandbits(64):016x}", chance.choice(["build-farm", "", "laptops"]))
    found: list[Sighting] = []
    for number in range(packages):
        id_, version = chance.choice(ids)
        draw = chance.random()
        outcome = "hit" if draw < 0.91 else "miss" if draw < 0.988 else "failed"
        seconds = chance.random() * (0.02 if outcome == "hit" else 1.1)
        what = What(
            feed="farm",
            kind="package",
            id=id_,
            version=version,
            outcome=outcome,
            status=503 if outcome == "failed" else 200,
            size=chance.randrange(60_000, 2_400_000),
            reason="connect_timeout" if outcome == "failed" else "",
            detail=FAILURE if outcome == "failed" else "",
            pulled=outcome != "failed",
        )
        found.append((at + number * 0.2 + seconds, what, who, seconds, 0.0 if outcome == "hit" else seconds * 0.8, 0.0))
    return found


FAILURE = (
    "Upstream 'nuget.org' gave no usable answer (connect_timeout: no connection within 2 s), and nothing usable is "
    "stored for this request."
)


async def main() -> None:
    """Keep one until it is interrupted."""
    with tempfile.TemporaryDirectory() as directory:
        async with scene(Path(directory)) as shown:
            print(f"{shown.proxy.url}/  (administrator: any user, password {ADMIN})", flush=True)
            async with shown.downloading():
                await shown.restore()
                await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
