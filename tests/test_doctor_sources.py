"""``nugetproxy doctor nuget.config``: every source of a file that leads around the proxy."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from nugetproxy.cli.commands import app

PROXY = """
[server]
listen = "127.0.0.1:5555"
allowed_hosts = ["cache.example.com"]
public_url = "{public}"
[upstreams.company]
url = "https://pkgs.example.com/v3/index.json"
private = true
[upstreams."nuget.org"]
url = "https://api.nuget.org/v3/index.json"
[feeds.farm]
sources = ["company", "nuget.org"]
"""
FARM = '<add key="farm" value="http://127.0.0.1:5555/v3/index.json" allowInsecureConnections="true" />'


def doctor(tmp_path: Path, sources: str, *words: str, audit: str = "", more: str = "", public: str = "") -> Result:
    """What is said of a file with these sources, of a proxy that need not run."""
    file, settings = tmp_path / "nuget.config", tmp_path / "proxy.toml"
    settings.write_text(PROXY.format(public=public) if public else PROXY.replace('public_url = "{public}"\n', ""))
    audits = f"<auditSources><clear />{audit}</auditSources>" if audit else ""
    file.write_text(f"<configuration><packageSources>{sources}</packageSources>{audits}{more}</configuration>")
    return CliRunner().invoke(app, ["doctor", *words, str(file), "--config", str(settings)], env={"COLUMNS": "500"})


def test_a_file_with_our_source_alone_is_all_right(tmp_path: Path) -> None:
    for words in ((), ("--leaks",)):
        ran = doctor(tmp_path, f"<clear />{FARM}", *words, audit=FARM)
        assert (ran.exit_code, "Every source leads to the proxy." in ran.output) == (0, True), ran.output
        assert "package source 'farm' leads to the proxy: http://127.0.0.1:5555/v3/index.json" in ran.output
        assert "audit source 'farm' leads to the proxy" in ran.output
        assert "warning" not in ran.output


def test_a_file_may_have_any_name(tmp_path: Path) -> None:
    (tmp_path / "[/x]").mkdir(parents=True)
    ran = doctor(tmp_path / "[/x]", f"<clear />{FARM}")
    assert (ran.exit_code, ran.output.startswith(str(tmp_path / "[/x]"))) == (0, True), ran.output


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://api.nuget.org/v3/index.json", "leads around the proxy: https://api.nuget.org/v3/index.json"),
        ("http://127.0.0.1:5556/v3/index.json", "leads around the proxy: http://127.0.0.1:5556/v3/index.json"),
        ("http://127.0.0.1:5555/nuget", "leads around the proxy: http://127.0.0.1:5555/nuget"),
        ("https://user:canary@a.example/v3/index.json?sig=canary", "leads around the proxy: https://a.example/v3/"),
        ("https://[/v3/index.json", "leads around the proxy: (not a URL)"),
        ("../packages", "leads around the proxy: ../packages, a folder"),
        ("http://127.0.0.1:5555/other/v3/index.json", "leads to the proxy, which publishes no feed 'other'"),
    ],
)
@pytest.mark.parametrize("audit", [False, True])
def test_every_source_that_leads_around_it_is_named(tmp_path: Path, url: str, said: str, audit: bool) -> None:
    line = f'<add key="wrong" value="{url}" />'
    ran = doctor(tmp_path, f"<clear />{FARM}" if audit else f"<clear />{FARM}{line}", audit=line if audit else "")
    assert (ran.exit_code, "Clients are led around the proxy." in ran.output) == (1, True), ran.output
    assert f"wrong {'audit' if audit else 'package'} source 'wrong' {said}" in " ".join(ran.output.split())
    assert "canary" not in ran.output


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:5555/v3/index.json",
        "HTTP://[::1]:5555/V3/Index.JSON",
        "http://cache.example.com:5555/farm/v3/index.json",
        "https://cache.example.com/v3/index.json",
    ],
)
def test_all_names_of_the_proxy_are_known(tmp_path: Path, url: str) -> None:
    ran = doctor(tmp_path, f'<clear /><add key="a" value="{url}" allowInsecureConnections="true" />')
    assert ran.exit_code == 0, ran.output


def test_a_public_url_with_a_path_is_one(tmp_path: Path) -> None:
    for path, code in (("/team/v3/index.json", 0), ("/teams/v3/index.json", 1), ("/v3/index.json", 1)):
        line = f'<clear /><add key="a" value="https://nuget.example.com{path}" />'
        assert doctor(tmp_path, line, public="https://nuget.example.com/team").exit_code == code, path


def test_the_proxy_may_be_named_instead(tmp_path: Path) -> None:
    line = '<clear /><add key="a" value="https://elsewhere.example/a/v3/index.json" />'
    assert doctor(tmp_path, line, "--proxy", "https://elsewhere.example/v3/index.json").exit_code == 0
    assert doctor(tmp_path, line, "--proxy", "https://elsewhere.example:444").exit_code == 1


def test_what_is_inherited_leads_around_it(tmp_path: Path) -> None:
    ran = doctor(tmp_path, FARM)
    assert ran.exit_code == 1
    assert "wrong packageSources has no <clear />" in " ".join(ran.output.split())


def test_what_is_disabled_leads_nowhere(tmp_path: Path) -> None:
    off = '<disabledPackageSources><add key="off" value="true" /></disabledPackageSources>'
    ran = doctor(tmp_path, f'<clear />{FARM}<add key="off" value="https://a.example/v3/index.json" />', more=off)
    assert ran.exit_code == 0, ran.output
    assert "package source 'off' is disabled" in ran.output


def test_a_way_around_the_guard_is_warned_of(tmp_path: Path) -> None:
    line = '<add key="org" value="http://localhost:5555/nuget.org/v3/index.json" />'
    ran = doctor(tmp_path, f"<clear />{FARM}{line}")
    text = " ".join(ran.output.split())
    assert ran.exit_code == 0, ran.output
    assert "warning package source 'org' leads to the proxy, but around the mapping and the claims" in text
    assert "warning package source 'org' is plain http, which NuGet refuses" in text


@pytest.mark.parametrize("text", [None, "<other />", "<configuration>"])
def test_a_file_that_is_no_nuget_config_is_said_so(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "nuget.config"
    if text is not None:
        file.write_text(text)
    ran = CliRunner().invoke(app, ["doctor", "--leaks", str(file)])
    assert ran.exit_code == 64
    assert ("No such file" if text is None else "Not a usable nuget.config") in ran.stderr


@pytest.mark.parametrize("at", ["asof/2026-03-01", "farm/asof/2026-03-01T12:00:00Z"])
def test_a_feed_as_it_was_is_the_proxys_too(tmp_path: Path, at: str) -> None:
    past = FARM.replace("5555/v3", f"5555/{at}/v3")
    ran = doctor(tmp_path, f"<clear />{past}", audit=past)
    assert (ran.exit_code, "leads to the proxy: http://127.0.0.1:5555/" in ran.output) == (0, True), ran.output
    ran = doctor(tmp_path, f"<clear />{past.replace('farm/', 'fram/')}")
    assert ("which publishes no feed 'fram'" in ran.output) is ("farm/" in at)
