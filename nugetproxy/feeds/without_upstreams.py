"""WithoutUpstreams says what a feed could still answer if no upstream did any more."""

from __future__ import annotations

from collections.abc import Mapping

from nugetproxy.engine.outcome import CacheStatus, Outcome
from nugetproxy.errors import NotFound, Reason, UpstreamFailure, upstream_failure
from nugetproxy.feeds.feed import Feed
from nugetproxy.feeds.held_licenses import with_held_licenses
from nugetproxy.feeds.judge import Judge, Ruling
from nugetproxy.feeds.rendering import page_of
from nugetproxy.feeds.source_answer import MADE, SourceAnswer, absent_answer
from nugetproxy.nuget.documents.exact_json import dumps
from nugetproxy.nuget.documents.version_list import listed_versions
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.nuspec import DependencyGroup
from nugetproxy.nuget.routes import Route
from nugetproxy.nuget.version import Version
from nugetproxy.sources.source import Source

_LONG_AGO = CacheStatus(outcome=Outcome.ABSENT, hit=True, ttl=-1.0)
"""Of a word that is no longer fresh, as none is once its upstream is gone."""


class WithoutUpstreams:
    """One feed without its upstreams; nobody is asked, but for what its rules look at where that is stale."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._lists = feed.merged.without_upstreams(_Stored()) if feed.merged is not None else None

    async def versions(self, id_: str) -> tuple[Version, ...] | None:
        """The versions of an id (lower case): empty where there is no such package, None where nobody could say."""
        listed, judge = await self._versions(id_), self._feed.judge
        if not listed or judge is None:
            return listed
        try:
            ruling = await self._ruling(judge, id_)
        except UpstreamFailure:
            return None
        return tuple(version for version in listed if ruling.of(version).visible)

    async def _versions(self, id_: str) -> tuple[Version, ...] | None:
        merged = self._feed.merged
        if merged is None or self._lists is None:
            return await self._feed.sources[0].versions_without_upstream(id_)
        await merged.guard.claims.ready()
        asked = merged.guard.candidates(id_).asked
        if len(self._feed.sources) == 1:
            return await asked[0].versions_without_upstream(id_) if asked else ()
        try:
            listed = await self._lists.of(id_, "")
        except NotFound:
            return ()
        except UpstreamFailure:
            return None
        return tuple(version for _, version in listed_versions(listed.body))

    async def denied(self, id_: str) -> Mapping[Version, str]:
        """The versions of an id (lower case) that the feed's rules deny now, with the sentence that clients read; none
        where that cannot be told.
        """
        judge = self._feed.judge
        if judge is None:
            return {}
        try:
            ruling = await self._ruling(judge, id_)
        except UpstreamFailure:
            return {}
        known = dict.fromkeys((*ruling.verdicts, *(await self._versions(id_) or ())))  # rules by id alone look at none
        return {
            version: verdict.sentence(self._feed.name, f"{id_} {version.normalized}")
            for version, verdict in ((version, ruling.of(version)) for version in known)
            if not verdict.visible
        }

    async def needs(self, identity: PackageIdentity) -> tuple[DependencyGroup, ...] | None:
        """What a package depends on; None for one that could not be delivered, be it that a rule denies it."""
        if not await self._is_visible(identity):
            return None
        for source in await self._owners(identity):
            found = await source.needs_without_upstream(identity)
            if found is not None:
                return found
        return None

    async def _is_visible(self, identity: PackageIdentity) -> bool:
        judge, version = self._feed.judge, Version.parse(identity.version)
        if judge is None or version is None:
            return True
        try:
            return (await self._ruling(judge, identity.id)).of(version).visible
        except UpstreamFailure:
            return False

    async def _ruling(self, judge: Judge, id_: str) -> Ruling:
        return await with_held_licenses(judge, self._feed.sources, await judge.ruling(id_))

    async def _owners(self, identity: PackageIdentity) -> tuple[Source, ...]:
        """Who may deliver a version."""
        merged = self._feed.merged
        if merged is None or self._lists is None:
            return self._feed.sources[:1]
        await merged.guard.claims.ready()
        asked = {source.name: source for source in merged.guard.candidates(identity.id).asked}
        recorded = (await merged.owners.of(identity.id)).get(identity.version)
        if recorded is not None and recorded.source in asked:
            return (asked[recorded.source],)
        try:
            listed = await self._lists.of(identity.id, "")
        except (NotFound, UpstreamFailure):
            return tuple(asked.values())
        owner = listed.owners.get(identity.version)
        return (asked[owner],) if owner in asked else tuple(one.source for one in listed.said)


class _Stored:
    """Sources that say what is stored or held of them."""

    async def said(self, source: Source, route: Route, query: str, base: str) -> SourceAnswer:
        """A version list; raises UpstreamFailure where nothing is known."""
        versions = await source.versions_without_upstream(route.id)
        if versions is None:
            raise upstream_failure(source.name, Reason.OFFLINE, "nothing of it is stored")
        if not versions:
            return absent_answer(source, _LONG_AGO)
        body = dumps({"versions": [version.url for version in versions]})
        return SourceAnswer(source=source, body=body, etag=page_of(body).etag, status=MADE)
