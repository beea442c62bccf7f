"""Manifests name tools (dotnet-tools.json), SDKs (global.json), or what lies beside a program (*.deps.json)."""

from __future__ import annotations

from nugetproxy.nuget.projects.assets import libraries
from nugetproxy.nuget.projects.needs import Needs, UnreadableFile, json_object, table


def read_tools(body: bytes, file: str) -> Needs:
    """The tools of a repository; a tool carries all that it needs. Raises UnreadableFile."""
    tools = json_object(body, file).get("tools")
    if not isinstance(tools, dict):
        raise UnreadableFile(file, "it has no tools")
    return Needs.of([(id_, str(table(row).get("version", ""))) for id_, row in tools.items()], file)


def read_global_json(body: bytes, file: str) -> Needs:
    """The MSBuild SDKs that projects of the repository may name without a version; raises UnreadableFile."""
    sdks = table(json_object(body, file).get("msbuild-sdks"))
    return Needs.of([(id_, str(version)) for id_, version in sdks.items()], file)


def read_deps_json(body: bytes, file: str) -> Needs:
    """The packages that a built program was made with; raises UnreadableFile."""
    return Needs.of(libraries(json_object(body, file), file), file)
