"""Registrations merges what the sources of a feed say of the versions of an id."""

from __future__ import annotations

from msgspec import Struct

from nugetproxy.errors import UpstreamFailure
from nugetproxy.feeds.reading import Reading
from nugetproxy.feeds.registration_parts import Part, Parts, hive_in
from nugetproxy.feeds.rendering import Page, page_of
from nugetproxy.feeds.source_answer import SourceAnswer, SourceFailed, ask_all, first_failure
from nugetproxy.feeds.versions import Listed, Versions
from nugetproxy.nuget.documents.render import Rendered
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.merging.registration import (
    SourceRegistration,
    leaf_for_hive,
    merged_document,
)
from nugetproxy.nuget.routes import Route, parse_route
from nugetproxy.off_loop import off_loop

WHY = "A registration without its versions would look complete."


class Made(Struct, frozen=True):
    """A finished document with what it was made of; without a page where there is none."""

    page: Page | None
    parts: tuple[SourceAnswer, ...]


class Registrations:
    """The registrations of one feed of several sources."""

    def __init__(self, feed: str, reading: Reading, versions: Versions) -> None:
        self._feed = feed
        self._reading = reading
        self._versions = versions
        self._parts = Parts(reading)

    async def read(self, route: Route, base: str) -> Made:
        """An index, page or leaf for clients of ``base``; raises NotFound, SourceFailed."""
        listed = await self._versions.of(route.id, base)
        if route.kind is Kind.REGISTRATION_LEAF:
            made = await self._leaf(listed, route, base)
            if made is not None:
                return made
        found = await ask_all(self._parts.read(one.source, route.resource, route.id, base) for one in listed.said)
        if (failure := first_failure(found)) is not None:
            raise SourceFailed(self._feed, failure, WHY) if isinstance(failure, UpstreamFailure) else failure
        parts = [one for one in found if isinstance(one, Part) and one.said]
        said = (*listed.asked, *(one for part in parts for one in part.said))
        owners = tuple(listed.recorded.items())
        bodies = [one.body for part in parts for one in part.said]

        async def make() -> Rendered:
            sources = [
                SourceRegistration(part.said[0].source.name, [one.body for one in part.said], part.filtered)
                for part in parts
            ]
            size = sum(map(len, bodies))
            body = await off_loop(size, merged_document, route, sources, listed.recorded, base=base)
            return Rendered(body or b"", empty=body is None)

        made_of = (tuple(part.key for part in parts), owners)
        page = await self._reading.rendering.merged((base, route.resource, route.rest), made_of, bodies, make)
        return Made(None if page.empty else page, said)

    async def _leaf(self, listed: Listed, route: Route, base: str) -> Made | None:
        """The leaf as its owner has it; None where that has none at the usual place, or nobody has listed it yet."""
        if (name := listed.recorded.get(route.version)) is None:
            return None
        owner = next((one for one in listed.said if one.source.name == name), None)
        if owner is None:
            return Made(None, listed.asked)
        hive = await hive_in(owner.source, route.resource)
        at = parse_route(f"{hive[0]}/{route.rest}") if hive is not None else None
        said = await self._reading.said(owner.source, at, "", base) if at is not None else None
        if said is None or said.absent:
            return None
        into = {"owner": name, "base": base, "hive": route.resource}
        body = await off_loop(len(said.body), leaf_for_hive, said.body, route.version, id_=route.id, **into)
        return Made(page_of(body), (*listed.asked, said))
