"""NuGet.Protocol 6 works through the proxy."""

from __future__ import annotations

import pytest

from tests.e2e.clients import Ran
from tests.e2e.conftest import FRESH, Built, NewBox
from tests.e2e.proxy import Proxy
from tests.fakes.feed import FakeFeed

ADVISORY = {"acme.core": [{"severity": 2, "url": "https://advisories.example/1", "versions": "(, 1.1.0)"}]}


def found(ran: Ran) -> str:
    """What the client printed without its notes on requests and their times, which are indented."""
    return "\n".join(line for line in ran.output.splitlines() if not line.startswith("  "))


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (("versions", "acme.core"), ["1.0.0", "1.1.0", "2.0.0-beta.2"]),
        (("deps", "Acme.Text", "1.2.3"), ["Acme.Core"]),
        (("vulns",), ["acme.core", "https://advisories.example/1"]),
        (("search", "acme"), ["Acme.Core.", "Acme.Logging.0.9.0.1", "Acme.Text.1.2.3", "Acme.Web.3.0.0"]),
        (("meta", "Acme.Core"), ["Acme.Core.1.0.0", "Acme.Core.1.1.0", "Acme.Core.2.0.0-Beta.2"]),
        (("complete", "Acme"), ["Acme.Core", "Acme.Logging", "Acme.Text", "Acme.Web"]),
        (("completeversions", "Acme.Core", "1"), ["1.0.0", "1.1.0"]),
    ],
    ids=["versions", "deps", "vulns", "search", "meta", "complete", "completeversions"],
)
async def test_a_read_works_with_upstream_and_without(
    nuget6: str, proxy: Proxy, feed: FakeFeed, new_box: NewBox, command: tuple[str, ...], expected: list[str]
) -> None:
    feed.vulnerabilities["base"] = ADVISORY
    name, *rest = command

    online = (await new_box(proxy.index_url).run(nuget6, name, proxy.index_url, *rest)).ok()
    await feed.set_mode("refused")
    offline = (await new_box(proxy.index_url).run(nuget6, name, proxy.index_url, *rest)).ok()

    assert [text for text in expected if text not in found(online)] == []
    assert found(offline) == found(online)


async def test_install_brings_the_bytes_of_upstream(nuget6: str, proxy: Proxy, new_box: NewBox, built: Built) -> None:
    box = new_box(proxy.index_url)

    (await box.run(nuget6, "install", proxy.index_url, "Acme.Web", "3.0.0", "out")).ok()

    installed = {path.name: path.read_bytes() for path in (box.work / "out").iterdir()}
    published = built.published()
    assert len(installed) == 4
    assert installed == {name: published[name] for name in installed}


async def test_every_resource_leads_to_the_proxy(nuget6: str, proxy: Proxy, feed: FakeFeed, new_box: NewBox) -> None:
    listed = (await new_box(proxy.index_url).run(nuget6, "index", proxy.index_url)).ok()

    rows = dict(line.split(" ", 1) for line in listed.output.splitlines())
    web = {row for row in rows if row.startswith(("PackageDetails", "OwnerDetails", "ReportAbuse"))}
    elsewhere = [url for row, url in rows.items() if row not in web and not url.startswith(f"{proxy.url}/v3/")]
    assert elsewhere == []
    assert feed.url not in listed.output


async def test_signatures_are_not_offered_over_plain_http(nuget6: str, proxy: Proxy, new_box: NewBox) -> None:
    ran = await new_box(proxy.index_url).run(nuget6, "signatures", proxy.index_url)

    assert "no RepositorySignatures resource" in ran.failed().output


async def test_push_and_delete(nuget6: str, proxy: Proxy, feed: FakeFeed, new_box: NewBox, built: Built) -> None:
    box = new_box(proxy.index_url)
    nupkg = built.nupkg(FRESH, "1.0.0")
    key = ("--key", feed.api_key)

    (await box.run(nuget6, "push", proxy.index_url, nupkg, *key)).ok()

    assert feed.shelf.find(FRESH, "1.0.0").content == nupkg.read_bytes()
    assert feed.symbols == {("acme.fresh", "1.0.0"): nupkg.with_suffix(".snupkg").read_bytes()}

    (await box.run(nuget6, "push", proxy.index_url, nupkg, *key)).failed()
    (await box.run(nuget6, "push", proxy.index_url, nupkg, *key, "--skip-duplicate")).ok()
    (await box.run(nuget6, "delete", proxy.index_url, FRESH, "1.0.0", *key)).ok()

    assert not feed.shelf.find(FRESH, "1.0.0").listed
