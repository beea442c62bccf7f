"""Work on bytes is done elsewhere where there are many, so that the event loop goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from nugetproxy.off_loop.child import Child
from nugetproxy.off_loop.values import NoPlainValue, Packed, pack_call

_P = ParamSpec("_P")
_T = TypeVar("_T")

LARGE = 64 * 1024
"""Bytes that are parsed or hashed in about a millisecond: a job for a thread costs a tenth of that."""
HEAVY = 2 * 2**20
"""Bytes that are parsed in some 10 ms, during which no other thread runs: a job for a child costs about that."""

CHILD = Child()
"""The one of this process, whatever event loop it runs: large documents are worked on one at a time."""


async def off_loop(size: int, work: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """What ``work`` returns: called at once for up to ``LARGE`` bytes, else in a thread.

    Beyond ``HEAVY`` bytes a function of ``nuget/`` is called in a child process, as it would hold Python's lock; give
    it one that takes and returns bytes and other plain values (see ``values``), and not many of them beside the bytes.
    What releases the lock (hashing, compression) is at home in a thread. Raises what ``work`` does; WorkLost where the
    child does not come to an end.
    """
    if size <= LARGE:
        return work(*args, **kwargs)
    call = _fit_for_a_child(work, args, kwargs) if size > HEAVY else None
    if call is None:
        return await asyncio.to_thread(work, *args, **kwargs)
    found: _T = await CHILD.run(call)
    return found


def _fit_for_a_child(work: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Packed | None:
    try:
        return pack_call(work, args, kwargs)
    except NoPlainValue:
        return None
