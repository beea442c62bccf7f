"""Reload has a running proxy follow another configuration, without losing a connection or a download."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

import structlog
from msgspec import Struct
from msgspec.structs import replace

from nugetproxy import log as logs
from nugetproxy.app.access import certificate_files, given_tokens, read_secrets, states_of, watch_access, watch_secrets
from nugetproxy.app.application import App, Retired
from nugetproxy.app.composition import desk_of
from nugetproxy.app.descriptors import share_out
from nugetproxy.app.expiry import looking
from nugetproxy.app.feeds import published
from nugetproxy.app.folders import settle_folders, settle_ledger
from nugetproxy.app.measured import declare_limits, declare_upstreams, forget_folders
from nugetproxy.app.parts import all_sources, sites
from nugetproxy.app.shared import Hot, Shared, hot_bytes, room_limits
from nugetproxy.app.web import admission_of, edge_of
from nugetproxy.config import Config, Upstream, warnings
from nugetproxy.config.difference import differences, without_restart
from nugetproxy.engine.packages import Packages
from nugetproxy.engine.room import attempt
from nugetproxy.errors import BadRequest, ConfigError, ProxyError
from nugetproxy.feeds.files import Site
from nugetproxy.feeds.rendering import HotPages
from nugetproxy.feeds.symbols import Symbols
from nugetproxy.sources.remote import RemoteSource
from nugetproxy.sources.source import Source
from nugetproxy.store.ledger.records import Token
from nugetproxy.web.edge import Edge

log = structlog.get_logger(__name__)

LONGEST_USE: Final = 3600.0
"""Seconds after which the connections of an earlier configuration end, whoever still uses them."""
OF_CLIENTS: Final = frozenset({"fetch", "flight", "prefetch"})
"""Tasks that clients have caused, by the first words of their names."""
UNSEEN: Final = ("private", "anonymous", "anonymous_from")
"""Keys of an upstream that are about its feeds, not about how it is asked."""


class Reloaded(Struct, frozen=True, kw_only=True):
    """What came of it."""

    changed: tuple[str, ...]
    """Keys that are followed now."""
    restart: tuple[str, ...]
    """Keys that have another value only after a restart."""
    warnings: tuple[str, ...]


class Reload:
    """Reads the configuration again, checks all of it, then changes over in one step."""

    def __init__(self, app: App, read: Callable[[], Config]) -> None:
        """``read`` is called in a thread and may raise ConfigError."""
        self.after: list[Callable[[Config], None]] = []
        """Are told of the configuration that is followed from now on."""
        self.before: Callable[[], None] = _nothing
        self.done: Callable[[], None] = _nothing
        """Are called before and after each try."""
        self._app = app
        self._read = read
        self._turn = asyncio.Lock()
        """Protects one change from another: both would begin with the same configuration."""
        self._known = dict(app.config.upstreams)
        self._files = certificate_files(app.config)
        self._asked = {name: _asked(app.config, name) for name in app.config.upstreams}
        """All that said how each source is asked when it was made."""

    async def by_signal(self) -> None:
        """On a signal nobody waits for an answer; the log has it."""
        with suppress(ProxyError):  # logged
            await self.now()

    async def told(self) -> Mapping[str, Any]:
        """As a command; raises BadRequest where the configuration cannot be followed."""
        try:
            done = await self.now()
        except ProxyError as error:
            raise BadRequest(f"The configuration was not changed: {error}") from error
        return {"changed": done.changed, "restart": done.restart, "warnings": done.warnings}

    async def now(self) -> Reloaded:
        """Follow what is configured now; raises ConfigError, StoreUnusable, DiskFailure: then nothing has changed."""
        async with self._turn:
            self.before()
            try:
                config = await asyncio.to_thread(self._read)
                done = await self._follow(config)
            except ProxyError as error:
                log.error("configuration.refused", detail=str(error))  # noqa: TRY400 - says what is wrong
                raise
            finally:
                self.done()
        log.info("configuration.reloaded", changed=done.changed, restart=done.restart)
        for warning in done.warnings:
            log.warning("config.warning", warning=warning)
        return done

    async def _follow(self, wanted: Config) -> Reloaded:
        app = self._app
        config, restart = without_restart(app.config, wanted, self._known)
        files = certificate_files(config)
        replaced = (key for key, seen in files.items() if self._files.get(key, seen) != seen)
        changed = tuple(dict.fromkeys((*differences(app.config, config), *replaced)))
        if changed:
            shared = _shared(app.shared, config)
            with _secrets():
                given = given_tokens(config)
            self._judge(shared, given)
            with app.watch.resting():
                await self._change(shared, given)
            self._known.update(config.upstreams)
            self._files = files
        admission = app.admission
        told = (*warnings(config, closed=admission.closed(), guarded=admission.guarded()), *admission.concerns())
        return Reloaded(changed=changed, restart=restart, warnings=told)

    def _judge(self, shared: Shared, given: tuple[Token, ...]) -> None:
        """Raises ConfigError where a feed would be open to everybody by accident."""
        tokens = self._app.tokens.with_given(given, shared.config.published)
        admission = admission_of(tokens, shared, self._app.admission)
        if refusals := tuple(admission.refusals()):
            raise ConfigError(refusals)

    async def _change(self, shared: Shared, given: tuple[Token, ...]) -> None:
        """Make everything that may fail, then change over."""
        app, tenants = self._app, self._app.room.tenants
        known = {**app.resting, **app.sources}
        asked = {name: _asked(shared.config, name) for name in shared.config.upstreams}
        same = {name: source for name, source in known.items() if asked.get(name) == self._asked[name]}
        held = {name: one.packages for name, one in known.items() if isinstance(one, RemoteSource)}
        new_sites = app.sites if _sites(app.config) == _sites(shared.config) else sites(shared)
        symbols = new_sites.get("symbols")
        try:
            with _secrets():
                sources = all_sources(shared, symbols if isinstance(symbols, Symbols) else None, same=same, held=held)
                for name in app.resting.keys() & same.keys():  # nobody has watched theirs
                    if isinstance(source := same[name], RemoteSource):
                        await read_secrets(shared.config.upstreams[name], source)
            await _open(sources, same, held, shared)
        except BaseException:
            app.room.use(tenants, **room_limits(app.config))
            raise
        used = self._in_use(sources, new_sites)
        edge = app.edge
        self._change_over(shared, sources, new_sites, given)
        self._asked.update(asked)
        await self._begin(sources, same, held)
        forget_folders(app.metrics, app.resting)
        if used:
            app.retired.extend(used)
            app.tasks.start(self._retire(edge, used), name="retire")

    def _in_use(self, sources: Mapping[str, Source], new_sites: Mapping[str, Site]) -> list[Retired]:
        """What others take the place of."""
        app = self._app
        left: list[Retired] = [
            one.upstream if isinstance(one, RemoteSource) else one
            for name, one in {**app.resting, **app.sources}.items()
            if name in sources and sources[name] is not one
        ]
        return [*left, *(set(app.sites.values()) if new_sites is not app.sites else ())]

    def _change_over(
        self, shared: Shared, sources: Mapping[str, Source], new_sites: Mapping[str, Site], given: tuple[Token, ...]
    ) -> None:
        """From one moment to the next: no await in here."""
        app, config = self._app, shared.config
        for source in sources.values():
            if isinstance(source, RemoteSource):
                source.take_over()
        known = {**app.resting, **app.sources}
        for name, one in known.items():
            if isinstance(one, RemoteSource):
                one.upstream.show_breakers(sources.get(name) is one)
        app.resting = {name: one for name, one in known.items() if name not in sources}
        feeds = published(shared, sources, app.claims)
        app.tokens.give(given, feeds)
        admission = admission_of(app.tokens, shared, app.admission)
        desk = desk_of(feeds, sources, app.tokens, app.desk.switch, shared)
        app.ops.use(feeds, admission, metrics_from=config.server.metrics_from)
        app.lane.use(admission)
        app.edge.end_streams()
        app.edge = edge_of(new_sites, desk, shared, ops=app.ops, admission=admission, lane=app.lane)
        app.config, app.shared, app.sources, app.feeds, app.sites = config, shared, sources, feeds, new_sites
        app.admission, app.desk, app.descriptors = admission, desk, shared.descriptors
        self._limits()

    def _limits(self) -> None:
        """The background follows, too."""
        app, config = self._app, self._app.config
        packages = tuple(app.packages.values())
        app.room.use(packages, **room_limits(config))
        app.housekeeping.use(packages, config.cache.max_documents)
        app.scrub.use(packages)
        app.history.use(restores=config.history.restores, usage=config.history.usage)
        app.prober.use(tuple(one.upstream for one in app.sources.values() if isinstance(one, RemoteSource)))
        app.shared.expiry.look = looking(config, app.tokens)
        app.tasks.start(app.shared.expiry.round(), name="expiry")
        app.watch.clear()
        watch_secrets(app.watch, config, app.sources)
        watch_access(app.watch, config, app.tokens)
        declare_limits(app.metrics, config, app.descriptors)
        declare_upstreams(app.metrics, config)
        logs.use_level(config.log.level)
        logs.sample_hits(config.log.sample_hits)
        for tell in self.after:
            tell(config)

    async def _begin(
        self, sources: Mapping[str, Source], same: Mapping[str, Source], held: Mapping[str, Packages]
    ) -> None:
        """The background of what went ends, that of what came begins."""
        app = self._app
        if not app.branches:  # nobody has begun anything
            return
        for name, branch in list(app.branches.items()):
            if name not in sources or sources[name] is not same.get(name):
                await branch.stop()
                del app.branches[name]
        for name, source in sources.items():
            if name not in app.branches:
                app.start_source(source)
                if isinstance(source, RemoteSource) and name not in held:
                    app.tasks.start(_count(source.packages), name=f"scan {name}")

    async def _retire(self, edge: Edge, used: Iterable[Retired]) -> None:
        """End connections, close folders that nobody uses any more."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_USE):
                await edge.idle()
                running = self._app.tasks.running()
                if caused := [task for task in running if task.get_name().partition(" ")[0] in OF_CLIENTS]:
                    await asyncio.wait(caused)
        for one in used:
            await one.close()
            self._app.retired.remove(one)


def _nothing() -> None:
    """Nobody wants to know."""


@contextmanager
def _secrets() -> Iterator[None]:
    """What is read within was there when the configuration was checked, and may have gone since; raises ConfigError."""
    try:
        yield
    except ValueError as error:
        raise ConfigError((str(error),)) from error


def _shared(before: Shared, config: Config) -> Shared:
    """With pages of their own: those of before were rendered by other rules."""
    pages = HotPages(hot_bytes(config, Hot.PAGES), before.pages.large, most_links=config.limits.document_links)
    return replace(before, config=config, pages=pages, descriptors=share_out(config))


async def _open(
    sources: Mapping[str, Source], same: Mapping[str, Source], held: Mapping[str, Packages], shared: Shared
) -> None:
    """Make new sources usable, or none; raises StoreUnusable."""
    await settle_folders(shared.config)
    await settle_ledger(shared.config, shared.ledger)
    opened: list[Source] = []
    try:
        for name, source in sources.items():
            if isinstance(source, RemoteSource) and name in held and name not in same:
                await source.begin()
            elif name not in same:
                opened.append(source)
                await source.open()
    except BaseException:
        for source in opened:
            await source.close()
        raise


async def _count(packages: Packages) -> None:
    await attempt(packages.name, "scan", packages.folder.usage.count)


def _asked(config: Config, name: str) -> object:
    """All that says how an upstream is asked."""
    upstream: Upstream = config.upstreams[name]
    if upstream.folder is not None:
        return (upstream.url, upstream.signatures, states_of(upstream.signature_roots), upstream.signature_owners)
    cache = config.cache
    return (
        upstream.but(**dict.fromkeys(UNSEEN)),
        states_of((upstream.ca_file, *upstream.signature_roots)),
        (config.network, config.limits, config.policy, config.symbols),
        (cache.keep_registrations, cache.check_contents, cache.abandon_above),
    )


def _sites(config: Config) -> object:
    """All that says how the symbol server and the tools are asked."""
    offline = all(upstream.offline for upstream in config.upstreams.values() if upstream.folder is None)
    return (config.symbols, config.tools, config.network, config.limits, config.policy, offline)
