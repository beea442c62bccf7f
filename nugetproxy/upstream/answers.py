"""What an upstream answered, for each way of asking."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Final

from msgspec import Struct
from multidict import CIMultiDictProxy

from nugetproxy.caching.entry import NO_VALIDATORS, Validators

PAGE: Final = "the answer is a page of HTML"
"""What is wrong with one for which ``is_page`` holds."""


def is_page(content_type: str) -> bool:
    """Whether an answer says of itself that it is HTML: a login page, an error. Nothing that we ask for is."""
    return content_type.lower().startswith("text/html")


class Head(Struct, frozen=True, kw_only=True):
    """The answer to a HEAD."""

    status: int
    """200, 404, 410 or another 4xx."""
    length: int | None = None
    """Content-Length in bytes, if stated for the identity coding."""
    validators: Validators = NO_VALIDATORS
    content_type: str = ""
    url: str = ""
    """After redirects, without query."""
    phrase: str = ""
    """The reason phrase of the status."""
    warnings: tuple[str, ...] = ()
    """The values of ``X-NuGet-Warning``."""
    shared: bool = False
    """Not upstream's, but said by the bucket that replicas share."""


class Download(Struct, frozen=True, kw_only=True):
    """A body that is still arriving; valid inside ``async with client.download(...)`` only."""

    status: int
    """200 (the whole file), 206 (from the ``start`` that was asked for to the end), 404 or 410 (no body)."""
    length: int | None = None
    """Bytes of this very body; None if upstream did not say, so a cut cannot be seen."""
    total: int | None = None
    """Bytes of the whole file; None if upstream did not say."""
    validators: Validators = NO_VALIDATORS
    content_type: str = ""
    url: str = ""
    """After redirects, without query."""
    warnings: tuple[str, ...] = ()
    """The values of ``X-NuGet-Warning``."""
    _chunks: Callable[[], AsyncIterator[bytes]]
    _blocks: Callable[[], AsyncIterator[bytes | memoryview]]
    keep: Callable[[], Callable[[], None] | None] = lambda: None
    """Has the last of the ``blocks`` stay good until the result is called; None where it cannot."""

    def chunks(self) -> AsyncIterator[bytes]:
        """The body in pieces as they arrive, once.

        Raises UpstreamFailure (TRUNCATED, RESET, STALL, SLOW, TOO_LARGE, PROTOCOL) in the midst of it.
        """
        return self._chunks()

    def blocks(self) -> AsyncIterator[bytes | memoryview]:
        """As ``chunks``, in large pieces with few copies; each is good until the next is asked for."""
        return self._blocks()


@dataclass(frozen=True, slots=True)
class Sent:
    """Upstream's own answer to a write."""

    status: int
    reason: str
    headers: CIMultiDictProxy[str] = field(repr=False)
    body: bytes = b""
    """At most 64 KiB of it; any content coding removed."""
    moved: str = ""
    """Where it is to be sent instead, by whoever still has the body; empty unless that was all that was said."""
