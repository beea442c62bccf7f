"""The check finds out whether a repository could be restored if no upstream answered any more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

from nugetproxy.jobs.wants import Missing, Wants, groups_of, missing
from nugetproxy.jobs.way import Way
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.resolution import Known, Walk, walk
from nugetproxy.nuget.version import Version

BATCH: Final = 200
"""Packages in one question to the proxy."""
T = TypeVar("T")


async def check(way: Way, wants: Wants, feed: str = "") -> tuple[Missing, ...]:
    """All that a restore would ask for in vain, sorted; nobody but the proxy is asked.

    ``feed`` is the published feed that clients have, the first one where it is empty.
    """
    known = Known()
    await ask(way, feed, known, {one.id for one in wants.exact}, {*wants.exact, *wants.direct})
    walks: list[Walk] = [walk(graph, known) for graph in wants.graphs]
    while not all(one.complete for one in walks):
        lists = {id_ for one in walks for id_ in one.lists}
        await ask(way, feed, known, lists, {package for one in walks for package in one.packages})
        walks = [walk(graph, known) for graph in wants.graphs]
    return missing(wants, walks, known)


async def ask(way: Way, feed: str, known: Known, ids: Iterable[str], packages: Iterable[PackageIdentity]) -> None:
    """Learn what the proxy has of these."""
    for some in batches(sorted(ids)):
        told = await way.tell("left/versions", {"ids": some, "feed": feed})
        for id_, versions in told["versions"].items():
            known.lists[id_] = None if versions is None else _versions(versions)
    for few in batches(sorted(packages)):
        told = await way.tell("left/packages", {"packages": [f"{one.id}/{one.version}" for one in few], "feed": feed})
        for one in few:
            rows = told["packages"][f"{one.id}/{one.version}"]
            known.groups[one] = None if rows is None else groups_of(rows)


def _versions(texts: Iterable[str]) -> tuple[Version, ...]:
    return tuple(version for text in texts if (version := Version.parse(text)) is not None)


def batches(found: list[T]) -> Iterator[list[T]]:
    yield from (found[at : at + BATCH] for at in range(0, len(found), BATCH))
