"""The background scrub: what it finds, what it leaves alone, how fast it is, where it goes on."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from nugetproxy.engine.scrub import AFTER_START, PACKAGE_BYTES, PERIOD, Position
from nugetproxy.nuget.identity import PackageIdentity
from tests.conftest import StartProxy
from tests.fakes.asking import LARGE, PACKAGE, UP_PACKAGE, ask, held, until
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy
from tests.store.kit import FailingFs

IDS = ("acme.b", "acme.c", "acme.d", "beta", "c")
RATE = 1_000_000


def path_of(proxy: Proxy, package_id: str) -> Path:
    return proxy.packages / package_id / "1.0.0" / f"{package_id}.1.0.0.nupkg"


def url_of(package_id: str) -> str:
    return f"/v3/content/{package_id}/1.0.0/{package_id}.1.0.0.nupkg"


def flip(path: Path) -> None:
    """One bit of the file turns, without a trace in its size or times."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture
def fs() -> FailingFs:
    return FailingFs()


@pytest.fixture
async def proxy(start_proxy: StartProxy, feed: FakeFeed, fs: FailingFs) -> Proxy:
    """A proxy that holds six packages, ``acme.a`` the large one."""
    feed.add(LARGE)
    for package_id in IDS:
        feed.add(make_nupkg(package_id, "1.0.0"))
    proxy = await start_proxy(feed.index_url, cache={"scrub_rate": "1 MB"}, fs=fs)
    for path in (PACKAGE, *map(url_of, IDS)):
        assert (await ask(proxy, path)).status == 200
    return proxy


def size_of_all(proxy: Proxy) -> int:
    return sum(path.stat().st_size for path in proxy.packages.rglob("*.nupkg"))


async def test_sound_packages_are_left_alone(proxy: Proxy) -> None:
    before = held(proxy)
    with capture_logs() as logs:
        await proxy.app.scrub.round()
    assert held(proxy) == before
    assert proxy.metric("scrub_bytes_total") == size_of_all(proxy)
    assert proxy.metric("scrub_damaged_total") == 0
    (line,) = [entry for entry in logs if entry["event"] == "scrub.finished"]
    assert (line["packages"], line["damaged"]) == (6, 0)


async def test_no_more_bytes_per_second_than_configured(proxy: Proxy, clock: FakeClock) -> None:
    began, slept = clock.monotonic(), len(clock.slept)
    await proxy.app.scrub.round()
    assert clock.monotonic() - began == pytest.approx((size_of_all(proxy) + 6 * PACKAGE_BYTES) / RATE)
    assert max(clock.slept[slept:]) <= 2**20 / RATE, "never more than a piece at once"


async def test_a_flipped_bit_that_nothing_else_shows_is_found_and_fetched_again(proxy: Proxy, feed: FakeFeed) -> None:
    flip(path_of(proxy, "acme.a"))
    flip(path_of(proxy, "beta"))
    with capture_logs() as logs:
        await proxy.app.scrub.round()
    damaged = [entry["package"] for entry in logs if entry["event"] == "scrub.damaged"]
    assert damaged == ["acme.a.1.0.0.nupkg", "beta.1.0.0.nupkg"]
    assert proxy.metric("scrub_damaged_total") == 2
    assert proxy.metric("quarantined_total", reason="hash") == 2
    assert not path_of(proxy, "acme.a").exists()
    assert (await ask(proxy, PACKAGE)).body == LARGE
    assert feed.count(UP_PACKAGE) == 2
    assert path_of(proxy, "acme.a").read_bytes() == LARGE


async def test_with_upstream_gone_what_was_found_bad_is_refused(proxy: Proxy, feed: FakeFeed) -> None:
    flip(path_of(proxy, "acme.a"))
    await feed.set_mode("refused")
    await proxy.app.scrub.round()
    got = await ask(proxy, PACKAGE)
    assert (got.status, b"no usable answer" in got.body) == (503, True)
    assert (await ask(proxy, url_of("beta"))).status == 200


async def test_a_package_found_bad_is_no_longer_listed(proxy: Proxy, feed: FakeFeed) -> None:
    await feed.set_mode("refused")
    flip(path_of(proxy, "beta"))
    await proxy.app.scrub.round()
    assert (await ask(proxy, "/v3/content/acme.a/index.json")).body == b'{"versions":["1.0.0"]}'
    assert (await ask(proxy, "/v3/content/beta/index.json")).status == 503


async def test_it_goes_on_after_a_restart_where_it_was(proxy: Proxy, feed: FakeFeed) -> None:
    checked: list[str] = []
    folder = proxy.held.folder
    scrub, enough = folder.scrub, asyncio.Event()

    async def counted(identity: PackageIdentity, pace: object) -> bool:
        checked.append(identity.id)
        if len(checked) == 3:
            enough.set()
            await asyncio.Event().wait()  # the process stops here
        return await scrub(identity, pace)  # type: ignore[arg-type]

    folder.scrub = counted  # type: ignore[method-assign,assignment]
    proxy.app.tasks.start(proxy.app.scrub.round(), name="scrub")
    await enough.wait()
    await proxy.restart()
    with capture_logs() as logs:
        await proxy.app.scrub.round()
    assert checked == ["acme.a", "acme.b", "acme.c"]
    rest = sum(path_of(proxy, package_id).stat().st_size for package_id in IDS[1:])
    assert proxy.metric("scrub_bytes_total") == rest, "the one that was under way again, then the others"
    (line,) = [entry for entry in logs if entry["event"] == "scrub.finished"]
    assert line["packages"] == 6


async def test_a_pass_a_day(proxy: Proxy, clock: FakeClock) -> None:
    size = size_of_all(proxy)
    for passes in (1, 1, 2):
        await proxy.app.scrub.round()
        assert proxy.metric("scrub_bytes_total") == passes * size
        clock.advance(PERIOD * 0.6)
    await proxy.restart()
    await proxy.app.scrub.round()
    assert proxy.metric("scrub_bytes_total") == 0, "a restart does not begin a new pass"
    clock.advance(-10 * 365 * 86400)
    await proxy.app.scrub.round()
    assert proxy.metric("scrub_bytes_total") == size, "a clock set back does not put it off for years"


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b'[null,["a"],0,0,0]', b'["x",null,0,0,0]'])
async def test_a_position_that_says_nothing_begins_anew(proxy: Proxy, clock: FakeClock, body: bytes) -> None:
    proxy.app.ledger.note_scrub("up", body)
    await proxy.app.scrub.round()
    assert proxy.metric("scrub_bytes_total") == size_of_all(proxy)


def test_a_position_survives_its_stored_form() -> None:
    for last in (None, PackageIdentity("acme.a", "1.0.0-beta.1")):
        position = Position(began=12.5, last=last, done=True, packages=7, damaged=1)
        assert Position.of(position.to_json()) == position


async def test_trouble_of_our_own_is_no_damage(proxy: Proxy, fs: FailingFs) -> None:
    before = held(proxy)
    fs.arm(1, errno.EMFILE, for_ever=True, only="open")
    with capture_logs() as logs:
        await proxy.app.scrub.round()
    fs.disarm()
    assert held(proxy) == before
    assert proxy.metric("scrub_damaged_total") == 0
    assert len([entry for entry in logs if entry["event"] == "scrub.skipped"]) == 6


async def test_a_file_that_cannot_be_read_is_damaged(proxy: Proxy, fs: FailingFs) -> None:
    fs.arm(1, errno.EIO, for_ever=True, only="read")
    await proxy.app.scrub.round()
    fs.disarm()
    assert proxy.metric("scrub_damaged_total") == 6
    assert proxy.metric("quarantined_total", reason="io") == 6
    assert (await ask(proxy, PACKAGE)).body == LARGE


async def test_a_package_replaced_under_the_scrub_is_not_set_aside(proxy: Proxy) -> None:
    """Its own hash file agrees with it: the check that began with the old file must not judge the new one."""
    folder = proxy.held.folder
    path = path_of(proxy, "acme.a")
    marker = path.with_name(f"{path.name}.sha512")

    async def replace(_: int) -> None:
        path.write_bytes(LARGE + b"\0" * 10)
        path.write_bytes(LARGE)
        marker.write_text(marker.read_text())

    assert await folder.scrub(PackageIdentity("acme.a", "1.0.0"), replace)
    assert path.read_bytes() == LARGE


async def test_a_package_that_goes_meanwhile_is_no_damage(proxy: Proxy) -> None:
    folder = proxy.held.folder
    identity = PackageIdentity("acme.a", "1.0.0")

    async def evict(_: int) -> None:
        await folder.delete(identity)

    assert await folder.scrub(identity, evict)
    assert await folder.scrub(identity, evict), "nor is one that is not there"
    assert proxy.metric("quarantined_total", reason="hash") == 0


async def test_the_first_request_after_it_need_not_hash_the_package(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    await proxy.restart()
    await proxy.app.scrub.round()
    monkeypatch.setattr("nugetproxy.store.packages.verify.sha512_of", None)
    assert (await ask(proxy, PACKAGE)).cache == "hit"


async def test_off_is_off(start_proxy: StartProxy, feed: FakeFeed, clock: FakeClock) -> None:
    proxy = await start_proxy(feed.index_url, cache={"scrub_rate": "off"})
    feed.add(LARGE)
    await ask(proxy, PACKAGE)
    slept = len(clock.slept)
    await proxy.app.scrub.run()
    assert (len(clock.slept), proxy.metric("scrub_bytes_total")) == (slept, 0)


async def test_the_running_proxy_does_it_unasked(proxy: Proxy, clock: FakeClock) -> None:
    flip(path_of(proxy, "acme.a"))
    proxy.app.start_background()
    await until(lambda: proxy.metric("scrub_damaged_total") > 0)
    assert AFTER_START in clock.slept
