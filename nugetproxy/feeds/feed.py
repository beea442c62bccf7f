"""Feed answers the clients of one published V3 feed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from copy import copy
from functools import partial
from typing import Final

from msgspec.structs import replace

from nugetproxy.clock import Clock
from nugetproxy.errors import NotFound, ProxyError, UpstreamFailure
from nugetproxy.feeds.asked import Inner
from nugetproxy.feeds.judge import Judge
from nugetproxy.feeds.merged import Merged
from nugetproxy.feeds.reading import Reading
from nugetproxy.feeds.rendering import HotPages
from nugetproxy.feeds.reply import HeldBody, Reply, View
from nugetproxy.feeds.rulebook import Parties, Rulebook, ruled
from nugetproxy.feeds.settings import FeedSettings
from nugetproxy.feeds.source_answer import cancel_all, outcome_of
from nugetproxy.feeds.writing import Writing
from nugetproxy.nuget.routes import Route
from nugetproxy.nuget.urls import each_once
from nugetproxy.sources.source import Source, WriteSide
from nugetproxy.upstream.breaker import BreakerState

ASKED_FOR: Final = frozenset({"q", "id"})
"""Parameters that say what a search is about."""


class Feed:
    """Its sources under our own addresses: what is stored or said, rendered, else what can be made of what is held."""

    def __init__(
        self,
        name: str,
        sources: tuple[Source, ...],
        *,
        pages: HotPages,
        clock: Clock,
        rulebook: Rulebook,
        settings: FeedSettings | None = None,
        redirect_from: int = 0,
    ) -> None:
        """``together`` says how ``sources`` are one; an upstream that is published by itself needs none. ``rulebook``
        says which of their versions exist here. Clients are sent to the bucket for held packages of ``redirect_from``
        bytes and more; 0: never.
        """
        self._redirect_from = redirect_from
        self.name = name
        self.sources = sources
        several = settings is not None and (len(sources) > 1 or bool(settings.advisories))
        self._reading = Reading(name, pages=pages, clock=clock, several=several)
        self.merged = Merged(name, sources, settings, reading=self._reading, clock=clock) if settings else None
        self.writes: WriteSide = sources[0].writes
        """Where writes go."""
        if settings is not None and self.merged is not None:
            self.writes = Writing(
                name,
                sources,
                settings.pushes,
                owners=self.merged.owners,
                spool=settings.spool,
                max_bytes=settings.max_push,
            )
        others = settings.advisories if settings is not None else ()
        self._unruled: Inner = self.merged.read if self.merged else partial(self._reading.read, sources[0])
        """What all say together, else the one source."""
        parts = Parties(name, sources, others, merged=self.merged, reading=self._reading, clock=clock)
        self._shown = ruled(rulebook, parts, self._unruled)
        """As it was at any time; now too, where there are rules."""
        self._ruled = rulebook.applies

    def __repr__(self) -> str:
        return f"<Feed {self.name!r} of {list(self.sources)!r}>"

    async def read(self, route: Route, query: str, view: View) -> Reply:
        """The reply to one GET or HEAD; ``query`` is the client's raw query string.

        Raises NotFound for what this feed does not publish, or what an offline feed does not hold; UpstreamFailure
        where nothing can be said; Denied for a version that the feed's rules deny.
        """
        read = self._shown.read if self._ruled else self._unruled
        reply = await read(route, each_once(query, ASKED_FOR) if query else "", view)
        if self._redirect_from and not view.head:
            if reply.again is not None:  # the next one may be sent away
                reply = replace(reply, again=None)
            if isinstance(reply.body, HeldBody):
                return await self._sent_away(reply, reply.body)
        return reply

    async def _sent_away(self, reply: Reply, body: HeldBody) -> Reply:
        """Where a client finds a large package itself; a range of it too, so that no download is of two places."""
        if body.size < self._redirect_from or body.elsewhere is None:
            return reply
        try:
            url = await body.elsewhere(body.held)
        except BaseException:
            reply.close()
            raise
        if url is None:
            return reply
        reply.close()
        status = replace(reply.cache, detail="redirect")
        return Reply(kind=reply.kind, cache=status, status=302, location=url, cache_control="no-store")

    def at(self, horizon: float) -> Feed:
        """The same feed as it was at a wall time."""
        earlier = copy(self)
        earlier._shown, earlier._ruled = self._shown.at(horizon), True
        return earlier

    @property
    def judge(self) -> Judge | None:
        """Who says which versions exist; None where all do."""
        return self._shown.judge if self._ruled else None

    async def offers(self, resource: str) -> bool:
        """Whether it has a resource, as the registry calls it; raises UpstreamFailure where that is not known."""
        unknown: UpstreamFailure | None = None
        for source in self.sources:
            try:
                if await source.offers(resource):
                    return True
            except UpstreamFailure as failure:
                unknown = failure
        if unknown is not None:
            raise unknown
        return False

    async def ready(self) -> None:
        """Return when clients can be served, by one source at least; raises ProxyError that says why they cannot."""
        failure: ProxyError | None = None
        tasks = [asyncio.ensure_future(source.ready()) for source in self.sources]
        try:
            for first in asyncio.as_completed(tasks):
                failure = await outcome_of(first)
                if failure is None:
                    return
            raise failure or NotFound("There is no source.")
        finally:
            await cancel_all(tasks)

    def forget(self) -> None:
        """What is stored is another: look into all of it again."""
        if self.merged is not None:
            self.merged.forget()
        self._shown.judge.forget()

    def outdate(self, id_: str) -> None:
        """What is held of an id (lower case) is another: learn anew what rules look at of it."""
        self._shown.judge.outdate(id_)

    def breakers(self) -> Mapping[str, BreakerState]:
        """The circuit breakers of its origins; none where nobody is asked."""
        return {origin: state for source in self.sources for origin, state in source.breakers().items()}
