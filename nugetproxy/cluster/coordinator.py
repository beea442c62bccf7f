"""RedisCoordinator is a Redis or Valkey that replicas talk through."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeout

from nugetproxy.clock import Clock
from nugetproxy.cluster.engines import NEVER_WRITTEN, EngineUnavailable, Thing
from nugetproxy.cluster.gate import Background, Gate, brief
from nugetproxy.metrics import Metrics

T = TypeVar("T")

BUDGET: Final = 0.5
"""Seconds that anybody waits for it."""
LEASE_SECONDS: Final = 3.0
"""The price of a holder that dies; one that lives renews each second."""
MARK_SECONDS: Final = 2 * 3600
"""Longer than any document is kept here, so that none outlives the mark that outdates it."""
MOST_SECONDS: Final = 3600.0
LARGEST: Final = 4 * 2**20
"""Bytes of a document that is kept here."""
CONNECTIONS: Final = 32
SCANNED: Final = 5000
"""Keys that it looks through at once."""
RENEW: Final = (
    "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], ARGV[2]) end return 0"
)
RELEASE: Final = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"
PUT: Final = """
local mark = redis.call('get', KEYS[1])
if mark and mark > ARGV[1] then return 0 end
if not mark and ARGV[1] ~= '' then redis.call('set', KEYS[1], ARGV[1], 'EX', MARK_SECONDS) end
redis.call('del', KEYS[2])
redis.call('hset', KEYS[2], unpack(ARGV, 3))
redis.call('pexpire', KEYS[2], ARGV[2])
return 1
""".replace("MARK_SECONDS", str(MARK_SECONDS))
"""Write only what was asked for after the last write to its id; a mark that was forgotten meanwhile is one again."""


class RedisCoordinator:
    """One Redis; everything in it may vanish at any time."""

    seconds = LEASE_SECONDS

    def __init__(
        self,
        url: str,
        password: str,
        namespace: str,
        clock: Clock,
        metrics: Metrics,
        *,
        background: Background | None = None,
    ) -> None:
        """Nothing is asked yet; one that was lost is tried in the ``background``.

        Raises ValueError for a URL that cannot be.
        """
        options: dict[str, Any] = {
            "socket_timeout": BUDGET,
            "socket_connect_timeout": BUDGET,
            "protocol": 2,  # by 3, redis-py asks on connections that were closed while nobody used them
            "retry": Retry(NoBackoff(), 0),  # its own retries would hide an outage from the gate
            **({"password": password} if password else {}),
        }
        self._pool = BlockingConnectionPool.from_url(url, max_connections=CONNECTIONS, timeout=BUDGET, **options)
        self._redis: Any = Redis(connection_pool=self._pool)
        self._listening: Any = Redis.from_url(url, **(options | {"socket_timeout": None}))
        self._namespace = namespace
        self._renew, self._release, self._put = (self._redis.register_script(text) for text in (RENEW, RELEASE, PUT))
        self.gate = Gate(
            "coordination",
            clock,
            metrics,
            (RedisError,),
            timeouts=(RedisTimeout,),
            probe=partial(self._whole, self._touch),
            background=background,
        )
        self._calls: set[asyncio.Future[Any]] = set()
        self._closed = False

    @property
    def problem(self) -> str:
        """As ``Coordinator.problem`` says it."""
        return self.gate.problem

    async def close(self) -> None:
        """End its connections, once the calls that are under way have ended; never raises."""
        self._closed = True
        calls = tuple(self._calls)
        if calls:
            await asyncio.wait(calls, timeout=2 * BUDGET)
            for call in calls:
                call.cancel()
            await asyncio.wait(calls, timeout=BUDGET)
        for end in (self._redis.aclose, self._pool.disconnect, self._listening.aclose):
            with suppress(RedisError, OSError, TimeoutError):  # it is gone already
                await end()

    async def ping(self) -> None:
        """As ``Coordinator.ping`` says it."""
        await self._ask(self._redis.ping)

    async def _touch(self) -> None:
        """A write: one that takes none is as good as lost."""
        await self._redis.set(f"{self._namespace}:alive", b"", px=int(LEASE_SECONDS * 1000))

    async def acquire(self, key: str) -> str | None:
        """As ``Coordinator.acquire`` says it."""
        proof = secrets.token_hex(16)
        name, lasts = self._lease(key), int(LEASE_SECONDS * 1000)
        won = await self._ask(lambda: self._redis.set(name, proof, nx=True, px=lasts))
        return proof if won else None

    async def renew(self, key: str, proof: str) -> str | None:
        """As ``Coordinator.renew`` says it."""
        lasts = int(LEASE_SECONDS * 1000)
        return proof if await self._ask(lambda: self._renew(keys=[self._lease(key)], args=[proof, lasts])) else None

    async def release(self, key: str, proof: str) -> None:
        """As ``Coordinator.release`` says it."""
        await self._ask(lambda: self._release(keys=[self._lease(key)], args=[proof]))

    async def document(self, tag: str, key: str) -> tuple[Thing | None, str]:
        """As ``Coordinator.document`` says it."""

        async def ask() -> tuple[dict[bytes, bytes], bytes | None]:
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.hgetall(self._document(tag, key))
                pipe.get(self._mark(tag))
                found, mark = await pipe.execute()
            return found, mark

        found, mark = await self._ask(ask)
        said = {name.decode("utf-8", "replace"): value for name, value in found.items()}
        body = said.pop("body", None)
        meta = {name: value.decode("utf-8", "replace") for name, value in said.items()}
        return None if body is None else Thing(body=body, meta=meta), _text(mark)

    async def put_document(self, tag: str, key: str, thing: Thing, *, mark: str, seconds: float) -> bool:
        """As ``Coordinator.put_document`` says it."""
        if len(thing.body) > LARGEST:
            return True  # what is too large for here lies in the bucket
        lasts = int(1000 * min(max(seconds, 1.0), MOST_SECONDS))
        rows = [part for pair in thing.meta.items() for part in pair]
        keys = [self._mark(tag), self._document(tag, key)]
        return bool(await self._ask(lambda: self._put(keys=keys, args=[mark, lasts, *rows, "body", thing.body])))

    async def remove_documents(self, tag: str) -> None:
        """As ``Coordinator.remove_documents`` says it."""
        at, named = 0, f"{self._document(tag, '')}*"
        while True:
            at, found = await self._ask(partial(self._redis.scan, at, match=named, count=SCANNED))
            if found:
                await self._ask(partial(self._redis.delete, *found))
            if at == 0:
                return

    async def mark(self, tag: str) -> str:
        """As ``Coordinator.mark`` says it."""
        return _text(await self._ask(lambda: self._redis.get(self._mark(tag))))

    async def set_mark(self, tag: str, mark: str) -> None:
        """As ``Coordinator.set_mark`` says it."""
        await self._ask(lambda: self._redis.set(self._mark(tag), mark, ex=MARK_SECONDS))

    async def announce(self, what: str) -> None:
        """As ``Coordinator.announce`` says it."""
        await self._ask(lambda: self._redis.publish(self._channel, what))

    async def announcements(self) -> AsyncIterator[str | None]:
        """Raises EngineUnavailable when the connection is lost."""
        pubsub = self._listening.pubsub()
        try:
            await self._listen(pubsub.subscribe(self._channel))
            if await self._listen(pubsub.get_message(timeout=2 * BUDGET)) is None:
                raise self.gate.failed("it does not confirm that it will announce anything")
            yield None
            while True:
                message = await self._listen(pubsub.get_message(ignore_subscribe_messages=True, timeout=1.0))
                if message is None:
                    # A read that waits for ever would not notice a machine that vanished: a ping does. An announcement
                    # may come before its answer.
                    await self._listen(pubsub.ping())
                    message = await self._listen(pubsub.get_message(ignore_subscribe_messages=True, timeout=1.0))
                if message is None:
                    raise self.gate.failed("it does not answer who listens to it")
                if message["type"] == "message":
                    yield message["data"].decode("utf-8", "replace")
        finally:
            await pubsub.aclose()

    async def _listen(self, answer: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(1.0 + 4 * BUDGET):
                return await answer
        except (RedisError, OSError, TimeoutError) as error:
            raise self.gate.failed(brief(error)) from error

    async def _ask(self, ask: Callable[[], Awaitable[T]]) -> T:
        return await self.gate.call(partial(self._whole, ask), 2 * BUDGET)

    async def _whole(self, ask: Callable[[], Awaitable[T]]) -> T:
        """A call ends by its own time-outs, however early who made it leaves: one that is cut off may lose its
        connection, which then nobody closes."""
        if self._closed:
            raise EngineUnavailable(self.gate.engine, "this replica stops")
        call = asyncio.ensure_future(ask())
        self._calls.add(call)
        call.add_done_callback(self._ended)
        return await asyncio.shield(call)

    def _ended(self, call: asyncio.Future[Any]) -> None:
        self._calls.discard(call)
        if not call.cancelled():
            call.exception()  # whoever has left does not take it

    @property
    def _channel(self) -> str:
        return f"{self._namespace}:announcements"

    # The braces keep what belongs to one id on one node of a cluster, where a script must find it.
    def _document(self, tag: str, key: str) -> str:
        return f"{self._namespace}:{{{tag}}}:document:{key}"

    def _mark(self, tag: str) -> str:
        return f"{self._namespace}:{{{tag}}}:mark"

    def _lease(self, key: str) -> str:
        return f"{self._namespace}:lease:{key}"


def _text(value: bytes | None) -> str:
    return value.decode("utf-8", "replace") if value is not None else NEVER_WRITTEN
