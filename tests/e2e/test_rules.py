"""Real clients restore from a feed with a cooldown."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.e2e.clients import Ran, find_client
from tests.e2e.proxy import Proxy
from tests.e2e.test_sdk10 import PROJECT, Box10
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg

CONFIG = """
[upstreams.public]
url = "{public}"
{keys}
[feeds.public]
sources = ["public"]
[[feeds.public.rules]]
name = "cooldown"
min_age = "7d"
reason = "New versions wait a week"
"""
FIX = {"url": "https://example.test/advisory", "severity": 2, "versions": "(, 1.5.0]"}


def days_ago(days: float) -> datetime:
    return datetime.now(UTC) - timedelta(days=days)


@pytest.fixture
async def public() -> AsyncIterator[FakeFeed]:
    """Acme.App 2.0.0 is two days old, as is the Acme.Core 2.0.0 that it would take."""
    async with FakeFeed() as feed:
        for version, days in (("1.0.0", 100), ("1.2.0", 60), ("1.5.0", 30), ("2.0.0", 2)):
            feed.add(make_nupkg("Acme.Core", version), at=days_ago(days))
            needs = [("Acme.Core", "[1.0.0, )")]
            feed.add(make_nupkg("Acme.App", version, dependencies=needs), at=days_ago(days))
        yield feed


class Cooled:
    """Boxes for SDK 10 in front of a proxy with a cooldown."""

    def __init__(self, program: str, folder: Path, public: FakeFeed) -> None:
        self._program = program
        self.folder = folder
        self.public = public
        self._count = 0

    def proxy(self, keys: str = "") -> Proxy:
        return Proxy(self.folder / "cache", config=CONFIG.format(public=self.public.index_url, keys=keys))

    def box(self, source: str, *references: str, locked: bool = False) -> Box10:
        self._count += 1
        box = Box10(self.folder / f"box{self._count}", source)
        pairs = (reference.split("/") for reference in references)
        items = "".join(f'<PackageReference Include="{name}" Version="{version}"/>' for name, version in pairs)
        lock = "<PropertyGroup><RestorePackagesWithLockFile>true</RestorePackagesWithLockFile></PropertyGroup>"
        text = PROJECT.format(items=items)
        (box.work / "app.csproj").write_text(text.replace("<ItemGroup>", f"{lock}<ItemGroup>") if locked else text)
        return box

    async def restore(self, box: Box10, *more: str) -> Ran:
        return await box.run(self._program, "restore", *more)


@pytest.fixture
def cooled(tmp_path: Path, public: FakeFeed) -> Cooled:
    return Cooled(find_client("NUGETPROXY_TEST_DOTNET10", "dotnet10"), tmp_path, public)


@pytest.mark.parametrize("version", ["*", "1.*", "[1.0.0, 3.0.0)", "1.0.0"])
async def test_what_floats_takes_the_newest_that_is_old_enough(cooled: Cooled, version: str) -> None:
    async with cooled.proxy() as proxy:
        box = cooled.box(proxy.index_url, f"Acme.App/{version}")
        ran = (await cooled.restore(box)).ok()
    taken = "1.5.0" if "*" in version else "1.0.0"
    assert set(box.restored()) == {f"acme.app.{taken}.nupkg", "acme.core.1.0.0.nupkg"}
    assert "warn" not in ran.output.lower()


async def test_a_version_that_is_too_young_is_not_there(cooled: Cooled) -> None:
    async with cooled.proxy() as proxy:
        ran = (await cooled.restore(cooled.box(proxy.index_url, "Acme.App/[2.0.0]"))).failed()
    assert "NU1102" in ran.output
    assert "Nearest version: 1.5.0" in ran.output


async def test_a_lock_file_with_a_young_version_fails_as_if_it_was_not_there(cooled: Cooled, public: FakeFeed) -> None:
    direct = cooled.box(public.index_url, "Acme.App/[2.0.0]", locked=True)
    public.omit.add("RepositorySignatures")
    (await cooled.restore(direct)).ok()
    async with cooled.proxy() as proxy:
        box = cooled.box(proxy.index_url, "Acme.App/[2.0.0]", locked=True)
        (box.work / "packages.lock.json").write_bytes((direct.work / "packages.lock.json").read_bytes())
        ran = (await cooled.restore(box, "--locked-mode")).failed()
    assert "NU1102" in ran.output
    assert "Nearest version: 1.5.0" in ran.output


async def test_a_restore_that_has_seen_the_version_before_the_rule_prints_the_reason(cooled: Cooled) -> None:
    """The client has its list from before, as it keeps lists for half an hour; the package it asks for by name."""
    open_ = CONFIG.partition("[[")[0].format(public=cooled.public.index_url, keys="")
    async with Proxy(cooled.folder / "cache", config=open_) as proxy:
        box = cooled.box(proxy.index_url, "Acme.App/[2.0.0]")
        (await cooled.restore(box)).ok()
        shutil.rmtree(box.packages)
        for kept in (box.root / "http").rglob("nupkg_*"):
            kept.unlink()
        await proxy.reload(CONFIG.format(public=cooled.public.index_url, keys=""))
        ran = (await cooled.restore(box, "--force")).failed()
    assert (
        "403 (acme.app 2.0.0 is denied by the rule 'cooldown' of the feed 'public': younger than 7 days" in ran.output
    )
    assert "New versions wait a week. It passes at " in ran.output


async def test_a_restore_of_what_has_no_version_left_prints_the_reason(cooled: Cooled, public: FakeFeed) -> None:
    public.add(make_nupkg("Acme.New", "1.0.0"), at=days_ago(1))
    async with cooled.proxy() as proxy:
        ran = (await cooled.restore(cooled.box(proxy.index_url, "Acme.New/1.0.0"))).failed()
    assert "No version of acme.new passes the rules of the feed 'public'." in ran.output
    assert "New versions wait a week. It passes at " in ran.output


async def test_a_fix_of_a_known_advisory_passes_at_once(cooled: Cooled, public: FakeFeed) -> None:
    public.vulnerabilities["base"] = {"acme.app": [FIX]}
    async with cooled.proxy() as proxy:
        box = cooled.box(proxy.index_url, "Acme.App/*")
        (await cooled.restore(box)).ok()
    assert set(box.restored()) == {"acme.app.2.0.0.nupkg", "acme.core.1.0.0.nupkg"}


@pytest.mark.parametrize("how", ["offline", "source down"])
async def test_without_the_source_it_takes_the_same(cooled: Cooled, public: FakeFeed, how: str) -> None:
    async with cooled.proxy() as proxy:
        (await cooled.restore(cooled.box(proxy.index_url, "Acme.App/*"))).ok()
        await proxy.stop()
    if how == "source down":
        await public.set_mode("refused")
    async with cooled.proxy("offline = true" if how == "offline" else 'document_deadline = "1s"') as proxy:
        box = cooled.box(proxy.index_url, "Acme.App/*")
        (await cooled.restore(box)).ok()
    assert set(box.restored()) == {"acme.app.1.5.0.nupkg", "acme.core.1.0.0.nupkg"}


async def test_as_of_restores_of_three_dates_give_three_lock_files_twice_the_same(cooled: Cooled) -> None:
    locks: list[list[dict[str, object]]] = []
    async with cooled.proxy() as proxy:
        for _ in range(2):
            found = []
            for days in (90, 50, 20):
                at = days_ago(days).strftime("%Y-%m-%dT%H:%M:%SZ")
                box = cooled.box(f"{proxy.url}/asof/{at}/v3/index.json", "Acme.App/*", locked=True)
                (await cooled.restore(box)).ok()
                found.append(json.loads((box.work / "packages.lock.json").read_text()))
            locks.append(found)
    assert locks[0] == locks[1]
    resolved = [one["dependencies"]["net10.0"]["Acme.App"]["resolved"] for one in locks[0]]  # type: ignore[index]
    assert resolved == ["1.0.0", "1.2.0", "1.5.0"]
