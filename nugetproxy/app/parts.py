"""Parts builds what one upstream needs, out of what all of them share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TypedDict
from urllib.parse import urlsplit

from nugetproxy.app.egress import egress_of
from nugetproxy.app.shared import Hot, Shared, hot_bytes
from nugetproxy.config import Config, Upstream, feed_of
from nugetproxy.config.roots import read_roots
from nugetproxy.engine.cache import Cache
from nugetproxy.engine.packages import Packages
from nugetproxy.engine.pins import Pins
from nugetproxy.engine.relay import Relay
from nugetproxy.engine.signatures import Mode, NoList, SignaturePolicy, Signatures
from nugetproxy.feeds.files import Files, Site
from nugetproxy.feeds.symbols import Symbols, SymbolSource
from nugetproxy.feeds.tools import Tools
from nugetproxy.log import register_secret
from nugetproxy.nuget.documents.bounds import Bounds
from nugetproxy.sources.document_groups import DocumentGroups
from nugetproxy.sources.folder import FolderSource
from nugetproxy.sources.following import Following
from nugetproxy.sources.published_metadata import PublishedMetadata
from nugetproxy.sources.push import Push, PushSettings, SymbolServer
from nugetproxy.sources.remote import RemoteSource
from nugetproxy.sources.repository_certificates import RepositoryCertificates
from nugetproxy.sources.services import Services
from nugetproxy.sources.source import Source
from nugetproxy.sources.stated_hashes import StatedHashes
from nugetproxy.store.holdings.holdings import Holdings
from nugetproxy.store.library.library import Library
from nugetproxy.store.packages.folder import PackageFolder
from nugetproxy.upstream.client import UpstreamClient
from nugetproxy.upstream.settings import UpstreamSettings

SITE_MEMORY = 4 * 2**20
"""Of what a site answered last, so many bytes are kept in memory."""


class _Habits(TypedDict):
    abandon_above: int
    check_contents: bool


def all_sources(
    shared: Shared,
    symbols: SymbolServer | None,
    *,
    same: Mapping[str, Source] = MappingProxyType({}),
    held: Mapping[str, Packages] = MappingProxyType({}),
) -> Mapping[str, Source]:
    """The configured upstreams by name; ``symbols`` is told of symbols that are pushed to them.

    Those that are the ``same`` as before stay. What is ``held`` of the others stays theirs, once they take it over.
    """
    return {
        name: same.get(name)
        or (_folder(name, one, one.folder, shared) if one.folder else _remote(name, shared, symbols, held.get(name)))
        for name, one in shared.config.upstreams.items()
    }


def _folder(name: str, upstream: Upstream, root: Path, shared: Shared) -> FolderSource:
    holdings = Holdings(fs=shared.fs, clock=shared.clock)
    library = Library(name, root, holdings, fs=shared.fs, metrics=shared.metrics, clock=shared.clock)
    signatures = Signatures(name, shared.ledger, shared.clock, shared.metrics)
    signatures.use(signature_policy(upstream), NoList())
    return FolderSource(library, holdings, shared.config.cache.path / name, shared.clock, signatures)


def _remote(name: str, shared: Shared, symbols: SymbolServer | None, held: Packages | None) -> RemoteSource:
    config, clock, metrics, upstream = shared.config, shared.clock, shared.metrics, shared.config.upstreams[name]
    root = config.cache.path / name
    client = UpstreamClient(_settings(name, upstream, shared), clock=clock, metrics=metrics, resolver=shared.resolver)
    cache = Cache(
        client,
        shared.documents,
        policies=config.policies(),
        clock=clock,
        metrics=metrics,
        tasks=shared.tasks,
        ledger=shared.ledger,
        offline=upstream.offline,
        jitter=shared.jitter,
        hot_bytes=hot_bytes(config, Hot.DOCUMENTS) // len(config.upstreams),
        bounds=_bounds(config),
        shared=shared.replicas.documents(name) if shared.replicas is not None else None,
    )
    if shared.replicas is not None:
        shared.replicas.join(name, feed_of(upstream.url), cache)
    services = Services(name, upstream.url, json.dumps((name, *upstream.identity)), cache, clock)
    groups = DocumentGroups(cache, services)
    stated = StatedHashes(cache, services, groups)
    published_metadata = PublishedMetadata(cache, services, groups, stated, shared.ledger)
    signatures = Signatures(name, shared.ledger, clock, metrics)
    signed = (signature_policy(upstream), RepositoryCertificates(cache, services, groups))
    if held is None:
        signatures.use(*signed)
    source = RemoteSource(
        client,
        secrets=upstream.secret_values(),
        cache=cache,
        services=services,
        groups=groups,
        packages=held or _packages(client, stated, published_metadata, signatures, shared),
        published_metadata=published_metadata,
        ledger=shared.ledger,
        writes=Push(
            client,
            cache,
            services,
            settings=_push_settings(upstream, config),
            spool=root / "staging",
            symbols=symbols,
        ),
        clock=clock,
        offline=upstream.offline,
        held_only=upstream.offline_versions == "held",
        keep_registrations=config.cache.keep_registrations,
        following=Following(cache, services, groups, root / "catalog.json", clock)
        if upstream.follow_catalog and not upstream.offline
        else None,
    )
    if held is not None:
        source.take_over = partial(held.use, client, stated, published_metadata, signed, **_habits(config))
    return source


def signature_policy(upstream: Upstream) -> SignaturePolicy:
    """What is wanted of the signatures of an upstream; its files were read when it was checked."""
    roots = read_roots(upstream.signature_roots)
    return SignaturePolicy(mode=Mode(upstream.signatures), roots=roots, owners=frozenset(upstream.signature_owners))


def _habits(config: Config) -> _Habits:
    return {"abandon_above": config.cache.abandon_above, "check_contents": config.cache.check_contents}


def _packages(
    client: UpstreamClient,
    stated: StatedHashes,
    published_metadata: PublishedMetadata,
    signatures: Signatures,
    shared: Shared,
) -> Packages:
    folder = PackageFolder(
        shared.config.cache.path / client.name,
        fs=shared.fs,
        metrics=shared.metrics,
        upstream=client.name,
        clock=shared.clock,
        kept_open=shared.descriptors.held,
        room=shared.room,
    )
    folder.pending.arrivals = shared.provenance.arrivals(client.name)
    return Packages(
        client,
        folder,
        Pins(shared.ledger, client.name),
        Holdings(fs=shared.fs, clock=shared.clock),
        stated,
        signatures=signatures,
        metadata=published_metadata,
        clock=shared.clock,
        metrics=shared.metrics,
        tasks=shared.tasks,
        room=shared.room,
        **_habits(shared.config),
        shared=shared.replicas.packages(client.name) if shared.replicas is not None else None,
    )


def _push_settings(upstream: Upstream, config: Config) -> PushSettings:
    return PushSettings(
        push=upstream.push,
        delete=upstream.delete,
        offline=upstream.offline,
        max_bytes=config.limits.push,
        lends_credentials=upstream.lends_credentials,
    )


def sites(shared: Shared) -> Mapping[str, Site]:
    """The symbol server and the tools, where they are configured."""
    config = shared.config
    sites: dict[str, Site] = {}
    sources = [SymbolSource(url, _files(url, shared)) for url in config.symbols.urls]
    if sources:
        sites["symbols"] = Symbols(sources)
    if config.tools.url:
        sites["tools"] = sites["tools.json"] = Tools(config.tools.url, _files(config.tools.url, shared), shared.clock)
    return sites


def _files(url: str, shared: Shared) -> Files:
    """The files of an upstream that is no feed; it is called as its host, and offline where all feeds are."""
    config = shared.config
    offline = all(upstream.offline for upstream in config.upstreams.values() if upstream.folder is None)
    settings = UpstreamSettings(
        name=urlsplit(url).netloc,
        index_url=url,
        is_feed=False,
        egress=egress_of(config, urlsplit(url).netloc, None),
        offline=offline,
        max_document=config.limits.document,
        max_package=config.limits.package,
    )
    client = UpstreamClient(settings, clock=shared.clock, metrics=shared.metrics, resolver=shared.resolver)
    cache = Cache(
        client,
        shared.documents,
        policies=config.policies(),
        clock=shared.clock,
        metrics=shared.metrics,
        tasks=shared.tasks,
        ledger=shared.ledger,
        offline=offline,
        hot_bytes=SITE_MEMORY,
        bounds=_bounds(config),
    )
    return Files(cache, Relay(client), shared.clock)


def _bounds(config: Config) -> Bounds:
    return Bounds(values=config.limits.document_values, links=config.limits.document_links)


def _settings(name: str, upstream: Upstream, shared: Shared) -> UpstreamSettings:
    config = shared.config
    for secret in upstream.secret_values():
        register_secret(secret)
    return UpstreamSettings(
        name=name,
        index_url=upstream.url,
        headers=upstream.request_headers(),
        public_headers=upstream.public_headers,
        secrets=upstream.secret_values(),
        egress=egress_of(config, name, upstream),
        hosts=frozenset(upstream.hosts),
        credential_origins=frozenset(upstream.credential_origins),
        internal=upstream.internal,
        offline=upstream.offline,
        tries=upstream.tries,
        connect_timeout=upstream.connect_timeout,
        read_timeout=upstream.read_timeout,
        document_deadline=upstream.document_deadline,
        max_document=config.limits.document,
        max_package=config.limits.package,
        connections=max(1, int(upstream.connections * shared.descriptors.upstream_share)),
        breaker_failures=upstream.breaker_failures,
        breaker_open=upstream.breaker_open,
        breaker_max=upstream.breaker_max,
        ca_file=str(Path(upstream.ca_file).expanduser()) if upstream.ca_file else None,
    )
