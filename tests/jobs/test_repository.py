"""A folder of a repository is searched for what names packages."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from nugetproxy.errors import BadRequest
from nugetproxy.jobs.repository import read_all
from nugetproxy.nuget.projects.needs import UnreadableFile
from tests.nuget.projects import shapes

PROJECT = """<Project Sdk="Microsoft.NET.Sdk"><PropertyGroup><TargetFramework>net8.0</TargetFramework></PropertyGroup>
<ItemGroup><PackageReference Include="Serilog" /></ItemGroup></Project>"""
ROOT_PROPS = """<Project><PropertyGroup><ManagePackageVersionsCentrally>true</ManagePackageVersionsCentrally>
</PropertyGroup><ItemGroup><PackageVersion Include="Serilog" Version="3.1.1" /></ItemGroup></Project>"""
NEAR_PROPS = """<Project>
<Import Project="$([MSBuild]::GetPathOfFileAbove('Directory.Packages.props', '$(MSBuildThisFileDirectory)..'))" />
<Import Project="$(MSBuildThisFileDirectory)more.props" /></Project>"""
MORE = '<Project><ItemGroup><PackageVersion Update="Serilog" Version="4.0.0" /></ItemGroup></Project>'


def write(root: Path, files: dict[str, str | bytes]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def test_every_file_that_names_packages_is_found(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "global.json": shapes.GLOBAL,
            ".config/dotnet-tools.json": shapes.TOOLS,
            "a/a.csproj": PROJECT,
            "a/obj/project.assets.json": shapes.ASSETS,
            "b/b.csproj": PROJECT,
            "b/packages.lock.json": shapes.LOCK,
            "c/packages.config": shapes.PACKAGES_CONFIG,
            "d/obj/project.assets.json": shapes.ASSETS,
            "a/bin/app.deps.json": shapes.DEPS,
            "node_modules/x/global.json": shapes.GLOBAL,
            "README.md": "nothing",
        },
    )
    assert [str(one.path.relative_to(tmp_path)) for one in read_all([tmp_path])] == [
        "global.json",
        ".config/dotnet-tools.json",
        "a/a.csproj",
        "b/b.csproj",
        "b/packages.lock.json",
        "c/packages.config",
        "d/obj/project.assets.json",
    ]


def test_a_project_is_read_with_what_lies_around_it(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "Directory.Packages.props": ROOT_PROPS,
            "src/Directory.Packages.props": NEAR_PROPS,
            "src/more.props": MORE,
            "src/app/app.csproj": PROJECT,
            "tests/t.csproj": PROJECT,
        },
    )
    near, far = read_all([tmp_path / "src" / "app" / "app.csproj", tmp_path / "tests" / "t.csproj"])
    assert [one.range for one in near.needs.graphs[0].references] == ["4.0.0"]
    assert [one.range for one in far.needs.graphs[0].references] == ["3.1.1"]


def test_beside_a_lock_file_a_project_names_what_that_does_not(tmp_path: Path) -> None:
    sdk = PROJECT.replace('Sdk="Microsoft.NET.Sdk"', 'Sdk="Acme.Sdk/1.2.0"')
    download = sdk.replace(
        "<PackageReference ", '<PackageDownload Include="Acme.Tool" Version="[2.0.0]" /><PackageReference '
    )
    write(
        tmp_path,
        {
            "one/one.csproj": download,
            "one/packages.lock.json": shapes.LOCK,
            "two/a b.csproj": PROJECT,
            "two/packages.a_b.lock.json": shapes.LOCK,
            "two/c.csproj": PROJECT,
        },
    )
    one, _, locked, free, _ = (read.needs for read in read_all([tmp_path]))
    assert ([str(each) for each in one.exact], one.graphs) == (["acme.sdk 1.2.0", "acme.tool 2.0.0"], ())
    assert (locked.exact, locked.graphs) == ((), ())
    assert [[need.id for need in graph.references] for graph in free.graphs] == [["Serilog"]], "it has none of its own"


def test_projects_refer_to_each_other_by_path(tmp_path: Path) -> None:
    reference = PROJECT.replace(
        '<PackageReference Include="Serilog" />', '<ProjectReference Include="..\\b\\b.csproj" />'
    )
    write(tmp_path, {"a/a.csproj": reference, "b/b.csproj": PROJECT.replace("/>", 'Version="3.0.0" />')})
    read, other = read_all([tmp_path / "a" / "a.csproj"])
    (below,) = read.needs.graphs[0].projects.values()
    assert [(one.id, one.range) for one in below] == [("Serilog", "3.0.0")]
    assert other.path == tmp_path / "b" / "b.csproj"


def test_a_project_is_restored_with_those_that_it_refers_to_wherever_they_lie(tmp_path: Path) -> None:
    """With what stays within them, and with their lock files."""
    reference = '<PackageReference Include="Serilog" />'
    more = '<ProjectReference Include="..\\c\\c.csproj" ReferenceOutputAssembly="false" />'
    write(
        tmp_path,
        {
            "a/a.csproj": PROJECT.replace(reference, '<ProjectReference Include="..\\b\\b.csproj" />'),
            "b/b.csproj": PROJECT.replace(reference, f'<PackageReference Include="B" PrivateAssets="all" />{more}'),
            "c/c.csproj": PROJECT,
            "c/packages.lock.json": shapes.LOCK,
        },
    )
    for named in (tmp_path / "a" / "a.csproj", tmp_path / "a"):
        found = {str(one.path.relative_to(tmp_path)): one.needs for one in read_all([named])}
        assert list(found) == ["a/a.csproj", "b/b.csproj", "c/c.csproj", "c/packages.lock.json"]
        assert [one.id for one in found["b/b.csproj"].graphs[0].references if one.range == ""] == ["B"]
        assert found["c/c.csproj"].graphs == ()


@pytest.mark.parametrize(
    "text",
    [
        "$(Root)eng/more.props",
        "$(MSBuildProjectDirectory)\\..\\eng\\more.props",
        "../eng/*.props",
        "$([MSBuild]::GetDirectoryNameOfFileAbove($(MSBuildThisFileDirectory), global.json))/eng/more.props",
        "$([MSBuild]::GetPathOfFileAbove('eng/more.props'))",
        "$(Above)eng/more.props",
    ],
)
def test_imports_are_found_by_properties_patterns_and_what_lies_above(tmp_path: Path, text: str) -> None:
    above = "$([MSBuild]::GetDirectoryNameOfFileAbove('$(MSBuildThisFileDirectory)', 'global.json'))/"
    write(
        tmp_path,
        {
            "global.json": "{}",
            "Directory.Build.props": "<Project><PropertyGroup><Root>$(MSBuildThisFileDirectory)</Root>"
            f"<Above>{above}</Above></PropertyGroup></Project>",
            "eng/more.props": '<Project><ItemGroup><PackageReference Include="A" /></ItemGroup></Project>',
            "app/app.csproj": PROJECT.replace("</Project>", f'<Import Project="{text}" /></Project>'),
        },
    )
    (one,) = read_all([tmp_path / "app" / "app.csproj"])
    assert [reference.id for reference in one.needs.graphs[0].references] == ["Serilog", "A"]


def test_a_folder_without_any_says_so_and_a_missing_file_too(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="Nothing in"):
        read_all([tmp_path])
    with pytest.raises(UnreadableFile, match="No such file"):
        read_all([tmp_path / "packages.lock.json"])


def test_a_folder_that_cannot_be_read_is_not_left_out_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"a/a.csproj": PROJECT, "b/b.csproj": PROJECT})
    scan = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("b"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UnreadableFile, match="b cannot be read: Permission denied"):
        read_all([tmp_path])


def test_what_a_user_has_set_for_a_project_counts(tmp_path: Path) -> None:
    user = '<Project><ItemGroup><PackageReference Include="A" /></ItemGroup></Project>'
    write(tmp_path, {"app.csproj": PROJECT, "app.csproj.user": user})
    (one,) = read_all([tmp_path])
    assert [reference.id for reference in one.needs.graphs[0].references] == ["Serilog", "A"]


def test_a_project_that_is_named_from_its_folder_is_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(
        tmp_path,
        {
            "Directory.Build.props": '<Project><Import Project="$(MSBuildProjectDirectory)/own.props" /></Project>',
            "app/own.props": '<Project><ItemGroup><PackageReference Include="A" /></ItemGroup></Project>',
            "app/app.csproj": PROJECT,
        },
    )
    monkeypatch.chdir(tmp_path / "app")
    (one,) = read_all([Path("app.csproj")])
    assert [reference.id for reference in one.needs.graphs[0].references] == ["A", "Serilog"]


@pytest.mark.parametrize(
    ("inside", "why"),
    [
        ("<Choose><When Condition='true'>" * 3000 + "</When></Choose>" * 3000, "nested too deeply"),
        (f"<Import Project='{'x' * 5000}' />", "File name too long"),
        (f"<ItemGroup><ProjectReference Include='{'x' * 5000}.csproj' /></ItemGroup>", "File name too long"),
    ],
)
def test_what_no_project_should_hold_is_said_in_words(tmp_path: Path, inside: str, why: str) -> None:
    write(tmp_path, {"a.csproj": PROJECT.replace("</Project>", f"{inside}</Project>")})
    with pytest.raises(UnreadableFile, match=why):
        read_all([tmp_path])


def test_projects_are_referred_to_by_patterns_too(tmp_path: Path) -> None:
    reference = PROJECT.replace("<PackageReference", "<ProjectReference").replace("Serilog", "src\\**\\*.csproj")
    write(tmp_path, {"dirs.proj": reference, "src/b/b.csproj": PROJECT, "src/a/a.csproj": PROJECT})
    found = [str(one.path.relative_to(tmp_path)) for one in read_all([tmp_path / "dirs.proj"])]
    assert found == ["dirs.proj", "src/a/a.csproj", "src/b/b.csproj"]


def test_a_proj_of_another_program_is_none_of_ours(tmp_path: Path) -> None:
    write(tmp_path, {"app.csproj": PROJECT, "utm.proj": "+proj=utm +zone=32 +datum=WGS84"})
    assert [one.path.name for one in read_all([tmp_path])] == ["app.csproj"]


@pytest.mark.parametrize("name", ["dirs.proj", "db.sqlproj", "setup.wixproj", "page.esproj"])
def test_projects_of_every_kind_that_a_restore_reads_are_found(tmp_path: Path, name: str) -> None:
    write(tmp_path, {name: PROJECT})
    assert [one.path.name for one in read_all([tmp_path])] == [name]
