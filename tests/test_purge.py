"""``nugetproxy purge``: a package is forgotten, so that other bytes of it are taken."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nugetproxy.admin.commands import carry_out
from nugetproxy.cli.commands import app
from nugetproxy.config.units import about_size
from tests.conftest import StartProxy
from tests.fakes.asking import ask, until
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy

PACKAGE = "/v3/content/acme.a/1.0.0/acme.a.1.0.0.nupkg"
FIRST, SECOND = (make_nupkg("Acme.A", "1.0.0", description=text) for text in ("the first bytes", "other bytes"))


@pytest.fixture
async def stopped(start_proxy: StartProxy, feed: FakeFeed) -> Proxy:
    """A proxy that holds two packages, stopped."""
    feed.add(FIRST)
    feed.add(make_nupkg("Acme.B", "1.0.0"))
    proxy = await start_proxy(feed.index_url)
    for path in (PACKAGE, "/v3/content/acme.a/index.json", "/v3/content/acme.b/1.0.0/acme.b.1.0.0.nupkg"):
        assert (await proxy.client.get(path)).status == 200
    while proxy.app.tasks.running():
        await asyncio.gather(*proxy.app.tasks.running(), return_exceptions=True)
    await proxy.stop()
    return proxy


async def purge(proxy: Proxy, tmp_path: Path, *words: str) -> tuple[int, str]:
    """Run the command on the proxy's cache directory."""
    file = tmp_path / "proxy.toml"
    upstream = proxy.config.upstreams["up"].url
    file.write_text(f'[cache]\ndirectory = "{proxy.directory}"\n[upstreams.up]\nurl = "{upstream}"\n')
    done = await asyncio.to_thread(CliRunner().invoke, app, ["purge", *words, "--config", str(file)])
    return done.exit_code, done.output


@pytest.mark.parametrize("words", [("Acme.A", "1.0.0.0"), ("acme.a",)])
async def test_other_bytes_are_taken_after_it(
    stopped: Proxy, feed: FakeFeed, tmp_path: Path, words: tuple[str, ...]
) -> None:
    code, output = await purge(stopped, tmp_path, *words)
    assert code == 0
    assert output == f"Removed acme.a 1.0.0 from up ({about_size(len(FIRST))}).\nRemoved 1 document.\n"
    assert not (stopped.packages / "acme.a").exists()
    assert (stopped.packages / "acme.b").exists()
    feed.add(SECOND)
    await stopped.start()
    assert await (await stopped.client.get(PACKAGE)).read() == SECOND


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("Acme.AX",), "No package acme.ax is held in {directory}. Did you mean acme.a?\n"),
        (("Other.Thing", "1.0.0"), "No package other.thing 1.0.0 is held in {directory}.\n"),
        (("Acme.A", "2.0.0"), "No package acme.a 2.0.0 is held in {directory}.\nHeld in up: 1.0.0.\n"),
    ],
)
async def test_what_is_not_held_is_said(stopped: Proxy, tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    code, output = await purge(stopped, tmp_path, *words)
    assert code == 1
    assert output.endswith(said.format(directory=stopped.directory))
    assert (stopped.packages / "acme.a").exists()


async def test_without_it_they_are_refused(stopped: Proxy, feed: FakeFeed, clock: FakeClock) -> None:
    feed.add(SECOND)
    await stopped.start()
    await stopped.held.folder.evict(0, lambda _: False)
    assert (await stopped.client.get(PACKAGE)).status == 502


async def test_what_somebody_has_put_there_meanwhile_is_purged_with_the_rest(stopped: Proxy, tmp_path: Path) -> None:
    await stopped.start()
    other = tmp_path / "other"
    shutil.copytree(stopped.packages / "acme.a" / "1.0.0", other)
    await carry_out(stopped.app.desk, "purge", {"id": "acme.a"}, by="test")
    shutil.copytree(other, stopped.packages / "acme.a" / "1.0.0")
    done = await carry_out(stopped.app.desk, "purge", {"id": "acme.a"}, by="test")
    assert [one["removed"] for one in done["upstreams"]] == [["1.0.0"]]
    assert not list(stopped.packages.glob("acme.a/*/*.nupkg"))


async def test_a_running_proxy_is_left_alone(stopped: Proxy, tmp_path: Path) -> None:
    await stopped.start()
    code, output = await purge(stopped, tmp_path, "acme.a")
    assert code == 75
    assert "has used it since" in output
    assert "wait for its end if it is a command, else restart the proxy" in " ".join(output.split())
    assert (stopped.packages / "acme.a").exists()


@pytest.mark.parametrize("words", [("../etc",), ("acme.a", "1.x")])
async def test_what_is_no_package_is_said(stopped: Proxy, tmp_path: Path, words: tuple[str, ...]) -> None:
    code, output = await purge(stopped, tmp_path, *words)
    assert code == 64
    assert "is not a package id with a version" in output


@pytest.mark.parametrize("words", [("Acme.A", "1.0.0"), ("acme.a",)])
async def test_the_pin_of_a_version_that_is_no_longer_held_is_forgotten_and_told(
    stopped: Proxy, feed: FakeFeed, tmp_path: Path, words: tuple[str, ...]
) -> None:
    await stopped.start()
    await stopped.held.folder.evict(0, lambda _: False)
    await stopped.held.stock.take()
    await stopped.stop()
    code, output = await purge(stopped, tmp_path, *words)
    assert code == 0, output
    assert output == "Forgot the pinned hash of acme.a 1.0.0 from up; no such package was held.\nRemoved 1 document.\n"
    feed.add(SECOND)
    await stopped.start()
    assert await (await stopped.client.get(PACKAGE)).read() == SECOND


ASKED = [
    "/v3/content/acme.a/index.json",
    "/v3/registration/gz-semver2/acme.a/index.json",
    "/v3/query?q=acme",
    "/v3/query?q=other",
    "/v3/autocomplete?q=acme",
    "/v3/autocomplete?id=Acme.A",
    "/v3/autocomplete?id=Other.A",
]


def package(id: str) -> str:
    return f"/v3/content/{id}/1.0.0/{id}.1.0.0.nupkg"


@pytest.mark.parametrize("version", ["", "1.0.0"])
async def test_nothing_that_is_stored_names_it_while_upstream_is_away(
    proxy: Proxy, feed: FakeFeed, version: str
) -> None:
    feed.add(FIRST)
    feed.add(make_nupkg("Acme.B", "1.0.0"))
    feed.add(make_nupkg("Other.A", "1.0.0"))
    for path in (PACKAGE, *map(package, ("acme.b", "other.a")), *ASKED):
        assert (await ask(proxy, path)).status == 200
    await until(lambda: not proxy.app.tasks.running())
    await feed.set_mode("refused")

    await carry_out(proxy.app.desk, "purge", {"id": "Acme.A", "version": version}, by="test")

    said = {path: await ask(proxy, path) for path in ASKED}
    assert not [path for path, got in said.items() if b"acme.a" in got.body.lower()]
    assert {path for path, got in said.items() if got.status != 200} == {*ASKED[:2], "/v3/autocomplete?id=Acme.A"}
    assert said["/v3/query?q=other"].cache.startswith("fwd=stale"), "what does not name it stays"
    assert json.loads(said["/v3/query?q=acme"].body)["totalHits"] == 1, "made of what is held"
    assert json.loads(said["/v3/autocomplete?id=Other.A"].body)["data"] == ["1.0.0"]
