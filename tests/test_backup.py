"""What must not be lost is carried away while the proxy runs, and comes back whole or not at all."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import shutil
import sqlite3
import tarfile
import zlib
from contextlib import closing
from pathlib import Path

import aiohttp
import pytest

from nugetproxy.store.ledger.form import STEPS
from tests.fakes.asking import PACKAGE, SMALL
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.process import ProxyProcess
from tests.test_control import cli

pytestmark = pytest.mark.slow  # most tests start processes

OTHER = make_nupkg("Acme.A", "1.0.0", description="other bytes")


@pytest.fixture
def file(tmp_path: Path, feed: FakeFeed) -> Path:
    file = tmp_path / "proxy.toml"
    file.write_text(text(tmp_path / "cache", feed))
    return file


def text(cache: Path, feed: FakeFeed) -> str:
    return f'[cache]\ndirectory = "{cache}"\n[upstreams.up]\nurl = "{feed.index_url}"\n'


async def status(proxy: ProxyProcess, path: str = PACKAGE, **headers: str) -> int:
    async with aiohttp.ClientSession() as session, session.get(proxy.url + path, headers=headers) as answer:
        await answer.read()
        return answer.status


async def test_pins_and_tokens_come_back(file: Path, tmp_path: Path, feed: FakeFeed) -> None:
    feed.add(SMALL)
    backup, elsewhere = tmp_path / "away.tar.gz", tmp_path / "elsewhere"
    async with ProxyProcess("--config", file) as proxy:
        assert await status(proxy) == 200
        _, secret, _ = await cli("token", "add", "ci", "--scope", "read", "--config", file)
        assert (await cli("keep", "acme.a", "--config", file))[0] == 0
        code, out, told = await cli("backup", backup, "--config", file)
        assert (code, told) == (0, "")
        assert "holds ledger.db, provenance.log, configuration.toml." in out
        assert (await cli("backup", backup, "--config", file))[0] == 1, "nothing is written over"
        code, _, told = await cli("restore", backup, "--config", file)
        assert (code, "another" in told or "process" in told) == (75, True), told
        await proxy.stop()
    assert backup.stat().st_mode & 0o777 == 0o600
    assert secret.strip() not in gzip.decompress(backup.read_bytes()).decode(errors="replace")
    assert not (tmp_path / "cache" / "ledger.db.snapshot").exists()
    code, out, told = await cli("restore", backup, "--cache-dir", elsewhere, "--config-to", tmp_path / "back.toml")
    assert (code, told) == (0, ""), told
    assert (tmp_path / "back.toml").read_text() == file.read_text()
    feed.add(OTHER)
    (tmp_path / "new.toml").write_text(text(elsewhere, feed))
    async with ProxyProcess("--config", tmp_path / "new.toml") as proxy:
        assert await status(proxy) == 401
        shown = {"Authorization": f"Bearer {secret.strip()}"}
        assert await status(proxy, **shown) == 502, "the pin is there: other bytes are refused"
        code, out, _ = await cli("keep", "--json", "--config", tmp_path / "new.toml")
        assert [one["id"] for one in json.loads(out)["kept"]] == ["acme.a"]


async def test_a_stopped_proxy_is_backed_up_too_and_the_ledger_of_before_is_set_aside(
    file: Path, tmp_path: Path
) -> None:
    assert (await cli("keep", "acme.a", "--config", file))[0] == 0
    assert (await cli("backup", tmp_path / "b", "--config", file))[0] == 0
    assert (await cli("unkeep", "acme.a", "--config", file))[0] == 0
    code, out, _ = await cli("restore", tmp_path / "b", "--config", file)
    assert code == 0
    assert out.startswith("The ledger of before is ")
    assert "acme.a" in (await cli("keep", "--config", file))[1]


async def test_a_token_that_was_revoked_since_comes_back_with_a_word_about_it(file: Path, tmp_path: Path) -> None:
    assert (await cli("token", "add", "leaked", "--scope", "read", "--config", file))[0] == 0
    assert (await cli("backup", tmp_path / "b", "--config", file))[0] == 0
    assert (await cli("token", "revoke", "leaked", "--config", file))[0] == 0
    _, out, _ = await cli("restore", tmp_path / "b", "--config", file)
    assert "leaked" in (await cli("token", "list", "--config", file))[1]
    assert "Tokens that were revoked since the backup was made are good again: nugetproxy token list." in out


async def test_the_ledger_of_before_stays_with_all_that_a_kill_has_left_of_it(file: Path, tmp_path: Path) -> None:
    cache, killed = tmp_path / "cache", tmp_path / "killed"
    assert (await cli("token", "add", "first", "--scope", "read", "--config", file))[0] == 0
    assert (await cli("backup", tmp_path / "away", "--config", file))[0] == 0
    with closing(sqlite3.connect(cache / "ledger.db")) as ledger:
        ledger.execute("UPDATE tokens SET name = 'last'")
        ledger.commit()
        shutil.copytree(cache, killed)
    assert (killed / "ledger.db-wal").stat().st_size
    for _ in range(4):
        code, _, told = await cli("restore", tmp_path / "away", "--cache-dir", killed)
        assert (code, told) == (0, "")
    aside = sorted(killed.glob("ledger.db.before-*"))
    assert len(aside) == 4
    with closing(sqlite3.connect(aside[0])) as ledger:
        assert ledger.execute("SELECT name FROM tokens").fetchall() == [("last",)]


@pytest.mark.parametrize("damage", ["cut", "altered", "empty", "missing", "garbled"])
async def test_a_damaged_backup_changes_nothing(file: Path, tmp_path: Path, damage: str) -> None:
    assert (await cli("keep", "acme.a", "--config", file))[0] == 0
    backup = tmp_path / "b"
    assert (await cli("backup", backup, "--config", file))[0] == 0
    assert (await cli("keep", "acme.b", "--config", file))[0] == 0
    body = backup.read_bytes()
    if damage == "cut":
        backup.write_bytes(body[: len(body) // 2])
    elif damage == "empty":
        backup.write_bytes(b"")
    elif damage == "missing":
        backup.unlink()
    elif damage == "garbled":
        whole, packed = gzip.decompress(body), zlib.compressobj(wbits=31)
        backup.write_bytes(packed.compress(whole[:9000]) + packed.flush(zlib.Z_FULL_FLUSH) + b"\xff" * 2000)
    else:
        await asyncio.to_thread(alter, backup)
    code, out, told = await cli("restore", backup, "--config", file)
    assert (code, out) == (1, "")
    assert "nothing was restored" in told or "cannot be read" in told
    assert "acme.b" in (await cli("keep", "--config", file))[1]


def alter(backup: Path) -> None:
    """Another ledger under the hash of the one of before."""
    with tarfile.open(backup, "r:gz") as archive:
        found = {one.name: archive.extractfile(one).read() for one in archive}  # type: ignore[union-attr]
    found["ledger.db"] = found["ledger.db"][:-1] + b"x"
    with tarfile.open(backup, "w:gz") as archive:
        for name, body in found.items():
            member = tarfile.TarInfo(name)
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))


async def test_a_ledger_of_a_newer_version_is_refused_and_an_older_one_taken(file: Path, tmp_path: Path) -> None:
    assert (await cli("keep", "acme.a", "--config", file))[0] == 0
    ledger = tmp_path / "cache" / "ledger.db"
    assert (await cli("backup", tmp_path / "b", "--config", file))[0] == 0
    with closing(sqlite3.connect(ledger)) as connection:
        connection.execute(f"PRAGMA user_version = {len(STEPS) + 1}")
    newer = ProxyProcess("--config", file)
    await newer.start()
    assert await newer.ended() == 75
    assert "a newer nugetproxy made its ledger" in "\n".join(newer.errors)
    code, _, told = await cli("restore", tmp_path / "b", "--config", file)
    assert code == 0, told
    assert "acme.a" in (await cli("keep", "--config", file))[1]


async def test_a_first_seen_log_that_cannot_be_written_leaves_the_ledger_as_it_is(file: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert (await cli("keep", "acme.a", "--config", file))[0] == 0
    (cache / "provenance.log").write_text("the log of then\n")
    assert (await cli("backup", tmp_path / "b", "--config", file))[0] == 0
    assert (await cli("keep", "acme.b", "--config", file))[0] == 0
    (cache / "provenance.log").write_text("the log of now\n")
    (cache / "provenance.log.restoring").mkdir()
    assert (await cli("restore", tmp_path / "b", "--config", file))[0] == 75
    assert "acme.b" in (await cli("keep", "--config", file))[1]
    assert (cache / "provenance.log").read_text() == "the log of now\n"
    (cache / "provenance.log.restoring").rmdir()
    assert (await cli("restore", tmp_path / "b", "--config", file))[0] == 0
    assert "acme.b" not in (await cli("keep", "--config", file))[1]
    assert (cache / "provenance.log").read_text() == "the log of then\n"


async def test_what_is_beside_the_cache_is_looked_at_first_and_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "proxy.toml").write_text(f'[access]\ntokens_file = "{tmp_path / "tokens"}"\n')
    (tmp_path / "tokens").write_text("[]")
    here = ("--config", tmp_path / "proxy.toml", "--cache-dir", tmp_path / "cache")
    assert (await cli("keep", "acme.a", *here))[0] == 0
    assert (await cli("backup", tmp_path / "b", *here))[0] == 0
    assert (await cli("backup", tmp_path / "bare", "--cache-dir", tmp_path / "cache"))[0] == 0
    (tmp_path / "back.toml.tokens").write_text("of somebody else")
    elsewhere = tmp_path / "elsewhere"
    for backup, place, why in (
        ("b", tmp_path / "none" / "back.toml", f"There is no folder {tmp_path / 'none'}."),
        ("b", tmp_path / "back.toml", f"{tmp_path / 'back.toml.tokens'} exists already; name another file."),
        ("bare", tmp_path / "new.toml", f"There is no configuration in {tmp_path / 'bare'}: "),
    ):
        code, out, told = await cli("restore", tmp_path / backup, "--cache-dir", elsewhere, "--config-to", place)
        assert (code, out, told[: len(why)]) == (1, "", why)
    assert not elsewhere.exists() and not (tmp_path / "back.toml").exists()
    assert (tmp_path / "back.toml.tokens").read_text() == "of somebody else"
    code, out, told = await cli(
        "restore", tmp_path / "b", "--cache-dir", elsewhere, "--config-to", tmp_path / "new.toml"
    )
    assert (code, (tmp_path / "new.toml.tokens").read_text()) == (0, "[]")
    assert f"The file of tokens in the backup is {tmp_path / 'new.toml.tokens'} now; put it where" in told
    code, out, told = await cli("restore", tmp_path / "b", "--cache-dir", elsewhere)
    assert (code, told.startswith("The file of tokens in the backup is not written without --config-to;")) == (0, True)
    assert "tokens" not in (await cli("restore", tmp_path / "bare", "--cache-dir", elsewhere))[2]
