"""What the rows of the ledger say, as values."""

from __future__ import annotations

from msgspec import Struct, field

from nugetproxy.nuget.identity import PackageIdentity


class Epoch(Struct, frozen=True):
    """How often an id was written to, and when last (wall time, seconds since the epoch)."""

    number: int
    at: float


class Writes(Struct):
    """The writes through one source, by id; the id "" stands for any."""

    by_id: dict[str, Epoch] = field(default_factory=dict)
    number: int = 0
    """How many this process has seen."""
    last: float = 0.0
    """When the latest of them happened."""

    def put(self, id: str, epoch: Epoch) -> None:
        """Something was written."""
        self.by_id[id] = epoch
        self.number += 1
        self.last = max(self.last, epoch.at)

    def latest(self, now: float) -> float:
        """When the latest happened that is not in the future, as it may be where the clock was set back; 0 for none."""
        if self.last <= now:
            return self.last
        return max((epoch.at for epoch in self.by_id.values() if epoch.at <= now), default=0.0)


class VersionFacts(Struct, frozen=True, kw_only=True):
    """What upstream said of a version, beside what lies in the package; None: not said."""

    identity: PackageIdentity
    published: str | None = None
    """As upstream wrote it."""
    listed: bool | None = None
    deprecation: str | None = None
    """JSON as upstream wrote it; "null" where upstream says that there is none."""
    origin: str
    """The kind of document that said it."""
    noted: float
    """Wall time, in seconds since the epoch."""


class Sighting(Struct, frozen=True):
    """What this proxy has noticed of a version that nobody dates, or that is gone; wall times."""

    first: float
    """When it was first seen."""
    missing: float | None = None
    """Since when upstream is known not to have it; None while it has."""
    withdrawn: float | None = None
    """When that was seen for the second time, an hour later; None until then."""


class Judged(Struct, frozen=True, kw_only=True):
    """What was found out about the signature of a package."""

    sha512: str
    """Of the package, in base64."""
    trust: str
    """By which it was found: the key of whose signatures counted."""
    verdict: str
    """As ``Verdict.text`` writes it."""


class Owner(Struct, frozen=True):
    """The source that a version belongs to, with its SHA-512 (base64)."""

    source: str
    sha512: str


class Wanted(Struct, frozen=True, kw_only=True):
    """A package that is never evicted."""

    id: str
    version: str
    """Empty for all versions."""
    by: str
    """The path of the lock file that wants it; empty where an operator named it."""
    at: float
    """Wall time, in seconds since the epoch."""


class Token(Struct, frozen=True, kw_only=True):
    """What lets a client in; the secret itself is not kept."""

    name: str
    hash: str
    scopes: tuple[str, ...]
    feeds: tuple[str, ...] = ()
    """Those that it is good for; none means all."""
    expires: float | None = None
    created: float
    """Both wall time, in seconds since the epoch."""
