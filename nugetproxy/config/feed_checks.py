"""Feed checks find what is wrong between feeds, their sources, their mapping."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from nugetproxy.config.feeds import FeedTable
from nugetproxy.config.model import Config
from nugetproxy.config.problems import dotted
from nugetproxy.config.upstream import Upstream

WHOSE = (
    "true if only your own people publish there: its ids are then never asked of a public source; false if anybody may"
)


def feed_contradictions(config: Config) -> Iterator[str]:
    """One line per contradiction."""
    defaults = [name for name, feed in config.feeds.items() if feed.default]
    if len(defaults) > 1:
        yield f"{_key(defaults[1])}.default: only one feed can be at /v3/index.json, and {defaults[0]} is it already"
    for name, feed in config.feeds.items():
        yield from _feed(name, feed, config)
    yield from (f"mirror.feed: {why}" for why in _mirror(config))
    yield from _dates(config)
    yield from _roles(config)


def feed_warnings(config: Config) -> Iterator[str]:
    """What works but should be known."""
    for name, feed in config.feeds.items():
        if not feed.source_mapping.has_default:
            yield f'{_key(name)}.mapping: has no "*", so ids that no pattern matches have no source: they are not found'
        for source in feed.sources if feed.rules else ():
            if source not in config.feeds and config.anonymous(source) is not False:
                yield (
                    f"{_key(name)}.rules: do not hold at /{source}/v3/index.json, where {source} is published by "
                    "itself; give a feed of that name the same rules"
                )


def _feed(name: str, feed: FeedTable, config: Config) -> Iterator[str]:
    table = _key(name)
    if name in config.upstreams and name not in feed.sources:
        yield (
            f"{table}: {dotted(('upstreams', name))} is published under this name; rename one of them, or make it one "
            "of the sources"
        )
    for key, names in (("sources", feed.sources), ("advisories", feed.advisories)):
        yield from (f"{table}.{key}: {why}" for why in _names(names, tuple(config.upstreams), "upstream"))
    for pattern, mapped in feed.mapping.items():
        key = dotted(("feeds", name, "mapping", pattern))
        yield from (f"{key}: {why}" for why in _names(mapped.sources, feed.sources, f"source in {table}.sources"))
        if mapped.union and len(mapped.sources) < 2:
            yield f"{key}.union: has no effect on one source"
    if feed.push is not None:
        yield from _push(name, feed, config)
    yield from _rules(name, feed)


def _mirror(config: Config) -> Iterator[str]:
    mirror, feeds = config.mirror, config.published
    yield from _names((mirror.feed,) if mirror.feed else (), tuple(feeds), "feed")
    name = mirror.feed or next(iter(feeds), "")
    if not mirror.ids or name not in feeds:
        return
    sources = feeds[name].sources
    lacking = "is made of several upstreams" if len(sources) > 1 else ""
    if any(config.upstreams[one].folder is not None for one in sources if one in config.upstreams):
        lacking = lacking or "is a folder of packages"
    if lacking:
        yield f"the feed {name} {lacking}, so it has no catalog to be kept current by; name the feed of one upstream"


def _push(name: str, feed: FeedTable, config: Config) -> Iterator[str]:
    rules = feed.push_mapping
    for rule in (*rules.exact.values(), *rules.prefixes.values()):
        key = dotted(("feeds", name, "push") if isinstance(feed.push, str) else ("feeds", name, "push", rule.pattern))
        if len(rule.sources) > 1:
            yield f"{key}: is there twice; a push goes to exactly one source"
        for source in rule.sources:
            yield from (f"{key}: {why}" for why in _names((source,), feed.sources, "source of this feed"))
            upstream = config.upstreams.get(source)
            if source in feed.sources and upstream is not None and not upstream.takes_writes and not upstream.offline:
                yield f"{key}: upstream {source} takes no writes"


def _rules(name: str, feed: FeedTable) -> Iterator[str]:
    names = [rule.name for rule in feed.rules]
    for number, rule in enumerate(feed.rules):
        table = f"{_key(name)}.rules.{number}"
        if names.index(rule.name) != number:
            yield f"{table}.name: {rule.name!r} is the name of another rule too"
        yield from (
            f"{table}.sources: {why}" for why in _names(rule.sources, feed.sources, f"source in {_key(name)}.sources")
        )


def _dates(config: Config) -> Iterator[str]:
    """Whoever has the dates of another one must not be waited for by it."""
    for name, upstream in config.upstreams.items():
        other, key = upstream.dates_from, f"{dotted(('upstreams', name))}.dates_from"
        if other:
            yield from (f"{key}: {why}" for why in _names((other,), tuple(config.upstreams), "upstream"))
            if other == name or (other in config.upstreams and config.upstreams[other].dates_from):
                yield f"{key}: {other} must be another upstream, with dates of its own"


def _names(names: tuple[str, ...], known: tuple[str, ...], what: str) -> Iterator[str]:
    for at, name in enumerate(names):
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
            yield f"there is no {what} {name!r}" + (f"; did you mean {near[0]!r}?" if near else "")
        elif name in names[:at]:
            yield f"{name!r} is there twice"


def _roles(config: Config) -> Iterator[str]:
    """In a feed of several sources it must be known which of them anybody can publish to."""
    together = (name for feed in config.feeds.values() if len(feed.sources) > 1 for name in feed.sources)
    for name in dict.fromkeys(together):
        upstream: Upstream | None = config.upstreams.get(name)
        if upstream is not None and upstream.role is None:
            yield f"{dotted(('upstreams', name))}.private: is missing; write {WHOSE}"


def _key(name: str) -> str:
    return dotted(("feeds", name))
