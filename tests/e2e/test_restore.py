"""A real dotnet restores through the proxy, and goes on restoring when the upstream is gone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.clients import Box
from tests.e2e.conftest import Built, NewBox
from tests.e2e.proxy import Proxy
from tests.fakes.feed import FakeFeed, Mode
from tests.fakes.origin import Script
from tests.fakes.packages import make_nupkg

WEB = ("acme.core.1.0.0.nupkg", "acme.logging.0.9.0.1.nupkg", "acme.text.1.2.3.nupkg", "acme.web.3.0.0.nupkg")
"""Acme.Web with everything that it stands on."""

ALWAYS_STALE = "".join(
    f'[policy.{kind}]\nfresh = "0s"\nrefresh = "0s"\n' for kind in ("index", "versions", "registration", "search")
)


@pytest.fixture
def web(built: Built) -> dict[str, bytes]:
    """What a restore of Acme.Web must bring, byte for byte."""
    published = built.published()
    return {name: published[name] for name in WEB}


async def restore(dotnet: str, box: Box, *options: str) -> Box:
    """Restore a project that refers to Acme.Web."""
    box.project("Acme.Web/3.0.0")
    (await box.run(dotnet, "restore", *options)).ok()
    return box


def downloads(feed: FakeFeed) -> list[str]:
    """The names of the packages that the feed was asked for."""
    paths = (seen.path for seen in feed.requests if seen.method == "GET")
    return sorted(path.rpartition("/")[2] for path in paths if path.endswith(".nupkg"))


async def test_a_cold_restore_brings_the_bytes_of_upstream(
    dotnet: str, proxy: Proxy, feed: FakeFeed, new_box: NewBox, web: dict[str, bytes]
) -> None:
    box = await restore(dotnet, new_box(proxy.index_url))

    assert box.restored() == web
    assert downloads(feed) == list(WEB)
    agents = {seen.headers.get("User-Agent", "") for seen in feed.requests}
    assert not [agent for agent in agents if agent.startswith("NuGet")], "a client went around the proxy"


async def test_cold_clients_at_once_are_one_download_each(
    dotnet: str, proxy: Proxy, feed: FakeFeed, new_box: NewBox, web: dict[str, bytes]
) -> None:
    boxes = [new_box(proxy.index_url) for _ in range(3)]

    await asyncio.gather(*(restore(dotnet, box) for box in boxes))

    assert [box.restored() for box in boxes] == [web] * 3
    assert downloads(feed) == list(WEB)


@pytest.mark.parametrize("mode", ["refused", "5xx", "429", "html", "hang"])
async def test_an_outage_does_not_stop_a_warm_restore(
    dotnet: str, feed: FakeFeed, tmp_path: Path, new_box: NewBox, web: dict[str, bytes], mode: Mode
) -> None:
    config = f'[upstreams.feed]\nurl = "{feed.index_url}"\ndocument_deadline = "2s"\n{ALWAYS_STALE}'
    async with Proxy(tmp_path / "cache", config=config) as proxy:
        await restore(dotnet, new_box(proxy.index_url))
        await feed.set_mode(mode)

        box = await restore(dotnet, new_box(proxy.index_url), "--no-cache")

    assert box.restored() == web
    assert downloads(feed) == list(WEB)


async def test_a_restarted_proxy_restores_without_upstream(
    dotnet: str, proxy: Proxy, feed: FakeFeed, new_box: NewBox, web: dict[str, bytes]
) -> None:
    await restore(dotnet, new_box(proxy.index_url))
    await proxy.stop()
    await feed.set_mode("refused")
    await proxy.start()

    box = await restore(dotnet, new_box(proxy.index_url))

    assert box.restored() == web


async def test_a_killed_proxy_restores_without_upstream(
    dotnet: str, proxy: Proxy, feed: FakeFeed, new_box: NewBox, web: dict[str, bytes]
) -> None:
    await restore(dotnet, new_box(proxy.index_url))
    await proxy.kill()
    await feed.set_mode("refused")
    await proxy.start()

    box = await restore(dotnet, new_box(proxy.index_url))

    assert box.restored() == web


async def test_an_outage_is_no_missing_package(dotnet: str, proxy: Proxy, feed: FakeFeed, new_box: NewBox) -> None:
    await restore(dotnet, new_box(proxy.index_url))
    await feed.set_mode("refused")
    box = new_box(proxy.index_url)
    box.project("Acme.Other/1.0.0")

    failed = (await box.run(dotnet, "restore")).failed()

    # NU1101 would say that the package does not exist.
    assert "NU1101" not in failed.output
    assert "NU1301" in failed.output or "503" in failed.output


async def test_a_package_that_does_not_exist_is_reported_as_such(dotnet: str, proxy: Proxy, new_box: NewBox) -> None:
    box = new_box(proxy.index_url)
    box.project("Acme.Other/1.0.0")

    assert "NU1101" in (await box.run(dotnet, "restore")).failed().output


async def test_locked_mode_accepts_what_the_proxy_serves(
    dotnet: str, proxy: Proxy, feed: FakeFeed, new_box: NewBox, web: dict[str, bytes]
) -> None:
    locking = "<RestorePackagesWithLockFile>true</RestorePackagesWithLockFile>"
    first = new_box(proxy.index_url)
    first.project("Acme.Web/3.0.0", properties=locking)
    (await first.run(dotnet, "restore")).ok()
    lock = (first.work / "packages.lock.json").read_bytes()
    await feed.set_mode("refused")
    second = new_box(proxy.index_url)
    second.project("Acme.Web/3.0.0", properties=locking)
    (second.work / "packages.lock.json").write_bytes(lock)

    (await second.run(dotnet, "restore", "--locked-mode")).ok()

    assert second.restored() == web
    names = json.loads(lock)["dependencies"][".NETStandard,Version=v2.1"]
    assert sorted(names) == ["Acme.Core", "Acme.Logging", "Acme.Text", "Acme.Web"]


async def test_the_package_folder_alone_is_a_source(
    dotnet: str, proxy: Proxy, feed: FakeFeed, new_box: NewBox, web: dict[str, bytes]
) -> None:
    await restore(dotnet, new_box(proxy.index_url))
    folder = proxy.packages
    assert await proxy.stop() == 0
    await feed.set_mode("refused")

    box = await restore(dotnet, new_box(str(folder)))

    assert box.restored() == web


async def test_a_floating_version_finds_the_newest(dotnet: str, proxy: Proxy, new_box: NewBox, built: Built) -> None:
    for version, name in (("1.*", "acme.core.1.1.0.nupkg"), ("2.0.0-*", "acme.core.2.0.0-beta.2.nupkg")):
        box = new_box(proxy.index_url)
        box.project(f"Acme.Core/{version}")

        (await box.run(dotnet, "restore")).ok()

        assert box.restored() == {name: built.published()[name]}


async def test_a_package_is_added_in_its_newest_version(dotnet: str, proxy: Proxy, new_box: NewBox) -> None:
    box = new_box(proxy.index_url)
    project = box.project()

    (await box.run(dotnet, "add", project, "package", "acme.core")).ok()

    assert set(box.restored()) == {"acme.core.1.1.0.nupkg"}


@pytest.mark.parametrize("versions", [1, 130])
async def test_outdated_packages_are_listed(
    dotnet: str, proxy: Proxy, feed: FakeFeed, new_box: NewBox, built: Built, versions: int
) -> None:
    # From 128 versions on, the pages of a registration are documents of their own.
    for content in _many(versions):
        feed.add(content)
    box = new_box(proxy.index_url)
    box.project("Acme.Core/1.0.0", "Acme.Many/1.0.0")
    (await box.run(dotnet, "restore")).ok()

    listed = (await box.run(dotnet, "list", "package", "--outdated")).ok()

    rows = {line.split()[1]: line.split()[-1] for line in listed.output.splitlines() if line.strip().startswith(">")}
    expected = {"Acme.Core": "1.1.0"} | ({"Acme.Many": f"1.0.{versions - 1}"} if versions > 1 else {})
    assert rows == expected


def _many(count: int) -> Iterator[bytes]:
    for patch in range(count):
        yield make_nupkg("Acme.Many", f"1.0.{patch}")


async def test_a_broken_download_is_resumed_unnoticed(
    dotnet: str, proxy: Proxy, feed: FakeFeed, new_box: NewBox
) -> None:
    content = make_nupkg("Acme.Large", "1.0.0", size=2_000_000)
    held = feed.add(content)
    path = "/v3-flatcontainer/acme.large/1.0.0/acme.large.1.0.0.nupkg"
    headers = [("ETag", held.etag), ("Accept-Ranges", "bytes")]
    whole = Script(headers=headers, body=content, ranges=True)
    feed.origin.routes[path] = [Script(headers=headers, body=content, cut_at=1_000_000, end="rst"), whole]
    box = new_box(proxy.index_url)
    box.project("Acme.Large/1.0.0")

    (await box.run(dotnet, "restore")).ok()

    assert box.restored() == {"acme.large.1.0.0.nupkg": content}
    assert feed.count(path) == 2
    _, again = (seen for seen in feed.requests if seen.path == path)
    # A reset may take what was underway with it, so the second request may begin earlier than the cut.
    start = int(again.headers["Range"].removeprefix("bytes=").removesuffix("-"))
    assert 0 < start <= 1_000_000
