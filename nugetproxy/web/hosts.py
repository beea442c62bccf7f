"""Public addresses are the URLs under which clients find us."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from aiohttp import hdrs
from yarl import URL

from nugetproxy.errors import UnknownHost
from nugetproxy.web import http as web

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_HOST = re.compile(r"(?P<name>[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?")
FORWARDED = ("x-forwarded-for", "forwarded", "x-real-ip")
"""What front ends add; the address of the connection is then theirs."""
MAPPED = "::ffff:"
"""Before an IPv4 address in an IPv6 one (RFC 4291 section 2.5.5.2)."""
_PREFIX = re.compile(r"(/(?!\.\.?(/|$))[A-Za-z0-9._~-]+)*")

LOOKED_AT = ("host", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-prefix")
"""What the URL that a trusted proxy's client knows is made of."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class PublicAddresses:
    """Finds the public base URL of a request; never takes one from a stranger's headers.

    ``public_url`` wins where it is set. Else the request's ``Host`` counts if it is one of ours (loopback names,
    the address that the connection came in on, this machine's name, ``allowed_hosts``), and ``X-Forwarded-*``
    count only from ``trusted_proxies``.
    """

    def __init__(self, *, public_url: str, allowed_hosts: Iterable[str], trusted_proxies: Iterable[Network]) -> None:
        self._public = public_url.rstrip("/")
        self._hosts = LOOPBACK_NAMES | {host.lower() for host in allowed_hosts} | own_names()
        self._trusted = tuple(trusted_proxies)

    def base(self, request: web.BaseRequest) -> str:
        """The URL of our root, without a slash at its end; raises UnknownHost."""
        if self._public:
            return self._public
        if self._trusted and self._is_trusted(request.remote or ""):
            return self._forwarded(request)
        return self.direct_base(request)

    def direct_base(self, request: web.BaseRequest) -> str:
        """The same for who asks us directly, by a name or an address of ours; raises UnknownHost."""
        return f"{'https' if is_tls(request) else 'http'}://{self._checked(request)}"

    def client(self, request: web.BaseRequest) -> str:
        """The address of the client itself, behind trusted proxies."""
        peer = request.remote or ""
        return self.client_behind(peer, _forwarded_for(request)) if self._trusted else peer

    def looked_at(self, peer: str, fields: Mapping[str, str]) -> tuple[str | None, ...]:
        """The values of all ``fields`` (by lower-case name) that ``base`` looks at in a request of ``peer``."""
        if self._public:
            return ()
        if self._trusted and self._is_trusted(peer):
            return tuple(fields.get(name) for name in LOOKED_AT)
        return (fields.get("host"),)

    def client_behind(self, peer: str, forwarded_for: str) -> str:
        """The address of the client itself, where ``peer`` said this in ``X-Forwarded-For``."""
        hops = [hop.strip()[:64] for hop in forwarded_for.split(",") if hop.strip()]
        if not hops or not self._is_trusted(peer):
            return peer
        return next((hop for hop in reversed(hops) if not self._is_trusted(hop)), hops[0])

    def known_client(self, request: web.BaseRequest) -> str:
        """The same where it is sure; empty behind a front end that was not named to us, or does not say."""
        return self._surely(request.remote or "", request.headers, _forwarded_for(request))

    def surely_behind(self, peer: str, fields: Mapping[str, str]) -> str:
        """The same, of a request of ``peer`` with these ``fields`` (by lower-case name)."""
        return self._surely(peer, fields, fields.get("x-forwarded-for", ""))

    def _surely(self, peer: str, fields: Mapping[str, str], forwarded_for: str) -> str:
        if any(name in fields for name in FORWARDED) and not (forwarded_for and self._is_trusted(peer)):
            return ""
        return self.client_behind(peer, forwarded_for)

    def _forwarded(self, request: web.BaseRequest) -> str:
        """What a trusted proxy says of the client's view; what it does not say is taken from the request."""
        headers = request.headers
        own = "https" if is_tls(request) else "http"
        scheme = headers.get(hdrs.X_FORWARDED_PROTO, own).split(",")[0].strip().lower()
        host = headers.get(hdrs.X_FORWARDED_HOST, "").split(",")[0].strip()
        prefix = headers.get("X-Forwarded-Prefix", "").split(",")[0].strip().rstrip("/")
        if not host:
            host = self._checked(request)
        if scheme not in {"http", "https"} or not _name(host) or _PREFIX.fullmatch(prefix) is None:
            raise UnknownHost
        # yarl leaves out the default port, as clients do.
        return f"{URL(f'{scheme}://{host}').origin()}{prefix}"

    def _checked(self, request: web.BaseRequest) -> str:
        """The request's ``Host`` as it was sent, if it is one of ours."""
        host = request.headers.get(hdrs.HOST, "")
        name = _name(host)
        if not name or (name not in self._hosts and name != _local_address(request)):
            raise UnknownHost
        return host

    def _is_trusted(self, peer: str) -> bool:
        return is_in(peer, self._trusted)


def is_in(text: str, networks: Iterable[Network]) -> bool:
    """Whether an IP address is in one of some networks, an IPv4 one also where it is mapped (::ffff:10.0.0.1)."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in networks)


@lru_cache(maxsize=256)
def _name(host: str) -> str:
    """The name in a ``Host`` field, lower case, without port or brackets; empty when it is malformed."""
    match = _HOST.fullmatch(host)
    if match is None or int(match["port"] or 0) > 65535:
        return ""
    name = match["name"].lower()
    if name.startswith("["):
        name = name.strip("[]")
        try:
            ipaddress.IPv6Address(name)
        except ValueError:
            return ""
    return name


def unmapped(name: Any) -> Any:
    """The address of a socket; an IPv4 one as such where it came by a socket for both families (::ffff:10.0.0.1)."""
    if isinstance(name, tuple) and name[0].startswith(MAPPED) and "." in name[0]:
        return name[0].removeprefix(MAPPED), name[1]
    return name


def _forwarded_for(request: web.BaseRequest) -> str:
    """All of it: a front end may add a line of its own behind those that the client made up."""
    return ",".join(request.headers.getall(hdrs.X_FORWARDED_FOR, ()))


def _local_address(request: web.BaseRequest) -> str:
    """The IP address of our end of the connection."""
    name = request.protocol.sockname
    return str(name[0]) if isinstance(name, tuple) else ""


def is_tls(request: web.BaseRequest) -> bool:
    """Whether the connection itself is encrypted."""
    return request.transport is not None and request.transport.get_extra_info("sslcontext") is not None


def own_names() -> frozenset[str]:
    """The names of this machine."""
    name = socket.gethostname().lower()
    return frozenset({name, name.partition(".")[0]})
