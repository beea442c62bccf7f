"""Engines are what replicas share, as the rest of the proxy sees them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Protocol

from msgspec import Struct

from nugetproxy.errors import ProxyError

NEVER_WRITTEN = ""
"""The mark of an id that nobody has written to."""


class EngineUnavailable(ProxyError):
    """An engine gave no usable answer in its time; whoever asked goes on without it."""

    def __init__(self, engine: str, why: str) -> None:
        super().__init__(engine, why)
        self.engine = engine
        self.why = why

    def __str__(self) -> str:
        return f"The shared {self.engine} gives no answer ({self.why}); this replica goes on without it."


class Thing(Struct, frozen=True, kw_only=True):
    """A small object with what is said of it."""

    body: bytes
    meta: Mapping[str, str]
    tag: str = ""
    """What the store calls this version of it."""
    modified: float = 0.0
    """By the store's clock, in seconds since the epoch."""


class Stated(Struct, frozen=True, kw_only=True):
    """What is said of a large object."""

    size: int
    meta: Mapping[str, str]


class Blob(Stated, frozen=True, kw_only=True):
    """A large object that is read piece by piece."""

    chunks: AsyncIterator[bytes]
    """Raises EngineUnavailable."""


class Listed(Struct, frozen=True, kw_only=True):
    """An object as a listing names it."""

    key: str
    size: int
    modified: float


class ObjectStore(Protocol):
    """A bucket. Everything that is awaited raises EngineUnavailable."""

    @property
    def problem(self) -> str:
        """What an operator must know; empty while all is well."""

    base: str
    """Where clients would read what lies in it; empty where that cannot be told."""

    async def read(self, key: str) -> Thing | None:
        """A small object; None where there is none."""

    async def stream(self, key: str) -> Blob | None:
        """A large object; None where there is none."""

    async def head(self, key: str) -> Stated | None:
        """What is said of a large object; None where there is none."""

    async def write(self, key: str, body: bytes, meta: Mapping[str, str]) -> None:
        """Put a small object in place of whatever is there."""

    async def upload(self, key: str, chunks: AsyncIterator[bytes], size: int, meta: Mapping[str, str]) -> None:
        """Put a large object there; nobody sees half of it."""

    async def create(self, key: str, body: bytes) -> bool:
        """Put a small object there; False where there is one."""

    async def replace(self, key: str, body: bytes, tag: str) -> bool:
        """Put it in place of the version with this tag; False where that is there no more."""

    async def remove(self, key: str) -> None:
        """Remove an object, if there is one."""

    async def listing(self, prefix: str) -> tuple[Listed, ...]:
        """Everything below a prefix that ends with a slash."""

    async def sign(self, key: str, seconds: float) -> str:
        """A URL from which anybody can read the object for so long."""


class Leases(Protocol):
    """Who may fetch a key; one at a time, over all replicas. Raises EngineUnavailable."""

    seconds: float
    """How long one lasts that is not renewed."""

    async def acquire(self, key: str) -> str | None:
        """The proof that the lease is ours; None while it is somebody else's."""

    async def renew(self, key: str, proof: str) -> str | None:
        """The proof for the next time; None where the lease was lost."""

    async def release(self, key: str, proof: str) -> None:
        """Let the next one have it."""


class Coordinator(Leases, Protocol):
    """What is fast and may forget: leases, documents in use, who wrote to what. Raises EngineUnavailable."""

    @property
    def problem(self) -> str:
        """What an operator must know; empty while all is well."""

    async def document(self, tag: str, key: str) -> tuple[Thing | None, str]:
        """What is known under ``key`` of what ``tag`` names, with the mark of the last write to it."""

    async def put_document(self, tag: str, key: str, thing: Thing, *, mark: str, seconds: float) -> bool:
        """Keep a document for so long, unless there was a write since ``mark``: then False."""

    async def remove_documents(self, tag: str) -> None:
        """Forget all that is known of what ``tag`` names, but for its mark."""

    async def mark(self, tag: str) -> str:
        """The mark of the last write to what ``tag`` names."""

    async def set_mark(self, tag: str, mark: str) -> None:
        """There was a write: everybody is told."""

    async def announce(self, what: str) -> None:
        """Tell every replica ``what`` has happened, without waiting for them."""

    def announcements(self) -> AsyncIterator[str | None]:
        """What others announce; None at the beginning, since something may have been missed before."""

    async def ping(self) -> None:
        """Return when it answers."""

    async def close(self) -> None:
        """End its connections; never raises."""
