"""Writes are sent once, come what may."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from multidict import CIMultiDict

from nugetproxy.errors import Reason, UpstreamFailure
from nugetproxy.upstream.answers import Sent
from nugetproxy.upstream.coding import Incomplete, TooLong, Undecodable, gunzip
from nugetproxy.upstream.failures import OutcomeUnknown, Trip
from nugetproxy.upstream.outgoing import Outgoing
from nugetproxy.upstream.response import Response
from nugetproxy.upstream.sessions import Lane
from nugetproxy.upstream.wire import REDIRECTS, Request, Wire

ANSWER = 64 * 1024
"""Most of upstream's answer that is passed on, in bytes."""

# RFC 9110 section 7.6.1, besides what says who we are talking to, or would make aiohttp wait for a 100.
_OF_A_CONNECTION = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
    | {"host", "expect", "cookie", "proxy-authorization", "accept-encoding"}
)


@asynccontextmanager
async def send_once(
    wire: Wire,
    upstream: str,
    method: str,
    url: str,
    *,
    headers: CIMultiDict[str],
    body: AsyncIterator[bytes] | None,
    seconds: float,
) -> AsyncIterator[Sent]:
    """See ``UpstreamClient.send``."""
    target = wire.url(url)
    outgoing = None if body is None else Outgoing(body)
    passed = CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in _OF_A_CONNECTION)
    passed["Accept-Encoding"] = "identity"
    request = Request(lane=Lane.WRITES, method=method, headers=passed)
    trip = Trip()
    try:
        async with wire.write(request, target, outgoing, seconds, trip) as response:
            # Its redirects are not followed: the body has left, the key belongs to this origin alone.
            if response.status in REDIRECTS:
                raise response.refuse(Reason.REDIRECT_DENIED, f"status {response.status} to a write")
            sent = Sent(response.status, response.reason, response.headers, await _read(response))
    except UpstreamFailure as failure:
        if trip.connected and not trip.answered and (outgoing is None or outgoing.size):
            raise OutcomeUnknown(upstream, failure.reason, failure.detail) from failure
        raise
    yield sent


async def _read(response: Response) -> bytes:
    """As much of the answer as there is: its status is known and must reach the client, whatever becomes of this."""
    body = bytearray()
    try:
        async for piece in response.chunks():
            body += piece
            if len(body) > ANSWER:
                break
    except UpstreamFailure:
        pass
    whole = bytes(body[:ANSWER])
    if not response.coding:
        return whole
    try:
        return gunzip(whole, ANSWER)
    except (Undecodable, Incomplete, TooLong):
        return b""
