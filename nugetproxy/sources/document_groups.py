"""DocumentGroups keeps documents that name each other together: an index is stored only with the pages it names."""

from __future__ import annotations

import asyncio

from cachetools import LRUCache

from nugetproxy.caching.entry import Answer
from nugetproxy.engine.cache import Cache
from nugetproxy.engine.target import Target
from nugetproxy.engine.tasks import first_failure
from nugetproxy.errors import NotFound
from nugetproxy.nuget.documents.render import (
    PAGES,
    Link,
    PageRef,
    locate,
    page_commit,
)
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.routes import Route
from nugetproxy.nuget.services import ServiceMap
from nugetproxy.off_loop import off_loop
from nugetproxy.sources.services import Services

PAGES_AT_ONCE = 8


class DocumentGroups:
    """Targets of one upstream's documents, with what must be fetched together."""

    def __init__(self, cache: Cache, services: Services) -> None:
        self._cache = cache
        self._services = services
        self._scope = services.scope
        self._known: LRUCache[tuple[str, str, str], Target] = LRUCache(2048)

    def target(self, route: Route, query: str, services: ServiceMap) -> Target:
        """The upstream document behind ``route``; raises NotFound where upstream offers no such resource."""
        place = (services.digest, route.resource, route.rest)
        known = self._known.get(place)
        if known is not None and not query and not route.alternatives:
            return known
        if route.kind is None or not services.has(route.resource):
            raise NotFound(f"The upstream {self._services.upstream!r} does not offer this resource.")
        urls = services.upstream_urls(route.resource, route.rest, query)
        for other in route.alternatives:
            urls += services.upstream_urls(route.resource, other, query)
        canonical = "&".join(sorted(query.split("&"))) if query else ""
        path = f"{route.resource}/{route.rest}"
        target = Target(kind=route.kind, path=path, urls=urls, query=canonical, id=route.id, scope=self._scope)
        if not query and not route.alternatives:
            self._known[place] = target
        return target

    def link_target(self, token: str, kind: Kind, url: str, id: str = "") -> Target:
        """The upstream document behind an opaque link."""
        return Target(kind=kind, path=f"x/{token}", urls=(url,), id=id, scope=self._scope)

    async def complete(self, target: Target, answer: Answer) -> None:
        """Fetch the pages that an index names; raises UpstreamFailure."""
        services = self._services.known
        if not target.kind.row.with_pages or services is None:
            return
        named = iter(await off_loop(len(answer.body), PAGES[target.kind], answer.body, answer.url))
        kept: list[Target] = []

        async def fetch_in_turn() -> None:
            for page in named:
                at = self._page_target(target, page, services)
                kept.append(at)
                await self._fetch_page(page, at)

        with first_failure():
            async with asyncio.TaskGroup() as group:
                for number in range(PAGES_AT_ONCE):
                    group.create_task(fetch_in_turn(), name=f"pages of {target.path}, {number}")
        await self._cache.keep_named(target, kept)

    async def _fetch_page(self, page: PageRef, target: Target) -> None:
        stored = await self._cache.stored(target)
        if stored is not None and page.commit:
            held = await off_loop(len(stored.body), page_commit, stored.body)
            if held == page.commit:
                return
        await self._cache.refresh(target)

    def _page_target(self, index: Target, page: PageRef, services: ServiceMap) -> Target:
        """The same target that a client's request for the rewritten link will have."""
        resource = index.path.rpartition(index.id)[0].strip("/") if index.id else ""
        return self.located(index.kind.page, page.url, services, resource, index.id)

    def located(self, kind: Kind, url: str, services: ServiceMap, resource: str, id: str) -> Target:
        """The document that a link to ``url`` leads to, once rendered; arguments as for ``locate``."""
        found = locate(kind, url, services, resource)
        if isinstance(found, Link):
            return self.link_target(found.token, found.kind, found.url, id)
        return self.target(found, "", services)
