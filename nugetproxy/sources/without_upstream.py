"""WithoutUpstream says what is known of a feed that is not asked."""

from __future__ import annotations

import structlog

from nugetproxy.engine.packages import Packages
from nugetproxy.errors import NotFound, Reason, SignatureRefused, UpstreamFailure
from nugetproxy.nuget.documents.version_list import listed_versions
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.merging.service_index import with_advisories
from nugetproxy.nuget.nuspec import DependencyGroup, parse_nuspec
from nugetproxy.nuget.routes import Route, version_list_route
from nugetproxy.nuget.version import Version
from nugetproxy.sources.remote_documents import RemoteDocuments
from nugetproxy.sources.source import MadeDocument
from nugetproxy.sources.synthesis import Synthesis
from nugetproxy.store.holdings.holdings import HoldingsUnavailable

log = structlog.get_logger(__name__)


class WithoutUpstream:
    """What is stored of it, else what can be made of what is held of it."""

    def __init__(
        self,
        name: str,
        synthesis: Synthesis,
        packages: Packages,
        documents: RemoteDocuments,
        *,
        offline: bool,
    ) -> None:
        self._name = name
        self._synthesis = synthesis
        self._packages = packages
        self._documents = documents
        self._offline = offline

    async def versions(self, id_: str) -> tuple[Version, ...] | None:
        """The stored list, else that of what is held; nobody is asked."""
        route = version_list_route(id_)
        found = None if self._documents.held_lists else await self._documents.stored(route)
        if found is not None and not found.entry.absent:
            return tuple(version for _, version in listed_versions(found.body))
        try:
            made = await self._synthesis.make(route, "", "", None)
        except HoldingsUnavailable:
            return None
        if made is not None:
            return tuple(version for _, version in listed_versions(made))
        return () if found is not None or self._offline else None

    async def needs(self, identity: PackageIdentity) -> tuple[DependencyGroup, ...] | None:
        """By the nuspec of the held package; None for one whose signature does not count, where that is required."""
        try:
            held = await self._packages.open(identity)
        except (SignatureRefused, UpstreamFailure):
            return None
        if held is None:
            return None
        xml = await self._packages.folder.nuspec(identity)
        return parse_nuspec(xml).dependency_groups if xml is not None else None

    async def made(self, route: Route, query: str, base: str, failure: UpstreamFailure | None = None) -> MadeDocument:
        """The document of ``route`` as the held packages tell it; else raises ``failure``.

        Offline, "not held" is an answer (NotFound), so it must be certain: raises HoldingsUnavailable where it is not.
        """
        body, notice = None, ""
        why = failure.reason if failure is not None else None
        offline = self._offline or why is Reason.OFFLINE  # whoever began before that asks nobody any more, either
        try:
            body = await self._synthesis.make(route, query, base, why)
            notice = await self._synthesis.unknown(route) if body is not None else ""
        except HoldingsUnavailable as error:
            if offline:
                raise
            log.warning("synthesis.failed", upstream=self._name, kind=route.kind, detail=str(error))
        if body is not None and route.kind is not None:
            if route.kind is Kind.INDEX and not offline:  # an audit must fail rather than not take place
                body = with_advisories(body, base)
            return MadeDocument(route.kind, body, notice)
        if failure is not None and (not offline or await self._is_missing(route)):
            raise failure
        raise NotFound(f"The feed {self._name!r} is offline, and this is not in its cache.") from failure

    async def _is_missing(self, route: Route) -> bool:
        """True for a package that lists name: it was held, so that it is not there is damage, not an answer."""
        return route.kind is Kind.PACKAGE and await self._synthesis.names(route)
