"""Downloads are reads by way of the publish address, as the second version of the protocol has them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from msgspec.structs import replace

from nugetproxy.errors import NotFound
from nugetproxy.feeds.feed import Feed
from nugetproxy.feeds.reply import Reply, View
from nugetproxy.nuget.documents.render import newest_version, registration_pages
from nugetproxy.nuget.operations import operation
from nugetproxy.nuget.resources import HIVES
from nugetproxy.nuget.routes import Route, parse_route

NO_PACKAGE = "There is no such package; it is asked for as package/{id}/{version}."


def is_download(method: str, route: Route) -> bool:
    """Whether ``method`` at ``route`` reads a package through a write resource."""
    wanted = operation(method, route) if route.write else None
    return wanted is not None and wanted.name == "download"


async def downloaded(feed: Feed, route: Route, view: View) -> Route:
    """Where the package is that ``route`` names by id and version, or by its id alone: then the newest one.

    The newest is the newest listed release, else the newest listed prerelease, else the newest of all, as in the
    gallery. Raises NotFound, and UpstreamFailure where it cannot be told.
    """
    version = route.version
    if route.id and "/" not in route.rest:
        version = await _newest(feed, route.id, replace(view, gzip=False, head=False))
    found = parse_route(f"content/{_encoded(route)}/{version}/{_encoded(route)}.{version}.nupkg") if version else None
    if found is None:
        raise NotFound(NO_PACKAGE)
    return found


def _encoded(route: Route) -> str:
    """The id as the client spelled it, percent-encoded."""
    return route.rest.partition("/")[0]


async def _newest(feed: Feed, id: str, view: View) -> str:
    """In URL form; empty where nothing is known of the package."""
    for hive in HIVES:
        route = parse_route(f"{hive}/{id}/index.json") if await feed.offers(hive) else None
        if route is not None:
            documents = [document async for document in _registration(feed, route, view)]
            return newest_version(documents)
    return ""


async def _registration(feed: Feed, route: Route, view: View) -> AsyncIterator[bytes]:
    """The registration index as the client would see it, then its pages."""
    index = await _body(await feed.read(route, "", view))
    if index is None:
        return
    yield index
    for page in registration_pages(index, f"{view.base}{route.resource}/{route.rest}"):
        at = parse_route(page.url.removeprefix(view.base))
        body = await _body(await feed.read(at, "", view)) if at is not None else None
        if body is not None:
            yield body


async def _body(reply: Reply) -> bytes | None:
    body: Any = reply.body
    return body if reply.status == 200 and isinstance(body, bytes) else None
