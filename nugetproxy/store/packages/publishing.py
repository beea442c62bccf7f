"""Publishing brings a batch of verified packages into their folder, durably; all of it blocks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from msgspec import Struct, field

from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.fs import DiskFailure, FsOps, MissingFile
from nugetproxy.store.packages.commit import Verified, remove_file
from nugetproxy.store.packages.layout import Layout, Places

Failures = dict[PackageIdentity, DiskFailure]
"""Why packages could not be published."""


class _Publication(Struct, kw_only=True):
    """One package on its way, with the small files that are written beside it."""

    package: Verified
    places: Places
    small: list[tuple[int, str, str]] = field(default_factory=list)
    """Each open, with the name that it has and the one that it gets."""
    folder: int | None = None
    """Its folder, open from the first sync of that on."""
    failure: DiskFailure | None = None


_Step = Callable[[FsOps, Layout, _Publication], None]


class Sync(Struct, frozen=True):
    """What the disk must have, with the packages that wait for it."""

    waiting: Sequence[_Publication]
    fd: int | None = None
    """A file, or the directory, where it is open."""
    directory: str = ""


Spread = Callable[[Callable[[Sync], None], Sequence[Sync]], None]
"""Calls a function with each of them, and returns when all is done: in turn, or in several threads."""


def in_turn(act: Callable[[Sync], None], syncs: Sequence[Sync]) -> None:
    """One after the other."""
    for sync in syncs:
        act(sync)


def publish_all(fs: FsOps, layout: Layout, packages: Sequence[Verified], spread: Spread = in_turn) -> Failures:
    """Move packages into their folders; the failures of those that could not be. ``spread`` shares out the syncs.

    One step for all, then the next: what a file system has to write for the first sync of a step it has then written
    for all. The syncs make the order package, nuspec, hash file hold after a power cut too: a hash file that is there
    vouches for content that is there. Done again after a failure, it goes on where it was.
    """
    batch = [_Publication(package=one, places=layout.places(one.identity)) for one in packages]
    _each(_write, fs, layout, batch)
    _sync(fs, _files(batch), spread)
    _each(_rename, fs, layout, batch)
    _sync(fs, _names(layout, batch), spread)
    _each(_mark, fs, layout, batch)
    _sync(fs, _folders(batch), spread)
    for one in batch:
        _tidy(fs, one)
    return {one.package.identity: one.failure for one in batch if one.failure is not None}


def _each(step: _Step, fs: FsOps, layout: Layout, batch: Sequence[_Publication]) -> None:
    for one in batch:
        if one.failure is None:
            try:
                step(fs, layout, one)
            except DiskFailure as failure:
                one.failure = failure


def _sync(fs: FsOps, syncs: Sequence[Sync], spread: Spread) -> None:
    def attempt(sync: Sync) -> None:
        if all(one.failure is not None for one in sync.waiting):
            return
        try:
            if sync.fd is None:
                fs.fsync_dir(sync.directory)
            elif sync.directory:
                fs.sync_dir(sync.fd, sync.directory)
            else:
                fs.fsync(sync.fd)
        except DiskFailure as failure:
            for one in sync.waiting:
                one.failure = failure

    spread(attempt, syncs)


def _files(batch: Sequence[_Publication]) -> Sequence[Sync]:
    going = [one for one in batch if one.failure is None]
    return [Sync([one], fd) for one in going for fd in (one.package.fd, *(fd for fd, _, _ in one.small))]


def _names(layout: Layout, batch: Sequence[_Publication]) -> Sequence[Sync]:
    """Each directory once. Even one that was there: a run that was killed may have made it without a sync."""
    shared: dict[str, list[_Publication]] = {}
    packages = str(layout.packages)
    for one in batch:
        if one.failure is None:
            for directory in (one.places.parent, packages):
                shared.setdefault(directory, []).append(one)
    return [*_folders(batch), *(Sync(waiting, directory=directory) for directory, waiting in shared.items())]


def _folders(batch: Sequence[_Publication]) -> Sequence[Sync]:
    return [Sync([one], one.folder, one.places.directory) for one in batch if one.failure is None]


def _write(fs: FsOps, layout: Layout, one: _Publication) -> None:
    package, places = one.package, one.places
    if not _make_directories(fs, layout, places):
        remove_file(fs, places.marker)  # a hash file without its package, left by a deletion
    texts = [(package.nuspec, places.nuspec), (package.sha512.encode(), places.marker)]
    if package.warnings:
        texts.insert(0, ("\n".join(package.warnings).encode(), places.warnings))
    for text, target in texts:
        scratch = layout.scratch()
        fd = fs.create(scratch)
        one.small.append((fd, scratch, target))
        fs.write(fd, text, 0)


def _rename(fs: FsOps, layout: Layout, one: _Publication) -> None:
    """All but the hash file, which is the last one."""
    while len(one.small) > 1:
        _mark(fs, layout, one)
    fs.rename(one.package.path, one.places.nupkg)
    one.package.path = one.places.nupkg
    one.folder = fs.open_dir(one.places.directory)


def _mark(fs: FsOps, _: Layout, one: _Publication) -> None:
    """Give the next of the small files its name: the hash file, once it is the only one."""
    fd, scratch, target = one.small[0]
    fs.rename(scratch, target)
    one.small.pop(0)
    fs.close(fd)


def _make_directories(fs: FsOps, layout: Layout, places: Places) -> bool:
    """Make the package's folder; False if it was there. Again when a deletion removes the id's folder in between."""
    for _ in range(2):
        with contextlib.suppress(MissingFile):
            return fs.mkdir(places.directory)
        with contextlib.suppress(MissingFile):
            fs.mkdir(places.parent)
            return fs.mkdir(places.directory)
        layout.prepare(fs)
    fs.mkdir(places.parent)
    return fs.mkdir(places.directory)


def _tidy(fs: FsOps, one: _Publication) -> None:
    """Close its folder, remove what a failure left of the small files."""
    if one.folder is not None:
        with contextlib.suppress(DiskFailure):
            fs.close(one.folder)
    for fd, scratch, _ in one.small:
        with contextlib.suppress(DiskFailure):
            fs.close(fd)
        with contextlib.suppress(DiskFailure):
            remove_file(fs, scratch)
