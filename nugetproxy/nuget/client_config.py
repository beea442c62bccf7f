"""What clients need to use a feed: the nuget.config, and the lines by which a project gets a package."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final
from xml.sax.saxutils import escape, quoteattr

NUGET_CONFIG: Final = """\
<?xml version="1.0" encoding="utf-8"?>
<configuration>
  <packageSources>
    <clear />
{sources}
  </packageSources>
</configuration>"""
_CREDENTIALS: Final = """\
  <packageSourceCredentials>
    <{element}>
      <add key="Username" value="token" />
      <add key="ClearTextPassword" value="%NUGETPROXY_TOKEN%" />
    </{element}>
  </packageSourceCredentials>
</configuration>"""
TOOL: Final = "dotnettool"
TEMPLATE: Final = "template"


def source_line(name: str, url: str) -> str:
    """One line for ``<packageSources>``; plain http needs a permission there since NuGet 6.12."""
    permission = "" if url.startswith("https://") else ' allowInsecureConnections="true"'
    return f'<add key={quoteattr(name)} value={quoteattr(url)} protocolVersion="3"{permission} />'


def nuget_config(name: str, url: str, *, token: bool) -> str:
    """A whole nuget.config for one feed; ``token``: the feed wants one, taken from an environment variable."""
    text = NUGET_CONFIG.format(sources=f"    {source_line(name, url)}")
    if not token:
        return text
    return text.removesuffix("</configuration>") + _CREDENTIALS.format(element=element_name(name))


def element_name(name: str) -> str:
    """A feed's name as the name of an XML element, as .NET's XmlConvert.EncodeLocalName writes it."""
    return f"_x{ord(name[0]):04X}_{name[1:]}" if name[:1].isdigit() else name


def lines_to_copy(id_: str, version: str, types: Collection[str]) -> Iterator[tuple[str, str]]:
    """What for, with the line itself; ``types`` are those that the package names."""
    kinds = {one.lower() for one in types}
    if TOOL in kinds:
        yield "As a tool of this folder", f"dotnet tool install {id_} --version {version}"
        yield "As a tool of this user", f"dotnet tool install --global {id_} --version {version}"
        return
    if TEMPLATE in kinds:
        yield "dotnet new", f"dotnet new install {id_}::{version}"
        return
    yield "dotnet add package", f"dotnet add package {id_} --version {version}"
    yield "PackageReference", f'<PackageReference Include="{escape(id_)}" Version="{escape(version)}" />'
    yield "Central package management", f'<PackageVersion Include="{escape(id_)}" Version="{escape(version)}" />'
    yield "Paket", f"paket add {id_} --version {version}"
    yield "F# script", f'#r "nuget: {id_}, {version}"'
