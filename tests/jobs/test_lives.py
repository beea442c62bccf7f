"""A proxy whose operator does everything at any time: nothing is lost that is kept, nothing is told that is not so."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from nugetproxy.admin.commands import carry_out
from nugetproxy.engine.unpinned import look_into_unpinned
from nugetproxy.errors import BadRequest, ProxyError
from nugetproxy.jobs.check import check
from nugetproxy.jobs.exporting import ExportWish, export
from nugetproxy.jobs.importing import Importing
from nugetproxy.jobs.inner_client import InnerClient
from nugetproxy.jobs.mirror import Mirroring, Selection
from nugetproxy.jobs.progress import Unseen
from nugetproxy.jobs.wants import Wants
from nugetproxy.jobs.warm import Warming
from nugetproxy.nuget.nuspec import Dependency
from nugetproxy.nuget.projects.needs import Graph
from tests.engine.test_scrub import flip
from tests.fakes.asking import Got, ask, until
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.rules.conftest import ORDINARY, ago
from tests.rules.test_lane_truth import House

KINDS = (
    "publish publish pass purge evict keep unkeep restart kill lose offline damage verify mirror warm warm export bring"
    " plant forget"
)
IDS, VERSIONS = ("acme.a", "acme.b", "other.base"), ("1.0.0", "2.0.0")
FEEDS = ("", "ruled", "farm")
PATHS = tuple(
    path
    for id in IDS
    for version in VERSIONS
    for path in (
        f"/v3/content/{id}/index.json",
        f"/v3/content/{id}/{version}/{id}.{version}.nupkg",
        f"/v3/registration/gz-semver2/{id}/index.json",
    )
)


class Town(House):
    """A house with an operator who mirrors, warms, exports, imports, keeps, evicts, verifies; with kills, damage."""

    def __init__(self, folder: Path, up: FakeFeed, second: FakeFeed) -> None:
        self.folder = folder
        self.offline = False
        self.ours: set[bytes] = set()
        self.first: dict[str, bytes] = {}
        """By file name: the bytes that a version has had since it was served."""
        self.kept: set[tuple[str, str]] = set()
        self.bundles: list[Path] = []
        super().__init__(folder / "cache", up, second, FakeClock())

    def tables(self, *, unlisted: bool) -> dict[str, Any]:
        tables = super().tables(unlisted=unlisted)
        tables["upstream"]["offline"] = self.offline
        return tables

    def judge(self, path: str, got: Got) -> None:
        assert got.status < 500 or got.status in {502, 503}, (path, got.status, got.body)
        name = path.rpartition("/")[2]
        if name.endswith(".nupkg") and got.status == 200:
            assert got.body in self.ours, path
            assert self.first.setdefault(name, got.body) == got.body, path
        elif name.endswith(".nupkg") and path.startswith("/v3/"):
            assert not self.is_held(name), (path, got.status, got.body)

    def is_held(self, name: str) -> bool:
        """As it is to be served, whatever upstream does."""
        return any(held.read_bytes() in self.ours for held in self.held() if held.name == name)

    def held(self) -> set[Path]:
        return {mark.with_suffix("") for mark in self.proxy.packages.glob("*/*/*.nupkg.sha512")}

    def command(self, name: str, **arguments: Any) -> Any:
        return carry_out(self.proxy.app.desk, name, arguments, by="test")

    @property
    def client(self) -> InnerClient:
        return InnerClient(lambda: self.proxy.app.desk, "test")

    async def settled(self) -> None:
        await until(lambda: self.proxy.metric("pending_commits") == 0 and not self.proxy.app.tasks.running())
        await self.proxy.app.ledger.settle()  # else a kill costs the hash of what has just come

    async def change(self, chance: random.Random) -> None:
        kind = chance.choice(KINDS.split())
        self.seen[kind] += 1
        await self.settled()
        await getattr(self, f"do_{kind}")(chance)
        await self.settled()
        self.clock.advance(2)

    async def do_publish(self, chance: random.Random) -> None:
        """A version, perhaps in place of other bytes."""
        self.number += 1
        id, version = chance.choice(("Acme.A", "Acme.B", "Other.Base")), chance.choice(VERSIONS)
        needs = (("Other.Base", "1.0.0"),) if id != "Other.Base" and chance.random() < 0.5 else ()
        size = chance.choice((0, 3000, 100_000))
        package = make_nupkg(id, version, description=f"{self.number}", dependencies=needs, size=size)
        self.ours.add(package)
        self.up.add(package, at=ago(self.clock, chance.choice((1, 30))))

    async def do_pass(self, chance: random.Random) -> None:
        self.clock.advance(chance.choice((31, 301, 3601, 90_000)))

    async def do_purge(self, chance: random.Random) -> None:
        """With what somebody has put there a moment ago."""
        id = chance.choice(IDS)
        for held in [held for held in self.held() if held.parts[-3] == id][:1]:
            shutil.copytree(held.parent, copy := self.folder / "put-aside")
            await self.command("purge", id=id)
            shutil.copytree(copy, held.parent)
            shutil.rmtree(copy)
        await self.command("purge", id=id)
        assert not list(self.proxy.packages.glob(f"{id}/*/*.nupkg"))
        self.first = {name: body for name, body in self.first.items() if not name.startswith(id)}

    async def do_evict(self, chance: random.Random) -> None:
        before = self.held()
        await self.command("evict", to=chance.choice((0, 5000)))
        for gone in before - self.held():
            id, version = gone.parts[-3:-1]
            assert not {(id, version), (id, "")} & self.kept

    async def do_keep(self, chance: random.Random) -> None:
        id, version = chance.choice(IDS), chance.choice((*VERSIONS, ""))
        await self.command("keep", packages=[f"{id}@{version}".rstrip("@")])
        self.kept.add((id, version))

    async def do_unkeep(self, chance: random.Random) -> None:
        if self.kept:
            id, version = gone = chance.choice(sorted(self.kept))
            await self.command("unkeep", packages=[f"{id}@{version}".rstrip("@")])
            self.kept.discard(gone)
        assert {(one["id"], one["version"] or "") for one in (await self.command("kept"))["kept"]} == self.kept

    async def do_restart(self, _: random.Random) -> None:
        await self.proxy.restart()

    async def do_kill(self, _: random.Random) -> None:
        """What lies there while it runs is all that the next one finds."""
        copy, here = self.folder / "copy", self.proxy.directory
        await asyncio.to_thread(shutil.copytree, here, copy, copy_function=_copied)
        await self.proxy.stop()
        await asyncio.to_thread(shutil.rmtree, here)
        copy.rename(here)
        await self.proxy.start()

    async def do_lose(self, chance: random.Random) -> None:
        await self.up.set_mode(chance.choice(("up", "up", "refused", "5xx", "html")))

    async def do_offline(self, _: random.Random) -> None:
        self.offline = not self.offline
        await self.proxy.reload(**self.tables(unlisted=True))

    async def do_damage(self, chance: random.Random) -> None:
        """What a look at the file shows."""
        for held in self.held():
            match chance.choice(("cut", "other", "hash", "", "")):
                case "cut":
                    held.write_bytes(held.read_bytes()[:-10])
                case "other":
                    held.write_bytes(b"x" * held.stat().st_size)
                case "hash":
                    held.with_name(f"{held.name}.sha512").write_text("bad")

    async def do_verify(self, _: random.Random) -> None:
        """Finds what no look shows, too."""
        for held in self.held():
            flip(held)
        await self.command("verify")
        assert all(held.read_bytes() in self.ours for held in self.held())
        assert (await self.command("verify"))["damaged"] == []

    async def do_mirror(self, chance: random.Random) -> None:
        before, dry = self.held(), chance.random() < 0.3
        wish = Selection(patterns=(chance.choice(("acme.*", "other.base")),), dependencies=chance.random() < 0.5)
        with suppress(ProxyError, ExceptionGroup):
            await Mirroring(self.client, wish, feed=chance.choice(FEEDS)).run(lambda _: None, dry=dry)
            await self.settled()
        assert not dry or self.held() <= before

    async def do_warm(self, chance: random.Random) -> None:
        """What is told to be there is there with upstream gone."""
        feed, id, version = chance.choice(FEEDS), chance.choice(IDS), chance.choice(VERSIONS)
        wants = Wants(exact=(), direct=(), graphs=(Graph(references=(Dependency(id, f"[{version}]"),)),), remarks=())
        with suppress(ProxyError, ExceptionGroup):
            await Warming(self.client, feed=feed).run(wants)
            await self.settled()
        missing, mode = await check(self.client, wants, feed), self.up.mode
        await self.up.set_mode("refused")
        self.clock.advance(20)  # from then on nobody waits for it
        root = f"/{feed}" if feed else ""
        package = await ask(self.proxy, f"{root}/v3/content/{id}/{version}/{id}.{version}.nupkg", **ORDINARY)
        listed = await ask(self.proxy, f"{root}/v3/content/{id}/index.json", **ORDINARY)
        is_there = package.status == listed.status == 200 and f'"{version}"'.encode() in listed.body
        assert is_there or missing, (feed, id, version, package, listed)
        assert not is_there or id not in {one.id for one in missing}, (feed, missing)
        self.seen["there"] += is_there
        await self.up.set_mode(mode)
        self.clock.advance(120)

    async def do_export(self, _: random.Random) -> None:
        bundle = self.folder / f"bundle{len(self.bundles)}"
        with suppress(BadRequest):  # a hash file is damaged
            await export(self.client, bundle, ExportWish(cache=self.proxy.directory, upstreams=["up"]), Unseen())
            self.bundles.append(bundle)

    async def do_bring(self, chance: random.Random) -> None:
        for bundle in self.bundles and [chance.choice(self.bundles)]:
            job = Importing(self.client, self.proxy.directory, Unseen(), upstreams=["up"], into="")
            with suppress(ProxyError):  # there are other bytes here
                await job.bundle(bundle, None)
            job.close()

    async def do_plant(self, chance: random.Random) -> None:
        """Somebody puts a package back that he has copied before; the next start pins it."""
        for held in list(self.held())[:1]:
            copy, id = self.folder / "put-aside", held.parts[-3]
            shutil.copytree(held.parent, copy)
            await self.command("purge", id=id)
            self.first = {name: body for name, body in self.first.items() if not name.startswith(id)}
            shutil.copytree(copy, held.parent)
            shutil.rmtree(copy)
            await self.do_restart(chance)
            await look_into_unpinned(self.proxy.held, self.clock)

    async def do_forget(self, chance: random.Random) -> None:
        """What is derived is lost."""
        await self.proxy.stop()
        shutil.rmtree(self.proxy.directory / "documents")
        if chance.random() < 0.5:
            next(self.proxy.directory.rglob("holdings.db")).unlink()
        await self.proxy.start()


def _copied(source: str, target: str) -> None:
    with suppress(FileNotFoundError):  # gone meanwhile
        shutil.copy2(source, target)


async def live(folder: Path, seed: int, steps: int) -> Counter[str]:
    """A life of so many steps; how much of what happened."""
    async with FakeFeed() as up, FakeFeed() as second:
        town, chance = Town(folder, up, second), random.Random(seed)
        for _ in range(6):
            await town.do_publish(chance)
        await town.proxy.start()
        try:
            for _ in range(steps):
                await town.change(chance)
                for _ in range(3):
                    await town.look(chance.choice(("", "/ruled", "/farm")) + chance.choice(PATHS), {})
            return town.seen
        finally:
            await town.proxy.stop()


async def test_whatever_an_operator_does_it_is_as_it_is_told(tmp_path: Path) -> None:
    assert (await live(tmp_path, 4, 25))["laned"] > 0


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(10, 13))
async def test_for_long_it_is_as_it_is_told(tmp_path: Path, seed: int) -> None:
    seen = await live(tmp_path, seed, 100)
    assert seen["laned"] > 50
    assert seen["there"] > 0
