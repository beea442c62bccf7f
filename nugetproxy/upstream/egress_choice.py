"""EgressChoice decides for each URL of an upstream whether it is asked directly or through a company's HTTP proxy."""

from __future__ import annotations

import asyncio
import math
import socket

import structlog
from aiohttp.abc import AbstractResolver
from yarl import URL

from nugetproxy.clock import Clock
from nugetproxy.upstream.addresses import AddressRule, is_literal, is_local_name, is_public
from nugetproxy.upstream.egress import EgressProxy, is_listed
from nugetproxy.upstream.settings import UpstreamSettings
from nugetproxy.upstream.urls import DEFAULT_PORTS, host_of, parse_url

log = structlog.get_logger(__name__)

NO_SUCH_NAME = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})
AGAIN_SECONDS = 60.0
"""After which a name service that could not tell where the index is may be asked again."""


class EgressChoice:
    """Behind a proxy names are looked up by the proxy, so what is checked of a URL is its name."""

    def __init__(self, settings: UpstreamSettings, rule: AddressRule, resolver: AbstractResolver, clock: Clock) -> None:
        """``rule`` is the upstream's; ``resolver`` says where its index is, for those of it that are private."""
        self._clock = clock
        self._settings = settings
        self._egress = settings.egress
        self._rule = rule
        self._resolver = resolver
        self._index = parse_url(settings.index_url)
        self._proxies = frozenset(host_of(parse_url(proxy.url)) for proxy in self._egress.proxies.values())
        self._used: bool | None = None if self._egress.proxies else False
        """None while nobody knows: then it is used."""
        self._again = -math.inf
        self._told: set[str] = set()

    @property
    def lookup_rule(self) -> AddressRule:
        """The rule of name look-ups: what is connected to may be a proxy, wherever that is.

        Where the index is asked through one, its address is the proxy's matter: nothing is decided about it.
        """
        through = {self._rule.index} if self._configured(self._index) is not None else frozenset[str]()
        return AddressRule(self._rule.anywhere, self._rule.hosts | self._proxies | through, self._rule.index)

    def denies(self, host: str) -> bool:
        """Whether a URL must not name ``host`` (lower case), whatever its address is."""
        near = is_local_name(host) or host in self._proxies
        return bool(self._proxies) and near and not self._rule.allows(host, "127.0.0.1")

    @property
    def may_be_used(self) -> bool:
        """Whether ``proxy_for`` has something to decide."""
        return self._used is not False

    async def proxy_for(self, url: URL) -> EgressProxy | None:
        """The proxy that ``url`` is asked through; None for directly."""
        if self._used is None and self._clock.monotonic() >= self._again:
            private = await self._is_private() if self._egress.only_public else False
            self._used = None if private is None else not private
            self._again = self._clock.monotonic() + AGAIN_SECONDS
        proxy = self._configured(url) if self._used is not False else None
        if proxy is None:
            return None
        if proxy.url not in self._told:
            self._told.add(proxy.url)
            log.info("upstream.through_proxy", upstream=self._settings.name, proxy=proxy.url, said_by=proxy.said_by)
        return proxy

    def _configured(self, url: URL) -> EgressProxy | None:
        """The proxy for ``url`` of an upstream that is asked through one."""
        scheme = url.scheme.lower()
        direct = self._is_direct(host_of(url), url.port or DEFAULT_PORTS[scheme])
        return None if direct else self._egress.proxies.get(scheme)

    def _is_direct(self, host: str, port: int) -> bool:
        if self._egress.only_public and (is_local_name(host) or (is_literal(host) and not is_public(host))):
            return True
        return is_listed(host, port, self._egress.no_proxy)

    async def _is_private(self) -> bool | None:
        """Whether the index is on this machine or in its network; a name that only the proxy knows is not.

        None where the name service cannot tell now.
        """
        host = host_of(self._index)
        if is_local_name(host) or is_literal(host):
            return not is_public(host)
        try:
            async with asyncio.timeout(self._settings.connect_timeout):
                found = await self._resolver.resolve(host)
        except OSError as error:  # a time-out, too
            return False if error.errno in NO_SUCH_NAME else None
        return bool(found) and not any(is_public(result["host"]) for result in found)
