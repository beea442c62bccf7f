"""Asking is on whose behalf an upstream is asked, with how long that took."""

from __future__ import annotations

import re
import secrets
from contextvars import ContextVar
from time import perf_counter

from msgspec import Struct, field

LOOP = "CDN-Loop"
"""Names the proxies that a request has passed (RFC 8586): ``Via`` would say so, too, but servers of packages then send
them uncompressed."""
OWN = f"nugetproxy-{secrets.token_hex(8)}"
"""The name of this process in it."""
MOST_PASSED = 16
_NAME = re.compile(r"nugetproxy-[0-9a-f]{16}(?![^\s,;])")
MOST_WAITS = 64
"""Of one request; an aggregated search waits for several upstreams."""


class Asking(Struct):
    """One request of a client; tasks that it starts inherit it."""

    client: str = ""
    """Its address; empty for what is done unasked."""
    passed: str = ""
    """The proxies that its request has passed, as ``LOOP`` names them."""
    seconds: float = 0.0
    """Spent waiting for upstreams to answer."""
    began: float = field(default_factory=perf_counter)
    waits: list[tuple[float, float]] = field(default_factory=list)
    """Beginning and end of each such wait, by ``perf_counter``."""


_current: ContextVar[Asking | None] = ContextVar("asking", default=None)


def begin(client: str, passed: str = "") -> Asking:
    """From now on this task, with those that it starts, asks for ``client``."""
    asking = Asking(client, passed)
    _current.set(asking)
    return asking


def asking() -> Asking:
    """What this task asks for."""
    return _current.get() or Asking()


def passed_by(said: str) -> str:
    """The proxies of our kind that ``said``, the value of ``LOOP``, names: others are none of an upstream's business,
    whose own network might take them for a loop.
    """
    return ", ".join(_NAME.findall(said)[:MOST_PASSED]) if said else ""


def passing() -> str:
    """What ``LOOP`` says of a request that this task sends."""
    passed = asking().passed
    return f"{passed}, {OWN}" if passed else OWN


def waited(began: float) -> None:
    """An upstream was waited for since ``began`` (by ``perf_counter``)."""
    ended, one = perf_counter(), asking()
    one.seconds += ended - began
    if len(one.waits) < MOST_WAITS:
        one.waits.append((began, ended))
