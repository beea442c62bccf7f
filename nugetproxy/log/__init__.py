"""The log: structlog, set up so that it never blocks, never floods, never shows a secret.

``setup`` once at start, ``register_secret`` for every credential, then ``structlog.get_logger()`` anywhere. Where a
request must stay cheap, keep ``structlog.get_logger().bind()``: a logger that is bound once costs less per event.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Callable
from typing import IO, Any

import orjson
import structlog
from msgspec import Struct
from structlog.typing import EventDict, Processor, WrappedLogger

from nugetproxy.log.console import console, wants_colors
from nugetproxy.log.floods import FloodGate
from nugetproxy.log.redact import redact as _redact
from nugetproxy.log.redact import register_secret, secrets_known
from nugetproxy.log.writer import LineWriter

__all__ = [
    "Part",
    "dropped",
    "emit",
    "emit_request",
    "loop_failed",
    "part",
    "rate_limited",
    "register_secret",
    "sample_hits",
    "sampled",
    "secrets_known",
    "setup",
    "shutdown",
    "takes_hit",
    "tell",
]

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

_REQUEST = b'{%b,"ms":%.2f,%b,"event":"request","level":"info","timestamp":"%b"}\n'

DECIMALS = 3
"""Of a second that is a millisecond; more of them only hide what a number says."""

_gate = FloodGate()
_writer: LineWriter | None = None
_people: LineWriter | None = None
"""Where lines for people go; the log's own writer on a terminal."""
_steps: list[Processor] = []
"""What makes a line of an info event; empty where the level leaves them out."""
_in_parts = False
"""True where lines are JSON of info events, so that what is said again and again is made only once."""


_every = 1
"""One of so many hits is written."""
_passed = 0
"""Hits since the last one that was written."""


class _Lines:
    """What structlog calls a logger: takes finished lines."""

    def __init__(self, writer: LineWriter) -> None:
        self.debug = self.info = self.warning = self.error = self.critical = self.msg = writer.write


def setup(level: str = "info", fmt: str = "auto", stream: IO[str] | IO[bytes] | None = None) -> None:
    """Send events of ``level`` and above to ``stream`` (stdout unless given).

    ``fmt`` is "json" (one object per line), "console", or "auto": console on a terminal, else json.
    """
    global _writer, _people, _steps, _in_parts  # noqa: PLW0603 - the process has one log
    shutdown()
    stream = sys.stdout if stream is None else stream
    terminal = stream is not None and stream.isatty()
    readable = fmt == "console" or (fmt == "auto" and terminal)
    render = console(colors=terminal and wants_colors(os.environ)) if readable else _json
    finish: list[Processor] = [_redact, _Stamp(), render]
    _steps = finish if LEVELS[level] <= logging.INFO else []
    _in_parts = bool(_steps) and not readable
    writer = _writer = LineWriter(stream, lambda count: _notice(count, finish))
    _people = writer if terminal and readable else LineWriter(sys.stderr, lambda _: b"")
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, *finish],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=lambda *_: _Lines(writer),
        cache_logger_on_first_use=False,
    )
    _capture_libraries(LEVELS[level])


def use_level(level: str) -> None:
    """Send events of ``level`` and above from now on, in the form and to the place that ``setup`` chose."""
    global _steps, _in_parts  # noqa: PLW0603 - the process has one log
    _, *finish = structlog.get_config()["processors"]
    _steps = finish if LEVELS[level] <= logging.INFO else []
    _in_parts = bool(_steps) and finish[-1] is _json
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]))
    _capture_libraries(LEVELS[level])


def sample_hits(every: int) -> None:
    """Write one of so many hits from now on: 1 each, 0 none."""
    global _every, _passed
    _every, _passed = every, 0


def takes_hit() -> int:
    """For how many hits the one of now is to be written; 0: it is not."""
    global _passed  # noqa: PLW0603 - the process has one log
    if _every == 1:
        return 1
    _passed += 1
    if not _every or _passed < _every:
        return 0
    _passed = 0
    return _every


def emit(event: str, fields: EventDict, level: str = "info") -> None:
    """One event without a logger in between, whose own work costs as much as all the rest of an access event."""
    if _writer is None or level != "info":
        structlog.get_logger().log(LEVELS[level], event, **fields)
    elif _steps:
        line: Any = {**fields, "event": event}
        for step in _steps:
            line = step(None, "info", line)
        _writer.write(line)


class Part(Struct, frozen=True):
    """Some fields of an event, redacted, with their JSON."""

    fields: EventDict
    members: bytes
    secrets: int
    """So many were known when it was made."""


def part(fields: EventDict) -> Part:
    """Fields that many events have in common."""
    safe = _redact(None, "info", fields)
    return Part(dict(safe), orjson.dumps(safe)[1:-1], secrets_known())


def emit_request(what: Part, who: Part, milliseconds: float, stands_for: int = 1) -> None:
    """``emit`` of a request, of parts and of how long it took; ``stands_for`` so many alike."""
    if what.secrets != (known := secrets_known()) or who.secrets != known:
        what, who = part(what.fields), part(who.fields)
    if _writer is None or not _in_parts or stands_for > 1:
        fields = {**what.fields, "ms": round(milliseconds, 2), **who.fields, **sampled(stands_for)}
        emit("request", fields)
    else:
        _writer.write(_REQUEST % (what.members, milliseconds, who.members, _stamp.encoded()))


def sampled(stands_for: int) -> EventDict:
    """What an event says that stands for so many."""
    return {"stands_for": stands_for} if stands_for > 1 else {}


def shutdown(timeout: float = 1.0) -> None:
    """Write out what is queued, for at most ``timeout`` seconds."""
    global _writer, _people  # noqa: PLW0603 - the process has one log
    for writer in (_writer, _people):
        if writer is not None:
            writer.close(timeout)
    _writer = _people = None


def tell(text: str) -> None:
    """Write lines for people: among the events on a terminal, else on stderr, so that a log in JSON is nothing else.

    With the same promise as an event: a blocked or closed stream holds nobody up.
    """
    if _people is not None:
        _people.write(f"{text}\n".encode())


def dropped() -> int:
    """How many lines were dropped because the stream was blocked or closed."""
    return 0 if _writer is None else _writer.dropped


def rate_limited(event: str, key: str = "", *, level: str = "warning", **fields: Any) -> bool:
    """Log ``event``, but at most five of the same event and ``key`` in ten seconds; whether it was logged.

    The next one that passes says how many were ``held_back``.
    """
    held = _gate.admit(f"{event} {key}")
    if held is None:
        return False
    if held:
        fields["held_back"] = held
    structlog.get_logger().log(LEVELS[level], event, **fields)
    return True


def loop_failed(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """The event loop's exception handler: running out of descriptors alone can cause thousands of calls a second."""
    error = context.get("exception")
    message = str(context.get("message", ""))
    rate_limited("loop.failed", f"{type(error).__name__} {message}", level="error", message=message, exc_info=error)


class _Stamp:
    """Adds level, time, rounds numbers; the text of the current second is kept, as formatting it is half the price."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._second = 0
        self._text = ""
        self._millisecond = -1
        self._encoded = b""

    def text(self) -> str:
        """The time now."""
        return self._of(int(self._now() * 1000))

    def encoded(self) -> bytes:
        """As ``text``; made once for all events of a millisecond."""
        millisecond = int(self._now() * 1000)
        if millisecond != self._millisecond:
            self._millisecond, self._encoded = millisecond, self._of(millisecond).encode()
        return self._encoded

    def _of(self, milliseconds: int) -> str:
        second, rest = divmod(milliseconds, 1000)
        if second != self._second:
            self._second, self._text = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._text}.{rest:03d}Z"

    def __call__(self, _logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        for name, value in event.items():
            if type(value) is float:
                event[name] = round(value, DECIMALS)
        event["level"] = method
        event["timestamp"] = self.text()
        return event


_stamp = _Stamp()
"""Of events that are made of parts."""


def _json(_logger: WrappedLogger, _method: str, event: EventDict) -> bytes:
    try:
        return orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # a number beyond 64 bits; redaction has left nothing else that JSON cannot say
        return orjson.dumps({name: str(value) for name, value in event.items()}, option=orjson.OPT_APPEND_NEWLINE)


def _notice(count: int, finish: list[Processor]) -> bytes:
    event: Any = {"event": "log.dropped", "count": count}
    for step in finish:
        event = step(None, "warning", event)
    return bytes(event)


def _capture_libraries(level: int) -> None:
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if isinstance(handler, _Libraries)]:
        root.removeHandler(old)
    root.addHandler(_Libraries(max(level, logging.WARNING)))
    logging.getLogger("aiohttp.access").disabled = True  # our own event per request says more


class _Libraries(logging.Handler):
    """Brings what libraries log into our log: rate-limited, without a traceback for a client's malformed request."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, ConnectionError) and record.name == "aiohttp.server":
            return  # the client has left, or was cut off: its access event says so
        malformed = error is not None and type(error).__module__.startswith("aiohttp.http")
        rate_limited(
            "library.warned",
            f"{record.name} {record.msg} {type(error).__name__}",
            level="error" if record.levelno >= logging.ERROR and not malformed else "warning",
            library=record.name,
            message=_message(record),
            exc_info=None if malformed else error,
        )


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):  # the library's own mistake: arguments that do not fit
        return str(record.msg)
