"""The real dotnet, in a box of its own: no cache or setting of this machine's is used or changed."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from pathlib import Path
from typing import Final
from xml.sax.saxutils import quoteattr

from nugetproxy.demo.processes import DemoFailed
from nugetproxy.nuget.client_config import NUGET_CONFIG, source_line

SECONDS: Final = 60.0
PROJECT: Final = """<Project Sdk="Microsoft.NET.Sdk">
  <PropertyGroup><TargetFramework>netstandard2.1</TargetFramework><NuGetAudit>false</NuGetAudit></PropertyGroup>
  <ItemGroup><PackageReference Include={id} Version="1.0.0" /></ItemGroup>
</Project>
"""
_QUIET: Final = {
    "DOTNET_CLI_TELEMETRY_OPTOUT": "1",
    "DOTNET_NOLOGO": "1",
    "DOTNET_SKIP_FIRST_TIME_EXPERIENCE": "1",
    "DOTNET_GENERATE_ASPNET_CERTIFICATE": "false",
    "DOTNET_ADD_GLOBAL_TOOLS_TO_PATH": "false",
    "DOTNET_CLI_UI_LANGUAGE": "en",
    "MSBUILDDISABLENODEREUSE": "1",
    "NO_PROXY": "*",
}


def find_dotnet() -> str | None:
    """The program on the PATH."""
    return shutil.which("dotnet")


class Dotnet:
    """Restores of one project in ``box``, each with empty caches."""

    def __init__(self, program: str, box: Path, url: str, id: str) -> None:
        self._program = program
        self._box = box
        box.mkdir()
        source = source_line("demo", f"{url}/v3/index.json")
        (box / "nuget.config").write_text(NUGET_CONFIG.format(sources=source))
        (box / "App.csproj").write_text(PROJECT.format(id=quoteattr(id)))

    async def restore(self) -> int:
        """Restore once; the number of packages. Raises DemoFailed with what dotnet said."""
        state = self._box / "state"
        shutil.rmtree(state, ignore_errors=True)
        shutil.rmtree(self._box / "obj", ignore_errors=True)
        for name in ("home", "tmp"):
            (state / name).mkdir(parents=True)
        process = await asyncio.create_subprocess_exec(
            self._program,
            "restore",
            cwd=self._box,
            env=self._environment(state),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(SECONDS):
                output, _ = await process.communicate()
        except TimeoutError as slow:
            raise DemoFailed(f"dotnet restore took longer than {SECONDS:g} s.") from slow
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        if process.returncode:
            raise DemoFailed(f"dotnet restore failed:\n{output.decode(errors='replace').strip()}")
        return len(list((state / "packages").glob("*/*/*.nupkg")))

    def _environment(self, state: Path) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        return (
            kept
            | _QUIET
            | {
                "HOME": str(state / "home"),
                "DOTNET_CLI_HOME": str(state / "home"),
                "TMPDIR": str(state / "tmp"),
                "NUGET_PACKAGES": str(state / "packages"),
                "NUGET_HTTP_CACHE_PATH": str(state / "http"),
                "NUGET_PLUGINS_CACHE_PATH": str(state / "plugins"),
            }
        )
