"""A proxy to which everything happens that changes what is true: what it says is right, also after a restart."""

from __future__ import annotations

import base64
import hashlib
import random
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from nugetproxy.admin.commands import carry_out
from nugetproxy.errors import ProxyError
from tests.engine.test_scrub import flip
from tests.fakes.asking import Got, ask, until
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.rules.conftest import ORDINARY, ago
from tests.rules.test_lane_truth import FEEDS, PATHS, House
from tests.web.test_push import form, sending
from tests.web.test_tokens import basic

OWN = (
    "push", "write", "set_clock", "evict", "scrub", "go_offline", "front_end", "change_token", "bring", "lay",
    "compare",
)  # fmt: skip
LAID = ("/v3/content/acme.l/index.json", "/v3/content/acme.l/1.0.0/acme.l.1.0.0.nupkg")
ATTACK = "/v3/content/acme.a/9.9.9/acme.a.9.9.9.nupkg"
"""Of an id of the private source, at the public one."""
VIEWS: tuple[dict[str, str], ...] = (
    {},
    {"Host": "proxy.test"},
    {"Host": "stranger.test"},
    {"X-Forwarded-Host": "one.test", "X-Forwarded-Proto": "https"},
    {"X-Forwarded-Host": "two.test", "X-Forwarded-Prefix": "/p", "X-Forwarded-For": "10.0.0.1"},
)


class SetClock(FakeClock):
    """Of which the wall clock can be set."""

    def set(self, seconds: float) -> None:
        """Ahead, or back."""
        self._start += seconds


class Village(House):
    """A house with a folder beside its feeds, clients of all sorts, writes, tokens, an operator."""

    def __init__(self, folder: Path, up: FakeFeed, second: FakeFeed) -> None:
        self.offline = self.front = self.ever_offline = False
        self.token: str | None = None
        self.lib = folder / "lib"
        self.lib.mkdir(parents=True)
        self.wall = SetClock()
        super().__init__(folder / "cache", up, second, self.wall)

    def tables(self, *, unlisted: bool) -> dict[str, Any]:
        tables = super().tables(unlisted=unlisted)
        tables["upstream"]["offline"] = self.offline
        tables["upstreams"]["lib"] = {"url": str(self.lib)}
        tables["server"] = {
            "allowed_hosts": ["proxy.test"],
            "trusted_proxies": ["127.0.0.1"] if self.front else [],
        }
        for farm in ("farm", "ruled-farm"):
            tables["feeds"][farm]["sources"] += ["lib"]
        return tables

    def judge(self, path: str, got: Got) -> None:
        super().judge(path, got)
        claimed = "up" in self.proxy.app.claims.of("acme.a")
        if "farm" in path and (claimed or not self.ever_offline):  # offline, an id that it never named is nobody's
            assert b'"9.9.9"' not in got.body, path
            assert got.status != 200 or not path.endswith(ATTACK), path

    def client(self, chance: random.Random) -> dict[str, str]:
        """How somebody asks."""
        shown = basic(self.token) if self.token and chance.random() < 0.7 else {}
        return {"Accept-Encoding": chance.choice(("gzip", "identity")), **chance.choice(VIEWS), **shown}

    async def happen(self, chance: random.Random) -> None:
        """One more kind of change."""
        kind = chance.choice(OWN)
        self.seen[kind] += 1
        await getattr(self, kind)(chance)

    async def writes(self, method: str, path: str, **more: Any) -> Got:
        """Through the proxy, with the key of the feed."""
        return await ask(self.proxy, path, method, headers={**sending(), **self.shown()}, **more)

    def shown(self) -> dict[str, str]:
        """The token, while it is good."""
        good = self.token is not None and self.proxy.app.tokens.of(self.token) is not None
        return basic(self.token or "") if good else {}

    async def push(self, _: random.Random) -> None:
        version = f"{self.number + 1}.0.0"
        got = await self.writes("PUT", "/v3/package", data=form(make_nupkg("Acme.A", version)))
        if got.status == 201:
            self.number += 1
            if self.up.mode == "up":
                for more in ({}, ORDINARY["headers"]):
                    listed = await self.read("/v3/content/acme.a/index.json", **more)
                    assert listed.status == 200, listed
                    assert f'"{version}"'.encode() in listed.body

    async def write(self, chance: random.Random) -> None:
        """Unlist, or list again."""
        method = chance.choice(("DELETE", "POST"))
        got = await self.writes(method, "/v3/package/Acme.A/1.0.0")
        if got.status == 200:
            leaf = await self.read("/v3/registration/gz-semver2/acme.a/1.0.0.json")
            assert leaf.status == 200, leaf
            assert f'"listed":{str(method == "POST").lower()}'.encode() in leaf.body

    async def read(self, path: str, **headers: str) -> Got:
        """As one who may."""
        return await ask(self.proxy, path, headers={**headers, **self.shown()})

    async def set_clock(self, chance: random.Random) -> None:
        self.wall.set(chance.choice((-86_400, -600, -1, 1, 600, 86_400)))

    async def evict(self, chance: random.Random) -> None:
        await carry_out(self.proxy.app.desk, "evict", {"to": chance.choice((0, 5000))}, by="test")

    async def scrub(self, _: random.Random) -> None:
        for held in self.proxy.packages.glob("acme.a/*/*.nupkg"):
            flip(held)
        for _round in range(2):  # a pass begins once a day
            self.clock.advance(86_400)
            await self.proxy.app.scrub.round()

    async def turn(self, **changed: bool) -> None:
        """Reload, with something else."""
        for name, value in changed.items():
            setattr(self, name, value)
        await until(lambda: not self.proxy.app.tasks.running())
        await self.proxy.reload(**self.tables(unlisted=True))

    async def go_offline(self, _: random.Random) -> None:
        await self.turn(offline=not self.offline, ever_offline=True)

    async def front_end(self, _: random.Random) -> None:
        await self.turn(front=not self.front)

    async def change_token(self, chance: random.Random) -> None:
        tokens = self.proxy.app.tokens
        if self.token is not None:
            await tokens.revoke("one")
            self.token = None
        if chance.random() < 0.7:
            _, self.token = await tokens.add("one", ["read", "push"], (), chance.choice((None, 4000)))

    async def bring(self, _: random.Random) -> None:
        """Import."""
        place = self.proxy.directory / "run" / "transfer-0123456789abcdef"
        place.mkdir(parents=True, exist_ok=True)
        for held in self.up.shelf.packages["acme.a"]:
            (place / f"acme.a {held.url_version}").write_bytes(held.content)
            sha512 = base64.b64encode(hashlib.sha512(held.content).digest()).decode()
            package = {"upstream": "up", "package": f"acme.a/{held.url_version}", "sha512": sha512}
            with suppress(ProxyError):  # this version has other bytes here
                await carry_out(self.proxy.app.desk, "transfer/take", {**package, "place": place.name}, by="test")

    async def lay(self, chance: random.Random) -> None:
        """A file comes into the folder, or goes."""
        file = self.lib / f"acme.l.{chance.choice((1, 2))}.0.0.nupkg"
        if file.exists():
            file.unlink()
        else:
            self.second.add(nupkg := make_nupkg("Acme.L", file.name[7:12]))  # equal bytes, so nobody minds whose
            file.write_bytes(nupkg)
        self.clock.advance(10)

    async def compare(self, _: random.Random) -> None:
        """With a restarted one, where all is well: what only one that ran on can know makes no difference then."""
        if self.up.mode != "up" or self.offline:
            return
        self.clock.advance(400)  # what rules look at is looked up again
        await self.tell()
        before = await self.tell()
        await self.proxy.restart()
        assert await self.tell() == before

    async def tell(self) -> dict[str, tuple[int, bytes]]:
        """What is said to everything."""
        told = {}
        for path in (feed + path for feed in FEEDS for path in (*PATHS, *LAID)):
            got = await self.read(path, Host="proxy.test", **ORDINARY["headers"])
            await until(lambda: not self.proxy.app.tasks.running())
            told[path] = got.status, got.body if got.status == 200 else b""
        return told


async def live(folder: Path, seed: int, steps: int) -> Counter[str]:
    """A life of so many steps; how much of what happened."""
    async with FakeFeed() as up, FakeFeed() as second:
        village, chance = Village(folder, up, second), random.Random(seed)
        for number, days in ((1, 30), (2, 6.9)):
            up.add(make_nupkg("Acme.A", f"{number}.0.0", size=3000), at=ago(village.clock, days))
        up.add(make_nupkg("Acme.B", "1.0.0"), at=ago(village.clock, 1))
        second.add(make_nupkg("Acme.A", "9.9.9"), at=ago(village.clock, 30))
        await village.proxy.start()
        try:
            for _ in range(steps):
                await chance.choice((village.change, village.happen))(chance)
                for _ in range(4):
                    path = chance.choice(FEEDS) + chance.choice((*PATHS, *LAID, ATTACK))
                    await village.look(path, village.client(chance))
            return village.seen
        finally:
            await village.proxy.stop()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(3))
async def test_whatever_happens_what_is_said_is_right(tmp_path: Path, seed: int) -> None:
    seen = await live(tmp_path, seed, 60)
    assert seen["laned"] > 50
