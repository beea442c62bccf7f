"""Failures of aiohttp in our own words, with what an operator can do about them."""

from __future__ import annotations

import errno
import os
import ssl
from collections.abc import Callable
from types import TracebackType

import aiohttp
import structlog
from aiohttp.http_exceptions import BadHttpMessage, HttpProcessingError, LineTooLong
from msgspec import Struct

from nugetproxy.errors import Reason, UpstreamFailure, UpstreamRefused, upstream_failure
from nugetproxy.log.floods import FloodGate
from nugetproxy.metrics import Metrics
from nugetproxy.upstream.resolver import AddressDenied, LookupTimeout
from nugetproxy.upstream.settings import UpstreamSettings

log = structlog.get_logger(__name__)

OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""What runs short here, whatever upstream does."""


FOREIGN = (aiohttp.ClientError, HttpProcessingError, OSError)
"""What aiohttp raises."""


class OutcomeUnknown(UpstreamRefused):
    """Upstream was lost after (part of) a write had been sent, so nobody knows whether it was carried out."""

    def __str__(self) -> str:
        return (
            f"Upstream {self.upstream!r} was lost after the request had been sent ({self.reason}: {self.detail}); "
            "whether it was carried out is unknown. Look before repeating it."
        )


class ConnectionDropped(aiohttp.ClientError):
    """Upstream closed or reset the connection before it answered.

    Stands in for ServerDisconnectedError and ClientOSError, upon which aiohttp would send the request again
    unasked and uncounted, PUT and DELETE too.
    """


class MalformedBody(aiohttp.ClientError):
    """The framing of a body broke in the midst of it."""


class UnaskedBytes(ConnectionDropped):
    """The pooled connection holds bytes that upstream sent after its last response."""


class Progress(Struct):
    """How far one request got."""

    redirected: bool = False
    """It follows a redirect."""
    reused: bool = False
    """It went over a connection that had been idle in the pool."""
    connected: bool = False
    """It has a connection."""
    answered: bool = False
    """The response's headers have arrived."""


Named = tuple[Reason, str]
PROXY_LOGIN = "the egress proxy wants credentials, or others (status 407); network.proxy may refer to a URL with them"


def _certificate(error: aiohttp.ClientConnectorCertificateError, _: Progress) -> Named:
    cause = error.certificate_error
    why = getattr(cause, "verify_message", "")  # OpenSSL's own words for its code
    return Reason.TLS, f"its certificate is not valid: {why}" if why else "its certificate is not valid"


def _connector(error: aiohttp.ClientConnectorError, progress: Progress) -> Named:
    cause = error.os_error
    if isinstance(cause, AddressDenied):
        return (Reason.REDIRECT_DENIED if progress.redirected else Reason.ID_DENIED), cause.why
    if isinstance(cause, LookupTimeout):
        return Reason.DNS_TIMEOUT, "the name look-up timed out"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Reason.DNS, "the name cannot be looked up"
    if isinstance(cause, ConnectionResetError):
        return Reason.RESET, "the connection was reset while it was set up"
    return Reason.REFUSED, "the connection was refused"


def _payload(error: aiohttp.ClientPayloadError, _: Progress) -> Named:
    # aiohttp tells the two apart only in the text, where it puts the socket's own error.
    if "ConnectionResetError" in str(error):
        return Reason.RESET, "the connection was reset within the body"
    return Reason.TRUNCATED, "the connection ended within the body"


def _silence(_: Exception, progress: Progress) -> Named:
    if progress.answered:
        return Reason.STALL, "nothing more of the body arrived"
    return Reason.READ_TIMEOUT, "no answer arrived"


def _deadline(_: Exception, progress: Progress) -> Named:
    if progress.connected:
        return Reason.READ_TIMEOUT, "the answer was not complete in time"
    return Reason.CONNECT_TIMEOUT, "no connection in time"


def _bad_url(_: Exception, progress: Progress) -> Named:
    return (Reason.REDIRECT_DENIED if progress.redirected else Reason.ID_DENIED), "not a proper host"


def _malformed(error: Exception, _: Progress) -> Named:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, BadHttpMessage):
        cause = cause.__cause__
    if isinstance(cause, LineTooLong):
        return Reason.PROTOCOL, f"a line of the response's header section is longer than {cause.args[1]} bytes"
    if cause is not None and cause.message.startswith("Too many headers"):
        return Reason.PROTOCOL, "the response has too many header lines"
    return Reason.PROTOCOL, "the response is not proper HTTP"


def _no_tunnel(error: aiohttp.ClientHttpProxyError, _: Progress) -> Named:
    if error.status == 407:
        return Reason.REFUSED, PROXY_LOGIN
    return Reason.REFUSED, f"the egress proxy gives no connection to it (status {error.status})"


def _always(reason: Reason, detail: str) -> Callable[[Exception, Progress], Named]:
    return lambda _error, _progress: (reason, detail)


# The first match wins. No text of an exception gets any further: it may hold headers, keys among them.
_TABLE: tuple[tuple[type[Exception], Callable[..., Named]], ...] = (
    (aiohttp.ClientConnectorCertificateError, _certificate),
    (aiohttp.ClientConnectorSSLError, _always(Reason.TLS, "the TLS handshake failed")),
    (aiohttp.ClientProxyConnectionError, _always(Reason.REFUSED, "the egress proxy cannot be reached")),
    (aiohttp.ClientConnectorError, _connector),
    (aiohttp.ConnectionTimeoutError, _always(Reason.CONNECT_TIMEOUT, "no connection in time")),
    (aiohttp.SocketTimeoutError, _silence),
    (aiohttp.ClientPayloadError, _payload),
    (aiohttp.ClientHttpProxyError, _no_tunnel),
    (aiohttp.ClientResponseError, _malformed),
    (HttpProcessingError, _malformed),
    (MalformedBody, _always(Reason.PROTOCOL, "the body is not proper HTTP")),
    (aiohttp.InvalidURL, _bad_url),
    (ssl.SSLError, _always(Reason.TLS, "TLS failed")),
    (TimeoutError, _deadline),
    (aiohttp.ClientError, _always(Reason.RESET, "the connection was closed before an answer")),
    (OSError, _always(Reason.RESET, "the connection broke")),
)


class Failures:
    """Makes (so counts) the failures of one upstream."""

    def __init__(self, upstream: str, metrics: Metrics) -> None:
        self._upstream = upstream
        self._counter = metrics.upstream_failures
        self._shortages = metrics.shortages

    def make(self, reason: Reason, detail: str = "", *, retry_after: float | None = None) -> UpstreamFailure:
        """The exception to raise; ``detail`` must be fit for logs and clients."""
        self.count(reason)
        return upstream_failure(self._upstream, reason, detail, retry_after=retry_after)

    def count(self, reason: Reason) -> None:
        """Count a failure that somebody else finds words for."""
        self._counter.labels(self._upstream, reason).inc()

    def translating(self, origin: str, progress: Progress) -> Translating:
        """Turn whatever aiohttp raises inside into UpstreamFailure."""
        return Translating(self, origin, progress)

    def translated(self, error: BaseException, origin: str, progress: Progress) -> UpstreamFailure:
        """What an error of aiohttp's comes to."""
        if (number := _shortage(error)) is not None:
            return self._ours(number)
        name = next(name for kind, name in _TABLE if isinstance(error, kind))
        reason, detail = name(error, progress)
        return self.make(reason, f"{detail} ({origin})")

    def _ours(self, number: int) -> UpstreamFailure:
        """Not counted as a failure of upstream, logged once a minute."""
        self._shortages.labels(errno.errorcode[number]).inc()
        _say_shortage(number)
        return upstream_failure(self._upstream, Reason.EXHAUSTED, os.strerror(number))


class Translating:
    """As ``Failures.translating``: no generator, as it is entered several times for each response."""

    __slots__ = ("_failures", "_origin", "_progress")

    def __init__(self, failures: Failures, origin: str, progress: Progress) -> None:
        self._failures = failures
        self._origin = origin
        self._progress = progress

    def __enter__(self) -> None:
        return

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, FOREIGN):
            raise self._failures.translated(error, self._origin, self._progress) from error


_once_a_minute = FloodGate(burst=1, every=60.0)
"""One for all upstreams of the process: it is the process that runs short."""


def _say_shortage(number: int) -> None:
    held = _once_a_minute.admit(errno.errorcode[number])
    if held is not None:
        log.error("resources.exhausted", errno=errno.errorcode[number], error=os.strerror(number), held_back=held)


def _shortage(error: BaseException) -> int | None:
    """The error number if it was this machine that ran short: of the error, or of what caused it."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in OURS:
            return seen.errno
        seen = getattr(seen, "os_error", None) or seen.__cause__
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return _no_descriptor_left()
    return None


def _no_descriptor_left() -> int | None:
    """Name services fail without saying why when they cannot open a socket."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno if error.errno in OURS else None
    return None


NO_WAY = frozenset({Reason.REFUSED, Reason.CONNECT_TIMEOUT, Reason.DNS, Reason.DNS_TIMEOUT})
ISSUER = ("self-signed", "self signed", "issuer", "verify the first certificate")
"""How OpenSSL says that nobody here trusts who signed a certificate."""
PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")


def remedy(reason: Reason, detail: str, settings: UpstreamSettings) -> str:
    """One sentence about the failure ``reason`` (``detail`` as the failure has it); empty where there is nothing to do
    but wait.
    """
    if reason is Reason.TLS and any(word in detail for word in ISSUER):
        return "If you trust who signed its certificate, name that authority's PEM file in ca_file of this upstream."
    if reason is Reason.TLS:
        return "Look at its certificate, at the host name in its URL, and at the clock of this machine."
    if reason is Reason.AUTH:
        wrong = "were refused; has the token expired? Look at" if settings.headers else "are missing; set"
        return f"Credentials {wrong} username and password of this upstream."
    if reason in NO_WAY and not settings.egress.proxies and any(os.environ.get(name) for name in PROXIES):
        return "The environment names an HTTP proxy; if this upstream is behind it, set proxy in [network]."
    if reason in {Reason.DNS, Reason.DNS_TIMEOUT}:
        return "Look at the host name in its URL, and at the name service of this machine."
    return ""
