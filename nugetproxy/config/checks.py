"""Checks finds what is wrong between keys that are each right by themselves."""

from __future__ import annotations

import importlib.util
import os
import ssl
import stat
from collections.abc import Container, Iterator, Mapping
from pathlib import Path

from nugetproxy.admin.tokens import Scope
from nugetproxy.config.cluster_checks import cluster_contradictions, cluster_warnings
from nugetproxy.config.feed_checks import feed_contradictions, feed_warnings
from nugetproxy.config.model import Config, Server
from nugetproxy.config.places import Address, parse_egress, safe_url
from nugetproxy.config.problems import dotted
from nugetproxy.config.roots import read_roots
from nugetproxy.config.secrets import Secret
from nugetproxy.config.upstream import Upstream
from nugetproxy.on_disk import is_dir
from nugetproxy.web.tls import server_context, trouble


def contradictions(config: Config, environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """One line per contradiction or missing secret; empty when the configuration can be run."""
    found = [line for name, upstream in config.upstreams.items() for line in _upstream(name, upstream, environ)]
    if why := _bad_proxy(config.network.proxy, environ):
        found.append(f"network.proxy: {why}")
    found += [*_event_loop(config.server), *_tls(config.server), *_access(config, environ)]
    found += [line for name, upstream in config.upstreams.items() for line in _folder(name, upstream, config)]
    return (*found, *feed_contradictions(config), *cluster_contradictions(config, environ))


def _event_loop(server: Server) -> Iterator[str]:
    if server.event_loop == "uvloop" and importlib.util.find_spec("uvloop") is None:
        yield 'server.event_loop: uvloop is not installed; pip install "nugetproxy[uvloop]", or leave the key out'


def _tls(server: Server) -> Iterator[str]:
    if bool(server.tls_certificate) != bool(server.tls_key):
        missing, there = ("tls_key", "tls_certificate") if server.tls_certificate else ("tls_certificate", "tls_key")
        yield f"server.{missing}: is missing; server.{there} needs it"
    elif server.certificate is not None:
        try:
            server_context(*server.certificate)
        except (OSError, ssl.SSLError) as error:
            yield f"server.tls_certificate: {server.tls_certificate} with {server.tls_key}: {trouble(error)}"


def _access(config: Config, environ: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with the tokens of the configuration."""
    names = [one.name for one in config.access.tokens]
    for number, one in enumerate(config.access.tokens):
        table = f"access.tokens.{number}"
        try:
            one.reveal(environ)
        except ValueError as error:
            yield f"{table}.token: {error}"
        if names.index(one.name) != number:
            yield f"{table}.name: {one.name!r} is the name of another token too"
        for feed in one.feeds:
            if feed not in config.published:
                yield f"{table}.feeds: there is no feed {feed!r}"
        if one.feeds and Scope.ADMIN in one.scopes:
            yield f"{table}.feeds: the scope admin is for the whole proxy; leave out the feeds, or make a second token"
    file = config.access.file
    if file is not None and not is_dir(file.parent):
        yield f"access.tokens_file: {file.parent} is not a directory"


NOT_FOR_FOLDERS = (
    "proxy",
    "username",
    "password",
    "headers",
    "hosts",
    "credential_origins",
    "ca_file",
    "follow_catalog",
)


def _folder(name: str, upstream: Upstream, config: Config) -> Iterator[str]:
    """What is wrong with an upstream that is a folder of packages."""
    folder = upstream.folder
    if folder is None:
        return
    table = dotted(("upstreams", name))
    for key in NOT_FOR_FOLDERS:
        if getattr(upstream, key):
            yield f"{table}.{key}: has no effect on a folder of packages"
    if upstream.push_credentials == "proxy":
        yield f"{table}.push_credentials: has no effect on a folder of packages"
    if _is_something_else(folder):
        yield f"{table}.url: {folder} is not a folder"
    elif config.cache.path.resolve().is_relative_to(folder.resolve()):
        yield f"cache.directory: {config.cache.path} lies in the folder of upstream {name}, which is never written to"


def _is_something_else(folder: Path) -> bool:
    """Whether there is something in its place; what is away may come back."""
    try:
        return not stat.S_ISDIR(folder.stat().st_mode)
    except OSError:
        return False


def _upstream(name: str, upstream: Upstream, environ: Mapping[str, str]) -> Iterator[str]:
    def line(key: str, text: str) -> str:
        return f"{dotted(('upstreams', name))}.{key}: {text}"

    for key, secret in upstream.secrets:
        try:
            secret.reveal(environ)
        except ValueError as error:
            yield line(key, str(error))
    if upstream.username and upstream.password is None:
        yield line("username", 'has no effect without password = "env:NAME"')
    if upstream.password is not None and not upstream.username:
        yield line("username", "is missing; Basic credentials are a name and a password")
    if ":" in upstream.username or not upstream.username.isprintable():
        yield line("username", "must not hold a colon or control characters (RFC 7617)")
    if upstream.password is not None and any(header.lower() == "authorization" for header in upstream.headers):
        yield line("headers.Authorization", "contradicts username and password; leave one of them out")
    if upstream.credential_origins and not upstream.has_credentials:
        yield line("credential_origins", "has no effect without credentials")
    if upstream.push_credentials == "proxy" and not upstream.has_credentials:
        yield line("push_credentials", '"proxy" has no effect without credentials')
    if upstream.breaker_max < upstream.breaker_open:
        yield line("breaker_max", "must not be shorter than breaker_open")
    if why := _bad_proxy(upstream.proxy, environ):
        yield line("proxy", why)
    for key, why in _signatures(upstream):
        yield line(key, why)
    if upstream.ca_file and (why := _bad_certificates(upstream.ca_file)):
        yield line("ca_file", why)


def _signatures(upstream: Upstream) -> Iterator[tuple[str, str]]:
    """Keys about signatures with what is wrong with them."""
    for file in upstream.signature_roots:
        try:
            read_roots((file,))
        except OSError as error:
            yield "signature_roots", f"{file} cannot be read ({error.strerror})"
        except ValueError as error:
            yield "signature_roots", f"{file}: {error}"
    if upstream.signatures == "off" and (upstream.signature_roots or upstream.signature_owners):
        key = "signature_roots" if upstream.signature_roots else "signature_owners"
        yield key, 'has no effect with signatures = "off"; set it to "warn" or "require"'
    if upstream.signatures != "off" and upstream.folder is not None and not upstream.signature_roots:
        yield "signature_roots", "is missing; a folder has no list of certificates, so nobody would be trusted"


def _bad_proxy(proxy: str | Secret, environ: Mapping[str, str]) -> str:
    """What is wrong with a proxy that is named by reference."""
    if isinstance(proxy, Secret):
        try:
            parse_egress(proxy.reveal(environ))
        except ValueError as error:
            return f"{proxy.reference}: {error}"
    return ""


def _bad_certificates(place: str) -> str:
    try:
        ssl.create_default_context(cafile=str(Path(place).expanduser()))
    except ssl.SSLError:
        return f"{place} holds no certificates in PEM form"
    except OSError as error:
        return f"{place} cannot be read ({error.strerror})"
    return ""


NOBODY: Container[str] = frozenset()


def conditions(config: Config) -> tuple[str, ...]:
    """What a start may refuse, as it depends on tokens that only the proxy itself knows; one line each."""
    if config.server.listen.is_loopback:
        return ()
    readers = [one for one in config.access.tokens if Scope.READ in one.scopes]
    return tuple(
        f"{dotted(config.anonymous_key(name))}: is not set; with credentials, at {config.server.listen}, the proxy "
        "only starts once there is a token that may read it (nugetproxy token add NAME --scope read)"
        for name in config.published
        if config.lent_to_readers(name)
        and config.anonymous(name) is None
        and not any(not one.feeds or name in one.feeds for one in readers)
    )


def warnings(config: Config, *, closed: Container[str] = NOBODY, guarded: Container[str] = NOBODY) -> tuple[str, ...]:
    """What works but should be known, one line each, for the log.

    ``closed`` feeds want a token to be read, ``guarded`` ones to be written to.
    """
    server = config.server
    found = [
        f"{dotted(('upstreams', name))}.url: {safe_url(upstream.url)} is plain http; whoever is on the way can change "
        "packages" + (" and read your credentials" if upstream.has_credentials else "")
        for name, upstream in config.upstreams.items()
        if upstream.url.startswith("http://") and not _is_loopback(upstream.url)
    ]
    found += [
        f"{key}: {safe_url(url)} is plain http; whoever is on the way can change what is downloaded"
        for key, url in (*(("symbols.urls", url) for url in config.symbols.urls), ("tools.url", config.tools.url))
        if url.startswith("http://") and not _is_loopback(url)
    ]
    found += [
        f"{dotted(('upstreams', name))}.push_credentials: is not set; pushes and deletes do not carry your credentials "
        'for this feed, as they did in earlier versions, but the key that the client sends; set it to "client" if that '
        'is right, or to "proxy" to lend yours to whoever shows a token with the scope push'
        for name, upstream in config.upstreams.items()
        if upstream.has_credentials and upstream.takes_writes and not upstream.lending_is_said
    ]
    found += [
        f"{dotted(('upstreams', name))}.url: {upstream.folder} cannot be read now (is a share not mounted?); until it "
        "can, what is asked of it is answered 503"
        for name, upstream in config.upstreams.items()
        if upstream.folder is not None and not os.access(upstream.folder, os.R_OK | os.X_OK)
    ]
    found += [*feed_warnings(config), *cluster_warnings(config)]
    if not server.listen.is_loopback:
        if not server.is_secure:
            found.append(
                f"server.listen: {server.listen} is reached over plain http; set server.tls_certificate and "
                "server.tls_key, or put a TLS front end before it and set server.public_url to its https address "
                "(NuGet 6.12 and later refuse http sources by default)"
            )
    elif server.public_url and not server.allow_anonymous:
        found += [
            f"{dotted(('upstreams', name))}: everybody who gets through to {server.public_url} reads it with your "
            "credentials; let the front proxy ask who they are (server.allow_anonymous = true silences this)"
            for name, upstream in config.upstreams.items()
            if upstream.has_credentials and upstream.anonymous is not False and name not in closed
        ]
    if server.listen.is_loopback and server.public_url:
        found += [
            f"{dotted(('upstreams', name))}.push_credentials: everybody who gets through to {server.public_url} pushes "
            "with your credentials; let the front proxy ask who they are"
            for name, upstream in config.upstreams.items()
            if upstream.lends_credentials and name not in guarded
        ]
    return tuple(found)


def _is_loopback(url: str) -> bool:
    host = url.partition("://")[2].partition("/")[0].rpartition("@")[2]
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return Address(name, 0).is_loopback
