"""The fake feed is good enough for real clients without any proxy."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.e2e.clients import Box
from tests.e2e.conftest import FRESH, Built, NewBox
from tests.fakes.feed import FakeFeed


@pytest.fixture
async def feed(built: Built) -> AsyncIterator[FakeFeed]:
    # A client refuses a feed whose RepositorySignatures are at a plain http address.
    async with FakeFeed(omit={"RepositorySignatures"}) as feed:
        for content in built.published().values():
            feed.add(content)
        yield feed


@pytest.fixture
def box(feed: FakeFeed, new_box: NewBox) -> Box:
    return new_box(feed.index_url)


async def test_dotnet_restores_from_the_feed(dotnet: str, box: Box, built: Built) -> None:
    box.project("Acme.Web/3.0.0")

    (await box.run(dotnet, "restore")).ok()

    names = {"acme.web.3.0.0.nupkg", "acme.text.1.2.3.nupkg", "acme.logging.0.9.0.1.nupkg", "acme.core.1.0.0.nupkg"}
    assert box.restored() == {name: built.published()[name] for name in names}


async def test_dotnet_pushes_and_deletes(dotnet: str, box: Box, built: Built, feed: FakeFeed) -> None:
    nupkg = built.nupkg(FRESH, "1.0.0")
    to_feed = ("-s", "feed", "-k", feed.api_key)

    (await box.run(dotnet, "nuget", "push", nupkg, *to_feed)).ok()

    held = feed.shelf.find(FRESH, "1.0.0")
    assert held.content == nupkg.read_bytes()
    assert feed.symbols == {("acme.fresh", "1.0.0"): nupkg.with_suffix(".snupkg").read_bytes()}

    (await box.run(dotnet, "nuget", "delete", FRESH, "1.0.0", *to_feed, "--non-interactive")).ok()

    assert not feed.shelf.find(FRESH, "1.0.0").listed


async def test_dotnet_finds_newer_versions(dotnet: str, box: Box) -> None:
    box.project("Acme.Core/1.0.0")
    (await box.run(dotnet, "restore")).ok()

    listed = (await box.run(dotnet, "list", "package", "--outdated")).ok()

    assert "1.1.0" in listed.output


async def test_nuget_exe_searches_and_installs(nuget_exe: str, box: Box, feed: FakeFeed) -> None:
    found = await box.run(nuget_exe, "search", "acme.text", "-Source", feed.index_url, "-NonInteractive")
    assert "Acme.Text" in found.ok().output

    out = box.work / "out"
    options = ("-OutputDirectory", out, "-ConfigFile", box.config, "-NonInteractive")
    (await box.run(nuget_exe, "install", "Acme.Web", *options)).ok()

    assert (out / "Acme.Web.3.0.0" / "Acme.Web.3.0.0.nupkg").is_file()


async def test_nuget6_reads_every_resource(nuget6: str, box: Box, feed: FakeFeed) -> None:
    feed.vulnerabilities["base"] = {
        "acme.core": [{"severity": 2, "url": "https://advisories.example/1", "versions": "(, 1.1.0)"}]
    }
    for command, expected in (
        (("vulns",), "acme.core"),
        (("search", "acme"), "Acme.Web"),
        (("meta", "Acme.Core"), "Acme.Core.1.1.0"),
        (("complete", "Acme"), "Acme.Logging"),
        (("completeversions", "Acme.Core", "1"), "1.1.0"),
    ):
        ran = await box.run(nuget6, command[0], feed.index_url, *command[1:])
        assert expected in ran.ok().output
