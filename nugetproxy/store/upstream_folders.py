"""Upstream folders are what the cache directory holds of each upstream, below its name."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection
from pathlib import Path

from msgspec import Struct

from nugetproxy.on_disk import exists, is_dir

ORIGIN = "origin"
"""The file that says which feed the packages beside it came from."""
TEXT = 4096
_PARTS = ("packages", "staging")
"""What belongs to the feed: what is held, what a kill has kept from being committed."""
_MARKS = ("packages", "holdings.db", "catalog.db")
"""Any of these makes a folder one of an upstream; the last one is of the first release."""


class Leftover(Struct, frozen=True):
    """The folder of an upstream that is no longer configured."""

    path: Path
    size: int
    """Bytes of its files."""


class Replaced(Struct, frozen=True):
    """The packages of the feed that an upstream of this name was before."""

    feed: str
    path: Path
    """Where they lie now; nothing serves them."""


def leftovers(directory: Path, configured: Collection[str]) -> tuple[Leftover, ...]:
    """The folders below ``directory`` that no configured upstream has. Blocks: reads every entry of them."""
    return tuple(Leftover(folder, _size(folder)) for folder in strange_folders(directory, configured))


def strange_folders(directory: Path, configured: Collection[str]) -> tuple[Path, ...]:
    """The same without their sizes. Blocks."""
    try:
        folders = [Path(entry.path) for entry in os.scandir(directory) if entry.is_dir(follow_symlinks=False)]
        strange = [folder for folder in sorted(folders) if folder.name not in configured]
        return tuple(folder for folder in strange if any(exists(folder / mark) for mark in _MARKS))
    except OSError:  # what cannot be read is no leftover of anybody
        return ()


def settle(root: Path, feed: str) -> Replaced | None:
    """Make ``root`` the folder of ``feed`` (one line that names it); packages of another feed are put aside.

    They come back when the feed does. A folder that says nothing, of an earlier release, is taken for this feed's.
    Blocks: for the start. Raises OSError; what lies there then is still of the feed that ``origin_of`` tells.
    """
    before, replaced = origin_of(root), None
    if before and before != feed:
        replaced = Replaced(before, _aside(root, before))
        for part in _PARTS:
            _move(root / part, _aside(root, before, part))
    if before != feed:  # between the moves: wherever this ends, nothing lies there that is of another one
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        scratch = root / f"{ORIGIN}.new"
        scratch.write_text(f"{feed}\n", encoding="utf-8")
        scratch.replace(root / ORIGIN)
    for part in _PARTS:
        if not exists(root / part):
            _move(_aside(root, feed, part), root / part)
    return replaced


def origin_of(root: Path) -> str:
    """The feed that the packages in ``root`` are of; empty where nothing says so. Blocks; raises OSError."""
    try:
        with (root / ORIGIN).open("rb") as file:
            return file.read(TEXT).decode("utf-8", "replace").strip()
    except FileNotFoundError:
        return ""


def _aside(root: Path, feed: str, part: str = _PARTS[0]) -> Path:
    return root / f"{part}-{hashlib.blake2b(feed.encode(), digest_size=4).hexdigest()}"


def _move(source: Path, target: Path) -> None:
    if is_dir(source):
        source.rename(target)


def _size(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(place, name)).st_size  # noqa: PTH118 - a hundred thousand files
            except OSError:
                continue  # gone meanwhile
    return total
