"""Token commands add, list, revoke what lets clients in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nugetproxy.admin.desk import Desk
from nugetproxy.admin.times import date
from nugetproxy.admin.tokens import Scope
from nugetproxy.store.ledger.records import Token


async def add(
    desk: Desk, *, name: str, scopes: tuple[str, ...], feeds: tuple[str, ...] = (), expires_in: float | None = None
) -> Mapping[str, Any]:
    """A new token with its secret, which nobody learns later; ``expires_in`` seconds it is good for.

    Says which feeds want one from now on, and which do not that have packages of theirs.
    """
    open_before = _default_open(desk)
    token, secret = await desk.tokens.add(name, scopes, feeds, expires_in)
    open_now = _default_open(desk)
    closed = open_before - open_now
    theirs = {source for name in closed for source in _sources(desk, name)}
    beside = [name for name in open_now if theirs & _sources(desk, name)]
    return {**_row(token), "secret": secret, "closed_feeds": sorted(closed), "open_beside": sorted(beside)}


async def listed(desk: Desk) -> Mapping[str, Any]:
    """All tokens, without their secrets."""
    await desk.tokens.load()
    now = desk.clock.now()
    return {
        "tokens": [
            {**_row(token), "configured": given, "expired": token.expires is not None and token.expires <= now}
            for token, given in desk.tokens.all()
        ]
    }


async def revoke(desk: Desk, *, name: str) -> Mapping[str, Any]:
    """Let nobody in by a token any more; says for which feeds there is no token now."""
    before = _default_open(desk)
    await desk.tokens.revoke(name)
    return {"name": name, "feeds_without_token": sorted(_default_open(desk) - before)}


def _default_open(desk: Desk) -> set[str]:
    """The feeds that no token may read: where nothing else is said, everybody may."""
    return {name for name in desk.feeds if not desk.tokens.any_for(Scope.READ, name)}


def _sources(desk: Desk, feed: str) -> set[str]:
    return {source.name for source in desk.feeds[feed].sources}


def _row(token: Token) -> dict[str, Any]:
    return {
        "name": token.name,
        "scopes": list(token.scopes),
        "feeds": list(token.feeds),
        "expires": date(token.expires),
        "created": date(token.created) if token.created else None,
    }
