"""The packages of the end-to-end tests are built by ``dotnet pack`` from projects that refer to each other."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.clients import PROJECT, Box

PROPERTIES = """<PackageId>{id}</PackageId><Version>{version}</Version><Authors>Tests</Authors>
  <Description>{id} for end-to-end tests</Description>
  <DebugType>portable</DebugType><IncludeSymbols>true</IncludeSymbols><SymbolPackageFormat>snupkg</SymbolPackageFormat>
"""
TRAVERSAL = """<Project>
  <ItemGroup>{items}</ItemGroup>
  <Target Name="Restore"><MSBuild Projects="@(Library)" Targets="Restore"/></Target>
  <Target Name="Pack"><MSBuild Projects="@(Library)" Targets="Pack" Properties="PackageOutputPath={out}"/></Target>
</Project>
"""

LIBRARIES: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("Core", "Acme.Core", "1.0.0", ()),
    ("CoreNew", "Acme.Core", "1.1.0", ()),
    ("CoreNext", "Acme.Core", "2.0.0-Beta.2", ()),
    ("Text", "Acme.Text", "1.2.3", ("Core",)),
    ("Logging", "Acme.Logging", "0.9.0.1", ("Core",)),
    ("Web", "Acme.Web", "3.0.0", ("Text", "Logging")),
    ("Fresh", "Acme.Fresh", "1.0.0", ("Text",)),
)
"""Folder, id, version and the projects referred to."""


async def build_packages(dotnet: str, box: Box) -> Path:
    """Build every library; the folder with the .nupkg and .snupkg files."""
    out = box.root / "built"
    for folder, package_id, version, references in LIBRARIES:
        items = "".join(f'<ProjectReference Include="../{name}/{name}.csproj"/>' for name in references)
        where = box.work / folder
        where.mkdir()
        properties = PROPERTIES.format(id=package_id, version=version)
        (where / f"{folder}.csproj").write_text(PROJECT.format(properties=properties, items=items))
        (where / "Class.cs").write_text(f"namespace {package_id} {{ public class {folder} {{ }} }}\n")
    items = "".join(f'<Library Include="{folder}/{folder}.csproj"/>' for folder, *_ in LIBRARIES)
    (box.work / "all.proj").write_text(TRAVERSAL.format(items=items, out=out))
    for target in ("Restore", "Pack"):
        (await box.run(dotnet, "msbuild", "all.proj", f"-t:{target}", "-nologo", "-v:minimal")).ok()
    return out
