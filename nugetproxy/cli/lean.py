"""Lean imports leave out what libraries load for features that the server never uses."""

from __future__ import annotations

import gc
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

UNUSED: Final = "rich"
"""structlog loads it for coloured tracebacks, which the log does not have."""


@contextmanager
def lean_imports() -> Iterator[None]:
    """Within it modules load faster, and nothing collects garbage.

    aiohttp reads the system's certificate authorities twice, as it is imported, for clients that name no context of
    their own. Ours always do, so these contexts trust nobody here: 1.2 MiB, 60 ms less for each.
    """
    gc.disable()  # an import makes little garbage, while each collection looks at all that was loaded before
    loaded, context = UNUSED in sys.modules, ssl.create_default_context
    if not loaded:
        sys.modules[UNUSED] = None  # type: ignore[assignment]  # Python's way to say that there is no such module
    ssl.create_default_context = _trusting_nobody
    ssl.SSLContext.set_default_verify_paths = _trust_nobody  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        ssl.create_default_context = context
        del ssl.SSLContext.set_default_verify_paths  # what it inherits is there again
        if not loaded:
            del sys.modules[UNUSED]
        gc.enable()


def _trusting_nobody(*_: Any, **__: Any) -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _trust_nobody(_context: ssl.SSLContext) -> None:
    """In the place of what reads the system's authorities."""
