"""The command ``init`` writes a starting configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nugetproxy.cli.exits import USAGE, fail

app = typer.Typer(add_completion=False)


@app.command()
def init(
    source: Annotated[
        Path | None, typer.Option("--from", metavar="NUGET.CONFIG", help="Take over what this nuget.config says.")
    ] = None,
) -> None:
    """Write a starting configuration (TOML) to stdout; check-config says what is still missing in it."""
    from nugetproxy.cli.starting import starting, taken_over

    if source is None:
        typer.echo(starting())
        return
    from nugetproxy.nuget.nuget_config import InvalidNugetConfig, parse_nuget_config

    try:
        said = parse_nuget_config(source.read_bytes())
    except OSError as error:
        fail([f"{source}: cannot be read: {error.strerror}"], USAGE)
    except InvalidNugetConfig as error:
        fail([f"{source}: {error}"], USAGE)
    typer.echo(taken_over(said, source.absolute()))
