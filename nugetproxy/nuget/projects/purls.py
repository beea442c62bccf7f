"""Package URLs name packages of any kind; lists of them, or of ``id@version``, name packages line by line."""

from __future__ import annotations

from urllib.parse import unquote

from nugetproxy.nuget.identity import PackageId
from nugetproxy.nuget.nuspec import Dependency
from nugetproxy.nuget.projects.needs import Graph, Needs, UnreadableFile
from nugetproxy.nuget.version import Version
from nugetproxy.nuget.version_range import VersionRange


def read_purl(text: str) -> tuple[str, str] | None:
    """Id and version of ``pkg:nuget/Id@Version?qualifiers#subpath``; None for one of another kind, or without both."""
    scheme, _, rest = text.strip().partition(":")
    kind, _, rest = rest.lstrip("/").partition("/")
    if scheme.lower() != "pkg" or kind.lower() != "nuget":
        return None
    name, at, version = rest.partition("#")[0].partition("?")[0].strip("/").rpartition("@")
    return (unquote(name), unquote(version)) if at and name and version else None


def read_lines(body: bytes, file: str) -> Needs:
    """A package a line: ``id@version``, ``id@range``, ``id/version``, or a package URL; what follows ``#`` is a
    remark. They are wanted with all that they need on any framework. Raises UnreadableFile.
    """
    references: list[Dependency] = []
    try:
        lines = body.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UnreadableFile(file, "it is not text in UTF-8") from error
    for number, line in enumerate(lines, 1):
        text = line if line.lstrip().startswith("pkg:") else line.partition("#")[0]
        if text.strip():
            references.append(line_reference(text.strip(), f"line {number} of {file}"))
    return Needs(graphs=tuple(Graph(references=(one,)) for one in references))


def line_reference(text: str, place: str) -> Dependency:
    """The package that ``text`` names; raises UnreadableFile, ``place`` being where."""
    purl = read_purl(text)
    id_, version = purl or _split(text)
    if PackageId.parse(id_) is None or VersionRange.parse(version) is None:
        raise UnreadableFile(place, f"{text[:200]!r} is neither id@version nor a package URL (pkg:nuget/id@version)")
    return Dependency(id_, f"[{version}]" if Version.parse(version) is not None else version)


def _split(text: str) -> tuple[str, str]:
    mark = "@" if "@" in text else "/"
    id_, _, version = text.partition(mark)
    return id_.strip(), version.strip()
