"""Tls is the server's side of https: a certificate that may be renewed while connections stay."""

from __future__ import annotations

import asyncio
import errno
import ssl
from pathlib import Path
from typing import Any, Final

import structlog

log = structlog.get_logger(__name__)

PROTOCOLS: Final = ("http/1.1",)


class Certificate:
    """New connections are shown the newest one that was good; those that are open keep theirs."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Raises OSError, ssl.SSLError."""
        self.files = (certificate, key)
        self._newest = server_context(certificate, key)
        self.context = server_context(certificate, key)
        """What the listening sockets are given."""
        self.context.sni_callback = self._choose

    def _choose(self, connection: Any, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._newest

    async def renew(self) -> None:
        """Read the files again; while they do not fit together, the certificate of before stays."""
        try:
            self._newest = await asyncio.to_thread(server_context, *self.files)
        except (OSError, ssl.SSLError) as error:
            log.error("tls.unreadable", file=str(self.files[0]), detail=trouble(error))  # noqa: TRY400 - says it all
        else:
            log.info("tls.read", file=str(self.files[0]))


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 and later with the library's own choice of ciphers; raises OSError, ssl.SSLError. Blocks."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(PROTOCOLS)
    # A key with a password would make the library ask for it on the terminal.
    context.load_cert_chain(certificate, key, password=_no_password)
    return context


def _no_password() -> str:
    raise OSError(errno.EACCES, "the key wants a password, which nobody can give")


def trouble(error: Exception) -> str:
    """What is wrong with the files."""
    if isinstance(error, ssl.SSLError):
        return error.reason or "one of them is empty, damaged, or not what it should be: both are to be PEM"
    return str(error.strerror if isinstance(error, OSError) else error)
