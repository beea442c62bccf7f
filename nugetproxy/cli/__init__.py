"""The command line: a plain start of the server by itself, else one of the commands."""

from __future__ import annotations

import io
import sys

from nugetproxy.cli.plain import plain_start


def main() -> None:
    """The entry point of the ``nugetproxy`` command."""
    start = plain_start(sys.argv[1:])
    if start is not None:
        sys.exit(start.run_alone())
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr does with what its encoding does not have
    from nugetproxy.cli.commands import app

    app()
