"""Asker is what the header section of a request says of its client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from aiohttp import hdrs

from nugetproxy.errors import UnknownHost
from nugetproxy.log import rate_limited
from nugetproxy.upstream.asking import LOOP, OWN, passed_by
from nugetproxy.web import http as web
from nugetproxy.web.hosts import PublicAddresses
from nugetproxy.web.refusals import LoopDetected

SESSION_ID = "X-NuGet-Session-Id"
MAX_SESSION = 64
CONDITIONAL = (
    hdrs.IF_NONE_MATCH,
    hdrs.IF_MODIFIED_SINCE,
    hdrs.RANGE,
    hdrs.IF_MATCH,
    hdrs.IF_UNMODIFIED_SINCE,
    hdrs.IF_RANGE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """A client repeats most of it with every request, so that a connection remembers the last one."""

    headers: tuple[tuple[bytes, bytes], ...] = field(repr=False)
    """All that it was read out of."""
    addresses: PublicAddresses
    """What it was understood by."""
    client: str
    """The address of the client itself, behind trusted proxies."""
    session: str
    """As the client calls what it does; empty where it does not."""
    traceparent: str
    """The trace that the request is a part of (W3C Trace Context)."""
    passed: str
    """The proxies of our kind that its request has passed."""
    authorization: str = field(repr=False)
    accept_encoding: str
    conditions: Mapping[str, str]
    """Fields of conditions and ranges, by lower-case name."""
    address: str
    """The URL by which it finds our root, without a slash at its end; empty where that is none of ours."""

    @property
    def base(self) -> str:
        """``address``; raises UnknownHost."""
        if not self.address:
            raise UnknownHost
        return self.address

    def check_loop(self, path: str) -> None:
        """Raises LoopDetected for a request that this process has sent."""
        if OWN in self.passed:
            rate_limited("request.looped", path=path, client=self.client, detail=str(LoopDetected()))
            raise LoopDetected

    def is_of(self, request: web.BaseRequest, addresses: PublicAddresses) -> bool:
        """Whether another request on the same connection says the same."""
        return self.headers == request.raw_headers and self.addresses is addresses


def asker_of(request: web.BaseRequest, addresses: PublicAddresses) -> Asker:
    """What a request says."""
    headers = request.headers
    try:
        address = addresses.base(request)
    except UnknownHost:
        address = ""
    return Asker(
        headers=request.raw_headers,
        addresses=addresses,
        client=_text(addresses.client(request)),
        session=_text(headers.get(SESSION_ID, ""))[:MAX_SESSION],
        traceparent=headers.get("traceparent", "")[:MAX_SESSION],
        passed=passed_by(",".join(headers.getall(LOOP, ()))),
        authorization=headers.get(hdrs.AUTHORIZATION, ""),
        accept_encoding=headers.get(hdrs.ACCEPT_ENCODING, ""),
        conditions={name.lower(): ",".join(headers.getall(name)) for name in CONDITIONAL if name in headers},
        address=address,
    )


def _text(said: str) -> str:
    """``said`` as the history can keep it: for a byte that is no UTF-8 aiohttp puts half a surrogate pair."""
    return said if said.isascii() else said.encode(errors="replace").decode()
