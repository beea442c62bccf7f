"""Writes are carried out once, come what may."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from msgspec import Struct
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from nugetproxy.errors import Reason, UpstreamFailure
from nugetproxy.upstream.answers import Sent
from nugetproxy.upstream.coding import Incomplete, TooLong, Undecodable, gunzip
from nugetproxy.upstream.failures import OutcomeUnknown, Progress
from nugetproxy.upstream.questions import Request
from nugetproxy.upstream.response import Response
from nugetproxy.upstream.sessions import Lane
from nugetproxy.upstream.slots import Outgoing
from nugetproxy.upstream.wire import Wire

ANSWER = 64 * 1024
"""Most of upstream's answer that is passed on, in bytes."""

# RFC 9110 section 7.6.1, besides what says who we are talking to, or would make aiohttp wait for a 100.
_OF_A_CONNECTION = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
    | {"host", "expect", "cookie", "proxy-authorization", "accept-encoding"}
)


MOVED = frozenset({301, 302, 307, 308})
"""Redirects that keep the method of a PUT or DELETE; 303 would make another request of it."""

Rewind = Callable[[], Awaitable[bool]]
"""Makes a body begin again from its first byte; False where that cannot be."""


class Write(Struct, frozen=True, kw_only=True):
    """What is to be sent."""

    upstream: str
    method: str
    headers: CIMultiDict[str]
    body: AsyncIterator[bytes] | None
    rewind: Rewind | None
    credentials: bool
    """Whether the configured credentials go along."""


@asynccontextmanager
async def send_once(wire: Wire, url: str, write: Write, seconds: float) -> AsyncIterator[Sent]:
    """See ``UpstreamClient.send``."""
    trail: tuple[URL, ...] = (wire.url(url),)
    passed = CIMultiDict((name, value) for name, value in write.headers.items() if name.lower() not in _OF_A_CONNECTION)
    passed["Accept-Encoding"] = "identity"
    request = Request(lane=Lane.WRITES, method=write.method, headers=passed, credentials=write.credentials)
    clock = asyncio.get_running_loop().time
    until = clock() + seconds
    while True:
        said = await _one_hop(wire, write, request, trail, max(0.0, until - clock()))
        if isinstance(said, Sent):
            break
        trail = (*trail, said)
        if write.body is not None and not (write.rewind is not None and await write.rewind()):
            said = Sent(307, "", CIMultiDictProxy(CIMultiDict()), moved=str(trail[-1]))
            break
    yield said


async def _one_hop(wire: Wire, write: Write, request: Request, trail: tuple[URL, ...], seconds: float) -> Sent | URL:
    """The answer of the last URL of ``trail``, or where it wants the write to be sent instead."""
    outgoing = None if write.body is None else Outgoing(write.body)
    if outgoing is not None:
        await outgoing.begin()
    progress = Progress()
    try:
        async with wire.write(request, trail[-1], outgoing, seconds, progress) as response:
            if response.status in MOVED:
                return wire.moved(response, trail)
            if response.status == 303:
                raise response.refuse(Reason.REDIRECT_DENIED, f"status {response.status} to a write")
            if response.status < 200:  # nothing that could be passed on: who is told 101 takes the rest for no HTTP
                raise response.refuse(Reason.PROTOCOL, f"status {response.status} to a write")
            return Sent(
                response.status,
                response.reason,
                _told(wire, response),
                wire.hiding.raw(await _read(response)),
            )
    except UpstreamFailure as failure:
        if progress.connected and not progress.answered and (outgoing is None or outgoing.size):
            raise OutcomeUnknown(write.upstream, failure.reason, failure.detail) from failure
        failure.of_write = True
        raise


def _told(wire: Wire, response: Response) -> CIMultiDictProxy[str]:
    """The answer's headers; whoever they are relayed to must not see what we sent."""
    told = ((name, wire.hiding.text(value)) for name, value in response.headers.items())
    return CIMultiDictProxy(CIMultiDict(told))


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
