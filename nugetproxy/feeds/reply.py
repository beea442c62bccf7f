"""Reply is what a feed answers, before HTTP conditions are applied."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from msgspec import Struct
from msgspec.structs import replace

from nugetproxy.engine.flight import FilePart, Piece
from nugetproxy.engine.flight_body import FlightBody
from nugetproxy.engine.outcome import CacheStatus
from nugetproxy.engine.relay import Relay
from nugetproxy.engine.standing import MakeStanding
from nugetproxy.engine.target import Found, Target
from nugetproxy.nuget.kinds import JSON_TYPE, Kind
from nugetproxy.store.packages.held import HeldPackage

NO_CACHE = "no-cache"
IMMUTABLE = "public, max-age=31536000, immutable"


class View(Struct, frozen=True, kw_only=True):
    """How one client sees the feed."""

    base: str
    """The URL below which it finds us, as in ``http://host:5555/v3/``."""
    gzip: bool = False
    head: bool = False

    @property
    def secure(self) -> bool:
        """True when the client came over https."""
        return self.base.startswith("https:")


Elsewhere = Callable[[HeldPackage], Awaitable[str | None]]
"""Where a client can read a held package itself, for a while; None where nowhere."""


class HeldBody(Struct, frozen=True):
    """A package in the folder, its descriptor acquired for this reply."""

    held: HeldPackage
    elsewhere: Elsewhere | None = None
    content: bytes | None = None
    """All of it, where that is at hand."""

    @property
    def size(self) -> int:
        """Bytes of the whole package."""
        return self.held.size

    async def pieces(self, start: int, stop: int | None) -> AsyncIterator[Piece]:
        """The bytes from ``start`` up to ``stop``."""
        yield FilePart(self.held.fd, start, self.size if stop is None else stop)

    def close(self) -> None:
        """Give the descriptor back; once."""
        self.held.release()


class RelayedBody(Struct, frozen=True):
    """A file that is too large to be stored, straight from upstream."""

    size: int | None
    """Bytes in all; None where upstream did not say it."""
    relay: Relay
    target: Target
    etag: str | None
    """What the file must still be, where upstream has said a strong one."""

    async def pieces(self, start: int, stop: int | None) -> AsyncIterator[Piece]:
        """The bytes from ``start`` up to ``stop``; raises UpstreamFailure."""
        left = None if stop is None else stop - start
        async for chunk in self.relay.body(self.target, start, self.etag):
            wanted = chunk if left is None else chunk[:left]
            left = None if left is None else left - len(wanted)
            if wanted:
                yield wanted
            if left == 0:
                return

    def close(self) -> None:
        """Nothing is held before the body is read."""


MakeAgain = Callable[[], "Reply | None"]
"""Makes the reply to whoever asks next, now that another one was sent, to be looked at only: its body is not acquired.

None where that is not known.
"""


class Reply(Struct, frozen=True, kw_only=True):
    """A selected representation with what HTTP needs to know of it (RFC 9110 section 3.2)."""

    kind: Kind
    cache: CacheStatus
    status: int = 200
    content_type: str = JSON_TYPE
    body: bytes | HeldBody | FlightBody | RelayedBody = b""
    relayed: bool = False
    """True when the body is not here: a HEAD was relayed to upstream."""
    length: int | None = None
    """Of a body that is not here, as far as upstream said it."""
    etag: str | None = None
    modified: float | None = None
    age: float | None = None
    cache_control: str = NO_CACHE
    gzipped: bool = False
    warnings: tuple[str, ...] = ()
    """What a person must know (``X-NuGet-Warning``, which NuGet prints)."""
    negotiated: bool = False
    """True when other clients may get this in another content coding (``Vary``)."""
    location: str = ""
    """Where the client is sent to, for a 302."""
    standing: MakeStanding | None = None
    """Of a reply that the next one who asks for the same may get as a hit; None where it must be made anew."""
    owner: object = None
    """What the body is a part of; those who are sent the same at the same time share it."""
    again: MakeAgain | None = None
    """Of a package that has just landed, or will have by the time this is sent: what the next one who asks gets."""

    @property
    def size(self) -> int | None:
        """Bytes of the whole body; None when not known yet."""
        if self.relayed:
            return self.length
        return len(self.body) if isinstance(self.body, bytes) else self.body.size

    def shown(
        self,
        body: bytes | HeldBody | FlightBody | RelayedBody,
        *,
        etag: str | None,
        gzipped: bool,
        age: float | None,
        cache: CacheStatus,
        standing: MakeStanding | None,
        owner: object,
    ) -> Reply:
        """As it is shown under rules: caches in front must ask again."""
        return replace(
            self,
            body=body,
            etag=etag,
            gzipped=gzipped,
            age=age,
            cache=cache,
            standing=standing,
            owner=owner,
            cache_control=NO_CACHE,
            location="",
            again=None,
        )

    def by_itself(self) -> Reply:
        """To be kept: it counts for its body alone, so it does not keep the owner."""
        return self if self.owner is None else replace(self, owner=None)

    def close(self) -> None:
        """Release what the body holds; must be called exactly once."""
        if not isinstance(self.body, bytes):
            self.body.close()


def absent_reply(kind: Kind, found: Found, now: float) -> Reply:
    """A 404 that upstream has said, now or a short while ago (``now`` as in ``Entry.stored_at``)."""
    body = b'{"error":"The upstream has no such document."}'
    return Reply(
        kind=kind, cache=found.status, status=404, body=body, age=now - found.entry.stored_at, warnings=found.warnings
    )
