"""The command ``ls`` lists the packages that are held."""

from __future__ import annotations

from typing import Annotated

import typer

from nugetproxy.cli.control import tell
from nugetproxy.cli.exits import FAILED, fail
from nugetproxy.cli.options import CacheDirectory, ConfigFile, Json, Upstream
from nugetproxy.cli.terminal import count, say

app = typer.Typer(add_completion=False)


@app.command()
def ls(
    pattern: Annotated[str, typer.Argument(metavar="[PATTERN]", help='Ids, such as "Microsoft.*".')] = "*",
    *,
    sort: Annotated[str, typer.Option(metavar="ORDER", help="By id, size, or used (longest unused first).")] = "id",
    most: Annotated[int, typer.Option("--most", min=1, help="At most so many.")] = 100_000,
    upstream: Upstream = "",
    json: Json = False,
    config: ConfigFile = None,
    cache_dir: CacheDirectory = None,
) -> None:
    """List held packages, and those in folders: size, last use, where they came from, whether they are kept.

    Exit code 1 if there is none.
    """
    from nugetproxy.cli.tables import as_json, day, table
    from nugetproxy.config import load
    from nugetproxy.config.units import about_size

    arguments = {"pattern": pattern, "order": sort, "most": most, "upstream": upstream}
    said = tell(load(config, cache_dir=cache_dir), "ls", arguments)
    if json:
        as_json(said)
    elif said["packages"]:
        rows = (
            (one["id"], one["version"], about_size(one["size"]), day(one["used"]), one["upstream"], _kept(one["kept"]))
            for one in said["packages"]
        )
        table(("Package", "Version", ">Size", "Used", "From", "Kept"), rows)
        say(f"{count(said['count'], 'package')}, {about_size(said['size'])}.")
    for name, says in said["unread"].items():
        say(f"Not all of {name} is in it: {says}", err=True)
    if not said["packages"]:
        fail(["No such package is held."], FAILED)


def _kept(kept: bool) -> str:
    return "yes" if kept else ""
