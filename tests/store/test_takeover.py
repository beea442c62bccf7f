"""A cache directory of the first form becomes one of the second, killed at any step, without loss."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nugetproxy.caching.entry import Entry
from nugetproxy.errors import StoreUnusable
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.kinds import Kind
from nugetproxy.store.documents.database import open_cache
from nugetproxy.store.documents.record import pack, pack_entry
from nugetproxy.store.fs import FsOps
from nugetproxy.store.ledger.ledger import Ledger
from nugetproxy.store.takeover import is_old, take_over
from tests.store.conftest import MakeLedger
from tests.store.kit import FailingFs, files

PINS = {PackageIdentity("acme.a", f"1.0.{patch}"): f"sha{patch}" for patch in range(5)}
ALONE = {"up": "https://up.example/v3/index.json"}
SEVERAL = {**ALONE, "other": "https://other.example/index.json"}
LINK = (Kind.SEARCH, "https://up.example/q?x=1")
POSITION = b"[1.0,null,false,0,0]"


class Killed(BaseException):
    """The process ends here."""


class KillingFs(FsOps):
    """Ends everything before the call number ``at``."""

    def __init__(self, at: int) -> None:
        self.left = at

    def call(self, op: str, path: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.left -= 1
        if self.left < 0:
            raise Killed
        return super().call(op, path, function, *args, **kwargs)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """As the first form was left: documents, pins, a link, a scrub's position, an old record of what is held."""
    directory = tmp_path / "cache"
    (directory / "up" / "packages" / "acme.a").mkdir(parents=True)
    (directory / "up" / "packages" / "acme.a" / "held").write_text("a package")
    for suffix in ("", "-wal", "-shm"):
        (directory / "up" / f"catalog.db{suffix}").write_text("?")
    (directory / "format").write_text("1\n")
    cache = open_cache(directory / "entries")

    def put(key: str, body: bytes, tag: str) -> None:
        cache.set(key, pack_entry(key, Entry.of(200, body, stored_at=1.0), body), tag=tag)

    for identity, sha512 in PINS.items():
        put(f"e:pin:up:{identity.id}/{identity.version}", sha512.encode(), "pin")
    put("e:pin:up:no id/x y", b"sha", "pin")
    put("e:scrub:up", POSITION, "scrub")
    put("e:versions:abc", b"x" * 50_000, "acme.a")
    cache.set("l:token", pack("l:token", {"kind": LINK[0].value, "url": LINK[1]}, b""))
    cache.close()
    return directory


async def start(
    make_ledger: MakeLedger, directory: Path, fs: FsOps | None = None, upstreams: dict[str, str] = ALONE
) -> Ledger:
    """What a start does before anything else."""
    ledger = make_ledger()
    await ledger.open(directory, fresh=True)
    if is_old(directory):
        await take_over(fs or FsOps(), directory, ledger, upstreams, 1_800_000_000.0)
    return ledger


async def assert_taken_over(ledger: Ledger, directory: Path) -> None:
    assert {identity: await ledger.pinned("up", identity) for identity in PINS} == PINS
    assert await ledger.links("up").find("token") == LINK
    assert await ledger.scrub("up") == POSITION
    assert {file for file in files(directory) if not file.startswith("ledger.db")} == {
        "format",
        "up/packages/acme.a/held",
    }


async def test_what_is_precious_moves_and_packages_stay(old: Path, make_ledger: MakeLedger) -> None:
    ledger = await start(make_ledger, old)
    await assert_taken_over(ledger, old)
    await ledger.close()
    assert not is_old(old)
    await assert_taken_over(await start(make_ledger, old), old)


async def test_a_kill_at_any_step_loses_nothing(old: Path, make_ledger: MakeLedger) -> None:
    steps = 0
    while True:
        try:
            ledger = await start(make_ledger, old, KillingFs(steps))
        except Killed:
            steps += 1
            assert steps < 100
            continue
        break
    assert steps > 5
    await assert_taken_over(ledger, old)


async def test_a_kill_before_the_rows_are_written_loses_nothing(
    old: Path, make_ledger: MakeLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:

        async def killed(*_: object) -> None:
            raise Killed

        patch.setattr(Ledger, "take", killed)
        with pytest.raises(Killed):
            await start(make_ledger, old)
    await assert_taken_over(await start(make_ledger, old), old)


async def test_what_the_ledger_says_already_stays(old: Path, make_ledger: MakeLedger) -> None:
    ledger = make_ledger()
    await ledger.open(old, fresh=True)
    ledger.pin("up", PackageIdentity("acme.a", "1.0.0"), "newer")
    await ledger.close()
    ledger = await start(make_ledger, old)
    assert await ledger.pinned("up", PackageIdentity("acme.a", "1.0.0")) == "newer"


async def test_a_link_goes_to_those_whose_host_it_names(old: Path, make_ledger: MakeLedger) -> None:
    ledger = await start(make_ledger, old, upstreams=SEVERAL)
    assert await ledger.links("up").find("token") == LINK
    assert await ledger.links("other").find("token") is None


async def test_a_changed_pin_is_not_believed(old: Path, make_ledger: MakeLedger) -> None:
    connection = sqlite3.connect(old / "entries" / "cache.db")
    with connection:
        connection.execute("UPDATE Cache SET value = CAST(replace(value, 'sha1', 'shaX') AS BLOB)")
    connection.close()
    ledger = await start(make_ledger, old)
    assert await ledger.pinned("up", PackageIdentity("acme.a", "1.0.1")) is None
    assert await ledger.pinned("up", PackageIdentity("acme.a", "1.0.2")) == "sha2"


async def test_damaged_old_documents_are_set_aside(old: Path, make_ledger: MakeLedger) -> None:
    database = old / "entries" / "cache.db"
    database.write_bytes(os.urandom(database.stat().st_size))
    ledger = await start(make_ledger, old)
    assert await ledger.pinned("up", PackageIdentity("acme.a", "1.0.1")) is None
    assert len(list(old.glob("entries.corrupt-*"))) == 1
    assert not is_old(old)


async def test_a_disk_that_fails_refuses_the_start_and_the_next_one_goes_on(
    old: Path, make_ledger: MakeLedger, fs: FailingFs
) -> None:
    fs.arm(1, errno.EIO, only="rename")
    with pytest.raises(StoreUnusable, match="Nothing is lost"):
        await start(make_ledger, old, fs)
    await assert_taken_over(await start(make_ledger, old), old)
