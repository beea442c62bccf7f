"""The log of a running proxy, for one test."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from structlog.dev import ConsoleRenderer, plain_traceback

from nugetproxy import log


def plain() -> None:
    """structlog without a proxy's set-up: no tracebacks that show local variables.

    Such a traceback of a request with a large body takes minutes and gigabytes to draw.
    """
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S"),
            ConsoleRenderer(colors=False, exception_formatter=plain_traceback),
        ]
    )


@contextmanager
def written() -> Iterator[io.StringIO]:
    """Everything that is logged meanwhile, as a running proxy would write it."""
    before, handlers = structlog.get_config(), list(logging.getLogger().handlers)
    access = logging.getLogger("aiohttp.access").disabled
    stream = io.StringIO()
    log.setup("debug", "json", stream)
    try:
        yield stream
    finally:
        log.shutdown()
        structlog.configure(**before)
        logging.getLogger().handlers[:] = handlers
        logging.getLogger("aiohttp.access").disabled = access
