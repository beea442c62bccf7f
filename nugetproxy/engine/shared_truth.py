"""SharedTruth is what replicas must decide alike: whose an id is, whose a version is, which tokens are good."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

import msgspec
import structlog
from cachetools import LRUCache

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
REMEMBERED: Final = 20_000
"""Ids of which something was decided alone; beyond, the oldest is forgotten."""
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
        self._agreed: frozenset[tuple[str, str]] | None = None
        """The claims that were known at the last look; what is none of them was claimed since."""
        self._claiming = asyncio.Lock()  # a look that began before a release must not end after it
        self._refused: set[str] = set()
        """Tokens in the bucket that nobody is let in by; each is told once."""
        self.alone: LRUCache[tuple[str, str], bool] = LRUCache(REMEMBERED)
        """(feed, id) of which owners were decided while nobody could tell what the others say."""
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
        """Have ledger and bucket know the same claims; whether the ledger's have changed. Raises EngineUnavailable.

        What was released and is claimed since, by a source that still has it, is claimed again.
        """
        async with self._claiming:
            return await self._settle_claims()

    async def _settle_claims(self) -> bool:
        ours = await self._ledger.claims()
        theirs = await self._pairs(keys.CLAIMS)
        for source, id_ in theirs - ours:
            self._ledger.claim(source, id_)
        missing = ours - theirs
        ended = missing & await self._pairs(keys.RELEASED) if missing else frozenset()
        released = ended if self._agreed is None else ended & self._agreed
        for source, id_ in released:
            await self._ledger.disclaim(source, id_)
            await self._ledger.disown(source, id_)
        made = [await self._store.create(f"{keys.CLAIMS}{source}/{id_}", b"") for source, id_ in missing - released]
        for source, id_ in ended - released:
            await self._store.remove(f"{keys.RELEASED}{source}/{id_}")
        self._agreed = (ours | theirs) - released
        if any(made):
            await self._announce()
        return bool(theirs - ours or released)

    async def _pairs(self, prefix: str) -> frozenset[tuple[str, str]]:
        found = (one.key.removeprefix(prefix).partition("/") for one in await self._store.listing(prefix))
        return frozenset((source, id_) for source, _, id_ in found if id_)

    async def release(self, source: str, id_: str) -> None:
        """A claim ends on all replicas; raises EngineUnavailable, after which it stands."""
        async with self._claiming:
            await self._store.create(f"{keys.RELEASED}{source}/{id_}", b"")
            await self._store.remove(f"{keys.CLAIMS}{source}/{id_}")
            self._agreed = self._agreed and self._agreed - {(source, id_)}
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
            if not new or await self._store.create(f"{prefix}{number:06d}", msgspec.json.encode(new)):
                return {**known, **new}
        raise EngineUnavailable("bucket", f"others decide whose the versions of {id_} are, again and again")

    async def _decided(self, prefix: str) -> tuple[dict[str, str], int]:
        known: dict[str, str] = {}
        names = [one.key.removeprefix(prefix) for one in await self._store.listing(prefix)]
        numbers = sorted(int(name) for name in names if name.isdecimal())
        for number in numbers:
            said = await self._store.read(f"{prefix}{number:06d}")
            for version, source in (_owners(said.body) if said is not None else {}).items():
                known.setdefault(version, source)
        return known, numbers[-1] + 1 if numbers else 0

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
        ours = {one.name: one for one in await self._ledger.tokens()}
        for token in [one for one in ours.values() if one.hash in revoked]:
            await self._ledger.remove_token(token.name)
            del ours[token.name]
        theirs = {one.key.rpartition("~")[2]: one.key for one in await self._store.listing(keys.TOKENS)}
        for digest in theirs.keys() - {one.hash for one in ours.values()} - revoked:
            said = await self._store.read(theirs[digest])
            if said is None:
                continue
            found = _token(theirs[digest], said.body)
            if found is not None and _first(found, ours.get(found.name)) is found:
                ours[found.name] = found
                await self._ledger.put_token(found)
            elif digest not in self._refused:
                self._refused.add(digest)
                why = "it is damaged" if found is None else "an older token has this name; to revoke it ends both"
                log.error("token.refused", object=theirs[digest], detail=why)
        for token in ours.values():
            if token.hash not in theirs:
                await self._store.create(_name(token), _written(token))
        self._known_tokens = began
        self._ledger.note_scrub(NOTE, str(began).encode())

    async def put_token(self, token: Token) -> None:
        """Let a token in on all replicas; raises EngineUnavailable, BadRequest where the name is taken."""
        taken = BadRequest(f"There is a token {token.name!r} on another replica; revoke it first.")
        await self.settle_tokens()
        if any(one.name == token.name for one in await self._ledger.tokens()):
            raise taken
        await self._store.create(_name(token), _written(token))
        await self.settle_tokens()
        if not any(one.hash == token.hash for one in await self._ledger.tokens()):  # another was made meanwhile
            await self._store.remove(_name(token))
            raise taken
        await self._announce()

    async def remove_token(self, name: str) -> bool:
        """Let nobody in by a token on any replica; raises EngineUnavailable."""
        await self.settle_tokens()
        made = f"{keys.TOKENS}{name}~"
        found = [one.key for one in await self._store.listing(keys.TOKENS) if one.key.startswith(made)]
        for key in found:
            await self._store.create(f"{keys.REVOKED}{key.removeprefix(made)}", b"")
            await self._store.remove(key)
        await self._ledger.remove_token(name)
        await self._announce()
        return bool(found)

    def are_tokens_known(self) -> bool:
        """Whether a token that was revoked elsewhere would be known here."""
        at = self._known_tokens
        return at is not None and abs(self._clock.now() - at) < REVOCATIONS_SECONDS


class _Said(Token, frozen=True, kw_only=True, rename={"hash": "sha256"}):
    """A token as its object says it."""


def _name(token: Token) -> str:
    return f"{keys.TOKENS}{token.name}~{token.hash}"


def _written(token: Token) -> bytes:
    return msgspec.json.encode(_Said(**msgspec.structs.asdict(token)))


def _token(key: str, body: bytes) -> Token | None:
    """The token of an object; None where that is damaged."""
    try:
        token = msgspec.json.decode(body, type=_Said)
    except ValueError:
        return None
    return token if _name(token) == key else None


def _first(one: Token, other: Token | None) -> Token:
    """Of two of one name the one that all replicas let in: what was made first."""
    return one if other is None else min(one, other, key=lambda token: (token.created, token.hash))


def _owners(body: bytes) -> dict[str, str]:
    """Version -> source; nothing where the object is damaged."""
    try:
        return msgspec.json.decode(body, type=dict[str, str])
    except ValueError:
        return {}
