"""Projects: properties, conditions, central versions, frameworks, projects that refer to others."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from nugetproxy.nuget.nuspec import Dependency
from nugetproxy.nuget.projects.conditions import is_met
from nugetproxy.nuget.projects.msbuild import ProjectFile
from nugetproxy.nuget.projects.needs import Graph, Needs, read_xml
from nugetproxy.nuget.projects.project import read_project


def file(text: str, path: str = "src/app/app.csproj") -> ProjectFile:
    return ProjectFile(path, read_xml(text.encode(), path))


def nobody(_path: str) -> Sequence[ProjectFile]:
    return ()


def read(*files: ProjectFile) -> Needs:
    return read_project(files, files[-1].path, nobody)


def pairs(graph: Graph) -> list[str]:
    return [f"{one.id} {one.range}" for one in graph.references]


def test_each_framework_has_its_own_references() -> None:
    needs = read(
        file(
            """<Project Sdk="Microsoft.NET.Sdk">
  <PropertyGroup>
    <TargetFrameworks>net8.0;net472</TargetFrameworks>
    <Logging>3.1</Logging>
  </PropertyGroup>
  <ItemGroup>
    <PackageReference Include="Serilog" Version="$(Logging).1" />
    <PackageReference Include="Acme.Child"><Version>2.*</Version><PrivateAssets>all</PrivateAssets></PackageReference>
  </ItemGroup>
  <ItemGroup Condition="'$(TargetFramework)' == 'net472'">
    <PackageReference Include="System.ValueTuple" Version="4.5.0" />
  </ItemGroup>
  <Choose>
    <When Condition=" '$(TargetFramework)' == 'net8.0' "><ItemGroup><PackageReference Include="A;B" Version="1.0" />
    </ItemGroup></When>
    <Otherwise><ItemGroup><PackageReference Include="C" Version="1.0" /></ItemGroup></Otherwise>
  </Choose>
</Project>"""
        )
    )
    core, classic = needs.graphs
    assert pairs(core) == ["Serilog 3.1.1", "Acme.Child 2.*", "A 1.0", "B 1.0"]
    assert pairs(classic) == [
        "Serilog 3.1.1",
        "Acme.Child 2.*",
        "System.ValueTuple 4.5.0",
        "C 1.0",
        "Microsoft.NETFramework.ReferenceAssemblies 1.0.3",
    ]
    assert needs.remarks == ()


def test_versions_may_be_managed_centrally_with_overrides_pins_and_what_every_project_takes() -> None:
    central = file(
        """<Project>
  <PropertyGroup>
    <ManagePackageVersionsCentrally>true</ManagePackageVersionsCentrally>
    <CentralPackageTransitivePinningEnabled>true</CentralPackageTransitivePinningEnabled>
  </PropertyGroup>
  <ItemGroup>
    <PackageVersion Include="Serilog" Version="3.1.1" />
    <PackageVersion Include="Acme.Transitive" Version="5.0.0" />
    <GlobalPackageReference Include="Acme.Analyzers" Version="1.2.3" />
  </ItemGroup>
</Project>""",
        "Directory.Packages.props",
    )
    project = file(
        """<Project Sdk="Microsoft.NET.Sdk"><PropertyGroup><TargetFramework>net8.0</TargetFramework></PropertyGroup>
  <ItemGroup><PackageReference Include="serilog" /><PackageReference Include="Own" VersionOverride="[9.0]" />
  </ItemGroup></Project>"""
    )
    (graph,) = read(central, project).graphs
    assert pairs(graph) == ["serilog 3.1.1", "Own [9.0]", "Acme.Analyzers 1.2.3"]
    assert dict(graph.pins) == {"serilog": "3.1.1", "acme.transitive": "5.0.0"}


def test_items_are_updated_and_removed_by_files_that_come_later() -> None:
    props = file(
        """<Project><ItemGroup><PackageReference Include="A" Version="1.0" />
    <PackageReference Include="B" Version="1.0" /></ItemGroup></Project>""",
        "Directory.Build.props",
    )
    project = file(
        """<Project Sdk="Microsoft.NET.Sdk"><PropertyGroup><TargetFramework>net8.0</TargetFramework></PropertyGroup>
  <ItemGroup><PackageReference Remove="A" /><PackageReference Update="B" Version="2.0" /></ItemGroup></Project>"""
    )
    assert pairs(read(props, project).graphs[0]) == ["B 2.0"]


@pytest.mark.parametrize(
    ("framework", "implicit"),
    [
        ("netstandard2.0", ["NETStandard.Library 2.0.3"]),
        ("netstandard2.1", []),
        ("netcoreapp3.1", []),
        ("net48", ["Microsoft.NETFramework.ReferenceAssemblies 1.0.3"]),
        ("net10.0", []),
    ],
)
def test_some_frameworks_are_packages_themselves(framework: str, implicit: list[str]) -> None:
    text = f"<Project><PropertyGroup><TargetFramework>{framework}</TargetFramework></PropertyGroup></Project>"
    assert pairs(read(file(text)).graphs[0]) == implicit


@pytest.mark.parametrize(
    ("sdk", "framework", "more", "pruned"),
    [
        ("Microsoft.NET.Sdk", "net10.0", "", {"system.memory"}),
        ("Microsoft.NET.Sdk", "net10.0-windows", "", {"system.memory"}),
        ("Microsoft.NET.Sdk.Web", "net10.0", "", {"system.memory", "microsoft.extensions.options"}),
        ("Microsoft.NET.Sdk", "net8.0", "", set()),
        ("Microsoft.NET.Sdk", "netstandard2.0", "", set()),
        ("Microsoft.NET.Sdk", "net10.0", "<RestoreEnablePackagePruning>false</RestoreEnablePackagePruning>", set()),
    ],
)
def test_what_comes_with_net_is_not_asked_for(sdk: str, framework: str, more: str, pruned: set[str]) -> None:
    text = f'<Project Sdk="{sdk}"><PropertyGroup><TargetFramework>{framework}</TargetFramework>{more}'
    (graph,) = read(file(f"{text}</PropertyGroup></Project>")).graphs
    assert {"system.memory", "microsoft.extensions.options"} & graph.pruned.keys() == pruned


def test_sdks_and_downloads_are_wanted_by_version() -> None:
    needs = read(
        file(
            """<Project Sdk="MSTest.Sdk/3.6.0"><Sdk Name="Acme.Sdk" Version="1.0.0" />
  <PropertyGroup><TargetFramework>net8.0</TargetFramework></PropertyGroup>
  <ItemGroup><PackageDownload Include="Acme.Data" Version="[1.0.0];[2.0.0]" /></ItemGroup></Project>"""
        )
    )
    assert set(map(str, needs.exact)) == {"mstest.sdk 3.6.0", "acme.sdk 1.0.0", "acme.data 1.0.0", "acme.data 2.0.0"}


def test_projects_bring_what_they_refer_to() -> None:
    app = file(
        """<Project Sdk="Microsoft.NET.Sdk"><PropertyGroup><TargetFramework>net8.0</TargetFramework></PropertyGroup>
  <ItemGroup><ProjectReference Include="..\\lib\\lib.csproj" /></ItemGroup></Project>"""
    )
    library = file(
        """<Project><PropertyGroup><TargetFrameworks>net472;net6.0</TargetFrameworks></PropertyGroup>
  <ItemGroup><PackageReference Include="Public" Version="1.0" />
    <PackageReference Include="Old" Version="1.0" Condition="'$(TargetFramework)' == 'net472'" />
    <PackageReference Include="Own.Business" Version="1.0" PrivateAssets="All" />
    <ProjectReference Include="../core/core.csproj" /></ItemGroup></Project>""",
        "src/lib/lib.csproj",
    )
    core = file(
        """<Project><PropertyGroup><TargetFramework>netstandard2.1</TargetFramework></PropertyGroup>
  <ItemGroup><PackageReference Include="Deep" Version="3.0" /></ItemGroup></Project>""",
        "src/core/core.csproj",
    )
    files = {one.path: [one] for one in (library, core)}
    (graph,) = read_project([app], app.path, lambda path: files[path]).graphs
    (link,) = graph.references
    below = graph.projects[link.id]
    assert Dependency("Public", "1.0") in below
    assert not {one.id for one in below} & {"Old", "Own.Business"}
    (second,) = [one for one in below if one.id in graph.projects]
    assert graph.projects[second.id] == (Dependency("Deep", "3.0"),)


def test_a_condition_that_only_a_build_decides_is_taken_as_met_and_told() -> None:
    needs = read(
        file(
            """<Project><PropertyGroup><TargetFramework>net8.0</TargetFramework></PropertyGroup>
  <ItemGroup Condition="Exists('x.txt')"><PackageReference Include="A" Version="1.0" /></ItemGroup>
  <ItemGroup><PackageReference Include="B" Version="$([System.DateTime]::Now)" /></ItemGroup></Project>"""
        )
    )
    assert pairs(needs.graphs[0])[0] == "A 1.0"
    assert any("Exists('x.txt')" in remark for remark in needs.remarks)
    assert any("the version of B cannot be told" in remark for remark in needs.remarks)


@pytest.mark.parametrize(
    ("condition", "met"),
    [
        ("", True),
        ("'$(A)' == 'x'", True),
        ("'$(A)' != 'X'", False),
        ("$(A) == x", True),
        ("'$(A)' == 'y' or '$(B)' == ''", True),
        ("'$(A)' == 'y' Or ('$(B)' == '' AND '$(A)' == 'z')", False),
        ("!('$(A)' == 'y')", True),
        ("true", True),
        ("'$(A)|$(B)' == 'x|'", True),
        ("Exists('a')", None),
        ("'$(A)' > '1'", None),
        ("$(A.StartsWith('x'))", None),
        ("'$([MSBuild]::IsOSPlatform(`Linux`))' == 'true'", None),
        ("'$(A)' ==", None),
    ],
)
def test_conditions(condition: str, met: bool | None) -> None:
    assert is_met(condition, lambda text: text.replace("$(A)", "x").replace("$(B)", "")) is met
