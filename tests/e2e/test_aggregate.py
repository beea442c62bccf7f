"""Real clients know one source, the proxy's feed of a private and a public one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.clients import Box, Ran, find_client
from tests.e2e.proxy import Proxy
from tests.e2e.test_sdk10 import PROJECT, Box10
from tests.fakes import canary
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg

CONFIG = """
[upstreams.company]
url = "{company}"
private = true
document_deadline = "2s"
[upstreams.public]
url = "{public}"
private = false
document_deadline = "2s"
[feeds.all]
sources = ["company", "public"]
push = "company"
"""
PACKAGES = ("Contoso.App/1.0.0", "Acme.Text/1.2.3")


@dataclass(frozen=True, slots=True)
class Farm:
    """The proxy in front of two feeds."""

    proxy: Proxy
    company: FakeFeed
    public: FakeFeed

    @property
    def url(self) -> str:
        return self.proxy.index_url


@pytest.fixture
async def farm(tmp_path: Path) -> AsyncIterator[Farm]:
    """Contoso.App is private and stands on Acme.Text and Acme.Core, which are public, as is a false Contoso.App."""
    async with FakeFeed() as company, FakeFeed() as public:
        company.add(make_nupkg("Contoso.App", "1.0.0", dependencies=[("Acme.Text", "[1.0.0, )")]))
        public.add(make_nupkg("Acme.Text", "1.0.0", dependencies=[("Acme.Core", "[1.0.0, )")]))
        public.add(make_nupkg("Acme.Text", "1.2.3", dependencies=[("Acme.Core", "[1.0.0, )")]))
        public.add(make_nupkg("Acme.Core", "1.0.0"))
        public.add(make_nupkg("Contoso.App", "99.0.0", description="an attack"))
        config = CONFIG.format(company=company.index_url, public=public.index_url)
        async with Proxy(tmp_path / "cache", config=config) as proxy:
            yield Farm(proxy, company, public)


class Client:
    """A client that restores, in boxes of its own."""

    def __init__(self, program: str, kind: type[Box], folder: Path) -> None:
        self.program = program
        self._kind = kind
        self._folder = folder
        self._count = 0

    def box(self, source: str) -> Box:
        self._count += 1
        return self._kind(self._folder / f"box{self._count}", source)

    async def restore(self, source: str, *references: str) -> tuple[Box, Ran]:
        box = self.box(source)
        if isinstance(box, Box10):
            pairs = (reference.split("/") for reference in references)
            items = "".join(f'<PackageReference Include="{name}" Version="{version}"/>' for name, version in pairs)
            (box.work / "app.csproj").write_text(PROJECT.format(items=items))
        else:
            box.project(*references)
        return box, await box.run(self.program, "restore")


@pytest.fixture(params=[("NUGETPROXY_TEST_DOTNET10", "dotnet10", Box10), ("NUGETPROXY_TEST_DOTNET", "dotnet", Box)])
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Client:
    variable, program, kind = request.param
    return Client(find_client(variable, program), kind, tmp_path)


NAMES = {"contoso.app.1.0.0.nupkg", "acme.text.1.2.3.nupkg", "acme.core.1.0.0.nupkg"}
Lost = Callable[[Farm], FakeFeed]


async def test_private_and_public_packages_are_restored_together(client: Client, farm: Farm) -> None:
    box, ran = await client.restore(farm.url, *PACKAGES)
    ran.ok()
    assert set(box.restored()) == NAMES
    assert "warn" not in ran.output.lower()


@pytest.mark.parametrize("lost", [lambda farm: farm.company, lambda farm: farm.public], ids=["private", "public"])
async def test_they_are_restored_again_without_one_of_the_feeds(client: Client, farm: Farm, lost: Lost) -> None:
    first, ran = await client.restore(farm.url, *PACKAGES)
    ran.ok()
    await lost(farm).set_mode("refused")
    again, ran = await client.restore(farm.url, *PACKAGES)
    ran.ok()
    assert again.restored() == first.restored()


async def test_a_floating_version_does_not_leave_the_private_feed(client: Client, farm: Farm) -> None:
    box, ran = await client.restore(farm.url, "Contoso.App/*")
    ran.ok()
    assert "contoso.app.1.0.0.nupkg" in box.restored()
    assert not [name for name in box.restored() if "99.0.0" in name]


async def test_a_floating_version_of_an_unclaimed_id_fails_without_the_private_feed(client: Client, farm: Farm) -> None:
    await farm.company.set_mode("refused")
    box, ran = await client.restore(farm.url, "Contoso.App/*")
    ran.failed()
    assert "'company'" in ran.output
    assert not box.restored()


async def test_a_push_goes_to_the_private_feed(client: Client, farm: Farm) -> None:
    box = client.box(farm.url)
    package = box.work / "fresh.nupkg"
    package.write_bytes(make_nupkg("Contoso.Fresh", "1.0.0"))
    push = (client.program, "nuget", "push", package, "-s", farm.url, "-k", canary.API_KEY)
    (await box.run(*push)).ok()
    assert farm.company.shelf.find("Contoso.Fresh", "1.0.0")
    assert not [seen for seen in farm.public.requests if seen.method == "PUT"]
    box, ran = await client.restore(farm.url, "Contoso.Fresh/1.0.0")
    ran.ok()
    assert set(box.restored()) == {"contoso.fresh.1.0.0.nupkg"}
