"""Response is one answer whose body is still on its way."""

from __future__ import annotations

import asyncio
import html
import json
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from functools import lru_cache, partial
from typing import Any
from urllib.parse import quote

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDictProxy
from prometheus_client import Counter
from yarl import URL

from nugetproxy.caching.entry import Validators
from nugetproxy.clock import Clock
from nugetproxy.errors import Reason, UpstreamFailure
from nugetproxy.off_loop import off_loop
from nugetproxy.upstream.bulk import Bulk
from nugetproxy.upstream.coding import CODINGS
from nugetproxy.upstream.failures import Failures, MalformedBody, Progress
from nugetproxy.upstream.lines import Raw
from nugetproxy.upstream.pace import Pace
from nugetproxy.upstream.rings import rings
from nugetproxy.upstream.urls import without_query

DRAIN = 64 * 1024
DRAIN_WAIT = 1.0
WARNINGS, WARNING = 8, 1024
"""Most warnings of one answer that are kept, most characters of each."""


class Response:
    """aiohttp's response with our exceptions, within a deadline (of the event loop's time).

    Once that is lifted, ``silence`` (seconds) is the longest wait for the next piece.
    """

    def __init__(
        self,
        answer: Raw,
        url: URL,
        *,
        origin: str,
        deadline: float,
        silence: float,
        clock: Clock,
        failures: Failures,
        progress: Progress,
        received: Counter,
        hiding: Hiding,
    ) -> None:
        self._answer = answer
        self._origin = origin
        self._deadline: float | None = deadline
        self._silence = silence
        self._clock = clock
        self._failures = failures
        self._progress = progress
        self._received = received
        self._hiding = hiding
        self._pace = Pace()
        self._slow = False
        self._bulk: Bulk | None = None
        self._first = 0
        """Bytes of the first block."""
        self.url = without_query(url)
        self.status = answer.status
        self.on_arrival: Callable[[], None] = lambda: None
        protocol = answer.connection.protocol if answer.connection is not None else None
        self._lost = protocol.closed if protocol is not None else None
        if self._lost is not None:
            self._lost.add_done_callback(self._on_lost)
        elif protocol is not None:
            self._wake()

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        return self._answer.headers

    @property
    def reason(self) -> str:
        """The reason phrase, without our secrets."""
        return self._hiding.text(_readable(self._answer.reason or ""))

    @property
    def warnings(self) -> tuple[str, ...]:
        """The values of ``X-NuGet-Warning``, without our secrets."""
        said = self.headers.getall("X-NuGet-Warning", ())
        if not said:
            return ()
        return tuple(self._hiding.text(_readable(text))[:WARNING] for text in said[:WARNINGS] if text)

    @property
    def length(self) -> int | None:
        """Content-Length in bytes."""
        return self._answer.content_length

    @property
    def coding(self) -> str:
        """Those names in Content-Encoding, lower case, that are codings; empty for none.

        Stores replay what an upload said there ("aws-chunked", "binary", "utf-8", "none"), clients pass over it.
        """
        return ", ".join(name for name in self._codings() if name in CODINGS)

    @property
    def packed(self) -> bool:
        """Whether the outermost coding is one: .NET looks at no other, and a package says by its bytes what it is."""
        return not CODINGS.isdisjoint(self._codings()[-1:])

    def _codings(self) -> Sequence[str]:
        return _names(",".join(self.headers.getall("Content-Encoding", ())))

    @property
    def content_type(self) -> str:
        return _readable(self.headers.get("Content-Type", ""))

    @property
    def validators(self) -> Validators:
        """Those that can be kept and sent back."""
        return Validators(_sendable(self.headers.get("ETag")), _sendable(self.headers.get("Last-Modified")))

    def take_time(self) -> None:
        """From here on only silence or a snail's pace end the body: it is a long one."""
        self._deadline = None
        self.on_arrival()

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives, still coded. Raises UpstreamFailure."""
        while piece := await self._next():
            yield piece
            self._check_pace()

    async def blocks(self) -> AsyncIterator[bytes | memoryview]:
        """As ``chunks``, in large pieces with few copies; each is good until the next is asked for."""
        first = await self._next()
        self._first = len(first)
        self._bulk = bulk = Bulk.begin(
            self._answer, first, self._silence
        )  # now, as aiohttp goes on reading while it is looked at
        if bulk is None:
            if first:
                yield first
                self._check_pace()
            async for piece in self.chunks():
                yield piece
            return
        try:
            known = len(first)
            while not bulk.is_over:
                yield await self._next_of(bulk, known)
                known = 0
                self._check_pace()
        finally:
            self._bulk = None
            bulk.close()

    def keep(self) -> Callable[[], None] | None:
        """Have the last of the ``blocks`` stay good until the result is called; None where it cannot."""
        if self._bulk is not None:
            return self._bulk.keep()
        return partial(rings.lent_back, self._first) if rings.lend(self._first) else None

    async def read(self, limit: int) -> bytes:
        """The whole body, still coded. Raises UpstreamFailure, TOO_LARGE beyond ``limit`` bytes."""
        self.check_size(self.length, limit, "limits.document")
        if self._answer.content.is_eof():
            whole = self._rest()
            self.check_size(len(whole), limit, "limits.document")
            return whole
        pieces: list[bytes] = []
        size = 0
        while piece := await self._next():
            pieces.append(piece)
            size += len(piece)
            self.check_size(size, limit, "limits.document")
            self._check_pace()
        return pieces[0] if len(pieces) == 1 else await off_loop(size, b"".join, pieces)

    async def _next(self) -> bytes:
        """The next piece of the body, empty at its end."""
        content = self._answer.content
        return self._rest() if content.is_eof() else await self._timed(content.readany())

    def _rest(self) -> bytes:
        """What is left of a body that is here."""
        with self._failures.translating(self._origin, self._progress):
            piece = self._answer.content.read_nowait()
        self._received.inc(len(piece))
        return piece

    async def _timed(self, arriving: Coroutine[Any, Any, bytes]) -> bytes:
        """What arrives next of the body."""
        began = self._clock.monotonic()
        with self._failures.translating(self._origin, self._progress):
            async with asyncio.timeout_at(self._deadline or asyncio.get_running_loop().time() + self._silence):
                piece = await arriving
        self._note(began, len(piece))
        return piece

    async def _next_of(self, bulk: Bulk, known: int) -> memoryview:
        """The same of what comes past aiohttp; ``known`` bytes of it had arrived before."""
        began = self._clock.monotonic()
        with self._failures.translating(self._origin, self._progress):
            block = await bulk.next()
        self._note(began, len(block) - known)
        return block

    def _note(self, began: float, came: int) -> None:
        self._slow = self._pace.too_slow(self._clock.monotonic() - began, came)
        self._received.inc(came)

    def _check_pace(self) -> None:
        """Raises UpstreamFailure (SLOW) where what is still to come is not worth the wait."""
        if self._slow and not self._answer.content.is_eof():
            raise self._failures.make(Reason.SLOW, f"less than 1 KiB/s ({self._origin})")

    def check_size(self, size: int | None, limit: int, key: str) -> None:
        """Raises UpstreamFailure (TOO_LARGE) if ``size`` is known and beyond ``limit``, which ``key`` sets."""
        if size is not None and size > limit:
            raise self.refuse(Reason.TOO_LARGE, f"more than {limit} bytes, see {key}")

    def refuse(self, reason: Reason, detail: str) -> UpstreamFailure:
        """The failure that this response is."""
        return self._failures.make(reason, f"{detail} ({self._origin})")

    def count(self, reason: Reason) -> None:
        """Count a failure that this response is, for which somebody else finds words."""
        self._failures.count(reason)

    async def drain(self) -> None:
        """Read the rest of a body nobody wants, if it is short, so that the connection can be used again."""
        if self.length is None or self.length > DRAIN:
            return
        try:
            async with asyncio.timeout(DRAIN_WAIT):
                await self._answer.content.read()
        except (aiohttp.ClientError, HttpProcessingError, OSError):
            self.close()  # the status is known, and that was all that mattered

    def close(self) -> None:
        """Give the connection back if the body was read to its end, else end it."""
        if self._lost is not None:
            self._lost.remove_done_callback(self._on_lost)
        self._answer.close()

    def _on_lost(self, lost: asyncio.Future[None]) -> None:
        if not lost.cancelled():
            lost.exception()  # seen: the loop need not complain of it
        self._wake()

    def _wake(self) -> None:
        """The connection is gone; aiohttp tells the reader of a body so, except after a malformed chunk.

        Its time-out for silence ends with the connection, too: without this the reader would wait for ever.
        """
        content = self._answer.content
        if not content.is_eof() and content.exception() is None:
            content.set_exception(MalformedBody())


@lru_cache(maxsize=64)
def _names(said: str) -> tuple[str, ...]:
    """The words of a list that commas separate, in lower case."""
    return tuple(name.strip() for name in said.lower().split(",") if name.strip())


def _sendable(said: str | None) -> str | None:
    """``said`` unless it is no text that could be sent back."""
    return said if said is not None and _readable(said) == said else None


def _readable(said: str) -> str:
    """``said`` as text: for a byte that is no UTF-8 aiohttp puts half a surrogate pair, which nothing takes."""
    return said if said.isascii() else said.encode(errors="replace").decode()


HIDDEN = "[hidden]"
SHORTEST_SECRET = 4
"""Shorter ones would be found inside ordinary words."""


class Hiding:
    """Takes the secrets that we send to an upstream out of what it says.

    A page of an upstream that shows the request, as debug pages do, must not hand our secrets to its readers.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        spelled = {form for secret in secrets if len(secret) >= SHORTEST_SECRET for form in _spellings(secret)}
        ordered = sorted(spelled, key=len, reverse=True)
        self._text = re.compile("|".join(map(re.escape, ordered))) if ordered else None
        self._raw = re.compile(b"|".join(re.escape(form.encode()) for form in ordered)) if ordered else None

    def text(self, said: str) -> str:
        """``said`` without secrets."""
        return said if self._text is None else self._text.sub(HIDDEN, said)

    def raw(self, said: bytes) -> bytes:
        """``said``, in UTF-8 or a coding that agrees with it on ASCII, without secrets."""
        return said if self._raw is None else self._raw.sub(HIDDEN.encode(), said)


def _spellings(secret: str) -> set[str]:
    """As it is, then as pages, JSON and URLs write it."""
    as_json = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    return {
        secret,
        html.escape(secret),
        html.escape(secret, quote=False),
        quote(secret, safe=""),
        quote(secret),
        *as_json,
    }
