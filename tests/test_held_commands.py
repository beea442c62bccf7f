"""What is held is listed, purged, refreshed, kept, evicted, verified on an operator's word, beside the clients."""

from __future__ import annotations

import asyncio
import errno
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.conftest import StartProxy
from tests.fakes.asking import PACKAGE, UP_PACKAGE, VERSIONS, Got, ask, until
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.process import ProxyProcess
from tests.fakes.proxy import Proxy
from tests.store.kit import FailingFs
from tests.test_control import cli

pytestmark = pytest.mark.slow  # most tests start processes

FIRST, SECOND = (make_nupkg("Acme.A", "1.0.0", description=text) for text in ("the first bytes", "other bytes"))
SIZE = 50_000
DAY = 86400.0


@pytest.fixture
async def admin(proxy: Proxy) -> dict[str, str]:
    """What an administrator shows; everybody may still read."""
    _, secret = await proxy.app.tokens.add("boss", ["admin"], (), None)
    return {"Authorization": f"Bearer {secret}"}


async def get(proxy: Proxy, admin: dict[str, str], name: str) -> Any:
    got = await ask(proxy, f"/-/{name}", headers=admin)
    assert got.status == 200, got.body
    return json.loads(got.body)


async def post(proxy: Proxy, admin: dict[str, str], name: str, **arguments: Any) -> Any:
    got = await send(proxy, admin, name, **arguments)
    assert got.status == 200, got.body
    return json.loads(got.body)


async def send(proxy: Proxy, admin: dict[str, str], name: str, **arguments: Any) -> Got:
    return await ask(proxy, f"/-/{name}", "POST", json=arguments, headers=admin)


def path_of(id: str, version: str = "1.0.0") -> str:
    return f"/v3/content/{id.lower()}/{version}/{id.lower()}.{version}.nupkg"


async def hold(proxy: Proxy, feed: FakeFeed, *names: str) -> None:
    """Have packages ("id@version") held, the first one used first."""
    for name in names:
        id, version = name.split("@")
        feed.add(make_nupkg(id, version, size=SIZE))
        assert (await ask(proxy, path_of(id, version))).status == 200
        await until(lambda: proxy.metric("flights") == 0)
    await proxy.app.housekeeping.finish()


def there(proxy: Proxy) -> set[str]:
    return {f"{path.parts[-3]}@{path.parts[-2]}" for path in proxy.packages.glob("*/*/*.sha512")}


async def test_what_is_held_is_listed(proxy: Proxy, feed: FakeFeed, admin: dict[str, str], clock: FakeClock) -> None:
    await hold(proxy, feed, "Acme.A@1.0.0", "Acme.A@2.0.0", "Other@1.0.0")
    clock.advance(60)
    assert (await ask(proxy, path_of("Acme.A"))).status == 200
    await post(proxy, admin, "keep", packages=["other"])
    said = await get(proxy, admin, "ls")
    assert said["count"] == 3
    assert said["size"] == sum(one["size"] for one in said["packages"]) > 3 * SIZE
    rows = {f"{one['id']}@{one['version']}": one for one in said["packages"]}
    assert list(rows) == ["acme.a@1.0.0", "acme.a@2.0.0", "other@1.0.0"]
    assert rows["acme.a@1.0.0"]["used"] > rows["acme.a@2.0.0"]["used"]
    assert {name: one["kept"] for name, one in rows.items()} == dict.fromkeys(rows, False) | {"other@1.0.0": True}
    assert {one["upstream"] for one in rows.values()} == {"up"}
    used = await get(proxy, admin, "ls?pattern=Acme.*&order=used&most=1")
    assert [one["version"] for one in used["packages"]] == ["2.0.0"]
    assert used["count"] == 2
    for wrong, word in (("ls?order=x", "id, size, used"), ("ls?upstream=x", "there are up")):
        got = await ask(proxy, f"/-/{wrong}", headers=admin)
        assert (got.status, word in got.body.decode()) == (400, True)


@pytest.mark.parametrize("wrong", [{"to": -1}, {"unused_for": -1}, {"keep_last": -2, "unused_for": 1e9}])
async def test_a_negative_number_makes_no_room(
    proxy: Proxy, feed: FakeFeed, admin: dict[str, str], clock: FakeClock, wrong: dict[str, float]
) -> None:
    """It would be a mistake of whoever asked, and take all that is held."""
    await hold(proxy, feed, "Acme.A@1.0.0", "Acme.A@2.0.0", "Acme.A@3.0.0")
    clock.advance(2 * 86400)
    got = await send(proxy, admin, "evict", **wrong)
    assert (got.status, "negative" in got.body.decode()) == (400, True)
    assert len(there(proxy)) == 3


async def test_a_purge_is_there_at_once(proxy: Proxy, feed: FakeFeed, admin: dict[str, str]) -> None:
    feed.add(FIRST)
    feed.add(make_nupkg("Acme.A", "2.0.0"))
    for path in (PACKAGE, PACKAGE, PACKAGE, path_of("Acme.A", "2.0.0"), VERSIONS):  # the last ones on the fast lane
        assert (await ask(proxy, path)).status == 200
    await until(lambda: proxy.metric("flights") == 0)
    feed.add(SECOND)
    done = await post(proxy, admin, "purge", id="Acme.A", version="1.0")
    assert [(one["removed"], one["held"]) for one in done["upstreams"]] == [(["1.0.0"], ["2.0.0"])]
    assert (await ask(proxy, PACKAGE)).body == SECOND
    asked = feed.count("/v3-flatcontainer/acme.a/index.json")
    assert (await ask(proxy, VERSIONS)).cache.startswith("fwd=uri-miss")
    assert feed.count("/v3-flatcontainer/acme.a/index.json") == asked + 1
    nothing = await post(proxy, admin, "purge", id="Acme.AA")
    assert nothing["similar"] == "acme.a"
    assert (await send(proxy, admin, "purge", id="../etc")).status == 400


async def test_a_refresh_asks_now(proxy: Proxy, feed: FakeFeed, admin: dict[str, str]) -> None:
    feed.add(FIRST)
    newest = path_of("Acme.A", "2.0.0")
    assert (await ask(proxy, VERSIONS)).body == b'{"versions":["1.0.0"]}'
    assert (await ask(proxy, newest)).status == 404
    feed.add(make_nupkg("Acme.A", "2.0.0"))
    assert (await ask(proxy, VERSIONS)).body == b'{"versions":["1.0.0"]}', "it is fresh"
    done = await post(proxy, admin, "refresh", id="ACME.A")
    assert [(one["upstream"], one["found"]) for one in done["upstreams"]] == [("up", True)]
    assert "content fetched" in done["upstreams"][0]["says"]
    assert (await ask(proxy, VERSIONS)).body == b'{"versions":["1.0.0","2.0.0"]}'
    assert (await ask(proxy, newest)).status == 200
    got = await send(proxy, admin, "refresh", id="no.such.thing")
    assert (got.status, b"it has no such package" in got.body) == (404, True)
    await feed.set_mode("refused")
    got = await send(proxy, admin, "refresh", id="acme.a")
    assert (got.status, b"could not be asked" in got.body) == (404, True), got.body


async def test_what_is_kept_stays_whatever_goes(proxy: Proxy, feed: FakeFeed, admin: dict[str, str]) -> None:
    names = [f"Acme.P{number}@1.0.0" for number in range(4)]
    await hold(proxy, feed, *names, "Acme.P0@2.0.0")
    done = await post(proxy, admin, "keep", packages=["Acme.P0", "acme.p1@1.0", "acme.p9"])
    assert done == {"kept": 3, "missing": ["acme.p9"], "in_folders": {}}
    await post(proxy, admin, "keep", packages=["acme.p2@1.0.0"], by="/src/packages.lock.json")
    await proxy.reload(cache={"max_size": "1 B"})
    await proxy.app.room.keep()
    kept = {"acme.p0@1.0.0", "acme.p0@2.0.0", "acme.p1@1.0.0", "acme.p2@1.0.0"}
    assert there(proxy) == kept
    assert {str(one.nupkg_name) for one in await proxy.held.holdings.recorded()} == {
        f"{name.replace('@', '.')}.nupkg" for name in kept
    }, "holdings and files go together"
    await proxy.restart()
    await proxy.app.room.keep()
    rows = (await get(proxy, admin, "kept"))["kept"]
    assert [(one["id"], one["version"], one["by"]) for one in rows] == [
        ("acme.p0", None, None),
        ("acme.p1", "1.0.0", None),
        ("acme.p9", None, None),
        ("acme.p2", "1.0.0", "/src/packages.lock.json"),
    ]
    await post(proxy, admin, "keep", packages=["acme.p1@1.0.0"], by="/src/packages.lock.json")
    done = await post(proxy, admin, "unkeep", packages=["acme.p1@1.0.0", "acme.p0"])
    assert done == {"released": 2, "still_kept_by": ["/src/packages.lock.json"]}
    assert (await get(proxy, admin, "ls"))["count"] == 4
    await proxy.app.room.keep()
    assert there(proxy) == {"acme.p1@1.0.0"}, "the lock file wants another one now"
    assert (await post(proxy, admin, "unkeep", by="/src/packages.lock.json"))["released"] == 1
    assert (await send(proxy, admin, "unkeep", packages=["acme.p1"])).status == 404
    assert (await send(proxy, admin, "keep", packages=["a b"])).status == 400


async def test_a_simulation_says_what_then_goes(
    proxy: Proxy, feed: FakeFeed, admin: dict[str, str], clock: FakeClock
) -> None:
    for number in range(6):
        await hold(proxy, feed, f"Acme.P{number}@1.0.0")
        clock.advance(60)
    await post(proxy, admin, "keep", packages=["acme.p1@1.0.0"], by="/src/packages.lock.json")
    size = (await get(proxy, admin, "ls"))["size"] // 6
    rules = {"to": 3 * size + 1000}
    told = await post(proxy, admin, "evict", simulate=True, **rules)
    assert [one["id"] for one in told["packages"]] == ["acme.p0", "acme.p2", "acme.p3", "acme.p4"]
    assert {one["why"] for one in told["packages"]} == {"room"}
    assert (told["removed"], told["kept_lock_files"], told["broken_lock_files"]) == (0, 1, [])
    assert len(there(proxy)) == 6
    done = await post(proxy, admin, "evict", **rules)
    assert done["packages"] == told["packages"]
    assert done["removed"] == told["size"]
    assert there(proxy) == {"acme.p1@1.0.0", "acme.p5@1.0.0"}


async def test_what_nobody_uses_goes_in_time(start_proxy: StartProxy, feed: FakeFeed, clock: FakeClock) -> None:
    proxy = await start_proxy(feed.index_url, cache={"unused_for": "30d", "keep_last": 2})
    await hold(proxy, feed, "Acme.A@1.0.0", "Acme.A@2.0.0", "Acme.A@10.0.0", "Other@1.0.0")
    await proxy.app.housekeeping.round()
    assert len(there(proxy)) == 4
    clock.advance(2 * DAY)
    assert (await ask(proxy, path_of("Acme.A", "2.0.0"))).status == 200
    await proxy.app.housekeeping.round()
    assert there(proxy) == {"acme.a@2.0.0", "acme.a@10.0.0", "other@1.0.0"}
    clock.advance(29 * DAY)
    await proxy.app.housekeeping.round()
    assert there(proxy) == {"acme.a@2.0.0"}
    assert {one.version for one in await proxy.held.holdings.recorded()} == {"2.0.0"}
    assert (await ask(proxy, path_of("Acme.A"))).status == 200, "it is fetched again"


async def test_fifty_readers_lose_nothing_to_an_eviction(
    start_proxy: StartProxy, feed: FakeFeed, clock: FakeClock
) -> None:
    big = make_nupkg("Acme.A", "1.0.0", size=3_000_000)
    feed.add(big)
    proxy = await start_proxy(feed.index_url)
    assert (await ask(proxy, PACKAGE)).body == big
    await until(lambda: proxy.metric("flights") == 0)
    half, evicted = asyncio.Event(), asyncio.Event()
    begun = 0

    async def read(session: aiohttp.ClientSession) -> bytes:
        nonlocal begun
        async with session.get(proxy.url + PACKAGE) as answer:
            start = await answer.content.readexactly(10_000)
            begun += 1
            if begun == 50:
                half.set()
            await evicted.wait()
            return start + await answer.content.read()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), read_bufsize=4096) as session:
        readers = [asyncio.create_task(read(session)) for _ in range(50)]
        await half.wait()
        clock.advance(60)  # it has not landed just now
        assert await proxy.app.room.carry_out(await proxy.app.room.plan(0)) == len(big)
        assert there(proxy) == set()
        evicted.set()
        assert set(await asyncio.gather(*readers)) == {big}
    assert feed.count(UP_PACKAGE) == 1


async def test_damage_is_found_and_repaired(proxy: Proxy, feed: FakeFeed, admin: dict[str, str]) -> None:
    await hold(proxy, feed, "Acme.A@1.0.0", "Acme.B@1.0.0", "Acme.C@1.0.0")
    for id in ("acme.a", "acme.c"):
        flip(proxy, id)
    done = await post(proxy, admin, "verify")
    assert (done["checked"], done["next"]) == (3, "")
    assert done["size"] >= 3 * SIZE
    assert [(one["id"], one["repaired"]) for one in done["damaged"]] == [("acme.a", True), ("acme.c", True)]
    assert (await post(proxy, admin, "verify"))["damaged"] == []
    assert len(list((proxy.packages.parent / "quarantine").iterdir())) == 2
    flip(proxy, "acme.b")
    await feed.set_mode("refused")
    done = await post(proxy, admin, "verify", upstream="up")
    assert [(one["id"], one["repaired"]) for one in done["damaged"]] == [("acme.b", False)]
    assert "could not be fetched again" in done["damaged"][0]["says"]
    assert "acme.b@1.0.0" not in there(proxy)


async def test_what_the_disk_does_not_let_go_is_not_said_to_be_set_aside(
    start_proxy: StartProxy, feed: FakeFeed
) -> None:
    proxy = await start_proxy(feed.index_url, fs=(fs := FailingFs()))
    _, secret = await proxy.app.tokens.add("boss", ["admin"], (), None)
    await hold(proxy, feed, "Acme.A@1.0.0")
    flip(proxy, "acme.a")
    fs.arm(1, errno.EROFS, for_ever=True, only="rename")
    (damaged,) = (await post(proxy, {"Authorization": f"Bearer {secret}"}, "verify"))["damaged"]
    fs.disarm()
    assert not damaged["repaired"]
    assert damaged["says"].startswith("not set aside, as the disk refused; it was fetched again, and cannot be kept: ")


async def test_a_lost_nuspec_is_written_again(proxy: Proxy, feed: FakeFeed, admin: dict[str, str]) -> None:
    await hold(proxy, feed, "Acme.A@1.0.0")
    nuspec = proxy.packages / "acme.a" / "1.0.0" / "acme.a.nuspec"
    before = nuspec.read_bytes()
    nuspec.unlink()
    assert (await post(proxy, admin, "verify"))["damaged"] == []
    assert nuspec.read_bytes() == before


async def test_a_verification_goes_on_where_it_was(proxy: Proxy, feed: FakeFeed, admin: dict[str, str]) -> None:
    await hold(proxy, feed, "Acme.A@1.0.0", "Acme.B@1.0.0")
    done = await post(proxy, admin, "verify", seconds=0)
    assert (done["checked"], done["next"]) == (1, "up/acme.a/1.0.0")
    done = await post(proxy, admin, "verify", seconds=0, after=done["next"])
    assert (done["checked"], done["next"]) == (1, "up/acme.b/1.0.0")
    assert await post(proxy, admin, "verify", after=done["next"]) == {
        "checked": 0, "size": 0, "damaged": [], "flawed": [], "next": "",
    }  # fmt: skip


def flip(proxy: Proxy, id: str) -> None:
    """Change one byte on disk."""
    path = proxy.packages / id / "1.0.0" / f"{id}.1.0.0.nupkg"
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(body)


async def test_how_it_is_doing_is_told(proxy: Proxy, feed: FakeFeed, admin: dict[str, str]) -> None:
    await hold(proxy, feed, "Acme.A@1.0.0")
    assert (await ask(proxy, PACKAGE)).status == 200
    said = await get(proxy, admin, "stats")
    assert said["outcomes"] == {"miss": 1, "hit": 1}
    assert (said["requests"], said["hit_ratio"], said["running"]) == (2, 0.5, False)
    assert said["sent_bytes"] > 2 * SIZE < 2 * said["received_bytes"]
    assert [(one["name"], one["packages"], one["trouble"]) for one in said["upstreams"]] == [("up", 1, {})]


async def test_what_was_made_here_needed_no_download_and_what_was_rejected_does_not_count(
    proxy: Proxy, feed: FakeFeed, admin: dict[str, str]
) -> None:
    await hold(proxy, feed, "Acme.A@1.0.0")
    await feed.set_mode("refused")
    assert (await ask(proxy, "/v3/content/acme.a/index.json")).status == 200
    for _ in range(3):
        assert (await ask(proxy, "/v3/query?take=x", headers={"Authorization": "Bearer wrong"})).status in {400, 401}
    said = await get(proxy, admin, "stats")
    assert said["outcomes"] == {"miss": 1, "synthesized": 1, "rejected": 3}
    assert (said["requests"], said["hit_ratio"]) == (5, 0.5)


# --- the command line ---


async def held_by_a_process(feed: FakeFeed, cache: Path) -> ProxyProcess:
    ids = [f"Acme.{'Component.' * 6}P{number}" for number in range(3)]
    proxy = ProxyProcess("--upstream", feed.index_url, "--cache-dir", cache)
    await proxy.__aenter__()
    async with aiohttp.ClientSession() as session:
        for id in ids:
            feed.add(make_nupkg(id, "1.0.0", size=SIZE))
            async with session.get(proxy.url + path_of(id)) as answer:
                assert answer.status == 200
                await answer.read()
    return proxy


LINES = (
    ("ls",),
    ("stats",),
    ("keep", "acme.component.component.component.component.component.component.p0"),
    ("keep",),
    ("evict", "--simulate", "--to", "60 KB", "--unused-for", "0"),
    ("refresh", "acme.component.component.component.component.component.component.p0"),
    ("verify",),
    ("unkeep", "acme.component.component.component.component.component.component.p0"),
    ("evict", "--to", "0"),
    ("purge", "acme.component.component.component.component.component.component.p0"),
)


@pytest.mark.parametrize("columns", [60, 80])
@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
async def test_commands_are_read_in_a_terminal(
    feed: FakeFeed, tmp_path: Path, columns: int, running: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    proxy = await held_by_a_process(feed, tmp_path / "cache")
    if not running:
        assert await proxy.stop() == 0
    file = tmp_path / "proxy.toml"
    name = next(one.name for one in (tmp_path / "cache").iterdir() if (one / "packages").is_dir())
    file.write_text(f'[cache]\ndirectory = "{tmp_path / "cache"}"\n[upstreams."{name}"]\nurl = "{feed.index_url}"\n')
    try:
        for words in LINES:
            code, out, told = await cli(*words, "--config", file)
            assert (code, told) == (0, ""), (words, out, told)
            print(f"$ nugetproxy {' '.join(words)}\n{out}")
            long = [line for line in out.splitlines() if len(line.rstrip()) > columns]
            assert not [line for line in long if " " in line.strip()], out
            if words[0] in {"ls", "stats"}:
                code, out, _ = await cli(words[0], "--json", "--config", file)
                assert code == 0
                assert json.loads(out)
        code, out, told = await cli("ls", "nothing.*", "--config", file)
        assert (code, told) == (1, "No such package is held.\n")
    finally:
        await proxy.kill()


LOCK = {
    "version": 1,
    "dependencies": {
        "net8.0": {
            "Acme.A": {"type": "Direct", "requested": "[1.0.0, )", "resolved": "1.0.0", "contentHash": "x"},
            "Acme.B": {"type": "Transitive", "resolved": "2.0.0", "contentHash": "x"},
        }
    },
}


async def test_a_lock_file_keeps_what_it_names(tmp_path: Path) -> None:
    lock, cache = tmp_path / "packages.lock.json", ("--cache-dir", tmp_path / "cache")
    lock.write_text(json.dumps(LOCK))
    code, out, _ = await cli("keep", lock, *cache)
    assert (code, out.splitlines()[0]) == (0, "2 packages will not be evicted.")
    assert "Not held yet, so kept from when they are: 2 (acme.a@1.0.0, acme.b@2.0.0)." in out
    code, out, _ = await cli("keep", "--json", *cache)
    assert {(one["id"], one["version"], one["by"]) for one in json.loads(out)["kept"]} == {
        ("acme.a", "1.0.0", str(lock)),
        ("acme.b", "2.0.0", str(lock)),
    }
    lock.unlink()
    assert (await cli("unkeep", lock, *cache))[:2] == (0, f"{lock}: 2 packages are no longer kept.\n")
    assert (await cli("keep", *cache))[:2] == (0, "Nothing is kept.\n")
    code, _, told = await cli("keep", lock, *cache)
    assert (code, "cannot be read" in told) == (64, True)


async def test_a_lock_file_beside_us_that_is_gone_is_no_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, cache = Path("packages.lock.json"), ("--cache-dir", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    lock.write_text(json.dumps(LOCK))
    assert (await cli("keep", lock, *cache))[0] == 0
    lock.unlink()
    assert (await cli("keep", lock, *cache))[0] == 64
    assert (await cli("unkeep", lock, *cache))[:2] == (0, f"{lock}: 2 packages are no longer kept.\n")
