"""What a nuget.config says of where packages come from."""

from __future__ import annotations

import pytest

from nugetproxy.nuget.mapping import Rule
from nugetproxy.nuget.nuget_config import (
    ConfiguredSource,
    InvalidNugetConfig,
    NugetConfig,
    Secret,
    SourceCredentials,
    parse_nuget_config,
)

OFFICE = """\ufeff<?xml version="1.0" encoding="utf-8"?>
<configuration>
  <config><add key="http_proxy" value="http://proxy:8080"/><add key="no_proxy" value="localhost"/></config>
  <packageSources>
    <add key="dropped" value="https://dropped.example/v3/index.json"/>
    <clear />
    <add key="nuget.org" value="https://packages.example/v3/index.json" protocolVersion="3" minPublishAgeHours="72"/>
    <add key="Our Feed" value="https://feed.example/nuget/v3/index.json"/>
    <add key="old" value="https://old.example/api/v2/"/>
    <add key="share" value="..\\packages"/>
    <add key="Plain" value="http://plain.example/V3/Index.JSON" allowInsecureConnections="True"/>
  </packageSources>
  <auditSources><clear/><add key="audit" value="https://data.example/v3/index.json"/></auditSources>
  <disabledPackageSources><add key="OLD" value="true"/><add key="Plain" value="false"/></disabledPackageSources>
  <packageSourceCredentials>
    <Our_x0020_Feed>
      <add key="Username" value="ci"/><add key="ClearTextPassword" value="%FEED_TOKEN%"/>
      <add key="ValidAuthenticationTypes" value="basic, negotiate"/>
    </Our_x0020_Feed>
    <Plain><add key="Username" value="u"/><add key="ClearTextPassword" value="s3cret"/></Plain>
    <old><add key="Username" value="u"/><add key="Password" value="AQAAANCM"/></old>
  </packageSourceCredentials>
  <packageSourceMapping>
    <packageSource key="dropped"><package pattern="x"/></packageSource>
    <clear/>
    <packageSource key="nuget.org"><package pattern="*"/><package pattern="Shared.*"/></packageSource>
    <packageSource key="Our Feed"><package pattern="Contoso.*"/><package pattern="shared.*"/></packageSource>
  </packageSourceMapping>
  <minPublishAgeExceptions><package pattern="Contoso.*"/></minPublishAgeExceptions>
  <somethingNew><add key="a" value="b"/></somethingNew>
</configuration>"""


def source(config: NugetConfig, name: str) -> ConfiguredSource:
    return next(one for one in config.sources if one.name == name)


def test_an_office_configuration_is_read_whole() -> None:
    config = parse_nuget_config(OFFICE.encode())
    assert [one.name for one in config.sources] == ["nuget.org", "Our Feed", "old", "share", "Plain"]
    assert source(config, "nuget.org") == ConfiguredSource(
        name="nuget.org",
        url="https://packages.example/v3/index.json",
        protocol_version="3",
        min_publish_age_hours=72,
    )
    assert [one.enabled for one in config.sources] == [True, True, False, True, True]
    assert [one.is_v3 for one in config.sources] == [True, True, False, False, True]
    assert [one.is_url for one in config.sources] == [True, True, True, False, True]
    assert source(config, "Plain").allow_insecure
    assert [(one.name, one.url) for one in config.audit_sources] == [("audit", "https://data.example/v3/index.json")]
    assert config.mapping == (
        Rule("*", ("nuget.org",)),
        Rule("Shared.*", ("nuget.org", "Our Feed")),
        Rule("Contoso.*", ("Our Feed",)),
    )
    assert config.min_publish_age_exceptions == ("Contoso.*",)
    assert config.http_proxy == "http://proxy:8080"
    assert config.inherits_sources is False


def test_credentials_come_without_the_secret() -> None:
    config = parse_nuget_config(OFFICE.encode())
    assert source(config, "Our Feed").credentials == SourceCredentials(
        username="ci", secret=Secret.VARIABLE, variable="FEED_TOKEN"
    )
    assert source(config, "Plain").credentials == SourceCredentials(username="u", secret=Secret.CLEAR)
    assert source(config, "old").credentials == SourceCredentials(username="u", secret=Secret.ENCRYPTED)
    assert source(config, "nuget.org").credentials is None
    assert "s3cret" not in repr(config)


def test_the_last_of_equal_keys_counts() -> None:
    xml = '<configuration><packageSources><add key="A" value="https://1/"/><add key="b" value="https://2/"/>'
    config = parse_nuget_config(f'{xml}<add key="a" value="https://3/"/></packageSources></configuration>'.encode())
    assert [(one.name, one.url) for one in config.sources] == [("A", "https://3/"), ("b", "https://2/")]
    assert config.inherits_sources is True


def test_an_empty_configuration_says_nothing() -> None:
    assert parse_nuget_config(b"<configuration/>") == NugetConfig()


@pytest.mark.parametrize("hours", ["", "-1", "1.5", "many", "9" * 30])
def test_an_age_that_is_no_number_of_hours_is_none(hours: str) -> None:
    xml = f'<configuration><packageSources><add key="a" value="x" minPublishAgeHours="{hours}"/></packageSources>'
    assert parse_nuget_config(f"{xml}</configuration>".encode()).sources[0].min_publish_age_hours == 0


@pytest.mark.parametrize(
    "xml",
    [
        b"",
        b"{}",
        b"<configuration>",
        b"<packageSources/>",
        b"<configuration/>" + b" " * 2**20,
        b'<!DOCTYPE c [<!ENTITY a SYSTEM "file:///etc/hostname">]><configuration>&a;</configuration>',
        b'<?xml version="1.0" encoding="no-such"?><configuration/>',
    ],
)
def test_what_is_no_configuration_is_refused(xml: bytes) -> None:
    with pytest.raises(InvalidNugetConfig, match=r"Not a usable nuget\.config"):
        parse_nuget_config(xml)
