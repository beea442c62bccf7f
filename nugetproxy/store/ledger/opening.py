"""The ledger is made ready at a start: checked, restored from a copy, begun afresh on an operator's word."""

from __future__ import annotations

from contextlib import closing, suppress
from pathlib import Path
from typing import Final

import structlog

from nugetproxy.errors import BadRequest, Reason, StoreUnusable
from nugetproxy.store.fs import FsOps
from nugetproxy.store.ledger.copies import copies, restore
from nugetproxy.store.ledger.form import LEDGER, STEPS, NewerLedger
from nugetproxy.store.sqlite_form import ERRORS, Trouble, check, connect, diagnose, open_writer, set_aside

log = structlog.get_logger(__name__)

NAME: Final = "ledger.db"
BEGIN_AFRESH: Final = "Restore a backup of it, or run 'nugetproxy ledger begin-afresh': pins, tokens, claims are lost."
MAKE_ROOM: Final = "Make room on that disk, or set another cache directory."
RESTORED: Final = (
    "The ledger was damaged; it was set aside, and its newest good copy was taken. Tokens that were revoked since that "
    "was made are good again: nugetproxy token list."
)


def begin_afresh(fs: FsOps, directory: Path) -> Path | None:
    """Set a damaged ledger aside, where there is one, and make an empty one; what was set aside. Blocks.

    Raises BadRequest where it is sound, StoreUnusable where a newer version made it: what is in it is nowhere else.
    Raises ERRORS.
    """
    path = directory / NAME
    try:
        check(LEDGER, path)
    except NewerLedger as newer:
        raise _too_new(directory, newer) from newer
    except ERRORS as error:
        if diagnose(error)[0] not in {Trouble.BROKEN, Trouble.SUSPECT}:
            raise
    else:
        raise BadRequest(f"The ledger in {directory} is sound, so it stays as it is.")
    aside = set_aside(fs, path)
    open_writer(LEDGER, path, make=True).close()
    return aside


def replace_by(fs: FsOps, directory: Path, body: bytes) -> Path | None:
    """Put a ledger that was carried away in place of the one there, which is set aside; where that is. Blocks.

    Raises ERRORS, and StoreUnusable where this version cannot use it: then nothing was changed.
    """
    scratch = directory / f"{NAME}.restoring"
    scratch.unlink(missing_ok=True)
    fs.write_new(scratch, body)
    try:
        check(LEDGER, scratch)
    except NewerLedger as newer:
        scratch.unlink()
        raise _too_new(directory, newer) from newer
    except ERRORS:
        scratch.unlink()
        raise
    _write_back(directory / NAME)
    aside = set_aside(fs, directory / NAME, sound=True)
    fs.rename(scratch, directory / NAME)
    fs.fsync_dir(directory)
    return aside


def _write_back(path: Path) -> None:
    """Have all in the file itself that a kill has left in its write-ahead log, as far as it can be read."""
    with suppress(*ERRORS), closing(connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _too_new(directory: Path, newer: NewerLedger) -> StoreUnusable:
    why = f"a newer nugetproxy made its ledger (step {newer.number}; this one knows up to {len(STEPS)})"
    return StoreUnusable(
        str(directory), why, "Run the newer version, or set another cache directory. Nothing was changed."
    )


def make_ready(fs: FsOps, path: Path, fresh: bool) -> str:
    """Have a sound ledger at ``path``; what was wrong with it. Blocks; raises StoreUnusable."""
    is_new = fresh and not copies(fs, path)
    try:
        if is_new:
            open_writer(LEDGER, path, make=True).close()
        check(LEDGER, path)
    except NewerLedger as newer:
        raise _too_new(path.parent, newer) from newer
    except ERRORS as error:
        trouble, word = diagnose(error)
        if trouble not in {Trouble.BROKEN, Trouble.SUSPECT}:
            if is_new:  # there is nothing that could be served without one
                raise StoreUnusable(str(path.parent), f"no ledger can be made there ({error})", MAKE_ROOM) from error
            log.error("ledger.unavailable", reason=Reason.DISK, detail=f"{word}: {error}")  # noqa: TRY400
            return f"The ledger cannot be used: {error}."
        return _replace(fs, path, str(error))
    return ""


def _replace(fs: FsOps, path: Path, detail: str) -> str:
    """Take the newest good copy; a damaged ledger stays where it is until there is one to take."""
    try:
        if not copies(fs, path):
            raise StoreUnusable(str(path.parent), f"its ledger is damaged ({detail}), and has no copy", BEGIN_AFRESH)
        aside = set_aside(fs, path)
        log.error("ledger.set_aside", file=str(aside) if aside else None, detail=detail)
        restore(LEDGER, fs, path)
    except ERRORS as error:
        raise StoreUnusable(str(path.parent), f"its ledger is damaged ({detail}): {error}", BEGIN_AFRESH) from error
    return RESTORED
