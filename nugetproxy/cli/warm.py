"""The command ``warm`` fetches what repositories need, or says what they lack."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nugetproxy.cli.exits import FAILED, USAGE, fail
from nugetproxy.cli.jobs import finished, settings_with
from nugetproxy.cli.options import CacheDirectory, ConfigFile, FeedName
from nugetproxy.cli.terminal import count, say

if TYPE_CHECKING:
    from nugetproxy.config import Config
    from nugetproxy.jobs.wants import Missing, Wants
    from nugetproxy.jobs.warm import Warmed

app = typer.Typer(add_completion=False)


@app.command()
def warm(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="Lock files, project.assets.json, packages.config, projects, dotnet-tools.json, global.json, "
            "*.deps.json, CycloneDX, SPDX, lines of id@version or package URLs; or folders that are searched for them.",
        ),
    ],
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Fetch nothing; say what is missing to restore them without any upstream.")
    ] = False,
    feed: FeedName = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    config: ConfigFile = None,
    cache_dir: CacheDirectory = None,
) -> None:
    """Fetch the packages that repositories need, with all that those need, before anybody restores."""
    from nugetproxy.errors import BadRequest
    from nugetproxy.jobs.repository import read_all
    from nugetproxy.jobs.wants import Wants

    settings = settings_with(feed, config, cache_dir)
    try:
        read = read_all(files)
    except BadRequest as error:
        fail([str(error)], USAGE)
    wants = Wants.of(one.needs for one in read)
    for remark in wants.remarks if not as_json else ():
        say(remark, err=True)
    if check:
        found = finished(_check(settings, wants, feed))
        _print_check(found, wants, len(read), as_json=as_json)
    else:
        done = finished(_warm(settings, wants, feed))
        _print_warm(done, wants, as_json=as_json)


async def _warm(settings: Config, wants: Wants, feed: str) -> Warmed:
    from nugetproxy.cli.progress import bar
    from nugetproxy.cli.proxy_client import proxy_client
    from nugetproxy.jobs.warm import Warming

    async with proxy_client(settings) as proxy:
        with bar("Fetching") as progress:
            return await Warming(proxy, feed=feed, progress=progress).run(wants)


async def _check(settings: Config, wants: Wants, feed: str) -> tuple[Missing, ...]:
    from nugetproxy.cli.proxy_client import proxy_client
    from nugetproxy.jobs.check import check

    async with proxy_client(settings) as proxy:
        return await check(proxy, wants, feed)


def _print_warm(done: Warmed, wants: Wants, *, as_json: bool) -> None:
    from nugetproxy.config.units import about_size

    if as_json:
        typer.echo(
            json.dumps(
                {
                    "fetched": done.fetched,
                    "bytes": done.size,
                    "held": done.held,
                    "missing": rows(done.missing),
                    "remarks": list(wants.remarks),
                }
            )
        )
    else:
        say(f"Fetched {count(done.fetched, 'package')} ({about_size(done.size)}); {done.held} were held before.")
    _end(done.missing, "could not be had", quietly=as_json)


def _print_check(found: tuple[Missing, ...], wants: Wants, files: int, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"restorable": not found, "missing": rows(found), "remarks": list(wants.remarks)}))
    elif not found:
        asked = f"{count(files, 'file')} ask{'s' if files == 1 else ''} for"
        say(f"All that {asked} can be restored without any upstream.")
    _end(found, "missing", quietly=as_json)


def _end(found: tuple[Missing, ...], what: str, *, quietly: bool) -> None:
    """Exit code 1 where anything is missing."""
    if found and not quietly:
        for one in found:
            say(str(one))
        say(f"{count(len(found), 'package')} {what}.", err=True)
    if found:
        raise typer.Exit(FAILED)


def rows(found: Iterable[Missing]) -> list[Mapping[str, str]]:
    """What is missing as ``--json`` prints it."""
    return [{"id": one.id, "version": one.version, "why": one.why} for one in found]
