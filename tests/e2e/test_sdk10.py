"""The client of today (.NET SDK 10) with 122 real, signed packages, while the feed is well and when it is gone."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.clients import Box, Ran, find_client
from tests.e2e.proxy import Proxy
from tests.fakes.feed import FakeFeed
from tests.fakes.origin import Script
from tests.fakes.packages import make_nupkg

ADVISORIES = {
    "newtonsoft.json": [
        {"url": "https://github.com/advisories/GHSA-5crp-9r3c-p9vr", "severity": 2, "versions": "(, 13.0.1)"}
    ],
    "log4net": [{"url": "https://github.com/advisories/GHSA-2cwj-8chv-9pp9", "severity": 3, "versions": "(, 2.0.10)"}],
}
"""What is known of two of the packages, in the form of the feed's VulnerabilityInfo pages."""
DEPRECATION = {"reasons": ["Legacy"], "message": "Old"}
TOOLS = {"version": 1, "isRoot": True, "tools": {"acme.tool": {"version": "1.0.0", "commands": ["acme"]}}}
"""What a repository says that it needs."""
NUGET_ORG = (
    "0e5f38f57dc1bcc806d8494f4f90fbcedd988b46760709cbeec6f4219aa6157d",
    "5a2901d6ada3d18260b9c6dfe2133c95d74b9eef6ae0e5dc334c8454d1477df4",
    "1f4b311d9acc115c8dc8018b5a49e00fce6da8e2855f9f014ca6f34570bc482d",
)
"""The certificates with which it signs."""
PROJECT = """<Project Sdk="Microsoft.NET.Sdk"><PropertyGroup><TargetFramework>net10.0</TargetFramework></PropertyGroup>
<ItemGroup>{items}</ItemGroup></Project>
"""


@pytest.fixture(scope="session")
def dotnet10() -> str:
    """The program of SDK 10."""
    return find_client("NUGETPROXY_TEST_DOTNET10", "dotnet10")


@pytest.fixture(scope="session")
def real_packages() -> Path:
    """The folder with the real packages and the application that takes all of them."""
    named = os.environ.get("NUGETPROXY_TEST_PACKAGES", "")
    if not named:
        pytest.skip("NUGETPROXY_TEST_PACKAGES names no folder with real packages")
    return Path(named)


class Box10(Box):
    """A box for SDK 10: it has no cultures here, and trusts the roots that it carries."""

    def environment(self) -> dict[str, str]:
        """As for other clients, with what this SDK wants besides."""
        variables = super().environment()
        for other in ("DOTNET_CLI_UI_LANGUAGE", "DOTNET_ROOT"):  # of SDK 3.1, or what this one cannot have
            variables.pop(other, None)
        return variables | {
            "DOTNET_SYSTEM_GLOBALIZATION_INVARIANT": "1",
            "DOTNET_CLI_WORKLOAD_UPDATE_NOTIFY_DISABLE": "true",
            "DOTNET_CLI_USE_MSBUILD_SERVER": "0",
            "NUGET_CERT_REVOCATION_MODE": "offline",
            "NUGET_XMLDOC_MODE": "skip",
            "DOTNET_NUGET_SIGNATURE_VERIFICATION": "true",
        }

    def app(self, *references: str) -> Path:
        """Write a project that refers to packages, each as ``Id/Version``."""
        pairs = (reference.split("/") for reference in references)
        items = "".join(f'<PackageReference Include="{name}" Version="{version}"/>' for name, version in pairs)
        path = self.work / "app.csproj"
        path.write_text(PROJECT.format(items=items))
        return path


@pytest.fixture
async def feed(real_packages: Path) -> AsyncIterator[FakeFeed]:
    """The upstream: the real packages, with what is known to be wrong with two of them."""
    async with FakeFeed() as feed:
        for path in sorted(real_packages.glob("*.nupkg")):
            feed.add(path.read_bytes())
        feed.vulnerabilities["base"] = ADVISORIES
        yield feed


@pytest.fixture
async def proxy(feed: FakeFeed, tmp_path: Path) -> AsyncIterator[Proxy]:
    async with Proxy(tmp_path / "cache", upstream=feed.index_url) as proxy:
        yield proxy


def new_box(root: Path, proxy: Proxy) -> Box10:
    """A box with empty caches of its own."""
    return Box10(root / f"box{len(list(root.glob('box*')))}", proxy.index_url)


async def restore(dotnet10: str, box: Box10, real_packages: Path) -> Ran:
    """Restore the application that takes every real package."""
    (box.work / "app.csproj").write_bytes((real_packages / "app.csproj").read_bytes())
    return (await box.run(dotnet10, "restore")).ok()


async def test_every_real_package_is_restored_cold_warm_and_without_upstream(
    dotnet10: str, proxy: Proxy, feed: FakeFeed, real_packages: Path, tmp_path: Path
) -> None:
    published = {path.name: path.read_bytes() for path in real_packages.glob("*.nupkg")}
    for state in ("cold", "warm", "gone"):
        if state == "gone":
            await feed.set_mode("refused")
        box = new_box(tmp_path, proxy)

        ran = await restore(dotnet10, box, real_packages)

        assert box.restored() == published, state
        assert "NU1903" in ran.output, state
        assert "GHSA-5crp-9r3c-p9vr" in ran.output, state
        assert "NU1900" not in ran.output, state
    downloads = [seen.path for seen in feed.requests if seen.method == "GET" and seen.path.endswith(".nupkg")]
    assert len(downloads) == len(published)


def list_certificates(feed: FakeFeed, *fingerprints: str) -> None:
    """The feed signs with these."""
    rows = [{"fingerprints": {"2.16.840.1.101.3.4.2.1": one}} for one in fingerprints]
    body = json.dumps({"allRepositorySigned": False, "signingCertificates": rows}).encode()
    for version in ("4.7.0", "5.0.0"):
        feed.origin.routes[f"/v3-index/repository-signatures/{version}/index.json"] = Script(
            body=body, headers=(("Content-Type", "application/json"),)
        )


@pytest.mark.parametrize("trusted", ["list", "roots"])
async def test_every_real_package_is_restored_from_a_source_that_must_be_signed(
    dotnet10: str, feed: FakeFeed, real_packages: Path, tmp_path: Path, trusted: str
) -> None:
    files = sorted(Path(dotnet10).parent.glob("sdk/*/trustedroots/*ctl.pem")) if trusted == "roots" else []
    list_certificates(feed, *(NUGET_ORG if trusted == "list" else ()))
    table = f'[upstreams.up]\nurl = "{feed.index_url}"\nsignatures = "require"\n'
    config = f"{table}signature_roots = {json.dumps([str(file) for file in files])}\n"
    async with Proxy(tmp_path / "cache", config=config) as proxy:
        box = new_box(tmp_path, proxy)
        await restore(dotnet10, box, real_packages)
        assert box.restored() == {path.name: path.read_bytes() for path in real_packages.glob("*.nupkg")}


async def test_a_restore_says_who_has_signed_what_is_refused(
    dotnet10: str, feed: FakeFeed, real_packages: Path, tmp_path: Path
) -> None:
    list_certificates(feed)
    config = f'[upstreams.up]\nurl = "{feed.index_url}"\nsignatures = "require"\n'
    async with Proxy(tmp_path / "cache", config=config) as proxy:
        box = new_box(tmp_path, proxy)
        box.app("Dapper/2.1.86")
        ran = (await box.run(dotnet10, "restore")).failed()
        assert "dapper 2.1.86 is refused, its signature does not count (signer)" in ran.output


async def test_what_is_vulnerable_is_listed_also_while_the_feed_is_down(
    dotnet10: str, proxy: Proxy, feed: FakeFeed, real_packages: Path, tmp_path: Path
) -> None:
    for state in ("up", "down"):
        if state == "down":
            await feed.set_mode("refused")
        box = new_box(tmp_path, proxy)
        await restore(dotnet10, box, real_packages)

        listed = (await box.run(dotnet10, "list", "package", "--vulnerable")).ok()

        assert "GHSA-5crp-9r3c-p9vr" in listed.output, state
        assert "GHSA-2cwj-8chv-9pp9" in listed.output, state


async def test_what_no_client_asked_for_is_known_in_an_outage_and_offline(
    dotnet10: str, feed: FakeFeed, tmp_path: Path
) -> None:
    """Restores ask for no registration; those of what they took are fetched behind their backs."""
    feed.registration_extra["newtonsoft.json"] = {"12.0.3": {"deprecation": DEPRECATION}}
    for version in ("1.0.0", "2.0.0"):
        feed.add(make_nupkg("Acme.Hidden", version), listed=version == "1.0.0")
    upstream = f'[upstreams.up]\nurl = "{feed.index_url}"\n'
    async with Proxy(tmp_path / "cache", config=upstream) as proxy:
        for version in ("1.0.0", "2.0.0"):
            box = new_box(tmp_path, proxy)
            box.app("Newtonsoft.Json/12.0.3", f"Acme.Hidden/{version}")
            (await box.run(dotnet10, "restore")).ok()
        wanted = {f"/v3/registration5-gz-semver2/{id}/index.json" for id in ("newtonsoft.json", "acme.hidden")}
        async with asyncio.timeout(60):
            while not wanted <= {seen.path for seen in feed.requests}:
                await asyncio.sleep(0.2)
        await feed.set_mode("refused")
        await assert_all_is_known(dotnet10, new_box(tmp_path, proxy))
    async with Proxy(tmp_path / "cache", config=f"{upstream}offline = true\n") as proxy:
        await assert_all_is_known(dotnet10, new_box(tmp_path, proxy))


async def assert_all_is_known(dotnet10: str, box: Box10) -> None:
    """Restore, then ask what is vulnerable, what deprecated, what the newest listed version is."""
    box.app("Newtonsoft.Json/12.0.3", "Acme.Hidden/1.0.0")
    (await box.run(dotnet10, "restore")).ok()
    vulnerable = (await box.run(dotnet10, "list", "package", "--vulnerable")).ok()
    assert "GHSA-5crp-9r3c-p9vr" in vulnerable.output
    deprecated = (await box.run(dotnet10, "list", "package", "--deprecated")).ok()
    assert "Legacy" in deprecated.output
    out = box.root / "downloaded"
    (await box.run(dotnet10, "package", "download", "Acme.Hidden", "--output", out)).ok()
    assert [path.name for path in out.rglob("*.nupkg")] == ["acme.hidden.1.0.0.nupkg"], "2.0.0 is unlisted"


async def test_a_floating_version_is_restored_while_one_feed_of_two_is_dead(
    dotnet10: str, feed: FakeFeed, tmp_path: Path
) -> None:
    """NuGet wants the answer of every feed; that the dead one never had the package is known."""
    async with FakeFeed() as company:
        company.add(make_nupkg("Acme.Own", "1.0.0"))
        two = "".join(f'[upstreams.{name}]\nurl = "{one.index_url}"\n' for name, one in (("a", feed), ("b", company)))
        short = '[policy.versions]\nfresh = "0s"\nrefresh = "0s"\nabsent = "0s"\n'
        async with Proxy(tmp_path / "cache", config=two + short) as proxy:
            for state in ("up", "dead"):
                if state == "dead":
                    await company.set_mode("refused")
                box = new_box(tmp_path, proxy)
                second = f'<add key="second" value="{proxy.url}/b/v3/index.json" allowInsecureConnections="true" />'
                box.config.write_text(box.config.read_text().replace("</packageSources>", f"{second}</packageSources>"))
                box.app("Polly/8.*")
                (await box.run(dotnet10, "restore")).ok()
                assert "polly.8.9.1.nupkg" in box.restored(), state


async def test_it_searches_adds_explains_and_downloads(
    dotnet10: str, proxy: Proxy, real_packages: Path, tmp_path: Path
) -> None:
    box = new_box(tmp_path, proxy)
    found = (await box.run(dotnet10, "package", "search", "yamldotnet")).ok()
    assert "YamlDotNet" in found.output

    project = box.app("Polly/8.9.1")
    (await box.run(dotnet10, "package", "add", "YamlDotNet", "--project", project)).ok()
    assert "YamlDotNet" in project.read_text()

    why = (await box.run(dotnet10, "nuget", "why", project, "Polly.Core")).ok()
    assert "Polly.Core" in why.output

    out = box.root / "downloaded"
    (await box.run(dotnet10, "package", "download", "Dapper@2.1.86", "--output", out)).ok()
    assert [path.read_bytes() for path in out.rglob("dapper*.nupkg")] == [
        (real_packages / "dapper.2.1.86.nupkg").read_bytes()
    ]


async def test_signatures_of_what_was_restored_verify(
    dotnet10: str, proxy: Proxy, feed: FakeFeed, real_packages: Path, tmp_path: Path
) -> None:
    box = new_box(tmp_path, proxy)
    box.app("Dapper/2.1.86")
    (await box.run(dotnet10, "restore")).ok()
    (restored,) = box.packages.glob("dapper/*/*.nupkg")

    verified = (await box.run(dotnet10, "nuget", "verify", "--all", restored)).ok()
    assert "Verifying Dapper.2.1.86" in verified.output
    assert "Signature type: Repository" in verified.output

    altered = bytearray((real_packages / "polly.core.8.9.1.nupkg").read_bytes())
    at = altered.index(b"Polly.Core.dll") - 20
    altered[at] ^= 1  # a byte of an entry's header: what is signed differs
    (box.work / "altered.nupkg").write_bytes(bytes(altered))
    refused = (await box.run(dotnet10, "nuget", "verify", "--all", box.work / "altered.nupkg")).failed()
    assert "NU3008" in refused.output


async def test_a_push_arrives_and_its_package_is_there(
    dotnet10: str, proxy: Proxy, feed: FakeFeed, tmp_path: Path
) -> None:
    box = new_box(tmp_path, proxy)
    fresh = box.work / "acme.fresh.1.0.0.nupkg"
    fresh.write_bytes(make_nupkg("Acme.Fresh", "1.0.0"))
    options = ("-s", proxy.index_url, "-k", feed.api_key, "--allow-insecure-connections", "--no-symbols")

    (await box.run(dotnet10, "nuget", "push", fresh, *options)).ok()

    box.app("Acme.Fresh/1.0.0")
    (await box.run(dotnet10, "restore")).ok()
    assert box.restored()[fresh.name] == fresh.read_bytes()


async def test_a_tool_is_restored_cold_and_without_upstream(
    dotnet10: str, proxy: Proxy, feed: FakeFeed, tmp_path: Path
) -> None:
    settings = (
        '<DotNetCliTool Version="1"><Commands><Command Name="acme" EntryPoint="acme.dll" Runner="dotnet" />'
        "</Commands></DotNetCliTool>"
    )
    tool = make_nupkg(
        "Acme.Tool",
        "1.0.0",
        package_types=("DotnetTool",),
        files={"tools/net10.0/any/DotnetToolSettings.xml": settings.encode(), "tools/net10.0/any/acme.dll": b"MZ"},
    )
    feed.add(tool)
    for state in ("cold", "gone"):
        if state == "gone":
            await feed.set_mode("refused")
        box = new_box(tmp_path, proxy)
        manifest = box.work / ".config" / "dotnet-tools.json"
        manifest.parent.mkdir()
        manifest.write_text(json.dumps(TOOLS))

        restored = (await box.run(dotnet10, "tool", "restore", "--configfile", box.config)).ok()

        assert "Tool 'acme.tool' (version '1.0.0') was restored" in restored.output, state
        assert box.restored()["acme.tool.1.0.0.nupkg"] == tool, state
