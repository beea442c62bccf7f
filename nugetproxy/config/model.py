"""Config is the typed form of everything that an operator may set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal, Self

from msgspec.structs import replace

from nugetproxy.caching.policy import DAY, FOREVER, Policy
from nugetproxy.config.access import Access
from nugetproxy.config.cluster import Cluster
from nugetproxy.config.feeds import FeedTable
from nugetproxy.config.fields import (
    AdminListen,
    AnySpan,
    EgressProxy,
    FilePath,
    FreeSpace,
    Hosts,
    Listen,
    Networks,
    NoProxy,
    PublicUrl,
    Rate,
    SiteUrl,
    SiteUrls,
    Size,
    Span,
    SpanOrOff,
    UpstreamName,
    Wait,
)
from nugetproxy.config.mirror import Mirror
from nugetproxy.config.places import Address, parse_network
from nugetproxy.config.section import Section, keys_of
from nugetproxy.config.tables import SOME, between
from nugetproxy.config.units import AUTO_FREE, GIB, MIB
from nugetproxy.config.upstream import Upstream
from nugetproxy.errors import ConfigError
from nugetproxy.nuget.kinds import Kind

HERE = Address("127.0.0.1", 5555)
NUGET_ORG = "https://api.nuget.org/v3/index.json"
NUGET_SYMBOLS = "https://symbols.nuget.org/download/symbols"
NUGET_TOOLS = "https://dist.nuget.org/tools.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server(Section):
    """How clients reach us; durations in seconds."""

    listen: Listen = HERE
    public_url: PublicUrl = ""
    allowed_hosts: Hosts = ()
    trusted_proxies: Networks = ()
    metrics_from: Networks = (parse_network("127.0.0.0/8"), parse_network("::1/128"))
    allow_anonymous: bool = False
    admin_listen: AdminListen = None
    tls_certificate: FilePath = ""
    tls_key: FilePath = ""
    drain: Span = 30.0
    max_connections: Annotated[int, between(0)] = 0
    max_connections_per_ip: Annotated[int, between(1)] = 200
    header_timeout: Wait = 30.0
    body_timeout: Wait = 30.0
    write_timeout: Wait = 60.0
    cors: Literal["public", "all", "off"] = "public"
    shared_cache: bool = True
    event_loop: Literal["asyncio", "uvloop"] = "asyncio"

    @property
    def certificate(self) -> tuple[Path, Path] | None:
        """The files of the certificate and of its key, where clients come in by https."""
        if not self.tls_certificate or not self.tls_key:
            return None
        return Path(self.tls_certificate).expanduser(), Path(self.tls_key).expanduser()

    @property
    def is_secure(self) -> bool:
        """Whether clients know us by https, as far as the configuration says it."""
        return self.public_url.startswith("https:") or (not self.public_url and self.certificate is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache(Section):
    """Where and how much we keep; sizes in bytes, ``scrub_rate`` in bytes per second (0: off)."""

    directory: FilePath = ""
    max_size: Size = 50 * GIB
    min_free: FreeSpace = AUTO_FREE
    max_documents: Size = 2 * GIB
    hot_memory: Size = 32 * MIB
    abandon_above: Size = 10 * MIB
    check_contents: bool = True
    scrub_rate: Rate = 20 * MIB
    keep_registrations: bool = True
    unused_for: AnySpan = FOREVER
    keep_last: Annotated[int, between(0)] = 0
    force_network_filesystem: bool = False

    @property
    def path(self) -> Path:
        """The cache directory: the configured one, or the platform's place for this user's caches.

        Raises ConfigError where there is none.
        """
        if self.directory:
            return Path(self.directory).expanduser().absolute()
        from platformdirs import user_cache_path  # for few: a service names its directory

        try:
            return user_cache_path("nugetproxy")
        except RuntimeError as error:
            why = "cache.directory: this user has no home directory to keep a cache in; say where it is to lie"
            raise ConfigError((why,)) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Log(Section):
    """What is written to the log."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"
    sample_hits: Annotated[int, between(0)] = 1
    traces: SiteUrl = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits(Section):
    """The largest things that are accepted, in bytes; how much may be in one document."""

    push: Size = 250 * MIB
    package: Size = 1 * GIB
    document: Size = 32 * MIB
    document_values: Annotated[int, between(1)] = 2_000_000
    document_links: Annotated[int, between(1)] = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Network(Section):
    """The way out, for upstreams that are neither internal nor at private addresses."""

    proxy: EgressProxy = ""
    no_proxy: NoProxy = ()
    use_environment: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Symbols(Section):
    """The symbol server for debuggers."""

    urls: SiteUrls = (NUGET_SYMBOLS,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools(Section):
    """The downloads of nuget.exe."""

    url: SiteUrl = NUGET_TOOLS


@dataclass(frozen=True, slots=True, kw_only=True)
class HistorySettings(Section):
    """What is remembered of the requests of clients; ``usage`` in seconds (0: not at all)."""

    usage: SpanOrOff = 30 * DAY
    restores: Annotated[int, between(0, 100_000)] = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyCells(Section):
    """The cells of one policy that the operator replaces, in seconds; None leaves the built-in value."""

    fresh: AnySpan | None = None
    refresh: AnySpan | None = None
    on_error: AnySpan | None = None
    absent: AnySpan | None = None
    absent_on_error: AnySpan | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Section):
    """Everything that may be set; the first feed, else the first upstream, is the one published at ``/v3/``.

    ``nugetproxy.config.load`` brings in files and the environment.
    """

    server: Server = field(default_factory=Server)
    cache: Cache = field(default_factory=Cache)
    log: Log = field(default_factory=Log)
    limits: Limits = field(default_factory=Limits)
    network: Network = field(default_factory=Network)
    access: Access = field(default_factory=Access)
    cluster: Cluster = field(default_factory=Cluster)
    upstreams: Annotated[Mapping[UpstreamName, Upstream], SOME] = field(
        default_factory=lambda: {"nuget.org": Upstream(url=NUGET_ORG)}
    )
    feeds: Mapping[UpstreamName, FeedTable] = field(default_factory=dict)
    mirror: Mirror = field(default_factory=Mirror)
    symbols: Symbols = field(default_factory=Symbols)
    tools: Tools = field(default_factory=Tools)
    history: HistorySettings = field(default_factory=HistorySettings)
    policy: Mapping[Kind, PolicyCells] = field(default_factory=dict)

    @property
    def published(self) -> Mapping[str, FeedTable]:
        """What is published under which name: the feeds, then every upstream by itself; the one at ``/v3/`` first."""
        single = {name: FeedTable(sources=(name,)) for name in self.upstreams if name not in self.feeds}
        first = [name for name, feed in self.feeds.items() if feed.default][:1]
        order = (*first, *(name for name in (*self.feeds, *single) if name not in first))
        return {name: self.feeds.get(name) or single[name] for name in order}

    def anonymous(self, feed: str) -> bool | None:
        """Whether everybody may read a published feed; None where nobody said."""
        table = self.published[feed]
        said = {self.upstreams[name].anonymous for name in table.sources}
        of_sources = False if False in said else True if said == {True} else None
        everybody = True if self.server.allow_anonymous else None
        return next((one for one in (table.anonymous, of_sources, everybody) if one is not None), None)

    def anonymous_key(self, feed: str) -> tuple[str, ...]:
        """The key under which that is said."""
        return ("feeds" if feed in self.feeds else "upstreams", feed, "anonymous")

    def lent_to_readers(self, feed: str) -> tuple[str, ...]:
        """The upstreams that whoever reads a feed reads with our credentials, and nobody said that all may."""
        upstreams = {name: self.upstreams[name] for name in self.published[feed].sources}
        return tuple(name for name, one in upstreams.items() if one.has_credentials and one.anonymous is not True)

    def all_offline(self) -> Self:
        """The same, with no upstream to be ever asked."""
        upstreams = {name: one.but(offline=True) for name, one in self.upstreams.items()}
        return self.but(upstreams=upstreams)

    def policies(self) -> Mapping[Kind, Policy]:
        """The complete policy table: the built-in one with the configured cells in place."""
        table = {kind: kind.row.policy for kind in Kind}
        for kind, cells in self.policy.items():
            given = {name: value for name in keys_of(PolicyCells) if (value := getattr(cells, name)) is not None}
            table[kind] = replace(table[kind], **given)
        return MappingProxyType(table)
