"""The command ``who`` tells which clients have got a package."""

from __future__ import annotations

from typing import Annotated

import typer

from nugetproxy.cli.exits import FAILED, fail
from nugetproxy.cli.named import named
from nugetproxy.cli.options import CacheDirectory, ConfigFile, Json
from nugetproxy.cli.since import Since, minute, moment

app = typer.Typer(add_completion=False)


@app.command()
def who(
    package: Annotated[str, typer.Argument(metavar="ID[@VERSION]", help="The package, in one version or in any.")],
    *,
    since: Since = "",
    json: Json = False,
    config: ConfigFile = None,
    cache_dir: CacheDirectory = None,
) -> None:
    """Tell who has got a package: by which token, at which address, when last. Exit code 1 if nobody has."""
    from nugetproxy.cli.control import tell
    from nugetproxy.cli.tables import as_json, table
    from nugetproxy.config import load

    id_, version = named(package)
    arguments = {"id": id_, "version": version, "since": moment(since)}
    said = tell(load(config, cache_dir=cache_dir), "who", arguments)
    if json:
        as_json(said)
    elif said["uses"]:
        rows = (
            (one["token"] or "-", one["version"], str(one["times"]), minute(one["last"]), one["feed"], one["client"])
            for one in said["uses"]
        )
        table(("Token", "Version", ">Times", "Last (UTC)", "Feed", "Address"), rows)
    if not said["uses"]:
        fail([f"Nobody has got {package}, as far as it is remembered (history.usage)."], FAILED)
