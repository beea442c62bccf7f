"""Real clients with a nuget.config that holds one source, a protected feed of a private and a public one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import trustme

from tests.e2e.clients import Box, Ran, find_client
from tests.e2e.proxy import ROOT, Proxy
from tests.e2e.test_sdk10 import Box10
from tests.fakes.feed import FakeFeed
from tests.fakes.feed_documents import signatures
from tests.fakes.origin import Script
from tests.fakes.packages import make_nupkg
from tests.fakes.vendors import VENDORS, VendorFeed

CONFIG = """
[upstreams.company]
url = "{company}"
username = "{user}"
password = "env:VENDOR_SECRET"
push_credentials = "proxy"
hosts = ["127.0.0.1"]
document_deadline = "2s"
[upstreams.public]
url = "{public}"
private = false
document_deadline = "2s"
[feeds.all]
sources = ["company", "public"]
push = "company"
"""
CREDENTIALS = """  <packageSourceCredentials><feed>
    <add key="Username" value="anybody"/><add key="ClearTextPassword" value="{secret}"/>
    <add key="ValidAuthenticationTypes" value="basic"/>
  </feed></packageSourceCredentials>
</configuration>
"""
ALL = {"contoso.app.1.0.0.nupkg", "acme.text.1.2.3.nupkg", "acme.core.1.0.0.nupkg"}


@dataclass(frozen=True, slots=True)
class Farm:
    """The proxy in front of two feeds; whoever has the token may read, and push."""

    proxy: Proxy
    company: VendorFeed
    public: FakeFeed
    token: str


@pytest.fixture
async def farm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Farm]:
    """Contoso.App, at a feed like Azure's, stands on Acme.Text, then Acme.Core, which are public."""
    async with VendorFeed(VENDORS["azure"]) as company, FakeFeed() as public:
        company.behind.add(make_nupkg("Contoso.App", "1.0.0", dependencies=[("Acme.Text", "[1.0.0, )")]))
        public.add(make_nupkg("Acme.Text", "1.2.3", dependencies=[("Acme.Core", "[1.0.0, )")]))
        public.add(make_nupkg("Acme.Core", "1.0.0"))
        public.add(make_nupkg("Contoso.App", "99.0.0", description="an attack"))
        monkeypatch.setenv("VENDOR_SECRET", company.vendor.environment)
        user = company.vendor.config["username"]
        config = CONFIG.format(company=company.index_url, public=public.index_url, user=user)
        async with Proxy(tmp_path / "cache", config=config) as proxy:
            yield Farm(proxy, company, public, await token(proxy))


async def token(proxy: Proxy) -> str:
    """What ``nugetproxy token add`` prints while the proxy runs."""
    places = ("--config", str(proxy.cache.with_suffix(".toml")), "--cache-dir", str(proxy.cache))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUGETPROXY_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "nugetproxy", "token", "add", "agents", "--scope", "read,push", *places),
        cwd=ROOT,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        said, told = await process.communicate()
    assert process.returncode == 0, told.decode()
    return said.decode().strip()


class Client(ABC):
    """A client in boxes of its own, whose nuget.config has the source ``feed`` with credentials for it."""

    variable: str
    program: str
    kind: type[Box] = Box

    def __init__(self, folder: Path, farm: Farm) -> None:
        self.path = find_client(self.variable, self.program)
        self._folder = folder
        self._farm = farm
        self._count = 0

    def box(self, secret: str = "") -> Box:
        self._count += 1
        box = self.kind(self._folder / f"box{self._count}", self._farm.proxy.index_url)
        text = box.config.read_text().replace("</configuration>\n", CREDENTIALS.format(secret=secret))
        box.config.write_text(text if secret else box.config.read_text())
        return box

    @abstractmethod
    async def restore(self, box: Box, id: str, version: str) -> Ran:
        """Get a package with all that it stands on."""

    @abstractmethod
    async def push(self, box: Box, nupkg: Path, key: str) -> Ran:
        """Push a package to the only source."""

    def got(self, box: Box) -> set[str]:
        """The files of the packages that were restored."""
        return set(box.restored())


class Dotnet(Client):
    """.NET Core SDK 3.1."""

    variable, program = "NUGETPROXY_TEST_DOTNET", "dotnet"

    async def restore(self, box: Box, id: str, version: str) -> Ran:
        box.project(f"{id}/{version}")
        return await box.run(self.path, "restore")

    async def push(self, box: Box, nupkg: Path, key: str) -> Ran:
        return await box.run(self.path, "nuget", "push", nupkg, "-s", box.source, "-k", key)


class Dotnet10(Dotnet):
    """.NET SDK 10."""

    variable, program, kind = "NUGETPROXY_TEST_DOTNET10", "dotnet10", Box10

    async def restore(self, box: Box, id: str, version: str) -> Ran:
        assert isinstance(box, Box10)
        box.app(f"{id}/{version}")
        return await box.run(self.path, "restore")


class NugetExe(Client):
    """nuget.exe on Mono."""

    variable, program = "NUGETPROXY_TEST_NUGET", "nuget"

    async def restore(self, box: Box, id: str, version: str) -> Ran:
        options = ("-OutputDirectory", box.packages, "-ConfigFile", box.config, "-NonInteractive")
        return await box.run(self.path, "install", id, "-Version", version, *options)

    async def push(self, box: Box, nupkg: Path, key: str) -> Ran:
        options = ("-Source", "feed", "-ConfigFile", box.config, "-NonInteractive")
        return await box.run(self.path, "push", nupkg, key, *options)

    def got(self, box: Box) -> set[str]:
        return {path.name.lower() for path in box.packages.glob("*/*.nupkg")}


class Nuget6(Client):
    """NuGet.Protocol 6."""

    variable, program = "NUGETPROXY_TEST_NUGET6", "nuget6"

    async def restore(self, box: Box, id: str, version: str) -> Ran:
        return await box.run(self.path, "install", "feed", id, version, str(box.packages), "--config", box.config)

    async def push(self, box: Box, nupkg: Path, key: str) -> Ran:
        return await box.run(self.path, "push", "feed", nupkg, "--key", key, "--config", box.config)

    def got(self, box: Box) -> set[str]:
        return {path.name.lower() for path in box.packages.iterdir()} if box.packages.exists() else set()


@pytest.fixture(params=[Dotnet10, Dotnet, NugetExe, Nuget6], ids=lambda kind: kind.program)
def kind(request: pytest.FixtureRequest) -> type[Client]:
    """Skips before the farm is started for nobody."""
    found: type[Client] = request.param
    find_client(found.variable, found.program)
    return found


@pytest.fixture
def client(kind: type[Client], tmp_path: Path, farm: Farm) -> Client:
    return kind(tmp_path, farm)


async def restored(client: Client, farm: Farm, id: str) -> set[str]:
    box = client.box(farm.token)
    (await client.restore(box, id, "1.0.0")).ok()
    return client.got(box)


async def test_private_and_public_are_restored_pushed_and_restored_in_any_outage(client: Client, farm: Farm) -> None:
    assert await restored(client, farm, "Contoso.App") == ALL

    box = client.box(farm.token)
    nupkg = box.work / "Contoso.Fresh.1.0.0.nupkg"
    nupkg.write_bytes(make_nupkg("Contoso.Fresh", "1.0.0", dependencies=[("Acme.Core", "[1.0.0, )")]))
    (await client.push(box, nupkg, farm.token)).ok()
    assert farm.company.behind.shelf.find("Contoso.Fresh", "1.0.0").content == nupkg.read_bytes()
    assert await restored(client, farm, "Contoso.Fresh") == {"contoso.fresh.1.0.0.nupkg", "acme.core.1.0.0.nupkg"}

    await farm.company.origin.refuse()
    await farm.company.store.refuse()
    assert await restored(client, farm, "Contoso.App") == ALL
    await farm.company.origin.listen()
    await farm.company.store.listen()
    await farm.public.set_mode("refused")
    assert await restored(client, farm, "Contoso.App") == ALL

    assert not [seen for seen in farm.public.requests if seen.method != "GET" or "Authorization" in seen.headers]
    seen = [*farm.public.requests, *farm.company.origin.requests, *farm.company.store.requests]
    assert not [one for one in seen if farm.token in str(one.headers)], "our token went upstream"


async def test_without_a_token_nothing_is_said_and_nobody_is_asked(client: Client, farm: Farm) -> None:
    before = len(farm.company.origin.requests), len(farm.public.requests)
    for secret in ("", "not a token at all"):
        box = client.box(secret)
        ran = (await client.restore(box, "Contoso.App", "1.0.0")).failed()
        assert "401" in ran.output or "Unauthorized" in ran.output
        assert not client.got(box)
        nupkg = box.work / "Contoso.Fresh.1.0.0.nupkg"
        nupkg.write_bytes(make_nupkg("Contoso.Fresh", "1.0.0"))
        (await client.push(box, nupkg, "not a token at all")).failed()
    assert (len(farm.company.origin.requests), len(farm.public.requests)) == before


# --- trust, over https of our own ---


SIGNERS = """  <config><add key="signatureValidationMode" value="require"/></config>
  <trustedSigners><repository name="feed" serviceIndex="https://api.nuget.org/v3/index.json">
    <certificate fingerprint="{fingerprint}" hashAlgorithm="SHA256" allowUntrustedRoot="false"/>
  </repository></trustedSigners>
</configuration>
"""
TLS = """
[server]
tls_certificate = "{pem}"
tls_key = "{pem}"
[upstreams.up]
url = "{up}"
"""


BESIDE = """
private = false
[upstreams.company]
url = "{company}"
private = true
[feeds.all]
sources = ["company", "up"]
"""


class SecureProxy(Proxy):
    """The same process, which is asked by https."""

    async def _ready(self) -> None:
        """That it listens is enough: its authority is known to the client only."""


@pytest.mark.parametrize("listed", [True, False])
async def test_a_client_that_wants_signatures_restores_over_https_what_the_feed_has_signed(
    tmp_path: Path, listed: bool
) -> None:
    program = find_client("NUGETPROXY_TEST_DOTNET10", "dotnet10")
    folder = os.environ.get("NUGETPROXY_TEST_PACKAGES", "")
    if not folder:
        pytest.skip("NUGETPROXY_TEST_PACKAGES names no folder with real packages")
    nupkg = Path(folder) / "serilog.4.0.0.nupkg"
    signer = await signed_by(program, tmp_path, nupkg)
    async with FakeFeed() as feed:
        feed.add(nupkg.read_bytes())
        if listed:
            list_signer(feed, signer)
        async with secure_proxy(tmp_path, feed.index_url) as (proxy, authority):
            box = Box10(tmp_path / "box", proxy.index_url)
            box.variables["SSL_CERT_FILE"] = str(authority)
            text = box.config.read_text().replace("</configuration>\n", SIGNERS.format(fingerprint=signer))
            box.config.write_text(text)
            box.app("Serilog/4.0.0")
            ran = await box.run(program, "restore", "-p:NuGetAudit=false")
        assert [seen.path for seen in feed.requests if "repository-signatures" in seen.path]
    assert (ran.code, "NU3034" in ran.output) == ((0, False) if listed else (1, True)), ran.output


async def test_signatures_are_published_over_https_of_our_own(tmp_path: Path) -> None:
    program = find_client("NUGETPROXY_TEST_NUGET6", "nuget6")
    async with FakeFeed() as feed:
        feed.add(make_nupkg("Acme.Core", "1.0.0"))
        async with secure_proxy(tmp_path, feed.index_url) as (proxy, authority):
            box = Box(tmp_path / "box", proxy.index_url)
            box.variables["SSL_CERT_FILE"] = str(authority)
            read = (await box.run(program, "signatures", box.source)).ok()
            (await box.run(program, "install", box.source, "Acme.Core", "1.0.0", "out")).ok()
    assert "certificates=1" in read.output
    assert [path.name.lower() for path in (box.work / "out").iterdir()] == ["acme.core.1.0.0.nupkg"]


async def test_signed_public_and_unsigned_private_packages_are_restored_together_over_https(tmp_path: Path) -> None:
    program = find_client("NUGETPROXY_TEST_DOTNET10", "dotnet10")
    folder = os.environ.get("NUGETPROXY_TEST_PACKAGES", "")
    if not folder:
        pytest.skip("NUGETPROXY_TEST_PACKAGES names no folder with real packages")
    async with FakeFeed() as public, FakeFeed() as company:
        public.add((Path(folder) / "serilog.4.0.0.nupkg").read_bytes())
        company.add(make_nupkg("Contoso.App", "1.0.0", dependencies=[("Serilog", "[4.0.0, )")]))
        more = BESIDE.format(company=company.index_url)
        async with secure_proxy(tmp_path, public.index_url, more) as (proxy, authority):
            box = Box10(tmp_path / "box", proxy.index_url)
            box.variables["SSL_CERT_FILE"] = str(authority)
            box.app("Contoso.App/1.0.0")
            (await box.run(program, "restore", "-p:NuGetAudit=false")).ok()
            async with aiohttp.ClientSession() as session:
                for url, there in ((proxy.index_url, False), (f"{proxy.url}/up/v3/index.json", True)):
                    async with session.get(url, ssl=False) as answer:
                        assert ("RepositorySignatures" in await answer.text()) is there, url
        assert set(box.restored()) == {"contoso.app.1.0.0.nupkg", "serilog.4.0.0.nupkg"}


@contextlib.asynccontextmanager
async def secure_proxy(folder: Path, upstream: str, more: str = "") -> AsyncIterator[tuple[Proxy, Path]]:
    """A proxy with a certificate, and the file of the authority that has issued it."""
    authority = trustme.CA()
    pem, file = folder / "own.pem", folder / "authority.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(pem)
    authority.cert_pem.write_to_path(file)
    async with SecureProxy(folder / "cache", config=TLS.format(pem=pem, up=upstream) + more) as proxy:
        yield proxy, file


def list_signer(feed: FakeFeed, fingerprint: str) -> None:
    """Have the feed say that it signs with this certificate."""
    for version in ("4.7.0", "4.9.0", "5.0.0"):
        said = signatures(version)
        said["signingCertificates"][0]["fingerprints"] = {"2.16.840.1.101.3.4.2.1": fingerprint.lower()}
        script = Script(headers=[("Content-Type", "application/json")], body=json.dumps(said).encode())
        feed.origin.routes[f"/v3-index/repository-signatures/{version}/index.json"] = script


async def signed_by(program: str, folder: Path, nupkg: Path) -> str:
    """The fingerprint of the certificate with which a repository has signed a package."""
    box = Box10(folder / "verified", "https://127.0.0.1:1/v3/index.json")
    ran = (await box.run(program, "nuget", "verify", nupkg, "-v", "normal")).ok()
    _, _, repository = ran.output.partition("Signature type: Repository")
    found = re.search(r"SHA256 hash: ([0-9A-F]{64})", repository)
    assert found is not None, ran.output
    return found[1]
