"""Egress is the HTTP proxies that stand between one upstream and us."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from types import MappingProxyType

from aiohttp import hdrs
from msgspec import Struct, field


class EgressProxy(Struct, frozen=True):
    """One HTTP proxy: asked with CONNECT for https, with the whole URL for http (RFC 9110 section 9.3.6)."""

    url: str
    """``http://host:port``, without user name or password."""
    authorization: str = ""
    """What it is told of who asks (``Proxy-Authorization``)."""
    said_by: str = ""
    """What names it: a key of the configuration or a variable of the environment."""
    secrets: tuple[str, ...] = ()
    """What ``authorization`` holds of secrets, each as it is and as it is sent; never to be seen in an answer."""

    def __repr__(self) -> str:
        """Without ``authorization``, without ``secrets``."""
        return f"EgressProxy({self.url!r}, said_by={self.said_by!r})"

    @property
    def headers(self) -> Mapping[str, str]:
        """What is for it alone."""
        return {hdrs.PROXY_AUTHORIZATION: self.authorization} if self.authorization else {}


class Egress(Struct, frozen=True, kw_only=True):
    """The HTTP proxies of one upstream, by scheme."""

    proxies: Mapping[str, EgressProxy] = field(default_factory=lambda: MappingProxyType({}))
    no_proxy: tuple[str, ...] = ()
    """Hosts that are asked directly; see ``is_listed``."""
    only_public: bool = True
    """Whether an upstream at private addresses is asked directly; not where the operator said so for it."""


DIRECT = Egress()


def is_listed(host: str, port: int, names: tuple[str, ...]) -> bool:
    """Whether ``names``, as in NO_PROXY, hold ``host``: ``*``, a domain with all below it, an address, a range.

    A name may end in ``:port``; a dot or ``*.`` at its start changes nothing.
    """
    return any(_matches(host, port, name.strip().lower()) for name in names)


def _matches(host: str, port: int, name: str) -> bool:
    if name == "*":
        return True
    if "/" in name:
        return _in_range(host, name)
    bare, colon, tail = name.rpartition(":")
    if colon and tail.isdigit() and (":" not in bare or bare.startswith("[")):
        if int(tail) != port:
            return False
        name = bare
    name = name.strip("[]").removeprefix("*").strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _in_range(host: str, text: str) -> bool:
    try:
        return ip_address(host) in ip_network(text, strict=False)
    except ValueError:
        return False
