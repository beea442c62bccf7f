"""Push passes writes through to the one upstream that they are meant for."""

from __future__ import annotations

import asyncio
import tempfile
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedRandom
from pathlib import Path

import structlog
from multidict import CIMultiDict

from nugetproxy.engine.cache import Cache
from nugetproxy.errors import BadRequest, MethodNotAllowed, NotFound, TooLarge
from nugetproxy.nuget.nuspec import parse_nuspec
from nugetproxy.nuget.package import InvalidPackage, read_entry, root_entry
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

DELETING = frozenset({"DELETE", "POST"})
METHODS: Mapping[str, tuple[str, ...]] = {
    "package": ("PUT", "DELETE", "POST"),
    "symbolpackage": ("PUT",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PushSettings:
    """What an operator allows; sizes in bytes, times in seconds."""

    push: bool = True
    delete: bool = True
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
    ) -> None:
        self._upstream = upstream
        self._cache = cache
        self._services = services
        self._settings = settings
        self._spool = spool

    async def check(self, method: str, route: Route, length: int | None) -> str:
        """The upstream URL for a write, before any of its body is read.

        ``length`` is the stated size in bytes. Raises MethodNotAllowed, NotFound or TooLarge, and UpstreamFailure
        when it is not known where the upstream takes writes.
        """
        allowed = METHODS.get(route.resource, ("PUT", "POST", "DELETE"))
        if method not in allowed or (method == "DELETE" and not route.rest):
            raise MethodNotAllowed(method, allowed)
        if not (self._settings.delete if method in DELETING else self._settings.push):
            what = "Deleting and relisting" if method in DELETING else "Pushing"
            raise BadRequest(f"{what} is turned off for this feed; push to the upstream itself.")
        if length is not None and length > self._settings.max_bytes:
            raise TooLarge("The package", self._settings.max_bytes)
        urls = (await self._services()).publish_urls(route.resource, route.rest)
        if not urls:
            raise NotFound(f"The upstream {self._upstream.name!r} takes no such writes.")
        return urls[0]

    async def send(
        self, method: str, route: Route, url: str, headers: Mapping[str, str], body: AsyncIterator[bytes] | None
    ) -> Sent:
        """Send it, once; whatever upstream answers is the answer.

        Raises UpstreamFailure when there is none; its detail says so when the outcome is unknown.
        """
        forwarded = CIMultiDict({name: headers[name] for name in FORWARDED if name in headers})
        copy = await asyncio.to_thread(self._open_copy) if body is not None and not route.id else None
        streamed = self._limited(body, copy) if body is not None else None
        id = route.id
        try:
            async with self._upstream.send(
                method, url, headers=forwarded, body=streamed, timeout=self._settings.timeout
            ) as sent:
                if copy is not None and 200 <= sent.status < 300:
                    id = await asyncio.to_thread(_pushed_id, copy)
                return sent
        finally:
            # Even a write whose outcome is unknown may have happened.
            self._cache.invalidate(id)
            if copy is not None:
                copy.close()

    def _open_copy(self) -> BufferedRandom | None:
        """A file without a name for what passes by: the id of the package stands inside of it."""
        with suppress(OSError):
            return tempfile.TemporaryFile(dir=self._spool)
        return None

    async def _limited(self, body: AsyncIterator[bytes], copy: BufferedRandom | None) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in body:
            size += len(chunk)
            if size > self._settings.max_bytes:
                raise TooLarge("The package", self._settings.max_bytes)
            if copy is not None:
                try:
                    await asyncio.to_thread(copy.write, chunk)
                except OSError:
                    # Without the whole copy every package of the feed is revalidated for a while.
                    copy.truncate(0)
                    copy = None
            yield chunk


def _pushed_id(copy: BufferedRandom) -> str:
    """The lower-case id of the package in a multipart body; empty when it cannot be told.

    A zip file is read from its end, so the multipart headers before it do no harm, nor does the boundary after it.
    """
    try:
        with zipfile.ZipFile(copy) as archive:
            nuspec = read_entry(archive, root_entry(archive, ".nuspec"), MAX_NUSPEC)
        return parse_nuspec(nuspec).identity.id
    except (InvalidPackage, zipfile.BadZipFile, NotImplementedError, EOFError, OSError):
        return ""
