"""Tools publishes tools.json with the downloads that it lists."""

from __future__ import annotations

from collections.abc import Mapping

from multidict import CIMultiDictProxy

from nugetproxy.clock import Clock
from nugetproxy.engine.target import Found, Target
from nugetproxy.errors import NotFound, Reason, upstream_failure
from nugetproxy.feeds.files import AS_THEY_ARE, STORED_BYTES, Files
from nugetproxy.feeds.rendering import page_of
from nugetproxy.feeds.reply import Reply, View
from nugetproxy.nuget.documents.tools import Tool, listed_tools, render_tools
from nugetproxy.nuget.kinds import Kind

INDEX = "tools.json"


class Tools:
    """One upstream's list of tools; nothing is fetched that the list does not name."""

    def __init__(self, url: str, files: Files, clock: Clock) -> None:
        self._files = files
        self._clock = clock
        self._scope = url
        self._index = Target(kind=Kind.TOOLS, path=INDEX, urls=(url,), scope=url)
        self._listed: tuple[str, Mapping[str, Tool]] | None = None

    async def read(self, path: str, _headers: CIMultiDictProxy[str], view: View) -> Reply:
        """The reply for ``tools.json`` or ``tools/...``; raises NotFound for what is not listed, UpstreamFailure."""
        found = await self._files.cache.get(self._index)
        if found.entry.absent:
            raise upstream_failure(self._files.name, Reason.GONE, "it has no tools.json at the configured URL")
        if path == INDEX:
            return self._list(found, view)
        tool = self._tools(found).get(path.partition("/")[2])
        if tool is None:
            raise NotFound("tools.json lists no such download.")
        target = Target(
            kind=Kind.TOOL if tool.versioned else Kind.TOOL_LATEST,
            path=path,
            urls=(tool.url,),
            scope=self._scope,
            headers=AS_THEY_ARE,
            limit=STORED_BYTES,
        )
        return await self._files.read(target, view)

    async def close(self) -> None:
        """End the connections to the upstream."""
        await self._files.close()

    def _list(self, found: Found, view: View) -> Reply:
        page = page_of(render_tools(found.body, found.entry.url, f"{view.base}tools/"))
        age = self._clock.now() - found.entry.stored_at
        return Reply(kind=Kind.TOOLS, cache=found.status, body=page.body, etag=page.etag, age=age)

    def _tools(self, found: Found) -> Mapping[str, Tool]:
        """What is listed, parsed once per content."""
        if self._listed is None or self._listed[0] != found.entry.digest:
            self._listed = (found.entry.digest, listed_tools(found.body, found.entry.url))
        return self._listed[1]
