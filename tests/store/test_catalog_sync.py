"""The catalog is brought in line with a folder while it is used."""

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
from nugetproxy.nuget.search_query import SearchQuery
from nugetproxy.store.catalog import AGAIN_SECONDS, BATCH, Catalog, CatalogUnavailable, Synced
from nugetproxy.store.catalog_sync import facts_reader
from nugetproxy.store.folder import PackageFolder
from nugetproxy.store.fs import DiskFailure, FsOps
from tests.fakes.clock import FakeClock
from tests.fakes.packages import make_nupkg
from tests.nuget.held import facts
from tests.store.kit import IDENTITY, NUPKG, store

EVERYTHING = SearchQuery(take=1000, prerelease=True, semver2=True)


@pytest.fixture
async def catalog(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Catalog]:
    opened = Catalog(clock=clock)
    await opened.open(tmp_path / "catalog.db")
    yield opened
    await opened.close()


class Shelf:
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


async def held(catalog: Catalog) -> set[tuple[str, str]]:
    _, hits = await catalog.search(EVERYTHING)
    return {(hit.newest.id, version) for hit in hits for version, _ in hit.versions}


async def test_sync_adds_what_is_missing_then_finds_nothing_to_do(catalog: Catalog) -> None:
    shelf = Shelf(*many(2 * BATCH + 7))
    assert not catalog.synced
    count = len(shelf.held)
    assert await catalog.sync(shelf.walk, shelf.facts) == Synced(held=count, added=count, removed=0, unreadable=0)
    assert catalog.synced
    assert len(await held(catalog)) == count
    shelf.read.clear()
    assert await catalog.sync(shelf.walk, shelf.facts) == Synced(held=count, added=0, removed=0, unreadable=0)
    assert shelf.read == []


async def test_sync_removes_what_is_gone_adds_what_has_another_size(catalog: Catalog) -> None:
    shelf = Shelf(facts("A"), facts("B"), facts("C"))
    await catalog.sync(shelf.walk, shelf.facts)
    del shelf.held[facts("A").identity]
    shelf.held[facts("B").identity] = facts("B", size=2, description="changed")
    done = await catalog.sync(shelf.walk, shelf.facts)
    assert done == Synced(held=2, added=1, removed=1, unreadable=0)
    assert await catalog.facts("a") == ()
    assert [package.description for package in await catalog.facts("b")] == ["changed"]


async def test_an_emptied_folder_empties_the_catalog(catalog: Catalog) -> None:
    shelf = Shelf(*many(BATCH + 5))
    await catalog.sync(shelf.walk, shelf.facts)
    done = await catalog.sync(lambda: (), shelf.facts)
    assert done == Synced(held=0, added=0, removed=BATCH + 5, unreadable=0)
    assert await held(catalog) == set()


async def test_one_unreadable_package_does_not_stop_the_others(catalog: Catalog) -> None:
    shelf = Shelf(facts("A"), facts("B"), facts("C"), facts("D"))

    def read(identity: PackageIdentity, size: int) -> PackageFacts | None:
        if identity.id == "a":
            raise InvalidPackage(Reason.ZIP, "broken")
        if identity.id == "b":
            raise DiskFailure("read", errno.EIO)
        return None if identity.id == "c" else shelf.facts(identity, size)

    assert await catalog.sync(shelf.walk, read) == Synced(held=4, added=1, removed=0, unreadable=2)
    assert catalog.synced


async def test_a_walk_that_fails_removes_nothing(catalog: Catalog) -> None:
    shelf = Shelf(facts("A"), facts("B"))
    await catalog.sync(shelf.walk, shelf.facts)

    def walk() -> Iterator[tuple[PackageIdentity, int, float]]:
        yield facts("A").identity, facts("A").size, 0.0
        raise DiskFailure("names", errno.EIO)

    with pytest.raises(DiskFailure):
        await catalog.sync(walk, shelf.facts)
    assert len(await held(catalog)) == 2


async def test_what_comes_or_goes_during_a_sync_is_not_undone(catalog: Catalog) -> None:
    stays, goes, comes = facts("Stays"), facts("Goes"), facts("Comes")
    shelf = Shelf(stays, goes)
    await catalog.add(goes)
    shelf.go_on.clear()
    syncing = asyncio.create_task(catalog.sync(shelf.walk, shelf.facts))
    await asyncio.to_thread(shelf.walked.wait, 10)
    # The walk has seen everything that it will see, and nothing of it is written yet.
    await catalog.add(comes)
    await catalog.remove(goes.identity)
    await catalog.remove(stays.identity)
    await catalog.add(stays)
    shelf.go_on.set()
    await syncing
    assert await held(catalog) == {("Stays", "13.0.3"), ("Comes", "13.0.3")}
    assert catalog.synced


async def test_searches_and_changes_go_on_during_a_sync(catalog: Catalog) -> None:
    shelf = Shelf(*many(4 * BATCH))
    seen: list[int] = []
    syncing = asyncio.create_task(catalog.sync(shelf.walk, shelf.facts))
    number = 0
    while not syncing.done():
        total, hits = await catalog.search(SearchQuery.parse("q=package1&take=5"))
        assert len(hits) == min(total, 5)
        assert all(hit.versions for hit in hits), "never half of a transaction"
        seen.append(total)
        other = facts("Other", f"1.{number}.0")
        shelf.held[other.identity] = other  # on disk first, as a commit does it
        assert await catalog.add(other)
        number += 1
    await syncing
    assert len(seen) > 3
    assert seen == sorted(seen)
    assert len(await catalog.facts("other")) == number
    assert len(await held(catalog)) == 4 * BATCH + number


async def test_two_syncs_take_turns(catalog: Catalog) -> None:
    one, other = Shelf(facts("A"), facts("B")), Shelf(facts("B"), facts("C"))
    await asyncio.gather(catalog.sync(one.walk, one.facts), catalog.sync(other.walk, other.facts))
    assert {id for id, _ in await held(catalog)} == {"B", "C"}


async def test_a_cancelled_sync_leaves_the_catalog_usable_but_not_synced(catalog: Catalog) -> None:
    shelf = Shelf(*many(5))
    shelf.go_on.clear()
    syncing = asyncio.create_task(catalog.sync(shelf.walk, shelf.facts))
    await asyncio.to_thread(shelf.walked.wait, 10)
    syncing.cancel()
    shelf.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await syncing
    assert not catalog.synced
    assert await held(catalog) == set()
    await catalog.sync(shelf.walk, shelf.facts)
    assert catalog.synced


async def test_replace_all_forgets_what_was_there(catalog: Catalog) -> None:
    await catalog.add(facts("Old"))
    assert await catalog.replace_all(iter(many(BATCH + 1))) == BATCH + 1
    assert catalog.synced
    assert ("Old", "13.0.3") not in await held(catalog)
    assert await catalog.replace_all([]) == 0
    assert await held(catalog) == set()


async def test_keep_synced_tries_again_after_a_failure(catalog: Catalog, clock: FakeClock) -> None:
    shelf = Shelf(facts("A"))
    failures = iter([DiskFailure("names", errno.EIO)])

    def walk() -> Iterable[tuple[PackageIdentity, int, float]]:
        for failure in failures:
            raise failure
        return shelf.walk()

    keeping = asyncio.create_task(catalog.keep_synced(walk, shelf.facts))
    while not catalog.synced:
        await asyncio.sleep(0)
    assert clock.slept == [AGAIN_SECONDS]
    assert await held(catalog) == {("A", "13.0.3")}
    keeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await keeping


# --- a real folder ---


async def test_a_real_folder_is_read(catalog: Catalog, folder: PackageFolder) -> None:
    await store(folder)
    other = PackageIdentity("other", "1.0.0-rc.1")
    await store(folder, make_nupkg("Other", "1.0.0-rc.1", description="Something else"), other)
    read = facts_reader(FsOps(), folder.layout)
    assert await catalog.sync(folder.walk, read) == Synced(held=2, added=2, removed=0, unreadable=0)
    (package,) = await catalog.facts("newtonsoft.json")
    assert (package.id, package.version, package.size) == ("Newtonsoft.Json", "13.0.3", len(NUPKG))
    assert package.has_icon and package.has_readme and package.has_license
    assert package.published == folder.layout.nupkg(IDENTITY).stat().st_mtime
    assert (await catalog.facts("other"))[0].is_semver2
    await folder.delete(other)
    assert (await catalog.sync(folder.walk, read)).removed == 1


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


async def test_a_closed_catalog_says_so(tmp_path: Path) -> None:
    catalog = Catalog()
    await catalog.open(tmp_path / "catalog.db")
    await catalog.close()
    with pytest.raises(CatalogUnavailable) as caught:
        await catalog.facts("a")
    assert caught.value.why == "closed"
    assert not await catalog.add(facts("A"))
