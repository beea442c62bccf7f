"""PublishedMetadata is what upstream has said, as far as it is stored; nobody is asked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import suppress

from cachetools import LRUCache
from msgspec import Struct, field
from msgspec.structs import replace

from nugetproxy.engine.cache import Cache
from nugetproxy.engine.landing import Landing
from nugetproxy.errors import NotFound, UpstreamFailure
from nugetproxy.nuget.documents.advisories import Advisory, Page, read_page
from nugetproxy.nuget.documents.exact_json import loads
from nugetproxy.nuget.documents.render import (
    InvalidDocument,
    View,
    listed_versions,
    stored_leaves,
    vulnerability_pages,
)
from nugetproxy.nuget.documents.statements import Statement, seconds, statements
from nugetproxy.nuget.identity import PackageIdentity, Version
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.resources import HIVES
from nugetproxy.nuget.routes import Route, index_route, version_list_route
from nugetproxy.nuget.services import ServiceMap
from nugetproxy.nuget.synthesis.version_metadata import IdMetadata, Json, VersionMetadata
from nugetproxy.off_loop import off_loop
from nugetproxy.sources.document_groups import DocumentGroups
from nugetproxy.sources.recorder import facts_of
from nugetproxy.sources.services import Services
from nugetproxy.sources.stated_hashes import StatedHashes
from nugetproxy.store.documents.documents import Stored
from nugetproxy.store.ledger.ledger import Ledger, LedgerUnavailable, VersionFacts

ADVISORIES = Route(kind=Kind.VULNERABILITIES, resource="vulnerabilities", rest="index.json")
PAGES = 8
"""Pages of advisories that are kept parsed; nuget.org has two."""


class PublishedMetadata:
    """Reads stored documents, however old, with the facts that the ledger keeps of held versions."""

    def __init__(
        self, cache: Cache, services: Services, groups: DocumentGroups, stated: StatedHashes, ledger: Ledger
    ) -> None:
        self._name = name = services.upstream
        self.wanted: dict[str, bool] = {}
        """As ``Recorder.wanted``."""
        self._cache = cache
        self._services = services
        self._groups = groups
        self._stated = stated
        self._ledger = ledger
        self._links = ledger.links(name)
        self._pages: LRUCache[str, Page] = LRUCache(PAGES)

    async def lists(self, identity: PackageIdentity) -> bool:
        """Whether the version list names this version."""
        return await self.spelling(identity) is not None

    async def spelling(self, identity: PackageIdentity) -> str | None:
        """How the version list spells this version, normalised; None where it does not name it."""
        stored = await self._stored(version_list_route(identity.id))
        if stored is None:
            return None
        listed = await off_loop(len(stored.body), listed_versions, stored.body)
        return next((version.normalized for _, version in listed if version.url == identity.version), None)

    async def landing(self, identity: PackageIdentity) -> Landing:
        """What stored documents say of a version that is about to be held, all of it looked for at once."""
        version, services = Version.parse(identity.version), await self._services.stored()
        if version is None or services is None:
            return Landing()
        found: list[tuple[float, Statement]] = []
        sha512 = None
        async for kind, stored in self._stated.documents(identity, version, services):
            sha512 = sha512 or await self._stated.sha512_in(stored, version)
            said = await _said(kind, stored, identity.id)
            found += [(stored.entry.stored_at, one) for one in said if one.identity == identity]
        if not found:
            return Landing(sha512=sha512)
        merged = _newest(found)
        facts = facts_of(merged, Kind.REGISTRATION, max(at for at, _ in found))
        published = seconds(merged.published)
        return Landing(sha512=sha512, published=published, listed=merged.listed is not False, facts=facts)

    def landed(self, identity: PackageIdentity, said: Landing) -> None:
        """A version is held now: the ledger knows what was said of it, the registration of its id is wanted."""
        if said.facts is not None:
            self._ledger.note_facts(self._name, [said.facts])
        self.wanted.setdefault(identity.id, False)

    async def metadata(self, route: Route, versions: Collection[str], base: str) -> IdMetadata:
        """What is known of versions of an id: leaves in the hive of ``route`` for clients of ``base``, facts of any.

        Links in those leaves are remembered.
        """
        id, hive = route.id, route.resource
        services = await self._known()
        found: defaultdict[str, list[tuple[float, Statement]]] = defaultdict(list)
        leaves: dict[str, Json] = {}
        if services is not None:
            async for place, kind, stored in self._registrations(id, services):
                for one in await _said(kind, stored, id):
                    found[one.identity.version].append((stored.entry.stored_at, one))
                if place == hive and base:
                    view = View(services, base, stored.entry.url, hive)
                    rendered, links = await off_loop(2 * len(stored.body), stored_leaves, kind, stored.body, view)
                    for link in links:
                        self._links.hand_out(link.token, link.kind, link.url)
                    leaves |= rendered
        stated = {version: _newest(said) for version, said in found.items()}
        return _Known(await self._facts(id), await self._advisories(id, services), stated, leaves).metadata(versions)

    async def brief(self, id: str, versions: Collection[str]) -> IdMetadata:
        """What the ledger and the advisories say of versions of an id."""
        return _Known(await self._facts(id), await self._advisories(id, await self._known())).metadata(versions)

    async def _known(self) -> ServiceMap | None:
        """Where upstream has what, as far as it is stored."""
        with suppress(UpstreamFailure):
            return self._services.known or await self._services.map()
        return None

    async def _facts(self, id: str) -> Mapping[str, VersionFacts]:
        with suppress(LedgerUnavailable):  # logged
            return {one.identity.version: one for one in await self._ledger.facts(self._name, id)}
        return {}

    async def _registrations(self, id: str, services: ServiceMap) -> AsyncIterator[tuple[str, Kind, Stored]]:
        hives = [hive for hive in HIVES if services.has(hive)]
        indexes = await self._stated.registrations([index_route(hive, id) for hive in hives], services)
        for hive, index in zip(hives, indexes, strict=True):
            if index is not None:
                yield hive, Kind.REGISTRATION, index
                async for page in self._stated.pages(index, hive, id, services):
                    yield hive, Kind.REGISTRATION_PAGE, page

    async def _advisories(self, id: str, services: ServiceMap | None) -> tuple[Advisory, ...] | None:
        """Of an id; None where they are not stored as a whole, though upstream may have them."""
        if services is None:
            return None
        if not services.has("vulnerabilities"):
            return ()
        index = await self._stored(ADVISORIES)
        if index is None:
            return None
        found: list[Advisory] = []
        for ref in vulnerability_pages(index.body, index.entry.url):
            target = self._groups.located(Kind.VULNERABILITY_PAGE, ref.url, services, "", "")
            stored = await self._cache.stored(target)
            if stored is None or stored.entry.absent:
                return None
            found += (await self._page(stored)).get(id, ())
        return tuple(found)

    async def _page(self, stored: Stored) -> Page:
        page = self._pages.get(stored.entry.digest)
        if page is None:
            page = self._pages[stored.entry.digest] = await off_loop(len(stored.body), read_page, stored.body)
        return page

    async def _stored(self, route: Route) -> Stored | None:
        services = self._services.known
        if services is None or not services.has(route.resource):
            return None
        try:
            stored = await self._cache.stored(self._groups.target(route, "", services))
        except NotFound:
            return None
        return stored if stored is not None and not stored.entry.absent else None


async def _said(kind: Kind, stored: Stored, id: str) -> tuple[Statement, ...]:
    with suppress(InvalidDocument):
        return await off_loop(len(stored.body), statements, kind, stored.body, id)
    return ()


def _newest(found: list[tuple[float, Statement]]) -> Statement:
    ordered = [one for _, one in sorted(found, key=lambda one: -one[0])]
    return _merged(ordered[0].identity, ordered)


def _merged(identity: PackageIdentity, found: Iterable[Statement]) -> Statement:
    """What the first of them says that says it; all vulnerabilities."""
    merged = Statement(identity=identity)
    for one in found:
        merged = replace(
            merged,
            published=merged.published or one.published,
            listed=one.listed if merged.listed is None else merged.listed,
            deprecation=merged.deprecation or one.deprecation,
            vulnerabilities=(*merged.vulnerabilities, *one.vulnerabilities),
        )
    return merged


class _Known(Struct, frozen=True):
    """What is known of the versions of one id, from everywhere."""

    facts: Mapping[str, VersionFacts]
    advisories: tuple[Advisory, ...] | None
    stated: Mapping[str, Statement] = field(default_factory=dict)
    leaves: Mapping[str, Json] = field(default_factory=dict)

    def metadata(self, versions: Iterable[str]) -> IdMetadata:
        """Of these versions, as URLs have them."""
        said = {version: self._version(version) for version in versions}
        return IdMetadata(versions=said, are_advisories_known=self.advisories is not None)

    def _version(self, version: str) -> VersionMetadata:
        stated, facts, parsed = self.stated.get(version), self.facts.get(version), Version.parse(version)
        said = [one for one in (stated, facts) if one is not None]
        deprecation = next((one.deprecation for one in said if one.deprecation is not None), None)
        known = [one.json() for one in self.advisories or () if parsed is not None and one.concerns(parsed)]
        return VersionMetadata(
            leaf=self.leaves.get(version),
            published=next((at for one in said if (at := seconds(one.published)) is not None), None),
            listed=next((one.listed for one in said if one.listed is not None), None),
            deprecation=loads(deprecation.encode()) if deprecation is not None else None,
            is_deprecation_known=deprecation is not None,
            vulnerabilities=(*known, *(stated.vulnerabilities if stated is not None else ())),
        )
