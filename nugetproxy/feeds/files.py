"""Files are single files of one upstream: stored up to a size, passed through beyond it."""

from __future__ import annotations

from typing import Protocol

from cachetools import LRUCache
from multidict import CIMultiDictProxy

from nugetproxy.clock import Clock
from nugetproxy.engine.cache import Cache
from nugetproxy.engine.outcome import CacheStatus, Outcome
from nugetproxy.engine.relay import Relay
from nugetproxy.engine.target import Target
from nugetproxy.errors import NotFound, Reason, UpstreamFailure
from nugetproxy.feeds.reply import IMMUTABLE, NO_CACHE, RelayedBody, Reply, View, absent_reply
from nugetproxy.nuget.kinds import BINARY_TYPE

STORED_BYTES = 32 * 2**20
"""The largest file that is stored, in bytes; it is in memory while it is fetched."""
AS_THEY_ARE = (("Accept", "*/*"), ("Accept-Encoding", "identity"))
"""What a file is asked for with: its bytes are what its readers compare."""
REFUSED = frozenset({Reason.AUTH, Reason.STATUS})
"""A 4xx to a request without credentials of ours: to this client, there is no such file."""


class Site(Protocol):
    """What is published beside the feeds, below a word of its own."""

    async def read(self, path: str, headers: CIMultiDictProxy[str], view: View) -> Reply:
        """The reply to one GET or HEAD of ``path`` (raw, from the site's word on); raises ProxyError."""

    async def close(self) -> None:
        """End its connections to its upstreams."""


class Files:
    """Reads the files of one upstream."""

    def __init__(self, cache: Cache, relay: Relay, clock: Clock) -> None:
        self.name = relay.name
        self.cache = cache
        self._relayed = relay
        self._clock = clock
        self._large: LRUCache[str, bool] = LRUCache(1024)

    async def read(self, target: Target, view: View) -> Reply:
        """The reply for the one URL of ``target``; raises UpstreamFailure where upstream gives no usable answer."""
        if target.key in self._large:
            return await self._relay(target, view)
        try:
            if view.head and await self.cache.stored(target) is None:
                return await self._relay(target, view)
            found = await self.cache.get(target)
        except UpstreamFailure as failure:
            if failure.reason is Reason.OFFLINE:
                raise NotFound("The proxy is offline, and this file is not in its cache.") from failure
            if failure.reason in REFUSED:
                return await self._refused(target)
            if failure.reason is not Reason.TOO_LARGE:
                raise
            self._large[target.key] = True
            return await self._relay(target, view)
        if found.entry.absent:
            return absent_reply(target.kind, found, self._clock.now())
        return Reply(
            kind=target.kind,
            cache=found.status,
            content_type=BINARY_TYPE,
            body=found.body,
            etag=f'"{found.entry.digest[:32]}"',
            age=self._clock.now() - found.entry.stored_at,
            cache_control=_cache_control(target),
        )

    async def close(self) -> None:
        """End the connections to the upstream."""
        await self._relayed.close()

    async def _refused(self, target: Target) -> Reply:
        await self.cache.put_absent(target)
        return _no_file(target)

    async def _relay(self, target: Target, view: View) -> Reply:
        """What upstream says to a HEAD, or would to a GET; for a GET, with the body behind it."""
        try:
            head = await self._relayed.said(target) or await self._relayed.glance(target)
        except NotFound:
            return _no_file(target)
        except UpstreamFailure as failure:
            if failure.reason in REFUSED:
                return _no_file(target)
            raise
        etag = head.validators.etag
        strong = etag if etag is not None and not etag.startswith("W/") else None
        return Reply(
            kind=target.kind,
            cache=CacheStatus(outcome=Outcome.BYPASS, forwarded="bypass", forward_status=200),
            content_type=BINARY_TYPE,
            body=b"" if view.head else RelayedBody(head.length, self._relayed, target, strong),
            relayed=view.head,
            length=head.length,
            etag=strong,
            cache_control=_cache_control(target),
        )


def _cache_control(target: Target) -> str:
    return IMMUTABLE if target.kind.row.immutable else NO_CACHE


def _no_file(target: Target) -> Reply:
    return Reply(
        kind=target.kind,
        cache=CacheStatus(outcome=Outcome.ABSENT, forwarded="uri-miss", forward_status=404),
        status=404,
        body=b'{"error":"The upstream has no such file."}',
    )
