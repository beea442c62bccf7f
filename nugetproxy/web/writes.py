"""Writes takes pushes, deletes and relists from clients to the feed's upstream."""

from __future__ import annotations

import structlog
from aiohttp import hdrs
from multidict import CIMultiDict

from nugetproxy.engine.outcome import CACHE_NAME
from nugetproxy.errors import BadRequest, ProxyError
from nugetproxy.feeds.feed import Feed
from nugetproxy.nuget.routes import Route
from nugetproxy.upstream.answers import Sent
from nugetproxy.web import http as web
from nugetproxy.web.access import AccessEvent
from nugetproxy.web.admission import Admission
from nugetproxy.web.answers import WARNING, header_text, reason_phrase
from nugetproxy.web.hosts import PublicAddresses
from nugetproxy.web.incoming import Incoming, awaits_welcome, welcome
from nugetproxy.web.refusals import Unauthorized
from nugetproxy.web.whole import Whole, common_headers

audit = structlog.get_logger("nugetproxy.audit")

RELAYED = ("Content-Type", "WWW-Authenticate", "Retry-After")


class Writes:
    """The server side of the write resources."""

    def __init__(self, addresses: PublicAddresses, admission: Admission, *, body_timeout: float) -> None:
        self._addresses = addresses
        self._admission = admission
        self._body_timeout = body_timeout

    async def respond(
        self, request: web.BaseRequest, feed: Feed, route: Route, event: AccessEvent
    ) -> web.StreamResponse:
        """Upstream's own answer, or an error that says whether the write may have happened.

        The client's body is read to its end (within bounds) before any answer: a client that is cut off while it
        still sends sees a broken pipe and uploads everything again, three times over.
        """
        awaits_continue = awaits_welcome(request)
        body = Incoming(request.content, stall=self._body_timeout)
        token = ""
        try:
            admitted = self._admission.admit_write(request, feed.name, self._addresses.client(request))
            token = admitted.token
            if hdrs.CONTENT_ENCODING in request.headers:
                raise BadRequest("A request body with a Content-Encoding is not taken; send it as it is.")
            url = await feed.writes.check(request.method, route, request.content_length)
            if awaits_continue:
                welcome(request)
                awaits_continue = False
            sent = await feed.writes.send(
                request.method,
                route,
                url,
                admitted.headers,
                body if request.body_exists else None,
                named=event.named,
            )
        except ProxyError as error:
            if not awaits_continue:
                await body.drain()
            if not (isinstance(error, Unauthorized) and not error.wrong):  # which is how every client begins
                self._audit(request, route, event, token=token, result=str(error))
            raise
        await body.drain()
        self._audit(request, route, event, token=token, result="answered", status=sent.status)
        # Where the upstream wants it elsewhere, the next try is sent there; the client must not go there by itself.
        return _relay(sent, f"{self._addresses.base(request)}{request.raw_path}" if sent.moved else "")

    def _audit(
        self,
        request: web.BaseRequest,
        route: Route,
        event: AccessEvent,
        *,
        token: str,
        result: str,
        status: int = 0,
    ) -> None:
        """Who wrote what, with which result; never the key."""
        audit.info(
            "write.audit",
            feed=event.feed,
            method=event.method,
            operation=event.kind,
            resource=route.resource,
            package=event.id or None,
            version=event.version or None,
            client=event.client,
            by=f"token {token}" if token else None,
            agent=request.headers.get(hdrs.USER_AGENT, "")[:120],
            status=status,
            result=result,
        )


def _relay(sent: Sent, location: str) -> Whole:
    """Status, reason phrase, body and warnings as upstream sent them; the reason is what NuGet shows its user."""
    headers: CIMultiDict[str] = CIMultiDict(
        common_headers("no-store", f"{CACHE_NAME}; fwd=method; fwd-status={sent.status}")
    )
    if location:
        headers[hdrs.LOCATION] = location
    for name in RELAYED:
        if name in sent.headers:
            headers[name] = header_text(sent.headers[name])
    for warning in sent.headers.getall(WARNING, []):
        headers.add(WARNING, header_text(warning))
    return Whole(sent.status, headers, sent.body, length=len(sent.body), reason=reason_phrase(sent.reason))
