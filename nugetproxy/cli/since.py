"""Since reads from when on a person wants to see something."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated

import typer

from nugetproxy.cli.exits import USAGE, fail

Since = Annotated[
    str, typer.Option("--since", metavar="WHEN", help='A span back from now, such as "30d", or a date; else all.')
]


def moment(text: str) -> float:
    """Seconds since the epoch; 0 for an empty text. Ends the command for what is neither a span nor a date."""
    from nugetproxy.config.units import parse_span
    from nugetproxy.nuget.moments import instant

    if not text:
        return 0.0
    with suppress(ValueError):
        return instant(text)
    try:
        return max(0.0, time.time() - parse_span(text))
    except ValueError:
        fail([f'--since: {text!r} is neither a span, such as "30d", nor a date, such as "2026-03-01".'], USAGE)


def minute(at: float) -> str:
    """A wall time for people, in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")
