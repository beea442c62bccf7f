"""Inventory tells what a package folder holds, read by threads."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from nugetproxy.nuget.facts import PackageFacts
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.holdings.looking import look
from nugetproxy.store.holdings.sync import ReadFacts, facts_reader
from nugetproxy.store.packages.layout import Layout
from nugetproxy.store.packages.usage import walk_id
from nugetproxy.store.packages.walking import Unread, Walking
from nugetproxy.store.threads import DiskCalls


class Inventory:
    """For one event loop; methods raise DiskFailure."""

    def __init__(self, layout: Layout, calls: DiskCalls) -> None:
        self._layout = layout
        self._calls = calls
        self._walking = Walking(calls.fs, layout)

    async def after(
        self, identity: PackageIdentity | None, count: int, unread: Unread | None = None
    ) -> list[PackageIdentity]:
        """The next ``count`` packages in the order of their names; from the first one on if ``identity`` is None."""
        return await self._calls.run(self._calls.threads.read, self._walking.after, identity, count, unread)

    async def look(
        self, id: str, known: Mapping[PackageIdentity, PackageFacts]
    ) -> tuple[tuple[PackageFacts, ...], int]:
        """The facts of all that is held of an id (lower case), ascending; how many of them were not ``known``."""
        walked = partial(walk_id, self._calls.fs, self._layout)
        return await self._calls.run(self._calls.threads.read, look, id, walked, self.facts_reader(), known)

    def facts_reader(self) -> ReadFacts:
        """Reads what the holdings wants to know of packages; the result blocks: for a thread."""
        return facts_reader(self._calls.fs, self._layout)
