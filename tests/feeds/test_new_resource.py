"""A resource that NuGet does not have is served like all others once it has its row, its check, its rewriting."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from nugetproxy.caching.policy import FOREVER, MINUTE, Policy
from nugetproxy.nuget.documents.exact_json import InvalidDocument
from nugetproxy.nuget.documents.rewrite import Field, Fields, follows, shown
from nugetproxy.nuget.kinds import Kind, Row
from nugetproxy.nuget.resources import Resource, Shape
from tests.conftest import StartProxy
from tests.fakes import feed_documents
from tests.fakes.asking import ask
from tests.fakes.clock import FakeClock
from tests.fakes.feed import LOGIN_PAGE, FakeFeed
from tests.fakes.kinds import added, new_kind
from tests.fakes.origin import Script, Seen
from tests.fakes.packages import make_nupkg

TYPE = "PackageBadges/1.0.0"
OURS, THEIRS = "/v3/badges/acme.a/index.json", "/v3/all-badges/acme.a/index.json"
POLICY = Policy(fresh=10 * MINUTE, on_error=FOREVER, absent=MINUTE)
DOCUMENT = new_kind("badges", Row(policy=POLICY))
LIST = new_kind("badges", Row(policy=POLICY, lists=True))
QUERY = new_kind("badges", Row(policy=POLICY, query=True))
UNMERGED = new_kind("badges", Row(policy=POLICY, unmerged=True))
UNRULED = new_kind("badges", Row(policy=POLICY, unruled=True))
SEVERAL = {"sources": ["up", "other"]}


def resource(kind: Kind) -> Resource:
    return Resource(
        name="badges",
        types=(TYPE,),
        shape=Shape.BASE,
        path="badges/",
        routes={"badges/{id}/index.json": kind, "badges/{id}/{version}/index.json": kind},
    )


def check(document: Any, _id: str) -> None:
    if not isinstance(document, dict) or "badges" not in document:
        raise InvalidDocument("no badges")


def fields(kind: Kind) -> Fields:
    badge: Fields = {"package": Field(follows(Kind.REGISTRATION)), "iconUrl": Field(shown)}
    return {"@id": Field(follows(kind)), "badges": Field(inner=badge)}


@pytest.fixture(params=[DOCUMENT], ids=["document"])
def kind(request: pytest.FixtureRequest) -> Iterator[Kind]:
    wanted: Kind = request.param
    with added(wanted, resource(wanted), check, fields(wanted)):
        yield wanted


@pytest.fixture
def badges(feed: FakeFeed, monkeypatch: pytest.MonkeyPatch) -> FakeFeed:
    """A feed that offers the resource."""
    rows = (*feed_documents._ROWS, (TYPE, "{root}/v3/all-badges/", "Badges of packages"))
    monkeypatch.setattr(feed_documents, "_ROWS", rows)
    feed.add(make_nupkg("Acme.A", "1.0.0"))

    def answer(seen: Seen) -> Script:
        registration = f"{feed.url}/v3/registration5-gz-semver2/acme.a/index.json"
        document = {
            "@id": f"{feed.url}{THEIRS}",
            "badges": [{"package": registration, "asked": seen.query}],
            "unknown": 1.50,
        }
        return Script(body=json.dumps(document).encode(), headers=[("Content-Type", "application/json")])

    feed.origin.routes[THEIRS] = answer
    feed.origin.routes[THEIRS.replace("acme.a/", "acme.a/1.0.0/")] = answer
    return feed


@pytest.mark.usefixtures("kind")
async def test_it_is_published_served_and_stored(badges: FakeFeed, start_proxy: StartProxy, clock: FakeClock) -> None:
    proxy = await start_proxy(badges.index_url)
    index = json.loads((await ask(proxy, "/v3/index.json")).body)
    (entry,) = [entry for entry in index["resources"] if entry["@type"] == TYPE]
    assert entry["@id"] == str(proxy.client.make_url("/v3/badges/"))

    got = await ask(proxy, OURS)
    assert (got.status, got.cache) == (200, "fwd=uri-miss; fwd-status=200; stored")
    document = json.loads(got.body)
    assert document["@id"] == str(proxy.client.make_url(OURS))
    (badge,) = document["badges"]
    assert badge["package"] == str(proxy.client.make_url("/v3/registration/gz-semver2/acme.a/index.json"))

    clock.advance(9 * MINUTE)
    assert (await ask(proxy, OURS)).cache == f"hit; ttl={MINUTE:.0f}"
    assert badges.count(THEIRS) == 1
    clock.advance(2 * MINUTE)
    assert (await ask(proxy, OURS)).cache.startswith("fwd=stale; fwd-status=200")


@pytest.mark.usefixtures("kind")
async def test_what_fails_its_check_is_not_believed(badges: FakeFeed, start_proxy: StartProxy) -> None:
    badges.origin.routes[THEIRS] = Script(body=b'{"something": "else"}')
    proxy = await start_proxy(badges.index_url)
    got = await ask(proxy, OURS)
    assert (got.status, "invalid_content" in got.cache) == (502, True)
    badges.origin.routes[THEIRS] = Script(body=LOGIN_PAGE)
    assert (await ask(proxy, OURS)).status == 502


@pytest.mark.usefixtures("kind")
async def test_an_outage_is_bridged_by_what_is_stored_alone(
    badges: FakeFeed, start_proxy: StartProxy, clock: FakeClock
) -> None:
    proxy = await start_proxy(badges.index_url)
    before = await ask(proxy, OURS)
    assert (await ask(proxy, OURS.replace("acme.a", "acme.b"))).status == 404
    await badges.set_mode("refused")
    clock.advance(20 * MINUTE)
    assert (await ask(proxy, OURS)).body == before.body
    assert (await ask(proxy, OURS.replace("acme.a", "acme.c"))).status == 503


@pytest.mark.parametrize("kind", [LIST], indirect=True, ids=["list"])
@pytest.mark.usefixtures("kind")
async def test_offline_a_list_is_never_what_upstream_once_said(badges: FakeFeed, start_proxy: StartProxy) -> None:
    proxy = await start_proxy(badges.index_url)
    assert (await ask(proxy, OURS)).status == 200
    await proxy.stop()
    proxy = await start_proxy(badges.index_url, directory=proxy.directory, upstream={"offline": True})
    assert (await ask(proxy, OURS)).status == 404


@pytest.mark.usefixtures("kind")
async def test_offline_another_document_is(badges: FakeFeed, start_proxy: StartProxy) -> None:
    proxy = await start_proxy(badges.index_url)
    before = await ask(proxy, OURS)
    await proxy.stop()
    proxy = await start_proxy(badges.index_url, directory=proxy.directory, upstream={"offline": True})
    assert (await ask(proxy, OURS)).status == before.status == 200


@pytest.mark.usefixtures("kind")
@pytest.mark.parametrize(("kind", "asked"), [(DOCUMENT, ["", ""]), (QUERY, ["q=1", "q=2"])], indirect=["kind"])
async def test_only_a_query_depends_on_the_query(badges: FakeFeed, start_proxy: StartProxy, asked: list[str]) -> None:
    proxy = await start_proxy(badges.index_url)
    for n, query in enumerate(asked, 1):
        (badge,) = json.loads((await ask(proxy, f"{OURS}?q={n}")).body)["badges"]
        assert badge["asked"] == query
    assert badges.count(THEIRS) == len(set(asked))


@pytest.mark.parametrize(("kind", "status"), [(DOCUMENT, 200), (UNMERGED, 404)], indirect=["kind"])
@pytest.mark.usefixtures("kind")
async def test_a_feed_of_several_sources_has_it_of_the_first_that_does_or_has_none(
    badges: FakeFeed, start_proxy: StartProxy, status: int
) -> None:
    async with FakeFeed() as other:
        proxy = await start_proxy(
            badges.index_url, upstreams={"other": {"url": other.index_url}}, feeds={"all": SEVERAL}
        )
        index = json.loads((await ask(proxy, "/v3/index.json")).body)
        assert (TYPE in {entry["@type"] for entry in index["resources"]}) == (status == 200)
        assert (await ask(proxy, OURS)).status == status
        assert badges.count(THEIRS) == (status == 200)


@pytest.mark.parametrize(("kind", "status"), [(DOCUMENT, 403), (UNRULED, 200)], indirect=["kind"])
@pytest.mark.usefixtures("kind")
async def test_what_is_of_a_version_goes_with_it_unless_no_rule_touches_it(
    badges: FakeFeed, start_proxy: StartProxy, status: int
) -> None:
    none = {"name": "none", "ids": ["*"], "action": "deny", "reason": "Nothing passes"}
    proxy = await start_proxy(badges.index_url, feeds={"all": {"sources": ["up"], "rules": [none]}})
    assert (await ask(proxy, "/v3/content/acme.a/1.0.0/acme.a.1.0.0.nupkg")).status == 403
    assert (await ask(proxy, OURS.replace("acme.a/", "acme.a/1.0.0/"))).status == status
