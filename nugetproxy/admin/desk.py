"""The desk holds everything that a command of an operator works on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nugetproxy.admin.tokens import Tokens
from nugetproxy.clock import Clock
from nugetproxy.feeds.feed import Feed
from nugetproxy.sources.source import Source
from nugetproxy.store.documents.documents import Documents
from nugetproxy.store.ledger.ledger import Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """One proxy's; whether it runs or was opened for one command."""

    feeds: Mapping[str, Feed]
    sources: Mapping[str, Source]
    documents: Documents
    ledger: Ledger
    tokens: Tokens
    clock: Clock
