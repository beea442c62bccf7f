"""Lock files (packages.lock.json) name every version that a restore takes, per framework."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nugetproxy.nuget.projects.needs import Needs, UnreadableFile, json_object, table


def read_lock_file(body: bytes, file: str) -> Needs:
    """Of all frameworks and runtimes; projects among the dependencies are none of the feed's. Raises UnreadableFile."""
    frameworks = json_object(body, file).get("dependencies")
    if not isinstance(frameworks, dict):
        raise UnreadableFile(file, "it has no dependencies")
    return Needs.of(_resolved(frameworks), file)


def _resolved(frameworks: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for packages in frameworks.values():
        for id_, row in table(packages).items():
            version = table(row).get("resolved")
            if isinstance(version, str) and str(table(row).get("type", "")).lower() != "project":
                yield id_, version
