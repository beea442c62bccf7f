"""An answer is read from a response, within limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from typing import TypeVar

from nugetproxy.caching.entry import Answer, Validators
from nugetproxy.errors import Reason
from nugetproxy.upstream.answers import Download, Head
from nugetproxy.upstream.coding import Incomplete, TooLong, Undecodable, gunzip
from nugetproxy.upstream.questions import ranged
from nugetproxy.upstream.response import Response

_Piece = TypeVar("_Piece", bytes, bytes | memoryview)

CHANGED = 203
"""A proxy on the way has changed what was a 200 (RFC 9110 section 15.3.4): a document that is sound counts, as it does
for NuGet, a package does not."""
OFF_LOOP = 64 * 1024
"""Compressed bodies beyond this are decoded in a thread."""


async def read_answer(response: Response, validators: Validators, limit: int, threads: Executor) -> Answer:
    """A document of at most ``limit`` bytes, a 304, or any 4xx; large ones are decoded in ``threads``."""
    status = 200 if response.status == CHANGED else response.status
    if status == 304 and not validators:
        raise response.refuse(Reason.PROTOCOL, "status 304 to an unconditional request")
    if status not in {200, 304} and not 400 <= status < 500:
        raise response.refuse(Reason.STATUS, f"status {status}")
    _count_refusal(response)
    body = b""
    if status == 200:
        body = await _decoded(response, await response.read(limit), limit, threads)
    else:
        await response.drain()
    return Answer(
        status=status,
        body=body,
        content_type=response.content_type,
        validators=response.validators,
        url=response.url,
        phrase=response.reason if status >= 400 else "",
        warnings=response.warnings,
    )


def read_head(response: Response) -> Head:
    """What a HEAD says: 200 or any 4xx. Some say of everything that it has no bytes: nothing we ask for is empty."""
    if response.status != 200 and not 400 <= response.status < 500:
        raise response.refuse(Reason.STATUS, f"status {response.status}")
    _count_refusal(response)
    return Head(
        status=response.status,
        length=None if response.coding else response.length or None,
        validators=response.validators,
        content_type=response.content_type,
        url=response.url,
        phrase=response.reason,
        warnings=response.warnings,
    )


def read_package(response: Response, start: int, most: int) -> Download:
    """A package from byte ``start`` on, of at most ``most`` bytes in all, or that there is none; 416 where it is no
    longer than that (RFC 9110 section 15.5.17).
    """
    status = response.status
    if status in {404, 410} or (status == 416 and start):
        return Download(status=status, url=response.url, _chunks=_nothing, _blocks=_nothing)
    if status != 200 and not (status == 206 and start):
        raise response.refuse(Reason.STATUS, f"status {status}")
    if response.packed:
        raise response.refuse(Reason.PROTOCOL, "a content coding that was not asked for")
    begin, length, total = start, response.length, response.length
    if status == 206:
        length, total = ranged(response, start)
    else:
        begin = 0
    response.check_size(None if length is None else begin + length, most, "limits.package")
    response.take_time()

    async def measured(pieces: AsyncIterator[_Piece]) -> AsyncIterator[_Piece]:
        size = begin
        async for piece in pieces:
            size += len(piece)
            response.check_size(size, most, "limits.package")
            yield piece

    return Download(
        status=status,
        length=length,
        total=total,
        validators=response.validators,
        content_type=response.content_type,
        url=response.url,
        warnings=response.warnings,
        _chunks=lambda: measured(response.chunks()),
        _blocks=lambda: measured(response.blocks()),
        keep=response.keep,
    )


def _count_refusal(response: Response) -> None:
    if response.status in {401, 403}:
        response.count(Reason.AUTH)


async def _decoded(response: Response, body: bytes, limit: int, threads: Executor) -> bytes:
    coding = response.coding
    if not coding:
        return body
    if coding not in {"gzip", "x-gzip"}:
        raise response.refuse(Reason.PROTOCOL, "a content coding that was not asked for")
    try:
        if len(body) <= OFF_LOOP:
            return gunzip(body, limit)
        return await asyncio.get_running_loop().run_in_executor(threads, gunzip, body, limit)
    except TooLong as error:
        raise response.refuse(
            Reason.TOO_LARGE, f"more than {limit} bytes, see limits.document, or too tightly packed"
        ) from error
    except Incomplete as error:
        raise response.refuse(Reason.TRUNCATED, "the gzip stream ends early") from error
    except Undecodable as error:
        raise response.refuse(Reason.PROTOCOL, "not the gzip that it is said to be") from error


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield
