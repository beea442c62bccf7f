"""Lines are what the requests of one upstream go over, one for each lane."""

from __future__ import annotations

import asyncio
import ssl
from typing import TypeAlias

import aiohttp
from aiohttp.abc import AbstractResolver
from multidict import CIMultiDict
from yarl import URL

from nugetproxy.upstream.egress import EgressProxy
from nugetproxy.upstream.failures import Progress
from nugetproxy.upstream.sessions import Lane, close_session, once, open_session, progress_of_next, tls_context
from nugetproxy.upstream.settings import UpstreamSettings
from nugetproxy.upstream.slots import Outgoing
from nugetproxy.upstream.straight import Arrived, Straight, is_usable

Raw: TypeAlias = aiohttp.ClientResponse | Arrived
"""An answer whose headers are here, as aiohttp has it."""


class Line:
    """The connections of one lane."""

    __slots__ = ("_session", "straight")

    def __init__(self, session: aiohttp.ClientSession, straight: Straight | None) -> None:
        self._session = session
        self.straight = straight
        """The short way for what has neither body nor proxy; None where each request needs the session."""

    async def ask(
        self,
        method: str,
        url: URL,
        headers: CIMultiDict[str],
        progress: Progress,
        *,
        proxy: EgressProxy | None,
        body: Outgoing | None,
        timeout: aiohttp.ClientTimeout | None,
    ) -> aiohttp.ClientResponse:
        """The response to one request of any sort, which is sent once; raises what aiohttp does."""
        progress_of_next(progress)
        if proxy is not None and url.scheme.lower() == "http":
            headers.update(proxy.headers)  # of a tunnel only its CONNECT carries them
        return await self._session.request(
            method,
            url,
            headers=headers,
            data=body,
            proxy=proxy.url if proxy is not None else None,
            proxy_headers=dict(proxy.headers) if proxy is not None else None,
            middlewares=(once,) if proxy is not None else None,
            allow_redirects=False,
            timeout=timeout or self._session.timeout,
        )

    async def close(self) -> None:
        """End its connections."""
        await close_session(self._session)


class Lines:
    """Opened when they are first needed."""

    def __init__(self, settings: UpstreamSettings, resolver: AbstractResolver) -> None:
        """Raises ConfigError if ``ca_file`` cannot be used."""
        self._settings = settings
        self._resolver = resolver
        self._tls: ssl.SSLContext | None = tls_context(settings) if settings.ca_file is not None else None
        """None until the first request: reading the system's authorities would hold up every start."""
        self._open: dict[Lane, Line] = {}
        self._closed = False

    def opened(self, lane: Lane) -> Line | None:
        """That of ``lane``, if it is open."""
        return self._open.get(lane)

    async def open(self, lane: Lane) -> Line | None:
        """That of ``lane``; None after ``close``."""
        if self._tls is None:
            self._tls = await asyncio.to_thread(tls_context, self._settings)
        if self._closed:
            return None
        line = self._open.get(lane)
        if line is None:
            session = open_session(lane, self._settings, self._resolver, self._tls)
            connector = session.connector
            short = lane is not Lane.WRITES and connector is not None and is_usable(connector)
            line = self._open[lane] = Line(session, Straight(session) if short else None)
        return line

    async def trust_again(self) -> None:
        """From the next connection on trust whom ``ca_file`` names now, besides those of before; raises OSError."""
        if self._tls is not None and self._settings.ca_file is not None:
            await asyncio.to_thread(self._tls.load_verify_locations, self._settings.ca_file)

    async def close(self) -> None:
        """End all connections, for good."""
        self._closed = True
        lines = list(self._open.values())
        self._open.clear()
        for line in lines:
            await line.close()
