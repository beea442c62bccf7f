"""Redaction takes out of a log event whatever must not be written down."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Mapping
from datetime import date
from functools import lru_cache
from types import TracebackType
from typing import Any
from urllib.parse import quote

from structlog.typing import EventDict, WrappedLogger
from yarl import URL

HIDDEN = "[hidden]"
SHORTEST_SECRET = 4
"""Shorter ones are not searched for: they would be found inside ordinary words."""

_LONGEST_TEXT = 4096
_LONGEST_TRACE = 16384
_DEEPEST = 4
_FRAMES = 12
_WORDS = r"authorization|api[-_]?key|passw(?:or)?d|token|secret|credential|cookie"
_SENSITIVE_NAME = re.compile(_WORDS, re.IGNORECASE)
_SPELLED_OUT = re.compile(
    rf"""((?<!push_)(?:{_WORDS})s?(?:['"]?\s*[:=]|['"]\s*,)\s*(?:b(?=['"]))?['"]?)"""
    r"""(?:(?:basic|bearer)\s+)?[^\s'",;&})]+""",
    re.IGNORECASE,
)
"""A credential behind its name: ``name: value``, ``name=value``, both in quotes with a comma between them.

Without quotes a comma belongs to a sentence; ``push_credentials`` is a key whose values are no secrets.
"""
_URL = re.compile(r"""([a-z][a-z0-9+.-]{0,20}://)([^\s"'<>?#]*)(?:[?#][^\s"'<>]*)?""", re.IGNORECASE)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff]")
_PLAIN = frozenset((int, float, bool, type(None)))

_secrets: set[str] = set()
_secret_pattern: re.Pattern[str] | None = None


def register_secret(value: str) -> None:
    """From now on replace ``value`` wherever it turns up in an event, percent-encoded or as it is."""
    global _secret_pattern  # noqa: PLW0603 - one list for the process, as there is one log
    if len(value) < SHORTEST_SECRET:
        return
    _secrets.update((value, quote(value, safe="")))
    _secret_pattern = re.compile("|".join(re.escape(text) for text in sorted(_secrets, key=len, reverse=True)))


def secrets_known() -> int:
    """Rises with each secret: what was redacted before may hold the last one."""
    return len(_secrets)


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The structlog processor: runs before anything that formats or writes.

    ``exc_info`` becomes ``error`` (the class) with ``exception`` (a traceback without local variables).
    """
    exception = event.pop("exc_info", None)
    if not _is_harmless(event):
        for name, value in event.items():
            event[name] = HIDDEN if is_sensitive(name) else _safe(value, 0)
    if exception:
        _describe(event, exception)
    return event


def _is_harmless(event: EventDict) -> bool:
    """Whether nothing in ``event`` needs a closer look: one look at all texts together costs a quarter of many."""
    texts = []
    for value in event.values():
        if type(value) is str:
            texts.append(value)
        elif type(value) not in _PLAIN:
            return False
    joined = " ".join(texts)
    return (
        len(joined) <= _LONGEST_TEXT
        and joined.isprintable()
        and not (":" in joined or "=" in joined or "'" in joined or "?" in joined)
        and (_secret_pattern is None or _secret_pattern.search(joined) is None)
        and not _any_sensitive(tuple(event))
    )


@lru_cache(maxsize=256)
def _any_sensitive(names: tuple[str, ...]) -> bool:
    return any(is_sensitive(name) for name in names)


@lru_cache(maxsize=1024)
def is_sensitive(name: str) -> bool:
    """Whether a field or header of this name holds a credential."""
    return _SENSITIVE_NAME.search(name) is not None


def safe_text(text: str) -> str:
    """``text`` without secrets, without user information or query in URLs, with control characters escaped."""
    if len(text) > _LONGEST_TEXT:
        text = text[:_LONGEST_TEXT] + "..."
    if _secret_pattern is not None:
        text = _secret_pattern.sub(HIDDEN, text)
    if ":" in text or "=" in text or "'" in text:
        text = _SPELLED_OUT.sub(rf"\1{HIDDEN}", text)
        if "://" in text:
            text = _URL.sub(_bare_url, text)
    if text.startswith("/"):
        text = text.partition("?")[0]
    return text if text.isprintable() else _UNPRINTABLE.sub(_escape, text)


def _bare_url(match: re.Match[str]) -> str:
    """Scheme, host, path: what stands before the last @ may be a password, even one with a slash in it."""
    return f"{match[1]}{match[2].rpartition('@')[2]}"


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def _safe(value: Any, depth: int) -> Any:
    """Only what is known to be harmless is written out; of everything else the class is named, for its ``repr``
    may hold anything (aiohttp's ClientResponseError prints the request headers)."""
    if isinstance(value, str | os.PathLike | URL | date):
        return safe_text(str(value))
    if isinstance(value, bytes):
        return safe_text(value.decode("utf-8", "replace"))
    if isinstance(value, bool | int | float) or value is None:
        return value
    if isinstance(value, BaseException):
        return f"{_class_name(type(value))}: {safe_text(str(value))}"
    if isinstance(value, Mapping) and depth < _DEEPEST:
        return {
            safe_text(str(name)): HIDDEN if is_sensitive(str(name)) else _safe(item, depth + 1)
            for name, item in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset) and depth < _DEEPEST:
        return [_safe(item, depth + 1) for item in value]
    return f"<{_class_name(type(value))}>"


def _class_name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _describe(event: EventDict, given: Any) -> None:
    """Name the exception, with its traceback: files, lines, functions, never the values in them."""
    if isinstance(given, BaseException):
        error, trace = given, given.__traceback__
    else:
        _, error, trace = given if isinstance(given, tuple) else sys.exc_info()
    if error is None:
        return
    event["error"] = _class_name(type(error))
    event["exception"] = _trace_text(error, trace)


def _trace_text(error: BaseException, trace: TracebackType | None) -> str:
    described = traceback.TracebackException(
        type(error), error, trace, limit=-_FRAMES, capture_locals=False, max_group_width=3, max_group_depth=3
    )
    text = "".join(described.format())[:_LONGEST_TRACE]
    return "\n".join(safe_text(line) for line in text.rstrip().split("\n"))
