"""SharedTruth is what replicas must decide alike: whose an id is, whose a version is, which tokens are good."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import orjson
import structlog

from nugetproxy.clock import Clock
from nugetproxy.cluster import keys
from nugetproxy.cluster.engines import Coordinator, EngineUnavailable, ObjectStore
from nugetproxy.errors import BadRequest
from nugetproxy.store.ledger.ledger import Ledger, Token

log = structlog.get_logger(__name__)

LOOK_SECONDS: Final = 60.0
"""Between two looks at what others have decided, where nobody announces it."""
REVOCATIONS_SECONDS: Final = 900.0
"""How old the list of revocations may be while tokens are good."""
FIRST_SECONDS: Final = 2.0
"""How long a start waits for tokens that it has never known; then nobody is let in by one, until they are."""
NOTE: Final = "_revocations"
"""Under which the ledger keeps when they were known last; no source is called so."""
TRIES: Final = 8
"""Of several that decide at once, each sees what the others have, in its turn."""


class SharedTruth:
    """Small objects in the bucket, each made once, copied into the ledger of every replica.

    A Redis only announces them, since it may forget. While the bucket is away, the own ledger is what counts.
    """

    def __init__(self, store: ObjectStore, coordinator: Coordinator | None, ledger: Ledger, clock: Clock) -> None:
        self._store = store
        self._coordinator = coordinator
        self._ledger = ledger
        self._clock = clock
        self._known_tokens: float | None = None
        self.wanted = asyncio.Event()
        """There is something to look at."""

    async def due(self) -> None:
        """Return when it is time to look again."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                await self.wanted.wait()
        self.wanted.clear()

    async def _announce(self) -> None:
        if self._coordinator is not None:
            with suppress(EngineUnavailable):
                await self._coordinator.announce("truth")

    # --- claims ---

    async def settle_claims(self) -> bool:
        """Have ledger and bucket know the same claims; whether the ledger's have changed. Raises EngineUnavailable."""
        ours = await self._ledger.claims()
        theirs = await self._pairs(keys.CLAIMS)
        for source, id_ in theirs - ours:
            self._ledger.claim(source, id_)
        missing = ours - theirs
        released = missing & await self._pairs(keys.RELEASED) if missing else frozenset()
        for source, id_ in released:
            await self._ledger.disclaim(source, id_)
            await self._ledger.disown(source, id_)
        made = [await self._store.create(f"{keys.CLAIMS}{source}/{id_}", b"") for source, id_ in missing - released]
        if any(made):
            await self._announce()
        return bool(theirs - ours or released)

    async def _pairs(self, prefix: str) -> frozenset[tuple[str, str]]:
        found = (one.key.removeprefix(prefix).partition("/") for one in await self._store.listing(prefix))
        return frozenset((source, id_) for source, _, id_ in found if id_)

    async def release(self, source: str, id_: str) -> None:
        """A claim ends on all replicas; raises EngineUnavailable, after which it stands."""
        await self._store.create(f"{keys.RELEASED}{source}/{id_}", b"")
        await self._store.remove(f"{keys.CLAIMS}{source}/{id_}")
        for one in await self._store.listing(keys.OWNERS):
            if one.key.rpartition("/")[0].endswith(f"/{id_}"):
                await self._store.remove(one.key)
        await self._announce()

    # --- owners ---

    async def decide(self, feed: str, id_: str, owners: Mapping[str, str]) -> Mapping[str, str]:
        """Version -> source, as whoever was first has said it for all replicas; raises EngineUnavailable.

        The objects of an id are a log: each is made once, and says what those before it do not.
        """
        prefix = f"{keys.OWNERS}{feed}/{id_}/"
        for _ in range(TRIES):
            known, number = await self._decided(prefix)
            new = {version: source for version, source in owners.items() if version not in known}
            if not new or await self._store.create(f"{prefix}{number:06d}", orjson.dumps(new)):
                return {**known, **new}
        raise EngineUnavailable("bucket", f"others decide whose the versions of {id_} are, again and again")

    async def _decided(self, prefix: str) -> tuple[dict[str, str], int]:
        known: dict[str, str] = {}
        names = sorted(one.key for one in await self._store.listing(prefix))
        for name in names:
            said = await self._store.read(name)
            for version, source in (_table(said.body) if said is not None else {}).items():
                known.setdefault(version, str(source))
        return known, int(names[-1].rpartition("/")[2]) + 1 if names else 0

    # --- tokens: where tokens are kept ---

    async def tokens(self) -> tuple[Token, ...]:
        """All tokens that nobody has revoked, by name, as they were known last.

        Raises EngineUnavailable where they were never known here: an empty list would open what they close.
        """
        if self._known_tokens is None:
            noted = await self._ledger.scrub(NOTE)
            self._known_tokens = float(noted) if noted is not None else None
        if self._known_tokens is None:
            try:
                async with asyncio.timeout(FIRST_SECONDS):
                    await self.settle_tokens()
            except TimeoutError as error:
                raise EngineUnavailable("bucket", "no list of tokens") from error
        return await self._ledger.tokens()

    async def settle_tokens(self) -> None:
        """Have ledger and bucket know the same tokens; raises EngineUnavailable."""
        began = self._clock.now()
        revoked = {one.key.removeprefix(keys.REVOKED) for one in await self._store.listing(keys.REVOKED)}
        ours = {one.hash: one for one in await self._ledger.tokens()}
        theirs = {one.key.rpartition("~")[2]: one.key for one in await self._store.listing(keys.TOKENS)}
        for digest in theirs.keys() - ours.keys() - revoked:
            said = await self._store.read(theirs[digest])
            if said is not None:
                await self._ledger.put_token(_token(said.body))
        for digest, token in ours.items():
            if digest in revoked:
                await self._ledger.remove_token(token.name)
            elif digest not in theirs:
                await self._store.create(_name(token), _written(token))
        self._known_tokens = began
        self._ledger.note_scrub(NOTE, str(began).encode())

    async def put_token(self, token: Token) -> None:
        """Let a token in on all replicas; raises EngineUnavailable, BadRequest where the name is taken."""
        await self.settle_tokens()
        if any(one.name == token.name for one in await self._ledger.tokens()):
            raise BadRequest(f"There is a token {token.name!r} on another replica; revoke it first.")
        await self._store.create(_name(token), _written(token))
        await self._ledger.put_token(token)
        await self._announce()

    async def remove_token(self, name: str) -> bool:
        """Let nobody in by a token on any replica; raises EngineUnavailable."""
        await self.settle_tokens()
        found = [one for one in await self._ledger.tokens() if one.name == name]
        for token in found:
            await self._store.create(f"{keys.REVOKED}{token.hash}", b"")
            await self._store.remove(_name(token))
            await self._ledger.remove_token(name)
        await self._announce()
        return bool(found)

    def are_tokens_known(self) -> bool:
        """Whether a token that was revoked elsewhere would be known here."""
        at = self._known_tokens
        return at is not None and abs(self._clock.now() - at) < REVOCATIONS_SECONDS


def _name(token: Token) -> str:
    return f"{keys.TOKENS}{token.name}~{token.hash}"


def _written(token: Token) -> bytes:
    said = {"name": token.name, "sha256": token.hash, "scopes": token.scopes, "feeds": token.feeds}
    return orjson.dumps({**said, "expires": token.expires, "created": token.created})


def _token(body: bytes) -> Token:
    said = _table(body)
    return Token(
        name=str(said["name"]),
        hash=str(said["sha256"]),
        scopes=tuple(map(str, said["scopes"])),
        feeds=tuple(map(str, said["feeds"])),
        expires=said["expires"],
        created=float(said["created"]),
    )


def _table(body: bytes) -> dict[str, Any]:
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return said if isinstance(said, dict) else {}
