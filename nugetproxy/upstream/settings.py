"""UpstreamSettings is everything that a client of one upstream is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from nugetproxy.upstream.egress import DIRECT, Egress

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamSettings:
    """One configured feed; times are seconds, sizes bytes."""

    name: str
    index_url: str
    """The service index, absolute http or https URL without userinfo."""
    is_feed: bool = True
    """Whether it is one: a symbol server has none, the list of tools is none."""
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    """Ready-made credential headers; sent to the index's origin or ``credential_origins``, nowhere else."""
    public_headers: frozenset[str] = frozenset()
    """Names (lower case) of those ``headers`` that are no credentials: they go along with writes, too."""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """What ``headers`` hold of secrets, each as it is and as it is sent; never to be seen in an answer."""
    egress: Egress = DIRECT
    """The HTTP proxies that it is asked through."""
    hosts: frozenset[str] = frozenset()
    """Further host names (lower case) that may resolve to any address, private ones too."""
    credential_origins: frozenset[str] = frozenset()
    """Further origins (``https://host`` or ``https://host:port``) that are given ``headers``."""
    offline: bool = False
    """True where nothing may ever be sent: every request fails with OFFLINE."""
    internal: bool = False
    """True where every host of this upstream may have a private address."""
    tries: int = 3
    """How often a GET or HEAD is sent before its failure is believed."""
    connect_timeout: float = 2.0
    """For a name look-up, and again for the TCP and TLS handshakes."""
    read_timeout: float = 30.0
    """Longest silence in a response."""
    document_deadline: float = 15.0
    """For a whole document or HEAD, every try included; for a download, until its headers have arrived."""
    max_document: int = 32 * MIB
    """Largest document, after removal of a content coding."""
    max_package: int = 1024 * MIB
    connections: int = 64
    """Most simultaneous requests, for documents, for packages, for writes each."""
    breaker_failures: int = 5
    """Weighted consecutive failures of a host that open its circuit breaker (a time-out weighs 2), or so many different
    targets (at least two) that fail alike."""
    breaker_open: float = 1.0
    breaker_max: float = 5.0
    """The breaker's first and longest time between two probes, once an outage has lasted for 15 seconds."""
    ca_file: str | None = None
    """PEM file of certification authorities that are trusted besides the system's."""
    user_agent: str = "nugetproxy"
    retry_delay: float = 0.3
    """Before the second try; doubles after that."""
