"""A warmed proxy restores with the upstream gone, and ``warm --check`` knows it beforehand, in both directions."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nugetproxy.nuget.identity import PackageIdentity
from tests.e2e.proxy import Proxy
from tests.e2e.test_sdk10 import Box10, dotnet10, new_box, real_packages, restore
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.jobs.test_bundles import unpacked
from tests.jobs.test_repository import write
from tests.test_control import cli

__all__ = ["dotnet10", "real_packages"]

PROJECT = """<Project Sdk="Microsoft.NET.Sdk"><PropertyGroup><TargetFramework>{framework}</TargetFramework>{more}
</PropertyGroup><ItemGroup>{items}</ItemGroup></Project>
"""
IDS = [f"Gen.P{number}" for number in range(14)]
VERSIONS = ("1.0.0", "1.1.0", "2.0.0", "2.1.0-beta.1")


@pytest.fixture
async def feed() -> AsyncIterator[FakeFeed]:
    async with FakeFeed() as feed:
        yield feed


@pytest.fixture
async def proxy(feed: FakeFeed, tmp_path: Path) -> AsyncIterator[Proxy]:
    async with Proxy(tmp_path / "cache", upstream=feed.index_url) as proxy:
        yield proxy


def reference(id_: str, range_: str) -> str:
    return f'<PackageReference Include="{id_}" Version="{range_}" />'


def publish(feed: FakeFeed, chance: random.Random) -> None:
    """Packages that need each other, those with higher numbers by those with lower ones, by framework."""
    for number, id_ in enumerate(IDS):
        for version in VERSIONS[: chance.randint(1, len(VERSIONS))]:
            below = IDS[number + 1 :]
            picked = chance.sample(below, min(len(below), chance.randint(0, 3)))
            needs = [(other, chance.choice(("1.0.0", "1.0.0", "[1.0.0,2.0.0)", "1.0.0-a"))) for other in picked]
            groups = {"netstandard2.0": needs[:1], "net8.0": needs, "net472": ()}
            dependencies = groups if chance.random() < 0.7 else needs
            feed.add(make_nupkg(id_, version, dependencies=dependencies))


def project(folder: Path, chance: random.Random) -> Path:
    """A project of one to four references."""
    picked = chance.sample(IDS[:8], chance.randint(1, 4))
    items = "".join(reference(id_, chance.choice(("1.0.0", "1.*", "[1.0.0,2.0.0)", "1.0.0-*"))) for id_ in picked)
    more = "<NuGetAudit>false</NuGetAudit><NoWarn>NU1603;NU1605</NoWarn>"
    path = folder / "app.csproj"
    path.write_text(PROJECT.format(framework="net10.0", more=more, items=items))
    return path


async def check(cache: Path, *files: Path) -> tuple[bool, str]:
    code, out, err = await cli("warm", "--check", *files, "--cache-dir", cache, "--json")
    assert code in {0, 1}, err
    said = json.loads(out)
    assert said["restorable"] == (code == 0)
    return code == 0, out


async def agree(dotnet10: str, tmp_path: Path, seed: int) -> tuple[bool, bool]:
    """Whether a generated project can be restored from what is held: what the check says, what dotnet says."""
    chance = random.Random(seed)
    root = tmp_path / str(seed)
    root.mkdir()
    async with FakeFeed() as feed, Proxy(root / "cache", upstream=feed.index_url) as proxy:
        publish(feed, chance)
        app = project(root, chance)
        code, out, err = await cli("warm", app, "--cache-dir", proxy.cache)
        assert code == 0, out + err
        await proxy.stop()
        for path in sorted(proxy.packages.glob("*/*/*.nupkg")) if seed % 3 else ():
            if chance.random() < 0.15:
                for one in path.parent.iterdir():
                    one.unlink()
                path.parent.rmdir()
        await feed.set_mode("refused")
        await proxy.start()
        said, found = await check(proxy.cache, app)
        box = new_box(root, proxy)  # it listens elsewhere now
        (box.work / "app.csproj").write_bytes(app.read_bytes())
        ran = await box.run(dotnet10, "restore")
        assert said == (ran.code == 0), f"seed {seed}: the check says {found}, dotnet {ran.output}\n{app.read_text()}"
        return said, ran.code == 0


@pytest.mark.parametrize("seed", range(6))
async def test_the_check_agrees_with_a_restore(dotnet10: str, tmp_path: Path, seed: int) -> None:
    await agree(dotnet10, tmp_path, seed)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_the_check_agrees_with_a_restore_over_fifty_projects(dotnet10: str, tmp_path: Path) -> None:
    found = [await agree(dotnet10, tmp_path, seed) for seed in range(100, 150)]
    restorable = sum(said for said, _ in found)
    assert 10 <= restorable <= 45, f"{restorable} of 50 could be restored: both directions want to be seen"


async def test_every_kind_of_file_is_warmed_and_restored_with_the_upstream_gone(
    dotnet10: str, proxy: Proxy, feed: FakeFeed, tmp_path: Path
) -> None:
    """A solution with central versions, a lock file, a project that refers to another one, a tool."""
    feed.add(make_nupkg("Acme.Base", "1.0.0"))
    feed.add(make_nupkg("Acme.Base", "1.2.0"))
    feed.add(make_nupkg("Acme.Log", "3.1.1", dependencies=[("Acme.Base", "1.0.0")]))
    feed.add(make_nupkg("Acme.Web", "2.5.0", dependencies={"net8.0": [("Acme.Base", "1.1.0")]}))
    maker = new_box(tmp_path, proxy)
    write_solution(maker.work)
    (await maker.run(dotnet10, "restore", "app/app.csproj")).ok()
    lock = (maker.work / "app" / "packages.lock.json").read_bytes()

    async with Proxy(tmp_path / "second", upstream=feed.index_url) as second:
        box = new_box(tmp_path, second)
        write_solution(box.work)
        (box.work / "app" / "packages.lock.json").write_bytes(lock)
        assert (await check(second.cache, box.work))[0] is False
        code, out, err = await cli("warm", box.work, "--cache-dir", second.cache)
        assert code == 0, out + err
        await feed.set_mode("refused")
        assert (await check(second.cache, box.work))[0] is True
        (await box.run(dotnet10, "restore", "app/app.csproj", "--locked-mode")).ok()
        (await box.run(dotnet10, "restore", "lib/lib.csproj")).ok()
        assert set(box.restored()) == {
            PackageIdentity(*pair).nupkg_name
            for pair in (("acme.base", "1.2.0"), ("acme.log", "3.1.1"), ("acme.web", "2.5.0"))
        }


def write_solution(root: Path) -> None:
    files = {
        "Directory.Packages.props": "<Project><PropertyGroup>"
        "<ManagePackageVersionsCentrally>true</ManagePackageVersionsCentrally></PropertyGroup><ItemGroup>"
        '<PackageVersion Include="Acme.Log" Version="3.1.1" /><PackageVersion Include="Acme.Web" Version="2.*" />'
        "</ItemGroup></Project>",
        "app/app.csproj": PROJECT.format(
            framework="net10.0",
            more="<RestorePackagesWithLockFile>true</RestorePackagesWithLockFile>"
            "<CentralPackageFloatingVersionsEnabled>true</CentralPackageFloatingVersionsEnabled>",
            items='<PackageReference Include="Acme.Log" /><ProjectReference Include="../lib/lib.csproj" />',
        ),
        "lib/lib.csproj": PROJECT.format(
            framework="net10.0",
            more="<CentralPackageFloatingVersionsEnabled>true</CentralPackageFloatingVersionsEnabled>",
            items='<PackageReference Include="Acme.Web" />',
        ),
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


async def test_projects_are_read_as_msbuild_reads_them(
    dotnet10: str, proxy: Proxy, feed: FakeFeed, tmp_path: Path
) -> None:
    """Properties of the SDK, imports by properties where they stand, a project that keeps its packages to itself."""
    for id_, version in (("Kind", "1.0.0"), ("Debug", "1.0.0"), ("Late", "1.0.0"), ("Late", "2.0.0"), ("Own", "1.0.0")):
        feed.add(make_nupkg(id_, version))
    files = {
        "Directory.Build.props": "<Project><PropertyGroup><Root>$(MSBuildThisFileDirectory)</Root></PropertyGroup>"
        f"<ItemGroup Condition=\"'$(MSBuildProjectExtension)' == '.csproj'\">{reference('Kind', '1.0.0')}</ItemGroup>"
        "</Project>",
        "eng/late.props": "<Project><PropertyGroup Condition=\"'$(V)' == '1.0.0'\"><V>2.0.0</V></PropertyGroup>"
        "</Project>",
        "app/app.csproj": PROJECT.format(
            framework="net10.0",
            more="<V>1.0.0</V>",
            items=f"{reference('Late', '$(V)')}<ProjectReference Include='../lib/lib.csproj' />",
        ).replace(
            "</Project>",
            f"<ItemGroup Condition=\"'$(Configuration)' == 'Debug'\">{reference('Debug', '1.0.0')}</ItemGroup>"
            "<Import Project='$(Root)eng/late.props' /></Project>",
        ),
        "lib/lib.csproj": PROJECT.format(
            framework="net10.0", more="", items="<PackageReference Include='Own' Version='1.0.0' PrivateAssets='all' />"
        ),
    }
    box = new_box(tmp_path, proxy)
    write(box.work, dict(files))
    code, out, err = await cli("warm", box.work / "app" / "app.csproj", "--cache-dir", proxy.cache)
    assert code == 0, out + err
    await feed.set_mode("refused")
    (await box.run(dotnet10, "restore", "app/app.csproj")).ok()
    assert set(box.restored()) == {"kind.1.0.0.nupkg", "debug.1.0.0.nupkg", "late.2.0.0.nupkg", "own.1.0.0.nupkg"}


async def test_what_a_package_wants_in_an_older_version_than_net_has_is_warmed(
    dotnet10: str, proxy: Proxy, feed: FakeFeed, tmp_path: Path
) -> None:
    feed.add(make_nupkg("Picky", "1.0.0", dependencies=[("System.Memory", "[4.5.0]")]))
    feed.add(make_nupkg("System.Memory", "4.5.0"))
    box = new_box(tmp_path, proxy)
    app = box.app("Picky/1.0.0")
    code, out, err = await cli("warm", app, "--cache-dir", proxy.cache)
    assert code == 0, out + err
    await feed.set_mode("refused")
    (await box.run(dotnet10, "restore", "-p:NuGetAudit=false")).ok()
    assert set(box.restored()) == {"picky.1.0.0.nupkg", "system.memory.4.5.0.nupkg"}


async def test_real_packages_are_warmed_by_their_project_then_restored_without_upstream(
    dotnet10: str, proxy: Proxy, feed: FakeFeed, real_packages: Path, tmp_path: Path
) -> None:
    published = {path.name: path.read_bytes() for path in real_packages.glob("*.nupkg")}
    for content in published.values():
        feed.add(content)
    project = real_packages / "app.csproj"
    assert (await check(proxy.cache, project))[0] is False
    code, out, err = await cli("warm", project, "--cache-dir", proxy.cache)
    assert (code, err) == (0, "")
    assert out.startswith(f"Fetched {len(published)} packages"), "those that a restore takes, not one more"
    await feed.set_mode("refused")
    assert (await check(proxy.cache, project))[0] is True
    box = new_box(tmp_path, proxy)
    assert (await restore(dotnet10, box, real_packages)).code == 0
    assert box.restored() == published


async def test_an_unpacked_bundle_is_a_source_of_dotnet(dotnet10: str, feed: FakeFeed, tmp_path: Path) -> None:
    feed.add(make_nupkg("Acme.Base", "1.0.0"))
    feed.add(make_nupkg("Acme.Log", "3.1.1", dependencies=[("Acme.Base", "1.0.0")]))
    (tmp_path / "wanted.txt").write_text("Acme.Log@3.1.1")
    (tmp_path / "proxy.toml").write_text(f'[upstreams.up]\nurl = "{feed.index_url}"\n')
    options = ("--cache-dir", tmp_path / "cache", "--config", tmp_path / "proxy.toml")
    assert (await cli("warm", tmp_path / "wanted.txt", *options))[0] == 0
    code, out, err = await cli("export", tmp_path / "bundle", *options)
    assert code == 0, out + err
    unpacked(tmp_path / "bundle", tmp_path / "folder")
    box = Box10(tmp_path / "box", str(tmp_path / "folder"))
    box.app("Acme.Log/3.1.1")
    (await box.run(dotnet10, "restore", "-p:NuGetAudit=false")).ok()
    assert set(box.restored()) == {"acme.base.1.0.0.nupkg", "acme.log.3.1.1.nupkg"}
