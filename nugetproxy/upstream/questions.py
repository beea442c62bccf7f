"""Question is what is asked of an upstream, with who judges the answer, so that a probe can repeat it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping

from msgspec import Struct
from yarl import URL

from nugetproxy.caching.entry import Answer, Validators
from nugetproxy.errors import Reason
from nugetproxy.nuget.documents.check import check
from nugetproxy.nuget.documents.exact_json import InvalidDocument
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.zip_archive import ZIP_MAGIC
from nugetproxy.off_loop import off_loop
from nugetproxy.upstream.response import Response
from nugetproxy.upstream.sessions import Lane


class Request(Struct, frozen=True, kw_only=True):
    """What to send, without credentials: those depend on the hop."""

    lane: Lane
    method: str
    headers: Mapping[str, str]
    credentials: bool = True
    """Whether the configured credentials go along."""


class Question(Struct, frozen=True):
    """One request; ``judge`` reads what a probe needs of its answer, raising UpstreamFailure where it is useless."""

    request: Request
    url: URL
    judge: Callable[[Response], Awaitable[object]]

    @property
    def repeatable(self) -> bool:
        """Whether a probe may ask it again: a write never, nor a HEAD, which some do not know."""
        return self.request.method == "GET"

    @property
    def name(self) -> str:
        """The target, as far as failures are concerned."""
        return f"{self.request.lane} {self.request.method} {self.url}"


_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.IGNORECASE)

Verify = Callable[[Answer], Awaitable[None]]
"""Raises InvalidDocument."""


async def believe(verify: Verify, answer: Answer, response: Response) -> None:
    """Raises UpstreamFailure (INVALID_CONTENT) where ``verify`` does not believe the answer."""
    try:
        await verify(answer)
    except InvalidDocument as problem:
        raise response.refuse(Reason.INVALID_CONTENT, str(problem).rstrip(".")) from problem


async def verify_index(answer: Answer) -> None:
    await off_loop(len(answer.body), check, Kind.INDEX, answer.body)


async def glance(response: Response) -> None:
    """As much of a package as shows that it is one."""
    if response.status == 200:
        async for piece in response.chunks():
            if not piece.startswith(ZIP_MAGIC[: len(piece)]):
                raise response.refuse(Reason.INVALID_CONTENT, "the answer is not a package (no zip signature)")
            return


def conditions(validators: Validators) -> dict[str, str]:
    """Both, as some caches in between know only one of them (RFC 9110 section 13.1.3 settles the order)."""
    pairs = {"If-None-Match": validators.etag, "If-Modified-Since": validators.last_modified}
    return {name: value for name, value in pairs.items() if value is not None}


def ranged(response: Response, start: int) -> tuple[int, int | None]:
    """Length and total that a 206 states; it must run from ``start`` to the end (RFC 9110 section 14.4)."""
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if match is None or int(match[1]) != start:
        raise response.refuse(Reason.PROTOCOL, "status 206 with another range than asked for")
    stop = int(match[2]) + 1
    total = None if match[3] == "*" else int(match[3])
    if stop <= start or (total is not None and stop != total) or response.length not in {None, stop - start}:
        raise response.refuse(Reason.PROTOCOL, "status 206 with a Content-Range that cannot be")
    return stop - start, total
