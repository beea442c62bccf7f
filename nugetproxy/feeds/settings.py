"""FeedSettings is what is configured of a feed beside its sources."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from nugetproxy.engine.shared_truth import SharedTruth
from nugetproxy.feeds.guard import Guard
from nugetproxy.nuget.mapping import SourceMapping
from nugetproxy.sources.source import Source
from nugetproxy.store.ledger.ledger import Ledger


class FeedSettings(Struct, frozen=True, kw_only=True):
    """How its sources are one, with what of the application it needs for that."""

    guard: Guard
    pushes: SourceMapping
    """Which source takes the writes to which id."""
    advisories: tuple[Source, ...]
    """Those that are asked for advisories only."""
    ledger: Ledger
    spool: Path
    """Where bodies of writes lie for a moment."""
    max_push: int
    """Bytes."""
    truth: SharedTruth | None = None
    """What all replicas decide together."""

    def takes_writes(self, source: Source) -> bool:
        """Whether some writes may go to a source."""
        rules = (*self.pushes.exact.values(), *self.pushes.prefixes.values())
        return any(source.name in rule.sources for rule in rules)
