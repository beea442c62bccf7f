"""Checks examine this machine: the configuration, the cache directory, the proxy that should run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from nugetproxy.cli.doctor.findings import Finding, Level
from nugetproxy.cli.doctor.running import readiness
from nugetproxy.cli.engines import examined
from nugetproxy.config import Config, Upstream, safe_url, warnings
from nugetproxy.config.roots import read_roots
from nugetproxy.config.units import about_size
from nugetproxy.errors import StoreUnusable
from nugetproxy.on_disk import exists
from nugetproxy.store.lock import DirectoryLock, DirectoryLocked


def check_configuration(config: Config) -> Iterator[Finding]:
    """What is configured, with what should be known of it."""
    for name, upstream in config.upstreams.items():
        offline = ", never asked (offline)" if upstream.offline else ""
        yield Finding(Level.OK, f"upstream {name}: {safe_url(upstream.url)}{offline}")
        if upstream.signatures != "off":
            yield Finding(Level.OK, f"upstream {name}: {_signatures(upstream)}")
    for name, feed in config.feeds.items():
        yield Finding(Level.OK, f"feed {name}: {', '.join(feed.sources)}; {feed.told or 'no rules'}")
    first = next(iter(config.published), "")
    for name in config.published:
        path = "" if name == first else f"/{name}"
        yield Finding(Level.OK, f"{name}: at {path}/v3/index.json, as it was at {path}/asof/DATE/v3/index.json")
    for warning in warnings(config):
        yield Finding(Level.WARNING, warning)


def _signatures(upstream: Upstream) -> str:
    """Whose signatures count, in how far they matter."""
    wanted = {"warn": "is warned of", "require": "is refused"}[upstream.signatures]
    roots = len(read_roots(upstream.signature_roots).fingerprints)
    trusted = f"{roots} root certificates" if upstream.folder else f"{roots} root certificates, the feed's own list"
    owners = f", owners {', '.join(upstream.signature_owners)}" if upstream.signature_owners else ""
    return f"what has no signature that counts {wanted}; trusted: {trusted}{owners}"


def check_cache(config: Config) -> Iterator[Finding]:
    """Whether the cache directory can be used, and has room."""
    path = config.cache.path
    if not exists(path):
        yield Finding(Level.OK, f"{path} is made at the first start")
        return
    try:
        with DirectoryLock(path, forced=config.cache.force_network_filesystem):
            yield Finding(Level.OK, f"{path} can be used; no proxy uses it now")
    except DirectoryLocked as locked:
        yield Finding(Level.OK, f"{path} is in use by process {locked.pid} since {locked.since}")
    except StoreUnusable as trouble:
        yield Finding(Level.WRONG, str(trouble))
        return
    if not os.access(path, os.W_OK):
        yield Finding(Level.WRONG, f"{path} cannot be written to: what is held is served, nothing new is kept")
    free, most = shutil.disk_usage(path).free, config.cache.max_size
    held = f"{about_size(free)} are free on its disk, packages may take {about_size(most)} (cache.max_size)"
    yield Finding(Level.OK if free > most else Level.WARNING, held)


def check_engines(config: Config) -> Iterator[Finding]:
    """Whether what several replicas share works."""
    for engine, problem in examined(config):
        level = Level.WARNING if problem else Level.OK
        yield Finding(level, f"the {engine} of [cluster]: {problem or 'works'}")


def check_proxy(config: Config, file: Path | None) -> Iterator[Finding]:
    """Whether the proxy that is configured (in a ``file``) runs, and is ready."""
    url = own_url(config)
    said = readiness(f"{url}/")
    if said is None:
        start = "nugetproxy serve" + (f" --config {quote(str(file))}" if file is not None else "")
        yield Finding(Level.WARNING, f"no proxy answers at {url}; start it with: {start}")
    elif said.ready:
        yield Finding(Level.OK, f"{url} is ready")
    else:
        yield from (Finding(Level.WRONG, f"{url} is not ready: {reason}") for reason in said.reasons)
    yield from (Finding(Level.WARNING, problem) for problem in (said.problems if said is not None else ()))


def own_url(config: Config) -> str:
    """Where the configured proxy can be asked on this machine, without a slash at its end."""
    address = config.server.listen
    loopback = "[::1]" if ":" in address.host else "127.0.0.1"
    scheme = "http" if config.server.certificate is None else "https"
    return f"{scheme}://{loopback}:{address.port}" if address.is_wildcard else f"{scheme}://{address}"
