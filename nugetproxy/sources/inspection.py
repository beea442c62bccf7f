"""Inspection is what a person may see of a source: how it is, what it downloads, what lies in its packages."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from nugetproxy.errors import UpstreamFailure
from nugetproxy.nuget.facts import PackageFacts
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.kinds import Kind
from nugetproxy.sources.folder import FolderSource
from nugetproxy.sources.remote import RemoteSource
from nugetproxy.sources.source import Source
from nugetproxy.store.holdings.holdings import Holdings
from nugetproxy.upstream.breaker import Phase


class Condition(StrEnum):
    """How a source is."""

    WELL = "well"
    UNSTEADY = "unsteady"
    """It answers, but something failed since its last good answer."""
    UNUSABLE = "unusable"
    """It answers, but not with a service index."""
    LOST = "lost"
    OFFLINE = "offline"
    UNREADABLE = "unreadable"
    """Of a folder."""


SENTENCES: Final[Mapping[Condition, str]] = MappingProxyType(
    {
        Condition.WELL: "It answers.",
        Condition.UNSTEADY: "It answers, but not always.",
        Condition.UNUSABLE: "It answers, but has no service index that can be used. What is stored is served.",
        Condition.LOST: "It cannot be used now. What is stored is served; what is not fails until it is back.",
        Condition.OFFLINE: "It is never asked: the configuration says offline. What is stored is all there is.",
        Condition.UNREADABLE: "The folder cannot be read. Nothing is concluded from that; what is asked for fails.",
    }
)
assert SENTENCES.keys() == set(Condition)
FOLDER_WELL: Final = "The folder is read."
FOLDER_TODO: Final = "See whether its share is mounted, and whether the user of this proxy may read it."


class Health(Struct, frozen=True, kw_only=True):
    """A source in plain words."""

    name: str
    place: str
    """URL, or path of a folder."""
    condition: Condition
    sentence: str
    failed_at: float | None = None
    """Wall time of the last failure, over or not."""
    failure: str = ""
    todo: str = ""
    """What to do about it; empty where there is nothing but to wait."""
    packages: int = 0
    size: int | None = None
    """Bytes of the packages that are held; None where they only lie in somebody else's folder."""


class Downloading(Struct, frozen=True, kw_only=True):
    """A package on its way; sizes in bytes."""

    source: str
    id: str
    version: str
    size: int
    total: int | None
    readers: int
    """Clients that wait for it."""


def holdings_of(source: Source) -> Holdings | None:
    """What a source holds."""
    match source:
        case RemoteSource():
            return source.packages.holdings
        case FolderSource():
            return source.holdings
        case _:
            return None


async def facts_of(source: Source, id: str) -> tuple[PackageFacts, ...]:
    """What a source holds of an id (lower case), ascending; also before all that it holds is known. Raises
    HoldingsUnavailable."""
    match source:
        case RemoteSource():
            return await source.packages.stock.facts(id)
        case FolderSource():
            return await source.holdings.facts(id)
        case _:
            return ()


async def unseen_of(source: Source, *, wait: bool) -> str:
    """Why not all that a source holds is known; empty where it is. ``wait``: look at it first."""
    match source:
        case RemoteSource():
            if wait:
                await source.packages.stock.hurry()
            return "" if source.packages.holdings.synced else "not all that it holds has been looked at"
        case FolderSource():
            if wait:
                with suppress(UpstreamFailure):
                    await source.ready()
            library = source.library
            return library.problem or ("" if library.complete else f"{library.root} is still being read")
        case _:
            return ""


def health_of(source: Source) -> Health:
    """How a source is; nobody is asked."""
    match source:
        case RemoteSource():
            return _of_remote(source)
        case FolderSource():
            library = source.library
            condition = Condition.UNREADABLE if library.problem else Condition.WELL
            return Health(
                name=source.name,
                place=str(library.root),
                condition=condition,
                sentence=SENTENCES[condition] if library.problem else FOLDER_WELL,
                failure=library.problem,
                todo=FOLDER_TODO if library.problem else "",
                packages=len(library),
            )
        case _:
            return Health(name=source.name, place="", condition=Condition.WELL, sentence=SENTENCES[Condition.WELL])


def _of_remote(source: RemoteSource) -> Health:
    states = source.breakers().values()
    condition = Condition.WELL
    if source.offline:
        condition = Condition.OFFLINE
    elif any(state.phase is not Phase.CLOSED for state in states):
        condition = Condition.LOST
    elif not source.upstream.is_usable:
        condition = Condition.UNUSABLE
    elif states:
        condition = Condition.UNSTEADY
    last = source.upstream.last_failure()
    held = source.packages.folder.usage
    return Health(
        name=source.name,
        place=source.upstream.place,
        condition=condition,
        sentence=SENTENCES[condition],
        failed_at=None if last is None else last[0].at,
        failure="" if last is None else f"{last[0].reason}: {last[0].detail}",
        todo="" if last is None else last[1],
        packages=held.packages,
        size=held.bytes,
    )


def downloads_of(source: Source) -> tuple[Downloading, ...]:
    """What is being downloaded from a source."""
    if not isinstance(source, RemoteSource):
        return ()
    return tuple(
        Downloading(
            source=source.name,
            id=flight.identity.id,
            version=flight.identity.version,
            size=flight.size,
            total=flight.total,
            readers=flight.readers,
        )
        for flight in source.packages.downloads.under_way()
    )


async def files_of(source: Source, identity: PackageIdentity) -> tuple[tuple[str, int], ...]:
    """Path and size of every file in a held package; none of one that is not held. Raises DiskFailure."""
    match source:
        case RemoteSource():
            return await source.packages.folder.files(identity)
        case FolderSource():
            return await source.library.files(identity)
        case _:
            return ()


async def text_of(source: Source, identity: PackageIdentity, kind: Kind) -> bytes | None:
    """The readme or the licence in a held package; never fetched for that. Raises DiskFailure."""
    match source:
        case RemoteSource():
            found = await source.packages.folder.member(identity, kind)
            return None if found is None else found[0]
        case FolderSource():
            return await source.library.member(identity, kind)
        case _:
            return None
