"""Push passes writes through to the one upstream that they are meant for."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedRandom
from pathlib import Path
from typing import Self

import structlog
from multidict import CIMultiDict

from nugetproxy.engine.cache import Cache
from nugetproxy.errors import MethodNotAllowed, NotFound, Reason, TooLarge, WriteRefused, upstream_failure
from nugetproxy.nuget.nuspec import parse_nuspec
from nugetproxy.nuget.operations import Leave, Operation, allowed_methods, operation
from nugetproxy.nuget.package import InvalidPackage, open_archive, read_entry, root_entry
from nugetproxy.nuget.routes import Route
from nugetproxy.nuget.services import ServiceMap
from nugetproxy.upstream.answers import Sent
from nugetproxy.upstream.client import UpstreamClient

log = structlog.get_logger(__name__)

FORWARDED = (
    "X-NuGet-ApiKey",
    "X-NuGet-Client-Version",
    "X-NuGet-Protocol-Version",
    "X-NuGet-Session-Id",
    "User-Agent",
    "Content-Type",
    "Content-Length",
)
"""The request headers that a write takes along; everything else stays here."""

MAX_NUSPEC = 4 * 2**20
_PART_HEADERS = 64 * 1024
"""Bytes within which the headers of a part end and its package begins."""
_ZIP = b"PK\x03\x04"

_WORDS: Mapping[Leave, str] = {Leave.PUSH: "Pushing", Leave.DELETE: "Deleting, unlisting or relisting"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PushSettings:
    """What an operator allows; sizes in bytes, times in seconds."""

    push: bool = True
    delete: bool = True
    offline: bool = False
    """Whether the upstream is never asked, so never written to either."""
    max_bytes: int = 250 * 2**20
    timeout: float = 290.0


class Push:
    """The write side of one feed: streamed, sent once, never retried."""

    def __init__(
        self,
        upstream: UpstreamClient,
        cache: Cache,
        services: Callable[[], Awaitable[ServiceMap]],
        *,
        settings: PushSettings,
        spool: Path,
        on_symbols: Callable[[], None],
    ) -> None:
        """``on_symbols`` is called when symbols may have come to the upstream."""
        self._upstream = upstream
        self._cache = cache
        self._services = services
        self._settings = settings
        self._spool = spool
        self._on_symbols = on_symbols

    async def check(self, method: str, route: Route, length: int | None) -> str:
        """The upstream URL for a write, before any of its body is read.

        ``length`` is the stated size in bytes. Raises NotFound, MethodNotAllowed (WriteRefused by an operator's
        decision) or TooLarge, and UpstreamFailure when it is not known where the upstream takes writes.
        """
        self._permit(method, _known(method, route))
        if length is not None and length > self._settings.max_bytes:
            raise TooLarge("The package", self._settings.max_bytes)
        services = await self._services()
        urls = services.publish_urls(route.resource, route.rest)
        if urls:
            return urls[0]
        if services.denies(route.resource):
            why = "its service index is https, but the address that it names for this write is plain http"
            raise upstream_failure(self._upstream.name, Reason.ID_DENIED, why)
        raise NotFound(f"The upstream {self._upstream.name!r} takes no such writes.")

    def _permit(self, method: str, wanted: Operation) -> None:
        settings = self._settings
        if settings.offline:
            raise WriteRefused(method, f"The feed {self._upstream.name!r} is offline; nothing can be written to it.")
        leave = {Leave.PUSH: settings.push, Leave.DELETE: settings.delete, Leave.READ: True}
        if not leave[wanted.leave]:
            raise WriteRefused(method, f"{_WORDS[wanted.leave]} is turned off for this feed; use the upstream itself.")

    async def send(
        self, method: str, route: Route, url: str, headers: Mapping[str, str], body: AsyncIterator[bytes] | None
    ) -> Sent:
        """Send it, once; whatever upstream answers is the answer.

        Raises UpstreamFailure when there is none; its detail says so when the outcome is unknown.
        """
        forwarded = CIMultiDict({name: headers[name] for name in FORWARDED if name in headers})
        wanted = _known(method, route)
        unnamed = body is not None and wanted.changes and not route.id
        copy = await asyncio.to_thread(self._open_copy) if unnamed else None
        passing = None if body is None else _Passing(body, copy, self._settings.max_bytes)
        status = 0
        try:
            async with self._upstream.send(
                method, url, headers=forwarded, body=passing, timeout=self._settings.timeout
            ) as sent:
                status = sent.status
                return sent
        finally:
            if wanted.brings_symbols and _is_success(status):
                self._on_symbols()
            # Also where the outcome is unknown: half a body is never carried out, a whole one may have been.
            whole = passing is None or passing.whole
            if wanted.changes and (_is_success(status) or (whole and status in _PERHAPS)):
                id = route.id or (await asyncio.to_thread(_pushed_id, copy) if copy is not None else "")
                if id or copy is None or _is_success(status):
                    self._cache.invalidate(id)
            if copy is not None:
                copy.close()

    def _open_copy(self) -> BufferedRandom | None:
        """A file without a name for what passes by: the id of the package stands inside of it."""
        with suppress(OSError):
            return tempfile.TemporaryFile(dir=self._spool)
        return None


_PERHAPS = frozenset({0, 409, *range(500, 600)})
"""No answer, or one that does not say for sure that nothing has changed: 409 may be about an earlier try."""


def _is_success(status: int) -> bool:
    return 200 <= status < 300


class _Passing:
    """A body on its way through: counted, and copied to ``copy`` as far as the disk takes it."""

    def __init__(self, body: AsyncIterator[bytes], copy: BufferedRandom | None, limit: int) -> None:
        self._body = body
        self._copy = copy
        self._limit = limit
        self._size = 0
        self.whole = False
        """Whether its end has passed."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await anext(self._body)
        except StopAsyncIteration:
            self.whole = True
            raise
        self._size += len(chunk)
        if self._size > self._limit:
            raise TooLarge("The package", self._limit)
        if self._copy is not None:
            try:
                await asyncio.to_thread(self._copy.write, chunk)
            except OSError:
                # What is left cannot be read as a package: then every id of the feed is revalidated for a while.
                self._copy = None
        return chunk


def _known(method: str, route: Route) -> Operation:
    """The operation asked for; raises NotFound where there is none, MethodNotAllowed where the method is wrong."""
    wanted = operation(method, route)
    if wanted is not None and (route.id or not wanted.about_package):
        return wanted
    allowed = allowed_methods(route)
    if wanted is not None or not allowed:
        raise NotFound("There is no such write; a package is named as in package/{id}/{version}.")
    raise MethodNotAllowed(method, allowed)


def _pushed_id(copy: BufferedRandom) -> str:
    """The lower-case id of the package in a multipart body; empty when it cannot be told.

    The package begins behind the multipart headers; the boundary after it does no harm.
    """
    try:
        copy.seek(0)
        archive = open_archive(copy, max(0, copy.read(_PART_HEADERS).find(_ZIP)))
        nuspec = read_entry(archive, root_entry(archive, ".nuspec"), MAX_NUSPEC)
        return parse_nuspec(nuspec).identity.id
    except (InvalidPackage, OSError):
        return ""
