"""``warm`` sees feeds of several upstreams, and feeds with rules, as their clients do."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.process import ProxyProcess
from tests.jobs.test_bundles import Options
from tests.jobs.test_repository import write
from tests.test_control import cli

pytestmark = pytest.mark.slow  # most tests start processes

PROJECT = """<Project Sdk="Microsoft.NET.Sdk"><PropertyGroup><TargetFramework>net8.0</TargetFramework></PropertyGroup>
<ItemGroup><PackageReference Include="Contoso.App" Version="1.*" /></ItemGroup></Project>"""
LOCK = {"version": 1, "dependencies": {"net8.0": {"Contoso.App": {"type": "Direct", "resolved": "1.5.0"}}}}
RULE = '[[feeds.all.rules]]\nname = "bad"\nids = ["contoso.app"]\nversions = "[1.5.0, )"\nreason = "It is broken."\n'


@pytest.fixture
async def company() -> AsyncIterator[FakeFeed]:
    async with FakeFeed() as feed:
        for version in ("1.0.0", "1.5.0"):
            needs = {"netstandard2.0": (("Acme.Base", "1.0.0"),)}
            feed.add(make_nupkg("Contoso.App", version, dependencies=needs))
        yield feed


@pytest.fixture
def public(feed: FakeFeed) -> FakeFeed:
    """Somebody has taken the company's name there."""
    feed.add(make_nupkg("Acme.Base", "1.0.0"))
    feed.add(make_nupkg("Contoso.App", "1.9.0"))
    return feed


def configure(root: Path, company: FakeFeed, public: FakeFeed, more: str = "") -> Options:
    (root / "proxy.toml").write_text(
        f"""
[upstreams.company]
url = "{company.index_url}"
private = true
[upstreams.public]
url = "{public.index_url}"
private = false
[feeds.all]
sources = ["company", "public"]
mapping = {{ "Contoso.*" = ["company"], "*" = ["public"] }}
{more}"""
    )
    write(root, {"src/app.csproj": PROJECT, "lock/packages.lock.json": json.dumps(LOCK)})
    return ("--config", str(root / "proxy.toml"), "--cache-dir", str(root / "cache"))


@pytest.fixture(params=["running", "stopped"])
async def farm(
    request: pytest.FixtureRequest, company: FakeFeed, public: FakeFeed, tmp_path: Path
) -> AsyncIterator[Options]:
    options = configure(tmp_path, company, public)
    if request.param == "stopped":
        yield options
        return
    async with ProxyProcess(*options):
        yield options


async def missing(root: Path, options: Options, what: str = "src") -> list[tuple[str, str]]:
    code, out, err = await cli("warm", "--check", "--json", root / what, *options)
    said = json.loads(out)
    assert (code, said["restorable"]) == ((1, False) if said["missing"] else (0, True)), err
    return [(one["id"], one["version"]) for one in said["missing"]]


async def test_each_package_is_looked_for_where_it_belongs(
    farm: Options, company: FakeFeed, public: FakeFeed, tmp_path: Path
) -> None:
    assert await missing(tmp_path, farm) == [("contoso.app", "")]
    code, out, err = await cli("warm", tmp_path / "src", *farm)
    assert (code, out.startswith("Fetched 2 packages (")) == (0, True), out + err
    assert not [seen.path for seen in public.requests if "contoso" in seen.path]
    assert not [seen.path for seen in company.requests if "acme" in seen.path]
    for feed in (company, public):
        await feed.set_mode("refused")
    assert await missing(tmp_path, farm) == []
    assert await missing(tmp_path, farm, "lock") == []
    code, _, _ = await cli("purge", "Acme.Base", *farm)
    assert code == 0
    assert [id_ for id_, _ in await missing(tmp_path, farm)] == ["acme.base"]


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
async def test_what_a_rule_denies_is_not_there(
    company: FakeFeed, public: FakeFeed, tmp_path: Path, running: bool
) -> None:
    options = configure(tmp_path, company, public)
    assert (await cli("warm", tmp_path / "src", *options))[0] == 0
    assert await missing(tmp_path, options, "lock") == []
    configure(tmp_path, company, public, RULE)
    process = ProxyProcess(*options)
    if running:
        await process.start()
        await process.listening()
    try:
        assert await missing(tmp_path, options, "lock") == [("contoso.app", "1.5.0")]
        assert [id_ for id_, _ in await missing(tmp_path, options)] == ["contoso.app"], "1.0.0 is not held"
        code, out, _ = await cli("warm", tmp_path / "lock", *options)
        assert (code, "It is broken." in out) == (1, True), out
        code, out, err = await cli("warm", tmp_path / "src", *options)
        assert code == 0, out + err
        assert await missing(tmp_path, options) == []
        for feed in (company, public):
            await feed.set_mode("refused")
        assert await missing(tmp_path, options) == []
    finally:
        await process.kill()
