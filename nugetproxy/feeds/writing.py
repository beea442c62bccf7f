"""Writing sends each write to a feed of several sources to exactly one of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from nugetproxy.errors import BadRequest, Reason, TooLarge, WriteRefused, upstream_failure
from nugetproxy.feeds.owners import Owners
from nugetproxy.nuget.mapping import SourceMapping
from nugetproxy.nuget.operations import Permission, operation
from nugetproxy.nuget.routes import Route
from nugetproxy.sources.source import Named, Source
from nugetproxy.sources.write_body import WriteBody
from nugetproxy.upstream.answers import Sent


class Writing:
    """The write side of one feed: by what is configured for an id, deletes to whom the version belongs to."""

    def __init__(
        self,
        feed: str,
        sources: tuple[Source, ...],
        pushes: SourceMapping,
        *,
        owners: Owners,
        spool: Path,
        max_bytes: int,
    ) -> None:
        """``spool``: the directory where a body lies whose package tells where it has to go."""
        self._feed = feed
        self._by_name = {source.name: source for source in sources}
        self._pushes = pushes
        self._owners = owners
        self._spool = spool
        self._max_bytes = max_bytes

    async def check(self, method: str, route: Route, length: int | None) -> str:
        """The URL that a write goes to, empty where only its body tells; raises ProxyError where it is not taken."""
        source = await self._target(method, route)
        if source is not None:
            return await source.writes.check(method, route, length)
        if length is not None and length > self._max_bytes:
            raise TooLarge("The package", self._max_bytes)
        return ""

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
        """What its target answers; raises UpstreamFailure."""
        source = await self._target(method, route)
        if source is not None:
            return await source.writes.send(method, route, url, headers, body, named=named)
        if body is None:
            raise BadRequest("A push must have a package as its body.")
        write_body = await WriteBody.of(body, limit=self._max_bytes, spool=self._spool)
        try:
            async for _ in write_body:
                pass
            source = await self._named_target(method, write_body)
            url = await source.writes.check(method, route, None)
            return await source.writes.send(method, route, url, headers, write_body, named=named)
        finally:
            write_body.close()

    async def _named_target(self, method: str, write_body: WriteBody) -> Source:
        """Where the package in a body belongs, which then is given from its beginning."""
        if not write_body.copied:
            raise upstream_failure(self._feed, Reason.DISK, "there is no room for the package to be looked into")
        identity = await write_body.identity()
        if identity is None:
            raise BadRequest("The body is no package, so it cannot be told which source it is for.")
        await write_body.rewind()
        return self._mapped(method, identity.id)

    async def _target(self, method: str, route: Route) -> Source | None:
        """Where a write goes; None where only its body tells."""
        wanted = operation(method, route)
        if route.id and wanted is not None and wanted.permission is Permission.DELETE:
            owner = (await self._owners.of(route.id)).get(route.version)
            if owner is not None and owner.source in self._by_name:
                return self._by_name[owner.source]
        if route.id:
            return self._mapped(method, route.id)
        rules = (*self._pushes.exact.values(), *self._pushes.prefixes.values())
        if not rules:
            raise self._refusal(method, "it is not said which one takes pushes")
        if len(rules) == 1 and rules[0].prefix == "":
            return self._by_name[rules[0].sources[0]]
        return None

    def _mapped(self, method: str, id_: str) -> Source:
        rule = self._pushes.rule(id_)
        if rule is None:
            raise self._refusal(method, f"none of them takes pushes of {id_}")
        return self._by_name[rule.sources[0]]

    def _refusal(self, method: str, why: str) -> WriteRefused:
        return WriteRefused(
            method,
            f"The feed {self._feed!r} has several sources, and {why}; set feeds.{self._feed}.push, or use the source "
            "itself.",
        )
