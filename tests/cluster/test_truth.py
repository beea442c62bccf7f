"""Whose an id is, whose a version is, which tokens are good: all replicas decide alike."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from nugetproxy.admin.feed_commands import end_claims
from nugetproxy.cluster.bucket import Bucket
from nugetproxy.cluster.engines import EngineUnavailable
from nugetproxy.cluster.keys import TOKENS
from nugetproxy.engine.shared_truth import REVOCATIONS_SECONDS, SharedTruth
from nugetproxy.errors import BadRequest
from tests.aggregate.conftest import NEWER, OURS, QUICK, THEIRS
from tests.cluster.conftest import StartReplica, shared
from tests.cluster.engines import Moto
from tests.cluster.test_packages import bucket_of, settled, soon
from tests.fakes.asking import ask
from tests.fakes.clock import StoppableClock
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy

LIST = "/v3/content/contoso.a/index.json"
ANYBODYS = "/v3/content/acme.a/index.json"


@pytest.fixture
async def public() -> AsyncIterator[FakeFeed]:
    """Where anybody publishes; ``feed`` is the company's."""
    async with FakeFeed() as running:
        yield running


def farm(public: FakeFeed, **more: Any) -> dict[str, Any]:
    return {
        "upstream": {**QUICK, "private": True},
        "upstreams": {"public": {"url": public.index_url, **QUICK, "private": False}},
        "feeds": {"all": {"sources": ["up", "public"]}},
        **more,
    }


def truth_of(proxy: Proxy) -> SharedTruth:
    assert proxy.app.replicas is not None and proxy.app.replicas.truth is not None
    return proxy.app.replicas.truth


async def looks_no_more(proxy: Proxy) -> None:
    """From now on this replica looks at what others decided when the test says so."""
    (looking,) = [one for one in proxy.app.tasks.running() if one.get_name() == "truth"]
    looking.cancel()
    await asyncio.wait({looking})


async def agreed(proxy: Proxy) -> None:
    """What others decided is known here now."""
    if await truth_of(proxy).settle_claims():
        await proxy.app.claims.reload()
    await truth_of(proxy).settle_tokens()
    await proxy.app.tokens.load()


async def test_an_id_that_one_replica_has_claimed_is_served_by_nobody_else_anywhere(
    start_replica: StartReplica, feed: FakeFeed, public: FakeFeed, moto: Moto
) -> None:
    """The company removes its package: no replica may take the one that a stranger has put in its place."""
    feed.add(OURS)
    cluster = shared(moto, None)
    first = await start_replica(cluster, **farm(public))
    assert (await ask(first, LIST)).status == 200
    await agreed(first)
    feed.remove("Contoso.A", "1.0.0")
    public.add(make_nupkg("Contoso.A", "9.0.0"))
    await settled(first)
    await asyncio.to_thread(lambda: bucket_of(cluster, moto)("up/flat/contoso.a/index.json").delete())
    public.requests.clear()
    second = await start_replica(cluster, **farm(public))
    await agreed(second)
    assert (await ask(second, LIST)).status == 404
    assert not [seen for seen in public.requests if "contoso" in seen.target]


async def test_a_claim_that_an_operator_ends_is_ended_on_all(
    start_replica: StartReplica, feed: FakeFeed, public: FakeFeed, moto: Moto
) -> None:
    feed.add(OURS)
    cluster = shared(moto, None)
    first, second = [await start_replica(cluster, **farm(public)) for _ in range(2)]
    await ask(first, LIST)
    for one in (first, second):
        await agreed(one)
    await ask(second, LIST)
    public.add(make_nupkg("Contoso.A", "1.0.0", description="theirs"))
    merged = second.app.feeds["all"].merged
    assert merged is not None
    assert await second.app.ledger.claims() == {("up", "contoso.a")}
    assert (await merged.owners.of("contoso.a"))["1.0.0"].source == "up"
    await truth_of(first).release("up", "contoso.a")
    await agreed(second)
    assert await second.app.ledger.claims() == frozenset()
    assert await merged.owners.of("contoso.a") == await second.app.ledger.owners("all", "contoso.a") == {}


async def test_a_source_that_still_has_a_released_id_claims_it_again_on_all(
    start_replica: StartReplica, feed: FakeFeed, public: FakeFeed, moto: Moto
) -> None:
    """Until an operator ends that claim too, whichever replica is asked to."""
    feed.add(OURS)
    cluster = shared(moto, None)
    first, second = [await start_replica(cluster, **farm(public)) for _ in range(2)]
    for ends, claims in ((first, second), (second, second), (first, first)):
        assert (await ask(claims, LIST)).status == 200
        for one in (claims, first, second):
            await agreed(one)
            assert await one.app.ledger.claims() == {("up", "contoso.a")}
        await end_claims(ends.app.ledger, ends.app.feeds, id_="contoso.a", truth=truth_of(ends))
        for one in (first, second):
            await agreed(one)
            assert await one.app.ledger.claims() == frozenset()


async def test_what_a_stranger_has_put_beside_the_owners_is_none_of_them(
    start_replica: StartReplica, feed: FakeFeed, public: FakeFeed, moto: Moto
) -> None:
    public.add(THEIRS)
    cluster = shared(moto, None)
    bucket = bucket_of(cluster, moto)
    for name in ("", "000000", "000001", "readme.txt"):  # what is damaged, too
        await asyncio.to_thread(bucket(f"_truth/owners/all/acme.a/{name}").put, Body=b'{"1.0.0": 7}')
    first = await start_replica(cluster, **farm(public))
    assert (await ask(first, "/v3/content/acme.a/index.json")).status == 200
    assert (await truth_of(first).decide("all", "acme.a", {}))["1.0.0"] == "public"


async def test_replicas_that_see_a_version_first_at_the_same_moment_decide_alike(
    start_replica: StartReplica, feed: FakeFeed, public: FakeFeed, moto: Moto
) -> None:
    feed.add(OURS)
    cluster = shared(moto, None)
    replicas = [await start_replica(cluster, **farm(public)) for _ in range(4)]
    said = [{"1.0.0": f"source{number}", f"2.0.{number}": "up"} for number in range(4)]
    decided = await asyncio.gather(
        *(truth_of(one).decide("all", "acme.a", owners) for one, owners in zip(replicas, said, strict=True))
    )
    assert len({one["1.0.0"] for one in decided}) == 1
    final = await truth_of(replicas[0]).decide("all", "acme.a", {})
    assert final == {"1.0.0": decided[0]["1.0.0"], **{f"2.0.{number}": "up" for number in range(4)}}


async def test_an_owner_is_the_one_that_another_replica_has_seen_first(
    start_replica: StartReplica, feed: FakeFeed, public: FakeFeed, moto: Moto
) -> None:
    public.add(THEIRS)
    public.add(NEWER)
    cluster = shared(moto, None)
    first = await start_replica(cluster, **farm(public))
    await truth_of(first).decide("all", "acme.a", {"1.0.0": "up"})
    got = await ask(first, "/v3/content/acme.a/index.json")
    assert got.status == 200
    owners = await first.app.ledger.owners("all", "acme.a")
    assert owners["1.0.0"].source == "up"
    assert owners["2.0.0-rc.1"].source == "public"


@pytest.mark.parametrize("reloads", [False, True])
async def test_an_owner_that_was_seen_while_the_bucket_was_away_is_the_one_of_all_replicas_once_it_is_back(
    start_replica: StartReplica,
    feed: FakeFeed,
    public: FakeFeed,
    moto: Moto,
    monkeypatch: pytest.MonkeyPatch,
    reloads: bool,
) -> None:
    public.add(THEIRS)
    cluster, open_farm = shared(moto, None), farm(public, upstream={**QUICK, "private": False})
    clock = StoppableClock()
    first = await start_replica(cluster, clock=clock, **open_farm)

    async def away(*_: object) -> bool:
        raise EngineUnavailable("bucket", "it is away")

    with monkeypatch.context() as lost:
        lost.setattr(Bucket, "create", away)
        assert (await ask(first, ANYBODYS)).status == 200
    if reloads:
        await first.reload(cluster=cluster, **open_farm, limits={"push": "7 MiB"})
    clock.advance(301)
    assert (await ask(first, ANYBODYS)).status == 200
    feed.add(make_nupkg("Acme.A", "1.0.0", description="the first source has it, too, now"))

    second = await start_replica(cluster, **open_farm)
    assert (await ask(second, ANYBODYS)).status == 200
    owners = [await one.app.ledger.owners("all", "acme.a") for one in (first, second)]
    assert [one["1.0.0"].source for one in owners] == ["public", "public"]


def basic(secret: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'u:{secret}'.encode()).decode()}"}


async def test_a_token_lets_in_on_all_replicas_until_one_revokes_it(
    start_replica: StartReplica, feed: FakeFeed, moto: Moto
) -> None:
    cluster = shared(moto, None)
    closed = {"upstream": {"anonymous": False}}
    first = await start_replica(cluster, **closed)
    second = await start_replica(cluster, **closed)
    _, secret = await first.app.tokens.add("farm", ["read"], [], None)
    await agreed(second)
    for one in (first, second):
        assert (await ask(one, "/v3/index.json", headers=basic(secret))).status == 200
    with pytest.raises(BadRequest):
        await second.app.tokens.add("farm", ["read"], [], None)
    await second.app.tokens.revoke("farm")
    await agreed(first)
    for one in (first, second):
        assert (await ask(one, "/v3/index.json", headers=basic(secret))).status == 401


async def test_a_token_of_a_name_that_was_revoked_elsewhere_lets_in_at_once(
    start_replica: StartReplica, feed: FakeFeed, moto: Moto
) -> None:
    cluster = shared(moto, None)
    first, second = [await start_replica(cluster, upstream={"anonymous": False}) for _ in range(2)]
    await first.app.tokens.add("farm", ["read"], [], None)
    await agreed(second)
    await second.app.tokens.revoke("farm")
    _, secret = await second.app.tokens.add("farm", ["read"], [], None)
    await agreed(first)
    assert (await ask(first, "/v3/index.json", headers=basic(secret))).status == 200


async def test_of_two_that_make_a_token_of_one_name_at_the_same_moment_one_is_told_so(
    start_replica: StartReplica, feed: FakeFeed, moto: Moto, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = shared(moto, None)
    replicas = [await start_replica(cluster, upstream={"anonymous": False}) for _ in range(2)]
    create, both = Bucket.create, asyncio.Barrier(2)

    async def together(bucket: Bucket, key: str, body: bytes) -> bool:
        if key.startswith(TOKENS):
            await both.wait()
        return await create(bucket, key, body)

    monkeypatch.setattr(Bucket, "create", together)
    made = await asyncio.gather(
        *(one.app.tokens.add("farm", ["read"], [], None) for one in replicas), return_exceptions=True
    )
    secrets = [one[1] for one in made if not isinstance(one, BaseException)]
    assert [type(one) for one in made if isinstance(one, BaseException)] == [BadRequest]
    for one in replicas:
        await agreed(one)
        statuses = [(await ask(one, "/v3/index.json", headers=basic(secret))).status for secret in secrets]
        assert statuses == [200]


async def test_of_two_tokens_of_one_name_all_replicas_let_the_older_one_in_until_both_are_revoked(
    start_replica: StartReplica, feed: FakeFeed, moto: Moto
) -> None:
    """Each replica had one before they shared a bucket."""
    closed, clock = {"upstream": {"anonymous": False}}, StoppableClock()
    replicas = [await start_replica({}, clock=clock, **closed) for _ in range(2)]
    secrets = []
    for one in replicas:
        secrets.append((await one.app.tokens.add("farm", ["read"], [], None))[1])
        clock.advance(1.0)
    cluster = shared(moto, None)
    for one in replicas:
        one.config = one.configured(cluster=cluster, **closed)
        await one.restart()

    async def statuses() -> set[tuple[int, ...]]:
        """By secret, as each replica has them."""
        for one in replicas:
            await agreed(one)
        return {
            tuple([(await ask(one, "/v3/index.json", headers=basic(secret))).status for secret in secrets])
            for one in replicas
        }

    await statuses()
    for _ in range(2):
        assert await statuses() == {(200, 401)}
    await replicas[1].app.tokens.revoke("farm")
    for _ in range(2):
        assert await statuses() == {(401, 401)}


@pytest.mark.parametrize("body", [b"{", b"\xff", b"", b"[]", b'{"name": "x"}', "its own"])
async def test_a_damaged_token_keeps_nobody_out_but_who_shows_it(
    start_replica: StartReplica, feed: FakeFeed, moto: Moto, capsys: pytest.CaptureFixture[str], body: bytes | str
) -> None:
    cluster, closed = shared(moto, None), {"upstream": {"anonymous": False}}
    first = await start_replica(cluster, **closed)
    token, secret = await first.app.tokens.add("farm", ["read"], [], None)
    bucket = bucket_of(cluster, moto)
    if isinstance(body, str):  # that of another token
        body = await asyncio.to_thread(lambda: bucket(f"_truth/tokens/farm~{token.hash}").get()["Body"].read())
    await asyncio.to_thread(bucket("_truth/tokens/evil~123").put, Body=body)
    second = await start_replica(cluster, **closed)
    for one in (first, second):
        await agreed(one)
        assert [one.name for one, _ in one.app.tokens.all()] == ["farm"]
        assert (await ask(one, "/v3/index.json", headers=basic(secret))).status == 200
    assert capsys.readouterr().out.count("token.refused") == 2


async def test_a_token_is_refused_once_nobody_could_say_for_long_that_it_is_revoked(
    start_replica: StartReplica, feed: FakeFeed, moto: Moto, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = await start_replica(shared(moto, None), upstream={"anonymous": False})
    await looks_no_more(proxy)
    _, secret = await proxy.app.tokens.add("farm", ["read"], [], None)
    assert (await ask(proxy, "/v3/index.json", headers=basic(secret))).status == 200
    now = proxy.app.clock.now()
    monkeypatch.setattr(truth_of(proxy)._clock, "now", lambda: now + REVOCATIONS_SECONDS + 60)
    assert (await ask(proxy, "/v3/index.json", headers=basic(secret))).status == 401


async def test_a_bucket_that_takes_nothing_still_says_which_tokens_are_good(
    start_replica: StartReplica, feed: FakeFeed, moto: Moto, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster, closed, clock = shared(moto, None), {"upstream": {"anonymous": False}}, StoppableClock()
    first = await start_replica(cluster, **closed)
    _, secret = await first.app.tokens.add("farm", ["read"], [], None)

    async def full(*_: object) -> bool:
        raise EngineUnavailable("bucket", "it is full")

    monkeypatch.setattr(Bucket, "create", full)
    second = await start_replica(cluster, clock=clock, **closed)
    for _ in range(2):
        async with asyncio.timeout(20):
            while (await ask(second, "/v3/index.json", headers=basic(secret))).status != 200:
                await asyncio.sleep(0.01)
        assert (await ask(second, "/v3/index.json", headers=basic("another"))).status == 401
        clock.advance(REVOCATIONS_SECONDS + 60)
        truth_of(second).wanted.set()


async def test_the_lane_refuses_such_a_token_too(
    start_replica: StartReplica, feed: FakeFeed, moto: Moto, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = await start_replica(shared(moto, None), upstream={"anonymous": False})
    await looks_no_more(proxy)
    _, secret = await proxy.app.tokens.add("farm", ["read"], [], None)

    async def status() -> int:
        return (await ask(proxy, "/v3/index.json", headers=basic(secret))).status

    assert [await status() for _ in range(3)] == [200] * 3
    answered = proxy.app.lane.answered
    assert answered >= 1
    with monkeypatch.context() as unknown:
        unknown.setattr(truth_of(proxy), "_known_tokens", proxy.app.clock.now() - REVOCATIONS_SECONDS - 60)
        assert await status() == 401
    assert [await status() for _ in range(3)] == [200] * 3
    assert proxy.app.lane.answered >= answered + 2


async def test_a_new_replica_that_cannot_read_the_tokens_lets_nobody_in(
    start_replica: StartReplica, feed: FakeFeed
) -> None:
    """An empty ledger is no empty list: what a token closes must not be open."""
    cluster = {**shared(None, None), "store": "s3://gone/x", "endpoint": "http://127.0.0.1:9", "region": "us-east-1"}
    cluster |= {"store_key": "env:TEST_STORE_KEY", "store_secret": "env:TEST_STORE_SECRET"}
    proxy = await start_replica(cluster, server={"allow_anonymous": True})
    assert not proxy.app.tokens.known
    with pytest.raises(EngineUnavailable):
        await truth_of(proxy).tokens()


async def test_claims_are_announced_to_those_who_listen(
    start_replica: StartReplica, feed: FakeFeed, public: FakeFeed, moto: Moto, redis: Any
) -> None:
    feed.add(OURS)
    cluster = shared(moto, redis)
    first, second = [await start_replica(cluster, **farm(public)) for _ in range(2)]
    await soon(lambda: second.metric("announcements_live") == 1)
    assert json.loads((await ask(first, LIST)).body)["versions"] == ["1.0.0"]
    await soon(lambda: bool(second.app.claims.of("contoso.a")))
