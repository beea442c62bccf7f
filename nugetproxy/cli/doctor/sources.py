"""Sources are what a nuget.config has clients ask; those that lead around the proxy are named."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Self

from msgspec import Struct
from yarl import URL

from nugetproxy.cli.doctor.findings import Finding, Level
from nugetproxy.config import Config, safe_url
from nugetproxy.nuget.nuget_config import ConfiguredSource, NugetConfig
from nugetproxy.web.hosts import LOOPBACK_NAMES, own_names

_INDEX = re.compile(r"/(?:(?P<feed>[^/]+)/)?(?:asof/[^/]+/)?v3/index\.json", re.IGNORECASE)
_AROUND = "leads around the proxy: {url}"
_INHERITED = (
    "packageSources has no <clear />, so the sources of the user's and the machine's own nuget.config (nuget.org, if "
    "nobody changed it) are asked too; write <clear /> as its first line"
)


class Ours(Struct, frozen=True, kw_only=True):
    """The URLs that lead to the proxy."""

    roots: frozenset[URL]
    """Without a path, or with that of the public URL."""
    feeds: frozenset[str]
    """The published names; none where they are not known."""
    parts: frozenset[str]
    """Those of them that are sources of a feed of several."""

    @classmethod
    def configured(cls, config: Config) -> Self:
        """Those of the proxy with this configuration."""
        server = config.server
        roots = {URL(server.public_url.rstrip("/"))} if server.public_url else set()
        address, scheme = server.listen, "http" if server.certificate is None else "https"
        bound = LOOPBACK_NAMES | own_names() if address.is_wildcard else {address.host.lower()}
        bound |= LOOPBACK_NAMES if address.is_loopback else set()
        roots |= {URL.build(scheme=scheme, host=host, port=address.port) for host in (*bound, *server.allowed_hosts)}
        roots |= {URL.build(scheme=front, host=host) for host in server.allowed_hosts for front in ("http", "https")}
        several = [table.sources for table in config.feeds.values() if len(table.sources) > 1]
        parts = frozenset(name for names in several for name in names if name not in config.feeds)
        return cls(roots=frozenset(roots), feeds=frozenset(config.published), parts=parts)

    @classmethod
    def running(cls, index_url: str) -> Self:
        """Those of the proxy with this service index."""
        url = URL(index_url)
        found = _INDEX.search(url.path)
        root = url.with_path(url.path[: found.start()] if found is not None else "").with_query(None)
        return cls(roots=frozenset({root}), feeds=frozenset(), parts=frozenset())

    def feed(self, url: str) -> str | None:
        """The name in the path of a URL of ours, empty for the feed at the root; None for any other URL."""
        try:
            asked = URL(url)
            for root in self.roots:
                if asked.is_absolute() and asked.origin() == root.origin():
                    found = _INDEX.fullmatch(asked.path.removeprefix(root.path.rstrip("/")))
                    if found is not None and asked.path.startswith(root.path.rstrip("/")):
                        return found["feed"] or ""
        except ValueError:
            return None
        return None


def examine_sources(said: NugetConfig, ours: Ours) -> Iterator[Finding]:
    """What is to be thought of every package source, then of every audit source."""
    if said.inherits_sources:
        yield Finding(Level.WRONG, _INHERITED)
    for what, sources in (("package source", said.sources), ("audit source", said.audit_sources)):
        for source in sources:
            yield from (Finding(level, f"{what} {source.name!r} {text}") for level, text in _thought(source, ours))
    if not said.sources:
        yield Finding(Level.WARNING, "no package source is configured in this file")


def _thought(source: ConfiguredSource, ours: Ours) -> Iterator[tuple[Level, str]]:
    shown = _shown(source)
    name = ours.feed(source.url)
    if not source.enabled:
        yield Level.OK, f"is disabled: {shown}"
    elif not source.is_url:
        yield Level.WRONG, f"{_AROUND.format(url=shown)}, a folder"
    elif name is None:
        yield Level.WRONG, _AROUND.format(url=shown)
    elif name and ours.feeds and name not in ours.feeds:
        yield Level.WRONG, f"leads to the proxy, which publishes no feed {name!r}: {shown}"
    elif name in ours.parts:
        yield Level.WARNING, f"leads to the proxy, but around the mapping and the claims of the feed with it: {shown}"
    else:
        yield Level.OK, f"leads to the proxy: {shown}"
    if source.enabled and name is not None and shown.startswith("http:") and not source.allow_insecure:
        yield Level.WARNING, 'is plain http, which NuGet refuses without allowInsecureConnections="true" on its line'


def _shown(source: ConfiguredSource) -> str:
    try:
        return safe_url(source.url) if source.is_url else source.url
    except ValueError:
        return "(not a URL)"
