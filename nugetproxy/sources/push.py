"""Push passes writes through to the one upstream that they are meant for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Protocol

from cachetools import TTLCache
from msgspec import Struct
from multidict import CIMultiDict

from nugetproxy.engine.cache import Cache
from nugetproxy.errors import MethodNotAllowed, NotFound, Reason, TooLarge, WriteRefused, upstream_failure
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.operations import Operation, Permission, allowed_methods, named_in_answer, operation
from nugetproxy.nuget.routes import Route
from nugetproxy.sources.services import Services
from nugetproxy.sources.source import Named
from nugetproxy.sources.write_body import WriteBody
from nugetproxy.upstream.answers import Sent
from nugetproxy.upstream.client import UpstreamClient

FORWARDED = (
    "X-NuGet-Client-Version",
    "X-NuGet-Protocol-Version",
    "X-NuGet-Session-Id",
    "User-Agent",
    "Content-Type",
    "Content-Length",
)
"""The request headers that a write takes along; everything else stays here."""

CREDENTIALS = ("X-NuGet-ApiKey", "Authorization")
"""What a client shows to the upstream itself; where the proxy lends its own credentials, they take its place."""

UNAUTHORIZED = 401

SEND_SECONDS = 290.0
"""For a write as a whole."""

MOVED_SECONDS = 60.0
"""How long it is believed that writes go to another address, which a client was told by a redirect to here."""

_WORDS: Mapping[Permission, str] = {Permission.PUSH: "Pushing", Permission.DELETE: "Deleting, unlisting or relisting"}


class PushSettings(Struct, frozen=True, kw_only=True):
    """What an operator allows; sizes in bytes."""

    push: bool = True
    delete: bool = True
    offline: bool = False
    """Whether the upstream is never asked, so never written to either."""
    max_bytes: int = 250 * 2**20
    lends_credentials: bool = False
    """Whether writes are made with the proxy's own credentials for the upstream."""


class SymbolServer(Protocol):
    """What gives out symbols that may be pushed through us."""

    def expect_new(self) -> None:
        """Symbols were pushed: what was absent may be there now."""


class Push:
    """The write side of one upstream: streamed, sent once, never retried."""

    def __init__(
        self,
        upstream: UpstreamClient,
        cache: Cache,
        services: Services,
        *,
        settings: PushSettings,
        spool: Path,
        symbols: SymbolServer | None,
    ) -> None:
        """``symbols`` is told when symbols may have come to the upstream."""
        self._upstream = upstream
        self._cache = cache
        self._services = services
        self._settings = settings
        self._spool = spool
        self._symbols = symbols
        self._forwarded = FORWARDED if settings.lends_credentials else FORWARDED + CREDENTIALS
        self._moved: TTLCache[str, str] = TTLCache(64, MOVED_SECONDS)

    async def check(self, method: str, route: Route, length: int | None) -> str:
        """The upstream URL for a write, before any of its body is read.

        ``length`` is the stated size in bytes. Raises NotFound, MethodNotAllowed (WriteRefused by an operator's
        decision) or TooLarge, and UpstreamFailure when it is not known where the upstream takes writes.
        """
        self._permit(method, _known(method, route))
        if length is not None and length > self._settings.max_bytes:
            raise TooLarge("The package", self._settings.max_bytes)
        services = await self._services.map()
        urls = services.publish_urls(route.resource, route.rest)
        if urls:
            return self._moved.get(urls[0], urls[0])
        if services.denies(route.resource):
            why = "its service index is https, but the address that it names for this write is plain http"
            raise upstream_failure(self._upstream.name, Reason.ID_DENIED, why)
        raise NotFound(f"The upstream {self._upstream.name!r} takes no such writes.")

    def _permit(self, method: str, wanted: Operation) -> None:
        settings = self._settings
        if settings.offline:
            raise WriteRefused(method, f"The feed {self._upstream.name!r} is offline; nothing can be written to it.")
        allowed = {Permission.PUSH: settings.push, Permission.DELETE: settings.delete, Permission.READ: True}
        if not allowed[wanted.permission]:
            raise WriteRefused(
                method, f"{_WORDS[wanted.permission]} is turned off for this feed; use the upstream itself."
            )

    async def send(
        self,
        method: str,
        route: Route,
        url: str,
        headers: Mapping[str, str],
        body: AsyncIterator[bytes] | None,
        *,
        named: Named,
    ) -> Sent:
        """Send it, once; whatever upstream answers is the answer, but for a 401 to credentials that the proxy has lent.

        ``named`` is told the package that the body is, once it has passed. Raises UpstreamDenied for that 401,
        UpstreamFailure when there is no answer; its detail says so when the outcome is unknown.
        """
        wanted = _known(method, route)
        write_body = None
        if body is not None:
            write_body = await WriteBody.of(body, limit=self._settings.max_bytes, spool=self._spool)
        sent: Sent | None = None
        try:
            sent = await self._pass_on(method, url, headers, write_body)
            if sent.status == UNAUTHORIZED and self._settings.lends_credentials:
                raise self._upstream.denied(sent.status, sent.reason)  # the client's are right
            return sent
        finally:
            identity = await write_body.identity() if write_body is not None and not route.id else None
            told = identity if sent is None or write_body is None or route.id else identity or _named_by(sent)
            if told is not None:
                named(told.id, told.version)
            noted = self._note(
                wanted,
                route.id or (identity.id if identity is not None else ""),
                write_body,
                sent.status if sent is not None else 0,
            )
            if write_body is not None:
                write_body.close()
            if noted:  # who is told of a write must never see what was before it, whatever becomes of this process
                await self._cache.settle_writes()

    async def _pass_on(self, method: str, url: str, headers: Mapping[str, str], write_body: WriteBody | None) -> Sent:
        async with self._upstream.send(
            method,
            url,
            headers=CIMultiDict({name: headers[name] for name in self._forwarded if name in headers}),
            body=write_body,
            timeout=SEND_SECONDS,
            rewind=write_body.rewind if write_body is not None else None,
            credentials=self._settings.lends_credentials,
        ) as sent:
            if sent.moved:
                self._moved[url] = sent.moved
            return sent

    def _note(self, wanted: Operation, id: str, write_body: WriteBody | None, status: int) -> bool:
        """What may have changed at the upstream is asked for again; whether something may have."""
        brought = self._symbols is not None and wanted.brings_symbols and _is_success(status)
        if self._symbols is not None and brought:
            self._symbols.expect_new()
        # Also where the outcome is unknown: half a body is never carried out, a whole one may have been.
        whole = write_body is None or write_body.whole
        unreadable = write_body is not None and not write_body.copied
        changed = _is_success(status) or (whole and status in _PERHAPS and (bool(id) or unreadable))
        if wanted.changes and changed:
            self._cache.invalidate(id)
        return brought or (wanted.changes and changed)


_PERHAPS = frozenset({0, 409, *range(500, 600)})
"""No answer, or one that does not say for sure that nothing has changed: 409 may be about an earlier try."""


def _named_by(sent: Sent) -> PackageIdentity | None:
    """The package that upstream's answer names, where the body could not be looked into."""
    text = sent.body.decode("utf-8", "replace")
    return named_in_answer(sent.headers.get("Location", ""), f"{sent.reason}\n{text}")


def _is_success(status: int) -> bool:
    return 200 <= status < 300


def _known(method: str, route: Route) -> Operation:
    """The operation asked for; raises NotFound where there is none, MethodNotAllowed where the method is wrong."""
    wanted = operation(method, route)
    if wanted is not None and (route.id or not wanted.about_package):
        return wanted
    allowed = allowed_methods(route)
    if wanted is not None or not allowed:
        raise NotFound("There is no such write; a package is named as in package/{id}/{version}.")
    raise MethodNotAllowed(method, allowed)
