"""Services are what an upstream's service index offers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceMap:
    """Which URL of upstream is which path of ours, both ways; made by ``parse_service_index``."""

    url: str
    digest: str
    index: Mapping[str, Any]
    unknown: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()

    def has(self, resource: str) -> bool:
        """True when upstream offers ``resource`` (a name of the registry)."""
        raise NotImplementedError

    def upstream_urls(self, resource: str, rest: str, query: str = "") -> tuple[str, ...]:
        """Where to ask for ``rest`` of ``resource``, best first; empty if upstream does not offer it."""
        raise NotImplementedError

    def to_local(self, url: str, *, prefer: str = "") -> str | None:
        """``url`` as a path below ``/v3/``, with its fragment; None if it is not under a mapped base."""
        raise NotImplementedError

    def publish_urls(self, resource: str, rest: str = "") -> tuple[str, ...]:
        """The complete URLs to send a write to, best first (``rest`` already encoded)."""
        raise NotImplementedError


def parse_service_index(body: bytes, url: str) -> ServiceMap:
    """What the index ``body``, which came from ``url``, offers. Raises InvalidDocument."""
    raise NotImplementedError
