"""Egress is chosen here: from the configuration, else from the environment."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Mapping

import structlog

from nugetproxy.config import Config, Upstream
from nugetproxy.config.places import parse_egress
from nugetproxy.config.secrets import Secret
from nugetproxy.log import register_secret
from nugetproxy.upstream.egress import DIRECT, Egress, EgressProxy

log = structlog.get_logger(__name__)

SCHEMES = ("http", "https")


def egress_of(config: Config, name: str, upstream: Upstream | None, environ: Mapping[str, str] = os.environ) -> Egress:
    """The HTTP proxies of one upstream; of a site that is no feed where ``upstream`` is None."""
    network = config.network
    if upstream is not None and upstream.proxy == "none":
        return DIRECT
    if upstream is not None and upstream.proxy:
        proxy = _proxy(upstream.proxy, f"upstreams.{name}.proxy", environ)
        return Egress(proxies=dict.fromkeys(SCHEMES, proxy), only_public=False)
    if upstream is not None and upstream.internal:
        return DIRECT
    if network.proxy:
        proxy = _proxy(network.proxy, "network.proxy", environ)
        return Egress(proxies=dict.fromkeys(SCHEMES, proxy), no_proxy=network.no_proxy)
    if network.use_environment:
        said = tuple(_variable("no_proxy", environ)[1].split(","))
        return Egress(proxies=dict(_from_environment(environ)), no_proxy=(*network.no_proxy, *said))
    return DIRECT


def _from_environment(environ: Mapping[str, str]) -> Iterator[tuple[str, EgressProxy]]:
    for scheme in SCHEMES:
        variable, text = _variable(f"{scheme}_proxy", environ)
        if not text:
            continue
        try:
            yield scheme, _proxy(text if "://" in text else f"http://{text}", variable, environ)
        except ValueError as error:
            log.warning("network.proxy_ignored", variable=variable, problem=str(error))


def _variable(name: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """The one that is set, the lower-case spelling first, as curl and .NET read them."""
    return next(
        ((spelled, environ[spelled]) for spelled in (name, name.upper()) if environ.get(spelled)), (name.upper(), "")
    )


def _proxy(place: str | Secret, said_by: str, environ: Mapping[str, str]) -> EgressProxy:
    """Raises ValueError, which does not repeat what it is about."""
    url, user, password = parse_egress(place.reveal(environ) if isinstance(place, Secret) else place)
    if not user:
        return EgressProxy(url, "", said_by)
    pair = base64.b64encode(f"{user}:{password}".encode()).decode()
    for secret in (password, pair):
        register_secret(secret)
    return EgressProxy(url, f"Basic {pair}", said_by, (password, pair))
