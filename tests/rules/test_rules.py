"""Each kind of rule, as clients meet it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from nugetproxy.feeds import judge
from nugetproxy.feeds.advisory_book import UNSURE_SECONDS
from nugetproxy.feeds.dossiers import REMEMBERED_SECONDS, Dossier, Dossiers
from nugetproxy.feeds.judge import MOST_VERDICTS
from nugetproxy.sources.remote import RemoteSource
from tests.conftest import StartProxy
from tests.fakes.asking import until
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.origin import Script
from tests.fakes.packages import make_nupkg, make_nuspec
from tests.rules.conftest import COOLDOWN, Shop, StartShop, ago

Stock = Callable[..., None]
DAY = 86400.0
HOLE = {"url": "https://example.test/1", "severity": 2, "versions": "(, 1.0.0]"}


async def test_a_version_that_fixes_a_known_advisory_passes_at_once(
    start_shop: StartShop, stock: Stock, feed: FakeFeed
) -> None:
    stock("Acme.A", {"1.0.0": 90, "1.0.1": 1, "1.0.2": 0.5})
    stock("Acme.B", {"1.0.0": 90, "1.0.1": 1})
    feed.vulnerabilities["base"] = {"acme.a": [HOLE]}
    shop = await start_shop(COOLDOWN)
    assert await shop.listed("acme.a") == await shop.searched("acme.a") == ["1.0.0", "1.0.1"]
    assert (await shop.package("acme.a", "1.0.1")).status == 200
    assert await shop.listed("acme.b") == ["1.0.0"]


async def test_who_fears_forged_advisories_turns_that_off(start_shop: StartShop, stock: Stock, feed: FakeFeed) -> None:
    stock("Acme.A", {"1.0.0": 90, "1.0.1": 1})
    feed.vulnerabilities["base"] = {"acme.a": [HOLE]}
    shop = await start_shop({**COOLDOWN, "advisory_bypass": False})
    assert await shop.listed("acme.a") == ["1.0.0"]
    assert not [seen for seen in feed.requests if "vulnerabilities" in seen.path]


@pytest.mark.parametrize(("most", "left"), [("moderate", ["1.1.0"]), ("high", ["1.0.0", "1.1.0"])])
async def test_versions_with_a_worse_advisory_are_denied(
    start_shop: StartShop, stock: Stock, feed: FakeFeed, most: str, left: list[str]
) -> None:
    stock("Acme.A", {"1.0.0": 90, "1.1.0": 80})
    feed.vulnerabilities["base"] = {"acme.a": [HOLE]}
    shop = await start_shop({"name": "holes", "max_severity": most})
    assert await shop.listed("acme.a") == await shop.registered("acme.a") == left
    got = await shop.package("acme.a", "1.0.0")
    assert got.status == (403 if "1.0.0" not in left else 200)
    if got.status == 403:
        assert "it has a known advisory of severity high" in got.reason


@pytest.mark.parametrize(("stated", "left"), [("²", ["1.0.0"]), ("high", ["1.0.0"]), ("9" * 5000, []), (7, [])])
@pytest.mark.parametrize("registered", [True, False], ids=["registration", "VulnerabilityInfo"])
async def test_whatever_upstream_writes_as_a_severity(
    start_shop: StartShop, stock: Stock, feed: FakeFeed, stated: object, registered: bool, left: list[str]
) -> None:
    """What is beyond the worst counts as the worst, what is no number as none."""
    stock("Acme.A", {"1.0.0": 90})
    if registered:
        said = {"vulnerabilities": [{"advisoryUrl": "https://example.test/1", "severity": stated}]}
        feed.registration_extra["acme.a"] = {"1.0.0": said}
    else:
        feed.vulnerabilities["base"] = {"acme.a": [{**HOLE, "severity": stated}]}
    shop = await start_shop({"name": "holes", "max_severity": "high"})
    assert await shop.listed("acme.a") == await shop.searched("acme.a") == left


async def test_advisories_of_all_spellings_of_an_id_count(start_shop: StartShop, stock: Stock, feed: FakeFeed) -> None:
    stock("Acme.A", {"1.0.0": 90})
    feed.vulnerabilities["base"] = {"Acme.A": [HOLE], "acme.a": []}
    shop = await start_shop({"name": "holes", "max_severity": "low"})
    assert (await shop.package("acme.a", "1.0.0")).status == 403


async def test_a_new_advisory_is_heard_of(
    start_shop: StartShop, stock: Stock, feed: FakeFeed, clock: FakeClock
) -> None:
    stock("Acme.A", {"1.0.0": 90})
    shop = await start_shop({"name": "holes", "max_severity": "low"}, policy={"vulnerabilities": {"refresh": "0"}})
    assert (await shop.package("acme.a", "1.0.0")).status == 200
    feed.vulnerabilities["base"] = {"acme.a": [HOLE]}
    clock.advance(3601)
    assert (await shop.package("acme.a", "1.0.0")).status == 403


@pytest.mark.parametrize("refresh", ["0", "1h"])
async def test_a_new_advisory_counts_within_a_minute_of_its_freshness(
    start_shop: StartShop, stock: Stock, feed: FakeFeed, clock: FakeClock, refresh: str
) -> None:
    """Also for what was looked at shortly before, and asked for all the time."""
    stock("Acme.A", {"1.0.0": 90})
    rule = {"name": "holes", "max_severity": "low"}
    shop = await start_shop(rule, policy={"vulnerabilities": {"refresh": refresh}})
    assert (await shop.package("acme.a", "1.0.0")).status == 200
    feed.vulnerabilities["base"] = {"acme.a": [HOLE]}
    clock.advance(3550)
    for _ in range(22):
        status = (await shop.package("acme.a", "1.0.0")).status
        await until(lambda: not shop.proxy.app.tasks.running())
        clock.advance(5)
    assert status == 403
    assert feed.count("/v3/vulnerabilities/index.json") == 2


async def test_a_new_advisory_counts_seconds_after_whoever_asks_first(
    start_shop: StartShop, stock: Stock, feed: FakeFeed, clock: FakeClock
) -> None:
    stock("Acme.A", {"1.0.0": 90})
    shop = await start_shop({"name": "holes", "max_severity": "low"})
    assert (await shop.package("acme.a", "1.0.0")).status == 200
    feed.vulnerabilities["base"] = {"acme.a": [HOLE]}
    clock.advance(7000)
    await shop.listed("acme.a")
    await until(lambda: not shop.proxy.app.tasks.running())
    clock.advance(UNSURE_SECONDS)
    assert (await shop.package("acme.a", "1.0.0")).status == 403


@pytest.mark.parametrize("gone", ["index", "resource"])
async def test_a_source_that_takes_its_advisories_away_gives_no_all_clear(
    start_shop: StartShop,
    stock: Stock,
    feed: FakeFeed,
    clock: FakeClock,
    capsys: pytest.CaptureFixture[str],
    gone: str,
) -> None:
    stock("Acme.A", {"1.0.0": 90})
    feed.vulnerabilities["base"] = {"acme.a": [HOLE]}
    shop = await start_shop({"name": "holes", "max_severity": "low"})
    assert (await shop.package("acme.a", "1.0.0")).status == 403
    if gone == "index":
        feed.origin.routes["/v3/vulnerabilities/index.json"] = Script(status=404)
    else:
        feed.omit.add("VulnerabilityInfo")
    for _ in range(30):
        clock.advance(1000)
        assert (await shop.package("acme.a", "1.0.0")).status == 403
        await until(lambda: not shop.proxy.app.tasks.running())
    assert ("advisories.unknown" in capsys.readouterr().out) is (gone == "resource")


async def test_what_is_known_of_an_id_is_not_learnt_anew_for_the_same_advisories(
    start_shop: StartShop, stock: Stock, feed: FakeFeed, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    stock("Acme.A", {"1.0.0": 90})
    feed.vulnerabilities["base"] = {"acme.b": [HOLE]}
    shop = await start_shop({"name": "holes", "max_severity": "low"})
    learn, made = Dossiers._make, []

    async def counted(self: Dossiers, *args: Any) -> Dossier:
        made.append(self)
        return await learn(self, *args)

    monkeypatch.setattr(Dossiers, "_make", counted)
    for expected in (1, 2, 2, 2, 2):  # the first look brings other advisories than none
        assert (await shop.package("acme.a", "1.0.0")).status == 200
        assert len(made) == expected
        clock.advance(REMEMBERED_SECONDS / 4)


@pytest.mark.parametrize("condition", ["deprecated", "unlisted", "prerelease"])
async def test_what_upstream_says_of_a_version_is_a_condition(
    start_shop: StartShop, feed: FakeFeed, clock: FakeClock, condition: str
) -> None:
    feed.add(make_nupkg("Acme.A", "1.0.0"), at=ago(clock, 90))
    feed.add(make_nupkg("Acme.A", "1.1.0-rc"), at=ago(clock, 80), listed=False)
    feed.registration_extra["acme.a"] = {"1.1.0-rc": {"deprecation": {"reasons": ["Legacy"]}}}
    shop = await start_shop({"name": "no", condition: True})
    assert await shop.listed("acme.a") == await shop.registered("acme.a") == ["1.0.0"]
    assert (await shop.package("acme.a", "1.1.0-rc")).status == 403


async def test_a_warning_lets_it_through_and_says_so(start_shop: StartShop, stock: Stock) -> None:
    stock("Acme.A", {"1.0.0": 1})
    shop = await start_shop({**COOLDOWN, "action": "warn"})
    assert await shop.listed("acme.a") == ["1.0.0"]
    for _ in range(3):
        got = await shop.package("acme.a", "1.0.0")
        assert got.status == 200
        assert got.headers["X-NuGet-Warning"].startswith("acme.a 1.0.0 is marked by the rule 'cooldown'")


async def test_a_long_warning_is_cut_where_readers_of_headers_give_up(start_shop: StartShop, stock: Stock) -> None:
    stock("Acme.A", {"1.0.0": 1})
    shop = await start_shop({**COOLDOWN, "action": "warn", "reason": "Ask first. " * 2000})
    for _ in range(3):
        got = await shop.package("acme.a", "1.0.0")
        assert (got.status, len(got.headers["X-NuGet-Warning"])) == (200, 1024)


async def test_a_rule_on_trial_only_counts(start_shop: StartShop, stock: Stock) -> None:
    stock("Acme.A", {"1.0.0": 1})
    shop = await start_shop({**COOLDOWN, "dry_run": True})
    assert await shop.listed("acme.a") == ["1.0.0"]
    for _ in range(4):
        got = await shop.package("acme.a", "1.0.0")
        assert (got.status, "X-NuGet-Warning" in got.headers) == (200, False)
    assert shop.proxy.metric("rule_dry_run_total", rule="cooldown") == 4
    assert shop.proxy.metric("rule_denied_total", rule="cooldown") == 0


async def test_the_first_rule_that_matches_decides(start_shop: StartShop, stock: Stock) -> None:
    stock("Contoso.A", {"1.0.0": 1})
    stock("Acme.A", {"1.0.0": 1})
    shop = await start_shop({"name": "own", "action": "allow", "ids": ["Contoso.*"]}, COOLDOWN)
    assert await shop.listed("contoso.a") == ["1.0.0"]
    assert not [seen for seen in shop.feed.requests if "registration" in seen.path], "nobody need know its dates"
    assert await shop.listed("acme.a") == []


def licensed(version: str, expression: str) -> bytes:
    text = make_nuspec("Acme.A", version, fields={"description": "x"})
    licence = f'<license type="expression">{expression}</license>' if expression else ""
    return make_nupkg("Acme.A", version, nuspec=text.replace("<authors>", f"{licence}<authors>"))


@pytest.mark.parametrize("licenses", [["AGPL-3.0-only"], {"allowed": ["MIT", "Apache-2.0"]}])
async def test_a_licence_is_looked_at_before_the_package_goes_out(
    start_shop: StartShop, feed: FakeFeed, clock: FakeClock, licenses: object
) -> None:
    for version, expression in (("1.0.0", "MIT OR AGPL-3.0-only"), ("2.0.0", "AGPL-3.0-only")):
        feed.add(licensed(version, expression), at=ago(clock, 90))
    shop = await start_shop({"name": "lawyers", "licenses": licenses})
    assert (await shop.package("acme.a", "1.0.0")).status == 200
    got = await shop.package("acme.a", "2.0.0")
    assert got.status == 403
    assert "its licence is AGPL-3.0-only" in got.reason
    assert await shop.listed("acme.a") == ["1.0.0"], "from then on it is known"


async def test_a_licence_that_is_allowed_before_is_looked_at_before_anything_else_denies(
    start_shop: StartShop, feed: FakeFeed, clock: FakeClock
) -> None:
    """Where the registration does not tell it; what no rule about licences can change is not looked at."""
    for version, licence in (("1.0.0", "MIT"), ("2.0.0", "AGPL-3.0-only")):
        feed.add(licensed(version, licence), at=ago(clock, 1))
    feed.registration_extra["acme.a"] = {one: {"licenseExpression": ""} for one in ("1.0.0", "2.0.0")}
    free = {"name": "free", "action": "allow", "licenses": ["MIT"]}
    shop = await start_shop({"name": "not", "versions": "[3.0]"}, free, COOLDOWN)
    assert [(await shop.package("acme.a", one)).status for one in ("1.0.0", "2.0.0")] == [200, 403]
    assert await shop.listed("acme.a") == ["1.0.0"]
    await shop.proxy.reload(feeds={"up": {"sources": ["up"], "rules": [COOLDOWN, free]}})
    feed.requests.clear()
    assert (await shop.package("acme.a", "2.0.0")).status == 403
    assert not [seen for seen in feed.requests if seen.path.endswith(("nuspec", "nupkg"))]


@pytest.mark.parametrize("licenses", [["AGPL-3.0-only"], {"allowed": ["MIT", "Apache-2.0"]}])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_where_upstream_has_no_nuspec_of_its_own_the_licence_is_that_in_the_package(
    start_shop: StartShop, feed: FakeFeed, clock: FakeClock, licenses: object, method: str
) -> None:
    for version, expression in (("1.0.0", "MIT"), ("2.0.0", "AGPL-3.0-only")):
        feed.add(licensed(version, expression), at=ago(clock, 90))
        feed.origin.routes[f"/v3-flatcontainer/acme.a/{version}/acme.a.nuspec"] = Script(status=404)
    feed.registration_extra["acme.a"] = {version: {"licenseExpression": ""} for version in ("1.0.0", "2.0.0")}
    shop = await start_shop({"name": "lawyers", "licenses": licenses})
    assert (await shop.package("acme.a", "1.0.0", method)).status == 200
    assert (await shop.package("acme.a", "2.0.0", method)).status == 403
    assert (await shop.package("acme.a", "3.0.0", method)).status == 404
    assert feed.count("/v3-flatcontainer/acme.a/2.0.0/acme.a.2.0.0.nupkg") == 1


@pytest.mark.parametrize("most", [MOST_VERDICTS, 4], ids=["remembered", "pushed out"])
async def test_what_a_licence_hides_is_on_no_list_of_the_lane(
    start_shop: StartShop, feed: FakeFeed, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(judge, "MOST_VERDICTS", most)
    feed.add(make_nupkg("Acme.B", "1.0.0"), at=ago(clock, 90))
    for version, expression in (("1.0.0", "MIT"), ("2.0.0", "AGPL-3.0-only")):
        feed.add(licensed(version, expression), at=ago(clock, 90))
    feed.registration_extra["acme.a"] = {"2.0.0": {"licenseExpression": ""}}
    shop = await start_shop({"name": "lawyers", "licenses": ["AGPL-3.0-only"]})
    for _ in range(4):
        assert await shop.listed("acme.a") == ["1.0.0", "2.0.0"], "nobody has looked into it"
    assert shop.proxy.app.lane.answered >= 1
    assert await shop.listed("acme.b") == ["1.0.0"]
    assert (await shop.package("acme.a", "2.0.0")).status == 403
    assert await shop.listed("acme.a") == ["1.0.0"]


async def test_what_was_ruled_before_a_write_is_not_kept_behind_it(
    start_shop: StartShop, stock: Stock, feed: FakeFeed, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version is unlisted while rules look at what was said of it before."""
    stock("Acme.A", {"1.0.0": 90})
    shop = await start_shop({"name": "no", "unlisted": True})
    source, learn = shop.proxy.app.sources["up"], Dossiers._make
    assert isinstance(source, RemoteSource)

    async def too_early(self: Dossiers, *args: Any) -> Dossier:
        learnt = await learn(self, *args)
        feed.set_listed("Acme.A", "1.0.0", False)
        source._cache.invalidate("acme.a")
        return learnt

    assert (await shop.package("acme.a", "1.0.0")).status == 200
    clock.advance(REMEMBERED_SECONDS)
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(Dossiers, "_make", too_early)
        assert (await shop.package("acme.a", "1.0.0")).status == 200
    for _ in range(3):
        assert (await shop.package("acme.a", "1.0.0")).status == 403


async def test_what_upstream_has_withdrawn_is_told_of_when_that_was_seen_twice(
    start_shop: StartShop, stock: Stock, feed: FakeFeed, clock: FakeClock
) -> None:
    stock("Acme.A", {"1.0.0": 90, "2.0.0": 80})
    shop = await start_shop({"name": "gone", "withdrawn": True, "reason": "Look into it"})
    assert "X-NuGet-Warning" not in (await shop.package("acme.a", "2.0.0")).headers
    feed.remove("Acme.A", "2.0.0")
    clock.advance(4000)
    assert "X-NuGet-Warning" not in (await shop.package("acme.a", "2.0.0")).headers, "seen once"
    clock.advance(1800)
    assert "X-NuGet-Warning" not in (await shop.package("acme.a", "2.0.0")).headers, "not an hour apart"
    clock.advance(1900)
    got = await shop.package("acme.a", "2.0.0")
    assert (got.status, got.headers["X-NuGet-Warning"]) == (
        200,
        "acme.a 2.0.0 is marked by the rule 'gone' of the feed 'up': upstream has withdrawn it. Look into it.",
    )
    assert shop.proxy.metric("withdrawn_total", upstream="up") == 1
    stock("Acme.A", {"2.0.0": 80})
    clock.advance(400)
    assert "X-NuGet-Warning" not in (await shop.package("acme.a", "2.0.0")).headers, "it is back"


async def test_an_outage_withdraws_nothing(
    start_shop: StartShop, stock: Stock, feed: FakeFeed, clock: FakeClock
) -> None:
    stock("Acme.A", {"1.0.0": 90})
    shop = await start_shop({"name": "gone", "withdrawn": True, "action": "deny"})
    assert (await shop.package("acme.a", "1.0.0")).status == 200
    await feed.set_mode("refused")
    for _ in range(3):
        clock.advance(4000)
        assert (await shop.package("acme.a", "1.0.0")).status == 200


async def test_rules_of_an_aggregated_feed_know_whose_a_version_is(
    start_proxy: StartProxy, feed: FakeFeed, clock: FakeClock
) -> None:
    async with FakeFeed() as company:
        company.add(make_nupkg("Contoso.A", "1.0.0"), at=ago(clock, 1))
        feed.add(make_nupkg("Acme.A", "1.0.0"), at=ago(clock, 1))
        feed.add(make_nupkg("Acme.A", "0.9.0"), at=ago(clock, 30))
        own = {"name": "own", "action": "allow", "sources": ["company"]}
        proxy = await start_proxy(
            feed.index_url,
            upstream={"private": False},
            upstreams={"company": {"url": company.index_url, "private": True}},
            feeds={"all": {"sources": ["company", "up"], "rules": [own, COOLDOWN]}},
        )
        shop = Shop(proxy, feed)
        for surface in (shop.listed, shop.registered, shop.searched, shop.completed):
            assert await surface("contoso.a") == ["1.0.0"]
            assert await surface("acme.a") == ["0.9.0"]
        assert (await shop.package("contoso.a", "1.0.0")).status == 200
        assert (await shop.package("acme.a", "1.0.0")).status == 403
        alone = Shop(proxy, feed, "/up")
        assert await alone.listed("acme.a") == ["0.9.0", "1.0.0"], "an upstream by itself has no rules"


async def test_no_rule_makes_a_private_id_be_asked_of_a_public_source(
    start_proxy: StartProxy, feed: FakeFeed, clock: FakeClock
) -> None:
    async with FakeFeed() as company:
        company.add(make_nupkg("Contoso.A", "1.0.0"), at=ago(clock, 30))
        proxy = await start_proxy(
            feed.index_url,
            upstream={"private": False},
            upstreams={"company": {"url": company.index_url, "private": True, "tries": 1, "document_deadline": "1s"}},
            feeds={"all": {"sources": ["company", "up"], "rules": [COOLDOWN]}},
        )
        shop = Shop(proxy, feed)
        assert await shop.listed("contoso.a") == ["1.0.0"]
        feed.requests.clear()
        await company.set_mode("5xx")
        clock.advance(400)
        for path in ("index.json", "1.0.0/contoso.a.1.0.0.nupkg", "2.0.0/contoso.a.2.0.0.nupkg"):
            await shop.get(f"/v3/content/contoso.a/{path}")
        assert not [seen.path for seen in feed.requests if "contoso" in seen.path]


async def test_a_folder_of_packages_has_rules_too(start_proxy: StartProxy, tmp_path: object, clock: FakeClock) -> None:
    import os
    from pathlib import Path

    folder = Path(str(tmp_path)) / "shelf"
    folder.mkdir()
    for version, days in (("1.0.0", 30), ("2.0.0", 1)):
        file = folder / f"acme.a.{version}.nupkg"
        file.write_bytes(make_nupkg("Acme.A", version))
        os.utime(file, (clock.now() - days * DAY,) * 2)
    table = {"sources": ["up"], "rules": [COOLDOWN]}
    proxy = await start_proxy("http://127.0.0.1:1/v3/index.json", upstream={"url": str(folder)}, feeds={"up": table})
    for _ in range(2):
        got = json.loads((await Shop(proxy, None).get("/v3/content/acme.a/index.json")).body)  # type: ignore[arg-type]
        assert got["versions"] == ["1.0.0"]
