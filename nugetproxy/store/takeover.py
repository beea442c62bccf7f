"""The takeover of a cache directory of the first form: what is precious moves into the ledger."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import structlog

from nugetproxy.errors import StoreUnusable
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.on_disk import exists, is_dir, is_file
from nugetproxy.store.documents.record import DamagedRecord, unpack
from nugetproxy.store.fs import FsOps, MissingFile
from nugetproxy.store.ledger import rows
from nugetproxy.store.ledger.ledger import Ledger, LedgerUnavailable
from nugetproxy.store.sqlite_form import ERRORS, Trouble, diagnose

log = structlog.get_logger(__name__)

OLD: Final = "entries"
DONE: Final = "entries.taken"
OLD_HOLDINGS: Final = ("catalog.db", "catalog.db-wal", "catalog.db-shm")

Row = tuple[str, tuple[Any, ...]]
"""A statement of the ledger with its values."""


def is_old(directory: Path) -> bool:
    """True for a directory of the first form, also where its takeover was cut short."""
    return exists(directory / OLD) or exists(directory / DONE)


async def take_over(fs: FsOps, directory: Path, ledger: Ledger, upstreams: Mapping[str, str], now: float) -> None:
    """Make it one of the second form; ``upstreams`` are the URLs of service indexes by name, ``now`` wall time.

    Packages stay where they are; pins, links, scrub positions move; documents begin afresh. Each step may be the last
    before a kill: the next start goes on. Raises StoreUnusable where something of it cannot be done now.
    """
    try:
        found = await asyncio.to_thread(_read, fs, directory, upstreams, now)
        await ledger.take(found)
        await asyncio.to_thread(_leave, fs, directory)
    except (LedgerUnavailable, *ERRORS) as error:
        why = f"what the version before has left there cannot be taken over now ({error})"
        raise StoreUnusable(str(directory), why, "Nothing is lost; mend that, then start again.") from error
    log.info("takeover.finished", rows=len(found))


def _read(fs: FsOps, directory: Path, upstreams: Mapping[str, str], now: float) -> list[Row]:
    """All that is precious; a damaged database is set aside, as what it said is lost."""
    old = directory / OLD
    try:
        return list(_precious(old / "cache.db", upstreams, now))
    except ERRORS as error:
        if diagnose(error)[0] not in {Trouble.BROKEN, Trouble.SUSPECT}:
            raise
        kept = directory / f"{OLD}.corrupt-{time.time_ns()}"
        fs.rename(old, kept)
        log.error("takeover.damaged", detail=str(error), moved_to=str(kept))  # noqa: TRY400 - nothing more to say
        return []


def _leave(fs: FsOps, directory: Path) -> None:
    """Remove what is not needed any more; the rename is the step after which it is not looked at again."""
    old, done = directory / OLD, directory / DONE
    if exists(old):
        _remove(fs, done)
        fs.rename(old, done)
        fs.fsync_dir(directory)
    for name in fs.names(directory):
        for old_holdings in OLD_HOLDINGS if is_dir(directory / name) else ():
            with contextlib.suppress(MissingFile):
                fs.unlink(directory / name / old_holdings)
    _remove(fs, done)


def _precious(database: Path, upstreams: Mapping[str, str], now: float) -> Iterator[Row]:
    if not is_file(database):
        return
    # Every row is looked at as a value with its own digest: nothing that the old database says is obeyed.
    wanted = "SELECT key, value FROM Cache WHERE raw = 1 AND mode = 1 AND typeof(value) = 'blob' AND (key GLOB ?)"
    with contextlib.closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=rw", uri=True)) as connection:
        for pattern in ("e:pin:*", "e:scrub:*", "l:*"):
            for key, value in connection.execute(wanted, (pattern,)):
                try:
                    header, body = unpack(key, value)
                except DamagedRecord:
                    log.warning("takeover.row_refused", key=key)
                    continue
                yield from _row(key, header, body, upstreams, now)


def _row(key: str, header: Mapping[str, Any], body: bytes, upstreams: Mapping[str, str], now: float) -> Iterator[Row]:
    space, _, name = key.removeprefix("e:").partition(":")
    if space == "pin":
        where, _, version = name.rpartition("/")
        source, _, id = where.rpartition(":")
        identity = PackageIdentity.parse(id, version)
        if identity is not None:
            yield rows.PIN, (source, identity.id, identity.version, body.decode())
    elif space == "scrub":
        yield rows.SCRUB, (name, body)
    else:
        kind, url = str(header.get("kind")), str(header.get("url"))
        for source in _sources(url, upstreams):
            yield rows.LINK, (source, name, kind, url, now)


def _sources(url: str, upstreams: Mapping[str, str]) -> Iterator[str]:
    """Whose link it may be: the only one's, else those whose host it names, so that no other is ever asked for it."""
    for name, index in upstreams.items():
        if len(upstreams) == 1 or urlsplit(url)[:2] == urlsplit(index)[:2]:
            yield name


def _remove(fs: FsOps, path: Path) -> None:
    with contextlib.suppress(MissingFile):
        fs.rmtree(path)
