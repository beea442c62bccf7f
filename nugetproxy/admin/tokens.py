"""Tokens let clients in: to read, to push, to administer."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Collection, Iterable
from enum import StrEnum
from typing import Final, Protocol

import structlog
from cachetools import LRUCache

from nugetproxy.clock import Clock
from nugetproxy.engine.newest import Newest
from nugetproxy.errors import BadRequest, NotFound, ProxyError
from nugetproxy.store.ledger.records import Token

log = structlog.get_logger(__name__)

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MARK: Final = "nupx_"
"""What our tokens begin with, so that scanners for secrets can find one that was published by mistake."""
SHORTEST: Final = 16
"""Characters of a token that an operator brings along; ours hold 256 random bits."""
REMEMBERED: Final = 4096
"""Raw ``Authorization`` values that were right, with whose they are."""
RETRY: Final = 5.0
"""Seconds between two tries to read what could not be read at the start."""
_NOBODY: Final = hashlib.sha256(b"").hexdigest()


class Scope(StrEnum):
    """What a token is good for; none includes another."""

    READ = "read"
    PUSH = "push"
    ADMIN = "admin"


class TokenStore(Protocol):
    """Where tokens are kept: the ledger, or a file that several processes share."""

    async def tokens(self) -> tuple[Token, ...]:
        """All of them, by name; raises ProxyError."""

    async def put_token(self, token: Token) -> None:
        """Add one, or replace the one of that name."""

    async def remove_token(self, name: str) -> bool:
        """Remove one; False if there was none of that name."""


def hash_of(secret: str) -> str:
    """What is kept of a token. A fast hash is right for random texts; nobody guesses 256 bits."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def secret_in(authorization: str) -> str:
    """The secret in an ``Authorization`` value: a bearer token, or the password of any user; empty without one."""
    scheme, _, rest = authorization.strip().partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    return _pair(rest)[1] if scheme.lower() == "basic" else ""


def _pair(coded: str) -> tuple[str, str]:
    """User and password of the scheme Basic (RFC 7617); both empty where it is malformed."""
    try:
        pair = base64.b64decode(coded.strip(), validate=True).decode("utf-8", "surrogateescape")
    except (binascii.Error, ValueError):
        return "", ""
    user, _, password = pair.partition(":")
    return user, password


def is_for(token: Token, scope: Scope, feed: str = "") -> bool:
    """Whether a token has a scope, for a feed where that matters."""
    return scope in token.scopes and (not feed or not token.feeds or feed in token.feeds)


class Tokens:
    """All tokens, those of the configuration and those that are kept, as they are known now; for one event loop."""

    def __init__(self, store: TokenStore, clock: Clock, feeds: Collection[str]) -> None:
        """``feeds``: the names of those that a token may be good for."""
        self._store = store
        self._clock = clock
        self._feeds = frozenset(feeds)
        self._given: tuple[Token, ...] = ()
        self._kept: tuple[Token, ...] = ()
        self._by_hash: dict[str, Token] = {}
        self._shown: LRUCache[str, Token] = LRUCache(REMEMBERED)
        self._any: dict[tuple[Scope, str], bool] = {}
        self._reads = Newest()
        self._changing = asyncio.Lock()  # two changes at once must not both find the name free
        self.watchers: list[Callable[[], None]] = []
        """Are told when a token came, went, or changed."""
        self.are_revocations_known: Callable[[], bool] | None = None
        """Whether a kept token that was revoked elsewhere would be known; else none of them is good. None: nobody
        revokes them elsewhere.
        """
        self.known = False
        """False while what is kept could not be read: then nobody is let in whom a token might keep out."""

    def give(self, tokens: Iterable[Token], feeds: Collection[str] | None = None) -> None:
        """The tokens of the configuration are these from now on; the ``feeds`` too, where they are named."""
        self._given = tuple(tokens)
        self._feeds = self._feeds if feeds is None else frozenset(feeds)
        self._sort()

    def with_given(self, tokens: Iterable[Token], feeds: Collection[str]) -> Tokens:
        """What these would be with another configuration; to judge that one by."""
        other = Tokens(self._store, self._clock, feeds)
        other.known, other._kept = self.known, self._kept
        other.give(tokens)
        return other

    async def load(self) -> None:
        """Read again what is kept."""
        number = self._reads.begin()
        try:
            kept = await self._store.tokens()
        except ProxyError as error:
            log.error("tokens.unreadable", detail=str(error))  # noqa: TRY400 - the traceback says nothing more
            return  # what was known stays
        if not self._reads.takes(number):
            return  # a token that was revoked since would be good again
        self._kept, self.known = kept, True
        self._sort()

    async def learn(self) -> None:
        """Return when what is kept is known; try again and again until then."""
        while not self.known:
            await self._clock.sleep(RETRY)
            await self.load()

    def _sort(self) -> None:
        self._by_hash = {token.hash: token for token in (*self._kept, *self._given)}
        self._shown.clear()
        self._any.clear()
        for tell in self.watchers:
            tell()

    def all(self) -> tuple[tuple[Token, bool], ...]:
        """Each with whether it is the configuration's, by name."""
        both = [(token, False) for token in self._kept] + [(token, True) for token in self._given]
        return tuple(sorted(both, key=lambda one: one[0].name))

    def any_for(self, scope: Scope, feed: str) -> bool:
        """Whether there is a token for this, expired ones too: time alone opens nothing."""
        found = self._any.get((scope, feed))
        if found is None:
            found = self._any[scope, feed] = any(is_for(token, scope, feed) for token in self._by_hash.values())
        return found

    def of(self, secret: str) -> Token | None:
        """Whose secret this is; None for nobody's, or one that has expired."""
        given = hash_of(secret)
        found = self._by_hash.get(given)
        # The dictionary's own hash is keyed at random; the comparison takes as long for a secret that is nobody's.
        same = hmac.compare_digest(given, found.hash if found is not None else _NOBODY)
        return found if same and found is not None and self._lasts(found) else None

    def is_ours(self, secret: str) -> bool:
        """Whether this is the secret of a token of ours, also of one that is good for nothing now."""
        return hash_of(secret) in self._by_hash

    def is_ours_in(self, authorization: str) -> bool:
        """Whether one stands in this raw ``Authorization`` value, also where none counts: as the user, by itself."""
        scheme, _, rest = authorization.strip().partition(" ")
        return any(map(self.is_ours, (scheme, rest.strip(), *_pair(rest))))

    def shown(self, authorization: str) -> Token | None:
        """Whose this raw ``Authorization`` value is; remembered until a token is revoked, changes, or expires."""
        token = self._shown.get(authorization)
        if token is None:
            secret = secret_in(authorization)
            token = self.of(secret) if secret else None
            if token is not None and len(authorization) <= 1024:
                self._shown[authorization] = token
        elif not self._lasts(token):
            del self._shown[authorization]
            return None
        return token

    def remembered(self, authorization: str) -> Token | None:
        """Whose this value was found to be a short while ago."""
        token: Token | None = self._shown.get(authorization)
        return token if token is not None and self._lasts(token) else None

    def _lasts(self, token: Token) -> bool:
        is_sure = self.are_revocations_known
        if is_sure is not None and token not in self._given and not is_sure():
            return False
        return token.expires is None or self._clock.now() < token.expires

    def doubt(self, token: Token) -> Callable[[], bool] | None:
        """What says, each time, whether it would be known that a token was revoked; None where that is sure."""
        return None if token in self._given else self.are_revocations_known

    async def add(
        self, name: str, scopes: Collection[str], feeds: Collection[str], seconds: float | None
    ) -> tuple[Token, str]:
        """A new token with its secret, which nobody learns later; raises BadRequest."""
        self._check(name, scopes, feeds, seconds)
        async with self._changing:
            await self.load()
            if any(name == token.name for token, _ in self.all()):
                raise BadRequest(f"There is a token {name!r} already; revoke it first, or take another name.")
            secret, now = MARK + secrets.token_urlsafe(32), self._clock.now()
            token = Token(
                name=name,
                hash=hash_of(secret),
                scopes=tuple(scope for scope in Scope if scope in scopes),
                feeds=tuple(sorted(set(feeds))),
                expires=None if seconds is None else now + seconds,
                created=now,
            )
            await self._store.put_token(token)
            await self.load()
        return token, secret

    def _check(self, name: str, scopes: Collection[str], feeds: Collection[str], seconds: float | None) -> None:
        if NAME.fullmatch(name) is None:
            raise BadRequest("A token's name is 1 to 64 of A-Z a-z 0-9 . _ - and begins with a letter or digit.")
        if not scopes or not set(scopes) <= set(Scope):
            raise BadRequest(f"The scopes of a token are one or more of {', '.join(Scope)}.")
        if unknown := set(feeds) - self._feeds:
            raise BadRequest(f"There is no feed {min(unknown)!r}; there are {', '.join(sorted(self._feeds))}.")
        if feeds and Scope.ADMIN in scopes:
            raise BadRequest("The scope admin is for the whole proxy; leave out the feeds, or make a second token.")
        if seconds is not None and not 0 < seconds < 1e10:
            raise BadRequest(
                "A token lasts for more than no time, and for less than 300 years; leave that out for one that never "
                "expires."
            )

    async def revoke(self, name: str) -> None:
        """Let nobody in by this token any more; raises NotFound, BadRequest for one of the configuration's."""
        async with self._changing:
            if any(name == token.name for token in self._given):
                raise BadRequest(f"The token {name!r} stands in the configuration; remove it from [[access.tokens]].")
            if not await self._store.remove_token(name):
                raise NotFound(f"There is no token {name!r}.")
            await self.load()
