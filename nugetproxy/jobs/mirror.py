"""Mirroring fetches packages by the patterns of their ids, then keeps them current by the catalog."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

import orjson
import structlog
from msgspec import Struct, to_builtins

from nugetproxy.errors import NotFound, ProxyError
from nugetproxy.jobs.catalog_cursor import CatalogReader, Cursor
from nugetproxy.jobs.progress import Progress, Unseen
from nugetproxy.jobs.proxy_client import ProxyClient
from nugetproxy.jobs.wants import Missing, Wants
from nugetproxy.jobs.warm import Warming
from nugetproxy.nuget.documents.exact_json import InvalidDocument
from nugetproxy.nuget.documents.statements import seconds, statements
from nugetproxy.nuget.documents.total_hits import total_hits
from nugetproxy.nuget.documents.version_list import listed_versions
from nugetproxy.nuget.identity import PackageId, PackageIdentity, Version
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.mapping import Rule
from nugetproxy.nuget.merging.search import MAX_TAKE
from nugetproxy.nuget.nuspec import Dependency
from nugetproxy.nuget.projects.needs import Graph
from nugetproxy.nuget.resources import GZ_SEMVER2

log = structlog.get_logger(__name__)

ROUND_SECONDS: Final = 60.0
TRIES: Final = 60
"""Rounds in which what could not be had is tried again, before the cursor moves on without it."""
LOOK_ROUNDS: Final = 1440
"""After so many everything is looked through again where rules hide versions, from the catalog too, until they pass."""
PAGE: Final = 100
"""Ids in one answer of a search."""
DEEPEST: Final = 3000
"""How far nuget.org lets a search be paged."""


class Selection(Struct, frozen=True, kw_only=True):
    """Which ids, which of their versions."""

    patterns: tuple[str, ...]
    """Ids, or prefixes as in ``Contoso.*``."""
    latest: int = 0
    """So many of the highest versions; 0 for all."""
    since: float | None = None
    """Published from this time on, in seconds since the epoch."""
    prerelease: bool = False
    unlisted: bool = False
    dependencies: bool = True

    def digest(self) -> str:
        """The same for the same selection only."""
        return sha256(orjson.dumps(to_builtins(self), option=orjson.OPT_SORT_KEYS)).hexdigest()

    def names(self, id_: str) -> bool:
        """Whether a pattern matches an id (lower case)."""
        rules = (Rule(pattern, ()) for pattern in self.patterns)
        return any(id_.startswith(rule.prefix) if rule.is_prefix else id_ == rule.prefix for rule in rules)


class Offer(Struct, frozen=True):
    """One version as its feed tells of it."""

    version: Version
    listed: bool = True
    published: float | None = None


def select(offers: Iterable[Offer], wish: Selection) -> tuple[Version, ...]:
    """The wanted versions, highest first."""
    fit = [
        one.version
        for one in offers
        if (one.listed or wish.unlisted)
        and (wish.prerelease or not one.version.is_prerelease)
        and (wish.since is None or (one.published is not None and one.published >= wish.since))
    ]
    ordered = sorted(set(fit), reverse=True)
    return tuple(ordered[: wish.latest] if wish.latest else ordered)


class Mirrored(Struct, frozen=True, kw_only=True):
    """What became of one id, or of all of them together."""

    id: str = ""
    versions: int = 0
    """That were wanted, without what they need."""
    fetched: int = 0
    """Packages; in a dry run those that would be."""
    size: int = 0
    held: int = 0
    missing: tuple[Missing, ...] = ()
    denied: tuple[Missing, ...] = ()
    """Versions that a rule of the feed denies, with its sentence."""

    def __add__(self, other: Mirrored) -> Mirrored:
        return Mirrored(
            versions=self.versions + other.versions,
            fetched=self.fetched + other.fetched,
            size=self.size + other.size,
            held=self.held + other.held,
            missing=(*self.missing, *other.missing),
            denied=(*self.denied, *other.denied),
        )


Done = Callable[[Mirrored], None]
Sleep = Callable[[float], Awaitable[None]]


class Mirroring:
    """One job; what it has fetched stays, so that after a kill at any point the next one goes on."""

    def __init__(
        self, proxy: ProxyClient, wish: Selection, *, feed: str = "", progress: Progress | None = None
    ) -> None:
        """``feed`` is the published feed that is read, the first one where it is empty."""
        self._proxy = proxy
        self._wish = wish
        self._feed = feed
        self._base = f"{quote(feed)}/v3/" if feed else "v3/"
        self._progress = progress or Unseen()
        self._known: set[str] = set()
        """Ids of which the feed has something, be it denied by its rules."""
        self._ruled = True  # as far as is known

    async def run(self, done: Done, *, dry: bool = False) -> Mirrored:
        """All ids that the patterns match now, one after the other; ``done`` is told of each. Raises ProxyError.

        A pattern that matches nothing of the feed is missing: it may be misspelt.
        """
        total = await self._each([id_ async for id_ in self.ids()], done, dry=dry)
        patterns = (
            pattern
            for pattern in self._wish.patterns
            if not any(map(Selection(patterns=(pattern,)).names, self._known))
        )
        return total + Mirrored(
            missing=tuple(Missing(pattern, "", "the feed has no such package") for pattern in patterns)
        )

    async def _each(self, ids: Sequence[str], done: Done, *, dry: bool = False) -> Mirrored:
        total = Mirrored()
        for id_ in ids:
            one = await self._one(id_, dry=dry)
            done(one)
            total += one
        return total

    async def ids(self) -> AsyncIterator[str]:
        """Lower case, each once; those of prefixes as the feed's search knows them."""
        seen: set[str] = set()
        for pattern in self._wish.patterns:
            rule = Rule(pattern, ())
            found = self._searched(rule.prefix) if rule.is_prefix else _only(rule.prefix)
            async for id_ in found:
                if id_ not in seen:
                    seen.add(id_)
                    yield id_

    async def _searched(self, prefix: str) -> AsyncIterator[str]:
        for skip in range(0, DEEPEST + 1, PAGE):
            rest = f"query?q={quote(prefix.rstrip('.-'))}&skip={skip}&take={PAGE}&prerelease=true&semVerLevel=2.0.0"
            got = await self._proxy.get(f"{self._base}{rest}")
            if got.status != 200 or not isinstance(got.document, dict):
                raise NotFound(f"The feed cannot be searched for {prefix}* ({got.error or got.said}).")
            rows = got.document.get("data") or []
            for row in rows:
                package = PackageId.parse(str(row.get("id", "")))
                if package is not None and package.lower.startswith(prefix):
                    yield package.lower
            if len(rows) < PAGE:
                break
        total = total_hits(got.document) or 0  # what several sources find counts more than once
        if len(rows) == PAGE or max(MAX_TAKE - 1, skip + len(rows)) < total:
            log.warning("mirror.cut", pattern=f"{prefix}*", detail="a search does not show all; write longer prefixes")

    async def _one(self, id_: str, *, dry: bool) -> Mirrored:
        try:
            offers = await self._offers(id_)
        except NotFound as failure:
            self._known.add(id_)
            return Mirrored(id=id_, missing=(Missing(id_, "", str(failure)),))
        versions = select(offers, self._wish)
        identities = tuple(PackageIdentity(id_, version.url) for version in versions)
        graphs = (Graph(references=(Dependency(id_, f"[{one.version}]"),)) for one in identities)
        wants = Wants(
            exact=() if self._wish.dependencies else identities,
            direct=(),
            graphs=tuple(graphs) if self._wish.dependencies else (),
            remarks=(),
        )
        done = await Warming(self._proxy, feed=self._feed, progress=self._progress, dry=dry).run(wants)
        denied = await self._denied(id_)
        if offers or denied:
            self._known.add(id_)
        return Mirrored(
            id=id_,
            versions=len(versions),
            fetched=done.fetched,
            size=done.size,
            held=done.held,
            missing=done.missing,
            denied=denied,
        )

    async def _denied(self, id_: str) -> tuple[Missing, ...]:
        """What the feed has of an id, and would not give."""
        told = (await self._proxy.command("left/denied", {"ids": [id_], "feed": self._feed}))["denied"][id_]
        return tuple(Missing(id_, version, why) for version, why in sorted(told.items()))

    async def _offers(self, id_: str) -> tuple[Offer, ...]:
        """By the registration, else by the version list, which does not say what is unlisted, nor when.

        As its upstreams say it now (what is stored may be older); raises NotFound where that cannot be told.
        """
        anew = await self._proxy.command("ask-anew", {"id": id_, "feed": self._feed})
        self._ruled = bool(anew["ruled"])
        if anew["failure"]:
            raise NotFound(f"what the feed has of it is not known now: {anew['failure']}")
        offers: dict[Version, Offer] = {}
        async for body in self._registrations(id_):
            with suppress(InvalidDocument):
                for one in statements(Kind.REGISTRATION, body, id_):
                    version = Version.parse(one.identity.version)
                    if version is not None:
                        offers[version] = Offer(version, one.listed is not False, seconds(one.published))
        if not offers:
            got = await self._proxy.get(f"{self._base}content/{quote(id_)}/index.json")
            if got.status not in {200, 404}:
                raise NotFound(f"which versions there are is not known ({got.error or got.said})")
            if got.status == 200:
                offers = {version: Offer(version) for _, version in listed_versions(got.body)}
            if offers and self._wish.since is not None:
                raise NotFound("the feed does not say when its versions were published")
        return tuple(offers.values())

    async def _registrations(self, id_: str) -> AsyncIterator[bytes]:
        got = await self._proxy.get(f"{self._base}{GZ_SEMVER2}/{quote(id_)}/index.json")
        document = got.document
        if got.status not in {200, 404}:
            raise NotFound(f"its registration is lacking ({got.error or got.said})")
        if got.status != 200 or not isinstance(document, dict):
            return
        yield got.body
        for page in document.get("items") or ():
            if isinstance(page, dict) and not page.get("items") and "@id" in page:
                inner = await self._proxy.get(urlsplit(str(page["@id"])).path.lstrip("/"))
                if inner.status != 200:
                    raise NotFound(f"a page of its registration is lacking ({inner.error or inner.said})")
                yield inner.body

    # --- following ---

    async def follow(self, place: Path, done: Done, sleep: Sleep) -> None:
        """Everything once, then whatever of it the catalog says has changed, until it is cancelled.

        ``place``: the file that the cursor is kept in; it moves on when all up to it is here. Raises NotFound where
        the feed has no catalog.
        """
        cursor = Cursor(place, self._wish.digest())
        stamp, page, complete, number = cursor.load()
        reader = CatalogReader(self._proxy, self._base, (stamp, page))
        late: dict[str, int] = {}
        """Ids of which something could not be had, which they are tried for in the next rounds; in how many more."""

        def told(one: Mirrored) -> None:
            done(one)
            if one.missing:
                late[one.id] = TRIES

        if not complete:
            if not stamp:
                await reader.read()
                # A search may be of a minute ago: whatever changes from here on is seen by the catalog, also where
                # this is killed before all is fetched.
                cursor.save(reader, 0, complete=False)
            await self.run(told)
            number = 0
            if not late:
                cursor.save(reader, number)
        while True:
            try:
                if self._ruled and number >= LOOK_ROUNDS:
                    await self.run(told)
                    number = 0
                ids = {id_: TRIES for id_ in await reader.read() if self._wish.names(id_)}
                late = await self._try({**late, **ids}, done)
                number += 1
                if not late:
                    cursor.save(reader, number)
            except ProxyError as failure:
                log.warning("mirror.failed", detail=str(failure)[:300])
                reader = CatalogReader(self._proxy, self._base, cursor.load()[:2])
            await sleep(ROUND_SECONDS)

    async def _try(self, tries: Mapping[str, int], done: Done) -> dict[str, int]:
        """Those ids of which something is missing still, each with one try less."""
        late: dict[str, int] = {}
        for id_ in sorted(tries):
            one = await self._one(id_, dry=False)
            done(one)
            if one.missing and tries[id_] > 1:
                late[id_] = tries[id_] - 1
            elif one.missing:
                log.warning("mirror.given_up", id=id_, missing=len(one.missing))
        return late


async def _only(id_: str) -> AsyncIterator[str]:
    yield id_
