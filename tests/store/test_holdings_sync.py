"""The holdings is brought in line with a folder while it is used."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path

import pytest

from nugetproxy.errors import Reason
from nugetproxy.nuget.facts import PackageFacts
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.nuspec import InvalidPackage
from nugetproxy.nuget.synthesis.search_query import SearchQuery
from nugetproxy.store.fs import DiskFailure, FsOps
from nugetproxy.store.holdings.holdings import AGAIN_SECONDS, BATCH, Holdings, HoldingsUnavailable, Synced
from nugetproxy.store.holdings.sync import facts_reader
from nugetproxy.store.packages.folder import PackageFolder
from tests.fakes.clock import FakeClock
from tests.fakes.packages import make_nupkg
from tests.nuget.held import facts
from tests.store.kit import IDENTITY, NUPKG, store

EVERYTHING = SearchQuery(take=1000, prerelease=True, semver2=True)


@pytest.fixture
async def holdings(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Holdings]:
    opened = Holdings(clock=clock)
    await opened.open(tmp_path / "holdings.db")
    yield opened
    await opened.close()


class HotDocuments:
    """A folder that is no folder; what happens in its threads can be held up."""

    def __init__(self, *held: PackageFacts) -> None:
        self.held = {package.identity: package for package in held}
        self.read: list[PackageIdentity] = []
        self.walking, self.reading = threading.Event(), threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        self.walked = threading.Event()

    def walk(self) -> Iterator[tuple[PackageIdentity, int, float]]:
        for identity, package in list(self.held.items()):
            yield identity, package.size, 0.0
        self.walked.set()
        assert self.go_on.wait(10)

    def facts(self, identity: PackageIdentity, size: int) -> PackageFacts | None:
        self.read.append(identity)
        package = self.held.get(identity)
        assert package is None or package.size == size
        return package


def many(count: int) -> list[PackageFacts]:
    return [facts(f"Package{number // 3}", f"1.{number % 3}.0") for number in range(count)]


async def held(holdings: Holdings) -> set[tuple[str, str]]:
    _, hits = await holdings.search(EVERYTHING)
    return {(hit.newest.id, version) for hit in hits for version, _ in hit.versions}


async def test_sync_adds_what_is_missing_then_finds_nothing_to_do(holdings: Holdings) -> None:
    shelf = HotDocuments(*many(2 * BATCH + 7))
    assert not holdings.synced
    count = len(shelf.held)
    assert await holdings.sync(shelf.walk, shelf.facts) == Synced(held=count, added=count, removed=0, unreadable=0)
    assert holdings.synced
    assert len(await held(holdings)) == count
    shelf.read.clear()
    assert await holdings.sync(shelf.walk, shelf.facts) == Synced(held=count, added=0, removed=0, unreadable=0)
    assert shelf.read == []


async def test_sync_removes_what_is_gone_adds_what_has_another_size(holdings: Holdings) -> None:
    shelf = HotDocuments(facts("A"), facts("B"), facts("C"))
    await holdings.sync(shelf.walk, shelf.facts)
    del shelf.held[facts("A").identity]
    shelf.held[facts("B").identity] = facts("B", size=2, description="changed")
    done = await holdings.sync(shelf.walk, shelf.facts)
    assert done == Synced(held=2, added=1, removed=1, unreadable=0)
    assert await holdings.facts("a") == ()
    assert [package.description for package in await holdings.facts("b")] == ["changed"]


async def test_an_emptied_folder_empties_the_holdings(holdings: Holdings) -> None:
    shelf = HotDocuments(*many(BATCH + 5))
    await holdings.sync(shelf.walk, shelf.facts)
    done = await holdings.sync(lambda: (), shelf.facts)
    assert done == Synced(held=0, added=0, removed=BATCH + 5, unreadable=0)
    assert await held(holdings) == set()


async def test_one_unreadable_package_does_not_stop_the_others(holdings: Holdings) -> None:
    shelf = HotDocuments(facts("A"), facts("B"), facts("C"), facts("D"))

    def read(identity: PackageIdentity, size: int) -> PackageFacts | None:
        if identity.id == "a":
            raise InvalidPackage(Reason.ZIP, "broken")
        if identity.id == "b":
            raise DiskFailure("read", errno.EIO)
        return None if identity.id == "c" else shelf.facts(identity, size)

    assert await holdings.sync(shelf.walk, read) == Synced(held=4, added=1, removed=0, unreadable=2)
    assert holdings.synced


async def test_a_walk_that_fails_removes_nothing(holdings: Holdings) -> None:
    shelf = HotDocuments(facts("A"), facts("B"))
    await holdings.sync(shelf.walk, shelf.facts)

    def walk() -> Iterator[tuple[PackageIdentity, int, float]]:
        yield facts("A").identity, facts("A").size, 0.0
        raise DiskFailure("names", errno.EIO)

    with pytest.raises(DiskFailure):
        await holdings.sync(walk, shelf.facts)
    assert len(await held(holdings)) == 2


async def test_what_comes_or_goes_during_a_sync_is_not_undone(holdings: Holdings) -> None:
    stays, goes, comes = facts("Stays"), facts("Goes"), facts("Comes")
    shelf = HotDocuments(stays, goes)
    await holdings.add(goes)
    shelf.go_on.clear()
    syncing = asyncio.create_task(holdings.sync(shelf.walk, shelf.facts))
    await asyncio.to_thread(shelf.walked.wait, 10)
    # The walk has seen everything that it will see, and nothing of it is written yet.
    await holdings.add(comes)
    await holdings.remove(goes.identity)
    await holdings.remove(stays.identity)
    await holdings.add(stays)
    shelf.go_on.set()
    await syncing
    assert await held(holdings) == {("Stays", "13.0.3"), ("Comes", "13.0.3")}
    assert holdings.synced


async def test_searches_and_changes_go_on_during_a_sync(holdings: Holdings) -> None:
    shelf = HotDocuments(*many(4 * BATCH))
    seen: list[int] = []
    syncing = asyncio.create_task(holdings.sync(shelf.walk, shelf.facts))
    number = 0
    while not syncing.done():
        total, hits = await holdings.search(SearchQuery.parse("q=package1&take=5"))
        assert len(hits) == min(total, 5)
        assert all(hit.versions for hit in hits), "never half of a transaction"
        seen.append(total)
        other = facts("Other", f"1.{number}.0")
        shelf.held[other.identity] = other  # on disk first, as a commit does it
        assert await holdings.add(other)
        number += 1
    await syncing
    assert len(seen) > 3
    assert seen == sorted(seen)
    assert len(await holdings.facts("other")) == number
    assert len(await held(holdings)) == 4 * BATCH + number


async def test_two_syncs_take_turns(holdings: Holdings) -> None:
    one, other = HotDocuments(facts("A"), facts("B")), HotDocuments(facts("B"), facts("C"))
    await asyncio.gather(holdings.sync(one.walk, one.facts), holdings.sync(other.walk, other.facts))
    assert {id for id, _ in await held(holdings)} == {"B", "C"}


async def test_a_cancelled_sync_leaves_the_holdings_usable_but_not_synced(holdings: Holdings) -> None:
    shelf = HotDocuments(*many(5))
    shelf.go_on.clear()
    syncing = asyncio.create_task(holdings.sync(shelf.walk, shelf.facts))
    await asyncio.to_thread(shelf.walked.wait, 10)
    syncing.cancel()
    shelf.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await syncing
    assert not holdings.synced
    assert await held(holdings) == set()
    await holdings.sync(shelf.walk, shelf.facts)
    assert holdings.synced


async def test_keep_synced_tries_again_after_a_failure(holdings: Holdings, clock: FakeClock) -> None:
    shelf = HotDocuments(facts("A"))
    failures = iter([DiskFailure("names", errno.EIO)])

    def walk() -> Iterable[tuple[PackageIdentity, int, float]]:
        for failure in failures:
            raise failure
        return shelf.walk()

    keeping = asyncio.create_task(holdings.keep_synced(walk, shelf.facts))
    while not holdings.synced:
        await asyncio.sleep(0)
    assert clock.slept == [AGAIN_SECONDS]
    assert await held(holdings) == {("A", "13.0.3")}
    keeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await keeping


# --- a real folder ---


async def test_a_real_folder_is_read(holdings: Holdings, folder: PackageFolder) -> None:
    await store(folder)
    other = PackageIdentity("other", "1.0.0-rc.1")
    await store(folder, make_nupkg("Other", "1.0.0-rc.1", description="Something else"), other)
    read = facts_reader(FsOps(), folder.layout)
    assert await holdings.sync(folder.walk, read) == Synced(held=2, added=2, removed=0, unreadable=0)
    (package,) = await holdings.facts("newtonsoft.json")
    assert (package.id, package.version, package.size) == ("Newtonsoft.Json", "13.0.3", len(NUPKG))
    assert package.has_icon and package.has_readme and package.has_license
    assert package.published == folder.layout.nupkg(IDENTITY).stat().st_mtime
    assert (await holdings.facts("other"))[0].is_semver2
    await folder.delete(other)
    assert (await holdings.sync(folder.walk, read)).removed == 1


@pytest.mark.parametrize("loose", [b"", b"<package>", make_nupkg("Other", "1.0.0"), None])
async def test_a_bad_nuspec_beside_the_package_is_not_believed(folder: PackageFolder, loose: bytes | None) -> None:
    await store(folder)
    path = folder.layout.nuspec(IDENTITY)
    if loose is None:
        path.unlink()
    else:
        path.write_bytes(loose)
    found = facts_reader(FsOps(), folder.layout)(IDENTITY, len(NUPKG))
    assert found is not None
    assert (found.id, found.version) == ("Newtonsoft.Json", "13.0.3")


async def test_a_nuspec_of_another_package_is_not_believed(folder: PackageFolder) -> None:
    await store(folder)
    path = folder.layout.nuspec(IDENTITY)
    path.write_bytes(path.read_bytes().replace(b"13.0.3", b"13.0.4"))
    found = facts_reader(FsOps(), folder.layout)(IDENTITY, len(NUPKG))
    assert found is not None
    assert found.version == "13.0.3"


def test_a_package_that_is_gone_has_no_facts(folder: PackageFolder) -> None:
    assert facts_reader(FsOps(), folder.layout)(IDENTITY, 5) is None


async def test_a_closed_holdings_says_so(tmp_path: Path) -> None:
    holdings = Holdings()
    await holdings.open(tmp_path / "holdings.db")
    await holdings.close()
    with pytest.raises(HoldingsUnavailable) as caught:
        await holdings.facts("a")
    assert caught.value.why == "closed"
    assert not await holdings.add(facts("A"))


async def test_behind_clients_it_rests_after_each_batch(holdings: Holdings, clock: FakeClock) -> None:
    shelf = HotDocuments(*many(3 * BATCH))

    def slowly() -> Iterator[tuple[PackageIdentity, int, float]]:
        for at, one in enumerate(shelf.walk()):
            if at % BATCH == 0:
                clock.advance(2.0)
            yield one

    await holdings.sync(slowly, shelf.facts)
    assert clock.slept == []
    clock.slept.clear()
    await holdings.sync(slowly, shelf.facts, rest=0.5)
    assert clock.slept == [1.0, 1.0, 1.0]


async def test_what_is_removed_is_found_whatever_the_numbers_of_the_rows(holdings: Holdings) -> None:
    """A package that has changed gets the number of the last one, which was removed."""
    first, last = facts("Acme.A", "1.0.0", size=1), facts("Acme.B", "1.0.0", size=1)
    shelf = HotDocuments(first, last)
    await holdings.sync(shelf.walk, shelf.facts)
    changed = facts("Acme.A", "1.0.0", size=2)
    shelf = HotDocuments(changed)
    await holdings.remove(last.identity)
    assert (await holdings.sync(shelf.walk, shelf.facts)).removed == 0
    assert await held(holdings) == {("Acme.A", "1.0.0")}
    more = HotDocuments(facts("Acme.C", "1.0.0"))
    assert (await holdings.sync(more.walk, more.facts)).removed == 1
    assert await held(holdings) == {("Acme.C", "1.0.0")}
