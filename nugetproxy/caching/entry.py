"""Entry is the record of one stored response."""

from __future__ import annotations

import hashlib
from typing import Self

from msgspec import Struct
from msgspec.structs import force_setattr

from nugetproxy.errors import Denial, Reason, UpstreamDenied, UpstreamFailure, upstream_failure


class Validators(Struct, frozen=True):
    """ETag and Last-Modified exactly as upstream gave them (RFC 9110 section 8.8)."""

    etag: str | None = None
    last_modified: str | None = None

    def __bool__(self) -> bool:
        return self.etag is not None or self.last_modified is not None


NO_VALIDATORS = Validators()


class Entry(Struct, frozen=True, kw_only=True):
    """What is known of a stored response; its body lies beside it."""

    status: int
    """200, or 404 for something that upstream said does not exist (body empty)."""
    stored_at: float
    """When upstream last confirmed it, wall time in seconds since the epoch."""
    digest: str
    """SHA-256 of the stored body, lower-case hex."""
    validators: Validators = NO_VALIDATORS
    content_type: str = ""
    """As upstream said it, without interpretation."""
    url: str = ""
    """Where the body came from after redirects, without query: the base of relative URLs in it."""
    warnings: tuple[str, ...] = ()
    """What upstream had to say to whoever reads it (``X-NuGet-Warning``)."""

    absent: bool = False
    """True when upstream said 404; follows from ``status``."""

    def __post_init__(self) -> None:
        force_setattr(self, "absent", self.status != 200)  # asked for six times for each hit

    @staticmethod
    def of(status: int, body: bytes, *, stored_at: float) -> Entry:
        """The entry of a body that did not come from upstream."""
        return Entry(status=status, stored_at=stored_at, digest=hashlib.sha256(body).hexdigest())


class Answer(Struct, frozen=True, kw_only=True):
    """What upstream said to one GET, its body whole and with any content coding removed."""

    status: int
    body: bytes = b""
    content_type: str = ""
    validators: Validators = NO_VALIDATORS
    url: str = ""
    """After redirects, without query."""
    phrase: str = ""
    """The reason phrase of a status that is neither 200 nor 304."""
    warnings: tuple[str, ...] = ()
    """The values of ``X-NuGet-Warning``."""


class Failure(Struct, frozen=True):
    """That upstream gave no usable answer, in one word."""

    reason: Reason
    detail: str = ""
    retry_after: float | None = None
    denial: Denial | None = None
    """Where it was a final no."""

    @classmethod
    def of(cls, failure: UpstreamFailure) -> Self:
        """The value of an exception."""
        denial = failure.denial if isinstance(failure, UpstreamDenied) else None
        return cls(failure.reason, failure.detail, failure.retry_after, denial)

    def exception(self, upstream: str) -> UpstreamFailure:
        """What to raise of it."""
        if self.denial is not None:
            return UpstreamDenied(upstream, self.denial)
        return upstream_failure(upstream, self.reason, self.detail, retry_after=self.retry_after)
