"""``nugetproxy doctor --leaks``: every published URL that leads elsewhere, and why."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
import trustme
from rich.console import Console
from typer.testing import CliRunner

from nugetproxy.admin.commands import carry_out
from nugetproxy.cli.commands import app
from nugetproxy.cli.doctor.tables import show
from nugetproxy.errors import NotFound
from nugetproxy.jobs.leaks import LeakWalk, Report
from nugetproxy.jobs.proxy_client import Fetched
from nugetproxy.nuget.leaks import Verdict, document_sightings, index_sightings
from tests.conftest import StartProxy
from tests.fakes.feed import FakeFeed
from tests.fakes.origin import Origin, Script
from tests.fakes.packages import make_nupkg
from tests.fakes.process import ProxyProcess
from tests.fakes.proxy import Proxy

ROOT = "https://us.example/"
BASE = f"{ROOT}v3/"
AWAY = "https://away.example/x"


# --- what is thought of a URL ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "field", "verdict"),
    [
        ({"@id": AWAY}, "@id", Verdict.LEAK),
        ({"items": [{"@id": AWAY}]}, "items.@id", Verdict.LEAK),
        ({"data": [{"registration": AWAY}]}, "data.registration", Verdict.LEAK),
        ({"packageContent": AWAY}, "packageContent", Verdict.LEAK),
        ({"catalogEntry": AWAY}, "catalogEntry", Verdict.LEAK),
        ({"@context": {"@base": AWAY}}, "@context.@base", Verdict.LEAK),
        ({"futureUrl": AWAY}, "futureUrl", Verdict.LEAK),
        ([AWAY], "", Verdict.LEAK),
        ({"@id": "http://us.example/v3/x"}, "@id", Verdict.LEAK),
        ({"@id": "file:///etc/passwd"}, "@id", Verdict.LEAK),
        ({"catalogEntry": {"@id": AWAY}}, "catalogEntry.@id", Verdict.INFORMATION),
        ({"catalogEntry": {"packageContent": AWAY}}, "catalogEntry.packageContent", Verdict.LEAK),
        ({"dependencies": [{"registration": AWAY}]}, "dependencies.registration", Verdict.LEAK),
        ({"@context": {"@vocab": AWAY}}, "@context.@vocab", Verdict.INFORMATION),
        ({"@context": {"xsd": {"@id": AWAY}}}, "@context.xsd.@id", Verdict.INFORMATION),
        ({"signingCertificates": [{"contentUrl": AWAY}]}, "signingCertificates.contentUrl", Verdict.INFORMATION),
        ({"iconUrl": AWAY}, "iconUrl", Verdict.INFORMATION),
        ({"description": AWAY}, "description", Verdict.INFORMATION),
        ({"projectUrl": AWAY}, "projectUrl", Verdict.WEB),
        ({"acme.a": [{"url": AWAY}]}, "acme.a.url", Verdict.WEB),
        ({"@id": f"{BASE}x"}, "@id", Verdict.OURS),
    ],
)
def test_a_url_is_judged_by_the_field_it_is_in(document: Any, field: str, verdict: Verdict) -> None:
    (sighting,) = document_sightings(document, ROOT)
    assert (sighting.field, sighting.verdict) == (field, verdict)
    assert sighting.why or verdict is Verdict.OURS


def test_text_with_a_url_in_it_is_text() -> None:
    assert list(document_sightings({"summary": f"See {AWAY} for more", "id": "Acme.A", "n": 1}, ROOT)) == []


@pytest.mark.parametrize(
    ("name", "url", "verdict"),
    [
        ("PackageBaseAddress/3.0.0", f"{BASE}content/", Verdict.OURS),
        ("PackageBaseAddress/3.0.0", AWAY, Verdict.LEAK),
        ("PackagePublish/2.0.0", "http://us.example/v3/package", Verdict.LEAK),
        ("LegacyGallery/2.0.0", AWAY, Verdict.LEAK),
        ("Unknown/1.0.0", AWAY, Verdict.LEAK),
        ("PackageDetailsUriTemplate/5.1.0", AWAY, Verdict.WEB),
        ("ReadmeUriTemplate/6.13.0", AWAY, Verdict.LEAK),
    ],
)
def test_a_resource_is_judged_by_what_clients_do_with_it(name: str, url: str, verdict: Verdict) -> None:
    for stated in (name, [name]):
        (sighting,) = index_sightings({"resources": [{"@type": stated, "@id": url}]}, BASE)
        assert sighting.verdict is verdict


# --- the walk --------------------------------------------------------------------------------------------------------


async def walk(documents: dict[str, Any], *packages: str) -> Report:
    """Walk through documents by path below ``ROOT``."""

    async def fetch(url: str, headers_only: bool) -> Fetched:
        found = documents.get(url.removeprefix(ROOT).partition("?")[0])
        return Fetched(404) if found is None else Fetched(200, "application/json", json.dumps(found).encode())

    return await LeakWalk(fetch, root=ROOT, base=BASE).run(packages)


def index(**resources: str) -> dict[str, Any]:
    return {"version": "3.0.0", "resources": [{"@type": name, "@id": url} for name, url in resources.items()]}


async def test_a_leak_deep_in_a_sample_is_found() -> None:
    hive = f"{BASE}registration/"
    report = await walk(
        {
            "v3/index.json": index(RegistrationsBaseUrl=hive, SearchQueryService=f"{BASE}query"),
            "v3/query": {"data": [{"id": "Acme.A", "@id": f"{hive}acme.a/index.json"}]},
            "v3/registration/acme.a/index.json": {"items": [{"@id": f"{hive}acme.a/page.json"}]},
            "v3/registration/acme.a/page.json": {"items": [{"packageContent": AWAY}]},
        }
    )
    assert report.packages == ("Acme.A",)
    assert report.leaks
    assert [(one.field, where) for one, (_, where) in report.found.items()] == [
        ("items.packageContent", "registration/acme.a/page.json")
    ]


async def test_a_link_does_not_speak_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    report = await walk({"v3/index.json": index(**{"Odd/1\x1b[2J": f"{AWAY}\x1b[2J"})})
    show("up", report, Console())
    out = capsys.readouterr().out
    assert f"{AWAY}\\u001b[2J" in out and "\x1b[2J" not in out


async def test_a_link_to_us_that_does_not_answer_is_found() -> None:
    report = await walk({"v3/index.json": index(**{"Catalog/3.0.0": f"{BASE}catalog/index.json"})})
    assert [(one.verdict, one.url) for one in report.found] == [(Verdict.BROKEN, f"{BASE}catalog/index.json")]
    assert report.leaks


async def test_a_circle_of_documents_ends() -> None:
    at = f"{BASE}catalog/index.json"
    report = await walk({"v3/index.json": index(**{"Catalog/3.0.0": at}), "v3/catalog/index.json": {"@id": at}})
    assert not report.leaks


async def test_without_a_service_index_there_is_nothing_to_walk() -> None:
    with pytest.raises(NotFound, match="status 404"):
        await walk({})


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def full(feed: FakeFeed) -> FakeFeed:
    for version in ("1.0.0", "2.0.0"):
        feed.add(make_nupkg("Acme.A", version, readme="read me", dependencies=[("Acme.B", "1.0.0")]))
    feed.add(make_nupkg("Acme.B", "1.0.0"))
    feed.vulnerabilities = {
        "base": {"acme.a": [{"severity": 1, "url": "https://advisories.example/1", "versions": "[1.0.0]"}]}
    }
    return feed


async def doctor(*arguments: str) -> Any:
    """The command in a thread of its own, as it runs a loop."""
    return await asyncio.to_thread(CliRunner().invoke, app, ["doctor", *arguments])


def config(tmp_path: Path, url: str, **tables: str) -> str:
    lines = {"upstreams.up": f'url = "{url}"', "tools": 'url = ""', **tables}
    file = tmp_path / "doctor.toml"
    file.write_text("\n".join(f"[{name}]\n{line}" for name, line in lines.items()))
    return str(file)


async def test_a_whole_feed_leads_nobody_away(full: FakeFeed, tmp_path: Path) -> None:
    ran = await doctor("--leaks", "--config", config(tmp_path, full.index_url))
    assert ran.exit_code == 0, ran.output
    assert "No link leads a client away." in ran.output
    assert "0 leak, 0 broken" in ran.output
    assert "https://advisories.example/1" in ran.output
    assert "https://gallery.example/packages/{id}/{version}?_src=template" in ran.output
    assert full.url not in ran.output
    read = {seen.path.split("/")[2] for seen in full.requests}
    assert {"repository-signatures", "catalog0", "vulnerabilities", "registration5-gz-semver2"} <= read
    assert "Acme.A, Acme.B" in ran.output


async def test_packages_may_be_named(full: FakeFeed, tmp_path: Path) -> None:
    ran = await doctor("--leaks", "--config", config(tmp_path, full.index_url), "--package", "Acme.B")
    assert ran.exit_code == 0, ran.output
    assert "sample packages: Acme.B;" in ran.output


async def test_the_tools_are_looked_at_too(full: FakeFeed, origin: Origin, tmp_path: Path) -> None:
    entry = {"version": "6.8.0", "url": f"{origin.url}/v6.8.0/nuget.exe"}
    origin.routes["/tools.json"] = Script(body=json.dumps({"nuget.exe": [entry]}).encode())
    origin.routes["/v6.8.0/nuget.exe"] = Script(body=b"MZ")
    ran = await doctor(
        "--leaks", "--config", config(tmp_path, full.index_url, tools=f'url = "{origin.url}/tools.json"')
    )
    assert ran.exit_code == 0, ran.output
    assert origin.count("/v6.8.0/nuget.exe") == 1


async def test_what_leads_to_us_but_is_not_there_fails(full: FakeFeed, tmp_path: Path) -> None:
    full.origin.routes["/v3/catalog0/page0.json"] = Script(status=404)
    ran = await doctor("--leaks", "--config", config(tmp_path, full.index_url))
    assert ran.exit_code == 1
    assert "BROKEN: status 404" in ran.output
    assert ran.output.endswith("No link leads a client away. 1 of our own links does not answer.\n")
    assert "0 leak, 1 broken" in ran.output


async def test_an_id_of_semver_2_versions_alone_is_in_one_hive_only(full: FakeFeed, tmp_path: Path) -> None:
    full.add(make_nupkg("Contoso.A", "1.0.0-rc.1"))
    ran = await doctor("--leaks", "--config", config(tmp_path, full.index_url), "--package", "Contoso.A")
    assert ran.exit_code == 0, ran.output
    full.origin.routes["/v3/registration5-gz-semver2/contoso.a/index.json"] = Script(status=404)
    (tmp_path / "other").mkdir()
    ran = await doctor("--leaks", "--config", config(tmp_path / "other", full.index_url), "--package", "Contoso.A")
    assert ran.exit_code == 1, ran.output


async def test_a_dependency_may_be_of_another_feed(full: FakeFeed, tmp_path: Path) -> None:
    full.add(make_nupkg("Contoso.A", "1.0.0", dependencies=[("Elsewhere.B", "1.0.0")]))
    ran = await doctor("--leaks", "--config", config(tmp_path, full.index_url), "--package", "Contoso.A")
    assert ran.exit_code == 0, ran.output
    assert full.count("/v3/registration5-gz-semver2/elsewhere.b/index.json") == 1
    full.origin.routes["/v3/registration5-gz-semver2/elsewhere.b/index.json"] = Script(status=500)
    (tmp_path / "other").mkdir()
    ran = await doctor("--leaks", "--config", config(tmp_path / "other", full.index_url), "--package", "Contoso.A")
    assert ran.exit_code == 1, ran.output


async def test_a_feed_that_is_not_a_proxy_is_full_of_leaks(full: FakeFeed) -> None:
    ran = await doctor("--leaks", "--proxy", full.index_url, "--package", "Acme.A")
    assert ran.exit_code == 1
    assert "LEAK: clients ask what this resource names" in ran.output
    assert f"{full.url}/v3-flatcontainer/" in ran.output


async def test_a_running_proxy_is_read_over_http(full: FakeFeed, proxy: Proxy) -> None:
    for path in ("v3/index.json", "up/v3/index.json"):
        ran = await doctor("--leaks", "--proxy", f"{proxy.url}/{path}", "--package", "Acme.A")
        assert ran.exit_code == 0, ran.output


async def test_an_upstream_that_is_down_is_said_so(full: FakeFeed, tmp_path: Path) -> None:
    await full.set_mode("refused")
    ran = await doctor("--leaks", "--config", config(tmp_path, full.index_url))
    assert ran.exit_code == 1
    assert f"up ({full.index_url}): no service index (the connection was refused)\n" in ran.output


async def test_what_to_do_about_an_index_is_said(full: FakeFeed, tmp_path: Path) -> None:
    full.origin.routes["/v3/index.json"] = Script(status=401)
    ran = await doctor("--leaks", "--config", config(tmp_path, full.index_url))
    assert ran.exit_code == 1
    assert "(auth: status 401. Credentials are missing; set username and password of this upstream)" in ran.output


async def test_a_proxy_that_is_not_there_is_said_so() -> None:
    ran = await doctor("--leaks", "--proxy", "127.0.0.1:1")
    assert ran.exit_code == 1
    assert ran.output == "http://127.0.0.1:1/v3/index.json: no service index (the connection was refused)\n"


async def test_one_address_of_a_proxy_that_fails_hides_no_other(
    full: FakeFeed, origin: Origin, start_proxy: StartProxy
) -> None:
    origin.routes["/tools.json"] = Script(status=503)
    proxy = await start_proxy(full.index_url, tools={"url": f"{origin.url}/tools.json"})
    ran = await doctor("--leaks", "--proxy", proxy.url, "--package", "Acme.A")
    assert ran.exit_code == 0, ran.output
    assert "The list of tools (tools.json) was not examined: status 503." in ran.output
    assert ran.output.endswith("No link leads a client away.\n")


async def test_one_address_of_an_upstream_that_fails_hides_no_other(full: FakeFeed, tmp_path: Path) -> None:
    full.origin.routes["/v3/catalog0/index.json"] = Script(status=503, headers=[("Retry-After", "60")])
    ran = await doctor("--leaks", "--config", config(tmp_path, full.index_url), "--package", "Acme.A")
    assert ran.exit_code == 1
    assert "https://nugetproxy.invalid/v3/catalog/index.json\n" in ran.output
    assert ran.output.endswith("No link leads a client away. 1 of our own links does not answer.\n"), ran.output


@pytest.mark.parametrize("path", ["", "/v3", "/v3/index.json", "/up", "/up/v3/"])
async def test_a_shortened_url_is_completed(full: FakeFeed, proxy: Proxy, path: str) -> None:
    ran = await doctor("--leaks", "--proxy", f"{proxy.url}{path}".removeprefix("http://"), "--package", "Acme.A")
    assert ran.exit_code == 0, ran.output


@pytest.mark.parametrize("name", ["", "up/"])
async def test_a_proxy_with_a_public_url_is_seen_as_its_clients_see_it(
    full: FakeFeed, start_proxy: StartProxy, name: str
) -> None:
    proxy = await start_proxy(full.index_url, server={"public_url": "https://nuget.example.com/sub"})
    ran = await doctor("--leaks", "--proxy", f"{proxy.url}/{name}v3/index.json", "--package", "Acme.A")
    assert ran.exit_code == 0, ran.output
    assert f"calls itself https://nuget.example.com/sub/{name}v3/index.json" in ran.output
    assert "0 leak, 0 broken" in ran.output


async def test_a_leak_beside_a_public_url_is_found(full: FakeFeed, start_proxy: StartProxy) -> None:
    proxy = await start_proxy(full.index_url, server={"public_url": "https://nuget.example.com"})
    ran = await doctor("--leaks", "--proxy", proxy.url, "--package", "Acme.Missing")
    assert ran.exit_code == 1
    assert "BROKEN: status 404" in ran.output
    assert "https://nuget.example.com/v3/content/acme.missing/index.json" in ran.output


# --- doctor alone ----------------------------------------------------------------------------------------------------


async def test_alone_it_examines_all(full: FakeFeed, tmp_path: Path) -> None:
    tables = {"cache": f'directory = "{tmp_path / "cache"}"', "server": 'listen = "127.0.0.1:1"'}
    file = config(tmp_path, full.index_url, **tables)
    ran = await doctor("--config", file)
    assert ran.exit_code == 0, ran.output
    text = " ".join(ran.output.split())
    assert f"ok upstream up: {full.index_url}" in text
    told = f"ok {tmp_path / 'cache'} is made at the first start"  # a long path is broken wherever the line ends
    assert told.replace(" ", "") in text.replace(" ", "")
    told = f"warning no proxy answers at http://127.0.0.1:1; start it with: nugetproxy serve --config {file}"
    assert told.replace(" ", "") in text.replace(" ", "")
    assert "No link leads a client away." in text
    assert text.endswith("Nothing is wrong. Warnings: 1.")


@pytest.mark.slow
async def test_feeds_are_examined_too(full: FakeFeed, tmp_path: Path) -> None:
    tables = {"upstreams.other": f'url = "{full.index_url}"', "feeds.farm": 'sources = ["up"]'}
    ran = await doctor("--config", config(tmp_path, full.index_url, **tables))
    told = " ".join(ran.output.split())
    assert "ok feed farm: up; no rules" in told
    assert "ok farm: at /v3/index.json, as it was at /asof/DATE/v3/index.json" in told
    assert "ok other: at /other/v3/index.json, as it was at /other/asof/DATE/v3/index.json" in told
    assert "Where farm leads away" in ran.output
    await full.set_mode("refused")
    ran = await doctor("--leaks", "--config", config(tmp_path, full.index_url, **tables))
    assert f"farm ({full.index_url}): no service index (the connection was refused)\n" in ran.output


async def test_alone_it_examines_the_proxy_that_runs(full: FakeFeed, proxy: Proxy, tmp_path: Path) -> None:
    tables = {
        "cache": f'directory = "{proxy.directory}"\nmax_size = "1 KiB"',
        "server": f'listen = "{proxy.url.removeprefix("http://")}"',
    }
    ran = await doctor("--config", config(tmp_path, full.index_url, **tables))
    assert ran.exit_code == 0, ran.output
    text = " ".join(ran.output.split())
    assert f"is in use by process {os.getpid()} since" in text
    assert f"ok {proxy.url} is ready" in text
    assert f"Where {proxy.url}/v3/index.json leads away" in text
    assert text.endswith("Nothing is wrong.")


async def test_what_a_running_proxy_is_troubled_by_is_told(
    full: FakeFeed, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.app.room.problem = "The disk is small."
    monkeypatch.setattr("nugetproxy.cli.doctor.checks.os.access", lambda *_: False)  # as on a read-only disk
    tables = {
        "cache": f'directory = "{proxy.directory}"\nmax_size = "1 KiB"',
        "server": f'listen = "{proxy.url.removeprefix("http://")}"',
    }
    ran = await doctor("--config", config(tmp_path, full.index_url, **tables))
    text = " ".join(ran.output.split())
    assert ran.exit_code == 1
    assert "cannot be written to: what is held is served, nothing new is kept" in text
    assert f"ok {proxy.url} is ready warning The disk is small." in text


async def test_a_proxy_that_wants_tokens_is_not_wrong(full: FakeFeed, proxy: Proxy, tmp_path: Path) -> None:
    await carry_out(proxy.app.desk, "token/add", {"name": "a", "scopes": ["read"]}, by="a test")
    tables = {
        "cache": f'directory = "{proxy.directory}"\nmax_size = "1 KiB"',
        "server": f'listen = "{proxy.url.removeprefix("http://")}"',
    }
    ran = await doctor("--config", config(tmp_path, full.index_url, **tables))
    assert (ran.exit_code, f"ok {proxy.url} is ready" in " ".join(ran.output.split())) == (0, True), ran.output
    assert "up: a token is wanted, so" in ran.output
    assert "Where up leads away" in ran.output


async def test_alone_it_examines_all_feeds_of_the_proxy_that_runs(
    full: FakeFeed, start_proxy: StartProxy, tmp_path: Path
) -> None:
    proxy = await start_proxy(full.index_url, feeds={"farm": {"sources": ["up"]}})
    tables = {
        "cache": f'directory = "{proxy.directory}"\nmax_size = "1 KiB"',
        "server": f'listen = "{proxy.url.removeprefix("http://")}"',
        "feeds.farm": 'sources = ["up"]',
    }
    ran = await doctor("--config", config(tmp_path, full.index_url, **tables))
    assert ran.exit_code == 0, ran.output
    for path in ("", "/up"):
        assert f"Where {proxy.url}{path}/v3/index.json leads away" in ran.output


@pytest.mark.slow
async def test_the_certificate_of_the_proxy_is_not_for_its_address(full: FakeFeed, tmp_path: Path) -> None:
    certificate = trustme.CA().issue_cert("nuget.example.com")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    (tmp_path / "tls.pem").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    server = f'tls_certificate = "{tmp_path / "tls.pem"}"\ntls_key = "{tmp_path / "key.pem"}"\n'
    cache = f'directory = "{tmp_path / "cache"}"\nmax_size = "1 KiB"'
    async with ProxyProcess("--config", config(tmp_path, full.index_url, server=server, cache=cache)) as proxy:
        server += f'public_url = "https://nuget.example.com"\nlisten = "127.0.0.1:{proxy.port}"'
        ran = await doctor("--config", config(tmp_path, full.index_url, server=server, cache=cache))
        assert ran.exit_code == 0, ran.output
        assert f"Where {proxy.url}/v3/index.json leads away" in " ".join(ran.output.split())


async def test_alone_it_says_what_is_wrong(full: FakeFeed, start_proxy: StartProxy, tmp_path: Path) -> None:
    await full.set_mode("refused")
    proxy = await start_proxy(full.index_url)
    (tmp_path / "file").touch()
    tables = {
        "cache": f'directory = "{tmp_path / "file"}"',
        "server": f'listen = "{proxy.url.removeprefix("http://")}"',
    }
    ran = await doctor("--config", config(tmp_path, full.index_url, **tables))
    assert ran.exit_code == 1
    text = " ".join(ran.output.split())
    assert "wrong Cannot use the cache directory" in text
    assert f"wrong {proxy.url} is not ready: up: " in text
    assert text.endswith("Something is wrong; see above.")
