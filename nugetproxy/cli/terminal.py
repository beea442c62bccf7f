"""The terminal is what people read a command in: no sentence is broken within a word."""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
from typing import Final, TextIO

import typer

HANGING: Final = "  "
"""What the further lines of a sentence begin with, beside what the first one does."""
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""What a terminal obeys instead of showing it, but for ends of lines and tabs; what turns the direction of text."""


def width(*, err: bool = False) -> int:
    """Characters in a line of the terminal; 0 for a pipe or a file, or where the stream was closed before the start."""
    stream: TextIO | None = sys.stderr if err else sys.stdout
    people = stream is not None and (stream.isatty() or "COLUMNS" in os.environ)
    return shutil.get_terminal_size().columns if people else 0


def say(sentence: str, *, err: bool = False) -> None:
    """Print it, on as many lines as the terminal wants; on one where nobody looks."""
    typer.echo(folded(shown(sentence), width(err=err)), err=err)


def shown(text: str) -> str:
    """It with control characters escaped: upstreams and files of others must not speak to the terminal."""
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def count(number: int, what: str) -> str:
    """``1 package``, ``2 packages``."""
    return f"{number} {what}" + ("" if number == 1 else "s")


def folded(sentence: str, most: int) -> str:
    """It on lines of ``most`` characters, but for words that are longer; 0 for one line."""
    if not most or len(sentence) <= most:
        return sentence
    indent = sentence[: len(sentence) - len(sentence.lstrip())]
    lines = textwrap.wrap(
        sentence.strip(),
        most,
        initial_indent=indent,
        subsequent_indent=indent + HANGING,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(lines)
