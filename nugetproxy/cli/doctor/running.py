"""A running proxy is examined at its address, as its clients see it."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterable
from functools import partial
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPSHandler, OpenerDirector, ProxyHandler, Request, build_opener

from msgspec import DecodeError, Struct
from msgspec.json import decode

from nugetproxy.jobs.leaks import LeakWalk
from nugetproxy.jobs.proxy_client import Fetched

SECONDS = 60.0
"""For one answer; a proxy tries its upstream several times before it gives up."""
READY_SECONDS = 10.0
CONTENT = "v3/content/"
"""What the URL of our packages ends with."""


def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


_OWN_OPENER = build_opener(ProxyHandler({}), HTTPSHandler(context=_unverified()))
"""For the proxy of this machine by its address, which no certificate is for; nothing secret is sent or believed."""
_OPENER = build_opener(ProxyHandler({}))
"""Without retries or a breaker: what one address answers is no reason to ask another one less. The way to the proxy
leads through no other one."""


def complete_url(text: str) -> str:
    """The service index that a shortened URL means: ``host:5555``, ``http://host``, ``http://host/up/v3/``."""
    whole = text if "://" in text else f"http://{text}"
    parts = urlsplit(whole)
    path = parts.path.rstrip("/")
    if not path.endswith(".json"):
        path += "/index.json" if path.endswith("/v3") else "/v3/index.json"
    return parts._replace(path=path, fragment="").geturl()


async def running_walk(proxy: str, others: Iterable[str] = (), *, own: bool = False) -> list[tuple[str, LeakWalk]]:
    """A walk through the running proxy whose service index is ``proxy``, one for each of its ``others`` (feeds).

    ``own``: it is that of this machine.
    """
    root = _root(proxy.rpartition("/")[0] + "/")
    addresses = [proxy, *(f"{root}{name}/v3/index.json" for name in others)]
    return [await _walk(address, _OWN_OPENER if own else _OPENER) for address in addresses]


async def _walk(proxy: str, opener: OpenerDirector) -> tuple[str, LeakWalk]:
    asked, get = proxy.rpartition("/")[0] + "/", partial(asyncio.to_thread, partial(_get, opener=opener))
    published = _published_base((await get(proxy)).document, asked)

    async def fetch(url: str, headers_only: bool) -> Fetched:
        inner = _root(asked) + url.removeprefix(_root(published)) if url.startswith(_root(published)) else url
        return await get(inner, "HEAD" if headers_only else "GET")

    name = proxy if published == asked else f"{proxy}, which calls itself {published}index.json,"
    return name, LeakWalk(fetch, root=_root(published), base=published)


class Readiness(Struct, frozen=True, kw_only=True):
    """What a proxy says of itself at ``/health/ready``."""

    ready: bool
    reasons: tuple[str, ...]
    """Why it is not."""
    problems: tuple[str, ...] = ()
    """What an operator must know of all the same."""


def readiness(root: str) -> Readiness | None:
    """What the proxy below ``root`` (with a slash at its end) says of itself; None where none answers."""
    got = _get(f"{root}health/ready", seconds=READY_SECONDS, opener=_OWN_OPENER)
    try:
        return decode(got.body, type=Readiness)
    except DecodeError:
        return None


def wants_token(root: str) -> bool:
    """Whether the feed below ``root``, of this machine's own proxy, is for those who show a token."""
    return _get(f"{root}v3/index.json", "HEAD", seconds=READY_SECONDS, opener=_OWN_OPENER).status == 401


def _get(url: str, method: str = "GET", *, seconds: float = SECONDS, opener: OpenerDirector = _OPENER) -> Fetched:
    try:
        with opener.open(Request(url, method=method), timeout=seconds) as answer:  # noqa: S310 - http(s) by its walk
            return Fetched(answer.status, answer.headers.get("Content-Type", ""), answer.read())
    except HTTPError as refusal:
        with refusal:
            return Fetched(refusal.code, refusal.headers.get("Content-Type", ""), refusal.read())
    except (OSError, HTTPException, ValueError) as trouble:
        return Fetched(0, failure=_told(trouble))


def _told(trouble: Exception) -> str:
    """Why nobody answered, in words."""
    cause = trouble.reason if isinstance(trouble, URLError) and isinstance(trouble.reason, Exception) else trouble
    if isinstance(cause, ConnectionRefusedError):
        return "the connection was refused"
    if isinstance(cause, socket.gaierror):
        return "its host name does not resolve"
    if isinstance(cause, TimeoutError):
        return "it does not answer in time"
    return str(cause) or type(cause).__name__


def _published_base(index: Any, asked: str) -> str:
    """Up to ``/v3/``, the URL by which a proxy of ours tells its clients to call it; ``asked`` for anything else."""
    rows = index.get("resources", ()) if isinstance(index, dict) else ()
    urls = [str(row.get("@id", "")) for row in rows if isinstance(row, dict)]
    bases = [url.removesuffix("content/") for url in urls if url.endswith(f"/{CONTENT}")]
    return next((base for base in bases if 2 * sum(url.startswith(base) for url in urls) > len(urls)), asked)


def _root(base: str) -> str:
    return base.removesuffix("v3/")
