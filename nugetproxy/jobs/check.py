"""The check finds out whether a repository could be restored if no upstream answered any more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final, TypeVar

from msgspec.structs import replace

from nugetproxy.jobs.proxy_client import ProxyClient
from nugetproxy.jobs.wants import AT_LEAST, Missing, Wants, groups_of, missing
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.resolution import Known, Walk, walk
from nugetproxy.nuget.version import Version

BATCH: Final = 200
"""Packages in one question to the proxy."""
T = TypeVar("T")
Learn = Callable[[Iterable[str], Iterable[PackageIdentity]], Awaitable[None]]
"""Finds out about the versions of ids, about packages."""


async def check(proxy: ProxyClient, wants: Wants, feed: str = "") -> tuple[Missing, ...]:
    """All that a restore would ask for in vain, sorted; nobody but the proxy is asked.

    ``feed`` is the published feed that clients have, the first one where it is empty.
    """
    known = Known()
    await ask(proxy, feed, known, {one.id for one in wants.exact}, {*wants.exact, *wants.direct})
    walks = await resolved(wants, known, partial(ask, proxy, feed, known))
    return await explained(proxy, feed, missing(wants, walks, known))


async def resolved(wants: Wants, known: Known, learn: Learn, walk: Callable[..., Walk] = walk) -> list[Walk]:
    """The walks through all graphs, once ``learn`` has brought into ``known`` whatever they ask about."""
    walks = [walk(graph, known) for graph in wants.graphs]
    while not all(one.complete for one in walks):
        lists = {id_ for one in walks for id_ in one.lists}
        await learn(lists, {package for one in walks for package in one.packages})
        walks = [walk(graph, known) for graph in wants.graphs]
    return walks


async def explained(proxy: ProxyClient, feed: str, found: Sequence[Missing]) -> tuple[Missing, ...]:
    """What is missing; where a rule of the feed denies what would fit, that is why."""
    said: dict[str, Mapping[str, str]] = {}
    for ids in batches(sorted({one.id for one in found})):
        said |= (await proxy.command("left/denied", {"ids": ids, "feed": feed}))["denied"]
    return tuple(replace(one, why=_denial(one, said[one.id]) or one.why) for one in found)


def _denial(one: Missing, denied: Mapping[str, str]) -> str:
    """The sentence of the highest denied version that would do; empty where no rule is in the way."""
    wanted = Version.parse(one.version.removeprefix(AT_LEAST))
    found = {version: why for text, why in denied.items() if (version := Version.parse(text)) is not None}
    if wanted is not None and not one.version.startswith(AT_LEAST):
        return found.get(wanted, "")
    fit = [version for version in found if wanted is None or version >= wanted]
    return found[max(fit)] if fit else ""


async def ask(
    proxy: ProxyClient, feed: str, known: Known, ids: Iterable[str], packages: Iterable[PackageIdentity]
) -> None:
    """Learn what the proxy has of these."""
    for some in batches(sorted(ids)):
        told = await proxy.command("left/versions", {"ids": some, "feed": feed})
        for id_, versions in told["versions"].items():
            known.lists[id_] = None if versions is None else _versions(versions)
    for few in batches(sorted(packages)):
        told = await proxy.command(
            "left/packages", {"packages": [f"{one.id}/{one.version}" for one in few], "feed": feed}
        )
        for one in few:
            rows = told["packages"][f"{one.id}/{one.version}"]
            known.groups[one] = None if rows is None else groups_of(rows)


def _versions(texts: Iterable[str]) -> tuple[Version, ...]:
    return tuple(version for text in texts if (version := Version.parse(text)) is not None)


def batches(found: list[T]) -> Iterator[list[T]]:
    """Lists of at most ``BATCH`` items, in their order."""
    yield from (found[at : at + BATCH] for at in range(0, len(found), BATCH))
