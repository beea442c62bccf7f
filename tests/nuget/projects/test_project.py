"""Projects: properties, conditions, central versions, frameworks, projects that refer to others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from nugetproxy.nuget.nuspec import Dependency, DependencyGroup
from nugetproxy.nuget.projects.conditions import is_met
from nugetproxy.nuget.projects.msbuild import Find, ProjectFile
from nugetproxy.nuget.projects.needs import Graph, Needs, read_xml
from nugetproxy.nuget.projects.project import Projects, read_project
from nugetproxy.nuget.resolution import dependencies


def file(text: str, path: str = "src/app/app.csproj") -> ProjectFile:
    return ProjectFile(path, read_xml(text.encode(), path))


def nothing(_text: str, _importer: str) -> None:
    """No import can be told."""


def read(*files: ProjectFile) -> Needs:
    return among({files[-1].path: files}, files[-1].path)


def among(projects: Mapping[str, Sequence[ProjectFile]], path: str, find: Find = nothing) -> Needs:
    """What one of some projects asks for."""
    return read_project(path, Projects(lambda name: projects.get(name, ()), find))


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
    (graph,) = among({one.path: [one] for one in (app, library, core)}, app.path).graphs
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
        ("Exists('a') and '$(A)' == 'z'", False),
        ("Exists('a') or '$(A)' == 'x'", True),
        ("!Exists('a')", None),
        ("('$(A)' < '1') or '$(A)' == 'z'", None),
        ("$([MSBuild]::IsTargetFrameworkCompatible('$(A)', 'x')) and '$(B)' == 'y'", False),
        ("HasTrailingSlash('a', 'b') or true", True),
        ("Exists('a'", None),
        ("(" * 5000, None),
        ("'$(A)' > '1'", None),
        ("$(A.StartsWith('x'))", None),
        ("'$([MSBuild]::IsOSPlatform(`Linux`))' == 'true'", None),
        ("'$(A)' ==", None),
    ],
)
def test_conditions(condition: str, met: bool | None) -> None:
    assert is_met(condition, lambda text: text.replace("$(A)", "x").replace("$(B)", "")) is met


def app(inside: str, framework: str = "net10.0", path: str = "src/app/app.csproj") -> ProjectFile:
    group = f"<PropertyGroup><TargetFramework>{framework}</TargetFramework></PropertyGroup>"
    return file(f'<Project Sdk="Microsoft.NET.Sdk">{group}{inside}</Project>', path)


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        ("'$(MSBuildProjectExtension)' == '.csproj'", True),
        ("'$(MSBuildProjectFile)|$(MSBuildProjectName)' == 'app.csproj|app'", True),
        ("'$(MSBuildThisFile)|$(MSBuildThisFileName)' == 'app.csproj|app'", True),
        ("'$(TargetFrameworkIdentifier)' == '.NETCoreApp' and '$(TargetFrameworkVersion)' == 'v10.0'", True),
        ("'$(TargetPlatformIdentifier)' != 'windows'", True),
        ("'$(Configuration)' == 'Debug'", False),
        ("'$(Configuration)' == 'Release'", False),
        ("'$(OS)' == 'Windows_NT'", False),
        ("'$(UsingMicrosoftNETSdk)' == 'true'", False),
    ],
)
def test_what_msbuild_and_the_sdk_set_is_not_taken_as_empty(condition: str, *, told: bool) -> None:
    needs = read(app(f'<ItemGroup Condition="{condition}"><PackageReference Include="A" Version="1.0" /></ItemGroup>'))
    assert pairs(needs.graphs[0]) == ["A 1.0"]
    assert (needs.remarks == ()) is told


@pytest.mark.parametrize(
    ("tag", "taken"),
    [("TargetFramework", ["A 1.0", "B 1.0"]), ("TargetFrameworks", ["A 2.0", "B 1.0"])],
)
def test_what_stands_before_a_project_does_not_know_its_only_framework(tag: str, taken: list[str]) -> None:
    props = file(
        """<Project><PropertyGroup><V>1.0</V></PropertyGroup>
  <PropertyGroup Condition="'$(TargetFramework)' == 'net10.0'"><V>2.0</V></PropertyGroup>
  <PropertyGroup Condition="'$(TargetFrameworkIdentifier)' != ''"><V>3.0</V></PropertyGroup></Project>""",
        "Directory.Build.props",
    )
    targets = file(
        """<Project><PropertyGroup><W Condition="'$(TargetFrameworkIdentifier)' == '.NETCoreApp'">1.0</W>
  </PropertyGroup>
  <ItemGroup><PackageReference Include="B" Version="$(W)" /></ItemGroup></Project>""",
        "Directory.Build.targets",
    )
    text = f"""<PropertyGroup><{tag}>net10.0</{tag}></PropertyGroup>
  <ItemGroup><PackageReference Include="A" Version="$(V)" /></ItemGroup>"""
    project = file(f'<Project Sdk="Microsoft.NET.Sdk">{text}</Project>')
    needs = among({project.path: [props, project, targets]}, project.path)
    assert pairs(needs.graphs[0]) == taken


@pytest.mark.parametrize("which", ["*", "@(PackageReference)", "a;b"])
def test_items_have_names_in_any_case_and_may_be_changed_all_together(which: str) -> None:
    text = f"""<ItemGroup><packagereference Include="A" /><PackageReference Include="B" version="1.0" />
  <PackageReference Update="{which}" Version="2.0" /></ItemGroup>"""
    assert pairs(read(app(text)).graphs[0]) == ["A 2.0", "B 2.0"]
    removed = f'<ItemGroup><PackageReference Remove="{which}" /></ItemGroup>'
    assert pairs(read(app(text + removed)).graphs[0]) == []


def test_what_is_set_for_one_configuration_is_that_of_a_restore_and_what_files_set_is_known() -> None:
    text = """<PropertyGroup Condition="'$(Configuration)|$(Platform)' == 'Debug|AnyCPU'"><V>1.0</V></PropertyGroup>
  <PropertyGroup Condition="'$(Configuration)' == 'Release'"><V>2.0</V></PropertyGroup>
  <PropertyGroup><OS>mine</OS></PropertyGroup>
  <ItemGroup><PackageReference Include="A" Version="$(V)" />
    <PackageReference Include="B" Version="1.0" Condition="'$(OS)' == 'other'" /></ItemGroup>"""
    needs = read(app(text))
    assert (pairs(needs.graphs[0]), needs.remarks) == (["A 1.0"], ())


@pytest.mark.parametrize(
    "text",
    [
        """<Choose><When Condition="Exists('x')"><ItemGroup><PackageReference Include="B" Version="1.0" /></ItemGroup>
  </When><Otherwise><ItemGroup><PackageReference Include="A" Version="1.0" /></ItemGroup></Otherwise></Choose>""",
        """<ItemGroup><PackageReference Include="A" Version="1.0" />
  <PackageReference Remove="A" Condition="Exists('x')" /></ItemGroup>""",
        """<ItemGroup><PackageReference Include="A" Version="1.0" /></ItemGroup>
  <ItemGroup Condition="Exists('x')"><PackageReference Remove="A" /></ItemGroup>""",
        """<Target Name="More"><ItemGroup><PackageReference Include="A" Version="1.0" /></ItemGroup></Target>""",
    ],
)
def test_what_only_a_build_decides_takes_nothing_away(text: str) -> None:
    needs = read(app(text))
    assert "A 1.0" in pairs(needs.graphs[0])
    assert any("only a build can decide it" in remark for remark in needs.remarks)


def test_imports_count_where_they_stand_with_the_properties_of_then_and_only_if_their_condition_is_met() -> None:
    props = {
        "eng/late.props": """<Project><PropertyGroup><V>2.0</V></PropertyGroup>
  <ItemGroup Condition="'$(First)' == '1'"><PackageReference Include="B" Version="1.0" /></ItemGroup></Project>""",
        "eng/never.props": '<Project><ItemGroup><PackageReference Include="C" Version="1.0" /></ItemGroup></Project>',
    }
    text = """<PropertyGroup><V>1.0</V><First>1</First><Eng>eng/</Eng></PropertyGroup>
  <ItemGroup><PackageReference Include="A" Version="$(V)" /></ItemGroup>
  <Import Project="$(Eng)late.props" /><Import Project="$(Eng)late.props" />
  <ImportGroup Condition="'$(First)' != '1'"><Import Project="$(Eng)never.props" /></ImportGroup>
  <Import Project="$(Eng)never.props" Condition="'$(TargetFramework)' == 'net472'" />
  <Import Project="$([MSBuild]::Unknown())" />"""
    project = app(text)

    def find(name: str, _importer: str) -> Sequence[ProjectFile] | None:
        return None if "$(" in name else (file(props[name], name),)

    needs = among({project.path: [project]}, project.path, find)
    assert pairs(needs.graphs[0]) == ["A 2.0", "B 1.0"]
    assert needs.remarks == ("src/app/app.csproj: what the import of '$([MSBuild]::Unknown())' says cannot be told.",)


def test_of_several_central_versions_the_first_one_counts() -> None:
    central = """<PropertyGroup><ManagePackageVersionsCentrally>true</ManagePackageVersionsCentrally></PropertyGroup>
  <ItemGroup><PackageVersion Include="A" Version="1.0" /><PackageVersion Include="a" Version="2.0" />
  <PackageReference Include="A" /></ItemGroup>"""
    assert pairs(read(app(central)).graphs[0]) == ["A 1.0"]


def test_what_cannot_be_a_package_is_told() -> None:
    text = """<ItemGroup><PackageReference Include="@(Mine)" Version="1.0" />
  <PackageDownload Include="Acme.Data" Version="[$([X]::Y())]" /></ItemGroup>"""
    assert read(app(text)).remarks == (
        "src/app/app.csproj: no package can be called '@(Mine)'; it is left out.",
        "src/app/app.csproj: the version of Acme.Data cannot be told ('[$([X]::Y())]').",
    )


def test_what_only_the_assets_of_a_restore_say_is_told() -> None:
    text = """<Project Sdk="MSTest.Sdk/3.6.0"><PropertyGroup><TargetFrameworks>net8.0;net9.0</TargetFrameworks>
  <RuntimeIdentifiers>linux-x64; win-x64;</RuntimeIdentifiers><IsTrimmable>true</IsTrimmable>
  </PropertyGroup></Project>"""
    assert read(file(text)).remarks == (
        "src/app/app.csproj: what the SDK mstest.sdk refers to by itself is only in obj/project.assets.json.",
        "src/app/app.csproj: what the SDK takes for IsTrimmable is only in obj/project.assets.json.",
        "src/app/app.csproj: what it needs for linux-x64, win-x64 besides (packs, runtime.json of packages) is only in "
        "obj/project.assets.json.",
    )


@pytest.mark.parametrize(
    ("inside", "taken", "told"),
    [
        ("", [], True),
        ('<PackageReference Update="FSharp.Core" Version="8.0.100" />', ["FSharp.Core 8.0.100"], False),
        ('<PackageReference Include="FSharp.Core" Version="8.0.100" />', ["FSharp.Core 8.0.100"], False),
        ('<PackageReference Remove="FSharp.Core" />', [], False),
    ],
)
def test_projects_in_fsharp_refer_to_its_library_in_a_version_of_the_sdk_or_their_own(
    inside: str, taken: list[str], *, told: bool
) -> None:
    needs = read(app(f"<ItemGroup>{inside}</ItemGroup>", path="src/app/app.fsproj"))
    assert pairs(needs.graphs[0]) == taken
    expected = ("src/app/app.fsproj: which FSharp.Core the SDK refers to is only in obj/project.assets.json.",)
    assert needs.remarks == (expected if told else ())


def test_projects_whose_paths_differ_little_are_not_taken_for_each_other() -> None:
    references = '<ProjectReference Include="../a-b/l.csproj" /><ProjectReference Include="../a_b/l.csproj" />'
    project = app(f"<ItemGroup>{references}</ItemGroup>")

    others = [
        app(f'<ItemGroup><PackageReference Include="{id_}" Version="1.0" /></ItemGroup>', path=f"src/{id_}/l.csproj")
        for id_ in ("a-b", "a_b")
    ]
    needs = among({one.path: [one] for one in (project, *others)}, project.path)
    assert sorted(one.id for below in needs.graphs[0].projects.values() for one in below) == ["a-b", "a_b"]
    assert needs.projects == ("src/a-b/l.csproj", "src/a_b/l.csproj")


def test_a_project_is_evaluated_once_however_many_refer_to_it() -> None:
    names = [f"src/p{number}/p{number}.csproj" for number in range(5)]
    files = {
        name: app(
            "".join(f'<ItemGroup><ProjectReference Include="../../{other}" /></ItemGroup>' for other in names[:at])
        )
        for at, name in enumerate(names)
    }
    loaded: list[str] = []

    def load(path: str) -> Sequence[ProjectFile]:
        loaded.append(path)
        return [ProjectFile(path, files[path].root)]

    others = Projects(load, nothing)
    assert [len(read_project(name, others).graphs[0].projects) for name in names] == [0, 1, 2, 3, 4]
    assert sorted(loaded) == names


@pytest.mark.parametrize(
    ("framework", "said", "taken"),
    [
        ("net8.0", "", "A"),
        ("net8.0", "<AssetTargetFallback>sl5;uap10.0</AssetTargetFallback>", "B"),
        ("net8.0", "<AssetTargetFallback>$(AssetTargetFallback);win10;net472</AssetTargetFallback>", "A"),
        ("net8.0", "<DisableImplicitAssetTargetFallback>true</DisableImplicitAssetTargetFallback>", None),
        ("netstandard1.4", "", None),
        ("netstandard1.4", "<AssetTargetFallback>portable-net45+win8</AssetTargetFallback>", "A"),
        ("netstandard1.4", "<AssetTargetFallback>portable-net45+win8+wp8;net40</AssetTargetFallback>", None),
    ],
)
def test_what_a_project_takes_with_a_warning_is_its_own_word(framework: str, said: str, taken: str | None) -> None:
    """As restores of SDK 10 do."""
    named = f"<TargetFramework>{framework}</TargetFramework>{said}"
    (graph,) = read(file(f'<Project Sdk="Microsoft.NET.Sdk"><PropertyGroup>{named}</PropertyGroup></Project>')).graphs
    groups = [
        DependencyGroup(target_framework=name, dependencies=(Dependency(id_, "1.0.0"),))
        for name, id_ in (("portable-net45+win8", "A"), ("sl5", "B"))
    ]
    assert [one.id for one in dependencies(groups, graph.framework, graph.fallbacks)] == ([taken] if taken else [])
