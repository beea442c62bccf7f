"""The command ``verify`` reads every held package again."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import typer

from nugetproxy.cli.control import name_others, wants_cache
from nugetproxy.cli.exits import FAILED
from nugetproxy.cli.jobs import finished
from nugetproxy.cli.options import CacheDirectory, ConfigFile, Json, Upstream
from nugetproxy.cli.terminal import count, say

if TYPE_CHECKING:
    from nugetproxy.config import Config

app = typer.Typer(add_completion=False)

SECONDS: Final = {True: 2.0, False: 30.0}
"""Of work between two words about how far it is: where somebody looks on, where nobody does."""


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

    settings = load(config, cache_dir=cache_dir)
    wants_cache(settings)
    name_others(settings)
    done = finished(_verify(settings, upstream))
    damaged = done["damaged"]
    if json:
        as_json(done)
    else:
        for one in damaged:
            say(f"{one['id']} {one['version']} from {one['upstream']} was damaged: {one['says'].rstrip('.')}.")
        for one in done["flawed"]:
            say(f"{one['upstream']}: {one['says'].rstrip('.')}.")
        say(f"{count(done['checked'], 'package')} ({about_size(done['size'])}) read, {len(damaged)} damaged.")
        for name, folder in done["folders"].items():
            say(f"{name}: not read; what lies in {folder} is checked when it is opened.")
    if any(not one["repaired"] for one in damaged):
        raise typer.Exit(FAILED)


async def _verify(settings: Config, upstream: str) -> dict[str, Any]:
    from nugetproxy.cli.progress import bar
    from nugetproxy.cli.proxy_client import proxy_client

    async with proxy_client(settings) as proxy:
        with bar("Verifying") as progress:
            upstreams = (await proxy.command("stats", {}))["upstreams"]
            chosen = [one for one in upstreams if upstream in {"", one["name"]}]
            progress.expect(sum(one["packages"] or 0 for one in chosen))
            done: dict[str, Any] = {"checked": 0, "size": 0, "damaged": [], "flawed": []}
            arguments = {"upstream": upstream, "after": "", "seconds": SECONDS[sys.stderr.isatty()]}
            while True:
                said = await proxy.command("verify", arguments)
                done = {name: done[name] + said[name] for name in done}
                progress.moved(said["size"])
                for _ in range(said["checked"]):
                    progress.done("")
                if not said["next"]:
                    folders = {one["name"]: one["folder"] for one in chosen if one["folder"]}
                    return {**done, "folders": folders}
                arguments["after"] = said["next"]
