"""Cluster checks find what is wrong with what several replicas share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from nugetproxy.config.model import Config
from nugetproxy.config.problems import dotted

NEEDS_STORE: Final = ("endpoint", "region", "store_key", "store_secret")


def cluster_contradictions(config: Config, environ: Mapping[str, str]) -> Iterator[str]:
    """One line per contradiction or missing secret."""
    cluster = config.cluster
    for key in NEEDS_STORE:
        if getattr(cluster, key) and not cluster.store:
            yield f"cluster.{key}: has no effect without cluster.store"
    if cluster.coordination_password is not None and not cluster.coordination:
        yield "cluster.coordination_password: has no effect without cluster.coordination"
    for key in ("store_key", "store_secret", "coordination_password"):
        secret = getattr(cluster, key)
        try:
            if secret is not None:
                secret.reveal(environ)
        except ValueError as error:
            yield f"cluster.{key}: {error}"
    for name, feed in config.feeds.items():
        if feed.redirect_min_bytes and not cluster.store:
            yield f"{dotted(('feeds', name))}.redirect_min_bytes: has no effect without cluster.store"


def cluster_warnings(config: Config) -> Iterator[str]:
    """What works but should be known."""
    cluster = config.cluster
    if cluster.coordination and not cluster.store:
        yield (
            "cluster.store: is not set, so replicas share documents and writes only: each fetches packages for itself, "
            "and claims, owners and tokens are its own (access.tokens_file helps replicas on one machine)"
        )
    if cluster.endpoint.startswith("http://"):
        yield (
            "cluster.endpoint: is plain http; packages are checked on their way in, but whoever is on the way can "
            "change documents, and clients that come by https follow no redirect there"
        )
