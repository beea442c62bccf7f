"""The command ``demo`` shows what the proxy is for."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(add_completion=False)


@app.command()
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Go on serving afterwards, to play with it.")] = False,
) -> None:
    """Show in some seconds what the proxy is for: an upstream, a proxy and restores on this machine, no network."""
    from rich.console import Console

    from nugetproxy.demo.play import run

    raise typer.Exit(run(Console(highlight=False), keep=keep))
