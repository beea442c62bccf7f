"""Registrations say which versions a feed has, where they are, if it has no flat container that does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from cachetools import LRUCache
from msgspec.structs import replace

from nugetproxy.caching.entry import Entry
from nugetproxy.engine.cache import Cache
from nugetproxy.engine.outcome import HIT, Outcome
from nugetproxy.engine.target import Found, Target
from nugetproxy.errors import NotFound, Reason, upstream_failure
from nugetproxy.nuget.documents.exact_json import dumps
from nugetproxy.nuget.documents.registration import PageRef, pages_with, registration_pages, registration_versions
from nugetproxy.nuget.documents.render import stated_content
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.resources import HIVES
from nugetproxy.nuget.routes import Route, index_route
from nugetproxy.nuget.services import ServiceMap
from nugetproxy.nuget.version import Version
from nugetproxy.off_loop import off_loop
from nugetproxy.sources.document_groups import DocumentGroups

LISTS = 1024
"""Version lists that are kept; each is made of documents that are stored."""


class Registrations:
    """The registrations of one upstream, read for what they say instead of being handed on."""

    def __init__(self, upstream: str, cache: Cache, groups: DocumentGroups) -> None:
        self.listed: Callable[[str, Found], Awaitable[None]] | None = None
        """Is told of each list that is made, by the id that it is of."""
        self._upstream = upstream
        self._cache = cache
        self._groups = groups
        self._lists: LRUCache[tuple[str, ...], bytes] = LRUCache(LISTS)

    async def content_url(self, identity: PackageIdentity, services: ServiceMap) -> str | None:
        """Where the package is, as its leaf says in the index or in a page; None where none does.

        Raises UpstreamFailure; also, of a feed that has said nothing else of it, where none does in what is older than
        it should be, as upstream failed.
        """
        version = Version.parse(identity.version)
        if version is None:
            return None
        hive, index = await self._index(identity.id, services)
        if index is None or index.entry.absent:
            return None
        url = await off_loop(len(index.body), stated_content, index.body, version, index.entry.url)
        if url is not None:
            return url
        documents = [index]
        for ref in await off_loop(len(index.body), pages_with, index.body, version, index.entry.url):
            page = await self._page(ref, hive, identity.id, services)
            documents.append(page)
            if page.entry.absent:
                continue
            url = await off_loop(len(page.body), stated_content, page.body, version, page.entry.url)
            if url is not None:
                return url
        old = [one.status for one in documents if one.status.outcome is Outcome.STALE and one.status.detail]
        for status in old if not services.has("content") else ():
            reason = Reason(status.detail) if status.forwarded else Reason.SLOW
            raise upstream_failure(self._upstream, reason, f"what is stored of {identity.id} is too old to tell")
        return None

    async def page(self, route: Route, target: Target, services: ServiceMap) -> Found:
        """A page by its path, also where the feed spells the bounds in it otherwise, as its index tells.

        Raises UpstreamFailure.
        """
        stored = await self._cache.stored(target)
        if stored is None or stored.entry.absent:
            target = await self._spelled_otherwise(route, target, services) or target
        return await self._cache.get(target)

    async def _spelled_otherwise(self, route: Route, page: Target, services: ServiceMap) -> Target | None:
        """The page that the stored index names, where it differs from ``page`` in its letters' case alone."""
        index = index_route(route.resource, route.id)
        stored = await self._cache.stored(self._groups.target(index, "", services))
        if stored is None or stored.entry.absent:
            return None
        refs = await off_loop(len(stored.body), registration_pages, stored.body, stored.entry.url)
        named = (
            self._groups.located(Kind.REGISTRATION_PAGE, ref.url, services, route.resource, route.id) for ref in refs
        )
        wanted = page.path.lower()
        return next((one for one in named if one.path.lower() == wanted and one.path != page.path), None)

    async def versions(self, id_: str, services: ServiceMap) -> Found:
        """The version list of an id, made of its registration; absent where that is.

        Raises NotFound for an upstream without registrations, UpstreamFailure where a page cannot be had: a list that
        is short would silently change which version is restored.
        """
        found = await self._versions(id_, services)
        if self.listed is not None:
            await self.listed(id_, found)
        return found

    async def _versions(self, id_: str, services: ServiceMap) -> Found:
        hive, index = await self._index(id_, services)
        if index is None:
            raise NotFound(f"The upstream {self._upstream!r} does not offer this resource.")
        if index.entry.absent:
            return index
        refs = await off_loop(len(index.body), registration_pages, index.body, index.entry.url)
        pages = [await self._page(ref, hive, id_, services) for ref in refs]
        if any(page.entry.absent for page in pages):
            raise upstream_failure(self._upstream, Reason.GONE, f"its registration of {id_} names a missing page")
        return await self._list_of([index, *pages])

    async def stored_versions(self, id_: str, services: ServiceMap) -> Found | None:
        """As ``versions``, made of what is stored, however old; nobody is asked. None where not all of it is stored."""
        index = None
        for hive in filter(services.has, HIVES):
            index = await self._stored(self._groups.target(index_route(hive, id_), "", services))
            if index is None:
                return None
            if not index.entry.absent:
                refs = await off_loop(len(index.body), registration_pages, index.body, index.entry.url)
                wanted = [self._groups.located(Kind.REGISTRATION_PAGE, ref.url, services, hive, id_) for ref in refs]
                pages = [page for one in wanted if (page := await self._stored(one)) and not page.entry.absent]
                return await self._list_of([index, *pages]) if len(pages) == len(wanted) else None
        return index

    async def _stored(self, target: Target) -> Found | None:
        stored = await self._cache.stored(target)
        return None if stored is None else Found(entry=stored.entry, body=stored.body, status=HIT)

    async def _list_of(self, documents: Sequence[Found]) -> Found:
        """As old as the oldest of the documents."""
        digests = tuple(found.entry.digest for found in documents)
        body = self._lists.get(digests)
        if body is None:
            bodies = [found.body for found in documents]
            versions = await off_loop(sum(map(len, bodies)), registration_versions, bodies)
            body = self._lists[digests] = dumps({"versions": [version.url for version in versions]})
        oldest = min(found.entry.stored_at for found in documents)
        entry = Entry.of(200 if body != _EMPTY else 404, body, stored_at=oldest)
        return replace(documents[0], entry=entry, body=body)

    async def _index(self, id_: str, services: ServiceMap) -> tuple[str, Found | None]:
        """The first index that there is, beginning with the hive that has the most packages, else an absence."""
        found = None
        for hive in filter(services.has, HIVES):
            target = self._groups.target(index_route(hive, id_), "", services)
            found = await self._cache.get(target, group=self._groups)
            if not found.entry.absent:
                return hive, found
        return "", found

    async def _page(self, ref: PageRef, hive: str, id_: str, services: ServiceMap) -> Found:
        return await self._cache.get(self._groups.located(Kind.REGISTRATION_PAGE, ref.url, services, hive, id_))


_EMPTY = dumps({"versions": []})
