"""Cuts are the documents of a feed without the versions that its rules hide."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from typing import Final

from cachetools import LRUCache
from msgspec.structs import replace

from nugetproxy.errors import Reason, UpstreamFailure, upstream_failure
from nugetproxy.feeds.asked import Asked, Cut, Inner, body_of, page_of_reply
from nugetproxy.feeds.cut_searches import CutSearches, rulings_of
from nugetproxy.feeds.judge import Judge, Ruling
from nugetproxy.feeds.rendering import Page, Rendering
from nugetproxy.feeds.reply import Reply, View
from nugetproxy.feeds.source_answer import SourceFailed
from nugetproxy.nuget.documents import filtered
from nugetproxy.nuget.documents.filtered import Form, Named, Registered
from nugetproxy.nuget.documents.render import Rendered, registration_pages
from nugetproxy.nuget.documents.statements import seconds
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.merging.search import window_of
from nugetproxy.nuget.routes import LINK, Route, parse_route
from nugetproxy.nuget.synthesis.search_query import SearchQuery
from nugetproxy.nuget.version import Version
from nugetproxy.off_loop import off_loop

Read = Callable[[bytes], Registered]
CutOut = Callable[[bytes, frozenset[str]], bytes | None]
UNDATED: Final = "Without the dates of its versions it is not known which of them are left."
READ: Final = 2048
"""Documents of which it is remembered what they name."""


class Cuts:
    """Those of one feed."""

    def __init__(self, judge: Judge, inner: Inner, rendering: Rendering) -> None:
        self._judge = judge
        self._inner = inner
        self._rendering = rendering
        self._searches = CutSearches(judge, inner, rendering)
        self._read: LRUCache[Hashable, Registered] = LRUCache(READ)
        self._refs: LRUCache[Hashable, tuple[str, ...]] = LRUCache(READ)
        registration = self._registration
        self._cut: Mapping[Kind, Callable[[Asked], Awaitable[Cut]]] = {
            Kind.VERSIONS: self._versions,
            Kind.REGISTRATION: registration,
            Kind.REGISTRATION_PAGE: registration,
            Kind.REGISTRATION_LEAF: registration,
            Kind.SEARCH: self._search,
            Kind.AUTOCOMPLETE: self._search,
            Kind.CATALOG_PAGE: self._catalog,
            Kind.CATALOG_LEAF: self._catalog,
        }

    async def read(self, route: Route, query: str, view: View) -> Cut:
        """The answer to one question, without gzip; ``view`` is a plain one."""
        windowed = route.kind is Kind.SEARCH or (route.kind is Kind.AUTOCOMPLETE and not SearchQuery.parse(query).id)
        reply = await self._inner(route, window_of(query).query if windowed else query, view)
        cut = self._cut.get(reply.kind)
        if cut is None or reply.status != 200 or not isinstance(reply.body, bytes):
            return Cut(reply=reply, page=page_of_reply(reply))
        return await cut(Asked(route=route, query=query, view=view, reply=reply, body=reply.body))

    # --- version lists ---

    async def _versions(self, asked: Asked) -> Cut:
        return await self._listed(asked, asked.route.id, filtered.listed, filtered.without_versions)

    async def _listed(self, asked: Asked, id_: str, read: Read, cut: CutOut) -> Cut:
        """A document that names versions of one id."""
        ruling = self._judge.known(id_) or await self._judge.ruling(id_)
        if ruling.leaves_whole(asked.etag):
            return Cut(reply=asked.reply, page=asked.page, rulings=(ruling,), lasting=True)
        versions = [one.version for one in (await self._names(asked.etag, read, asked.body)).named]
        if ruling.leaves_whole(asked.etag) is None:
            ruling = await self._judge.ruling(id_, named=versions, because=asked.etag)
            if ruling.look_at(asked.etag, versions):
                return Cut(reply=asked.reply, page=asked.page, rulings=(ruling,), lasting=True)

        self.check_certain(ruling, versions)

        async def make() -> Rendered:
            body = await off_loop(2 * len(asked.body), cut, asked.body, _shown(ruling, versions))
            return Rendered(body or b"", empty=body is None)

        page = await self._rendering.merged(asked.place, (asked.etag, ruling.digest), [asked.body], make)
        return self._left(asked, page, ruling, versions, lasting=True)

    def _left(self, asked: Asked, page: Page, ruling: Ruling, versions: Iterable[Version], *, lasting: bool) -> Cut:
        if not page.empty:
            return Cut(reply=asked.reply, page=page, rulings=(ruling,), lasting=lasting)
        newest = max(versions, default=None)
        sentence = ruling.of(newest).sentence(self._judge.feed, f"{ruling.id} {newest}") if newest is not None else ""
        why = f"No version of {ruling.id} passes the rules of the feed {self._judge.feed!r}. {sentence}".rstrip()
        return Cut(reply=asked.reply, rulings=(ruling,), why=why)

    def check_certain(self, ruling: Ruling, versions: Sequence[Version]) -> None:
        """Raise SourceFailed where a version is not left because nobody could be asked since when it exists.

        Of now, others may be left without it: what nobody dates is too young. Nothing left would be a 404, though.
        """
        failure = ruling.dossier.failure if ruling.dossier is not None else None
        if failure is None or not any(map(ruling.lacks_date, versions)):
            return
        if self._judge.horizon is None and any(ruling.of(version).visible for version in versions):
            return
        raise SourceFailed(self._judge.feed, failure, UNDATED) if isinstance(failure, UpstreamFailure) else failure

    # --- registrations ---

    async def _registration(self, asked: Asked) -> Cut:
        named = await self._names(asked.etag, filtered.registered, asked.body)
        id_ = asked.route.id or next((one.id for one in named.named if one.id), "")
        if named.form is Form.INDEX:
            return await self._index(asked, id_, named)
        if named.form is Form.LEAF:
            return await self._leaf(asked, id_, named.named)
        return await self._listed(asked, id_, filtered.registered, filtered.page_without_versions)

    async def _leaf(self, asked: Asked, id_: str, named: Sequence[Named]) -> Cut:
        """A leaf that a link led to; others are asked for by id and version."""
        whole = Cut(reply=asked.reply, page=asked.page)
        if not named or not id_:
            return whole
        version = named[0].version
        ruling = await self._judge.ruling(id_, named=(version,), because=asked.etag)
        verdict = ruling.of(version)
        return replace(whole, rulings=(ruling,), denied=None if verdict.visible else (id_, version, verdict))

    async def _index(self, asked: Asked, id_: str, named: Registered) -> Cut:
        """What an index says of its pages is what they say themselves."""
        pages = {url: await self._page(url, asked.view) for url in await self._pages(asked)}
        document = (asked.etag, *(reply.etag for reply in pages.values()))
        versions = [one.version for one in named.named]
        for reply in pages.values():
            found = await self._names(reply.etag or "", filtered.registered, body_of(reply))
            versions += [one.version for one in found.named]
            id_ = id_ or next((one.id for one in found.named if one.id), "")
        ruling = await self._judge.ruling(id_)
        if ruling.leaves_whole(document) is None:
            ruling = await self._judge.ruling(id_, named=versions, because=document)
            ruling.look_at(document, versions)
        if ruling.leaves_whole(document):
            return Cut(reply=asked.reply, page=asked.page, rulings=(ruling,), lasting=not pages)
        self.check_certain(ruling, versions)

        async def make() -> Rendered:
            shown = _shown(ruling, versions)
            bodies = {
                url: await off_loop(2 * len(body_of(reply)), filtered.page_without_versions, body_of(reply), shown)
                for url, reply in pages.items()
            }
            body = await off_loop(2 * len(asked.body), filtered.index_without_versions, asked.body, bodies, shown)
            return Rendered(body or b"", empty=body is None)

        made_of = (*document, ruling.digest)
        page = await self._rendering.merged(asked.place, made_of, [asked.body], make)
        return self._left(asked, page, ruling, versions, lasting=not pages)

    async def _pages(self, asked: Asked) -> tuple[str, ...]:
        """Where the pages are that an index does not hold itself."""
        root = "x" if asked.route.resource == LINK else asked.route.resource
        at = f"{asked.view.base}{root}/{asked.route.rest}"
        known: tuple[str, ...] | None = self._refs.get((asked.etag, at))
        if known is None:
            refs = await off_loop(len(asked.body), registration_pages, asked.body, at)
            known = self._refs[asked.etag, at] = tuple(ref.url for ref in refs)
        return known

    async def _page(self, url: str, view: View) -> Reply:
        route = parse_route(url.removeprefix(view.base))
        reply = await self._inner(route, "", view) if route is not None else None
        if reply is None or reply.status != 200 or not isinstance(reply.body, bytes):
            raise upstream_failure(self._judge.feed, Reason.GONE, "a registration names a page that is not there")
        return reply

    # --- searches ---

    async def _search(self, asked: Asked) -> Cut:
        query = SearchQuery.parse(asked.query)
        if query.id and asked.reply.kind is Kind.AUTOCOMPLETE:
            return await self._listed(asked, query.id, filtered.listed, filtered.completed_without_versions)
        return await self._searches.read(asked, query)

    # --- the catalog ---

    async def _catalog(self, asked: Asked) -> Cut:
        leaf = filtered.catalog_leaf(asked.body)
        if leaf is not None:
            return await self._leaf(asked, leaf.id, (leaf,))
        if asked.reply.kind is Kind.CATALOG_LEAF:  # what it says to be deleted, or nothing of a package
            return Cut(reply=asked.reply, page=asked.page)
        named = await off_loop(len(asked.body), filtered.catalogued, asked.body)
        open_: dict[str, list[Version]] = {}
        for one in named:
            if not self._judge.lets_pass(one.id, one.version, seconds(one.at_latest)):
                open_.setdefault(one.id, []).append(one.version)
        rulings = await rulings_of(self._judge, open_, asked.etag)

        def exists(id_: str, version: Version) -> bool:
            return id_ not in rulings or version not in open_[id_] or rulings[id_].of(version).visible

        async def make() -> Rendered:
            return Rendered(filtered.catalog_without_versions(asked.body, exists))

        digests = tuple((id_, ruling.digest) for id_, ruling in rulings.items())
        page = await self._rendering.merged(asked.place, (asked.etag, digests), [asked.body], make)
        return Cut(reply=asked.reply, page=page, rulings=tuple(rulings.values()))

    async def _names(self, etag: str, read: Read, body: bytes) -> Registered:
        """What a document names, read once per content."""
        known: Registered | None = self._read.get((etag, read))
        if known is None:
            known = self._read[etag, read] = await off_loop(len(body), read, body)
        return known


def _shown(ruling: Ruling, versions: Iterable[Version]) -> frozenset[str]:
    return frozenset(version.url for version in versions if ruling.of(version).visible)
