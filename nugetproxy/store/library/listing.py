"""Listing finds the package files of a folder feed, at little cost while nothing changes."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct, field

from nugetproxy.nuget.identity import PackageId, Version
from nugetproxy.store.fs import DiskFailure, FsOps, MissingFile
from nugetproxy.store.library.root_note import RootNote
from nugetproxy.store.packages.held import Stamp, stamp

CERTAIN_NS: Final = 3_000_000_000
"""A directory listed longer than this after it last changed shows every later change in its own time stamp: file
systems count in steps, and a network file system's clock is not ours."""
SUFFIX: Final = ".nupkg"
SYMBOLS: Final = ".symbols.nupkg"
"""Packages of debug symbols; NuGet leaves them out of folder feeds too."""


class NotMounted(MissingFile):
    """There is another, empty directory in place of the one in which packages were: so does an unmounted share look."""

    def __str__(self) -> str:
        return (
            f"{self.path} is empty, and another directory than the one in which packages were: is a share not mounted? "
            "If it is meant, put a package into it."
        )


class Seen(Struct, frozen=True):
    """What a look has found to be different; paths are relative to the root, with slashes."""

    changed: dict[str, Stamp]
    """New files, and those with other stamps than before."""
    gone: frozenset[str]
    known: dict[str, _Directory]
    """All directories as they were found."""
    root: tuple[int, int]


class _Directory(Struct):
    """One directory as it was listed last."""

    state: Stamp
    certain: bool
    files: dict[str, Stamp] = field(default_factory=dict)
    folders: frozenset[str] = frozenset()


class Listing:
    """The ``*.nupkg`` files below ``root`` where NuGet looks for them (LocalFolderUtility); blocks, for one thread.

    Flat: in the folder itself, or in a folder of it. Hierarchical: in ``<id>/<version>/``. Symbolic links below the
    root are not followed.
    """

    def __init__(self, root: Path, fs: FsOps) -> None:
        self.note: RootNote | None = None
        """What was before the start, where that is remembered."""
        self._root = root
        self._fs = fs
        self._known: dict[str, _Directory] = {}
        self._identity: tuple[int, int] | None = None

    def look(self, *, full: bool = False, again: Collection[str] = ()) -> Seen:
        """What has changed since what was ``take``n last; raises DiskFailure when the root cannot be read.

        Only directories whose own time has changed are listed again, which does not show a file that was written
        over in its place; ``full`` lists all of them, ``again`` names files whose directories are listed anyway.
        A root in whose place there is another, empty one counts as missing: so does an unmounted share look.
        """
        root = stamp(self._fs.call("stat", str(self._root), os.stat, self._root))
        wanted = None if full else {_parent(path) for path in again}
        known = dict(self._walk(wanted))
        files = sum(len(directory.files) for directory in known.values())
        if self._identity is not None:
            is_other = self._identity != root[:2] and any(old.files for old in self._known.values())
        else:
            is_other = self.note is not None and self.note.is_other(root.inode)
        if is_other and not files:
            raise NotMounted("look", errno.ENOENT, str(self._root))
        if self.note is not None:
            self.note.write(root.inode if files else None)
        return _difference(self._known, known, (root.device, root.inode))

    def take(self, seen: Seen) -> None:
        """Whoever looked has what was seen: it is no change any more. For the event loop.

        Else a look whose caller was cancelled while it ran would be the only one to have seen what was new.
        """
        self._known, self._identity = seen.known, seen.root

    def _walk(self, wanted: set[str] | None) -> Iterator[tuple[str, _Directory]]:
        waiting = [""]
        while waiting:
            path = waiting.pop()
            try:
                directory = self._directory(path, listed=wanted is None or path in wanted)
            except MissingFile:
                if not path:
                    raise
                continue
            except DiskFailure:
                if not path:
                    raise
                if path not in self._known:
                    continue
                directory = self._known[path]  # a share that fails for a moment has lost nothing
            yield path, directory
            waiting.extend(_join(path, name) for name in directory.folders)

    def _directory(self, path: str, *, listed: bool) -> _Directory:
        old = self._known.get(path)
        if old is not None and not listed and old.certain and old.files and path.count("/") == 1:
            return old  # a version's folder that has its package: what changes there is seen when it is opened
        full = self._root / path
        state = stamp(self._fs.call("stat", str(full), os.stat, full))
        if old is not None and not listed and old.certain and old.state == state:
            return old
        found = _Directory(state, time.time_ns() - state.mtime_ns > CERTAIN_NS)
        folders = set()
        for entry in self._fs.call("scan", str(full), _entries, full):
            if entry.is_dir(follow_symlinks=False):
                if _may_hold_packages(path, entry.name):
                    folders.add(entry.name)
            elif is_package_name(entry.name):
                state_of = _state(entry)
                if state_of is not None:
                    found.files[entry.name] = stamp(state_of)
        found.folders = frozenset(folders)
        return found


def is_package_name(name: str) -> bool:
    """Whether a file in a folder of packages is one, by its name."""
    return name.lower().endswith(SUFFIX) and not name.lower().endswith(SYMBOLS)


def _entries(path: Path) -> list[os.DirEntry[str]]:
    with os.scandir(path) as entries:
        return list(entries)


def _state(entry: os.DirEntry[str]) -> os.stat_result | None:
    """None for what is no file, and for what has just gone."""
    try:
        state = entry.stat(follow_symlinks=False)
    except OSError:
        return None
    return state if stat.S_ISREG(state.st_mode) else None


_WHICH: Final[tuple[Callable[[str, str], bool], ...]] = (
    lambda _parent, _name: True,
    lambda parent, name: PackageId.parse(parent) is not None and Version.parse(name) is not None,
)
"""Whether a folder below the root, then below one of its folders, may hold packages."""


def _may_hold_packages(path: str, name: str) -> bool:
    depth = 0 if not path else path.count("/") + 1
    return depth < len(_WHICH) and not name.startswith(".") and _WHICH[depth](path, name)


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def _difference(before: dict[str, _Directory], after: dict[str, _Directory], root: tuple[int, int]) -> Seen:
    changed: dict[str, Stamp] = {}
    gone: set[str] = set()
    for path in before.keys() | after.keys():
        old, new = before.get(path), after.get(path)
        if old is new:
            continue
        old_files = old.files if old is not None else {}
        new_files = new.files if new is not None else {}
        changed.update((_join(path, name), at) for name, at in new_files.items() if old_files.get(name) != at)
        gone.update(_join(path, name) for name in old_files.keys() - new_files.keys())
    return Seen(changed, frozenset(gone), after, root)
