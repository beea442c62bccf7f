"""The command ``claims`` lists the rights of private sources to ids, and ends them."""

from __future__ import annotations

from typing import Annotated

import typer

from nugetproxy.cli.exits import FAILED, USAGE, fail
from nugetproxy.cli.options import CacheDirectory, ConfigFile, Json
from nugetproxy.cli.terminal import say

app = typer.Typer(add_completion=False)

RELEASE = "release"


@app.command()
def claims(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[ID] | release [ID]", help="List those to an id, or end them.")
    ] = None,
    *,
    upstream: Annotated[str, typer.Option(metavar="NAME", help="With release: all claims of this upstream.")] = "",
    json: Json = False,
    config: ConfigFile = None,
    cache_dir: CacheDirectory = None,
) -> None:
    """List the ids that private sources have claimed: no public source is asked for them; or end such claims."""
    from nugetproxy.cli.control import tell
    from nugetproxy.cli.tables import as_json
    from nugetproxy.config import load

    given = words or []
    ends = given[:1] == [RELEASE]
    ids = given[1:] if ends else given
    if len(ids) > 1 or (upstream and not ends) or (ends and not ids and not upstream):
        fail(["Write claims, claims ID, claims release ID, or claims release --upstream NAME."], USAGE)
    id_ = ids[0] if ids else ""
    settings = load(config, cache_dir=cache_dir)
    if not ends:
        found = tell(settings, "claims", {"id": id_})["claims"]
        if json:
            as_json({"claims": found})
            return
        for one in found:
            typer.echo(f"{one['id']}\t{one['source']}")
        if not found:
            say(f"There is no claim{f' to {id_}' if id_ else ''}.", err=True)
        return
    done = tell(settings, "claims/release", {"id": id_, "upstream": upstream})["released"]
    if json:
        as_json({"released": done})
    for one in done if not json else ():
        say(f"Released {one['id']} from {one['source']}; it is claimed again if that says that it knows it.")
    if not done:
        fail([f"There is no claim {f'to {id_}' if id_ else f'of {upstream}'}."], FAILED)
