"""Warming fetches what repositories need, through the proxy, before anybody restores them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from msgspec import Struct

from nugetproxy.engine.tasks import first_failure
from nugetproxy.errors import NotFound
from nugetproxy.jobs.check import ask, explained, resolved
from nugetproxy.jobs.progress import Progress, Unseen
from nugetproxy.jobs.proxy_client import AT_ONCE, Fetched, ProxyClient
from nugetproxy.jobs.wants import Missing, Wants, missing
from nugetproxy.nuget.documents.exact_json import InvalidDocument
from nugetproxy.nuget.documents.version_list import listed_versions
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.nuspec import InvalidPackage, parse_nuspec
from nugetproxy.nuget.resolution import Known, walk_all


class Warmed(Struct, frozen=True, kw_only=True):
    """What a job has done."""

    fetched: int
    size: int
    """Bytes of them."""
    held: int
    """Packages that were here before."""
    missing: tuple[Missing, ...]
    """What restores need that could not be had."""


class Warming:
    """One job; whatever it has fetched stays, so that the next one goes on where it ended."""

    def __init__(
        self, proxy: ProxyClient, *, feed: str = "", progress: Progress | None = None, dry: bool = False
    ) -> None:
        """``feed`` is the published feed that clients have, the first one where it is empty. ``dry``: what would be
        fetched is only counted; what it depends on is read without it.
        """
        self._dry = dry
        self._proxy = proxy
        self._feed = feed
        self._base = f"{quote(feed)}/v3/" if feed else "v3/"
        self._progress = progress or Unseen()
        self._room = asyncio.Semaphore(AT_ONCE)
        self._failures: dict[str, str] = {}
        """By id or ``id version``: why it could not be had."""
        self._fetched: dict[PackageIdentity, int] = {}
        self._held = 0
        self.known = Known()

    async def run(self, wants: Wants) -> Warmed:
        """Fetch; raises ProxyError where the proxy itself does not answer."""
        index = await self._proxy.get(f"{self._base}index.json")
        if index.status != 200:
            raise NotFound(f"The feed has no service index ({index.said}); see the proxy's log.")
        await asyncio.gather(self._advisories(), self._learn({one.id for one in wants.exact}, wants.exact))
        await self._learn((), wants.direct)
        walks = await resolved(wants, self.known, self._learn)
        await resolved(wants, self.known, self._learn, walk_all)
        lacking = await explained(self._proxy, self._feed, missing(wants, walks, self.known))
        return Warmed(
            fetched=len(self._fetched),
            size=sum(self._fetched.values()),
            held=self._held,
            missing=tuple(map(self._explained, lacking)),
        )

    async def _learn(self, ids: Iterable[str], packages: Iterable[PackageIdentity]) -> None:
        """Have the lists of ``ids`` with these packages, as far as they can be had."""
        wanted = sorted(set(packages) - self.known.groups.keys())
        await ask(self._proxy, self._feed, self.known, (), wanted)
        lacking = [one for one in wanted if self.known.groups[one] is None]
        self._held += len(wanted) - len(lacking)
        self._progress.expect(len(lacking))
        await _all([*map(self._list, sorted(ids)), *map(self._package, lacking)])

    async def _list(self, id_: str) -> None:
        async with self._room:
            got = await self._proxy.get(f"{self._base}content/{quote(id_)}/index.json")
        try:
            if got.status == 200:
                self.known.lists[id_] = tuple(version for _, version in listed_versions(got.body))
                return
        except InvalidDocument as error:
            got = Fetched(0, failure=str(error))
        self.known.lists[id_] = () if got.status == 404 else None
        if got.status != 404:
            self._failures[id_] = _why(got)

    async def _package(self, identity: PackageIdentity) -> None:
        place = f"{self._base}content/{quote(identity.id)}/{identity.version}/{quote(identity.id)}"
        size = 0

        def moved(count: int) -> None:
            nonlocal size
            size += count
            self._progress.moved(count)

        async with self._room:
            got = (
                Fetched(200)
                if self._dry
                else await self._proxy.get(f"{place}.{identity.version}.nupkg", moved, keep=False)
            )
            if got.status == 200 and not got.failure:
                got = await self._proxy.get(f"{place}.nuspec")
                self._fetched[identity] = size
        self._progress.done(str(identity))
        try:
            if got.status == 200 and not got.failure:
                self.known.groups[identity] = parse_nuspec(got.body).dependency_groups
                return
        except InvalidPackage as error:
            got = Fetched(0, failure=str(error))
        self.known.groups[identity] = None
        self._failures[str(identity)] = _why(got)

    async def _advisories(self) -> None:
        """What audits ask for; a feed without it says 404."""
        got = await self._proxy.get(f"{self._base}vulnerabilities/index.json")
        rows = got.document if isinstance(got.document, list) else []
        pages = [urlsplit(str(row["@id"])).path for row in rows if isinstance(row, Mapping) and "@id" in row]
        await _all(self._proxy.get(page.lstrip("/")) for page in pages)

    def _explained(self, one: Missing) -> Missing:
        why = self._failures.get(f"{one.id} {one.version}") or self._failures.get(one.id)
        return Missing(one.id, one.version, why) if why else one


async def _all(work: Iterable[Coroutine[Any, Any, object]]) -> None:
    with first_failure():
        async with asyncio.TaskGroup() as group:
            for one in work:
                group.create_task(one)


def _why(got: Fetched) -> str:
    if got.failure:
        return got.failure
    return got.error or f"the proxy answers with status {got.status}"
