"""Every file that names packages is read as what it is."""

from __future__ import annotations

import pytest

from nugetproxy.nuget.nuspec import Dependency
from nugetproxy.nuget.projects.families import family_of, is_project, read_file
from nugetproxy.nuget.projects.needs import Needs, UnreadableFile
from nugetproxy.nuget.projects.purls import read_purl
from tests.nuget.projects import shapes

EXACT = [
    (
        "src/packages.lock.json",
        shapes.LOCK,
        "serilog 3.1.1|acme.central 1.0.0-beta.1|runtime.linux-x64.acme 4.3.0",
    ),
    (
        "obj/project.assets.json",
        shapes.ASSETS,
        "serilog 3.1.1|microsoft.aspnetcore.app.ref 8.0.11|microsoft.netcore.app.host.linux-x64 8.0.11"
        "|microsoft.netcore.app.host.linux-x64 8.0.12",
    ),
    (".config/dotnet-tools.json", shapes.TOOLS, "dotnet-ef 8.0.1|csharpier 0.27.0"),
    ("global.json", shapes.GLOBAL, "microsoft.build.traversal 4.1.0|microsoft.build.notargets 3.7.0"),
    ("bin/app.deps.json", shapes.DEPS, "serilog 3.1.1"),
    ("bom.json", shapes.CYCLONEDX, "serilog 3.1.1|acme.inner 2.0.0-rc.1"),
    ("bom.xml", shapes.CYCLONEDX_XML, "serilog 3.1.1|acme.inner 2.0.0"),
    ("manifest.spdx.json", shapes.SPDX, "serilog 3.1.1"),
    ("app.spdx.json", shapes.SPDX3, "serilog 3.1.1|acme.b 2.0.0"),
    ("app.spdx", shapes.SPDX_TAGS, "serilog 3.1.1"),
]


def told(needs: Needs) -> str:
    return "|".join(map(str, needs.exact))


@pytest.mark.parametrize(("file", "body", "wanted"), EXACT, ids=[one[0] for one in EXACT])
def test_a_file_names_these_versions(file: str, body: bytes, wanted: str) -> None:
    needs = read_file(body, file)
    assert told(needs) == wanted
    assert needs.graphs == ()
    assert needs.remarks == ()


@pytest.mark.parametrize(("file", "body", "wanted"), EXACT, ids=[one[0] for one in EXACT])
def test_under_another_name_its_content_tells_what_it_is(file: str, body: bytes, wanted: str) -> None:
    assert told(read_file(body, "some/file.txt")) == wanted


def test_packages_config_names_versions_that_no_list_is_asked_for() -> None:
    for name in ("packages.config", "packages.web.config", "other.xml"):
        needs = read_file(shapes.PACKAGES_CONFIG, name)
        assert [str(one) for one in needs.direct] == ["newtonsoft.json 13.0.3", "stylecop 1.0.0"]
        assert needs.exact == ()


def test_lines_name_versions_ranges_and_package_urls_whose_needs_are_resolved() -> None:
    needs = read_file(shapes.LINES, "wanted.txt")
    assert [graph.references for graph in needs.graphs] == [
        (Dependency("Serilog", "[3.1.1]"),),
        (Dependency("Acme.Range", "[1.0,2.0)"),),
        (Dependency("Acme.Floating", "1.*"),),
        (Dependency("Acme.Purl", "[4.0.0]"),),
    ]
    assert {graph.framework for graph in needs.graphs} == {None}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("pkg:nuget/Serilog@3.1.1", ("Serilog", "3.1.1")),
        ("PKG:NuGet/Serilog@3.1.1?vcs=git#a/b", ("Serilog", "3.1.1")),
        ("pkg://nuget/Serilog@3.1.1", ("Serilog", "3.1.1")),
        ("pkg:nuget/Acme@1.0.0-a%2Bb", ("Acme", "1.0.0-a+b")),
        ("pkg:npm/%40scope/name@1.0.0", None),
        ("pkg:nuget/Serilog", None),
        ("https://example.org/", None),
    ],
)
def test_package_urls(text: str, wanted: tuple[str, str] | None) -> None:
    assert read_purl(text) == wanted


@pytest.mark.parametrize(
    ("file", "body", "why"),
    [
        ("packages.lock.json", b"{", "not valid JSON"),
        pytest.param("packages.lock.json", b"{" + b'"\\' * 50_000, "not valid JSON", id="open strings"),
        pytest.param("packages.lock.json", b"{" + b"/*" * 50_000, "not valid JSON", id="open comments"),
        ("packages.lock.json", b"[]", "no JSON object"),
        ("packages.lock.json", b"{}", "no dependencies"),
        ("project.assets.json", b"{}", "no libraries"),
        ("packages.config", b"<configuration/>", "not <packages>"),
        ("packages.config", b'<!DOCTYPE a [<!ENTITY b "c">]><packages>&b;</packages>', "not readable XML"),
        ("dotnet-tools.json", b"{}", "no tools"),
        ("a.deps.json", b"{}", "no libraries"),
        ("bom.json", b"{}", "neither CycloneDX nor SPDX"),
        ("bom.xml", b"<a/>", "not <bom>"),
        ("a.spdx", b"x", "not SPDX"),
        ("a.json", b'{"a": 1}', "none of the files"),
        ("a.txt", b"Serilog\n", "line 1"),
        ("a.txt", b"\xff\xfe\x00", "not text"),
    ],
)
def test_what_is_not_what_its_name_says_is_named_with_the_reason(file: str, body: bytes, why: str) -> None:
    with pytest.raises(UnreadableFile, match="cannot be read") as caught:
        read_file(body, file)
    assert why in str(caught.value)
    assert file in str(caught.value)


@pytest.mark.parametrize(
    "part",
    [
        b'"spdxVersion": 1, "documentDescribes": 5',
        b'"spdxVersion": 1, "packages": [{"SPDXID": []}]',
        b'"@context": 1, "@graph": [{"rootElement": 5}]',
        b'"@context": 1, "@graph": [{"type": "software_Package", "spdxId": []}]',
    ],
)
def test_a_bill_whose_parts_are_something_else_names_nothing(part: bytes) -> None:
    needs = read_file(b"{%s}" % part, "bom.json")
    assert (needs.exact, needs.remarks) == ((), ("bom.json names no package of NuGet.",))


def test_what_no_package_can_be_called_is_left_out_with_a_remark() -> None:
    needs = read_file(b'{"tools": {"../x": {"version": "1.0.0"}, "good": {"version": "1.0.0"}}}', "dotnet-tools.json")
    assert told(needs) == "good 1.0.0"
    assert needs.remarks == ("dotnet-tools.json: no package can be called '../x' '1.0.0'; it is left out.",)


def test_names_tell_families() -> None:
    assert is_project("App.CsProj")
    assert not is_project("App.csproj.user")
    assert family_of("packages.App.lock.json") is not None
    assert family_of("package.json") is None
