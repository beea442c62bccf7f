"""A restore is the requests of one client that belong together by its session id."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson
from msgspec import Struct, field, to_builtins

from nugetproxy.store.history.sighting import FAILED, FETCHES, HITS, PACKAGE, Sighting
from nugetproxy.store.sqlite_form import UnsoundFile

SLOWEST: Final = 10
"""Requests that are kept of each restore, the slowest ones."""
OURS: Final = frozenset({"disk", "exhausted", "stopping"})
"""Reasons of failures that are no upstream's."""


class Step(Struct, frozen=True, kw_only=True):
    """One request of a restore, in seconds."""

    kind: str
    id: str
    version: str
    outcome: str
    size: int
    began: float
    """Since the restore's own beginning."""
    seconds: float
    upstream: float
    """Of it, waited for upstreams."""
    client: float
    """Of it, until the client took what was sent."""

    @property
    def here(self) -> float:
        """Of it, neither the one nor the other: disk and computing."""
        return max(0.0, self.seconds - self.upstream - self.client)


class Restore(Struct, kw_only=True):
    """What is known of one, so far."""

    began: float
    ended: float
    feeds: tuple[str, ...] = ()
    requests: int = 0
    packages: int = 0
    hits: int = 0
    fetches: int = 0
    failed: int = 0
    size: int = 0
    """Bytes of all answers."""
    upstream: float = 0.0
    """Seconds of all requests, many of them at the same time, that were waited for upstreams."""
    client: float = 0.0
    here: float = 0.0
    busy: float = 0.0
    """Seconds in which at least one request was being answered."""
    slowest: list[Step] = field(default_factory=list)
    """The slowest first."""

    @property
    def seconds(self) -> float:
        """From the first request to the end of the last answer."""
        return max(0.0, self.ended - self.began)

    def add(self, sightings: Iterable[Sighting]) -> None:
        """Count some more requests of the same restore, in any order."""
        for at, what, _, seconds, waited, taking in sorted(sightings, key=lambda one: one[0] - one[3]):
            start = at - seconds
            self.began = min(self.began, start)
            self.busy += max(0.0, at - max(start, self.ended)) if self.requests else seconds
            self.ended = max(self.ended, at)
            # What is passed on while it comes is the upstream's time, beside what the client takes.
            theirs = what.outcome in FETCHES or (what.outcome == FAILED and what.reason not in OURS)
            upstream = max(waited, seconds - taking) if theirs else waited
            self.requests += 1
            self.packages += what.pulled
            self.hits += what.outcome in HITS
            self.fetches += what.outcome in FETCHES
            self.failed += what.outcome == FAILED
            self.size += what.size
            if what.feed not in self.feeds:
                self.feeds = (*self.feeds, what.feed)
            step = Step(
                kind=what.kind,
                id=what.id,
                version=what.version,
                outcome=what.outcome,
                size=what.size,
                began=round(start - self.began, 3),
                seconds=round(seconds, 4),
                upstream=round(min(upstream, seconds), 4),
                client=round(min(taking, seconds), 4),
            )
            self.upstream += step.upstream
            self.client += step.client
            self.here += step.here
            self._keep(step)

    def _keep(self, step: Step) -> None:
        if len(self.slowest) < SLOWEST or step.seconds > self.slowest[-1].seconds:
            self.slowest = sorted([*self.slowest, step], key=lambda one: -one.seconds)[:SLOWEST]

    def slowest_package(self) -> Step | None:
        """The package that took longest, where one is among the slowest requests."""
        return next((step for step in self.slowest if step.kind == PACKAGE), None)

    def to_json(self) -> bytes:
        """The stored form, for ``Restore.from_json``."""
        return orjson.dumps(to_builtins(self))

    @staticmethod
    def from_json(body: bytes) -> Restore:
        """What ``to_json`` wrote; raises UnsoundFile for anything else."""
        try:
            said: Mapping[str, Any] = orjson.loads(body)
            slowest = [Step(**one) for one in said["slowest"]]
            return Restore(**{**said, "feeds": tuple(said["feeds"]), "slowest": slowest})
        except (ValueError, TypeError, KeyError) as error:
            raise UnsoundFile("a restore is not readable") from error
