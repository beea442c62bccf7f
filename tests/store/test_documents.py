"""Documents in diskcache: kept, found by tag, trimmed; the database damaged, locked, read-only, gone."""

from __future__ import annotations

import asyncio
import math
import os
import shutil
import sqlite3
import stat
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from diskcache import Cache
from structlog.testing import capture_logs

from nugetproxy.caching.entry import Entry, Validators
from nugetproxy.errors import StoreUnusable
from nugetproxy.metrics import Metrics
from nugetproxy.store.documents import documents as documents_module
from nugetproxy.store.documents import index as index_module
from nugetproxy.store.documents.database import MOST_AT_ONCE
from nugetproxy.store.documents.documents import Documents, Stored, never_trimmed, of_id, of_kind
from nugetproxy.store.sqlite_form import set_aside
from tests.store.kit import count

ENTRY = Entry(status=200, stored_at=1_800_000_000.0, digest="00" * 32, validators=Validators('"e"'), url="https://x/")
SMALL = b'{"versions": []}'
LARGE = b"[" + b" " * 50_000 + b"]"  # a file of its own

Maker = Callable[[], Documents]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "documents"


@pytest.fixture
async def make(metrics: Metrics) -> AsyncIterator[Maker]:
    made: list[Documents] = []

    def make() -> Documents:
        made.append(Documents(metrics=metrics))
        return made[-1]

    yield make
    for entries in made:
        await entries.close()


@pytest.fixture
async def entries(make: Maker, directory: Path) -> Documents:
    made = make()
    await made.open(directory)
    return made


async def fill(entries: Documents, number: int, body: bytes = SMALL, start: int = 0) -> None:
    for n in range(start, start + number):
        assert await entries.put(f"key{n}", ENTRY, body, tag=f"tag{n % 2}")


async def held(entries: Documents, number: int, body: bytes = SMALL) -> int:
    """How many of the keys are answered; each must be right."""
    got = [await entries.get(f"key{n}") for n in range(number)]
    found = [stored for stored in got if stored is not None]
    assert all(stored == Stored(ENTRY, body) for stored in found)
    return len(found)


def sql(directory: Path, statement: str, *values: object) -> None:
    connection = sqlite3.connect(directory / "cache.db")
    with connection:
        connection.execute(statement, values)
    connection.close()


def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nobody wait long for a lock."""
    for module in ("sqlite_form", "documents.database"):
        monkeypatch.setattr(f"nugetproxy.store.{module}.LOCK_SECONDS", 0.05)


def corrupt(directory: Path) -> list[Path]:
    return sorted(directory.parent.glob("documents.corrupt-*"))


# --- the good path ---


@pytest.mark.parametrize("body", [SMALL, LARGE, b""])
async def test_a_document_survives_a_restart(entries: Documents, make: Maker, directory: Path, body: bytes) -> None:
    assert await entries.put("key", ENTRY, body, tag="id")
    assert await entries.get("key") == Stored(ENTRY, body)
    await entries.close()
    assert await entries.get("key") is None
    again = make()
    await again.open(directory)
    assert await again.get("key") == Stored(ENTRY, body)
    assert corrupt(directory) == []


async def test_unknown_keys_are_missed(entries: Documents) -> None:
    assert await entries.get("nothing") is None
    assert await entries.delete("nothing") is False
    assert await entries.evict_tag("nothing") == 0


async def test_replacing_and_deleting(entries: Documents, directory: Path) -> None:
    for body in (SMALL, LARGE, SMALL, LARGE + b" "):
        await entries.put("key", ENTRY, body, tag="id")
        assert await entries.get("key") == Stored(ENTRY, body)
    assert await entries.delete("key") is True
    assert await entries.get("key") is None
    assert list(directory.rglob("*.val")) == []


async def test_an_expired_document_is_missed(entries: Documents) -> None:
    await entries.put("key", ENTRY, SMALL, tag="id", expire=-1)
    await entries.put("other", ENTRY, SMALL, tag="id", expire=1000)
    assert await entries.get("key") is None
    assert await entries.get("other") is not None
    assert await entries.trim(10**9) == 1


async def test_a_tag_takes_all_of_its_documents(entries: Documents) -> None:
    await fill(entries, 10)
    assert await entries.evict_tag("tag0") == 5
    assert [n for n in range(10) if await entries.get(f"key{n}")] == [1, 3, 5, 7, 9]


async def test_everything_is_private(entries: Documents, directory: Path) -> None:
    await fill(entries, 1, LARGE)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


async def test_many_at_once(entries: Documents) -> None:
    await asyncio.gather(*(entries.put(f"key{n}", ENTRY, SMALL, tag="id") for n in range(200)))
    got = await asyncio.gather(*(entries.get(f"key{n}") for n in range(200)))
    assert all(stored == Stored(ENTRY, SMALL) for stored in got)


# --- room ---


async def test_trimming_removes_the_oldest_in_a_step(entries: Documents, metrics: Metrics) -> None:
    await fill(entries, 40, LARGE)
    before = entries.volume()
    assert before > 40 * len(LARGE)
    assert count(metrics.store_bytes, "documents") == before
    limit = before - 10 * len(LARGE)
    assert await entries.trim(limit) == 40  # all at once: fewer than one step removes
    assert entries.volume() < limit


async def test_what_is_named_is_never_trimmed_and_the_rest_goes_a_day_later(
    entries: Documents, monkeypatch: pytest.MonkeyPatch
) -> None:
    tag = never_trimmed("up")
    for key in ("index", "old", "new"):
        await entries.put(key, ENTRY, SMALL, tag=tag)
    await entries.put("other", ENTRY, SMALL, tag=never_trimmed("another"))
    await entries.keep_named(tag, ["index", "new"])
    await fill(entries, 20)
    assert await entries.trim(0) == 20
    kept = [key for key in ("index", "old", "new", "other") if await entries.get(key)]
    assert kept == ["index", "old", "new", "other"]
    monkeypatch.setattr(documents_module, "SUPERSEDED_SECONDS", -1.0)
    await entries.keep_named(tag, ["index", "new"])
    assert await entries.trim(0) == 1
    assert [key for key in kept if await entries.get(key)] == ["index", "new", "other"]


async def test_what_is_named_again_stays(entries: Documents, directory: Path) -> None:
    tag = never_trimmed("up")
    await entries.put("page", ENTRY, SMALL, tag=tag)
    await entries.keep_named(tag, [])
    await entries.keep_named(tag, ["page"])
    connection = sqlite3.connect(directory / "cache.db")
    assert connection.execute("SELECT expire_time FROM Cache").fetchall() == [(None,)]
    connection.close()


async def test_tags_of_packages_and_of_kinds_are_different(entries: Documents) -> None:
    await entries.put("one", ENTRY, SMALL, tag=of_id("search"))
    await entries.put("two", ENTRY, SMALL, tag=of_kind("search"))
    await entries.put("three", ENTRY, SMALL, tag=never_trimmed("search"))
    assert await entries.evict_tag(of_id("search")) == 1
    assert [key for key in ("one", "two", "three") if await entries.get(key)] == ["two", "three"]


async def test_trimming_in_small_steps_stops_at_the_goal(entries: Documents, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents_module, "TRIM_ROWS", 1)
    await fill(entries, 40, LARGE)
    await fill(entries, 1, LARGE)
    before = entries.volume()
    removed = await entries.trim(before - 10 * len(LARGE))
    assert 10 < removed < 16
    assert 0.90 * (before - 10 * len(LARGE)) < entries.volume() <= 0.95 * (before - 10 * len(LARGE))
    left = [n for n in range(40) if await entries.get(f"key{n}")]
    assert left == [0, *range(removed + 1, 40)]


async def test_trimming_to_nothing_ends(entries: Documents) -> None:
    await fill(entries, 20)
    assert await entries.trim(0) == 20
    assert await held(entries, 20) == 0


async def test_below_the_limit_nothing_is_trimmed(entries: Documents) -> None:
    await fill(entries, 20)
    assert await entries.trim(10**9) == 0
    assert await held(entries, 20) == 20


# --- damaged before the start ---


def garbage_header(directory: Path) -> None:
    with (directory / "cache.db").open("r+b") as file:
        file.write(os.urandom(100))


def garbage_pages(directory: Path) -> None:
    with (directory / "cache.db").open("r+b") as file:
        size = file.seek(0, 2)
        for at in range(4096, size, 4096):
            file.seek(at)
            file.write(b"\xa5" * 4096)


def truncated(directory: Path) -> None:
    os.truncate(directory / "cache.db", 10_000)


def zero_bytes(directory: Path) -> None:
    os.truncate(directory / "cache.db", 0)


def another_database(directory: Path) -> None:
    (directory / "cache.db").unlink()
    sql(directory, "CREATE TABLE Precious (x)")


def default_diskcache(directory: Path) -> None:
    shutil.rmtree(directory)
    cache = Cache(str(directory))
    cache.set("e:key0", {"pickled": object})
    cache.close()


def a_directory(directory: Path) -> None:
    (directory / "cache.db").unlink()
    (directory / "cache.db").mkdir()


def setting(key: str, value: object) -> Callable[[Path], None]:
    def poison(directory: Path) -> None:
        sql(directory, "INSERT OR REPLACE INTO Settings VALUES (?, ?)", key, value)

    poison.__name__ = f"setting {key}={value}"
    return poison


def statement(text: str) -> Callable[[Path], None]:
    def poison(directory: Path) -> None:
        sql(directory, text)

    poison.__name__ = text
    return poison


DAMAGES = [
    garbage_header,
    garbage_pages,
    truncated,
    zero_bytes,
    another_database,
    default_diskcache,
    a_directory,
    setting("_directory", "/etc"),
    setting("sqlite_journal_mode", "delete"),
    setting("sqlite_mmap_size", 2**40),
    setting("sqlite_temp_store_directory", "/etc"),
    setting("disk_min_file_size", 2**60),
    setting("disk_pickle_protocol", 5),
    setting("eviction_policy", "least-recently-used"),
    setting("cull_limit", 10),
    setting("size", "big"),
    setting("count", -1),
    setting("hits", 0.5),
    statement("DELETE FROM Settings WHERE key = 'size'"),
    statement("DROP TABLE Settings"),
    statement("DROP TABLE Cache"),
    statement("DROP INDEX Cache_store_time"),
    statement("CREATE TRIGGER evil AFTER INSERT ON Cache BEGIN DELETE FROM Cache; END"),
    statement("CREATE VIEW evil AS SELECT 1"),
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
async def test_a_damaged_database_is_set_aside_at_the_start(
    entries: Documents, make: Maker, directory: Path, metrics: Metrics, damage: Callable[[Path], None]
) -> None:
    await fill(entries, 100)
    await entries.close()
    damage(directory)
    again = make()
    begun = time.monotonic()
    with capture_logs() as logs:
        await again.open(directory)
    assert time.monotonic() - begun < 5
    assert [event["event"] for event in logs] == ["documents.rebuilt"]
    assert await held(again, 100) == 0
    await fill(again, 3)
    assert await held(again, 3) == 3
    assert len(corrupt(directory)) == 1
    assert count(metrics.documents_rebuilds) == 1
    assert not Path("/etc/cache.db").exists()
    await again.close()
    once_more = make()
    await once_more.open(directory)
    assert await held(once_more, 3) == 3
    assert count(metrics.documents_rebuilds) == 1


async def test_few_corrupt_databases_are_kept(make: Maker, directory: Path) -> None:
    for _ in range(5):
        entries = make()
        await entries.open(directory)
        await entries.close()
        garbage_header(directory)
    assert len(corrupt(directory)) == 2


async def test_a_file_in_place_of_the_directory_is_set_aside(make: Maker, directory: Path) -> None:
    directory.write_text("?")
    entries = make()
    await entries.open(directory)
    assert await entries.put("key", ENTRY, SMALL, tag="id") is False  # not usable, and yet no error
    assert await entries.get("key") is None


async def test_a_path_that_diskcache_would_expand_is_refused(
    make: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELSEWHERE", "elsewhere")
    with pytest.raises(StoreUnusable, match="environment variable"):
        await make().open(tmp_path / "$ELSEWHERE")
    assert list(tmp_path.iterdir()) == []


async def test_value_files_that_no_row_names_are_swept(
    entries: Documents, make: Maker, directory: Path, metrics: Metrics
) -> None:
    await fill(entries, 2, LARGE)
    await entries.close()
    orphan = directory / "ab/cd" / ("0" * 28 + ".val")
    orphan.parent.mkdir(parents=True)
    orphan.write_bytes(b"half")
    again = make()
    await again.open(directory)
    assert not orphan.exists()
    assert count(metrics.orphans_removed) == 1
    assert await held(again, 2, LARGE) == 2


# --- poisoned rows ---

CANARY = b"cos\nsystem\n(S'touch %s'\ntR."  # a pickle of protocol 0 that runs a command

POISONS = {
    "pickle in the row": ("mode = 4, filename = NULL, value = :pickle", {}),
    "pickle in a file": ("mode = 4, filename = :file, value = NULL", {}),
    "text mode": ("mode = 3, filename = :file, value = NULL", {}),
    "no mode": ("mode = 0", {}),
    "mode as text": ("mode = 'evil'", {}),
    "traversal": ("mode = 2, filename = '../victim', value = NULL", {}),
    "absolute": ("mode = 2, filename = :victim, value = NULL", {}),
    "trailing newline": ("mode = 2, filename = :file || char(10), value = NULL", {}),
    "file name as number": ("mode = 2, filename = 7, value = NULL", {}),
    "value as text": ("mode = 1, filename = NULL, value = 'text'", {}),
    "value as number": ("mode = 1, filename = NULL, value = 7", {}),
    "file beside a value": ("mode = 1, filename = '../victim'", {}),
    "pickled key": ("raw = 0, key = :pickle", {}),
    "key as bytes": ("key = CAST(key AS BLOB)", {}),
    "raw as text": ("raw = 'x'", {}),
}


def poison(directory: Path, assignment: str) -> None:
    """Change the row of key0."""
    victim = directory.parent / "victim"
    victim.write_text("precious")
    (directory / "aa/bb").mkdir(parents=True, exist_ok=True)
    pickle_ = CANARY % str(directory.parent / "canary").encode()
    name = f"aa/bb/{'c' * 28}.val"
    (directory / name).write_bytes(pickle_)
    connection = sqlite3.connect(directory / "cache.db")
    with connection:
        connection.execute(
            f"UPDATE Cache SET {assignment} WHERE key = 'e:key0'",
            {"pickle": pickle_, "file": name, "victim": str(victim)},
        )
        assert connection.execute("SELECT changes()").fetchone() == (1,)
    connection.close()


async def assert_harmless(entries: Documents, directory: Path) -> None:
    """What the row of key0 says is not believed, anything else is right or missed; what comes is kept."""
    assert await entries.get("key0") is None
    assert await entries.get("key1") in (None, Stored(ENTRY, SMALL))
    await fill(entries, 2)
    assert await held(entries, 2) == 2
    assert await entries.evict_tag("tag0") >= 1
    await entries.trim(0)
    assert not (directory.parent / "canary").exists()
    assert (directory.parent / "victim").read_text() == "precious"


@pytest.mark.parametrize("name", POISONS)
async def test_a_poisoned_row_at_the_start_sets_all_aside(
    entries: Documents, make: Maker, directory: Path, metrics: Metrics, name: str
) -> None:
    await fill(entries, 2)
    await entries.close()
    poison(directory, POISONS[name][0])
    again = make()
    await again.open(directory)
    assert (count(metrics.documents_poisoned), count(metrics.documents_rebuilds)) == (1, 1)
    connection = sqlite3.connect(directory / "cache.db")
    assert connection.execute("SELECT key FROM Cache").fetchall() == []
    connection.close()
    await assert_harmless(again, directory)
    assert len(corrupt(directory)) == 1
    assert count(metrics.documents_rebuilds) == 1


@pytest.mark.parametrize("name", POISONS)
async def test_a_row_poisoned_meanwhile_sets_all_aside_when_it_is_read(
    entries: Documents, directory: Path, metrics: Metrics, name: str
) -> None:
    await fill(entries, 2)
    poison(directory, POISONS[name][0])
    await assert_harmless(entries, directory)
    found = 0 if name in {"pickled key", "key as bytes", "raw as text"} else 1  # never found by key
    assert (count(metrics.documents_poisoned), count(metrics.documents_rebuilds)) == (found, found)
    assert len(corrupt(directory)) == found


async def test_a_value_of_another_key_is_missed(entries: Documents, directory: Path, metrics: Metrics) -> None:
    await entries.put("key0", ENTRY, b"zero", tag="id")
    await entries.put("key1", ENTRY, b"one", tag="id")
    sql(directory, "UPDATE Cache SET value = (SELECT value FROM Cache WHERE key = 'e:key1') WHERE key = 'e:key0'")
    assert await entries.get("key0") is None
    assert await entries.get("key1") in (None, Stored(ENTRY, b"one"))
    await fill(entries, 2)
    assert await held(entries, 2) == 2
    assert (count(metrics.documents_poisoned), count(metrics.documents_rebuilds)) == (1, 1)


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "gone"])
async def test_a_damaged_value_file_is_a_miss(
    entries: Documents, directory: Path, metrics: Metrics, damage: str
) -> None:
    await entries.put("key", ENTRY, LARGE, tag="id")
    (file,) = directory.rglob("*.val")
    content = bytearray(file.read_bytes())
    if damage == "cut":
        file.write_bytes(content[:-1])
    elif damage == "flip":
        content[30_000] ^= 1
        file.write_bytes(content)
    elif damage == "empty":
        file.write_bytes(b"")
    else:
        file.unlink()
    assert await entries.get("key") is None
    assert await entries.put("key", ENTRY, LARGE, tag="id")
    assert await entries.get("key") == Stored(ENTRY, LARGE)
    assert len(list(directory.rglob("*.val"))) == 1
    found = 0 if damage == "gone" else 1  # removed meanwhile, for all that diskcache can know
    assert (count(metrics.documents_poisoned), count(metrics.documents_rebuilds)) == (found, found)


# --- several at once ---


async def test_what_comes_together_is_stored_in_one_step(entries: Documents, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []
    transact = Cache._transact

    def counted(cache: Cache, *args: Any, **kwargs: Any) -> Any:
        begun.append("nested" if cache._txn_id == threading.get_ident() else "own")
        return transact(cache, *args, **kwargs)

    monkeypatch.setattr(Cache, "_transact", counted)
    assert await asyncio.gather(*(entries.put(f"key{n}", ENTRY, SMALL, tag="id") for n in range(20))) == [True] * 20
    assert begun == ["own"]
    assert await held(entries, 20) == 20


async def test_of_many_rows_the_last_of_each_key_counts(entries: Documents, directory: Path) -> None:
    for key, body in (("old", SMALL), ("grown", SMALL), ("shrunk", LARGE)):
        assert await entries.put(key, ENTRY, body, tag="before")
    told = {
        **{f"new{n}": [b"[%d]" % n] for n in range(2 * MOST_AT_ONCE + 1)},
        "old": [b"[1]"],
        "grown": [LARGE],
        "shrunk": [SMALL],
        "twice": [b"[1]", b"[2]"],
        "large, then small": [LARGE, b"[3]"],
        "small, then large, then small": [b"[4]", LARGE, b"[5]"],
    }
    rows = [(key, body) for key, bodies in told.items() for body in bodies]
    stored = await asyncio.gather(*(entries.put(key, ENTRY, body, tag="id", expire=60.0) for key, body in rows))
    assert all(stored)
    assert await entries.get_all(list(told)) == [Stored(ENTRY, bodies[-1]) for bodies in told.values()]
    assert len(list(directory.rglob("*.val"))) == 1
    with closing(sqlite3.connect(directory / "cache.db")) as connection:
        rows = connection.execute("SELECT count(*), min(tag), max(tag), min(expire_time) FROM Cache").fetchall()
        assert rows[0][:3] == (len(told), "id", "id")
        assert 0 < rows[0][3] - time.time() <= 60.0
        assert connection.execute("SELECT value FROM Settings WHERE key = 'count'").fetchone() == (len(told),)
    assert await entries.evict_tag("id") == len(told)


@pytest.mark.parametrize(
    ("known", "looks", "replaced"),
    [((), 0, 0), (range(50), 51, 50), (range(20, 23), 4, 3)],
    ids=["all are new", "none is", "some are"],
)
async def test_rows_that_come_together_are_inserted_at_once(
    entries: Documents, known: Sequence[int], looks: int, replaced: int
) -> None:
    for n in known:
        assert await entries.put(f"key{n}", ENTRY, b"[]", tag="id")
    statements: list[str] = []
    await entries._change(lambda cache: cache._con.set_trace_callback(statements.append), None)
    assert all(await asyncio.gather(*(entries.put(f"key{n}", ENTRY, SMALL, tag="id") for n in range(50))))
    await entries._change(lambda cache: cache._con.set_trace_callback(None), None)
    within = statements[statements.index("BEGIN IMMEDIATE") : statements.index("COMMIT")]
    different = [text.split()[0] for text in dict.fromkeys(within)]  # a trigger has its statement told again
    assert [different.count(word) for word in ("BEGIN", "INSERT", "SELECT", "UPDATE")] == [1, 1, looks, replaced]
    assert await held(entries, 50) == 50


async def test_the_volume_of_what_comes_in_batches_is_looked_at_once_a_second(entries: Documents) -> None:
    await entries.put("key", ENTRY, SMALL, tag="id")
    before = entries.volume()
    entries._index._measured = math.inf  # just now, however slow this machine is
    assert all(await asyncio.gather(*(entries.put(f"key{n}", ENTRY, LARGE, tag="id") for n in range(9))))
    assert entries.volume() == before
    entries._index._measured = -math.inf
    assert all(await asyncio.gather(*(entries.put(f"more{n}", ENTRY, SMALL, tag="id") for n in range(9))))
    assert entries.volume() > before + 9 * len(LARGE)
    entries._index._measured = math.inf
    measured = entries.volume()
    await entries.put("alone", ENTRY, LARGE, tag="id")
    assert entries.volume() > measured


async def test_what_is_stored_before_it_is_deleted_is_deleted(entries: Documents) -> None:
    first = entries.store("key0", ENTRY, SMALL, tag="id")
    assert await entries.delete("key0")
    assert (first.end.result(), first.told.result()) == (True, True)
    assert await held(entries, 1) == 0


async def test_who_waits_no_more_for_a_row_keeps_nobody_from_knowing(entries: Documents) -> None:
    first, second = (entries.store(key, ENTRY, SMALL, tag="id") for key in ("key0", "key1"))
    assert first.end is second.end, "they are stored together"
    first.told.cancel()
    assert await second.told is True
    assert await held(entries, 2) == 2


async def test_where_one_cannot_be_stored_all_is_as_it_was(
    entries: Documents, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await entries.put("key0", ENTRY, LARGE, tag="id")
    before = sorted(directory.rglob("*.val"))
    insert = Cache._row_insert

    def failing(cache: Cache, key: str, *rest: Any) -> None:
        if key == "e:bad":
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_IOERR, "SQLITE_IOERR"
            raise error
        insert(cache, key, *rest)

    monkeypatch.setattr(Cache, "_row_insert", failing)
    writes = {entries.store(key, ENTRY, b"2" * 40_000, tag="id").end for key in ("key0", "key1", "bad")}
    await asyncio.wait(writes)
    assert [one.result() for one in writes] == [False], "they are one step"
    assert sorted(directory.rglob("*.val")) == before
    assert await entries.get("key0") == Stored(ENTRY, LARGE)
    assert await entries.get("key1") is None
    monkeypatch.undo()
    assert await entries.put("key0", ENTRY, b"2" * 40_000, tag="id")
    assert len(list(directory.rglob("*.val"))) == 1


async def test_it_is_known_what_is_not_stored(entries: Documents, make: Maker, directory: Path) -> None:
    await fill(entries, 3)
    await entries.close()
    again = make()
    assert not again.lacks("key9"), "of a store that is not open nothing is known"
    await again.open(directory)
    assert await again.put("key3", ENTRY, SMALL, tag="id")  # the writer has looked before
    assert [again.lacks(f"key{n}") for n in range(5)] == [False] * 4 + [True]
    pending = again.store("key4", ENTRY, SMALL, tag="id")
    assert not again.lacks("key4")
    await pending.told
    await again.delete("key4")
    assert await again.get("key4") is None


# --- damaged while running ---


@pytest.mark.parametrize(
    "damage",
    [garbage_header, *(pytest.param(one, marks=pytest.mark.slow) for one in (garbage_pages, truncated, zero_bytes))],
    ids=lambda d: d.__name__,
)
async def test_damage_while_running_reaches_no_caller(
    entries: Documents, make: Maker, directory: Path, metrics: Metrics, damage: Callable[[Path], None]
) -> None:
    await fill(entries, 500)
    sql(directory, "PRAGMA wal_checkpoint(TRUNCATE)")
    damage(directory)
    for round_ in range(3):
        await held(entries, 500)
        for n in range(20):
            await entries.put(f"new{round_}-{n}", ENTRY, SMALL, tag="id")
    await fill(entries, 20)
    assert await held(entries, 20) == 20
    await entries.close()
    again = make()
    await again.open(directory)
    assert await held(again, 20) == 20
    assert count(metrics.documents_rebuilds) <= 2


@pytest.mark.parametrize("what", ["directory", "database"])
async def test_a_store_deleted_while_running_is_begun_afresh(
    entries: Documents, make: Maker, directory: Path, metrics: Metrics, what: str
) -> None:
    await fill(entries, 5)
    if what == "directory":
        shutil.rmtree(directory)
    else:
        (directory / "cache.db").unlink()
    await entries.put("noticed", ENTRY, SMALL, tag="id")
    await fill(entries, 5)
    assert await held(entries, 5) == 5
    await entries.close()
    again = make()
    await again.open(directory)
    assert await held(again, 5) == 5
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert count(metrics.documents_rebuilds) == 1


async def test_a_database_locked_by_someone_else_delays_and_drops_writes_only(
    entries: Documents, directory: Path, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(entries, 10)
    monkeypatch.setattr(entries._batches, "limit", 0.2)
    other = sqlite3.connect(directory / "cache.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    begun = time.monotonic()
    assert await asyncio.gather(*(entries.put(f"new{n}", ENTRY, SMALL, tag="id") for n in range(50))) == [False] * 50
    assert time.monotonic() - begun < 2
    assert await held(entries, 10) == 10
    assert count(metrics.documents_write_timeouts) == 50
    other.execute("ROLLBACK")
    other.close()
    monkeypatch.setattr(entries._batches, "limit", 10)
    assert await entries.put("after", ENTRY, SMALL, tag="id")
    assert await entries.get("after") is not None
    assert count(metrics.documents_rebuilds) == 0


async def test_a_lock_that_lasts_is_no_reason_to_begin_afresh(
    make: Maker, directory: Path, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient(monkeypatch)
    entries = make()
    await entries.open(directory)
    other = sqlite3.connect(directory / "cache.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert await entries.put("key", ENTRY, SMALL, tag="id") is False
    assert await entries.evict_tag("id") == 0
    other.execute("ROLLBACK")
    other.close()
    assert await entries.put("key", ENTRY, SMALL, tag="id")
    assert count(metrics.documents_write_timeouts) == 2
    assert count(metrics.documents_rebuilds) == 0


async def test_a_full_disk_drops_writes_and_leaves_no_half_files(
    entries: Documents, directory: Path, metrics: Metrics
) -> None:
    await fill(entries, 5)
    with closing(sqlite3.connect(directory / "cache.db")) as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
    await entries._change(lambda cache: cache._sql(f"PRAGMA max_page_count = {pages}").fetchall(), [])
    results = [await entries.put(f"new{n}", ENTRY, SMALL * 500, tag="id") for n in range(20)]
    assert not all(results)
    assert await held(entries, 5) == 5
    assert count(metrics.disk_errors, "documents_set", "SQLITE_FULL") == results.count(False)
    await entries._change(lambda cache: cache._sql("PRAGMA max_page_count = 1000000").fetchall(), [])
    assert await entries.put("after", ENTRY, SMALL * 500, tag="id")
    assert count(metrics.documents_rebuilds) == 0


async def test_a_value_file_that_cannot_be_written_leaves_nothing(
    entries: Documents, directory: Path, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    import diskcache.core as core

    class Full:
        def __init__(self, path: str, mode: str, **_: object) -> None:
            self.file = Path(path).open("xb")  # noqa: SIM115

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, data: bytes) -> None:
            self.file.write(data[:1000])
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(core, "open", Full, raising=False)
    assert await entries.put("key", ENTRY, LARGE, tag="id") is False
    monkeypatch.undo()
    assert list(directory.rglob("*.val")) == []
    assert count(metrics.disk_errors, "documents_set", "ENOSPC") == 1
    assert await entries.put("key", ENTRY, LARGE, tag="id")


async def test_read_only_neither_spins_nor_raises(entries: Documents, directory: Path, metrics: Metrics) -> None:
    await fill(entries, 5)
    await entries._change(lambda cache: cache._sql("PRAGMA query_only = 1").fetchall(), [])
    begun = time.process_time()
    for n in range(20):
        assert await entries.put(f"new{n}", ENTRY, SMALL, tag="id") is False
    assert time.process_time() - begun < 1
    assert await held(entries, 5) == 5
    assert count(metrics.documents_rebuilds) == 0


async def test_a_store_that_cannot_be_made_is_tried_again(
    make: Maker, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory.write_text("in the way")
    directory.parent.chmod(0o700)
    entries = make()
    fails = [True]
    monkeypatch.setattr(index_module, "set_aside", lambda fs, path: None if fails[0] else set_aside(fs, path))
    await entries.open(directory)
    assert await entries.put("key", ENTRY, SMALL, tag="id") is False
    directory.unlink()
    monkeypatch.setattr(index_module, "AGAIN_SECONDS", 0.0)
    entries._index._again = 0.0
    assert await entries.put("key", ENTRY, SMALL, tag="id")
    assert await entries.get("key") == Stored(ENTRY, SMALL)


async def test_calls_before_the_opening_and_after_the_end_miss(make: Maker, directory: Path) -> None:
    entries = make()
    assert await entries.get("key") is None
    assert await entries.put("key", ENTRY, SMALL, tag="id") is False
    await entries.open(directory)
    await entries.close()
    assert await entries.put("key", ENTRY, SMALL, tag="id") is False
    assert await entries.delete("key") is False
    assert await entries.evict_tag("id") == 0
    assert await entries.trim(0) == 0
    await entries.close()


async def test_its_threads_are_its_own(entries: Documents) -> None:
    await asyncio.gather(*(entries.get(f"key{n}") for n in range(50)), entries.put("k", ENTRY, SMALL, tag="t"))
    names = {thread.name for thread in threading.enumerate() if thread.name.startswith("documents-")}
    assert len(names) == 3


async def test_a_database_locked_at_the_start_is_opened_later(
    entries: Documents, make: Maker, directory: Path, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(entries, 3)
    await entries.close()
    impatient(monkeypatch)
    other = sqlite3.connect(directory / "cache.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    again = make()
    await again.open(directory)
    assert await held(again, 3) == 0
    other.execute("ROLLBACK")
    other.close()
    again._index._again = 0.0
    assert await again.put("key", ENTRY, SMALL, tag="id")
    assert await held(again, 3) == 3
    assert count(metrics.documents_rebuilds) == 0


async def test_settings_changed_while_running_are_not_obeyed(entries: Documents, directory: Path) -> None:
    await fill(entries, 2)
    sql(directory, "INSERT INTO Settings VALUES ('sqlite_user_version', 7)")
    await asyncio.gather(*(entries.get(f"key{n % 2}") for n in range(50)))
    connection = sqlite3.connect(directory / "cache.db")
    assert connection.execute("PRAGMA user_version").fetchone() == (0,)
    connection.close()
    assert await held(entries, 2) == 2
