"""InnerClient asks the feeds of this process without HTTP, for a job that runs inside the application."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from nugetproxy.admin.commands import carry_out
from nugetproxy.admin.desk import Desk
from nugetproxy.errors import NotFound, ProxyError, UpstreamFailure
from nugetproxy.feeds.reply import Reply, View
from nugetproxy.jobs.proxy_client import Fetched, Moved, nobody_counts
from nugetproxy.nuget.routes import parse_route

OURS: Final = "http://localhost/"
"""Who we are to ourselves."""


class InnerClient:
    """Through the feeds of the desk of now; ``by`` says in the audit log whose the job is."""

    def __init__(self, desk: Callable[[], Desk], by: str) -> None:
        self._desk = desk
        self._by = by

    async def get(self, path: str, moved: Moved = nobody_counts, *, keep: bool = True) -> Fetched:
        """As ``ProxyClient.get`` says it."""
        head, _, below = path.partition("v3/")
        name, feeds = head.strip("/"), self._desk().feeds
        feed = feeds.get(name) if name else next(iter(feeds.values()))
        rest, _, query = below.partition("?")
        route = parse_route(rest)
        if route is None or feed is None or route.write:
            return Fetched(404)
        try:
            reply = await feed.read(route, query, View(base=f"{OURS}{head}v3/"))
        except NotFound as error:
            return _error(404, error)
        except UpstreamFailure as error:
            return _error(503, error)
        except ProxyError as error:  # a rule of the feed
            return _error(403, error)
        try:
            return await _body(reply, moved, keep=keep)
        except ProxyError as error:
            return Fetched(0, failure=str(error))
        finally:
            reply.close()

    async def command(self, name: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """As ``ProxyClient.command`` says it."""
        return await carry_out(self._desk(), name, arguments, by=self._by)


def _error(status: int, error: ProxyError) -> Fetched:
    return Fetched(status, "application/json", json.dumps({"error": str(error)}).encode())


async def _body(reply: Reply, moved: Moved, *, keep: bool) -> Fetched:
    if isinstance(reply.body, bytes):
        moved(len(reply.body))
        return Fetched(reply.status, reply.content_type, reply.body)
    kept = []
    async for piece in reply.body.pieces(0, None):
        moved(len(piece) if isinstance(piece, bytes) else piece.stop - piece.start)
        if keep and isinstance(piece, bytes):
            kept.append(piece)
    return Fetched(reply.status, reply.content_type, b"".join(kept))
