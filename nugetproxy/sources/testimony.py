"""Testimony is what the stored documents of one upstream say, without asking anybody."""

from __future__ import annotations

from urllib.parse import quote

from nugetproxy.engine.cache import Cache
from nugetproxy.nuget.documents.render import listed_versions
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.routes import parse_route
from nugetproxy.off_loop import off_loop
from nugetproxy.sources.document_groups import DocumentGroups
from nugetproxy.sources.services import Services
from nugetproxy.store.documents.documents import Stored


class Testimony:
    """Reads what is stored, however old."""

    def __init__(self, cache: Cache, services: Services, groups: DocumentGroups) -> None:
        self._cache = cache
        self._services = services
        self._groups = groups

    async def lists(self, identity: PackageIdentity) -> bool:
        """Whether the version list names this version."""
        stored = await self._stored("content", f"{quote(identity.id)}/index.json")
        if stored is None:
            return False
        listed = await off_loop(len(stored.body), listed_versions, stored.body)
        return any(version.url == identity.version for _, version in listed)

    async def _stored(self, resource: str, rest: str) -> Stored | None:
        services, route = self._services.known, parse_route(f"{resource}/{rest}")
        if services is None or route is None or not services.has(resource):
            return None
        stored = await self._cache.stored(self._groups.target(route, "", services))
        return stored if stored is not None and not stored.entry.absent else None
