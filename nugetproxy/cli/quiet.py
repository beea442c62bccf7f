"""Quiet keeps the application's log out of what a command prints."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from nugetproxy import log as logs


@contextmanager
def quiet(level: str = "warning") -> Iterator[None]:
    """Events of ``level`` and above go to stderr as lines for people, all others nowhere; with "off", none at all."""
    before = structlog.get_config()
    if level == "off":
        structlog.configure(processors=[_drop])
    else:
        logs.setup(level, "console", sys.stderr)
    try:
        yield
    finally:
        logs.shutdown()
        structlog.configure(**before)


def _drop(_logger: object, _method: str, _event: object) -> str:
    raise structlog.DropEvent
