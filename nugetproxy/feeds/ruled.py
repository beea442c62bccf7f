"""Ruled answers for a feed without what its rules deny, whatever is asked for."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from functools import lru_cache, partial
from weakref import ref

import structlog
from msgspec.structs import replace

from nugetproxy.clock import Clock
from nugetproxy.engine.flight_body import FlightBody
from nugetproxy.engine.standing import DocumentStanding, JointStanding, MakeStanding, RuledStanding, Standing
from nugetproxy.errors import NotFound, ProxyError
from nugetproxy.feeds.asked import Cut, Inner
from nugetproxy.feeds.cuts import Cuts
from nugetproxy.feeds.judge import Judge, Ruling
from nugetproxy.feeds.rendering import Page, Rendering
from nugetproxy.feeds.reply import Reply, View
from nugetproxy.feeds.shown import Shown
from nugetproxy.metrics import Metrics
from nugetproxy.nuget.documents.exact_json import dumps
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.nuspec import parse_nuspec
from nugetproxy.nuget.package import InvalidPackage
from nugetproxy.nuget.routes import Route, parse_route
from nugetproxy.nuget.rules import Action, Verdict
from nugetproxy.nuget.version import Version

log = structlog.get_logger(__name__)


class Denied(ProxyError):
    """A rule of the feed denies the version that was asked for."""

    def __init__(self, identity: str, rule: str, sentence: str, *, passes_at: float | None = None) -> None:
        super().__init__(identity, rule)
        self.identity = identity
        self.rule = rule
        self.sentence = sentence
        self.passes_at = passes_at
        """Wall time at which it will pass, where time alone makes it."""

    def __str__(self) -> str:
        return self.sentence


class Ruled:
    """One feed's rules between what its sources say and its clients."""

    def __init__(
        self,
        judge: Judge,
        inner: Inner,
        *,
        rendering: Rendering,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self.judge = judge
        self._inner = inner
        self._rendering = rendering
        self._clock = clock
        self._metrics = metrics
        self._cuts = Cuts(judge, inner, rendering)

    def at(self, horizon: float) -> Ruled:
        """The same for the feed as it was at a wall time."""
        return Ruled(
            self.judge.at(horizon),
            self._inner,
            rendering=self._rendering,
            clock=self._clock,
            metrics=self._metrics,
        )

    async def read(self, route: Route, query: str, view: View) -> Reply:
        """As ``Feed.read``; raises Denied for a version that does not exist for this feed."""
        if route.kind is not None and route.kind.row.unruled:
            return await self._inner(route, query, view)
        ruling = self.judge.known(route.id) if route.id else None
        if route.id and route.version:
            if ruling is not None and route.version in ruling.unmarked:
                return self._shown(await self._inner(route, query, view), (ruling,))
            return await self._named(route, query, view, ruling)
        question = (route.resource, route.rest, query, view.base, view.gzip)
        if ruling is not None and (known := ruling.shown.get(question)) is not None:
            reply = await self._inner(route, query, known.view)
            if (left := known.of(reply)) is not None:
                return self._shown(reply, (ruling,), left)
            reply.close()
        return await self._cut(route, query, view, question)

    # --- documents ---

    async def _cut(self, route: Route, query: str, view: View, question: Hashable) -> Reply:
        plain = _plain(view)
        cut = await self._cuts.read(route, query, plain)
        if cut.denied is not None:
            raise self._denial(*cut.denied)
        if cut.page is None:
            return _nothing(cut)
        page = await self._rendering.coded(cut.page, gzipped=view.gzip and cut.reply.negotiated)
        if cut.lasting:
            whole = cut.page.body is cut.reply.body
            shown = Shown(replace(plain, gzip=page.gzipped), page.etag) if whole else None
            cut.rulings[0].remember(question, shown or Shown(plain, cut.reply.etag, ref(page)))
        return self._shown(cut.reply, cut.rulings, page)

    # --- what is asked for by id and version ---

    async def _named(self, route: Route, query: str, view: View, ruling: Ruling | None) -> Reply:
        version = Version.parse(route.version)
        assert version is not None, "a route has a version in URL form"
        if ruling is None or not ruling.knows(version):
            ruling = await self.judge.ruling(route.id, named=(version,), because=("name", version.url))
        verdict = ruling.of(version)
        if (verdict.visible or ruling.knows(version)) and self.judge.wants_license(ruling, version):
            ruling = await self._with_license(route, version, view, ruling)
            verdict = ruling.of(version)
        if not verdict.visible:
            if not ruling.knows(version) and (absent := await self._absent(route, query, view)) is not None:
                return absent
            if self.judge.horizon is not None:  # what nobody dates is too young now, but not of later than then
                self._cuts.check_certain(ruling, (version,))
            raise self._denial(route.id, version, verdict)
        if verdict.action is not Action.WARN and not verdict.tried and ruling.knows(version):
            ruling.unmarked.add(route.version)
        reply = await self._inner(route, query, view)
        return self._told(self._shown(reply, (ruling,)), route, version, verdict)

    async def _absent(self, route: Route, query: str, view: View) -> Reply | None:
        """What nobody knows anything of may not be there at all."""
        reply = await self._inner(route, query, replace(view, head=True))
        if reply.status == 404:
            return reply
        reply.close()
        return None

    async def _with_license(self, route: Route, version: Version, view: View, ruling: Ruling) -> Ruling:
        """A rule is about its licence, which only the package tells."""
        xml = await self._nuspec(route, version, view)
        if xml is None:  # without one, upstream may have the package all the same
            await self._have(route, version, view)
            xml = await self._nuspec(route, version, view)
        if xml is None:
            return ruling
        try:
            expression = parse_nuspec(xml).license_expression
        except InvalidPackage:
            expression = ""
        self.judge.learn_license(route.id, version, expression)
        return await self.judge.ruling(route.id)

    async def _nuspec(self, route: Route, version: Version, view: View) -> bytes | None:
        try:
            reply = await self._inner(_file(route, version, f"{_encoded(route)}.nuspec"), "", _plain(view))
        except NotFound:
            return None
        return reply.body if reply.status == 200 and isinstance(reply.body, bytes) else None

    async def _have(self, route: Route, version: Version, view: View) -> None:
        """Have the package held, if there is one."""
        try:
            name = f"{_encoded(route)}.{version.url}.nupkg"
            reply = await self._inner(_file(route, version, name), "", _plain(view))
        except NotFound:
            return
        try:
            if isinstance(reply.body, FlightBody):
                await reply.body.flight.landing()
        finally:
            reply.close()

    def _denial(self, id_: str, version: Version, verdict: Verdict) -> Denied:
        assert verdict.rule is not None, "nothing else denies"
        self._metrics.rules.denied.labels(verdict.rule.name).inc()
        what = f"{id_} {version.normalized}"
        sentence = verdict.sentence(self.judge.feed, what)
        return Denied(what, verdict.rule.name, sentence, passes_at=verdict.passes_at)

    def _told(self, reply: Reply, route: Route, version: Version, verdict: Verdict) -> Reply:
        """With what a rule has to say of what is handed out all the same; rules on trial count each time."""
        for rule, why in verdict.tried:
            self._metrics.rules.dry_run.labels(rule.name).inc()
            log.info("rule.dry_run", feed=self.judge.feed, rule=rule.name, id=route.id, version=version.url, why=why)
        if verdict.tried:
            reply = replace(reply, standing=None)
        if verdict.action is not Action.WARN or reply.status != 200:
            return reply
        sentence = verdict.sentence(self.judge.feed, f"{route.id} {version.normalized}")
        return replace(reply, warnings=(*reply.warnings, sentence))

    # --- answers that know when they end ---

    def _shown(self, reply: Reply, rulings: Sequence[Ruling], page: Page | None = None) -> Reply:
        """``reply`` with the bytes of ``page``, until a ruling may be another one."""
        passes = again = math.inf
        changed = -math.inf
        for one in rulings:
            passes, again = min(passes, one.until), min(again, one.again)
            changed = max(changed, one.changed)
        now, cache, age = self._clock.now(), reply.cache, reply.age
        left = math.inf if cache.ttl is None else cache.ttl
        # A package never grows old while rules let it pass.
        ages = cache.ttl is not None or not (reply.kind is Kind.PACKAGE or reply.kind.row.inside)
        if passes - now < left and ages and (cache.hit or cache.ttl is not None):
            cache = replace(cache, ttl=passes - now)
        if age is not None and page is not None:
            age = max(0.0, min(age, now - changed))
        standing: MakeStanding | None = None
        if reply.standing is not None:
            standing = partial(self._stand, reply.standing, rulings, passes=passes, again=again, ages=ages)
        return reply.shown(
            reply.body if page is None else page.body,
            etag=reply.etag if page is None else page.etag,
            gzipped=reply.gzipped if page is None else page.gzipped,
            age=age,
            cache=cache,
            standing=standing,
            owner=reply.owner if page is None else page.owner,
        )

    def _stand(
        self, make: MakeStanding, rulings: Sequence[Ruling], *, passes: float, again: float, ages: bool
    ) -> Standing | None:
        inner = make()
        if inner is None or any(self.judge.known(one.id) is not one for one in rulings):
            return None
        made = [(one.validity, one.dossier.validity) for one in rulings if one.dossier is not None]
        may_end = tuple(validity for both in made for validity in both)
        if passes == math.inf and isinstance(inner, DocumentStanding) and inner.until <= again and not may_end:
            return inner  # nothing that rules look at changes
        if passes == math.inf and isinstance(inner, JointStanding):
            return replace(inner, until=min(inner.until, again), rulings=may_end)
        return RuledStanding(inner=inner, passes=passes, until=again, clock=self._clock, rulings=may_end, ages=ages)


@lru_cache(maxsize=1024)
def _plain(view: View) -> View:
    """The view of somebody who takes the whole as it is."""
    return replace(view, gzip=False, head=False)


def _nothing(cut: Cut) -> Reply:
    """A document of which nothing is left: as if nobody had such a package."""
    body = dumps({"error": cut.why or "The rules of this feed leave nothing of it."})
    warnings = (*cut.reply.warnings, cut.why) if cut.why else cut.reply.warnings  # clients show no body of a 404
    return replace(cut.reply, status=404, body=body, etag=None, standing=None, gzipped=False, warnings=warnings)


def _file(route: Route, version: Version, name: str) -> Route:
    """A file of the version that ``route`` is about."""
    at = parse_route(f"content/{_encoded(route)}/{version.url}/{name}")
    assert at is not None, "an id and a version are words of a path"
    return at


def _encoded(route: Route) -> str:
    """The id as paths have it."""
    return route.rest.partition("/")[0]
