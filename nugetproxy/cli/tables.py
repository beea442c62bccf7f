"""Tables are what commands print for people: rows that fit into their terminal."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import typer

from nugetproxy.cli import terminal

GAP: Final = "  "
NARROWEST: Final = 16
"""Columns that the last text gets at least, before it is broken."""


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows below the names of their columns; a name that begins with ``>`` is that of numbers.

    Where a row does not fit into the terminal, its first text has a line of its own, and its last one is broken.
    """
    for line in lines(columns, list(rows), terminal.width()):
        typer.echo(line)


def lines(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """The lines of a table that is ``width`` characters wide; 0 where that does not matter."""
    right = [name.startswith(">") for name in columns]
    whole = [[name.lstrip(">") for name in columns], *(list(map(terminal.shown, row)) for row in rows)]
    widths = [max(len(row[at]) for row in whole) for at in range(len(columns))]
    stacked = bool(width) and sum(widths[:-1]) + len(GAP) * (len(columns) - 1) + min(widths[-1], NARROWEST) > width
    for row in whole:
        aligned = zip(row, widths, right, strict=True)
        cells = [text.rjust(most) if end else text.ljust(most) for text, most, end in aligned]
        if stacked:
            yield row[0]
        yield from _broken(["", *cells[1:]] if stacked else cells, width)


def _broken(cells: Sequence[str], width: int) -> Iterator[str]:
    """One row, whose last text goes on below itself where it is too long."""
    before = GAP.join([*cells[:-1], ""])
    if not width or len(before) + len(cells[-1].rstrip()) <= width:
        yield f"{before}{cells[-1]}".rstrip()
        return
    parts = textwrap.wrap(cells[-1].rstrip(), max(NARROWEST, width - len(before))) or [""]
    yield f"{before}{parts[0]}".rstrip()
    yield from (f"{' ' * len(before)}{part}" for part in parts[1:])


def as_json(said: Mapping[str, Any]) -> None:
    """Print what a command said as it said it."""
    typer.echo(json.dumps(said, indent=2))


def day(at: str | None) -> str:
    """The day of a date in the form of RFC 3339."""
    return "-" if at is None else at.partition("T")[0]
