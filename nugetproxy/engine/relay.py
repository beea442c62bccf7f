"""Relay passes on what upstream says without storing it."""

from __future__ import annotations

from collections.abc import AsyncIterator

from nugetproxy.engine.target import Target
from nugetproxy.errors import FINAL, NotFound, Reason, UpstreamDenied, UpstreamFailure, upstream_failure
from nugetproxy.upstream.answers import PAGE, Head, is_page
from nugetproxy.upstream.client import UpstreamClient

ABSENT = frozenset({404, 410})
_NO = frozenset({Reason.STATUS, Reason.SERVER_ERROR, Reason.PROTOCOL, Reason.INVALID_CONTENT})
"""What a HEAD may come to where a GET does not, besides 403 and 404."""


class Relay:
    """HEADs of what is not held, and files that are too large to be stored."""

    def __init__(self, upstream: UpstreamClient) -> None:
        self.name = upstream.name
        self._upstream = upstream

    async def head(self, target: Target) -> Head:
        """The first 200 to a HEAD of the target's URLs.

        Raises NotFound where all say that it is not there, UpstreamFailure where one failed and none has it.
        """
        failed: UpstreamFailure | None = None
        for url in target.urls:
            try:
                head = await self._upstream.head(url, headers=dict(target.headers))
            except UpstreamFailure as failure:
                failed = failed or failure
                continue
            if head.status == 200:
                return head
            if head.status in FINAL:
                failed = failed or self._upstream.denied(head.status, head.phrase)
            elif head.status not in ABSENT:
                failed = failed or upstream_failure(self.name, Reason.STATUS, f"status {head.status}")
        raise failed or NotFound(f"The upstream {self.name!r} does not have this.")

    async def said(self, target: Target) -> Head | None:
        """As ``head``; None where only a GET can tell: of some feeds HEAD gets a no that GET does not.

        Storage addresses may be signed for GET alone.
        """
        try:
            return await self.head(target)
        except NotFound:
            pass
        except UpstreamDenied as denied:
            if denied.denial.status != 403:
                raise
        except UpstreamFailure as failure:
            if failure.reason not in _NO or failure.of_host:
                raise
        return None

    async def glance(self, target: Target) -> Head:
        """What a GET of the target's first URL says, whose body is left alone; raises as ``head``."""
        async with self._upstream.download(target.urls[0], headers=dict(target.headers)) as file:
            if file.status in ABSENT:
                raise NotFound(f"The upstream {self.name!r} does not have this.")
            if is_page(file.content_type):
                raise self._upstream.refused(Reason.INVALID_CONTENT, PAGE)
            return Head(status=200, length=file.total, validators=file.validators, warnings=file.warnings)

    async def body(self, target: Target, start: int, etag: str | None) -> AsyncIterator[bytes]:
        """The bytes of the target's first URL from ``start`` on, while they are those of ``etag``.

        Raises UpstreamFailure, also where the file is not the one of ``etag`` any more.
        """
        headers = dict(target.headers)
        async with self._upstream.download(target.urls[0], start=start, if_range=etag, headers=headers) as file:
            if file.status not in {200, 206} or (etag is not None and file.validators.etag != etag):
                raise upstream_failure(self.name, Reason.PIN, "the file changed while it was read")
            skip = start if file.status == 200 else 0
            async for chunk in file.chunks():
                if skip < len(chunk):
                    yield chunk[skip:]
                skip = max(0, skip - len(chunk))

    async def close(self) -> None:
        """End the connections to the upstream."""
        await self._upstream.close()
