"""RepositoryCertificates knows with which certificates a remote feed says to sign as a repository."""

from __future__ import annotations

from nugetproxy.engine.cache import Cache
from nugetproxy.nuget.documents.repository_signatures import listed_fingerprints
from nugetproxy.nuget.resources import RESOURCES
from nugetproxy.nuget.routes import parse_route
from nugetproxy.sources.document_groups import DocumentGroups
from nugetproxy.sources.services import Services

SIGNATURES = tuple(route for row in RESOURCES if row.secure_only and (route := parse_route(row.path)) is not None)
"""Where feeds list them."""


class RepositoryCertificates:
    """Reads the list of a feed as it is stored, which asks upstream once a day."""

    def __init__(self, cache: Cache, services: Services, groups: DocumentGroups) -> None:
        self._cache = cache
        self._services = services
        self._groups = groups
        self._read: tuple[bytes, frozenset[str]] = (b"", frozenset())
        """The last list with what it says."""

    async def fingerprints(self) -> frozenset[str]:
        """SHA-256, in lower-case hex; none where the feed has no list. Raises UpstreamFailure."""
        services = await self._services.map()
        for route in reversed(SIGNATURES):  # the newest form first
            if not services.has(route.resource):
                continue
            found = await self._cache.get(self._groups.target(route, "", services), group=self._groups)
            if found.entry.absent:
                continue
            if found.body != self._read[0]:
                self._read = (found.body, listed_fingerprints(found.body))
            return self._read[1]
        return frozenset()
