"""GuardedResolver looks names up with a limit in time, within an upstream's reach."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from aiohttp.abc import AbstractResolver, ResolveResult

from nugetproxy.upstream.addresses import Reach

_LOOKUPS = 8
_NUMERIC = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


class LookupTimeout(OSError):
    """The name service did not answer in time."""


class AddressDenied(OSError):
    """The name has no address that this upstream may be asked at."""


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
        found = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        return [
            ResolveResult(hostname=host, host=str(address[0]), port=port, family=family_, proto=proto, flags=_NUMERIC)
            for family_, _, proto, _, address in found
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class GuardedResolver(AbstractResolver):
    """Passes on only the addresses within ``reach``.

    The check is made on what is connected to, so a name that changes its address later (DNS rebinding) gains nothing.
    """

    def __init__(self, inner: AbstractResolver, reach: Reach, timeout: float) -> None:
        self._inner = inner
        self._reach = reach
        self._timeout = timeout

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        try:
            async with asyncio.timeout(self._timeout):
                found = await self._inner.resolve(host, port, family)
        except TimeoutError as error:
            raise LookupTimeout(socket.EAI_AGAIN, "name look-up timed out") from error
        name = host.lower().rstrip(".")
        allowed = [result for result in found if self._reach.allows(name, result["host"])]
        if found and not allowed:
            raise AddressDenied(socket.EAI_FAIL, "the name has no public address")
        return allowed

    async def close(self) -> None:
        await self._inner.close()
