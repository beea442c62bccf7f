"""What to do with what is stored, then with what upstream said."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from msgspec import Struct
from msgspec.structs import replace

from nugetproxy.caching.entry import NO_VALIDATORS, Answer, Entry, Failure
from nugetproxy.caching.policy import FOREVER, Policy
from nugetproxy.errors import Reason


class Fresh(Struct, frozen=True):
    """Serve it, ask nobody. ``ttl``: seconds of freshness left; zero or negative only in offline mode."""

    entry: Entry
    ttl: float


class Stale(Struct, frozen=True, kw_only=True):
    """Held, but too old to serve without a word to upstream."""

    entry: Entry
    refreshable: bool
    """Serve it now, revalidate behind the client's back (RFC 5861 section 3)."""
    usable: bool
    """May be served if upstream fails (RFC 5861 section 4)."""
    ttl: float
    """Seconds since it stopped being fresh, as a number that is not positive."""


class Miss(Struct, frozen=True):
    """Nothing is held that could be served or revalidated."""


MISS = Miss()
Lookup = Fresh | Stale | Miss


def decide_lookup(
    entry: Entry | None, policy: Policy, now: float, *, offline: bool = False, spread: float = 1.0
) -> Lookup:
    """Judge a stored entry by its age (RFC 9111 section 4.2); ``now`` in seconds since the epoch.

    ``spread`` multiplies the time of being fresh, so that what was stored together does not expire together.

    Offline, whatever is held is Fresh, a remembered 404 included: upstream would never be asked.
    """
    if entry is None:
        return MISS
    span = (policy.absent if entry.absent else policy.fresh) * spread
    age = now - entry.stored_at
    # An entry from the future (the clock was set back) has no age to go by: stale, lest it stay fresh for ever.
    # What is fresh for ever anyway needs no age.
    dated = age >= 0 or span == FOREVER
    ttl = span - age if dated else age
    if offline or (dated and age < span):
        return Fresh(entry, ttl)
    if entry.absent:
        # Never without asking: what upstream lacked may be there now.
        usable = dated and age < span + policy.absent_on_error
        return Stale(entry=entry, refreshable=False, usable=True, ttl=ttl) if usable else MISS
    return Stale(
        entry=entry,
        refreshable=dated and age < span + policy.refresh,
        usable=not dated or age < span + policy.on_error,
        ttl=ttl,
    )


class Store(Struct, frozen=True):
    """Upstream said something new: store it, serve it. ``stored_at`` in seconds since the epoch."""

    answer: Answer
    """Status 200, or 404 without body or validators."""
    stored_at: float


class Freshen(Struct, frozen=True):
    """Upstream confirmed what is held: store this renewed entry (RFC 9111 section 4.3.4), serve its body."""

    entry: Entry


class ServeStale(Struct, frozen=True):
    """Upstream failed: serve what is held, keep it as it is."""

    entry: Entry
    reason: Reason


class Fail(Struct, frozen=True):
    """Upstream failed, and nothing held may be served. ``retry_after`` in seconds, None if upstream named none."""

    reason: Reason
    retry_after: float | None = None


Conclusion = Store | Freshen | ServeStale | Fail

_REASONS: Mapping[int, Reason] = MappingProxyType(
    {401: Reason.AUTH, 403: Reason.AUTH, 429: Reason.RATE_LIMITED, 304: Reason.PROTOCOL}
)


def decide_answer(stale: Entry | None, usable: bool, answer: Answer | Failure, now: float) -> Conclusion:
    """Conclude from what upstream answered, or from its failure; ``usable`` as in ``Stale``.

    A 304 renews only a stored body whose validators we can have sent; any other 304 is upstream's error.
    410 is stored as 404. 401 and 403 speak of our credentials, so they are failures and never stored.
    """
    if isinstance(answer, Failure):
        return _without_answer(stale, usable, answer.reason, answer.retry_after)
    match answer.status:
        case 200:
            return Store(answer, now)
        case 404 | 410:
            return Store(replace(answer, status=404, body=b"", validators=NO_VALIDATORS), now)
        case 304 if stale is not None and stale.validators and not stale.absent:
            return Freshen(replace(stale, stored_at=now))
        case status:
            return _without_answer(stale, usable, _reason_for(status), None)


def _reason_for(status: int) -> Reason:
    return _REASONS.get(status, Reason.SERVER_ERROR if 500 <= status <= 599 else Reason.STATUS)


def _without_answer(stale: Entry | None, usable: bool, reason: Reason, retry_after: float | None) -> Conclusion:
    if stale is not None and usable:
        return ServeStale(stale, reason)
    return Fail(reason, retry_after)
