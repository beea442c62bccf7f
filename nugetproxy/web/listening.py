"""Listening sockets are those that a service manager passed to this process, or one of our own."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping, MutableMapping
from types import MappingProxyType

from nugetproxy.errors import ProxyError

BACKLOG = 2048
SEND_BUFFER = 256 * 1024
"""Per connection, in bytes; without a bound slow readers fill the kernel's memory."""

FIRST_PASSED = 3
"""sd_listen_fds(3): passed descriptors follow the standard ones."""
REMEDY = "Correct the socket unit; deploy/nugetproxy.socket is one that works."
HTTP, ADMIN = "http", "admin"
NAMES: Mapping[str, str] = MappingProxyType({HTTP: HTTP, ADMIN: ADMIN, "": HTTP, "unknown": HTTP})
"""What a passed socket is for, by its name; systemd names one after its unit where nothing else is said."""
_LISTENING: Mapping[int, tuple[str, str]] = MappingProxyType(
    {
        errno.EADDRINUSE: ("it is in use", "Stop what uses it, or set another {}."),
        errno.EADDRNOTAVAIL: (
            "this machine has no such address",
            "Set {} to an address of this machine; 0.0.0.0 is every one of them.",
        ),
    }
)
"""Of an error of bind(2): what it says, what to do about it."""


class AddressUnusable(ProxyError):
    """Nobody can listen at the configured address now."""

    def __init__(self, address: str, why: str, remedy: str) -> None:
        super().__init__(address, why)
        self.address = address
        self.why = why
        self.remedy = remedy

    def __str__(self) -> str:
        return f"Cannot listen on {self.address}: {self.why}. {self.remedy}"

    @classmethod
    def of(cls, address: str, error: OSError, key: str = "server.listen") -> AddressUnusable:
        """What an error of the name service or of bind(2) means for an operator who has set ``key``."""
        if isinstance(error, socket.gaierror):
            return AddressWrong(
                address, "its host name does not resolve", f"Correct the name in {key}, or write an address."
            )
        if error.errno in {errno.EACCES, errno.EPERM}:
            return AddressWrong(
                address,
                "permission denied: ports below 1024 want a privilege that this user does not have",
                f"Set {key} to a higher port, or grant the process CAP_NET_BIND_SERVICE.",
            )
        why, remedy = _LISTENING.get(error.errno or 0, (error.strerror or str(error), "Set another {}."))
        return cls(address, why, remedy.format(key))


class AddressWrong(AddressUnusable):
    """The configured address is one where this process can never listen; trying again does not help."""


def passed_sockets(environ: MutableMapping[str, str]) -> Mapping[str, list[socket.socket]]:
    """The sockets that a service manager passed, by what they are for; empty where it passed none to this process.

    Takes the variables of sd_listen_fds(3) out of ``environ``, so that no child takes them for its own. Raises
    AddressUnusable for a name that we do not know, or a descriptor that does not listen.
    """
    said = {name: environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")}
    if said["LISTEN_PID"] != str(os.getpid()) or not said["LISTEN_FDS"].isdigit():
        return {}
    count = int(said["LISTEN_FDS"])
    names = said["LISTEN_FDNAMES"].split(":") if said["LISTEN_FDNAMES"] else []
    sockets: dict[str, list[socket.socket]] = {}
    for number in range(count):
        name = names[number] if number < len(names) else ""
        purpose = HTTP if name.endswith(".socket") else NAMES.get(name)
        if purpose is None:
            what = f"FileDescriptorName={name} is not known; it may be {HTTP} or {ADMIN}"
            raise AddressUnusable(f"passed socket {number + 1}", what, REMEDY)
        sockets.setdefault(purpose, []).append(_adopted(FIRST_PASSED + number))
    return sockets


def _adopted(descriptor: int) -> socket.socket:
    name = f"passed descriptor {descriptor}"
    try:
        os.set_inheritable(descriptor, False)
        listener = socket.socket(fileno=descriptor)
        listens = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise AddressUnusable(name, error.strerror or str(error), REMEDY) from error
    if not listens:
        raise AddressUnusable(name, "it does not listen", REMEDY)
    return _prepared(listener)


def own_socket(host: str, port: int, key: str = "server.listen") -> socket.socket:
    """A socket that listens there, as ``key`` says it; raises AddressUnusable."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)  # of two that start at once, both can bind (SO_REUSEADDR): the second fails here
    except OSError as error:
        listener.close()
        shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        raise AddressUnusable.of(shown, error, key) from error
    return _prepared(listener)


def _prepared(listener: socket.socket) -> socket.socket:
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)  # accepted sockets inherit it
    listener.setblocking(False)
    return listener
