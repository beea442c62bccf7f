"""Admission says who may read, write, administer, before anything is looked up."""

from __future__ import annotations

import ipaddress
import math
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping

from aiohttp import hdrs
from msgspec import Struct
from msgspec.structs import replace
from multidict import CIMultiDict

from nugetproxy.admin.page.viewer import Viewer
from nugetproxy.admin.tokens import Scope, Tokens, is_for, secret_in
from nugetproxy.clock import Clock
from nugetproxy.feeds.reply import NO_CACHE, Reply
from nugetproxy.metrics import Metrics
from nugetproxy.store.ledger.records import Token
from nugetproxy.web import http as web
from nugetproxy.web.attempts import Attempts
from nugetproxy.web.hosts import Network, PublicAddresses, is_in
from nugetproxy.web.refusals import Forbidden, TooManyAttempts, Unauthorized

API_KEY = "X-NuGet-ApiKey"
PUBLIC = "public, "


class Rule(Struct, frozen=True, kw_only=True):
    """What the configuration says of one feed."""

    anonymous: bool | None = None
    """Whether everybody may read it; None where nobody said."""
    networks: tuple[Network, ...] = ()
    """From where it may be read without a token all the same."""
    key: str = ""
    """The key of the configuration that decides it."""
    credentialed: tuple[str, ...] = ()
    """Its upstreams that the proxy has credentials for, and of which nobody said that all may read them."""
    with_credentials: bool = False
    """Whether one of its upstreams is asked with something that others must not have."""
    shared_cache: bool = True
    """Whether caches in front of us may keep what never changes."""
    lends: bool = False
    """Whether what is written to it carries the proxy's credentials."""


class Admitted(Struct, frozen=True):
    """A write that may go on: with which headers, by whose token (empty without one)."""

    headers: Mapping[str, str]
    token: str = ""


class Readable(Struct, frozen=True, kw_only=True):
    """What may be read by requests of one kind."""

    feeds: frozenset[str]
    """By their names."""
    until: float
    """Wall time of the end of that."""
    is_sure: Callable[[], bool] | None
    """Asked each time, where it can be in doubt before."""


class Admission:
    """Knows the rules of every feed by its name, and all tokens."""

    def __init__(
        self,
        rules: Mapping[str, Rule],
        tokens: Tokens,
        addresses: PublicAddresses,
        *,
        clock: Clock,
        metrics: Metrics,
        local: bool,
        before: Admission | None = None,
    ) -> None:
        """``local``: whether only this machine can connect, until ``listens_on`` says it for sure, or the one
        ``before`` knew.
        """
        self._rules = rules
        self._tokens = tokens
        self.addresses = addresses
        self._attempts: Attempts = Attempts(clock) if before is None else before._attempts
        self._rejected = metrics.rejected
        self._local: bool = local if before is None else before._local

    def listens_on(self, sockets: Iterable[socket.socket]) -> None:
        """Clients come in by these."""
        self._local = all(map(is_local, sockets))

    def refusals(self) -> Iterator[str]:
        """Why the proxy must not start: a line for each feed that it would open by accident."""
        for name, rule in self._rules.items():
            closed = rule.anonymous is not None or self._tokens.any_for(Scope.READ, name)
            if rule.credentialed and not self._local and not closed:
                yield (
                    f"{rule.key}: is not set, and everybody who reaches server.listen would read "
                    f"{', '.join(rule.credentialed)} with your credentials; make a token (nugetproxy token add NAME "
                    "--scope read), listen on 127.0.0.1 behind a front end that asks who they are, or set it to true "
                    "(server.allow_anonymous = true for all feeds) if everybody there may read it"
                )

    def concerns(self) -> Iterator[str]:
        """What an operator should know at the start, a line each."""
        for name, rule in self._rules.items():
            if rule.lends and not self._tokens.any_for(Scope.PUSH, name) and not self._lends_to_all(name):
                yield f"feed {name}: nobody can push to it; make a token (nugetproxy token add NAME --scope push)"

    def closed(self) -> frozenset[str]:
        """The feeds that want a token to be read."""
        return frozenset(name for name in self._rules if not self.is_open(name))

    def guarded(self) -> frozenset[str]:
        """The feeds that want a token to be written to."""
        return frozenset(name for name in self._rules if self._tokens.any_for(Scope.PUSH, name))

    def is_open(self, feed: str) -> bool:
        """Whether everybody may read a feed."""
        rule = self._rules[feed]
        if rule.anonymous is not None:
            return rule.anonymous
        if not self._tokens.known or self._tokens.any_for(Scope.READ, feed):
            return False
        return self._local or not rule.credentialed

    def admit_read(self, request: web.BaseRequest, feed: str, client: str) -> str:
        """Return where the request may read, with the name of the token that it shows; raises Unauthorized, Forbidden,
        TooManyAttempts.
        """
        shown = request.headers.get(hdrs.AUTHORIZATION, "")
        if self.is_open(feed) or self._comes_from(request, feed):
            return self.shown_by(shown) if shown else ""
        return self._require(shown, client, Scope.READ, feed).name

    def shown_by(self, authorization: str) -> str:
        """The name of the token in an ``Authorization`` value; empty for none of ours."""
        token = self._tokens.shown(authorization) if authorization else None
        return "" if token is None else token.name

    def admit_write(self, request: web.BaseRequest, feed: str, client: str) -> Admitted:
        """What a write that may go on is to be sent with; raises as ``admit_read`` does. Our tokens stay here."""
        shown, key = request.headers.get(hdrs.AUTHORIZATION, ""), request.headers.get(API_KEY, "")
        rule, kept = self._rules[feed], CIMultiDict(request.headers)
        if self._tokens.is_ours(key):
            kept.popall(API_KEY)
        if self._tokens.is_ours_in(shown):
            kept.popall(hdrs.AUTHORIZATION)
        if rule.lends:
            if self._lends_to_all(feed):
                return Admitted(kept)
            return Admitted(kept, self._require(shown, client, Scope.PUSH, feed, key).name)
        if self.is_open(feed) or self._comes_from(request, feed):
            return Admitted(kept)
        return Admitted(kept, self._require(shown, client, Scope.PUSH, feed).name)

    def _lends_to_all(self, feed: str) -> bool:
        """Whether everybody on this machine may write with the proxy's credentials: nobody has a token for it."""
        tokens = self._tokens
        return self._local and self.is_open(feed) and tokens.known and not tokens.any_for(Scope.PUSH, feed)

    def admit_admin(self, request: web.BaseRequest, client: str) -> Token:
        """The token of an administrator; raises Unauthorized, Forbidden, TooManyAttempts."""
        return self._require(request.headers.get(hdrs.AUTHORIZATION, ""), client, Scope.ADMIN)

    def viewer(self, request: web.BaseRequest, client: str) -> Viewer:
        """Who looks at the page; raises Unauthorized where they may see nothing, as ``admit_read`` does."""
        shown = request.headers.get(hdrs.AUTHORIZATION, "")
        token = self._known(shown, client) if secret_in(shown) else None
        admin = token is not None and is_for(token, Scope.ADMIN)
        feeds = frozenset(
            feed
            for feed in self._rules
            if admin
            or self.is_open(feed)
            or self._comes_from(request, feed)
            or (token is not None and is_for(token, Scope.READ, feed))
        )
        if not feeds:
            if token is None:
                raise Unauthorized
            raise Forbidden(f"The token {token.name!r} may read no feed; ask the proxy's operator for one that may.")
        return Viewer(feeds, admin)

    @property
    def everything(self) -> Viewer:
        """Who comes in by a socket that only operators can reach."""
        return Viewer(frozenset(self._rules), admin=True)

    def _require(self, shown: str, client: str, scope: Scope, feed: str = "", key: str = "") -> Token:
        """The token that was shown, if it has the scope; ``key`` is what was shown beside it and was not right."""
        if not secret_in(shown) and not key:  # a NuGet client without credentials answers a challenge with empty ones
            raise Unauthorized
        token = self._known(shown, client, scope, feed, key)
        if not is_for(token, scope, feed):
            self._rejected.labels("token_scope").inc()
            what = f"the scope {scope} for this feed" if feed else f"the scope {scope}"
            raise Forbidden(
                f"The token {token.name!r} does not have {what}; ask the proxy's operator for one that does."
            )
        return token

    def _known(self, shown: str, client: str, scope: Scope = Scope.READ, feed: str = "", key: str = "") -> Token:
        """The token that was shown, whatever its scope; raises Unauthorized, TooManyAttempts."""
        if self._tokens.remembered(shown) is None and self._attempts.too_many(client):
            self._rejected.labels("token_slowed").inc()
            raise TooManyAttempts
        by_key = self._tokens.of(key) if key else None
        token = by_key if by_key is not None and is_for(by_key, scope, feed) else self._tokens.shown(shown) or by_key
        if token is None:
            self._attempts.failed(client)
            self._rejected.labels("token_wrong").inc()
            raise Unauthorized(wrong=True)
        return token

    def readable(self, peer: str, fields: Mapping[str, str]) -> Readable | None:
        """What requests of ``peer`` with these ``fields`` (by lower-case name) may read.

        None where they show what is not known to be a token's: ``admit_read`` says what becomes of it.
        """
        shown = fields.get("authorization", "")
        token = self._tokens.remembered(shown) if shown else None
        if shown and token is None:
            return None
        client = self.addresses.surely_behind(peer, fields)
        feeds = frozenset(
            feed
            for feed in self._rules
            if self.is_open(feed)
            or self._is_of(client, feed)
            or (token is not None and is_for(token, Scope.READ, feed))
        )
        return Readable(
            feeds=feeds,
            until=math.inf if token is None or token.expires is None else token.expires,
            is_sure=None if token is None else self._tokens.doubt(token),
        )

    def _comes_from(self, request: web.BaseRequest, feed: str) -> bool:
        return self._is_of(self.addresses.known_client(request), feed)

    def _is_of(self, client: str, feed: str) -> bool:
        """Whether a client at this address (empty where it is not sure) may read a feed for being there."""
        return is_in(client, self._rules[feed].networks)

    def marked(self, feed: str, reply: Reply) -> Reply:
        """The reply with what caches may do with it, which is for the caller alone where not everybody may read what
        the feed is made of.
        """
        rule = self._rules[feed]
        said = reply.cache_control if rule.shared_cache else NO_CACHE
        if rule.with_credentials or not self.is_open(feed):
            said = private(said)
        return reply if said == reply.cache_control else replace(reply, cache_control=said)


def private(cache_control: str) -> str:
    """The same directives for one client only (RFC 9111 section 5.2.2.7)."""
    return f"private, {cache_control.removeprefix(PUBLIC)}"


def is_local(listener: socket.socket) -> bool:
    """Whether only this machine can connect."""
    if listener.family == socket.AF_UNIX:
        return True
    address = ipaddress.ip_address(str(listener.getsockname()[0]).partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def is_foreign(request: web.BaseRequest, base: str) -> bool:
    """Whether a page of another site makes the browser ask this (``base`` is the URL by which we were asked)."""
    if request.headers.get("Sec-Fetch-Site", "none").lower() == "cross-site":
        return True
    origin = request.headers.get(hdrs.ORIGIN)
    return origin is not None and origin.lower() != "/".join(base.lower().split("/")[:3])
