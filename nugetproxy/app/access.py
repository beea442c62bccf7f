"""Access is built here: rules of feeds, tokens, what is read again when its file changes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import structlog

from nugetproxy.admin.tokens import Tokens, TokenStore, hash_of
from nugetproxy.app.shared import Shared
from nugetproxy.config import Config, Upstream
from nugetproxy.config.access import AccessToken
from nugetproxy.config.problems import dotted
from nugetproxy.config.secrets import Secret
from nugetproxy.feeds.feed import Feed
from nugetproxy.log import register_secret
from nugetproxy.sources.remote import RemoteSource
from nugetproxy.sources.source import Source
from nugetproxy.store.file_watch import FileWatch, state_of
from nugetproxy.store.ledger.records import Token
from nugetproxy.store.token_file import TokenFile
from nugetproxy.web.admission import Rule

log = structlog.get_logger(__name__)


def rules(config: Config) -> Mapping[str, Rule]:
    """Who may read each feed, as far as the configuration says it."""
    return {name: _rule(name, config) for name in config.published}


def _rule(name: str, config: Config) -> Rule:
    table = config.feeds.get(name)
    return Rule(
        anonymous=config.anonymous(name),
        networks=config.upstreams[name].anonymous_from if table is None else table.anonymous_from,
        key=dotted(config.anonymous_key(name)),
        credentialed=config.lent_to_readers(name),
        with_credentials=any(config.upstreams[source].has_credentials for source in config.published[name].sources),
        shared_cache=config.server.shared_cache,
        lends=any(config.upstreams[source].lends_credentials for source in config.published[name].sources),
    )


def token_store(config: Config, kept: TokenStore) -> TokenStore:
    """Where tokens are kept: in the configured file, else in ``kept``."""
    return TokenFile(config.access.file) if config.access.file is not None else kept


def given_tokens(config: Config) -> tuple[Token, ...]:
    """The tokens of the configuration, as their references read now; raises ValueError."""
    return tuple(
        Token(
            name=one.name,
            hash=hash_of(_told(one)),
            scopes=tuple(one.scopes),
            feeds=one.feeds,
            expires=one.expires,
            created=0.0,
        )
        for one in config.access.tokens
    )


def _told(one: AccessToken) -> str:
    value = one.reveal()
    register_secret(value)
    return value


def tokens_of(feeds: Mapping[str, Feed], shared: Shared) -> Tokens:
    """All tokens, as far as the configuration has them."""
    truth = shared.replicas.truth if shared.replicas is not None else None
    tokens = Tokens(token_store(shared.config, truth or shared.ledger), shared.clock, feeds)
    if truth is not None and shared.config.access.file is None:
        tokens.are_revocations_known = truth.are_tokens_known
    tokens.give(given_tokens(shared.config))
    return tokens


def watch_of(sources: Mapping[str, Source], shared: Shared) -> FileWatch:
    """What is read again when its file changes, beginning with the secrets of upstreams."""
    watch = FileWatch(shared.clock)
    watch_secrets(watch, shared.config, sources)
    return watch


def watch_access(watch: FileWatch, config: Config, tokens: Tokens) -> None:
    """Tokens are read again when their files change."""

    async def renew() -> None:
        try:
            tokens.give(given_tokens(config))
        except ValueError as error:
            log.error("tokens.unreadable", detail=str(error))  # noqa: TRY400 - those of before stay
        else:
            log.info("tokens.read")

    watch.add(_files(one.token for one in config.access.tokens), renew)
    if config.access.file is not None:
        watch.add((config.access.file,), tokens.load)


def watch_secrets(watch: FileWatch, config: Config, sources: Mapping[str, Source]) -> None:
    """What upstreams are asked with, whom they are trusted by, is read again when its file changes."""
    for name, upstream in config.upstreams.items():
        source = sources[name]
        if isinstance(source, RemoteSource):
            _watch_source(watch, name, upstream, source)


async def read_secrets(upstream: Upstream, source: RemoteSource) -> None:
    """Have it asked with its secrets as they read now; raises ValueError."""
    headers, secrets = upstream.request_headers(), upstream.secret_values()
    for secret in secrets:
        register_secret(secret)
    await source.use_credentials(headers, secrets)


def _watch_source(watch: FileWatch, name: str, upstream: Upstream, source: RemoteSource) -> None:
    async def renew() -> None:
        try:
            await read_secrets(upstream, source)
        except ValueError as error:
            log.error("secrets.unreadable", upstream=name, detail=str(error))  # noqa: TRY400 - those of before stay
        else:
            log.info("secrets.read", upstream=name)

    async def trust() -> None:
        try:
            await source.upstream.trust_again()
        except OSError as error:
            log.error("ca_file.unreadable", upstream=name, detail=str(error))  # noqa: TRY400 - those of before stay
            return
        log.info("ca_file.read", upstream=name)

    watch.add(_files(secret for _, secret in upstream.secrets), renew)
    if upstream.ca_file:
        watch.add((Path(upstream.ca_file).expanduser(),), trust)


def _files(secrets: Iterator[Secret]) -> tuple[Path, ...]:
    return tuple(path for secret in secrets if (path := secret.file) is not None)


def certificate_files(config: Config) -> Mapping[str, object]:
    """What tells the certificates that upstreams are trusted by from others in their place, by the keys for them."""
    return {
        dotted(("upstreams", name, key)): states_of(places)
        for name, one in config.upstreams.items()
        for key, places in (("ca_file", (one.ca_file,)), ("signature_roots", one.signature_roots))
        if any(places)
    }


def states_of(places: Iterable[str]) -> tuple[object, ...]:
    """What tells the files at these places from others there."""
    return tuple((place, state_of(Path(place).expanduser())) for place in places if place)
