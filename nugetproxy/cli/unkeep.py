"""The command ``unkeep`` lets kept packages go again."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from nugetproxy.cli.control import tell
from nugetproxy.cli.exits import FAILED
from nugetproxy.cli.keep import means_file, mind_versions
from nugetproxy.cli.options import CacheDirectory, ConfigFile, Json
from nugetproxy.cli.terminal import say

app = typer.Typer(add_completion=False)


@app.command()
def unkeep(
    what: Annotated[
        list[str], typer.Argument(metavar="ID[@VERSION]|FILE...", help="Packages, or lock files that named them.")
    ],
    *,
    json: Json = False,
    config: ConfigFile = None,
    cache_dir: CacheDirectory = None,
) -> None:
    """Let packages be evicted again, or all that a lock file named (which need not exist any more)."""
    from nugetproxy.cli.tables import as_json
    from nugetproxy.config import load

    settings = load(config, cache_dir=cache_dir)
    for one in what[1:]:
        mind_versions(one)
    done: dict[str, Mapping[str, Any]] = {}
    for one in what:
        with contextlib.suppress(typer.Exit):  # it has said why; the others are let go all the same
            done[one] = tell(settings, "unkeep", _arguments(one))
    if json and done:
        as_json(done)
    for one, said in {} if json else done.items():
        count = said["released"]
        say(f"{one}: {count} package{' is' if count == 1 else 's are'} no longer kept.")
        for file in said["still_kept_by"]:
            say(f"{one} is still kept by {file}.", err=True)
    if len(done) < len(set(what)):
        raise typer.Exit(FAILED)


def _arguments(text: str) -> dict[str, Any]:
    if means_file(text):
        return {"packages": [], "by": str(Path(text).absolute())}
    return {"packages": [text], "by": ""}
