"""Real clients with a folder of packages as the proxy's upstream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.clients import Box
from tests.e2e.conftest import FRESH, Built, NewBox
from tests.e2e.proxy import Proxy

WEB = ("acme.core.1.0.0.nupkg", "acme.logging.0.9.0.1.nupkg", "acme.text.1.2.3.nupkg", "acme.web.3.0.0.nupkg")


@pytest.fixture
def shelf(built: Built, tmp_path: Path) -> Path:
    """Half of the packages flat, half in folders of their own."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    for number, (name, content) in enumerate(built.published().items()):
        folder = shelf / "more" if number % 2 else shelf
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return shelf


@pytest.fixture
async def proxy(shelf: Path, tmp_path: Path) -> AsyncIterator[Proxy]:
    async with Proxy(tmp_path / "cache", upstream=str(shelf)) as proxy:
        yield proxy


@pytest.fixture
def box(proxy: Proxy, new_box: NewBox) -> Box:
    return new_box(proxy.index_url)


async def test_dotnet_restores_from_a_folder(dotnet: str, box: Box, built: Built) -> None:
    box.project("Acme.Web/3.0.0")

    (await box.run(dotnet, "restore")).ok()

    assert box.restored() == {name: built.published()[name] for name in WEB}


async def test_dotnet_finds_newer_versions_in_a_folder(dotnet: str, box: Box) -> None:
    box.project("Acme.Core/1.0.0")
    (await box.run(dotnet, "restore")).ok()

    listed = (await box.run(dotnet, "list", "package", "--outdated")).ok()

    assert "1.1.0" in listed.output


async def test_dotnet_adds_a_package_that_was_copied_in_meanwhile(
    dotnet: str, box: Box, shelf: Path, built: Built
) -> None:
    project = box.project()
    fresh = built.nupkg(FRESH, "1.0.0")
    (shelf / fresh.name).write_bytes(fresh.read_bytes())

    (await box.run(dotnet, "add", project, "package", FRESH)).ok()

    assert f'Include="{FRESH}" Version="1.0.0"' in project.read_text()
    assert box.restored()["acme.fresh.1.0.0.nupkg"] == fresh.read_bytes()


async def test_a_push_is_refused_with_the_reason(dotnet: str, box: Box, shelf: Path, built: Built) -> None:
    before = sorted(shelf.rglob("*"))

    pushed = await box.run(dotnet, "nuget", "push", built.nupkg(FRESH, "1.0.0"), "-s", "feed", "-k", "any")

    pushed.failed()
    assert sorted(shelf.rglob("*")) == before


async def test_nuget_exe_installs_from_a_folder(nuget_exe: str, box: Box, proxy: Proxy) -> None:
    found = await box.run(nuget_exe, "search", "acme.text", "-Source", proxy.index_url, "-NonInteractive")
    assert "Acme.Text" in found.ok().output

    out = box.work / "out"
    options = ("-OutputDirectory", out, "-ConfigFile", box.config, "-NonInteractive")
    (await box.run(nuget_exe, "install", "Acme.Web", *options)).ok()

    assert (out / "Acme.Web.3.0.0" / "Acme.Web.3.0.0.nupkg").is_file()


async def test_nuget6_reads_every_resource_of_a_folder(nuget6: str, box: Box, proxy: Proxy) -> None:
    for command, expected in (
        (("search", "acme"), "Acme.Web"),
        (("meta", "Acme.Core"), "Acme.Core.1.1.0"),
        (("complete", "Acme"), "Acme.Logging"),
        (("completeversions", "Acme.Core", "1"), "1.1.0"),
    ):
        ran = await box.run(nuget6, command[0], proxy.index_url, *command[1:])
        assert expected in ran.ok().output


async def test_a_proxy_of_a_proxy_of_a_folder(dotnet: str, proxy: Proxy, new_box: NewBox, tmp_path: Path) -> None:
    """An air-gapped site: the folder is published at one place, and cached at another."""
    async with Proxy(tmp_path / "second", upstream=proxy.index_url) as second:
        first_box = new_box(second.index_url)
        first_box.project("Acme.Web/3.0.0")
        (await first_box.run(dotnet, "restore")).ok()
        await proxy.stop()

        box = new_box(second.index_url)
        box.project("Acme.Web/3.0.0")
        (await box.run(dotnet, "restore")).ok()

        assert set(box.restored()) == set(WEB)
