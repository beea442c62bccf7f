"""Indexes makes the service index of a feed out of those of its sources."""

from __future__ import annotations

from msgspec import Struct

from nugetproxy.engine.outcome import HIT
from nugetproxy.errors import ProxyError, UpstreamFailure
from nugetproxy.feeds.reading import Reading
from nugetproxy.feeds.registrations import Made
from nugetproxy.feeds.rendering import page_of
from nugetproxy.feeds.reply import View
from nugetproxy.feeds.settings import FeedSettings
from nugetproxy.feeds.source_answer import MADE, SourceAnswer, ask_all, first_failure
from nugetproxy.nuget.documents.render import parse_service_index, render_index
from nugetproxy.nuget.merging.service_index import render_merged_index, with_advisories
from nugetproxy.nuget.routes import Route, parse_route
from nugetproxy.nuget.services import ServiceMap
from nugetproxy.sources.source import Source


class _Known(Struct, frozen=True):
    """What one source offers."""

    services: ServiceMap
    said: SourceAnswer


class Indexes:
    """The service indexes of one feed."""

    def __init__(self, sources: tuple[Source, ...], settings: FeedSettings, reading: Reading) -> None:
        self._sources = sources
        self._settings = settings
        self._reading = reading

    async def read(self, view: View) -> tuple[Made, str]:
        """The index, with what it lacks in words; raises UpstreamFailure where nothing is known of any source.

        What is not known of one source is no reason to keep the others from being found.
        """
        found = await ask_all(self._known(source, view.base) for source in self._sources)
        known = [one for one in found if isinstance(one, _Known)]
        if not known and (failure := first_failure(found)) is not None:
            raise failure
        others = await ask_all(self._known(source, view.base) for source in self._settings.advisories)
        advisories = [one.services for one in others if isinstance(one, _Known)]
        if len(self._sources) == 1:
            body = render_index(known[0].services, view.base, secure=view.secure)
            if view.secure:
                self._sources[0].prefetch()
        else:
            writes = next((one for one in known if self._settings.takes_writes(one.said.source)), None)
            body = render_merged_index(
                [one.services for one in known],
                view.base,
                advisories=advisories,
                writes=writes.services if writes is not None else None,
            )
        unknown = any(isinstance(one, UpstreamFailure) for one in (*found, *others))
        if unknown or (advisories and len(self._sources) == 1):  # an audit must fail rather than not take place
            body = with_advisories(body, view.base)
        lacking = ", ".join(
            f"without {source.name} ({one.reason if isinstance(one, UpstreamFailure) else type(one).__name__})"
            for source, one in zip(self._sources, found, strict=True)
            if isinstance(one, ProxyError)
        )
        return Made(page_of(body), tuple(one.said for one in known)), lacking

    @staticmethod
    async def _known(source: Source, base: str) -> _Known:
        """The source's index; made of what is held where there is no better one."""
        status = HIT
        try:
            document = await source.document(INDEX, "")
        except UpstreamFailure as failure:
            body, status = (await source.made(INDEX, "", base, failure)).body, MADE
        else:
            if document is not None:
                found = document.found
                said = SourceAnswer(
                    source=source,
                    etag=found.entry.digest,
                    status=found.status,
                    stored_at=found.entry.stored_at,
                    warnings=found.warnings,
                )
                return _Known(document.services, said)
            body = (await source.made(INDEX, "", base)).body
        services = parse_service_index(body, f"{base}index.json")
        return _Known(services, SourceAnswer(source=source, etag=services.digest, status=status))


def _index() -> Route:
    route = parse_route("index.json")
    assert route is not None, "a path of the registry"
    return route


INDEX = _index()
