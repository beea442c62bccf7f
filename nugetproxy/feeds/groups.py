"""Groups keeps documents that name each other together: an index is stored only with the pages it names."""

from __future__ import annotations

import asyncio

from nugetproxy.caching.entry import Answer
from nugetproxy.engine.cache import Cache, Completion, Target
from nugetproxy.errors import NotFound
from nugetproxy.nuget.documents import Link, PageRef, page_commit, registration_pages, vulnerability_pages
from nugetproxy.nuget.policies import Kind
from nugetproxy.nuget.routes import Route, parse_route
from nugetproxy.nuget.services import ServiceMap
from nugetproxy.upstream.client import UpstreamClient

PAGES_AT_ONCE = 8
PAGE_KIND = {Kind.REGISTRATION: Kind.REGISTRATION_PAGE, Kind.VULNERABILITIES: Kind.VULNERABILITY_PAGE}
PAGES_OF = {Kind.REGISTRATION: registration_pages, Kind.VULNERABILITIES: vulnerability_pages}


class Groups:
    """Targets of one upstream's documents, with what must be fetched together."""

    def __init__(self, cache: Cache, upstream: UpstreamClient) -> None:
        self._cache = cache
        self._upstream = upstream

    def target(self, route: Route, query: str, services: ServiceMap) -> Target:
        """The upstream document behind ``route``; raises NotFound where upstream offers no such resource."""
        if route.kind is None or not services.has(route.resource):
            raise NotFound(f"The upstream {self._upstream.name!r} does not offer this resource.")
        urls = services.upstream_urls(route.resource, route.rest, query)
        for other in route.alternatives:
            urls += services.upstream_urls(route.resource, other, query)
        canonical = "&".join(sorted(query.split("&"))) if query else ""
        path = f"{route.resource}/{route.rest}"
        return Target(kind=route.kind, path=path, urls=urls, query=canonical, id=route.id)

    def completion(self, services: ServiceMap, kind: Kind) -> Completion | None:
        """What to fetch before a document of ``kind`` may replace an older one."""
        if kind not in PAGES_OF:
            return None

        async def complete(target: Target, answer: Answer) -> None:
            pages = PAGES_OF[target.kind](answer.body, answer.url)
            turns = asyncio.Semaphore(PAGES_AT_ONCE)

            async def fetch(page: PageRef) -> None:
                async with turns:
                    await self._fetch_page(target, page, services)

            try:
                async with asyncio.TaskGroup() as group:
                    for page in pages:
                        group.create_task(fetch(page), name=f"page of {target.path}")
            except BaseExceptionGroup as failed:
                raise failed.exceptions[0] from failed

        return complete

    async def _fetch_page(self, index: Target, page: PageRef, services: ServiceMap) -> None:
        target = self._page_target(index, page, services)
        stored = await self._cache.stored(target)
        unchanged = stored is not None and page.commit and page_commit(stored.body) == page.commit
        if not unchanged:
            await self._cache.refresh(target)

    def _page_target(self, index: Target, page: PageRef, services: ServiceMap) -> Target:
        """The same target that a client's request for the rewritten link will have."""
        local = services.to_local(page.url)
        route = parse_route(local.partition("#")[0]) if local is not None else None
        if route is not None and route.kind is not None:
            return self.target(route, "", services)
        kind = PAGE_KIND[index.kind]
        return Target(kind=kind, path=f"x/{Link.to(kind, page.url).token}", urls=(page.url,), id=index.id)
