"""Console lines are events as people read them, in a terminal."""

from __future__ import annotations

from collections.abc import Mapping

from structlog.dev import ConsoleRenderer, plain_traceback
from structlog.typing import EventDict, Processor, WrappedLogger

REQUEST = "request"
"""The event of which there are most; its line says what matters, in the order of an access log."""
SAID = frozenset({"event", "level", "timestamp", "method", "path", "status", "outcome", "ms"})
QUIET = frozenset({"kind", "bytes", "client", "feed", "session", "id", "version", "upstream_ms"})
"""What a person at a terminal can do without."""


def wants_colors(environ: Mapping[str, str]) -> bool:
    """Whether a terminal may be sent escape sequences (https://no-color.org; a dumb terminal knows none)."""
    return not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def console(*, colors: bool) -> Processor:
    """The last processor: makes one line of an event."""
    renderer = ConsoleRenderer(colors=colors, exception_formatter=plain_traceback)

    def render(logger: WrappedLogger, method: str, event: EventDict) -> bytes:
        line = _request(event) if event.get("event") == REQUEST else renderer(logger, method, event)
        return f"{line}\n".encode()

    return render


def _request(event: EventDict) -> str:
    """As in ``12:30:01 GET /v3/index.json 200 hit 6 ms``."""
    clock = str(event.get("timestamp", ""))[11:19]
    words = [clock, *(str(event.get(name, "")) for name in ("method", "path", "status", "outcome"))]
    words.append(f"{float(event.get('ms', 0)):.0f} ms")
    words += [f"{name}={value}" for name, value in event.items() if name not in SAID | QUIET]
    return " ".join(word for word in words if word)
