"""What a rule of the feed denies is neither warmed nor mirrored, and the report says which rule that was."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.process import ProxyProcess
from tests.jobs.test_repository import write
from tests.jobs.test_warm import downloads
from tests.test_control import cli

pytestmark = pytest.mark.slow  # most tests start processes

Options = tuple[str, ...]
RULED = """
[feeds.up]
sources = ["up"]
[[feeds.up.rules]]
name = "week"
min_age = "7d"
reason = "New versions wait a week"
"""
PROJECT = """<Project Sdk="Microsoft.NET.Sdk"><PropertyGroup><TargetFramework>net8.0</TargetFramework></PropertyGroup>
<ItemGroup><PackageReference Include="Acme.App" Version="{}" /></ItemGroup></Project>"""


@pytest.fixture(params=["running", "stopped"])
async def options(request: pytest.FixtureRequest, feed: FakeFeed, tmp_path: Path) -> AsyncIterator[Options]:
    now = datetime.now(UTC)
    for id_, version, days, needs in (
        ("Acme.App", "1.0.0", 90, ()),
        ("Acme.App", "1.1.0", 80, (("Acme.Base", "2.0.0"),)),
        ("Acme.App", "1.2.0", 1, ()),
        ("Acme.Base", "1.0.0", 90, ()),
        ("Acme.Base", "2.0.0", 1, ()),
    ):
        nupkg = make_nupkg(id_, version, dependencies={"netstandard2.0": needs} if needs else ())
        feed.add(nupkg, at=now - timedelta(days=days))
    (tmp_path / "proxy.toml").write_text(f'[upstreams.up]\nurl = "{feed.index_url}"\n{RULED}')
    found = ("--cache-dir", str(tmp_path / "cache"), "--config", str(tmp_path / "proxy.toml"))
    if request.param == "stopped":
        yield found
        return
    async with ProxyProcess(*found):
        yield found


def lock(packages: Mapping[str, str]) -> dict[str, object]:
    direct = {id_: {"type": "Direct", "resolved": version} for id_, version in packages.items()}
    return {"version": 1, "dependencies": {"net8.0": direct}}


async def test_a_lock_file_with_a_denied_version_is_warmed_without_it(
    feed: FakeFeed, options: Options, tmp_path: Path
) -> None:
    packages = {
        "Acme.App": {"type": "Direct", "resolved": "1.2.0"},
        "Acme.Base": {"type": "Direct", "resolved": "1.0.0"},
    }
    lock = {"version": 1, "dependencies": {"net8.0": packages}}
    write(tmp_path, {"packages.lock.json": json.dumps(lock)})
    code, out, err = await cli("warm", tmp_path / "packages.lock.json", *options)
    assert (code, err) == (1, "1 package could not be had.\n")
    assert downloads(feed) == ["acme.base.1.0.0.nupkg"]
    assert "acme.app 1.2.0 is denied by the rule 'week' of the feed 'up'" in out
    code, out, _ = await cli("warm", "--check", tmp_path / "packages.lock.json", *options)
    assert (code, "denied by the rule 'week'" in out) == (1, True)


async def test_a_floating_reference_is_warmed_with_what_a_restore_would_take(
    feed: FakeFeed, options: Options, tmp_path: Path
) -> None:
    write(tmp_path, {"src/app.csproj": PROJECT.format("1.0.*")})
    assert (await cli("warm", tmp_path / "src", *options))[0] == 0
    assert downloads(feed) == ["acme.app.1.0.0.nupkg"]


async def test_a_dependency_that_nothing_visible_satisfies_says_which_rule_is_in_its_way(
    feed: FakeFeed, options: Options, tmp_path: Path
) -> None:
    write(tmp_path, {"src/app.csproj": PROJECT.format("1.*")})
    code, out, _ = await cli("warm", tmp_path / "src", "--json", *options)
    assert code == 1
    (lacking,) = json.loads(out)["missing"]
    assert (lacking["id"], lacking["version"]) == ("acme.base", ">= 2.0.0")
    assert lacking["why"].startswith(
        "acme.base 2.0.0 is denied by the rule 'week' of the feed 'up': younger than 7 days"
    )
    assert "New versions wait a week." in lacking["why"]
    assert downloads(feed) == ["acme.app.1.1.0.nupkg"]


@pytest.mark.parametrize("options", ["stopped"], indirect=True)
async def test_what_is_held_and_denied_now_is_not_counted_as_warm(
    feed: FakeFeed, options: Options, tmp_path: Path
) -> None:
    config = Path(options[3])
    write(tmp_path, {"packages.lock.json": json.dumps(lock({"Acme.App": "1.2.0"}))})
    ruled = config.read_text()
    config.write_text(ruled.replace(RULED, ""))
    assert (await cli("warm", tmp_path / "packages.lock.json", *options))[0] == 0
    config.write_text(ruled)
    code, out, _ = await cli("warm", tmp_path / "packages.lock.json", *options)
    assert (code, "denied by the rule 'week'" in out) == (1, True)


async def test_a_mirror_leaves_out_what_is_denied_and_tells_of_it(feed: FakeFeed, options: Options) -> None:
    code, out, err = await cli("mirror", "Acme.*", "--no-dependencies", *options)
    assert (code, err) == (0, "")
    assert downloads(feed) == ["acme.app.1.0.0.nupkg", "acme.app.1.1.0.nupkg", "acme.base.1.0.0.nupkg"]
    first, _, total, *denied = out.splitlines()
    assert first.startswith("acme.app: 2 versions; 2 fetched")
    assert first.endswith("1 denied by rules")
    assert total.endswith("2 denied by rules")
    assert [line.partition(":")[0] for line in denied] == [
        "acme.app 1.2.0 is denied by the rule 'week' of the feed 'up'",
        "acme.base 2.0.0 is denied by the rule 'week' of the feed 'up'",
    ]
    code, out, _ = await cli("mirror", "Acme.App", "--no-dependencies", "--json", *options)
    assert [(one["id"], one["version"]) for one in json.loads(out.splitlines()[0])["denied"]] == [("acme.app", "1.2.0")]


async def test_a_rule_that_looks_at_ids_alone_is_told_of_too(options: Options, tmp_path: Path) -> None:
    config = tmp_path / "proxy.toml"
    config.write_text(config.read_text().replace('min_age = "7d"', 'ids = ["Acme.App"]\nversions = "[1.1.0, )"'))
    await cli("reload", *options)  # where one runs
    code, out, err = await cli("mirror", "Acme.App", "--no-dependencies", *options)
    assert (code, err, out.splitlines()[0][-19:]) == (0, "", ", 2 denied by rules")
    config.write_text(config.read_text().replace("[1.1.0, )", ""))
    await cli("reload", *options)
    code, out, err = await cli("mirror", "Acme.App", *options)
    assert (code, err) == (0, "")
    assert out.splitlines()[2].startswith("acme.app 1.0.0 is denied by the rule 'week' of the feed 'up'")
