"""Bucket is the object store of S3, Azure or Google, through obstore."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import obstore
from msgspec import Struct
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError, NotSupportedError, PreconditionError
from obstore.store import from_url

from nugetproxy.clock import Clock
from nugetproxy.cluster import keys
from nugetproxy.cluster.allowance import current, unlimited
from nugetproxy.cluster.engines import Blob, Listed, Stated, Thing
from nugetproxy.cluster.gate import Background, Gate
from nugetproxy.metrics import Metrics

T = TypeVar("T")

LOOK: Final = 2.0
"""Seconds that whoever waits for a package or a document waits for the bucket."""
SILENCE: Final = 1.0
"""Seconds after which a bucket that answers nobody hangs: a cloud's takes a tenth of that for its slowest answers."""
RACE: Final = 5.0
"""Seconds for a write under a condition: a store may let those that lose a race wait, one second after the other."""
TRIAL: Final = 15.0
"""The same where the store is tried out, with eight in the race; no client waits for it."""
PIECE: Final = 2.0
"""Seconds for the next piece of a body; a bucket that is slower than that is worth less than upstream."""
STORE: Final = 10.0
"""Seconds for a small object; nobody waits for it."""
UPLOAD: Final = 900.0
PART: Final = 8 * 2**20
READ_PIECE: Final = 512 * 1024
LARGEST_THING: Final = 64 * 2**20
AT_ONCE: Final = 64
"""Reads at the same time."""


class Place(Struct, frozen=True, kw_only=True):
    """Where the bucket is; the secrets are filled in."""

    url: str
    endpoint: str = ""
    region: str = ""
    key_id: str = ""
    secret: str = ""

    @property
    def base(self) -> str:
        """Where clients would read what lies in it, with a slash at its end; empty where that cannot be told."""
        parts = urlsplit(self.url)
        bucket, path = parts.netloc, parts.path.strip("/")
        hosts = {"s3": f"https://s3.{self.region or 'us-east-1'}.amazonaws.com", "gs": "https://storage.googleapis.com"}
        if parts.scheme == "az" and self.key_id:
            hosts["az"] = f"https://{self.key_id}.blob.core.windows.net"
        host = self.endpoint.rstrip("/") or hosts.get(parts.scheme, "")
        return "".join(f"{part}/" for part in (host, bucket, path) if part) if host else ""

    def options(self) -> dict[str, Any]:
        """As obstore calls them; what is empty is found out by itself, as the cloud's own tools do."""
        scheme = urlsplit(self.url).scheme
        by_scheme: dict[str, dict[str, Any]] = {
            "s3": {
                "endpoint": self.endpoint,
                "region": self.region,
                "access_key_id": self.key_id,
                "secret_access_key": self.secret,
                "unsigned_payload": True,  # TLS protects the body, and hashing it twice costs a third of the CPU
            },
            "az": {"endpoint": self.endpoint, "account_name": self.key_id, "account_key": self.secret},
            "gs": {"service_account_key": self.secret},
        }
        return {name: value for name, value in by_scheme[scheme].items() if value}


class Bucket:
    """One bucket, or what lies below one prefix of it; reads and writes break separately."""

    def __init__(self, place: Place, clock: Clock, metrics: Metrics, background: Background | None = None) -> None:
        """Nothing is asked yet; one that was lost is tried in the ``background``.

        Raises ValueError for a place that cannot be.
        """
        try:
            self._store = from_url(
                place.url,
                client_options={
                    "connect_timeout": "1s",
                    "read_timeout": f"{TRIAL:g}s",  # whoever waits shorter ends the call
                    "timeout": "15m",
                    "allow_http": place.endpoint.startswith("http://"),
                },
                retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=4)},
                **place.options(),
            )
        except BaseError as error:
            raise ValueError(str(error).partition("\n")[0]) from error
        self.base = place.base
        self.reads, self.writes = (
            Gate(name, clock, metrics, (BaseError,), probe=probe, background=background)
            for name, probe in (("bucket", self._head), ("bucket_writes", self._touch))
        )
        self._slots = asyncio.Semaphore(AT_ONCE)  # bounds what reads of many packages hold in memory

    @property
    def problem(self) -> str:
        """As for ``ObjectStore``: of reads before that of writes."""
        return self.reads.problem or self.writes.problem

    async def read(self, key: str) -> Thing | None:
        """As ``ObjectStore.read``; nothing larger than ``LARGEST_THING``."""

        async def ask() -> Thing | None:
            got = await self._get(key)
            if got is None or got.meta["size"] > LARGEST_THING:
                return None
            body = bytes(await got.bytes_async())
            meta = got.meta
            return Thing(
                body=body, meta=_meta(got), tag=meta["e_tag"] or "", modified=meta["last_modified"].timestamp()
            )

        return await self._look(ask)

    async def stream(self, key: str) -> Blob | None:
        """As ``ObjectStore.stream``."""
        got = await self._look(lambda: self._get(key))
        if got is None:
            return None
        return Blob(size=got.meta["size"], meta=_meta(got), chunks=self._chunks(got))

    async def _chunks(self, got: Any) -> AsyncIterator[bytes]:
        pieces = got.stream(min_chunk_size=READ_PIECE)
        while True:
            with unlimited():  # as long as pieces come, there is no better place
                piece = await self.reads.call(lambda: anext(pieces, None), PIECE, silence=SILENCE)
            if piece is None:
                return
            yield bytes(piece)

    async def head(self, key: str) -> Stated | None:
        """As ``ObjectStore.head``."""

        async def ask() -> Stated | None:
            got = await self._get(key, head=True)
            return Stated(size=got.meta["size"], meta=_meta(got)) if got is not None else None

        return await self._look(ask)

    async def write(self, key: str, body: bytes, meta: Mapping[str, str]) -> None:
        """As ``ObjectStore.write``."""
        await self.writes.call(lambda: self._put(key, body, meta), STORE)

    async def upload(self, key: str, chunks: AsyncIterator[bytes], size: int, meta: Mapping[str, str]) -> None:
        """As ``ObjectStore.upload``."""

        async def ask() -> None:
            if size <= PART:
                await self._put(key, b"".join([chunk async for chunk in chunks]), meta)
                return
            given: Any = chunks
            await obstore.put_async(
                self._store, key, given, attributes=_attributes(meta), chunk_size=PART, max_concurrency=2
            )

        await self.writes.call(ask, UPLOAD)

    async def create(self, key: str, body: bytes) -> bool:
        """As ``ObjectStore.create``."""

        async def ask() -> bool:
            try:
                await obstore.put_async(self._store, key, body, mode="create", use_multipart=False)
            except (AlreadyExistsError, PreconditionError):
                return False
            return True

        return await self.writes.call(ask, _seconds(key))

    async def replace(self, key: str, body: bytes, tag: str) -> bool:
        """As ``ObjectStore.replace``."""

        async def ask() -> bool:
            try:
                await obstore.put_async(self._store, key, body, mode={"e_tag": tag}, use_multipart=False)
            except (PreconditionError, NotFoundError, FileNotFoundError, AlreadyExistsError, NotSupportedError):
                return False
            return True

        return await self.writes.call(ask, _seconds(key))

    async def remove(self, key: str) -> None:
        """As ``ObjectStore.remove``."""

        async def ask() -> None:
            try:
                await obstore.delete_async(self._store, key)
            except (NotFoundError, FileNotFoundError):
                return

        await self.writes.call(ask, LOOK)

    async def listing(self, prefix: str) -> tuple[Listed, ...]:
        """As ``ObjectStore.listing``."""

        async def ask() -> tuple[Listed, ...]:
            found: list[Listed] = []
            async for chunk in obstore.list(self._store, prefix.rstrip("/") or None, chunk_size=1000):
                found += [
                    Listed(key=one["path"], size=one["size"], modified=one["last_modified"].timestamp())
                    for one in chunk
                ]
            return tuple(found)

        patience = STORE if current() is None else LOOK
        return await self.reads.call(ask, patience if prefix else UPLOAD)

    async def sign(self, key: str, seconds: float) -> str:
        """As ``ObjectStore.sign``."""
        store: Any = self._store
        return await self._look(lambda: obstore.sign_async(store, "GET", key, timedelta(seconds=seconds)))

    async def _look(self, ask: Callable[[], Awaitable[T]]) -> T:
        async def in_turn() -> T:
            async with self._slots:
                return await ask()

        return await self.reads.call(in_turn, LOOK, silence=SILENCE)

    async def _get(self, key: str, *, head: bool = False) -> Any:
        try:
            return await obstore.get_async(self._store, key, options={"head": head})
        except (NotFoundError, FileNotFoundError):
            return None

    async def _head(self) -> None:
        await self._get(keys.ALIVE, head=True)

    async def _touch(self) -> None:
        await self._put(keys.ALIVE, b"", {})

    async def _put(self, key: str, body: bytes, meta: Mapping[str, str]) -> None:
        await obstore.put_async(self._store, key, body, attributes=_attributes(meta), use_multipart=False)


def _seconds(key: str) -> float:
    """Seconds for a write of this key under a condition: whoever asks for the truth is not kept waiting long."""
    if key.startswith(keys.PROBES):
        return TRIAL
    return RACE if key.startswith(keys.LEASES) else LOOK


def _attributes(meta: Mapping[str, str]) -> Any:
    return dict(meta)


def _meta(got: Any) -> dict[str, str]:
    return {str(name).lower(): str(value) for name, value in got.attributes.items()}
