"""The command ``export`` writes what is held into one file, for a place without a network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nugetproxy.cli.control import name_others, wants_cache
from nugetproxy.cli.exits import FAILED, USAGE, fail
from nugetproxy.cli.jobs import finished, remote_upstreams
from nugetproxy.cli.options import CacheDirectory, ConfigFile
from nugetproxy.cli.terminal import count, say

if TYPE_CHECKING:
    from nugetproxy.config import Config
    from nugetproxy.jobs.exporting import Exported, ExportWish

app = typer.Typer(add_completion=False)


@app.command()
def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The bundle to write, such as packages.tar.zst.")],
    *,
    since: Annotated[
        Path | None, typer.Option(metavar="BUNDLE", help="Leave out what is in this earlier bundle (a delta).")
    ] = None,
    only: Annotated[
        list[Path] | None,
        typer.Option(metavar="LOCKFILE", help="Only what this file, or folder, names by version; may be repeated."),
    ] = None,
    upstream: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Of this upstream only; repeatable.")
    ] = None,
    sign: Annotated[Path | None, typer.Option(metavar="KEY", help="Sign it with an ed25519 private key (PEM).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    config: ConfigFile = None,
    cache_dir: CacheDirectory = None,
) -> None:
    """Write held packages with their documents, advisories, symbols into a bundle (tar, zstd)."""
    from nugetproxy.cli.jobs import resolved
    from nugetproxy.config import load
    from nugetproxy.config.units import about_size
    from nugetproxy.jobs.exporting import ExportWish

    if not file.name:
        fail([f"{file} is a folder; name the file that is to be the bundle."], USAGE)
    settings = load(config, cache_dir=cache_dir)
    known = remote_upstreams(settings)
    if unknown := set(upstream or ()) - set(known):
        fail([f"There is no remote upstream {min(unknown)!r}; there are {', '.join(known)}."], USAGE)
    chosen, lacking = resolved(only) if only else (None, ())
    wants_cache(settings)
    name_others(settings)
    wish = ExportWish(cache=settings.cache.path, upstreams=upstream or known, only=chosen, base=since, key=sign)
    done = finished(_export(settings, file, wish))
    if as_json:
        typer.echo(
            json.dumps(
                {"packages": done.packages, "bytes": done.size, "documents": done.documents, "left_out": done.left_out}
            )
        )
    else:
        what = f"{count(done.packages, 'package')} ({about_size(done.size)}), {count(done.documents, 'document')}"
        say(f"Wrote {what}" + (f"; {done.left_out} are in {since}." if since else "."))
    for line in lacking:
        say(line, err=True)
    if chosen is not None and done.packages + done.left_out < len(chosen):
        missing = count(len(chosen) - done.packages - done.left_out, "package")
        fail([f"{missing} of those files not held, so not in it; 'nugetproxy warm' fetches them."], FAILED)


async def _export(settings: Config, file: Path, wish: ExportWish) -> Exported:
    from nugetproxy.cli.progress import bar
    from nugetproxy.cli.proxy_client import proxy_client
    from nugetproxy.jobs.exporting import export

    async with proxy_client(settings) as proxy:
        with bar("Writing") as progress:
            return await export(proxy, file, wish, progress)
