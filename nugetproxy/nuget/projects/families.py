"""Families say which reader a file has, by its name, else by what is in it."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Final

from msgspec import Struct

from nugetproxy.nuget.projects.assets import read_assets
from nugetproxy.nuget.projects.lock_file import read_lock_file
from nugetproxy.nuget.projects.manifests import read_deps_json, read_global_json, read_tools
from nugetproxy.nuget.projects.needs import Needs, UnreadableFile, read_json, table
from nugetproxy.nuget.projects.packages_config import read_packages_config
from nugetproxy.nuget.projects.purls import read_lines
from nugetproxy.nuget.projects.sboms import is_bill, read_json_bill, read_tag_value_bill, read_xml_bill

Read = Callable[[bytes, str], Needs]


class Family(Struct, frozen=True):
    """Files of one sort."""

    name: str
    patterns: tuple[str, ...]
    """Of file names, in lower case."""
    read: Read


PROJECTS: Final = ("*.csproj", "*.fsproj", "*.vbproj", "*.proj", "*.esproj", "*.sqlproj", "*.wixproj")
"""Projects, which want more than their own file to be read (``nugetproxy.nuget.projects.project``)."""

FAMILIES: Final = (
    Family("lock file", ("packages.lock.json", "packages.*.lock.json"), read_lock_file),
    Family("assets file", ("project.assets.json",), read_assets),
    Family("packages.config", ("packages.config", "packages.*.config"), read_packages_config),
    Family("tool manifest", ("dotnet-tools.json",), read_tools),
    Family("global.json", ("global.json",), read_global_json),
    Family("deps file", ("*.deps.json",), read_deps_json),
    Family("bill of materials", ("bom.json", "*.bom.json", "*.cdx.json", "*.spdx.json"), read_json_bill),
    Family("bill of materials", ("bom.xml", "*.bom.xml", "*.cdx.xml"), read_xml_bill),
    Family("bill of materials", ("*.spdx",), read_tag_value_bill),
)


def is_project(name: str) -> bool:
    """Whether a file name is that of a project."""
    return any(fnmatchcase(name.lower(), pattern) for pattern in PROJECTS)


def family_of(name: str) -> Family | None:
    """The family of a file name; None for one that only its content can tell."""
    lower = name.lower()
    return next((one for one in FAMILIES if any(fnmatchcase(lower, pattern) for pattern in one.patterns)), None)


def read_file(body: bytes, file: str) -> Needs:
    """What a file asks for that somebody named, whatever it is called; raises UnreadableFile.

    What is neither JSON nor XML is read as lines of ``id@version``.
    """
    family = family_of(file.rpartition("/")[2])
    if family is not None:
        return family.read(body, file)
    start = body.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if start == b"{":
        return _of_json(body, file)
    if start == b"<":
        reader = read_packages_config if b"<packages" in body else read_xml_bill
        return reader(body, file)
    return read_tag_value_bill(body, file) if body.lstrip().startswith(b"SPDXVersion:") else read_lines(body, file)


def _of_json(body: bytes, file: str) -> Needs:
    document = table(read_json(body, file))
    if is_bill(document):
        return read_json_bill(body, file)
    keys: tuple[tuple[str, Read], ...] = (
        ("libraries", read_assets if "targets" in document and "project" in document else read_deps_json),
        ("dependencies", read_lock_file),
        ("tools", read_tools),
        ("msbuild-sdks", read_global_json),
    )
    for key, reader in keys:
        if isinstance(document.get(key), dict):
            return reader(body, file)
    raise UnreadableFile(file, "it is none of the files that name packages (see nugetproxy warm --help)")
