"""Target is one cacheable GET of an upstream document."""

from __future__ import annotations

import hashlib
from typing import Protocol

import orjson
from msgspec import Struct
from msgspec.structs import force_setattr

from nugetproxy.caching.entry import Answer, Entry
from nugetproxy.engine.outcome import CacheStatus
from nugetproxy.engine.standing import MakeStanding
from nugetproxy.nuget.kinds import Kind


class Target(Struct, frozen=True, kw_only=True):
    """One cacheable GET of an upstream document."""

    kind: Kind
    path: str
    """The resource with the normalised path below it, as in ``registration/gz-semver2/acme/index.json``."""
    urls: tuple[str, ...] = ()
    """Where to ask, in order: the next one after a failure or a 404."""
    query: str = ""
    """The client's query in canonical form."""
    id: str = ""
    """Lower-case package id where the document is about one package."""
    scope: str
    """What everything stored of one upstream belongs to: its name, where it is, as whom it is asked."""
    headers: tuple[tuple[str, str], ...] = ()
    """Sent along; what the answer depends on must be in ``query`` too."""
    limit: int | None = None
    """Most bytes of it, where that is less than of other documents."""
    key: str = ""
    """The cache key, which follows from the other fields: different for every distinct (scope, kind, path, query)."""
    fraction: float = 0.0
    """Drawn from the key, from 0 up to 1: spreads what would otherwise happen to all targets at once."""

    def __post_init__(self) -> None:
        parts = orjson.dumps([self.scope, self.kind, self.path, self.query])
        digest = hashlib.blake2b(parts, digest_size=20).digest()
        force_setattr(self, "key", f"{self.kind}:{digest.hex()}")
        force_setattr(self, "fraction", digest[0] / 256)


class Found(Struct, frozen=True, kw_only=True):
    """A stored response, fit to be served, with how it was found."""

    entry: Entry
    body: bytes
    status: CacheStatus
    notice: str = ""
    """What we ourselves have to say to whoever reads it."""
    standing: MakeStanding | None = None
    """Of what is fresh; None where the next one may get something else."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Upstream's and ours, for ``X-NuGet-Warning``."""
        return (*self.entry.warnings, self.notice) if self.notice else self.entry.warnings


class Witness(Protocol):
    """Is told of what upstream says, once it is stored."""

    def glance(self, target: Target, body: bytes, *, changed: bool) -> bool:
        """As ``note``, as far as nothing has to be waited for; False where ``note`` has to do it."""

    async def note(self, target: Target, body: bytes, *, changed: bool) -> None:
        """``body`` is what ``target`` is now; it passed its check. Empty for a version list that is not there.

        Of one that has not ``changed`` only an earlier run may have been told.
        """


class Group(Protocol):
    """Documents that name each other, so that they are fetched and replaced together."""

    async def complete(self, target: Target, answer: Answer) -> None:
        """Fetch what ``answer`` names, before it may replace a good copy of ``target``; raises UpstreamFailure."""
