"""Question is what is asked of an upstream, with who judges the answer, so that a probe can repeat it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from yarl import URL

from nugetproxy.upstream.response import Response
from nugetproxy.upstream.sessions import Lane


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to send, without credentials: those depend on the hop."""

    lane: Lane
    method: str
    headers: Mapping[str, str]
    credentials: bool = True
    """Whether the configured credentials go along."""


@dataclass(frozen=True, slots=True)
class Question:
    """One request; ``judge`` reads what a probe needs of its answer, raising UpstreamFailure where it is useless."""

    request: Request
    url: URL
    judge: Callable[[Response], Awaitable[object]]

    @property
    def repeatable(self) -> bool:
        """Whether a probe may ask it again: a write never."""
        return self.request.method in {"GET", "HEAD"}

    @property
    def name(self) -> str:
        """The target, as far as failures are concerned."""
        return f"{self.request.lane} {self.request.method} {self.url}"
