"""The desk holds everything that a command of an operator works on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

from msgspec import Struct, field

from nugetproxy.admin.tokens import Tokens
from nugetproxy.clock import Clock
from nugetproxy.cluster.second_level import SecondLevel
from nugetproxy.engine.expiry import Expiry
from nugetproxy.engine.packages import Packages
from nugetproxy.engine.room import Room
from nugetproxy.engine.shared_truth import SharedTruth
from nugetproxy.errors import BadRequest, NotFound
from nugetproxy.feeds.advisory_book import AdvisoryBook
from nugetproxy.feeds.feed import Feed
from nugetproxy.metrics import Metrics
from nugetproxy.sources.folder import FolderSource
from nugetproxy.sources.remote import RemoteSource
from nugetproxy.sources.source import Source
from nugetproxy.store.documents.documents import Documents
from nugetproxy.store.history.history import History
from nugetproxy.store.ledger.ledger import Ledger
from nugetproxy.store.provenance.provenance import Provenance

COMMIT_SECONDS: Final = 5.0
"""For how long a command waits for a slow disk."""


class Watched(Protocol):
    """What may have a problem that an operator must know of."""

    problem: str
    """Empty while all is well."""


class Switch(Struct):
    """What only a proxy that serves clients can do; None for one that was opened for a command."""

    reload: Callable[[], Awaitable[Mapping[str, Any]]] | None = None
    forget: Callable[[], None] = field(default=lambda: None)
    """Has answers be made anew that were given a moment ago."""


class Desk(Struct, frozen=True, kw_only=True):
    """One proxy's; whether it runs or was opened for one command."""

    feeds: Mapping[str, Feed]
    sources: Mapping[str, Source]
    documents: Documents
    ledger: Ledger
    provenance: Provenance
    advisories: AdvisoryBook
    """Of all sources."""
    history: History
    tokens: Tokens
    room: Room
    expiry: Expiry
    metrics: Metrics
    clock: Clock
    switch: Switch
    second: SecondLevel | None = None
    truth: SharedTruth | None = None
    """What is shared with other replicas, where anything is."""
    watched: tuple[Watched, ...] = ()

    async def flush(self) -> None:
        """Have in the folders and the ledger what clients were given already."""
        async with asyncio.TaskGroup() as group:
            for one in self.remote().values():
                group.create_task(one.packages.folder.pending.flush(COMMIT_SECONDS))

    def forget(self) -> None:
        """What is stored is another: nothing is answered any more by what was known of it before."""
        for source in self.remote().values():
            source.forget_documents()
        for feed in self.feeds.values():
            feed.forget()
        self.advisories.forget()
        self.switch.forget()

    def feed(self, name: str) -> Feed:
        """The feed of this name, the first one where it is empty; raises NotFound."""
        found = self.feeds.get(name) if name else next(iter(self.feeds.values()))
        if found is None:
            raise NotFound(f"There is no feed {name!r}; there are {', '.join(self.feeds)}.")
        return found

    def packages(self, upstream: str = "") -> Mapping[str, Packages]:
        """What is held of remote sources, or of one; raises BadRequest for one that there is not."""
        return {name: one.packages for name, one in self.remote(upstream).items()}

    def remote(self, upstream: str = "") -> Mapping[str, RemoteSource]:
        """The remote sources, or one; none where that is a folder. Raises BadRequest."""
        return {name: one for name, one in self._chosen(upstream) if isinstance(one, RemoteSource)}

    def folders(self, upstream: str = "") -> Mapping[str, FolderSource]:
        """The folders of packages, or one; none where that is remote. Raises BadRequest."""
        return {name: one for name, one in self._chosen(upstream) if isinstance(one, FolderSource)}

    def _chosen(self, upstream: str) -> list[tuple[str, Source]]:
        if upstream and upstream not in self.sources:
            raise BadRequest(f"There is no upstream {upstream!r}; there are {', '.join(self.sources)}.")
        return [(name, one) for name, one in self.sources.items() if upstream in {"", name}]
