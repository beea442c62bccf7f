"""The command ``doctor`` examines the proxy of this machine, with what it publishes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nugetproxy.cli.exits import FAILED, USAGE, fail
from nugetproxy.cli.options import ConfigFile

app = typer.Typer(add_completion=False)


@app.command()
def doctor(
    *,
    nuget_config: Annotated[
        Path | None,
        typer.Argument(metavar="[NUGET.CONFIG]", help="Only say which sources of this file lead around the proxy."),
    ] = None,
    leaks: Annotated[
        bool, typer.Option("--leaks", help="Only list every published URL that leads elsewhere, and why.")
    ] = False,
    config: ConfigFile = None,
    upstream: Annotated[
        list[str] | None, typer.Option(metavar="URL", help="A service index to examine instead; may be repeated.")
    ] = None,
    proxy: Annotated[
        str | None, typer.Option(metavar="URL", help="A running proxy whose links to examine instead.")
    ] = None,
    package: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="A package to look at; else some that a search finds.")
    ] = None,
) -> None:
    """Examine configuration, cache directory, running proxy and every published link; exit code 1 if one is wrong."""
    if proxy is not None and not proxy.strip():
        raise typer.BadParameter("it is empty; write the URL of a proxy, or leave the option out", param_hint="--proxy")
    from rich.console import Console

    from nugetproxy.config import load

    settings = load(config, upstreams=upstream or [])
    from nugetproxy.cli.doctor.examination import (  # the whole server
        examine_all,
        examine_links,
        examine_nuget_config,
    )
    from nugetproxy.cli.doctor.running import complete_url
    from nugetproxy.config.places import split_url
    from nugetproxy.nuget.nuget_config import InvalidNugetConfig

    try:
        if proxy is not None:
            split_url(complete_url(proxy))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--proxy") from error
    console = Console(highlight=False)
    if nuget_config is not None:
        try:
            wrong = examine_nuget_config(nuget_config, settings, proxy=proxy or "", console=console)
        except (OSError, InvalidNugetConfig) as error:
            fail([f"{nuget_config}: {getattr(error, 'strerror', None) or error}"], USAGE)
    elif leaks or proxy or upstream:
        wrong = examine_links(settings, proxy=proxy or "", packages=package or [], console=console)
    else:
        wrong = examine_all(settings, config, packages=package or [], console=console)
    raise typer.Exit(FAILED if wrong else 0)
