"""Nothing that a replica has asked of its Redis outlives it."""

from __future__ import annotations

import asyncio
import gc
from contextlib import suppress
from typing import Any

import pytest
import redis.asyncio as client

from nugetproxy.clock import Clock
from nugetproxy.cluster.coordinator import RedisCoordinator
from nugetproxy.cluster.engines import EngineUnavailable
from nugetproxy.metrics import Metrics
from tests.cluster.engines import Redis

pytestmark = pytest.mark.usefixtures("impatient")


async def ended(calls: list[asyncio.Task[str]]) -> None:
    """Each has an answer, or none because of the engine, or was cancelled."""
    await asyncio.wait(calls)
    failures = [call.exception() for call in calls if not call.cancelled()]
    assert {type(one) for one in failures if one is not None} <= {EngineUnavailable}


async def others(redis: Redis) -> list[Any]:
    """The connections that a Redis has, but for the one that asks."""
    async with client.Redis(port=redis.port) as connection:
        mine = await connection.client_id()
        return [one for one in await connection.client_list() if int(one["id"]) != mine]


async def gone(redis: Redis) -> bool:
    """Whether all connections have ended; Redis sees that a moment later."""
    with suppress(TimeoutError):
        async with asyncio.timeout(2):
            while await others(redis):
                await asyncio.sleep(0.02)
    return await others(redis) == []


def asked(redis: Redis, times: int) -> tuple[RedisCoordinator, list[asyncio.Task[str]]]:
    coordinator = RedisCoordinator(redis.url, "", "suite", Clock(), Metrics())
    return coordinator, [asyncio.create_task(coordinator.mark(f"up/acme.{n}")) for n in range(times)]


async def test_one_that_is_closed_while_it_connects_has_no_connection_left(redis: Redis) -> None:
    for turns in range(8):
        coordinator, calls = asked(redis, 3)
        for _ in range(turns):
            await asyncio.sleep(0)
        await coordinator.close()
        await ended(calls)
        assert await gone(redis)


async def test_who_leaves_early_leaves_no_connection_behind(redis: Redis) -> None:
    """Also while more ask than there are connections."""
    coordinator, calls = asked(redis, 80)
    while not await others(redis):
        await asyncio.sleep(0)
    for call in calls:
        call.cancel()
    await ended(calls)
    assert await coordinator.mark("up/acme.a") == ""
    await coordinator.close()
    assert await gone(redis)


@pytest.mark.parametrize("turns", [0, 1, 20, 200])
async def test_one_that_hangs_is_left_with_all_connections_closed(redis: Redis, turns: int) -> None:
    """Before it is asked, while it is, when it has answered most."""
    coordinator, calls = asked(redis, 80)
    for _ in range(turns):
        await asyncio.sleep(0)
    redis.hang()
    try:
        await ended(calls)
        await coordinator.close()
    finally:
        redis.go_on()
    assert await gone(redis)


async def test_what_a_redis_has_closed_while_nobody_used_it_is_no_failure(redis: Redis) -> None:
    """By its time-out, by a balancer's, as it started again: all connections at once."""
    coordinator, calls = asked(redis, 24)
    await asyncio.gather(*calls)
    async with client.Redis(port=redis.port) as connection:
        await connection.client_kill_filter(_type="normal", skipme=True)
    assert await gone(redis)
    assert await asyncio.gather(*(coordinator.mark(f"up/acme.{n}") for n in range(24))) == [""] * 24
    await coordinator.close()


async def test_what_fails_once_nobody_waits_for_it_is_no_crash(redis: Redis) -> None:
    crashes: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, crash: crashes.append(crash["message"]))
    coordinator, calls = asked(redis, 24)
    await asyncio.gather(*calls)
    redis.hang()
    try:
        await leave(coordinator)
        await coordinator.close()
    finally:
        redis.go_on()
    gc.collect()
    assert crashes == []


async def leave(coordinator: RedisCoordinator) -> None:
    """Ask, wait for no answer; return when there can be none any more."""
    calls = [asyncio.create_task(coordinator.mark(f"up/acme.{n}")) for n in range(24)]
    while len(coordinator._calls) < len(calls):
        await asyncio.sleep(0)
    for call in calls:
        call.cancel()
    await ended(calls)
    async with asyncio.timeout(10):
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0.02)


async def test_one_that_is_closed_says_so(redis: Redis) -> None:
    coordinator, _ = asked(redis, 0)
    await coordinator.close()
    with pytest.raises(EngineUnavailable, match="this replica stops"):
        await coordinator.mark("up/acme.a")


async def test_announcements_begin_when_they_are_subscribed_to(redis: Redis) -> None:
    """Until then one may be missed: who believes that none is looks nowhere else."""
    subscribes, may, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Holds up what subscribes."""
        with suppress(OSError):
            while said := await reader.read(65536):
                if b"SUBSCRIBE" in said:
                    subscribes.set()
                    await may.wait()
                writer.write(said)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", redis.port)
        await asyncio.gather(relay(reader, forth), relay(back, writer))
        await asyncio.gather(forth.wait_closed(), writer.wait_closed())
        ended.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
        coordinator = RedisCoordinator(url, "", "suite", Clock(), Metrics())
        announcements = coordinator.announcements()
        first = asyncio.ensure_future(anext(announcements))
        try:
            async with asyncio.timeout(10):
                await subscribes.wait()
                for _ in range(100):
                    await asyncio.sleep(0)
                assert not first.done()
                may.set()
                assert await first is None
        finally:
            await announcements.aclose()  # type: ignore[attr-defined]  # a generator
            await coordinator.close()
            await ended.wait()


async def test_an_announcement_that_comes_before_the_answer_to_a_ping_is_heard(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was taken for that answer: the write stayed unknown here while documents are fresh."""
    coordinator, _ = asked(redis, 0)
    ping = client.client.PubSub.ping

    async def late(pubsub: client.client.PubSub) -> Any:
        await coordinator.announce("mark up/acme.a 1")
        return await ping(pubsub)

    announcements = coordinator.announcements()
    assert await anext(announcements) is None
    monkeypatch.setattr(client.client.PubSub, "ping", late)
    try:
        async with asyncio.timeout(10):
            assert await anext(announcements) == "mark up/acme.a 1"
    finally:
        await announcements.aclose()  # type: ignore[attr-defined]  # a generator
        await coordinator.close()


async def test_a_line_that_is_dead_is_noticed(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else nobody would hear of others' writes until TCP gives up, a quarter of an hour later."""

    async def unheard(_: client.client.PubSub) -> None:
        """What is sent on it is lost."""

    coordinator, _ = asked(redis, 0)
    announcements = coordinator.announcements()
    assert await anext(announcements) is None
    monkeypatch.setattr(client.client.PubSub, "ping", unheard)
    try:
        async with asyncio.timeout(10):
            with pytest.raises(EngineUnavailable, match="does not answer"):
                await anext(announcements)
    finally:
        await coordinator.close()


async def test_a_document_with_a_name_that_is_no_text_is_one_all_the_same(redis: Redis) -> None:
    coordinator, _ = asked(redis, 0)
    async with client.Redis(port=redis.port) as connection:
        await connection.hset("suite:{up/acme.a}:document:key", mapping={b"\xff": b"x", b"body": b"{}"})
    thing, _ = await coordinator.document("up/acme.a", "key")
    assert thing is not None and thing.body == b"{}"
    await coordinator.close()
