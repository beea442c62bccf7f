"""The command ``explain`` says which source serves a package, and why no other one does."""

from __future__ import annotations

from typing import Annotated

import typer

from nugetproxy.cli.named import named
from nugetproxy.cli.options import CacheDirectory, ConfigFile, FeedName, Json
from nugetproxy.cli.terminal import say

app = typer.Typer(add_completion=False)


@app.command()
def explain(
    package: Annotated[str, typer.Argument(metavar="ID[@VERSION]", help="The package.")],
    version: Annotated[
        str | None, typer.Argument(metavar="[VERSION]", help="One version; else the id in general.")
    ] = None,
    *,
    feed: FeedName = "",
    json: Json = False,
    config: ConfigFile = None,
    cache_dir: CacheDirectory = None,
) -> None:
    """Say which source serves a package, by which rule, from which stored copy; nobody is asked for it."""
    from nugetproxy.cli.control import tell
    from nugetproxy.cli.tables import as_json
    from nugetproxy.config import load

    id_, wanted = named(package, version)
    arguments = {"id": id_, "version": wanted, "feed": feed}
    said = tell(load(config, cache_dir=cache_dir), "explain", arguments)
    if json:
        as_json(said)
    for line in said["lines"] if not json else ():
        say(line)
