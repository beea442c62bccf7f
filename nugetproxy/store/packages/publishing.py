"""Publishing brings a batch of verified packages into their folder, durably; all of it blocks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.fs import DiskFailure, FsOps, MissingFile
from nugetproxy.store.packages.commit import Verified, remove_file
from nugetproxy.store.packages.layout import Layout, Places

Failures = dict[PackageIdentity, DiskFailure]
"""Why packages could not be published."""


@dataclass(slots=True, kw_only=True)
class _Publication:
    """One package on its way, with the small files that are written beside it."""

    package: Verified
    places: Places
    small: list[tuple[int, str, str]] = field(default_factory=list)
    """Each open, with the name that it has and the one that it gets."""
    failure: DiskFailure | None = None


_Step = Callable[[FsOps, Layout, _Publication], None]
Spread = Callable[[Callable[[_Publication], None], Iterable[_Publication]], Iterable[None]]
"""Calls a function with each of them: ``map``, or that of a pool of threads."""


def publish_all(fs: FsOps, layout: Layout, packages: Sequence[Verified], spread: Spread = map) -> Failures:
    """Move packages into their folders; the failures of those that could not be. ``spread`` shares out the syncs.

    One step for all, then the next: what a file system has to write for the first sync of a step it has then written
    for all. The syncs make the order package, nuspec, hash file hold after a power cut too: a hash file that is there
    vouches for content that is there. Done again after a failure, it goes on where it was.
    """
    batch = [_Publication(package=one, places=layout.places(one.identity)) for one in packages]
    for step, syncs in _STEPS:

        def attempt(one: _Publication, step: _Step = step) -> None:
            try:
                step(fs, layout, one)
            except DiskFailure as failure:
                one.failure = failure

        for _ in (spread if syncs else map)(attempt, [one for one in batch if one.failure is None]):
            pass
    failed = {one.package.identity: one.failure for one in batch if one.failure is not None}
    try:
        fs.fsync_dir(layout.packages)
    except DiskFailure as failure:
        failed = {one.identity: failure for one in packages}
    for one in batch:
        _tidy(fs, one)
    return failed


def _write(fs: FsOps, layout: Layout, one: _Publication) -> None:
    package, places = one.package, one.places
    _make_directories(fs, layout, places)
    remove_file(fs, places.marker)  # a hash file without its package, left by a deletion
    texts = [(package.nuspec, places.nuspec), (package.sha512.encode(), places.marker)]
    if package.warnings:
        texts.insert(0, ("\n".join(package.warnings).encode(), places.warnings))
    for text, target in texts:
        scratch = str(layout.scratch())
        fd = fs.create(scratch)
        one.small.append((fd, scratch, target))
        fs.write(fd, text, 0)


def _sync(fs: FsOps, _: Layout, one: _Publication) -> None:
    for fd in (one.package.fd, *(fd for fd, _, _ in one.small)):
        fs.fsync(fd)


def _rename(fs: FsOps, _: Layout, one: _Publication) -> None:
    """All but the hash file, which is the last one."""
    while len(one.small) > 1:
        fd, scratch, target = one.small[0]
        fs.rename(scratch, target)
        one.small.pop(0)
        fs.close(fd)
    fs.rename(one.package.path, one.places.nupkg)
    one.package.path = one.places.nupkg


def _sync_names(fs: FsOps, _: Layout, one: _Publication) -> None:
    fs.fsync_dir(one.places.directory)
    # Even where it was there: a run that was killed may have made it without having synced it.
    fs.fsync_dir(one.places.parent)


def _mark(fs: FsOps, _: Layout, one: _Publication) -> None:
    fd, scratch, target = one.small[0]
    fs.rename(scratch, target)
    one.small.pop(0)
    fs.close(fd)


def _sync_mark(fs: FsOps, _: Layout, one: _Publication) -> None:
    fs.fsync_dir(one.places.directory)


_STEPS: Final[Sequence[tuple[_Step, bool]]] = (
    (_write, False),
    (_sync, True),
    (_rename, False),
    (_sync_names, True),
    (_mark, False),
    (_sync_mark, True),
)
"""In their order; True for those that wait for the disk."""


def _make_directories(fs: FsOps, layout: Layout, places: Places) -> None:
    """Make the package's folder. Again when a deletion of another version removes the id's folder in between."""
    for last in (False, False, True):
        try:
            fs.mkdir(places.parent)
            fs.mkdir(places.directory)
        except MissingFile:
            if last:
                raise
            layout.prepare(fs)
        else:
            return


def _tidy(fs: FsOps, one: _Publication) -> None:
    """Remove what a failure left of the small files."""
    for fd, scratch, _ in one.small:
        with contextlib.suppress(DiskFailure):
            fs.close(fd)
        with contextlib.suppress(DiskFailure):
            remove_file(fs, scratch)
