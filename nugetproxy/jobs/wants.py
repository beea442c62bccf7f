"""Wants are what several files ask for together, with what is found to be missing of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from msgspec import Struct

from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.nuspec import Dependency, DependencyGroup
from nugetproxy.nuget.projects.needs import Graph, Needs
from nugetproxy.nuget.resolution import Key, Known, Walk
from nugetproxy.nuget.version import Version

AT_LEAST: Final = ">= "


class Missing(Struct, frozen=True, order=True):
    """One thing that a restore would ask for in vain."""

    id: str
    version: str
    """Empty where no version is known."""
    why: str

    def __str__(self) -> str:
        return f"{self.id} {self.version}".rstrip() + f": {self.why}"


class Wants(Struct, frozen=True, kw_only=True):
    """What the files ask for, each thing once."""

    exact: tuple[PackageIdentity, ...]
    direct: tuple[PackageIdentity, ...]
    graphs: tuple[Graph, ...]
    remarks: tuple[str, ...]

    @staticmethod
    def of(needs: Iterable[Needs]) -> Wants:
        """What all ``needs`` ask for together."""
        found = list(needs)
        return Wants(
            exact=tuple(dict.fromkeys(one for each in found for one in each.exact)),
            direct=tuple(dict.fromkeys(one for each in found for one in each.direct)),
            graphs=tuple(graph for each in found for graph in each.graphs),
            remarks=tuple(dict.fromkeys(text for each in found for text in each.remarks)),
        )


def missing(wants: Wants, walks: Iterable[Walk], known: Known) -> tuple[Missing, ...]:
    """What cannot be had of all that restores ask for, sorted."""
    found = {_missing_package(one, known, listed=True) for one in wants.exact}
    found |= {_missing_package(one, known, listed=False) for one in wants.direct}
    for walk in walks:
        found |= set(_missing_of_walk(walk, known))
    return tuple(sorted(one for one in found if one is not None))


def _missing_of_walk(walk: Walk, known: Known) -> Iterator[Missing | None]:
    chosen = set(walk.chosen.values())
    for key, identity in walk.awaited.items():
        versions = known.lists.get(key.id)
        if versions is None:
            yield Missing(key.id, "", "nobody here knows its versions")
        elif identity is None:
            if key in chosen:  # NuGet goes on without it, to fail in the end
                yield Missing(key.id, _told(key), _no_version(versions))
        else:
            yield _missing_package(identity, known, listed=False)


def _missing_package(identity: PackageIdentity, known: Known, *, listed: bool) -> Missing | None:
    if listed:
        versions = known.lists.get(identity.id)
        if versions is None:
            return Missing(identity.id, identity.version, "nobody here knows its versions")
        if Version.parse(identity.version) not in versions:
            return Missing(identity.id, identity.version, _no_version(versions))
    if known.groups.get(identity) is None:
        return Missing(identity.id, identity.version, "the package is not held")
    return None


def _no_version(versions: tuple[Version, ...]) -> str:
    if not versions:
        return "there is no such package"
    few = [version.normalized for version in versions[-3:]]
    return f"no version that fits is listed (the highest: {', '.join(few)})"


def _told(key: Key) -> str:
    lower = key.range.lower
    return "" if lower is None else f"{AT_LEAST}{lower.normalized}"


def groups_of(rows: list[Mapping[str, Any]]) -> tuple[DependencyGroup, ...]:
    """As the commands tell them."""
    return tuple(
        DependencyGroup(row["framework"], tuple(Dependency(id_, range_) for id_, range_ in row["needs"]))
        for row in rows
    )
