"""``warm`` fetches what repositories need; ``warm --check`` says whether they could be restored without upstream."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.feed import FakeFeed
from tests.fakes.feed_documents import FLAT
from tests.fakes.origin import Script
from tests.fakes.packages import make_nupkg
from tests.fakes.process import ROOT, ProxyProcess, clean_environ
from tests.jobs.test_repository import write
from tests.nuget.projects import shapes
from tests.test_control import cli

pytestmark = pytest.mark.slow  # most tests start processes

PROJECT = """<Project Sdk="Microsoft.NET.Sdk"><PropertyGroup><TargetFramework>net8.0</TargetFramework></PropertyGroup>
<ItemGroup><PackageReference Include="Acme.App" Version="1.*" /><PackageReference Include="Acme.Other" Version="1.0" />
</ItemGroup></Project>"""

BASE_2 = f"{FLAT}/acme.base/2.0.0/acme.base.2.0.0.nupkg"


@pytest.fixture
async def shelf(feed: FakeFeed) -> FakeFeed:
    """``Acme.App`` 1.5.0 wants ``Acme.Base`` 1.0, ``Acme.Other`` wants 2.0 of it."""
    for id_, version, needs in (
        ("Acme.App", "1.0.0", ()),
        ("Acme.App", "1.5.0", (("Acme.Base", "1.0.0"),)),
        ("Acme.App", "2.0.0", ()),
        ("Acme.Other", "1.0.0", (("Acme.Base", "[2.0.0,3.0.0)"),)),
        ("Acme.Base", "1.0.0", (("Acme.Old", "1.0.0"),)),
        ("Acme.Base", "2.0.0", ()),
        ("Acme.Old", "1.0.0", ()),
    ):
        feed.add(make_nupkg(id_, version, dependencies={"netstandard2.0": needs} if needs else (), size=1000))
    return feed


@pytest.fixture(params=["running", "stopped"])
async def proxy(request: pytest.FixtureRequest, shelf: FakeFeed, tmp_path: Path) -> AsyncIterator[tuple[str, ...]]:
    """The options that lead a command to a proxy that runs, or to one that does not."""
    options = ("--cache-dir", str(tmp_path / "cache"), "--config", str(tmp_path / "proxy.toml"))
    (tmp_path / "proxy.toml").write_text(f'[upstreams.up]\nurl = "{shelf.index_url}"\n')
    if request.param == "stopped":
        yield options
        return
    async with ProxyProcess(*options):
        yield options


def downloads(feed: FakeFeed) -> list[str]:
    return sorted(seen.path.rpartition("/")[2] for seen in feed.requests if seen.path.endswith(".nupkg"))


async def test_what_a_project_needs_is_fetched_once_with_all_that_it_needs(
    shelf: FakeFeed, proxy: tuple[str, ...], tmp_path: Path
) -> None:
    write(tmp_path, {"src/app.csproj": PROJECT})
    code, out, err = await cli("warm", tmp_path / "src", *proxy)
    assert (code, err) == (0, "")
    assert out.startswith("Fetched 5 packages (")
    assert downloads(shelf) == [
        "acme.app.1.5.0.nupkg",
        "acme.base.1.0.0.nupkg",
        "acme.base.2.0.0.nupkg",
        "acme.old.1.0.0.nupkg",
        "acme.other.1.0.0.nupkg",
    ], "older clients read what loses, too"
    code, out, _ = await cli("warm", tmp_path / "src", "--json", *proxy)
    said = json.loads(out)
    assert (code, said["fetched"], said["held"], said["missing"]) == (0, 0, 5, [])
    assert len(downloads(shelf)) == 5


async def test_the_check_names_what_is_missing_until_it_is_warm(
    shelf: FakeFeed, proxy: tuple[str, ...], tmp_path: Path
) -> None:
    write(tmp_path, {"src/app.csproj": PROJECT})
    asked = len(shelf.requests)
    code, out, err = await cli("warm", "--check", tmp_path / "src", *proxy)
    assert (code, err) == (1, "2 packages missing.\n")
    assert "acme.app: nobody here knows its versions" in out
    assert not [seen for seen in shelf.requests[asked:] if "acme" in seen.path], "the check asks nobody"

    shelf.origin.routes[BASE_2] = Script(status=404)
    assert (await cli("warm", tmp_path / "src", *proxy))[0] == 1
    code, out, _ = await cli("warm", "--check", "--json", tmp_path / "src", *proxy)
    assert code == 1
    assert json.loads(out) == {
        "restorable": False,
        "missing": [{"id": "acme.base", "version": "2.0.0", "why": "the package is not held"}],
        "remarks": [],
    }


@pytest.mark.parametrize("framework", ["net8.0-android", "uap10.0.16299", "xamarinios10"])
async def test_a_portable_package_comes_with_what_it_needs(
    feed: FakeFeed, proxy: tuple[str, ...], tmp_path: Path, framework: str
) -> None:
    needs = {"portable-net45+win8+wp8+wpa81": [("Acme.Base", "1.0.0")], "sl5": []}
    feed.add(make_nupkg("Acme.Portable", "1.0.0", dependencies=needs))
    text = PROJECT.replace("net8.0", framework).replace("Acme.App", "Acme.Portable")
    write(tmp_path, {"src/app.csproj": text.replace("Acme.Other", "Acme.Portable")})
    assert (await cli("warm", tmp_path / "src", *proxy))[0] == 0
    assert downloads(feed) == ["acme.base.1.0.0.nupkg", "acme.old.1.0.0.nupkg", "acme.portable.1.0.0.nupkg"]


async def test_lock_files_tools_and_lines_are_taken_at_their_word(
    shelf: FakeFeed, proxy: tuple[str, ...], tmp_path: Path
) -> None:
    lock = {"version": 1, "dependencies": {"net8.0": {"Acme.Base": {"type": "Direct", "resolved": "1.0.0"}}}}
    write(
        tmp_path, {"packages.lock.json": json.dumps(lock), "wanted.txt": "Acme.App@[1.0.0]\npkg:nuget/Acme.Old@1.0.0\n"}
    )
    code, _, err = await cli("warm", tmp_path / "packages.lock.json", tmp_path / "wanted.txt", *proxy)
    assert (code, err) == (0, "")
    assert downloads(shelf) == ["acme.app.1.0.0.nupkg", "acme.base.1.0.0.nupkg", "acme.old.1.0.0.nupkg"]
    assert (await cli("warm", "--check", tmp_path / "packages.lock.json", tmp_path / "wanted.txt", *proxy))[0] == 0


@pytest.mark.parametrize("one", ["net472", "net8.0"])
async def test_what_any_framework_needs_is_wanted_where_no_project_is_known(
    feed: FakeFeed, proxy: tuple[str, ...], tmp_path: Path, one: str
) -> None:
    """Whichever group comes first; and those for frameworks that nobody knows."""
    other = "net8.0" if one == "net472" else "net472"
    groups = {one: [("Acme.B", "[1.0.0]")], other: [("Acme.B", "[2.0.0]")], "my own": [("Acme.Odd", "1.0.0")]}
    feed.add(make_nupkg("Acme.Two", "1.0.0", dependencies=groups))
    for version in ("1.0.0", "2.0.0"):
        feed.add(make_nupkg("Acme.B", version, dependencies=[("Acme.Below", version)]))
        feed.add(make_nupkg("Acme.Below", version))
    feed.add(make_nupkg("Acme.Odd", "1.0.0"))
    write(tmp_path, {"wanted.txt": "Acme.Two@1.0.0\n"})
    lost = [f"{FLAT}/acme.below/{version}/acme.below.{version}.nupkg" for version in ("1.0.0", "2.0.0")]
    for path in lost:
        feed.origin.routes[path] = Script(status=404)
    code, out, _ = await cli("warm", tmp_path / "wanted.txt", "--json", *proxy)
    said = [[row["id"], row["version"]] for row in json.loads(out)["missing"]]
    assert (code, said) == (1, [["acme.below", "1.0.0"], ["acme.below", "2.0.0"]])
    code, out, _ = await cli("warm", "--check", tmp_path / "wanted.txt", "--json", *proxy)
    assert [[row["id"], row["version"]] for row in json.loads(out)["missing"]] == said
    assert "acme.odd.1.0.0.nupkg" in downloads(feed)


async def test_what_cannot_be_had_is_named_with_the_reason(
    shelf: FakeFeed, proxy: tuple[str, ...], tmp_path: Path
) -> None:
    write(tmp_path, {"packages.config": shapes.PACKAGES_CONFIG, "wanted.txt": "Acme.App@9.0\nNobody@1.0\n"})
    code, out, err = await cli("warm", tmp_path / "packages.config", tmp_path / "wanted.txt", *proxy)
    assert (code, err) == (1, "4 packages could not be had.\n")
    lines = out.splitlines()
    assert lines[0].startswith("acme.app >= 9.0.0: no version that fits is listed") or any(
        line.startswith("acme.app >= 9.0.0: no version that fits is listed (the highest: 1.0.0, 1.5.0, 2.0.0)")
        for line in lines
    )
    assert any(line.startswith("nobody >= 1.0.0: there is no such package") for line in lines)
    assert any(line.startswith("newtonsoft.json 13.0.3: ") for line in lines)


async def test_once_warm_it_can_be_restored_and_a_dead_upstream_is_the_reason_for_the_rest(
    shelf: FakeFeed, proxy: tuple[str, ...], tmp_path: Path
) -> None:
    write(tmp_path, {"src/app.csproj": PROJECT, "more.txt": "Acme.App@2.0.0\n"})
    assert (await cli("warm", tmp_path / "src", *proxy))[0] == 0
    await shelf.set_mode("5xx")
    code, out, _ = await cli("warm", "--check", tmp_path / "src", *proxy)
    assert (code, out) == (0, "All that 1 file asks for can be restored without any upstream.\n")
    code, out, _ = await cli("warm", tmp_path / "more.txt", *proxy)
    assert code == 1
    assert "acme.app 2.0.0: Upstream 'up' gave no usable answer" in out


async def test_files_that_cannot_be_read_are_a_usage_error(proxy: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "packages.lock.json").write_text("{")
    code, out, err = await cli("warm", tmp_path / "packages.lock.json", *proxy)
    assert (code, out) == (64, "")
    assert "packages.lock.json cannot be read: it is not valid JSON" in err
    code, _, err = await cli("warm", tmp_path, "--feed", "nowhere", *proxy)
    assert code == 64
    assert "There is no feed 'nowhere'; there are up." in err


async def test_ctrl_c_ends_it_at_once_and_leaves_nothing_half_done(
    shelf: FakeFeed, proxy: tuple[str, ...], tmp_path: Path
) -> None:
    write(tmp_path, {"src/app.csproj": PROJECT})
    assert (await cli("warm", tmp_path / "src", *proxy))[0] == 0
    write(tmp_path, {"more.txt": "Acme.App@2.0.0\n"})
    await shelf.set_mode("hang")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "nugetproxy",
        "warm",
        str(tmp_path / "more.txt"),
        *proxy,
        cwd=ROOT,
        env=clean_environ(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        while not any(seen.path.endswith("acme.app.2.0.0.nupkg") for seen in shelf.requests):
            await asyncio.wait({asyncio.ensure_future(process.wait())}, timeout=0.05)
            assert process.returncode is None
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    assert (process.returncode, out, err) == (130, b"", b"Ended; what is done stays. Run it again to go on.\n")
    await shelf.set_mode("up")
    assert (await cli("warm", tmp_path / "more.txt", *proxy))[0] == 0
