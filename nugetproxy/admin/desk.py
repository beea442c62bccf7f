"""The desk holds everything that a command of an operator works on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from nugetproxy.admin.tokens import Tokens
from nugetproxy.clock import Clock
from nugetproxy.feeds.feed import Feed
from nugetproxy.sources.source import Source
from nugetproxy.store.documents.documents import Documents
from nugetproxy.store.history.history import History
from nugetproxy.store.ledger.ledger import Ledger


class Watched(Protocol):
    """What may have a problem that an operator must know of."""

    problem: str
    """Empty while all is well."""


@dataclass(slots=True)
class Switch:
    """What only a proxy that serves clients can do; None for one that was opened for a command."""

    reload: Callable[[], Awaitable[Mapping[str, Any]]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """One proxy's; whether it runs or was opened for one command."""

    feeds: Mapping[str, Feed]
    sources: Mapping[str, Source]
    documents: Documents
    ledger: Ledger
    history: History
    tokens: Tokens
    clock: Clock
    switch: Switch
    watched: tuple[Watched, ...] = ()
