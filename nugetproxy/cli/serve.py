"""The command ``serve`` runs the proxy."""

from __future__ import annotations

import signal
import sys
from functools import partial
from types import FrameType
from typing import Annotated, NoReturn

import typer

from nugetproxy.cli.lean import lean_imports
from nugetproxy.cli.options import CacheDirectory, ConfigFile

app = typer.Typer(add_completion=False)


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    """A stop that comes before the server can take it is no failure."""
    sys.exit(0)


@app.command()
def serve(
    config: ConfigFile = None,
    listen: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Where to listen; port 0 takes a free one.")
    ] = None,
    upstream: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL|DIR",
            help="A service index, or a folder of packages, instead of the configured upstreams; may be repeated.",
        ),
    ] = None,
    cache_dir: CacheDirectory = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Never ask an upstream: what is stored is the feed.")
    ] = False,
) -> None:
    """Run the proxy until it is told to stop; without options, one of nuget.org on 127.0.0.1:5555."""
    signal.signal(signal.SIGTERM, _end)
    with lean_imports():
        from nugetproxy.config import load

    read = partial(load, config, listen=listen, upstreams=upstream or [], cache_dir=cache_dir, offline=offline)
    settings = read()
    with lean_imports():
        from nugetproxy.serve import run  # the whole server: not needed to say what is wrong in a file

    raise typer.Exit(run(settings, read))
