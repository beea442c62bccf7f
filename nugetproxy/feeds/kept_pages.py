"""KeptPages are large rendered documents on disk, so that none is rendered again while nothing of it changes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import orjson
from msgspec import Struct

from nugetproxy.caching.entry import Entry
from nugetproxy.caching.policy import DAY
from nugetproxy.clock import Clock
from nugetproxy.nuget.documents.render import Link
from nugetproxy.nuget.kinds import Kind
from nugetproxy.off_loop import off_loop
from nugetproxy.off_loop.copies import part_of
from nugetproxy.store.documents.documents import Documents, of_kind

KEPT = 30 * DAY
"""Long before their links are forgotten, which are noted anew by each rendering."""
TAG = of_kind("rendered")
_LENGTH = 8


class KeptPage(Struct, frozen=True, kw_only=True):
    """One rendered document with its gzip coding."""

    body: bytes
    etag: str
    packed: bytes
    links: tuple[Link, ...]
    empty: bool


class KeptPages:
    """One page for each place, beside the documents that it was made of; a cache as they are."""

    def __init__(self, documents: Documents, clock: Clock) -> None:
        self._documents = documents
        self._clock = clock

    async def get(self, place: Iterable[str], made_of: str) -> KeptPage | None:
        """What was kept for ``place``, if it was made of this: of this content, by these rules."""
        stored = await self._documents.get(_key(place))
        if stored is None or stored.entry.digest != made_of:
            return None
        return await off_loop(len(stored.body), _unpack, stored.body)

    async def put(self, place: Iterable[str], made_of: str, page: KeptPage) -> None:
        """Keep ``page`` instead of what was made for ``place`` before."""
        value = await off_loop(len(page.body), _pack, page)
        entry = Entry(status=200, stored_at=self._clock.now(), digest=made_of)
        await self._documents.put(_key(place), entry, value, tag=TAG, expire=KEPT)


def digest_of(parts: Iterable[object]) -> str:
    """What stands for all of ``parts``."""
    return hashlib.blake2b(orjson.dumps([str(part) for part in parts]), digest_size=20).hexdigest()


def _key(place: Iterable[str]) -> str:
    return f"rendered:{digest_of(place)}"


def _pack(page: KeptPage) -> bytes:
    """Length of the head, head, plain body, packed body."""
    links = [(link.token, link.kind, link.url) for link in page.links]
    head = orjson.dumps({"size": len(page.body), "etag": page.etag, "links": links, "empty": page.empty})
    return b"".join((len(head).to_bytes(_LENGTH, "big"), head, page.body, page.packed))


def _unpack(value: bytes) -> KeptPage:
    """Of what the store has found undamaged."""
    begin = _LENGTH + int.from_bytes(value[:_LENGTH], "big")
    head = orjson.loads(value[_LENGTH:begin])
    end = begin + head["size"]
    links = tuple(Link(token, Kind(kind), url) for token, kind, url in head["links"])
    body, packed = part_of(value, begin, end), part_of(value, end)
    return KeptPage(body=body, etag=head["etag"], packed=packed, links=links, empty=head["empty"])
