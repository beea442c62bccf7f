"""StatedHashes finds what stored metadata says that a package must hash to."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator, Sequence

from nugetproxy.engine.cache import Cache
from nugetproxy.nuget.documents.render import InvalidDocument, registration_pages, stated_catalog_leaf, stated_sha512
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.resources import HIVES
from nugetproxy.nuget.routes import Route, index_route, leaf_route
from nugetproxy.nuget.services import ServiceMap
from nugetproxy.nuget.version import Version
from nugetproxy.off_loop import off_loop
from nugetproxy.sources.document_groups import DocumentGroups
from nugetproxy.sources.services import Services
from nugetproxy.store.documents.documents import Stored

NAMED = b'"packageHash"'
"""nuget.org's registrations do not have it: then they need not be parsed."""

SHA512_BYTES = 64


class StatedHashes:
    """Looks into documents that are stored anyway; upstream is never asked."""

    def __init__(self, cache: Cache, services: Services, groups: DocumentGroups) -> None:
        self._cache = cache
        self._services = services
        self._groups = groups

    async def sha512(self, identity: PackageIdentity) -> str | None:
        """The base64 SHA-512 of a package as a stored registration or catalog leaf states it; None where none does."""
        version, services = Version.parse(identity.version), await self._services.stored()
        if version is None or services is None:
            return None
        async for _, stored in self.documents(identity, version, services):
            if (known := await self.sha512_in(stored, version)) is not None:
                return known
        return None

    async def sha512_in(self, stored: Stored, version: Version) -> str | None:
        """The same, of one document."""
        if NAMED not in stored.body:
            return None
        try:
            stated = await off_loop(len(stored.body), stated_sha512, stored.body, version)
        except InvalidDocument:
            return None
        return normal_sha512(stated) if stated is not None else None

    async def documents(
        self, identity: PackageIdentity, version: Version, services: ServiceMap
    ) -> AsyncIterator[tuple[Kind, Stored]]:
        """What is stored about the package with its kind, the smallest documents first."""
        hives = [hive for hive in HIVES if services.has(hive)]
        routes = [route for hive in hives for route in (leaf_route(hive, identity), index_route(hive, identity.id))]
        stored = iter(await self.registrations(routes, services))
        for hive, leaf, index in zip(hives, stored, stored, strict=True):
            if leaf is not None:
                yield Kind.REGISTRATION_LEAF, leaf
                async for catalog_leaf in self._catalog_leaf(leaf, identity, version, services):
                    yield Kind.CATALOG_LEAF, catalog_leaf
            if index is not None:
                yield Kind.REGISTRATION, index
                async for page in self.pages(index, hive, identity.id, services):
                    yield Kind.REGISTRATION_PAGE, page

    async def registrations(self, routes: Sequence[Route], services: ServiceMap) -> list[Stored | None]:
        """The stored documents behind these routes, of hives that there are."""
        targets = [self._groups.target(route, "", services) for route in routes]
        return [_present(stored) for stored in await self._cache.stored_all(targets)]

    async def _catalog_leaf(
        self, leaf: Stored, identity: PackageIdentity, version: Version, services: ServiceMap
    ) -> AsyncIterator[Stored]:
        try:
            url = await off_loop(len(leaf.body), stated_catalog_leaf, leaf.body, version, leaf.entry.url)
        except InvalidDocument:
            return
        if url is not None:
            target = self._groups.located(Kind.REGISTRATION_LEAF, url, services, "", identity.id)
            if (stored := _present(await self._cache.stored(target))) is not None:
                yield stored

    async def pages(self, index: Stored, hive: str, id: str, services: ServiceMap) -> AsyncIterator[Stored]:
        """The stored pages that the stored registration index of an id names."""
        try:
            pages = await off_loop(len(index.body), registration_pages, index.body, index.entry.url)
        except InvalidDocument:
            return
        targets = [self._groups.located(Kind.REGISTRATION_PAGE, page.url, services, hive, id) for page in pages]
        for stored in await self._cache.stored_all(targets):
            if (page := _present(stored)) is not None:
                yield page


def normal_sha512(stated: str) -> str | None:
    """Base64 or hexadecimal, as feeds write it, in base64; None where it is no SHA-512."""
    for decode in (base64.b64decode, bytes.fromhex):
        try:
            digest = decode(stated.strip())
        except (ValueError, binascii.Error):
            continue
        if len(digest) == SHA512_BYTES:
            return base64.b64encode(digest).decode()
    return None


def _present(stored: Stored | None) -> Stored | None:
    return stored if stored is not None and not stored.entry.absent else None
