"""nuget.exe works through the proxy."""

from __future__ import annotations

from tests.e2e.conftest import FRESH, Built, NewBox
from tests.e2e.proxy import Proxy
from tests.fakes.feed import FakeFeed

PACKAGES_CONFIG = """<?xml version="1.0" encoding="utf-8"?>
<packages><package id="Acme.Text" version="1.2.3" targetFramework="net472"/></packages>
"""


async def test_install_walks_the_registration(
    nuget_exe: str, proxy: Proxy, feed: FakeFeed, new_box: NewBox, built: Built
) -> None:
    box = new_box(proxy.index_url)
    out = box.work / "out"
    options = ("-OutputDirectory", out, "-ConfigFile", box.config, "-NonInteractive")

    (await box.run(nuget_exe, "install", "Acme.Web", *options)).ok()

    published = built.published()
    installed = {path.name.lower(): path.read_bytes() for path in out.glob("*/*.nupkg")}
    assert "acme.web.3.0.0.nupkg" in installed
    assert installed == {name: published[name] for name in installed}


async def test_install_works_without_upstream(nuget_exe: str, proxy: Proxy, feed: FakeFeed, new_box: NewBox) -> None:
    for mode in ("up", "refused"):
        await feed.set_mode(mode)
        box = new_box(proxy.index_url)
        options = ("-OutputDirectory", box.work / "out", "-ConfigFile", box.config, "-NonInteractive")

        (await box.run(nuget_exe, "install", "Acme.Web", *options)).ok()

        assert (box.work / "out" / "Acme.Web.3.0.0" / "Acme.Web.3.0.0.nupkg").is_file()


async def test_packages_config_restores(nuget_exe: str, proxy: Proxy, new_box: NewBox, built: Built) -> None:
    box = new_box(proxy.index_url)
    (box.work / "packages.config").write_text(PACKAGES_CONFIG)
    options = ("-PackagesDirectory", box.work / "packages", "-ConfigFile", box.config, "-NonInteractive")

    (await box.run(nuget_exe, "restore", "packages.config", *options)).ok()

    (restored,) = (box.work / "packages").glob("*/*.nupkg")
    assert restored.read_bytes() == built.nupkg("Acme.Text", "1.2.3").read_bytes()


async def test_search_finds(nuget_exe: str, proxy: Proxy, new_box: NewBox) -> None:
    box = new_box(proxy.index_url)

    found = await box.run(nuget_exe, "search", "acme.text", "-Source", proxy.index_url, "-NonInteractive")

    assert "Acme.Text" in found.ok().output
    assert "Acme.Core" not in found.output


async def test_push_and_delete(nuget_exe: str, proxy: Proxy, feed: FakeFeed, new_box: NewBox, built: Built) -> None:
    box = new_box(proxy.index_url)
    nupkg = built.nupkg(FRESH, "1.0.0")
    options = ("-Source", proxy.index_url, "-NonInteractive")

    (await box.run(nuget_exe, "push", nupkg, feed.api_key, *options)).ok()

    assert feed.shelf.find(FRESH, "1.0.0").content == nupkg.read_bytes()
    assert feed.symbols == {("acme.fresh", "1.0.0"): nupkg.with_suffix(".snupkg").read_bytes()}

    again = await box.run(nuget_exe, "push", nupkg, feed.api_key, *options)
    assert "409" in again.failed().output

    (await box.run(nuget_exe, "delete", FRESH, "1.0.0", feed.api_key, *options)).ok()

    assert not feed.shelf.find(FRESH, "1.0.0").listed
