"""Assets files (obj/project.assets.json) name all that the last restore of a project took."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nugetproxy.nuget.documents.exact_json import objects
from nugetproxy.nuget.projects.needs import Needs, UnreadableFile, json_object, table
from nugetproxy.nuget.version_range import VersionRange


def read_assets(body: bytes, file: str) -> Needs:
    """Its libraries, with what is downloaded beside them (targeting packs, hosts). Raises UnreadableFile."""
    document = json_object(body, file)
    return Needs.of([*libraries(document, file), *_downloads(document)], file)


def libraries(document: Mapping[str, Any], file: str) -> Iterator[tuple[str, str]]:
    """The packages among the libraries (``Id/Version``) of an assets file or a .deps.json; raises UnreadableFile."""
    found = document.get("libraries")
    if not isinstance(found, dict):
        raise UnreadableFile(file, "it has no libraries")
    for name, row in found.items():
        id_, slash, version = name.partition("/")
        if slash and str(table(row).get("type", "")).lower() == "package":
            yield id_, version


def _downloads(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for framework in table(table(document.get("project")).get("frameworks")).values():
        for row in objects(table(framework).get("downloadDependencies")):
            for text in str(row.get("version", "")).split(";"):
                wanted = VersionRange.parse(text)
                if wanted is not None and wanted.lower is not None:
                    yield str(row.get("name", "")), wanted.lower.full
