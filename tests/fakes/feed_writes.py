"""Every write of the fake feed is a function of the feed, the request and the words of its path.

nuget.org puts its words into the reason phrase, which is all that clients show.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from aiohttp import BodyPartReader, MultipartReader, StreamReader
from aiohttp.base_protocol import BaseProtocol

from tests.fakes import feed_documents as documents
from tests.fakes.feed_packages import Held
from tests.fakes.origin import Script, Seen

if TYPE_CHECKING:
    from tests.fakes.feed import FakeFeed

NO_KEY = "An API key must be provided in the 'X-NuGet-ApiKey' header to use this service."
WRONG_KEY = "The specified API key is invalid, has expired, or does not have permission to access the package."
NO_PACKAGE = "A package with this id and version does not exist."
VERIFICATION_KEY = "a-verification-key"


class BadForm(ValueError):
    """The body is no form with a file in it."""


async def push(feed: FakeFeed, seen: Seen) -> Script:
    """PUT of a package."""
    held = await _pushed(feed, seen)
    if isinstance(held, Script):
        return held
    if feed.shelf.knows(held) and not feed.overwrite:
        return _said(feed, 409, f"The feed already contains package '{held.id}' and version '{held.normalized}'.")
    if feed.late:
        feed.shelf.defer(held)
    else:
        feed.shelf.publish(held)
    return _said(feed, 201)


async def push_symbols(feed: FakeFeed, seen: Seen) -> Script:
    """PUT of a symbol package, for which its package must be there."""
    held = await _pushed(feed, seen)
    if isinstance(held, Script):
        return held
    if not feed.shelf.knows(held):
        return _said(feed, 404, NO_PACKAGE)
    feed.symbols[held.lower, held.url_version] = held.content
    return _said(feed, 201)


def set_listed(feed: FakeFeed, seen: Seen, package_id: str, version: str) -> Script:
    """DELETE unlists, POST lists again."""
    if refused := _refused(feed, seen):
        return refused
    try:
        feed.set_listed(package_id, version, seen.method == "POST")
    except (KeyError, ValueError):
        return _said(feed, 404, NO_PACKAGE)
    return _said(feed, 200)


def deprecate(feed: FakeFeed, seen: Seen, package_id: str) -> Script:
    """PUT of deprecations, which are not kept."""
    if refused := _refused(feed, seen):
        return refused
    return _said(feed, 200) if package_id.lower() in feed.shelf.packages else _said(feed, 404, NO_PACKAGE)


def create_verification_key(feed: FakeFeed, seen: Seen, package_id: str, _version: str | None) -> Script:
    """POST for a key that a symbol server may verify."""
    if refused := _refused(feed, seen):
        return refused
    if package_id.lower() not in feed.shelf.packages:
        return _said(feed, 404, NO_PACKAGE)
    body = json.dumps({"Key": VERIFICATION_KEY, "Expires": "2024-01-02T00:00:00Z"}).encode()
    return Script(headers=[("Content-Type", "application/json")], body=body)


def verify_key(feed: FakeFeed, seen: Seen, package_id: str, _version: str | None) -> Script:
    """GET that says whether the key is valid."""
    if package_id.lower() not in feed.shelf.packages:
        return _said(feed, 404, NO_PACKAGE)
    valid = seen.headers.get("X-NuGet-ApiKey") in {VERIFICATION_KEY, feed.api_key}
    return _said(feed, 200) if valid else _said(feed, 403, WRONG_KEY)


def download(feed: FakeFeed, _seen: Seen, package_id: str, version: str | None) -> Script:
    """GET as the second version of the protocol downloads: a redirect to the flat container."""
    held = feed.shelf.packages.get(package_id.lower(), ())
    wanted = [package for package in held if version is None or package.url_version == version.lower()]
    if not wanted:
        return _said(feed, 404, NO_PACKAGE)
    return Script(status=302, headers=[("Location", documents.package_url(feed.url, wanted[-1]))])


async def _pushed(feed: FakeFeed, seen: Seen) -> Held | Script:
    if refused := _refused(feed, seen):
        return refused
    try:
        return feed.shelf.read(await first_part(seen))
    except ValueError as error:
        return _said(feed, 400, f"The package is invalid: {error}")


def _refused(feed: FakeFeed, seen: Seen) -> Script | None:
    key = seen.headers.get("X-NuGet-ApiKey")
    if not key:
        return _said(feed, 401, NO_KEY)
    return None if key == feed.api_key else _said(feed, 403, WRONG_KEY)


def _said(feed: FakeFeed, status: int, text: str | None = None) -> Script:
    warnings = [("X-NuGet-Warning", warning) for warning in feed.warnings]
    challenge = [("WWW-Authenticate", f'ApiKey realm="{documents.WEB}/"')] if status == 401 else []
    headers = [("Content-Type", "text/plain; charset=utf-8"), *warnings, *challenge]
    return Script(status=status, reason=text, headers=headers, body=(text or "").encode())


async def first_part(seen: Seen) -> bytes:
    """The first file of the request's multipart form; BadForm if there is none or the form has no end."""
    if not seen.headers.get("Content-Type", "").startswith("multipart/form-data"):
        raise BadForm("the body is not multipart/form-data")
    loop = asyncio.get_running_loop()
    stream = StreamReader(BaseProtocol(loop), limit=len(seen.body) + 1, loop=loop)
    stream.feed_data(seen.body)
    stream.feed_eof()
    try:
        form = MultipartReader(seen.headers, stream)
        part = await form.next()
        if not isinstance(part, BodyPartReader):
            raise BadForm("the form has no part")
        content = bytes(await part.read())
        while await form.next() is not None:
            pass
    except ValueError as error:
        raise BadForm(str(error)) from error
    return content
