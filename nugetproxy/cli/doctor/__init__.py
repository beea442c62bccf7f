"""The command ``doctor`` examines what the proxy publishes."""

from __future__ import annotations

from typing import Annotated

import typer

from nugetproxy.cli.exits import FAILED, USAGE, fail
from nugetproxy.cli.options import ConfigFile

app = typer.Typer(add_completion=False)


@app.command()
def doctor(
    leaks: Annotated[
        bool, typer.Option("--leaks", help="List every published URL that leads elsewhere, and why.")
    ] = False,
    config: ConfigFile = None,
    upstream: Annotated[
        list[str] | None, typer.Option(metavar="URL", help="A service index to examine instead; may be repeated.")
    ] = None,
    proxy: Annotated[
        str, typer.Option(metavar="URL", help="The service index of a running proxy to examine instead.")
    ] = "",
    package: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="A package to look at; else some that a search finds.")
    ] = None,
) -> None:
    """Examine what the proxy publishes; exit code 1 when something is wrong with it."""
    if not leaks:
        fail(["nothing to examine; say --leaks"], USAGE)
    from rich.console import Console

    from nugetproxy.config import load

    settings = load(config, upstreams=upstream or [])
    from nugetproxy.cli.doctor.leaks import find_leaks  # the whole server

    found = find_leaks(settings, proxy=proxy, packages=package or [], console=Console(highlight=False))
    raise typer.Exit(FAILED if found else 0)
