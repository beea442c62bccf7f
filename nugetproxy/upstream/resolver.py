"""GuardedResolver looks names up with a limit in time, to addresses that an upstream may have."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

import structlog
from aiohttp.abc import AbstractResolver, ResolveResult

from nugetproxy.upstream.addresses import AddressRule, is_public

log = structlog.get_logger(__name__)

_LOOKUPS = 8
MOVED = (
    "its name led to a public address when this proxy started, now to private ones only; "
    "if that is right, set internal = true for this upstream"
)
_NUMERIC = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


class LookupTimeout(OSError):
    """The name service did not answer in time."""


class AddressDenied(OSError):
    """The name has no address that this upstream may be asked at; ``why`` is fit for logs and clients."""

    def __init__(self, why: str) -> None:
        super().__init__(socket.EAI_FAIL, why)
        self.why = why


class ThreadResolver(AbstractResolver):
    """``getaddrinfo`` in threads of its own: the default ones are shared with everything that blocks."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_LOOKUPS, thread_name_prefix="lookup")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        look_up = partial(
            socket.getaddrinfo, host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        except UnicodeError as error:  # a label is empty, or longer than 63 letters
            raise socket.gaierror(socket.EAI_NONAME, "no host can have this name") from error
        return [
            ResolveResult(hostname=host, host=str(address[0]), port=port, family=family_, proto=proto, flags=_NUMERIC)
            for family_, _, proto, _, address in found
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class GuardedResolver(AbstractResolver):
    """Passes on only the addresses that ``rule`` allows.

    The check is made on what is connected to, so a name that changes its address later (DNS rebinding) gains nothing:
    neither does the index's own, which stays public once it was found to be.
    """

    def __init__(self, inner: AbstractResolver, rule: AddressRule, timeout: float) -> None:
        self._inner = inner
        self._rule = rule
        self._timeout = timeout
        self._index_is_public: bool | None = None

    async def settle(self) -> None:
        """Look the index's host up, to decide whether it is public: if that fails, the first look-up that succeeds
        decides.
        """
        if not self._rule.is_settled:
            with suppress(OSError):
                await self.resolve(self._rule.index)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        try:
            async with asyncio.timeout(self._timeout):
                found = await self._inner.resolve(host, port, family)
        except TimeoutError as error:
            raise LookupTimeout(socket.EAI_AGAIN, "name look-up timed out") from error
        if not found:  # aiohttp breaks where there is nothing to try
            raise socket.gaierror(socket.EAI_NONAME, "the name has no address")
        name = host.lower().rstrip(".")
        own = name == self._rule.index and not self._rule.is_settled
        if own and self._index_is_public is None:
            self._index_is_public = any(is_public(result["host"]) for result in found)
            log.info("upstream.address", host=name, public=self._index_is_public)
        if own and not self._index_is_public:
            return found
        allowed = [result for result in found if self._rule.allows(name, result["host"])]
        if not allowed:
            raise AddressDenied(MOVED if own else "not a public address")
        return allowed

    async def close(self) -> None:
        await self._inner.close()
