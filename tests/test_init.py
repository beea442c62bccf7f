"""``nugetproxy init``: a configuration to start with."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from nugetproxy.cli.commands import app
from nugetproxy.config import Config, load

OFFICE = """<?xml version="1.0" encoding="utf-8"?>
<configuration>
  <packageSources>
    <clear />
    <add key="nuget.org" value="https://api.nuget.org/v3/index.json" minPublishAgeHours="72" />
    <add key="Contoso Feed" value="https://pkgs.example.com/contoso/v3/index.json" />
    <add key="health" value="https://pkgs.example.com/open/v3/index.json" />
    <add key="Shelf" value="shelf" />
    <add key="Old" value="https://www.example.com/api/v2" />
    <add key="Off" value="https://off.example.com/v3/index.json" />
    <add key="Sig" value="https://user:canary@pkgs.example.com/v3/index.json" />
  </packageSources>
  <auditSources><add key="audit" value="https://data.example.com/v3/index.json" /></auditSources>
  <disabledPackageSources><add key="Off" value="true" /></disabledPackageSources>
  <packageSourceCredentials>
    <Contoso_x0020_Feed>
      <add key="Username" value="builder" /><add key="ClearTextPassword" value="%CONTOSO_TOKEN%" />
    </Contoso_x0020_Feed>
    <health><add key="Username" value="reader" /><add key="ClearTextPassword" value="canary" /></health>
  </packageSourceCredentials>
  <minPublishAgeExceptions><package pattern="Contoso.*" /></minPublishAgeExceptions>
  <packageSourceMapping>
    <packageSource key="Contoso Feed"><package pattern="Contoso.*" /></packageSource>
    <packageSource key="nuget.org"><package pattern="*" /></packageSource>
  </packageSourceMapping>
</configuration>"""


def init(*words: object) -> Result:
    return CliRunner().invoke(app, ["init", *map(str, words)])


def checked(text: str, tmp_path: Path) -> Config:
    """What ``check-config`` finds right."""
    file = tmp_path / "made.toml"
    file.write_text(text, encoding="utf-8")
    result = CliRunner().invoke(app, ["check-config", str(file)])
    assert result.exit_code == 0, result.output
    return load(file)


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is made of an office's nuget.config."""
    monkeypatch.setenv("CONTOSO_TOKEN", "one")
    monkeypatch.setenv("FEED_HEALTH_PASSWORD", "two")
    (tmp_path / "shelf").mkdir()
    (tmp_path / "nuget.config").write_text(OFFICE, encoding="utf-8")
    result = init("--from", tmp_path / "nuget.config")
    assert result.exit_code == 0, result.output
    return result.stdout


def feed_in(text: str) -> dict[str, Any]:
    """The table of the feed."""
    return dict(tomllib.loads(text)["feeds"]["all"])


def test_a_start_is_a_proxy_of_nuget_org(tmp_path: Path) -> None:
    result = init()
    assert result.exit_code == 0
    assert checked(result.stdout, tmp_path).upstreams == load(environ={}).upstreams


def test_sources_become_upstreams_with_credentials_by_reference(office: str, tmp_path: Path) -> None:
    config = checked(office, tmp_path)
    assert {name: one.url for name, one in config.upstreams.items()} == {
        "nuget.org": "https://api.nuget.org/v3/index.json",
        "contoso-feed": "https://pkgs.example.com/contoso/v3/index.json",
        "feed-health": "https://pkgs.example.com/open/v3/index.json",
        "shelf": str(tmp_path / "shelf"),
        "audit": "https://data.example.com/v3/index.json",
    }
    contoso, health = config.upstreams["contoso-feed"], config.upstreams["feed-health"]
    assert (contoso.username, contoso.secret_values()[1]) == ("builder", "one")
    assert (health.username, health.secret_values()[1]) == ("reader", "two")


def test_the_feed_can_be_served(office: str, tmp_path: Path) -> None:
    config = checked(office, tmp_path)
    assert next(iter(config.published)) == "all"
    assert {name: one.role for name, one in config.upstreams.items()} == {
        "nuget.org": False,
        "contoso-feed": True,
        "feed-health": True,
        "shelf": True,
        "audit": None,
    }
    mapping = config.feeds["all"].source_mapping
    assert mapping.sources("Contoso.X", config.feeds["all"].sources) == ("contoso-feed",)


def test_no_secret_is_written(office: str) -> None:
    assert "canary" not in office


def test_what_is_left_out_is_named(office: str) -> None:
    assert '# Left out: "Old": neither a V3 feed nor a folder of this machine.' in office
    assert '# Left out: "Sig": neither' in office
    assert '# Left out: "Off", which is disabled.' in office


def test_mapping_and_audit_sources_become_a_feeds(office: str) -> None:
    assert feed_in(office) == {
        "sources": ["nuget.org", "contoso-feed", "feed-health", "shelf"],
        "advisories": ["audit"],
        "mapping": {"Contoso.*": ["contoso-feed"], "*": ["nuget.org"]},
        "rules": [
            {"name": "exceptions", "ids": ["Contoso.*"], "action": "allow"},
            {"name": "cooldown-nuget.org", "sources": ["nuget.org"], "min_age": "72h", "advisory_bypass": False},
        ],
    }


def test_a_minimal_age_alone_makes_a_feed_with_a_rule(tmp_path: Path) -> None:
    source = '<add key="nuget.org" value="https://api.nuget.org/v3/index.json" minPublishAgeHours="24"/>'
    text = f"<configuration><packageSources><clear/>{source}</packageSources></configuration>"
    (tmp_path / "nuget.config").write_text(text, encoding="utf-8")
    config = checked(init("--from", tmp_path / "nuget.config").stdout, tmp_path)
    (rule,) = [one.rule for one in config.feeds["all"].rules]
    assert (rule.min_age, rule.sources, rule.action) == (86400.0, ("nuget.org",), "deny")
    assert not rule.advisory_bypass, "NuGet has none"


@pytest.mark.parametrize("text", ["", "<configuration>", "<other />"])
def test_a_file_that_is_no_nuget_config_is_said_so(tmp_path: Path, text: str) -> None:
    (tmp_path / "nuget.config").write_text(text)
    result = init("--from", tmp_path / "nuget.config")
    assert (result.exit_code, result.stdout) == (64, "")
    assert "Not a usable nuget.config" in result.stderr


def test_a_file_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    result = init("--from", tmp_path / "none")
    assert result.exit_code == 64
    assert "cannot be read: No such file" in result.stderr
