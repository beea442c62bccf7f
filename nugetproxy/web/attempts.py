"""Attempts slows down whoever shows wrong credentials."""

from __future__ import annotations

import ipaddress
from typing import Final

from cachetools import LRUCache

from nugetproxy.clock import Clock

BURST: Final = 20
"""Wrong ones that an address may show at once: a restore on several cores with a mistyped token."""
PER_SECOND: Final = 1.0
"""How fast it may go on after that."""
ADDRESSES: Final = 10_000


class Attempts:
    """A bucket of mistakes for each address (IPv6: each network of 64 bits), bounded in number."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._spent: LRUCache[str, tuple[float, float]] = LRUCache(ADDRESSES)

    def too_many(self, address: str) -> bool:
        """Whether no more credentials are to be looked at now."""
        return self._level(_key(address)) > BURST - 1

    def failed(self, address: str) -> None:
        """Note that the credentials of an address were wrong."""
        key = _key(address)
        self._spent[key] = (self._level(key) + 1, self._clock.monotonic())

    def _level(self, key: str) -> float:
        level, at = self._spent.get(key, (0.0, 0.0))
        return max(0.0, level - (self._clock.monotonic() - at) * PER_SECOND)


def _key(address: str) -> str:
    if ":" not in address:
        return address
    try:
        ip = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    return str(ip.ipv4_mapped or ipaddress.IPv6Network((int(ip) >> 64 << 64, 64)))
