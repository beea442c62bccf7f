"""What a running proxy does unasked: every task of it has begun, as its effect shows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from structlog.testing import capture_logs
from structlog.typing import EventDict

from nugetproxy.store.ledger.ledger import Ledger, LedgerUnavailable
from nugetproxy.store.ledger.records import Token
from tests.conftest import StartProxy
from tests.fakes import canary
from tests.fakes.asking import PACKAGE, SMALL, UP_INDEX, UP_PACKAGE, VERSIONS, ask, held, until
from tests.fakes.clock import BriskClock
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy

DAY = 86400.0


@pytest.fixture
def clock() -> BriskClock:
    return BriskClock()


@pytest.fixture
def logs() -> Iterator[list[EventDict]]:
    with capture_logs() as captured:
        yield captured


def events(logs: list[EventDict]) -> set[str]:
    return {entry["event"] for entry in logs}


async def test_what_is_a_little_too_much_goes_without_a_round_of_housekeeping(
    start_proxy: StartProxy, feed: FakeFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = {name: make_nupkg(f"Acme.{name}", "1.0.0", size=50_000) for name in "PQRS"}
    for body in packages.values():
        feed.add(body)
    limit = sum(map(len, packages.values())) - 1000
    proxy = await start_proxy(feed.index_url, cache={"max_size": f"{limit} B", "scrub_rate": "off"})

    async def no_round() -> None:
        """Housekeeping does nothing at all."""

    monkeypatch.setattr(proxy.app.housekeeping, "round", no_round)
    proxy.app.start_background()
    for name in packages:
        path = f"/v3/content/acme.{name.lower()}/1.0.0/acme.{name.lower()}.1.0.0.nupkg"
        assert (await ask(proxy, path)).status == 200
    await until(lambda: proxy.metric("evicted_bytes_total") > 0)
    assert proxy.metric("store_bytes", part="packages") <= limit


async def test_the_end_of_a_token_is_told_ahead(start_proxy: StartProxy, feed: FakeFeed, logs: list[EventDict]) -> None:
    proxy = await start_proxy(feed.index_url)
    await proxy.app.tokens.add("farm", ["read"], [], 10 * DAY)
    proxy.app.start_background()
    await until(lambda: "expiry.near" in events(logs))
    told = next(entry for entry in logs if entry["event"] == "expiry.near")
    assert (told["what"], told["name"]) == ("token", "farm")


async def test_a_jump_of_the_clock_is_told(proxy: Proxy, clock: BriskClock, logs: list[EventDict]) -> None:
    proxy.app.start_background()
    await until(lambda: proxy.app.loop_watch._last is not None)
    clock.set(clock.now() + 7 * DAY)
    await until(lambda: "clock.jumped" in events(logs))
    (jump,) = [one for one in logs if one["event"] == "clock.jumped"]
    assert jump["seconds"] == pytest.approx(7 * DAY, abs=60)


async def test_a_lock_that_is_removed_is_taken_again(proxy: Proxy, logs: list[EventDict]) -> None:
    (proxy.directory / "lock").unlink()
    proxy.app.start_background()
    await until(lambda: "lock.removed" in events(logs))
    assert (proxy.directory / "lock").exists()


async def test_tokens_that_could_not_be_read_are_read_later(
    start_proxy: StartProxy, feed: FakeFeed, monkeypatch: pytest.MonkeyPatch, logs: list[EventDict]
) -> None:
    read = Ledger.tokens

    async def unreadable(ledger: Ledger) -> tuple[Token, ...]:
        raise LedgerUnavailable("the disk fails")

    monkeypatch.setattr(Ledger, "tokens", unreadable)
    proxy = await start_proxy(feed.index_url)
    proxy.app.start_background()
    assert not proxy.app.tokens.known
    monkeypatch.setattr(Ledger, "tokens", read)
    await until(lambda: proxy.app.tokens.known)
    assert "tokens.unreadable" in events(logs)


async def test_a_secret_is_read_again_when_its_file_changes(
    start_proxy: StartProxy, feed: FakeFeed, tmp_path: Path, logs: list[EventDict]
) -> None:
    secret = tmp_path / "secret"
    secret.write_text(canary.PASSWORD)
    proxy = await start_proxy(feed.index_url, upstream={"username": "proxy", "password": f"file:{secret}"})
    proxy.app.start_background()
    await ask(proxy, VERSIONS)
    before = feed.requests[-1].headers["Authorization"]
    secret.write_text("another-secret")
    await until(lambda: "secrets.read" in events(logs))
    feed.add(SMALL)
    await ask(proxy, PACKAGE)
    assert feed.requests[-1].headers["Authorization"] != before


async def test_a_ca_file_is_read_again_when_it_changes(
    start_proxy: StartProxy, feed: FakeFeed, tmp_path: Path, logs: list[EventDict]
) -> None:
    """What ends in it is told with the advice to put the authority's new one there."""
    file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(file))
    proxy = await start_proxy(feed.index_url, upstream={"ca_file": str(file)})
    proxy.app.start_background()
    file.write_text("half of a")
    await until(lambda: "ca_file.unreadable" in events(logs))
    assert "ca_file.read" not in events(logs)
    trustme.CA().cert_pem.write_to_path(str(file))
    await until(lambda: "ca_file.read" in events(logs))


async def test_the_history_is_written(proxy: Proxy, feed: FakeFeed) -> None:
    feed.add(SMALL)
    await ask(proxy, PACKAGE)
    assert proxy.app.history.pending
    proxy.app.start_background()
    await until(lambda: not proxy.app.history.pending)


async def test_folders_of_upstreams_that_are_gone_are_named(
    start_proxy: StartProxy, feed: FakeFeed, logs: list[EventDict]
) -> None:
    second = {"second": {"url": feed.index_url}}
    proxy = await start_proxy(feed.index_url, upstreams=second)
    feed.add(SMALL)
    await ask(proxy, f"/second{PACKAGE}")
    await proxy.stop()
    proxy = await start_proxy(feed.index_url)
    proxy.app.start_background()
    await until(lambda: "upstream.leftover" in events(logs))
    (told,) = [entry for entry in logs if entry["event"] == "upstream.leftover"]
    assert told["upstream"] == "second"


async def test_what_is_to_be_mirrored_is_fetched(start_proxy: StartProxy, feed: FakeFeed) -> None:
    feed.add(SMALL)
    proxy = await start_proxy(feed.index_url, mirror={"ids": ["acme.a"]})
    proxy.app.start_background()
    await until(lambda: proxy.metric("store_packages") == 1)
    assert feed.count(UP_PACKAGE) == 1


async def test_mirroring_goes_on_with_what_a_reload_has_made(start_proxy: StartProxy, feed: FakeFeed) -> None:
    feed.add(SMALL)
    mirror = {"ids": ["acme.a"]}
    proxy = await start_proxy(feed.index_url, mirror=mirror)
    proxy.app.start_background()
    await until(lambda: proxy.metric("store_packages") == 1)
    await proxy.reload(mirror=mirror, upstream={"tries": 2})
    await until(lambda: not proxy.app.retired)
    feed.add(make_nupkg("Acme.A", "2.0.0"))
    await until(lambda: proxy.metric("store_packages") == 2 and proxy.metric("pending_commits") == 0)
    assert "acme.a.2.0.0.nupkg" in held(proxy)


async def test_a_source_asks_for_the_index_before_a_client_does(proxy: Proxy, feed: FakeFeed) -> None:
    assert feed.count(UP_INDEX) == 0
    proxy.app.start_background()
    await until(lambda: feed.count(UP_INDEX) > 0)
    await until(lambda: proxy.held.holdings.synced)
