"""The command ``serve`` runs the proxy."""

from __future__ import annotations

from typing import Annotated

import typer

from nugetproxy.cli.options import CacheDirectory, ConfigFile
from nugetproxy.cli.plain import Start

app = typer.Typer(add_completion=False)


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
    start = Start(config=config, listen=listen, upstreams=upstream or (), cache_dir=cache_dir, offline=offline)
    raise typer.Exit(start.run())
