"""ProxyClient is how a job asks the proxy: GETs as its clients send them, commands as its operators give them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import orjson
from msgspec import Struct

from nugetproxy.errors import ProxyError

Moved = Callable[[int], None]
"""Is told of bytes as they come."""
AT_ONCE: Final = 8
"""Requests of one job; as many packages are under way at once."""


def nobody_counts(_size: int) -> None:
    """Of bytes that are not counted."""


class Fetched(Struct, frozen=True):
    """One answer of the proxy to a GET."""

    status: int
    content_type: str = ""
    body: bytes = b""
    failure: str = ""
    """Why there is no answer at all, in words."""

    @property
    def said(self) -> str:
        """What came instead of a document."""
        return self.failure or f"status {self.status}"

    @property
    def error(self) -> str:
        """What the proxy says instead of an answer; empty where it says nothing."""
        try:
            said = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return ""
        return str(said.get("error", "")) if isinstance(said, dict) else ""

    @property
    def document(self) -> Any:
        """The JSON in it; None where it is something else."""
        if self.status != 200 or "json" not in self.content_type:
            return None
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None


class ProxyGone(ProxyError):
    """The running proxy gives no answer any more."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why

    def __str__(self) -> str:
        return f"The running proxy went away: {self.why}."


class ProxyClient(Protocol):
    """To a proxy that runs, or to one that was opened for this job."""

    async def get(self, path: str, moved: Moved = nobody_counts, *, keep: bool = True) -> Fetched:
        """A GET of ``path`` (``v3/...``), a status 0 where no answer came; the body is empty without ``keep``."""

    async def command(self, name: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """The result of a command; raises ProxyError, ProxyGone where there is no answer."""
