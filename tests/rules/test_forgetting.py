"""What rules know of versions ends where an operator has what is stored be another."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from msgspec.structs import replace

from nugetproxy.admin.commands import carry_out
from nugetproxy.sources.folder import FolderSource
from nugetproxy.store.documents.record import pack_entry
from tests.conftest import StartProxy
from tests.fakes.asking import UP_REGISTRATION, ask
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.halted import halting
from tests.fakes.origin import Script
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy
from tests.rules.conftest import COOLDOWN, Shop, StartShop, ago
from tests.rules.test_rules import licensed

PLACE = "transfer-0123456789abcdef"
Stock = Callable[..., None]


async def command(proxy: Proxy, name: str, **arguments: Any) -> None:
    _, secret = await proxy.app.tokens.add(name.replace("/", "."), ["admin"], (), None)
    got = await ask(proxy, f"/-/{name}", "POST", json=arguments, headers={"Authorization": f"Bearer {secret}"})
    assert got.status == 200, got.body


async def bring(proxy: Proxy, clock: FakeClock, changes: dict[bytes, bytes]) -> None:
    """Import documents of a moment later, in which other words stand; all that are stored."""
    rows = b""
    for key, tag in await proxy.app.documents.listed():
        stored = await proxy.app.documents.get(key)
        assert stored is not None
        body = stored.body
        for old, new in changes.items():
            body = body.replace(old, new)
        entry = replace(stored.entry, stored_at=clock.now(), digest=hashlib.sha256(body).hexdigest())
        value = pack_entry(key, entry, body)
        rows += orjson.dumps({"key": key, "tag": tag, "size": len(value)}) + b"\n" + value
    place = proxy.directory / "run" / PLACE
    place.mkdir(parents=True)
    (place / "documents").write_bytes(rows)
    await command(proxy, "transfer/take-documents", place=PLACE)


async def test_after_a_purge_they_are_judged_by_what_is_said_now(
    start_shop: StartShop, stock: Stock, feed: FakeFeed
) -> None:
    stock("Acme.A", {"1.0.0": 30, "2.0.0": 30})
    feed.registration_extra["acme.a"] = {"2.0.0": {"deprecation": {"reasons": ["Legacy"]}}}
    shop = await start_shop({"name": "old", "deprecated": True})
    for _ in range(3):
        assert await shop.listed("acme.a") == ["1.0.0"]
    del feed.registration_extra["acme.a"]

    await command(shop.proxy, "purge", id="Acme.A")

    assert await shop.listed("acme.a") == ["1.0.0", "2.0.0"]


async def test_after_a_purge_the_licence_is_that_of_the_bytes_that_come_now(
    start_shop: StartShop, feed: FakeFeed, clock: FakeClock
) -> None:
    feed.add(licensed("1.0.0", "MIT"), at=ago(clock, 30))
    feed.registration_extra["acme.a"] = {"1.0.0": {"licenseExpression": ""}}
    shop = await start_shop({"name": "lawyers", "licenses": ["AGPL-3.0-only"]})
    assert (await shop.package("acme.a", "1.0.0")).status == 200
    feed.add(licensed("1.0.0", "AGPL-3.0-only"), at=ago(clock, 30))

    await command(shop.proxy, "purge", id="Acme.A")

    assert (await shop.package("acme.a", "1.0.0")).status == 403
    assert await shop.listed("acme.a") == []


async def test_what_is_imported_counts_at_once(start_shop: StartShop, stock: Stock, clock: FakeClock) -> None:
    stock("Acme.A", {"1.0.0": 30, "2.0.0": 30})
    shop = await start_shop(upstream={"offline_versions": "known"})
    for _ in range(3):
        assert await shop.listed("acme.a") == ["1.0.0", "2.0.0"]
    clock.advance(1)

    await bring(shop.proxy, clock, {b'"2.0.0"': b'"2.0.1"'})

    assert await shop.listed("acme.a") == ["1.0.0", "2.0.1"]


async def test_imported_advisories_too(start_shop: StartShop, stock: Stock, feed: FakeFeed, clock: FakeClock) -> None:
    stock("Acme.A", {"1.0.0": 30, "2.0.0": 30})
    feed.vulnerabilities["base"] = {"acme.b": [{"url": "https://example.test/1", "severity": 3, "versions": "[2.0.0]"}]}
    shop = await start_shop({"name": "holes", "max_severity": "high"})
    for _ in range(3):
        assert await shop.listed("acme.a") == ["1.0.0", "2.0.0"]
    clock.advance(1)

    await bring(shop.proxy, clock, {b"acme.b": b"acme.a"})

    assert await shop.listed("acme.a") == ["1.0.0"]


async def test_advisories_that_were_being_read_meanwhile_are_read_again(
    start_shop: StartShop, stock: Stock, feed: FakeFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    stock("Acme.A", {"1.0.0": 30, "2.0.0": 30})
    shop = await start_shop()
    book, source = shop.proxy.app.desk.advisories, shop.proxy.app.sources["up"]
    has_read, goes_on, offers, publishes = asyncio.Event(), asyncio.Event(), source.offers, False

    async def slowly(resource: str) -> bool:
        found = await offers(resource)
        has_read.set()
        await asyncio.wait_for(goes_on.wait(), 30)
        return found and publishes

    monkeypatch.setattr(source, "offers", slowly)
    reading = asyncio.create_task(book.of("acme.a", "http://test.invalid/v3/"))
    await asyncio.wait_for(has_read.wait(), 30)
    assert "up" not in book.silent, "nobody knows yet"
    book.forget()
    goes_on.set()
    assert await reading == ()
    assert "up" in book.silent

    publishes = True
    feed.vulnerabilities["base"] = {"acme.a": [{"url": "https://example.test/1", "severity": 3, "versions": "[2.0.0]"}]}
    assert [one.url for one in await book.of("acme.a", "http://test.invalid/v3/")] == ["https://example.test/1"]
    assert "up" not in book.silent


@pytest.mark.parametrize("keys", [{"sources": ["shelf"]}, {"sources": ["shelf", "up"]}])
async def test_a_file_that_is_put_in_a_packages_place_is_judged_by_what_it_is(
    start_proxy: StartProxy, feed: FakeFeed, tmp_path: Path, clock: FakeClock, keys: dict[str, Any]
) -> None:
    root = tmp_path / "shelf"
    root.mkdir()
    (root / "Acme.A.1.0.0.nupkg").write_bytes(licensed("1.0.0", "MIT"))
    (root / "Acme.A.2.0.0.nupkg").write_bytes(licensed("2.0.0", "MIT"))
    rule = {"name": "lawyers", "licenses": ["AGPL-3.0-only"]}
    proxy = await start_proxy(
        feed.index_url,
        upstreams={"shelf": {"url": str(root), "private": True}},
        feeds={"all": {**keys, "rules": [rule]}},
    )
    shop = Shop(proxy, feed, "/all")
    for _ in range(3):
        assert await shop.listed("acme.a") == ["1.0.0", "2.0.0"]
    (root / ".part").write_bytes(licensed("2.0.0", "AGPL-3.0-only"))
    (root / ".part").rename(root / "Acme.A.2.0.0.nupkg")
    source = proxy.app.sources["shelf"]
    assert isinstance(source, FolderSource)
    await source.library.look()

    assert (await shop.package("acme.a", "2.0.0")).status == 403
    assert await shop.listed("acme.a") == ["1.0.0"]


async def take(proxy: Proxy, version: str) -> None:
    """Import one package."""
    nupkg, place = make_nupkg("Acme.A", version), proxy.directory / "run" / PLACE
    place.mkdir(parents=True, exist_ok=True)
    (place / f"acme.a {version}").write_bytes(nupkg)
    sha512 = base64.b64encode(hashlib.sha512(nupkg).digest()).decode()
    given = {"upstream": "up", "package": f"acme.a/{version}", "place": PLACE, "sha512": sha512}
    await carry_out(proxy.app.desk, "transfer/take", given, by="test")


@pytest.mark.parametrize("upstream", [{"offline": True}, {"tries": 1}], ids=["offline", "away"])
async def test_a_package_that_is_imported_where_upstream_says_nothing_is_there_at_once(
    start_shop: StartShop, feed: FakeFeed, clock: FakeClock, upstream: dict[str, Any]
) -> None:
    shop = await start_shop(COOLDOWN, upstream=upstream)
    await feed.set_mode("refused")
    for version in ("1.0.0", "2.0.0"):
        for _ in range(2):
            clock.advance(3)
            assert (await shop.package("acme.a", version)).status in {403, 404, 503}

        await take(shop.proxy, version)

        assert (await shop.package("acme.a", version)).status == 200
        assert (await shop.listed("acme.a"))[-1] == version


async def test_the_lane_knows_what_is_imported_at_once(start_shop: StartShop, stock: Stock, feed: FakeFeed) -> None:
    stock("Acme.A", {"1.0.0": 1, "2.0.0": 1})
    feed.origin.routes[UP_REGISTRATION] = Script(status=500)  # so what is not here is too young
    shop = await start_shop(COOLDOWN)
    await take(shop.proxy, "1.0.0")
    for _ in range(3):
        assert await shop.listed("acme.a") == ["1.0.0"]
    assert shop.proxy.app.lane.answered

    await take(shop.proxy, "2.0.0")

    assert await shop.listed("acme.a") == ["1.0.0", "2.0.0"]


async def test_what_is_learnt_of_an_id_while_it_is_imported_is_learnt_again(
    start_shop: StartShop, stock: Stock, feed: FakeFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    stock("Acme.A", {"1.0.0": 1})
    feed.origin.routes[UP_REGISTRATION] = Script(status=500)
    shop = await start_shop(COOLDOWN)
    async with halting(monkeypatch, shop.proxy.app.ledger, "sightings", lambda: shop.listed("acme.a")) as under_way:
        await take(shop.proxy, "1.0.0")
    await under_way
    assert await shop.listed("acme.a") == ["1.0.0"]
