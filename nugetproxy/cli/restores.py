"""The command ``restores`` lists the last restores, or says why one was slow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from nugetproxy.cli.exits import FAILED, fail
from nugetproxy.cli.options import CacheDirectory, ConfigFile, Json
from nugetproxy.cli.since import minute
from nugetproxy.cli.terminal import say

app = typer.Typer(add_completion=False)


@app.command()
def restores(
    number: Annotated[
        int | None, typer.Argument(metavar="NUMBER", min=1, help="Why this one was slow; else a list.")
    ] = None,
    *,
    json: Json = False,
    config: ConfigFile = None,
    cache_dir: CacheDirectory = None,
) -> None:
    """List the last restores with who was slow (upstream, proxy, client), or say more of one of them."""
    from nugetproxy.cli.control import tell
    from nugetproxy.cli.tables import as_json
    from nugetproxy.config import load

    settings = load(config, cache_dir=cache_dir)
    said = tell(settings, "restore", {"number": number}) if number is not None else tell(settings, "restores", {})
    if json:
        as_json(said)
    elif number:
        _one(said)
    elif said["restores"]:
        _list(said)
    if not number and not said["restores"]:
        fail(["No restore is remembered (history.restores)."], FAILED)


def _list(said: Mapping[str, Any]) -> None:
    from nugetproxy.cli.tables import table

    columns = ("Ended (UTC)", ">Number", ">Got", ">Hits", ">Seconds", "Slow", "Who")
    table(columns, (_row(one) for one in said["restores"]))


def _row(one: Mapping[str, Any]) -> tuple[str, ...]:
    slow = f"{one['failed']} failed" if one["failed"] else one["slow"]
    whose = " at ".join(filter(None, (one["token"], one["client"])))
    counts = (str(one[name]) for name in ("number", "packages", "hits"))
    return (minute(one["ended"]), *counts, f"{one['seconds']:.1f}", slow, whose)


def _one(said: Mapping[str, Any]) -> None:
    from nugetproxy.cli.tables import table

    for sentence in said["sentences"]:
        say(sentence)
    typer.echo()
    rows = (
        (*(f"{one[name]:.2f}" for name in ("seconds", "upstream", "here", "client")), one["outcome"], one["name"])
        for one in said["steps"]
    )
    table((">Seconds", ">Upstream", ">Proxy", ">Client", "Outcome", "What"), rows)
