"""The command ``import`` brings a bundle, or the packages of a folder, into the cache."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nugetproxy.cli.exits import FAILED, USAGE, fail
from nugetproxy.cli.jobs import finished, remote_upstreams
from nugetproxy.cli.options import CacheDirectory, ConfigFile
from nugetproxy.cli.terminal import count, say

if TYPE_CHECKING:
    from nugetproxy.config import Config
    from nugetproxy.jobs.importing import Imported

app = typer.Typer(add_completion=False)


@app.command("import")
def import_(
    place: Annotated[Path, typer.Argument(metavar="FILE|FOLDER", help="A bundle of 'nugetproxy export', or a folder.")],
    *,
    upstream: Annotated[str, typer.Option(metavar="NAME", help="The upstream that the packages are of.")] = "",
    trust: Annotated[
        Path | None, typer.Option(metavar="KEY", help="Take the bundle only if the owner of this public key signed it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    config: ConfigFile = None,
    cache_dir: CacheDirectory = None,
) -> None:
    """Take packages from a bundle (all or, if it was cut or altered, none) or from any folder of packages."""
    from nugetproxy.config import load

    settings = load(config, cache_dir=cache_dir)
    known = remote_upstreams(settings)
    if upstream and upstream not in known:
        fail([f"There is no remote upstream {upstream!r}; there are {', '.join(known)}."], USAGE)
    done = finished(_import(settings, place, upstream, trust))
    if as_json:
        told = {"taken": done.taken, "held": done.held, "documents": done.documents, "refused": list(done.refused)}
        typer.echo(json.dumps(told))
    else:
        what = f"{count(done.taken, 'package')}, {count(done.documents, 'document')}"
        say(f"Took {what}; {count(done.held, 'package')} had been held before.")
    if done.refused:
        fail(() if as_json else done.refused, FAILED)


async def _import(settings: Config, place: Path, upstream: str, trust: Path | None) -> Imported:
    from nugetproxy.cli.progress import bar
    from nugetproxy.cli.proxy_client import proxy_client
    from nugetproxy.jobs.importing import Importing

    a_folder = await asyncio.to_thread(place.is_dir)
    async with proxy_client(settings) as proxy:
        with bar("Reading") as progress:
            job = Importing(proxy, settings.cache.path, progress, upstreams=remote_upstreams(settings), into=upstream)
            try:
                return await (job.folder(place) if a_folder else job.bundle(place, trust))
            finally:
                job.close()
