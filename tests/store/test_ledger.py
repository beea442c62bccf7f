"""The ledger: what is noted is known at once and after a restart; damaged, newer, lost, locked."""

from __future__ import annotations

import asyncio
import itertools
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nugetproxy.errors import StoreUnusable
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.kinds import Kind
from nugetproxy.store.fs import FsOps
from nugetproxy.store.ledger import form, links, rows, write_behind
from nugetproxy.store.ledger.copies import KEPT, copies
from nugetproxy.store.ledger.ledger import Epoch, Ledger, LedgerUnavailable, Owner, Token, VersionFacts
from nugetproxy.store.ledger.opening import begin_afresh
from tests.fakes.asking import until
from tests.fakes.clock import FakeClock
from tests.store.conftest import MakeLedger

DAY = 86400.0
ONE = PackageIdentity("acme", "1.0.0")
TWO = PackageIdentity("acme", "2.0.0")
DEPRECATION = '{"reasons":["Legacy"]}'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
async def ledger(make_ledger: MakeLedger, tmp_path: Path) -> Ledger:
    made = make_ledger()
    await made.open(tmp_path, fresh=True)
    return made


async def test_a_disk_too_full_for_a_first_ledger_refuses_the_start_and_damages_none(
    make_ledger: MakeLedger, path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        path.touch()
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_FULL, "SQLITE_FULL"
        raise error

    with monkeypatch.context() as outage:
        outage.setattr("nugetproxy.store.ledger.opening.open_writer", full)
        with pytest.raises(StoreUnusable, match=r"no ledger can be made there \(database or disk is full\). Make room"):
            await make_ledger().open(path.parent, fresh=True)
    assert "damaged" not in capsys.readouterr().out
    made = make_ledger()
    await made.open(path.parent, fresh=True)
    assert made.problem == ""


async def again(ledger: Ledger, make_ledger: MakeLedger, path: Path) -> Ledger:
    """The ledger as the next start finds it."""
    await ledger.close()
    made = make_ledger()
    await made.open(path.parent)
    return made


async def with_copies(ledger: Ledger, clock: FakeClock, number: int) -> None:
    """A pin a day with a copy of each day."""
    for day in range(number):
        ledger.pin("up", PackageIdentity("acme", f"{day}.0.0"), f"sha{day}")
        await ledger.tidy()
        clock.advance(DAY)


# --- what is noted ---


async def test_the_pinned_versions_of_an_id(ledger: Ledger, make_ledger: MakeLedger, path: Path) -> None:
    assert await ledger.pinned_versions("up", "acme") == frozenset()
    ledger.pin("up", ONE, "first")
    ledger.pin("other", TWO, "second")
    assert await ledger.pinned_versions("up", "acme") == {ONE}
    found = await again(ledger, make_ledger, path)
    found.pin("up", TWO, "second")
    for _ in range(2):  # what is pinned is learned behind the first question
        assert await found.pinned_versions("up", "acme") == {ONE, TWO}
        assert await found.pinned_versions("up", "beta") == frozenset()
        assert await found.pinned_versions("up", "beta", "acme") == {ONE, TWO}
        await until(lambda: found._known_pins.lacks_id("beta"))
    await found.take([(rows.PIN, ("up", "beta", "1.0.0", "third"))])
    for _ in range(2):
        assert await found.pinned_versions("up", "beta") == {PackageIdentity("beta", "1.0.0")}
        await until(lambda: found._known_pins.lacks_id("gamma"))


async def test_of_an_id_that_is_not_pinned_the_file_is_not_asked(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.pin("up", ONE, "first")
    await until(lambda: ledger._known_pins.lacks_id("beta"))
    monkeypatch.setattr(rows, "pinned_versions", lambda *_: frozenset({TWO}))
    assert await ledger.pinned_versions("up", "beta") == frozenset()
    assert await ledger.pinned_versions("up", "acme") == {TWO}


async def test_a_pin_stays_the_first_one(ledger: Ledger, make_ledger: MakeLedger, path: Path) -> None:
    assert await ledger.pinned("up", ONE) is None
    ledger.pin("up", ONE, "first")
    ledger.pin("up", ONE, "at once")
    assert await ledger.pinned("up", ONE) == "first"
    assert await ledger.settle()
    ledger.pin("up", ONE, "second")
    ledger = await again(ledger, make_ledger, path)
    assert await ledger.pinned("up", ONE) == "first"
    assert await ledger.pinned("other", ONE) is None
    assert await ledger.pinned("up", TWO) is None


async def test_what_was_never_pinned_is_not_looked_for(
    ledger: Ledger, make_ledger: MakeLedger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[PackageIdentity] = []
    really = rows.pin_of

    def pin_of(connection: sqlite3.Connection, source: str, identity: PackageIdentity) -> str | None:
        looked.append(identity)
        return really(connection, source, identity)

    monkeypatch.setattr(rows, "pin_of", pin_of)
    ledger.pin("up", ONE, "sha")
    ledger = await again(ledger, make_ledger, path)
    async with asyncio.timeout(30):
        while looked != [ONE]:  # until it has learned, behind the first question, what there is
            looked.clear()
            assert await ledger.pinned("up", TWO) is None
            assert await ledger.pinned("up", ONE) == "sha"
    ledger.pin("up", TWO, "other")
    assert await ledger.settle()
    assert await ledger.pinned("up", TWO) == "other"
    await ledger.take([(rows.PIN, ("up", "acme", "3.0.0", "taken"))])
    assert await ledger.pinned("up", PackageIdentity("acme", "3.0.0")) == "taken"


async def test_a_forgotten_version_is_one_never_seen(ledger: Ledger, clock: FakeClock) -> None:
    for identity in (ONE, TWO):
        ledger.pin("up", identity, "sha")
        ledger.note_facts("up", [VersionFacts(identity=identity, listed=True, origin="search", noted=clock.now())])
    await ledger.forget("up", ONE)
    assert await ledger.pinned("up", ONE) is None
    assert await ledger.pinned("up", TWO) == "sha"
    assert [facts.identity for facts in await ledger.facts("up", "acme")] == [TWO]


async def test_a_link_is_known_at_once_and_after_a_restart(ledger: Ledger, make_ledger: MakeLedger, path: Path) -> None:
    ledger.links("up").hand_out("token", Kind.SEARCH, "https://x/s?q=1")
    assert await ledger.links("up").find("token") == (Kind.SEARCH, "https://x/s?q=1")
    ledger = await again(ledger, make_ledger, path)
    assert await ledger.links("up").find("token") == (Kind.SEARCH, "https://x/s?q=1")
    assert await ledger.links("up").find("another") is None


async def test_a_link_of_one_source_is_none_of_another(ledger: Ledger) -> None:
    ledger.links("up").hand_out("token", Kind.SEARCH, "https://x/")
    await ledger.settle()
    assert await ledger.links("other").find("token") is None


async def test_links_go_when_nobody_was_handed_them_for_half_a_year(
    ledger: Ledger, make_ledger: MakeLedger, path: Path, clock: FakeClock
) -> None:
    for token in ("old", "asked", "new"):
        ledger.links("up").hand_out(token, Kind.SEARCH, f"https://x/{token}")
    for _ in range(6):
        clock.advance(31 * DAY)
        ledger.links("up").hand_out("new", Kind.SEARCH, "https://x/new")
        assert await ledger.links("up").find("asked")
        await ledger.tidy()
    ledger = await again(ledger, make_ledger, path)
    found = {token for token in ("old", "asked", "new") if await ledger.links("up").find(token)}
    assert found == {"asked", "new"}


async def test_a_source_keeps_its_newest_links(
    ledger: Ledger, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "MOST", 3)
    for number in range(5):
        clock.advance(1)
        ledger.links("up").hand_out(f"t{number}", Kind.SEARCH, "https://x/")
    ledger.links("other").hand_out("t0", Kind.SEARCH, "https://x/")
    await ledger.tidy()
    assert [n for n in range(5) if await ledger.links("up").find(f"t{n}")] == [2, 3, 4]
    assert await ledger.links("other").find("t0")


async def test_a_write_is_known_to_the_next_start(
    ledger: Ledger, make_ledger: MakeLedger, path: Path, clock: FakeClock
) -> None:
    ledger.raise_epoch("up", "acme")
    clock.advance(5)
    assert ledger.raise_epoch("up", "acme") == Epoch(2, clock.now())
    ledger.raise_epoch("other", "")
    ledger = await again(ledger, make_ledger, path)
    assert ledger.writes("up").by_id == {"acme": Epoch(2, clock.now())}
    assert ledger.writes("other").by_id == {"": Epoch(1, clock.now())}


async def test_a_later_document_adds_to_the_facts_of_a_version(
    ledger: Ledger, make_ledger: MakeLedger, path: Path
) -> None:
    said = {"published": "2026-01-02T03:04:05Z", "listed": False}
    ledger.note_facts("up", [VersionFacts(identity=ONE, origin="registration", noted=1.0, **said)])
    ledger.note_facts("up", [VersionFacts(identity=ONE, deprecation=DEPRECATION, origin="search", noted=2.0)])
    ledger = await again(ledger, make_ledger, path)
    expected = VersionFacts(identity=ONE, deprecation=DEPRECATION, origin="search", noted=2.0, **said)
    assert await ledger.facts("up", "acme") == (expected,)
    assert await ledger.facts("other", "acme") == ()


async def test_owners_claims_tokens_and_positions(ledger: Ledger, make_ledger: MakeLedger, path: Path) -> None:
    ledger.reown("all", ONE, Owner("before", "other"))
    ledger.reown("all", ONE, Owner("up", "sha"))
    ledger.claim("up", "acme")
    ledger.claim("up", "gone")
    await ledger.disclaim("up", "gone")
    token = Token(name="ci", hash="h", scopes=("read", "push"), feeds=("all",), expires=9.0, created=1.0)
    await ledger.put_token(token)
    await ledger.put_token(Token(name="other", hash="h", scopes=("read",), created=1.0))
    assert await ledger.remove_token("other") is True
    assert await ledger.remove_token("other") is False
    ledger.note_scrub("up", b"[1]")
    assert await ledger.scrub("up") == b"[1]"
    ledger = await again(ledger, make_ledger, path)
    assert await ledger.owners("all", "acme") == {"1.0.0": Owner("up", "sha")}
    assert await ledger.claims() == {("up", "acme")}
    assert await ledger.tokens() == (token,)
    assert await ledger.scrub("up") == b"[1]"
    assert await ledger.scrub("other") is None


async def test_it_is_private(ledger: Ledger, path: Path) -> None:
    await ledger.tidy()
    for file in (path, *copies(FsOps(), path)):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


# --- steps ---


async def test_steps_go_forward_and_a_failed_one_leaves_nothing(
    ledger: Ledger, make_ledger: MakeLedger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.pin("up", ONE, "sha")
    await ledger.close()
    bad = (*form.STEPS, ("CREATE TABLE more (x)", "CREATE TABLE pins (x)"))
    with monkeypatch.context() as patch:
        patch.setattr(form, "STEPS", bad)
        with pytest.raises(StoreUnusable):
            await make_ledger().open(path.parent)
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(form.STEPS),)
        assert not connection.execute("SELECT * FROM sqlite_master WHERE name = 'more'").fetchall()
    connection.close()
    monkeypatch.setattr(form, "STEPS", (*form.STEPS, ("CREATE TABLE more (x)",)))
    ledger = make_ledger()
    await ledger.open(path.parent)
    assert await ledger.pinned("up", ONE) == "sha"
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (len(form.STEPS),)
    connection.close()


async def test_the_ledger_of_a_newer_version_is_refused_and_left_alone(
    ledger: Ledger, make_ledger: MakeLedger, path: Path, clock: FakeClock
) -> None:
    await with_copies(ledger, clock, 1)
    await ledger.close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 999")
    connection.close()
    with pytest.raises(StoreUnusable, match="newer nugetproxy"):
        await make_ledger().open(path.parent)
    assert not list(path.parent.glob("*.corrupt-*"))
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (999,)
    connection.close()


# --- copies, damage ---


def garbage(path: Path) -> None:
    path.write_bytes(b"\x5a" * path.stat().st_size)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def scrambled(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:4096] + b"\xa5" * (path.stat().st_size - 4096))


def without_pins(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("DROP TABLE pins")
    connection.close()


def foreign(path: Path) -> None:
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE pins (x)")
    connection.close()


def gone(path: Path) -> None:
    path.unlink()


DAMAGES = [garbage, empty, half, scrambled, without_pins, foreign, gone]
every_damage = pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)


@every_damage
async def test_a_damaged_ledger_is_replaced_by_its_newest_good_copy(
    ledger: Ledger, make_ledger: MakeLedger, path: Path, clock: FakeClock, damage: Callable[[Path], None]
) -> None:
    await with_copies(ledger, clock, 3)
    await ledger.close()
    damage(path)
    garbage(copies(FsOps(), path)[-1])
    ledger = make_ledger()
    await ledger.open(path.parent)
    assert "copy was taken" in ledger.problem
    assert [await ledger.pinned("up", PackageIdentity("acme", f"{day}.0.0")) for day in range(3)] == [
        "sha0",
        "sha1",
        None,
    ]
    assert len(list(path.parent.glob("*.corrupt-*"))) == (0 if damage is gone else 1)


@every_damage
async def test_without_a_good_copy_the_start_is_refused(
    ledger: Ledger, make_ledger: MakeLedger, path: Path, damage: Callable[[Path], None]
) -> None:
    ledger.pin("up", ONE, "sha")
    await ledger.close()
    damage(path)
    for _ in range(2):
        with pytest.raises(StoreUnusable, match="nugetproxy ledger begin-afresh"):
            await make_ledger().open(path.parent)
    begin_afresh(FsOps(), path.parent)
    ledger = make_ledger()
    await ledger.open(path.parent)
    assert await ledger.pinned("up", ONE) is None
    assert ledger.problem == ""


async def test_copies_are_made_daily_and_seven_are_kept(ledger: Ledger, path: Path, clock: FakeClock) -> None:
    await with_copies(ledger, clock, KEPT + 3)
    kept = copies(FsOps(), path)
    assert len(kept) == KEPT
    await ledger.tidy()
    clock.advance(-DAY / 2)
    os.utime(copies(FsOps(), path)[-1], (clock.now(), clock.now()))
    clock.advance(DAY / 2)
    before = copies(FsOps(), path)
    await ledger.tidy()
    assert copies(FsOps(), path) == before


async def test_damage_while_running_is_replaced_and_told(
    ledger: Ledger, make_ledger: MakeLedger, path: Path, clock: FakeClock
) -> None:
    await with_copies(ledger, clock, 1)
    ledger.pin("up", ONE, "later")
    gone(path)
    await ledger.settle()
    assert "copy was taken" in ledger.problem
    ledger.pin("up", TWO, "after")
    assert await ledger.settle()
    assert await ledger.pinned("up", PackageIdentity("acme", "0.0.0")) == "sha0"
    ledger = await again(ledger, make_ledger, path)
    assert await ledger.pinned("up", ONE) == "later"
    assert await ledger.pinned("up", TWO) == "after"


async def test_damage_while_running_without_a_copy_is_told_and_makes_no_new_ledger(ledger: Ledger, path: Path) -> None:
    gone(path)
    ledger.pin("up", ONE, "sha")
    assert not await ledger.settle()
    assert await ledger.pinned("up", ONE) == "sha"
    assert "begin-afresh" in ledger.problem
    with pytest.raises(LedgerUnavailable):
        await ledger.pinned("up", TWO)
    assert not path.exists()


async def test_a_locked_ledger_is_written_later(
    ledger: Ledger, make_ledger: MakeLedger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ledger.close()
    monkeypatch.setattr("nugetproxy.store.sqlite_form.LOCK_SECONDS", 0.05)
    ledger = make_ledger()
    await ledger.open(path.parent)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    ledger.pin("up", ONE, "sha")
    assert not await ledger.settle()
    assert await ledger.pinned("up", ONE) == "sha"
    other.execute("ROLLBACK")
    other.close()
    await ledger.tidy()
    ledger = await again(ledger, make_ledger, path)
    assert await ledger.pinned("up", ONE) == "sha"
    assert ledger.problem == ""


async def test_the_links_of_one_document_are_written_in_one_transaction(
    ledger: Ledger, make_ledger: MakeLedger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    real = write_behind._write_all
    monkeypatch.setattr(write_behind, "_write_all", lambda file, rows: (written.append(len(rows)), real(file, rows)))
    count = 5 * links.AT_ONCE + 1
    await ledger.links("up").hand_out_all(
        (f"t{number}", Kind.CATALOG, f"https://h/{number}") for number in range(count)
    )
    await ledger.settle()
    assert written == [count]
    found = (await again(ledger, make_ledger, path)).links("up")
    assert await found.find(f"t{count - 1}") == (Kind.CATALOG, f"https://h/{count - 1}")


@pytest.mark.slow
async def test_whoever_cannot_wait_does_not_wait_for_links(ledger: Ledger) -> None:
    def endless() -> Iterator[tuple[str, Kind, str]]:
        for number in itertools.count():
            yield f"t{number}", Kind.CATALOG, "https://h/"

    handing_out = asyncio.create_task(ledger.links("up").hand_out_all(endless()))
    await asyncio.sleep(0)
    ledger.pin("up", ONE, "hash")
    assert await ledger.settle() or ledger._behind._waiting, "written, or more has come meanwhile"
    assert await ledger._file.read(rows.pin_of, "up", ONE) == "hash"
    handing_out.cancel()


async def test_rows_that_are_alike_are_written_by_one_statement(
    ledger: Ledger, make_ledger: MakeLedger, path: Path
) -> None:
    statements: list[str] = []
    await ledger._file.write(lambda connection: connection.set_trace_callback(statements.append))
    many = [PackageIdentity("acme", f"{number}.0.0") for number in range(rows.AT_ONCE + 20)]
    for number, one in enumerate(many):
        ledger.pin("up", one, f"sha{number}")
    ledger.note_scrub("up", b"there")
    ledger.pin("up", TWO, "another")  # the first one stays
    ledger.pin("down", TWO, "shaX")
    assert await ledger.settle()
    assert [text.split()[2] for text in statements if text.startswith("INSERT")] == ["pins", "pins", "REPLACE", "pins"]
    found = await again(ledger, make_ledger, path)
    assert [await found.pinned("up", one) for one in many] == [f"sha{number}" for number in range(len(many))]
    assert await found.pinned("down", TWO) == "shaX"
    assert await found.scrub("up") == b"there"


@pytest.mark.parametrize(
    ("why", "remedy"),
    [
        ("SQLITE_FULL", "look at its disk, which may be full or read-only"),
        ("SQLITE_IOERR_SHMSIZE", "look at its disk, which may be full or read-only"),
        ("SQLITE_BUSY", "try again in a few seconds"),
        ("rebuilding", "try again in a few seconds"),
    ],
)
def test_what_does_not_pass_by_itself_is_not_to_be_tried_again(why: str, remedy: str) -> None:
    assert str(LedgerUnavailable(why)) == f"The ledger cannot be used now ({why}); {remedy}."
