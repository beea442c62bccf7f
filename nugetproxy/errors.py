"""The exception tree: every error says what was wrong and what to do about it."""

from __future__ import annotations

from enum import StrEnum
from http import HTTPStatus

from msgspec import Struct


class Reason(StrEnum):
    """Why an upstream gave no usable answer; the same words in logs, metrics and ``Cache-Status``."""

    REFUSED = "refused"
    CONNECT_TIMEOUT = "connect_timeout"
    READ_TIMEOUT = "read_timeout"
    DNS = "dns"
    DNS_TIMEOUT = "dns_timeout"
    TLS = "tls"
    RESET = "reset"
    TRUNCATED = "truncated"
    EXTRA_BYTES = "extra_bytes"
    STALL = "stall"
    SLOW = "slow"
    PROTOCOL = "protocol"
    SERVER_ERROR = "5xx"
    RATE_LIMITED = "429"
    AUTH = "auth"
    STATUS = "status"
    BREAKER_OPEN = "breaker_open"
    REDIRECT_DENIED = "redirect_denied"
    ID_DENIED = "id_denied"
    TOO_LARGE = "too_large"
    INVALID_CONTENT = "invalid_content"
    SHRUNK_INDEX = "shrunk_index"
    GONE = "gone"
    IDENTITY = "identity"
    ZIP = "zip"
    HASH = "hash"
    PIN = "pin"
    OFFLINE = "offline"
    DISK = "disk"
    STOPPING = "stopping"
    EXHAUSTED = "exhausted"


TRANSIENT = frozenset(
    {
        Reason.REFUSED,
        Reason.CONNECT_TIMEOUT,
        Reason.READ_TIMEOUT,
        Reason.DNS,
        Reason.DNS_TIMEOUT,
        Reason.RESET,
        Reason.TRUNCATED,
        Reason.STALL,
        Reason.SLOW,
        Reason.SERVER_ERROR,
        Reason.RATE_LIMITED,
        Reason.BREAKER_OPEN,
        Reason.OFFLINE,
        Reason.DISK,
        Reason.STOPPING,
        Reason.EXHAUSTED,
    }
)
"""Reasons that may pass by themselves (503 + Retry-After); every other one is a wrong answer (502)."""


class ProxyError(Exception):
    """Anything that ends a request without its answer; fields carry the facts, ``__str__`` the sentence."""


class _Said(ProxyError):
    """Whoever raises it says the whole sentence."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what

    def __str__(self) -> str:
        return self.what


class BadRequest(_Said):
    """The request itself is malformed or not allowed."""


class SignatureRefused(ProxyError):
    """The package that was asked for has no signature that counts, and its source requires one."""

    def __init__(self, source: str, package: str, flaw: str, detail: str) -> None:
        super().__init__(source, package, flaw, detail)
        self.source = source
        self.package = package
        self.flaw = flaw
        """A word of ``nuget.signatures.flaw``."""
        self.detail = detail

    def __str__(self) -> str:
        return (
            f"{self.package} is refused, its signature does not count ({self.flaw}): {self.detail}. "
            f'Upstream {self.source!r} is configured with signatures = "require".'
        )


class Stopping(ProxyError):
    """The proxy is about to end, perhaps to be started again."""

    def __str__(self) -> str:
        return "The proxy is stopping; ask again in a second."


class UnknownVersion(ProxyError):
    """The request is of a major version of HTTP that we do not speak."""

    def __str__(self) -> str:
        return "This server speaks HTTP/1.1 only."


class NotFound(_Said):
    """It authoritatively does not exist here."""


class MethodNotAllowed(ProxyError):
    """The route exists, but not for this method."""

    def __init__(self, method: str, allowed: tuple[str, ...]) -> None:
        super().__init__(method)
        self.method = method
        self.allowed = allowed

    def __str__(self) -> str:
        return f"{self.method} is not allowed here; use {' or '.join(self.allowed)}."


class WriteRefused(MethodNotAllowed):
    """The write is one that this feed does not take, by an operator's decision."""

    def __init__(self, method: str, why: str) -> None:
        super().__init__(method, ("GET", "HEAD"))
        self.why = why

    def __str__(self) -> str:
        return self.why


class UnknownHost(ProxyError):
    """The request names a host that this proxy was not told it is."""

    def __str__(self) -> str:
        return (
            "This proxy does not answer for the host name in the request. "
            "Set server.public_url, or list the name in server.allowed_hosts."
        )


class TooLarge(ProxyError):
    """A request body beyond the configured limit."""

    def __init__(self, what: str, limit: int) -> None:
        super().__init__(what)
        self.what = what
        self.limit = limit

    def __str__(self) -> str:
        return f"{self.what} is larger than the limit of {self.limit} bytes; the operator can raise it."


class Overloaded(ProxyError):
    """The proxy is at a limit of its own."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what

    def __str__(self) -> str:
        return f"Too many {self.what} at once; try again in a few seconds."


class UpstreamFailure(ProxyError):
    """An upstream gave no usable answer; never means that something does not exist.

    ``retry_after`` is in seconds, as upstream asked for or as the breaker will stay open. ``forwarded`` is why
    upstream was to be asked (``fwd`` of RFC 9211 section 2.2), empty if it was not.
    """

    def __init__(self, upstream: str, reason: Reason, detail: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(upstream, reason, detail)
        self.upstream = upstream
        self.reason = reason
        self.detail = detail
        self.retry_after = retry_after
        self.forwarded = "" if reason is Reason.OFFLINE else "uri-miss"
        self.of_host = False
        """Upstream says of itself that it is busy or out of service, whatever was asked for (429, 503)."""
        self.remembered = False
        """Upstream was not asked again: this is what it said to the last request for the same target."""
        self.of_write = False
        """No stored answer could have taken its place."""

    def __str__(self) -> str:
        detail = f": {self.detail.rstrip('.')}" if self.detail else ""
        stored = "" if self.of_write else ", and nothing usable is stored for this request"
        return f"Upstream {self.upstream!r} gave no usable answer ({self.reason}{detail}){stored}."


class UpstreamUnavailable(UpstreamFailure):
    """Upstream cannot be reached or is in trouble; it may pass."""


class OutOfResources(UpstreamUnavailable):
    """Upstream could not be asked: this process has no descriptor, memory or buffer left for it."""

    def __str__(self) -> str:
        return (
            f"This proxy could not ask upstream {self.upstream!r}: {self.detail}. That is its own limit, not the "
            "upstream's fault; raise its limit of open files (ulimit -n, LimitNOFILE) or of memory."
        )


class UpstreamRefused(UpstreamFailure):
    """Upstream answered, but with something that must not be passed on."""


class Denial(Struct, frozen=True):
    """A final no of an upstream: asking again does not help."""

    status: int
    """One of ``FINAL``, as upstream said it."""
    phrase: str
    """The reason phrase as upstream wrote it: what NuGet shows its user."""
    with_credentials: bool
    """Whether credentials of ours were asked with."""

    @property
    def reason(self) -> Reason:
        """The word for it in logs, metrics and ``Cache-Status``."""
        return Reason.AUTH if self.status in {401, 403} else Reason.STATUS


FINAL = frozenset({400, 401, 403, 451})


class UpstreamDenied(UpstreamRefused):
    """Upstream said a final no, which is passed on as it is; a 401 as a 403, since the credentials are ours."""

    def __init__(self, upstream: str, denial: Denial) -> None:
        super().__init__(upstream, denial.reason, f"status {denial.status}")
        self.denial = denial

    @property
    def status(self) -> int:
        """The status for the client."""
        return 403 if self.denial.status == 401 else self.denial.status

    @property
    def phrase(self) -> str:
        """The reason phrase for the client: the feed's own, where it says more than the status does."""
        said = self.denial.phrase
        usual = said.lower() in {"", HTTPStatus(self.denial.status).phrase.lower()}
        return str(self) if usual or self.denial.status == 401 else said

    def __str__(self) -> str:
        said = f"{self.denial.status} {self.denial.phrase}".strip()
        if self.denial.status != 401:
            return f"Upstream {self.upstream!r} refuses this ({said})."
        if self.denial.with_credentials:
            return (
                f"Upstream {self.upstream!r} does not accept the credentials that this proxy has for it ({said}). "
                f"Has its token expired? The proxy's operator must renew what upstreams.{self.upstream} refers to."
            )
        return (
            f"Upstream {self.upstream!r} asks for credentials, and this proxy has none for it ({said}); "
            f"its operator must set username and password (or headers) of upstreams.{self.upstream}."
        )


class StoreUnusable(ProxyError):
    """The cache directory cannot be used."""

    def __init__(self, directory: str, why: str, remedy: str) -> None:
        super().__init__(directory, why)
        self.directory = directory
        self.why = why
        self.remedy = remedy

    def __str__(self) -> str:
        return f"Cannot use the cache directory {self.directory}: {self.why}. {self.remedy}"


class ConfigError(ProxyError):
    """The configuration is wrong; one line per problem, each naming its key."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__(*problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(self.problems)


def upstream_failure(
    upstream: str, reason: Reason, detail: str = "", *, retry_after: float | None = None
) -> UpstreamFailure:
    """The exception for ``reason``: UpstreamUnavailable where it may pass, else UpstreamRefused."""
    if reason is Reason.EXHAUSTED:
        return OutOfResources(upstream, reason, detail)
    cls = UpstreamUnavailable if reason in TRANSIENT else UpstreamRefused
    return cls(upstream, reason, detail, retry_after=retry_after)
