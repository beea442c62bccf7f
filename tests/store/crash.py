"""A model of what a disk may hold after a crash: every prefix of what was done, any unsynced effect missing."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nugetproxy.store.fs import FsOps, StrPath

Tree = frozenset[tuple[str, bytes | None]]
"""Paths with their content, None for directories."""

MOST_SUBSETS = 256
"""Above this many combinations of missing effects, that many are drawn."""


@dataclass(frozen=True)
class Effect:
    """One thing that may or may not have reached the disk; ``after`` is the number of operations done before it."""

    kind: str  # link, unlink, mkdir, rmdir, write
    after: int
    path: Path = Path()
    inode: int = 0
    offset: int = 0
    data: bytes = b""


@dataclass
class RecordingFs(FsOps):
    """Does everything, and writes it down. ``forget`` names operations that are not done at all (a wrong store)."""

    forget: frozenset[str] = frozenset()
    done: int = 0
    effects: list[Effect] = field(default_factory=list)
    synced: list[tuple[int, Callable[[Effect], bool]]] = field(default_factory=list)
    inodes: dict[int, int] = field(default_factory=dict)  # of open descriptors
    linked: dict[Path, int] = field(default_factory=dict)

    def call(self, op: str, path: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if op in self.forget:
            return None
        result = super().call(op, path, function, *args, **kwargs)
        self.done += 1
        record = getattr(self, f"_record_{op}", None)
        if record is not None:
            record(result, *args)
        return result

    def _record_create(self, fd: int, name: StrPath, *_: object) -> None:
        path = Path(name)
        inode = self.done
        self.inodes[fd] = self.linked[path] = inode
        self._effect("link", path=path, inode=inode)

    def _record_write(self, size: int, fd: int, view: memoryview, offset: int) -> None:
        self._effect("write", inode=self.inodes[fd], offset=offset, data=bytes(view[:size]))

    def _record_rename(self, _: None, source: StrPath, target: StrPath) -> None:
        inode = self.linked[Path(target)] = self.linked.pop(Path(source))
        self._effect("link", path=Path(target), inode=inode)
        self._effect("unlink", path=Path(source))

    def _record_unlink(self, _: None, path: StrPath) -> None:
        self.linked.pop(Path(path), None)
        self._effect("unlink", path=Path(path))

    def _record_mkdir(self, _: None, path: StrPath, *__: object) -> None:
        self._effect("mkdir", path=Path(path))

    def _record_rmdir(self, _: None, path: StrPath) -> None:
        self._effect("rmdir", path=Path(path))

    def _record_fsync(self, _: None, fd: int) -> None:
        inode = self.inodes.get(fd)
        self.synced.append((self.done, lambda effect: effect.kind == "write" and effect.inode == inode))

    def sync_dir(self, fd: int, path: StrPath) -> None:
        super().sync_dir(fd, path)
        place = Path(path)
        if "fsync_dir" not in self.forget:
            self.synced.append((self.done, lambda effect: effect.kind != "write" and effect.path.parent == place))

    def _effect(self, kind: str, **fields: Any) -> None:
        self.effects.append(Effect(kind, self.done, **fields))

    def killed(self, prefix: int, root: Path) -> Tree:
        """What is there when the process ends after ``prefix`` operations, and nothing else fails."""
        return _replay([effect for effect in self.effects if effect.after <= prefix], root)

    def states(self, root: Path) -> Iterator[tuple[bool, Tree]]:
        """Every state that a crash may leave below ``root``, once; True where all had been done before it."""
        seen: set[tuple[bool, Tree]] = set()
        for prefix in range(self.done + 1):
            happened = [effect for effect in self.effects if effect.after <= prefix]
            covers = [(at, covered) for at, covered in self.synced if at <= prefix]
            loose = [
                number
                for number, effect in enumerate(happened)
                if not any(at > effect.after and covered(effect) for at, covered in covers)
            ]
            for missing in _subsets(loose):
                tree = _replay([effect for n, effect in enumerate(happened) if n not in missing], root)
                state = (prefix == self.done, tree)
                if state not in seen:
                    seen.add(state)
                    yield state


def _subsets(numbers: list[int]) -> Iterator[frozenset[int]]:
    if 2 ** len(numbers) <= MOST_SUBSETS:
        for size in range(len(numbers) + 1):
            yield from map(frozenset, itertools.combinations(numbers, size))
        return
    yield frozenset()  # a kill: everything done reaches the disk
    yield frozenset(numbers)
    draw = random.Random(len(numbers))
    for _ in range(MOST_SUBSETS):
        yield frozenset(number for number in numbers if draw.random() < 0.5)


def _replay(effects: list[Effect], root: Path) -> Tree:
    files: dict[Path, int] = {}
    directories: set[Path] = set()
    contents: dict[int, bytearray] = {}
    for effect in effects:
        match effect.kind:
            case "link":
                files[effect.path] = effect.inode
            case "unlink":
                files.pop(effect.path, None)
            case "mkdir":
                directories.add(effect.path)
            case "rmdir":
                directories.discard(effect.path)
            case "write":
                content = contents.setdefault(effect.inode, bytearray())
                content.extend(bytes(max(0, effect.offset + len(effect.data) - len(content))))
                content[effect.offset : effect.offset + len(effect.data)] = effect.data
    reachable = {path for path in directories if all(p in directories for p in path.parents if p.is_relative_to(root))}
    tree: set[tuple[str, bytes | None]] = {(str(path), None) for path in reachable}
    tree |= {(str(path), bytes(contents.get(i, b""))) for path, i in files.items() if path.parent in reachable}
    return frozenset(tree)


def materialise(tree: Tree, old_root: Path, new_root: Path) -> None:
    """Make a state real below another directory."""
    new_root.mkdir(parents=True)
    for name, content in sorted(tree):
        path = new_root / Path(name).relative_to(old_root)
        if content is None:
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.write_bytes(content)
