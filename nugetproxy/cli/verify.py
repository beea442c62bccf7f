"""The command ``verify`` reads every held package again."""

from __future__ import annotations

import sys
from typing import Any, Final

import typer

from nugetproxy.cli.door import tell
from nugetproxy.cli.exits import FAILED
from nugetproxy.cli.options import CacheDirectory, ConfigFile, Json, Upstream

app = typer.Typer(add_completion=False)

SECONDS: Final = 30.0
"""Of work between two words about how far it is."""


@app.command()
def verify(
    *, upstream: Upstream = "", json: Json = False, config: ConfigFile = None, cache_dir: CacheDirectory = None
) -> None:
    """Compare every held package with its hash; damaged ones are set aside and fetched again.

    Exit code 1 where something is damaged that could not be fetched again.
    """
    from nugetproxy.cli.tables import as_json
    from nugetproxy.config import load
    from nugetproxy.config.units import about_size

    settings, place = load(config, cache_dir=cache_dir), ""
    checked, size, damaged = 0, 0, list[dict[str, Any]]()
    while True:
        said = tell(settings, "verify", {"upstream": upstream, "after": place, "seconds": SECONDS})
        checked, size, damaged = checked + said["checked"], size + said["size"], damaged + said["damaged"]
        place = said["next"]
        if not place:
            break
        if sys.stderr.isatty():
            typer.echo(f"{checked} packages ({about_size(size)}), now at {place}", err=True)
    if json:
        as_json({"checked": checked, "size": size, "damaged": damaged})
    else:
        for one in damaged:
            typer.echo(f"{one['id']} {one['version']} from {one['upstream']} was damaged: {one['says']}.")
        typer.echo(f"{checked} packages ({about_size(size)}) read, {len(damaged)} damaged.")
    if any(not one["repaired"] for one in damaged):
        raise typer.Exit(FAILED)
