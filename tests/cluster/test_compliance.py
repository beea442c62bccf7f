"""What is promised of the second level, whatever it is made of: nothing, a bucket, a Redis, or both."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from nugetproxy.caching.entry import Entry, Validators
from nugetproxy.clock import Clock
from nugetproxy.cluster.bucket import Bucket
from nugetproxy.cluster.bucket import Place as Where
from nugetproxy.cluster.coordinator import RedisCoordinator
from nugetproxy.cluster.engines import Leases
from nugetproxy.cluster.probe import Honesty
from nugetproxy.cluster.second_level import Place, SecondLevel
from nugetproxy.metrics import Metrics
from nugetproxy.nuget.identity import PackageIdentity
from tests.cluster.engines import S3
from tests.fakes.asking import until

NUMBERS = itertools.count()
ACME = PackageIdentity("acme.a", "1.0.0")
LIST = Place("up", "acme.a", "versions", "versions:0123", True)
PAGE = Place("up", "acme.a", "registration", "registration:4567", False)
INDEX = Place("up", "", "index", "index:89ab", False)


@dataclass(slots=True)
class Replica:
    """A second level as one replica sees it."""

    level: SecondLevel
    told: list[tuple[str, str, float | None]] = field(default_factory=list)


MakeReplica = Callable[..., Awaitable[Replica]]


@pytest.fixture(
    params=["none", "bucket", "redis", "both", pytest.param("seaweed", marks=[pytest.mark.slow, pytest.mark.long])]
)
def made_of(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def long_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """None runs out on a busy machine."""
    for name in ("bucket_leases", "coordinator"):
        monkeypatch.setattr(f"nugetproxy.cluster.{name}.LEASE_SECONDS", 60.0)


@pytest.fixture
async def replica(request: pytest.FixtureRequest, made_of: str) -> AsyncIterator[MakeReplica]:
    """Makes replicas that share the same engines."""
    prefix, coordinators = f"suite{next(NUMBERS)}", list[RedisCoordinator]()
    probed: list[Honesty | None] = []
    kind = {"bucket": "moto", "both": "moto", "seaweed": "seaweed"}.get(made_of)
    engine: S3 | None = request.getfixturevalue(kind) if kind else None
    redis = request.getfixturevalue("redis") if made_of in {"redis", "both"} else None

    async def make(**origins: str) -> Replica:
        clock, metrics, store, coordinator = Clock(), Metrics(), None, None
        if engine is not None:
            url = f"s3://{engine.bucket}/{prefix}"
            place = Where(
                url=url, endpoint=engine.endpoint, region=engine.region, key_id=engine.key, secret=engine.secret
            )
            store = Bucket(place, clock, metrics)
        if redis is not None:
            coordinator = RedisCoordinator(redis.url, "", prefix, clock, metrics)
            coordinators.append(coordinator)
        told: list[tuple[str, str, float | None]] = []
        level = SecondLevel(
            store,
            coordinator,
            origins={"up": "https://feed.example.com/v3/index.json", **origins},
            clock=clock,
            metrics=metrics,
            told=lambda source, id_, at: told.append((source, id_, at)),
        )
        level.honesty = probed[0] if probed else None  # a race costs a slow fake seconds
        await level.examine()
        probed[:] = [level.honesty]
        return Replica(level, told)

    yield make
    for one in coordinators:
        await one.close()


def entry_of(body: bytes, **more: Any) -> Entry:
    return Entry.of(200, body, stored_at=more.pop("at", Clock().now()))


async def pieces(body: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(body), 65536):
        yield body[at : at + 65536]


async def put(one: Replica, body: bytes, identity: PackageIdentity = ACME) -> None:
    await one.level.put_package("up", identity, pieces(body), size=len(body), sha512="sum", nuspec=b"<package/>")


async def read(one: Replica, identity: PackageIdentity = ACME) -> bytes | None:
    blob = await one.level.package("up", identity)
    if blob is None:
        return None
    body = b"".join([chunk async for chunk in blob.chunks])
    assert len(body) == blob.size
    assert blob.meta["sha512"] == "sum"
    return body


@pytest.mark.parametrize("size", [10, 20 * 2**20], ids=["small", "in parts"])
async def test_a_package_is_had_by_all_where_there_is_a_bucket(replica: MakeReplica, made_of: str, size: int) -> None:
    first, second = await replica(), await replica()
    assert await read(second) is None
    await put(first, bytes(size))
    assert await read(second) == (bytes(size) if made_of in {"bucket", "both", "seaweed"} else None)
    await second.level.remove_package("up", ACME)
    assert await read(first) is None


async def test_packages_of_another_feed_of_the_same_name_are_neither_read_nor_replaced(replica: MakeReplica) -> None:
    first, second = await replica(), await replica(up="https://other.example.com/v3/index.json")
    await put(first, b"ours")
    assert await read(second) is None
    await put(second, b"theirs")
    assert await read(first) in {b"ours", None}
    assert await second.level.package_url("up", ACME, 60, sha512="sum") is None


@pytest.mark.parametrize("place", [LIST, PAGE, INDEX], ids=["versions", "registration", "index"])
async def test_a_document_is_had_by_all_with_all_that_is_known_of_it(
    replica: MakeReplica, made_of: str, place: Place
) -> None:
    first, second = await replica(), await replica()
    assert await first.level.document(place) is None
    entry = Entry(
        status=200,
        stored_at=Clock().now(),
        digest=entry_of(b"{}").digest,
        validators=Validators('W/"ä%"', "Fri, 27 Nov 2026 20:00:00 GMT"),
        content_type="application/json; charset=utf-8",
        url="https://feed.example.com/a b/ü",
        warnings=("one, with a comma", "two"),
    )
    assert await first.level.put_document(place, entry, b"{}", mark="", seconds=60)
    found = await second.level.document(place)
    assert (found is None) == (made_of == "none")
    assert found is None or (found.entry, found.body) == (entry, b"{}")


async def test_a_document_of_other_credentials_is_none(replica: MakeReplica) -> None:
    """The cache key holds as whom the upstream is asked; the path of a version list does not."""
    one = await replica()
    await one.level.put_document(LIST, entry_of(b"{}"), b"{}", mark="", seconds=60)
    assert await one.level.document(Place("up", "acme.a", "versions", "versions:other", True)) is None


async def test_an_absence_is_shared_by_what_forgets_it_only(replica: MakeReplica, made_of: str) -> None:
    first, second = await replica(), await replica()
    absent = Entry.of(404, b"", stored_at=Clock().now())
    await first.level.put_document(LIST, absent, b"", mark="", seconds=30)
    found = await second.level.document(LIST)
    assert (found is not None and found.entry.absent) == (made_of in {"redis", "both"})


async def test_what_was_asked_for_before_a_write_is_never_kept_after_it(replica: MakeReplica, made_of: str) -> None:
    slow, quick = await replica(), await replica()
    await slow.level.follow("up", "acme.a")
    before = slow.level.marks.known(LIST.tag)
    await quick.level.wrote("up", "acme.a")
    mark = quick.level.marks.known(LIST.tag)
    await quick.level.put_document(LIST, entry_of(b"new"), b"new", mark=mark, seconds=60)
    kept = await slow.level.put_document(LIST, entry_of(b"old"), b"old", mark=before, seconds=60)
    assert kept is (made_of == "none")
    found = await quick.level.document(LIST)
    assert found is None or found.body == b"new"


async def test_a_write_that_a_redis_has_forgotten_keeps_nothing_from_being_shared(
    replica: MakeReplica, made_of: str, request: pytest.FixtureRequest
) -> None:
    """Its mark expires, is evicted, or is lost with the whole Redis."""
    writer, fresh = await replica(), await replica()
    await writer.level.wrote("up", "acme.a")
    mark = writer.level.marks.known(LIST.tag)
    if made_of in {"redis", "both"}:
        import redis as client

        with client.Redis(port=request.getfixturevalue("redis").port) as connection:
            connection.flushall()
    entry = entry_of(b"new")
    assert await writer.level.put_document(LIST, entry, b"new", mark=mark, seconds=60)
    found = await fresh.level.document(LIST)
    assert (found is None) == (made_of == "none")
    assert found is None or found.entry == entry


async def test_what_was_kept_before_a_write_is_not_of_after_it(replica: MakeReplica, made_of: str) -> None:
    writer, reader = await replica(), await replica()
    await writer.level.put_document(LIST, entry_of(b"old"), b"old", mark="", seconds=60)
    began = Clock().now()
    await until(lambda: Clock().now() > began)
    await writer.level.wrote("up", "acme.a")
    found = await reader.level.document(LIST)
    if made_of == "none":
        assert found is None
    else:
        ((source, id_, at),) = reader.told
        assert (source, id_) == ("up", "acme.a")
        assert at is not None and at >= began - 0.001
        assert found is not None and found.entry.stored_at <= at


async def test_a_write_that_nobody_has_announced_is_learned_by_looking(replica: MakeReplica, made_of: str) -> None:
    writer, reader = await replica(), await replica()
    await writer.level.wrote("up", "acme.a")
    await reader.level.follow("up", "acme.a")
    await reader.level.follow("up", "acme.b")
    assert [one[:2] for one in reader.told] == ([] if made_of == "none" else [("up", "acme.a")])
    assert writer.told == []


async def test_a_write_to_an_unknown_id_is_one_to_any(replica: MakeReplica, made_of: str) -> None:
    writer, reader = await replica(), await replica()
    await writer.level.wrote("up", "")
    await reader.level.follow("up", "acme.a")
    assert [one[:2] for one in reader.told] == ([] if made_of == "none" else [("up", "")])


async def test_a_write_is_announced_at_once_where_somebody_can(replica: MakeReplica, made_of: str) -> None:
    writer, reader = await replica(), await replica()
    told = asyncio.Event()
    reader.level.marks._told = lambda *_: told.set()
    listening = asyncio.create_task(anext(reader.level.announcements(), None))
    try:
        if made_of in {"redis", "both"}:
            await until(lambda: reader.level.marks._live)
            await writer.level.wrote("up", "acme.a")
            async with asyncio.timeout(1):
                await told.wait()
        else:
            assert await asyncio.wait_for(listening, 5) is None
    finally:
        listening.cancel()
        await asyncio.wait({listening})


async def test_one_of_many_gets_a_lease_the_next_one_when_it_is_given_back(replica: MakeReplica, made_of: str) -> None:
    replicas = [await replica() for _ in range(6)]
    leases = [one.level.leases for one in replicas]
    if made_of == "none":
        assert leases == [None] * 6
        return
    kept = [one for one in leases if one is not None]
    assert len(kept) == 6
    proofs = await asyncio.gather(*(one.acquire("key") for one in kept))
    (winner,) = [number for number, proof in enumerate(proofs) if proof is not None]
    proof = await renewed(kept[winner], proofs[winner])
    loser = kept[winner - 1]
    assert await loser.acquire("key") is None
    assert await loser.renew("key", "somebody else's") is None
    await loser.release("key", "somebody else's")
    assert await loser.acquire("key") is None
    await kept[winner].release("key", proof)
    assert await loser.acquire("key") is not None


async def renewed(leases: Leases, proof: str | None) -> str:
    assert proof is not None
    renewed = await leases.renew("key", proof)
    assert renewed is not None
    return renewed


async def test_packages_are_leased_only_where_others_could_find_them(replica: MakeReplica, made_of: str) -> None:
    one = await replica()
    assert (await one.level.package_leases("up") is not None) == (made_of in {"bucket", "both", "seaweed"})


async def test_a_signed_address_is_given_for_what_is_there(replica: MakeReplica, made_of: str) -> None:
    one = await replica()
    assert await one.level.package_url("up", ACME, 60, sha512="sum") is None
    await put(one, b"bytes")
    url = await one.level.package_url("up", ACME, 60, sha512="sum")
    assert (url is not None) == (made_of in {"bucket", "both", "seaweed"})
    assert url is None or "/up/flat/acme.a/1.0.0/acme.a.1.0.0.nupkg?" in url
