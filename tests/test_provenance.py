"""Two sites find out which bytes they were served: the first-seen log behind clients, its commands, its backup."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from nugetproxy.nuget.identity import PackageIdentity
from tests.conftest import StartProxy
from tests.engine.test_signatures import BAD, GOOD, ROOT, wanted
from tests.fakes.asking import PACKAGE, SMALL, ask, until
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.process import ProxyProcess
from tests.fakes.proxy import Proxy
from tests.test_control import cli

pytestmark = pytest.mark.slow  # most tests start processes

OTHER_PACKAGE = "/v3/content/other.b/1.0.0/other.b.1.0.0.nupkg"
ACME = PackageIdentity("acme.a", "1.0.0")
CHANGED = make_nupkg("Acme.A", "1.0.0", description="other bytes")
SECOND = make_nupkg("Acme.A", "2.0.0")


def hashed(nupkg: bytes) -> str:
    return base64.b64encode(hashlib.sha512(nupkg).digest()).decode()


def logged(directory: Path) -> list[dict[str, Any]]:
    log = directory / "provenance.log"
    return [orjson.loads(line) for line in log.read_bytes().splitlines()] if log.exists() else []


async def committed(proxy: Proxy) -> None:
    await until(lambda: proxy.metric("pending_commits") == 0)


async def test_what_comes_for_the_first_time_gets_a_line_before_it_is_in_the_folder(
    start_proxy: StartProxy, feed: FakeFeed
) -> None:
    feed.add(SMALL)
    proxy = await start_proxy(feed.index_url)
    assert (await ask(proxy, PACKAGE)).status == 200
    await committed(proxy)
    (line,) = logged(proxy.directory)
    assert (line["source"], line["id"], line["version"], line["sha512"]) == ("up", "acme.a", "1.0.0", hashed(SMALL))
    assert "held" not in line
    assert (await ask(proxy, PACKAGE)).status == 200
    await proxy.restart()
    assert (await ask(proxy, PACKAGE)).status == 200
    assert len(logged(proxy.directory)) == 1
    assert await proxy.held.purge(ACME) > 0
    feed.add(CHANGED)
    assert (await ask(proxy, PACKAGE)).body == CHANGED
    await committed(proxy)
    assert [one["sha512"] for one in logged(proxy.directory)] == [hashed(SMALL), hashed(CHANGED)]


@pytest.mark.parametrize(("package", "named"), [(GOOD, True), (BAD, False)], ids=["trusted", "a stranger"])
async def test_a_line_names_whose_signature_counts(
    start_proxy: StartProxy, feed: FakeFeed, tmp_path: Path, package: bytes, named: bool
) -> None:
    feed.add(package)
    (tmp_path / "roots.pem").write_bytes(ROOT.pem)
    proxy = await start_proxy(feed.index_url, upstream=wanted("warn", tmp_path / "roots.pem"))
    assert (await ask(proxy, PACKAGE)).status == 200
    await committed(proxy)
    (line,) = logged(proxy.directory)
    assert line["sha512"] == hashed(package)
    assert bool(line["signer"]) is named
    if named:
        fingerprint, _, name = line["signer"].partition(" ")
        assert (len(fingerprint), name[:3]) == (64, "CN=")


async def test_what_was_held_before_the_log_was_is_entered_once_and_marked(
    start_proxy: StartProxy, feed: FakeFeed
) -> None:
    feed.add(SMALL)
    proxy = await start_proxy(feed.index_url)
    assert (await ask(proxy, PACKAGE)).status == 200
    await proxy.stop()
    (proxy.directory / "provenance.log").unlink()
    for _ in range(2):
        await proxy.start()
        proxy.app.start_background()
        await until(lambda: len(logged(proxy.directory)) == 1)
        await proxy.stop()
    (line,) = logged(proxy.directory)
    assert (line["held"], line["sha512"]) == (True, hashed(SMALL))


@pytest.fixture
def config(tmp_path: Path, feed: FakeFeed) -> Path:
    return configured(tmp_path / "site", feed.index_url)


def configured(place: Path, url: str, name: str = "up") -> Path:
    place.mkdir()
    file = place / "proxy.toml"
    file.write_text(
        f'[cache]\ndirectory = "{place / "cache"}"\nmin_free = "0"\n[upstreams."{name}"]\nurl = "{url}"\n'
        "anonymous = true\n"
    )
    return file


async def fetch(proxy: ProxyProcess, *paths: str) -> None:
    async with aiohttp.ClientSession() as session:
        for path in paths:
            async with session.get(proxy.url + path) as answer:
                assert answer.status == 200
                await answer.read()


async def served(config: Path, *paths: str) -> None:
    """A proxy that has come, served these, and gone."""
    async with ProxyProcess("--config", config) as proxy:
        await fetch(proxy, *paths)
        await proxy.stop()


async def test_a_running_proxy_and_a_stopped_one_verify_and_export_the_same(
    config: Path, feed: FakeFeed, tmp_path: Path
) -> None:
    feed.add(SMALL)
    feed.add(SECOND)
    log = tmp_path / "site" / "cache"
    told = []
    async with ProxyProcess("--config", config) as proxy:
        await fetch(proxy, PACKAGE, PACKAGE.replace("1.0.0", "2.0.0"))
        await until(lambda: len(logged(log)) == 2 and len(list(log.glob("up/packages/acme.a/*/*.sha512"))) == 2)
        told.append(await everything(config, tmp_path / "running"))
        await proxy.stop()
    told.append(await everything(config, tmp_path / "stopped"))
    assert told[0] == told[1]
    assert told[0][1].encode() == (log / "provenance.log").read_bytes()
    assert "2 lines, 2 packages held." in told[0][0]


async def everything(config: Path, file: Path) -> list[str]:
    code, verified, err = await cli("provenance", "verify", "--config", config)
    assert (code, err) == (0, "")
    code, lines, err = await cli("provenance", "export", "--config", config)
    assert (code, err) == (0, "")
    assert (await cli("provenance", "export", file, "--config", config))[0] == 0
    assert file.read_text() == lines
    assert (await cli("provenance", "export", file, "--config", config))[0] == 1, "nothing is written over"
    assert (await cli("provenance", "export", "--since", "1d", "--config", config))[1] == lines
    assert (await cli("provenance", "export", "--since", "2999-01-01", "--config", config))[1] == ""
    code, same, _ = await cli("provenance", "diff", file, "--config", config)
    assert (code, same) == (0, "0 with different bytes, 2 the same, 0 only here, 0 only there.\n")
    return [verified, lines]


async def test_an_export_that_fails_leaves_nothing(tmp_path: Path) -> None:
    code, _, err = await cli("provenance", "export", tmp_path / "theirs", "--cache-dir", tmp_path / "none")
    assert (code, err.startswith("There is no cache in ")) == (1, True)
    code, _, err = await cli("provenance", "export", tmp_path / "none" / "theirs", "--cache-dir", tmp_path / "none")
    assert (code, "cannot be written: No such file" in err) == (1, True)
    assert list(tmp_path.iterdir()) == []


async def test_verify_finds_what_was_changed_in_the_log_and_in_what_is_held(config: Path, feed: FakeFeed) -> None:
    feed.add(SMALL)
    await served(config, PACKAGE)
    cache = config.parent / "cache"
    log = cache / "provenance.log"
    whole = log.read_bytes()
    head = hashlib.sha256(whole.rstrip(b"\n")).hexdigest()
    assert (await cli("provenance", "verify", "--head", head, "--config", config))[0] == 0
    code, out, _ = await cli("provenance", "verify", "--head", "0" * 64, "--config", config)
    assert (code, "No line has the hash that was noted" in out) == (1, True)
    (marker,) = cache.glob("up/packages/acme.a/1.0.0/*.sha512")
    marker.write_text(hashed(CHANGED))
    code, out, _ = await cli("provenance", "verify", "--config", config)
    assert (code, "acme.a 1.0.0 from up has other bytes than when it first came." in out) == (1, True)
    marker.write_text(hashed(SMALL))
    log.write_bytes(whole + whole)
    code, out, _ = await cli("provenance", "verify", "--json", "--config", config)
    assert code == 1
    assert [one["number"] for one in json.loads(out)["broken"]] == [2]
    log.unlink()
    code, out, _ = await cli("provenance", "verify", "--config", config)
    assert (code, "acme.a 1.0.0 from up is held without a line; a start of the proxy adds one." in out) == (1, True)


async def test_what_verify_has_not_looked_at_is_no_all_clear(config: Path, feed: FakeFeed) -> None:
    """Bytes, which it does not read; packages of an upstream that is not configured, or where --config was left out."""
    feed.add(SMALL)
    await served(config, PACKAGE)
    code, out, _ = await cli("provenance", "verify", "--config", config)
    assert (code, out.splitlines()[-1]) == (0, "Whether its bytes are those of the hash: nugetproxy verify")
    assert "not looked at" not in out
    code, out, _ = await cli("provenance", "verify", "--cache-dir", config.parent / "cache")
    assert "What is held of up was not looked at: no upstream has this name here." in out


async def test_two_sites_find_out_that_they_were_served_different_bytes(
    config: Path, feed: FakeFeed, tmp_path: Path
) -> None:
    feed.add(SMALL)
    feed.add(SECOND)
    feed.add(make_nupkg("Other.B", "1.0.0"))
    second = PACKAGE.replace("1.0.0", "2.0.0")
    await served(config, PACKAGE, second, OTHER_PACKAGE)
    feed.add(CHANGED)
    there = configured(tmp_path / "there", feed.index_url, name="mirror")
    await served(there, PACKAGE, second)
    assert (await cli("provenance", "export", tmp_path / "theirs", "--config", there))[0] == 0
    code, out, _ = await cli("provenance", "diff", tmp_path / "theirs", "--config", config)
    assert (code, out) == (0, "0 with different bytes, 0 the same, 3 only here, 2 only there.\n"), (
        "by the source's name"
    )
    code, out, _ = await cli("provenance", "diff", tmp_path / "theirs", "--any-source", "--config", config)
    assert code == 1
    assert out.splitlines() == [
        "acme.a 1.0.0",
        f"  here  {hashed(SMALL)}",
        f"  there {hashed(CHANGED)}",
        "1 with different bytes, 1 the same, 1 only here, 0 only there.",
    ]
    code, out, _ = await cli("provenance", "diff", tmp_path / "theirs", "--any-source", "--json", "--config", config)
    assert code == 1
    assert json.loads(out) == {
        "same": 1,
        "only_here": 1,
        "only_there": 0,
        "different": [{"id": "acme.a", "version": "1.0.0", "here": [hashed(SMALL)], "there": [hashed(CHANGED)]}],
    }


async def test_a_log_that_was_altered_on_its_way_is_told_of(config: Path, feed: FakeFeed, tmp_path: Path) -> None:
    feed.add(SMALL)
    feed.add(SECOND)
    await served(config, PACKAGE, PACKAGE.replace("1.0.0", "2.0.0"))
    lines = (config.parent / "cache" / "provenance.log").read_bytes().splitlines(keepends=True)
    (tmp_path / "theirs").write_bytes(lines[0].replace(hashed(SMALL).encode(), hashed(CHANGED).encode()) + lines[1])
    code, _, err = await cli("provenance", "diff", tmp_path / "theirs", "--config", config)
    assert (code, "line 2: it does not follow the line before" in err) == (1, True)
    (tmp_path / "theirs").write_text("something else\n")
    code, _, err = await cli("provenance", "diff", tmp_path / "theirs", "--config", config)
    assert (code, "line 1: it is no JSON. That is no first-seen log." in err) == (64, True)
    assert (await cli("provenance", "diff", tmp_path / "nowhere", "--config", config))[0] == 64


async def test_a_backup_carries_the_log_and_a_start_goes_on_with_it(
    config: Path, feed: FakeFeed, tmp_path: Path
) -> None:
    feed.add(SMALL)
    feed.add(SECOND)
    await served(config, PACKAGE)
    log = config.parent / "cache" / "provenance.log"
    before = log.read_bytes()
    assert (await cli("backup", tmp_path / "away", "--config", config))[0] == 0
    await served(config, PACKAGE.replace("1.0.0", "2.0.0"))
    code, _, err = await cli("restore", tmp_path / "away", "--config", config)
    assert (code, err) == (0, "")
    assert log.read_bytes() == before
    assert len(list(log.parent.glob("provenance.log.before-*"))) == 1, "the one of before is set aside"
    async with ProxyProcess("--config", config) as proxy:
        await until(lambda: len(logged(log.parent)) == 2)
        await proxy.stop()
    assert [(one["version"], one.get("held")) for one in logged(log.parent)] == [("1.0.0", None), ("2.0.0", True)]
    assert (await cli("provenance", "verify", "--config", config))[0] == 0


async def test_a_kill_leaves_a_whole_chain_with_a_line_for_all_that_is_held(config: Path, feed: FakeFeed) -> None:
    for number in range(1, 9):
        feed.add(make_nupkg("Acme.A", f"{number}.0.0"))
    for round in range(4):
        async with ProxyProcess("--config", config) as proxy:
            tasks = [fetch(proxy, PACKAGE.replace("1.0.0", f"{2 * round + one}.0.0")) for one in (1, 2)]
            await asyncio.gather(*tasks)
            await proxy.kill()
    async with ProxyProcess("--config", config) as proxy:  # it commits what the last one has left, and enters that
        await until(lambda: len(logged(config.parent / "cache")) == 8)
        code, out, _ = await cli("provenance", "verify", "--config", config)
        assert (code, out.splitlines()[0]) == (0, "8 lines, 8 packages held. The hash of the last line:"), out
        await proxy.stop()
