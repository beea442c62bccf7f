"""AddressRule says which network addresses the hosts of an upstream may have."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Self

from msgspec import Struct

from nugetproxy.upstream.settings import UpstreamSettings
from nugetproxy.upstream.urls import host_of, parse_url

# Spelled out, because what `ipaddress` calls global differs between Python's patch releases.
_NOT_PUBLIC_4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT, RFC 6598
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
_PUBLIC_6 = IPv6Network("2000::/3")
_NOT_PUBLIC_6 = tuple(IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "3fff::/20"))
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052 section 2.1
_NUMBER_LAST = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")
"""What no name ends with: "127.1", "0x7f000001" are addresses to whoever looks them up (WHATWG URL, host parsing)."""
_LOCAL_NAMES = frozenset({"localhost", "localhost.localdomain", "ip6-localhost"})


def is_public(text: str) -> bool:
    """True for a globally routable unicast address; anything else, or no address at all, is not."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv4Address):
        return _is_public_4(address)
    inner = _embedded(address)
    if inner is not None:
        return _is_public_4(inner)
    return address in _PUBLIC_6 and not any(address in network for network in _NOT_PUBLIC_6)


def _is_public_4(address: IPv4Address) -> bool:
    return not any(address in network for network in _NOT_PUBLIC_4)


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that packets to this IPv6 address end at: mapped, 6to4 or NAT64."""
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


@lru_cache(1024)
def is_literal(host: str) -> bool:
    """True if ``host`` (lower case) is an address, in whatever spelling, not a name."""
    try:
        ip_address(host)
    except ValueError:
        return _NUMBER_LAST.fullmatch(host) is not None
    return True


def is_local_name(host: str) -> bool:
    """True for the names of this machine itself (RFC 6761 section 6.3)."""
    return host in _LOCAL_NAMES or host.endswith(".localhost")


def is_private(host: str) -> bool:
    """True if ``host`` (lower case) says by itself that it is on this machine, or at an address that is not public."""
    return is_local_name(host) or (is_literal(host) and not is_public(host))


class AddressRule(Struct, frozen=True):
    """Public addresses for every host; any address for ``hosts``, or for all if ``anywhere``.

    The host of the ``index`` may have a private address if it had no other when it was first looked up.
    """

    anywhere: bool
    hosts: frozenset[str]
    index: str = ""

    @property
    def is_settled(self) -> bool:
        """Whether nothing depends on where the index's host is found."""
        return self.anywhere or not self.index or self.index in self.hosts or is_literal(self.index)

    @classmethod
    def of(cls, settings: UpstreamSettings) -> Self:
        """An upstream whose index is itself at a private address, or on this machine, is internal."""
        index = host_of(parse_url(settings.index_url))
        return cls(settings.internal or is_private(index), settings.hosts, index)

    def allows(self, host: str, address: str) -> bool:
        """May ``host`` (lower case) be at ``address``?"""
        return self.anywhere or host in self.hosts or is_public(address)
