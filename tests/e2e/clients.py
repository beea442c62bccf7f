"""A box is a folder in which a real NuGet client runs without the machine's caches or settings."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from xml.sax.saxutils import quoteattr

import pytest

LIMIT = 180.0
"""Seconds that one run of a client may take; Mono now and then sits still for most of a minute."""

CONFIG = """<?xml version="1.0" encoding="utf-8"?>
<configuration>
  <packageSources><clear/><add key="feed" value={source}{attributes}/></packageSources>
  <disabledPackageSources><clear/></disabledPackageSources>
  <fallbackPackageFolders><clear/></fallbackPackageFolders>
</configuration>
"""
# "protocolVersion" on a folder source makes SDK 3.1 die, so only URLs have it.
URL_ATTRIBUTES = ' protocolVersion="3" allowInsecureConnections="true"'

PROJECT = """<Project Sdk="Microsoft.NET.Sdk">
  <PropertyGroup><TargetFramework>netstandard2.1</TargetFramework>{properties}</PropertyGroup>
  <ItemGroup>{items}</ItemGroup>
</Project>
"""

ALWAYS = {
    "DOTNET_CLI_TELEMETRY_OPTOUT": "1",
    "DOTNET_NOLOGO": "1",
    "DOTNET_SKIP_FIRST_TIME_EXPERIENCE": "1",
    "DOTNET_GENERATE_ASPNET_CERTIFICATE": "false",
    "DOTNET_ADD_GLOBAL_TOOLS_TO_PATH": "false",
    "DOTNET_CLI_UI_LANGUAGE": "en",
    "MSBUILDDISABLENODEREUSE": "1",
    "UseSharedCompilation": "false",
    "NO_PROXY": "*",
}
"""No build server stays behind, nothing is reported, and loopback is not asked of a proxy."""


def find_client(variable: str, program: str) -> str:
    """The client that ``variable`` names, else the one on the PATH; skips the test where there is none."""
    named = os.environ.get(variable)
    found = shutil.which(named or program)
    if named and not found:
        pytest.fail(f"{variable} names {named}, which is no program")
    if not found:
        pytest.skip(f"no {program} on the PATH, and {variable} is not set")
    return found


@dataclass(frozen=True, slots=True)
class Ran:
    """How a client ended and all that it said."""

    code: int
    output: str

    def ok(self) -> Self:
        """Itself, if the client succeeded."""
        assert self.code == 0, self.output
        return self

    def failed(self) -> Self:
        """Itself, if the client reported a failure."""
        assert self.code != 0, self.output
        return self


class Box:
    """``root`` with a home, caches and a nuget.config that knows ``source`` alone."""

    def __init__(self, root: Path, source: str) -> None:
        self.root = root
        self.source = source
        self.variables: dict[str, str] = {}
        """Set for every client, over everything else."""
        for name in ("home", "tmp", "work"):
            (root / name).mkdir(parents=True)
        attributes = URL_ATTRIBUTES if source.startswith("http") else ""
        self.config = root / "nuget.config"
        self.config.write_text(CONFIG.format(source=quoteattr(source), attributes=attributes))

    @property
    def work(self) -> Path:
        """Where clients run."""
        return self.root / "work"

    @property
    def packages(self) -> Path:
        """The unpacked packages, with the files that they came from."""
        return self.root / "packages"

    def environment(self) -> dict[str, str]:
        """The machine's environment with every place of NuGet's moved into the box."""
        kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        home = str(self.root / "home")
        own = {
            "HOME": home,
            "DOTNET_CLI_HOME": home,
            "TMPDIR": str(self.root / "tmp"),
            "NUGET_PACKAGES": str(self.packages),
            "NUGET_HTTP_CACHE_PATH": str(self.root / "http"),
            "NUGET_PLUGINS_CACHE_PATH": str(self.root / "plugins"),
        }
        return kept | ALWAYS | own | self.variables

    async def run(self, *command: str | Path) -> Ran:
        """Run a client in the working folder to its end."""
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=self.work,
            env=self.environment(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(LIMIT):
                output, _ = await process.communicate()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            raise
        return Ran(process.returncode or 0, output.decode(errors="replace"))

    def project(self, *references: str, properties: str = "") -> Path:
        """Write a project that refers to packages, each as ``Id/Version``."""
        pairs = (reference.split("/") for reference in references)
        items = "".join(f'<PackageReference Include="{name}" Version="{version}"/>' for name, version in pairs)
        path = self.work / "App.csproj"
        path.write_text(PROJECT.format(properties=properties, items=items))
        return path

    def restored(self) -> dict[str, bytes]:
        """The package files of the packages folder by name."""
        return {path.name: path.read_bytes() for path in self.packages.glob("*/*/*.nupkg")}
