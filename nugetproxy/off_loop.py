"""Work on bytes is done in a thread where there are many, so that the event loop goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")

LARGE = 64 * 1024
"""Bytes that are parsed or hashed in about a millisecond: a job for a thread costs a tenth of that."""


async def off_loop(size: int, work: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """What ``work`` returns: called at once for up to ``LARGE`` bytes, else in a thread."""
    if size <= LARGE:
        return work(*args, **kwargs)
    return await asyncio.to_thread(work, *args, **kwargs)
