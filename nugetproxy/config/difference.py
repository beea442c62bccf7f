"""Difference says which keys two configurations do not have in common, which of them only a restart can change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from nugetproxy.config.cluster import Cluster
from nugetproxy.config.mirror import Mirror
from nugetproxy.config.model import Config
from nugetproxy.config.problems import dotted
from nugetproxy.config.section import Section, keys_of
from nugetproxy.config.upstream import Upstream

Key = tuple[str, ...]

ONLY_AT_START: Final[frozenset[Key]] = frozenset(
    {
        ("server", "listen"),
        ("server", "admin_listen"),
        ("server", "drain"),
        ("server", "event_loop"),
        ("cache", "directory"),
        ("cache", "hot_memory"),
        ("cache", "scrub_rate"),
        ("cache", "force_network_filesystem"),
        ("log", "format"),
        ("log", "traces"),
        ("access", "tokens_file"),
        *(("mirror", field) for field in keys_of(Mirror)),
    }
    | {("cluster", name) for name in keys_of(Cluster)}
)
"""What sockets, directories, memory are made of."""


def differences(before: Config, after: Config) -> tuple[str, ...]:
    """The keys that are not the same, as TOML writes them; a table that came or went by its name."""
    return tuple(dotted(key) for key in _between(before, after, ()))


def _between(before: Any, after: Any, key: Key) -> Iterator[Key]:
    if before == after:
        return
    if isinstance(before, Section) and isinstance(after, Section):
        for name in keys_of(type(before)):
            yield from _between(getattr(before, name), getattr(after, name), (*key, name))
    elif _is_tables(before) and _is_tables(after):
        for name in dict.fromkeys((*before, *after)):
            yield from _between(before.get(name), after.get(name), (*key, str(name)))
    else:
        yield key


def _is_tables(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(one, Section) for one in value.values())


def without_restart(before: Config, after: Config, known: Mapping[str, Upstream]) -> tuple[Config, tuple[str, ...]]:
    """``after``, but with what only a restart can change as it is ``before``; the keys that this is about.

    ``known``: all upstreams since the start. One that is another feed now would serve the packages of the one before,
    or ask it with the credentials of the other one.
    """
    kept, keys = after, list[str]()
    fixed = set(ONLY_AT_START)
    if (before.server.certificate is None) != (after.server.certificate is None):
        fixed |= {("server", "tls_certificate"), ("server", "tls_key")}
    for section, field in sorted(fixed):
        was = getattr(getattr(before, section), field)
        if getattr(getattr(after, section), field) != was:
            table = getattr(kept, section).but(**{field: was})
            kept = kept.but(**{section: table})
            keys.append(dotted((section, field)))
    for name, upstream in after.upstreams.items():
        if name in known and known[name].url != upstream.url:
            kept = kept.but(upstreams={**kept.upstreams, name: known[name]})
            keys += map(dotted, _between(known[name], upstream, ("upstreams", name)))
    return kept, tuple(keys)
