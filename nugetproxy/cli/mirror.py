"""The command ``mirror`` fetches packages by the patterns of their ids."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nugetproxy.cli.exits import FAILED, USAGE, fail
from nugetproxy.cli.jobs import finished, settings_with
from nugetproxy.cli.options import CacheDirectory, ConfigFile, FeedName
from nugetproxy.cli.terminal import count, say

if TYPE_CHECKING:
    from nugetproxy.config import Config
    from nugetproxy.jobs.mirror import Mirrored, Selection

app = typer.Typer(add_completion=False)


@app.command()
def mirror(
    patterns: Annotated[list[str], typer.Argument(metavar="PATTERN...", help="Ids, or prefixes such as Contoso.*")],
    *,
    latest: Annotated[int, typer.Option(metavar="N", min=0, help="The N highest versions of each; 0 for all.")] = 0,
    since: Annotated[str, typer.Option(metavar="DATE", help="Published from this day on (2025-01-31).")] = "",
    prerelease: Annotated[bool, typer.Option("--prerelease", help="Prereleases, too.")] = False,
    unlisted: Annotated[bool, typer.Option("--unlisted", help="Unlisted versions, too.")] = False,
    no_dependencies: Annotated[bool, typer.Option("--no-dependencies", help="Without what they need.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Fetch nothing; say what would be fetched.")] = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="Then go on: fetch what the feed's catalog says is new, until Ctrl-C.")
    ] = False,
    feed: FeedName = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object per id, then one of all.")] = False,
    config: ConfigFile = None,
    cache_dir: CacheDirectory = None,
) -> None:
    """Fetch all versions, or some, of packages by pattern, with what they need; run again, it goes on."""
    from nugetproxy.jobs.mirror import Selection
    from nugetproxy.nuget.mapping import check_pattern

    settings = settings_with(feed, config, cache_dir)
    if follow and dry_run:
        fail(["--follow fetches; leave out --dry-run."], USAGE)
    try:
        for pattern in patterns:
            check_pattern(pattern)
    except ValueError as error:
        fail([str(error)], USAGE)
    wish = Selection(
        patterns=tuple(pattern.strip().lower() for pattern in patterns),
        latest=latest,
        since=_seconds(since),
        prerelease=prerelease,
        unlisted=unlisted,
        dependencies=not no_dependencies,
    )
    verb = "to fetch" if dry_run else "fetched"
    done = finished(_mirror(settings, wish, feed, dry=dry_run, follow=follow, verb=verb, as_json=as_json))
    if as_json:
        typer.echo(json.dumps(_row(done)))
    else:
        say(f"All: {_line(done, verb)}")
    for one in done.denied if not as_json else ():
        say(one.why)
    if done.missing:
        for one in done.missing if not as_json else ():
            say(str(one))
        fail([f"{count(len(done.missing), 'package')} could not be had."], FAILED)


def _seconds(day: str) -> float | None:
    from nugetproxy.config.units import day_seconds

    try:
        return day_seconds(day)
    except ValueError:
        fail([f"--since: {day!r} is not a date such as 2025-01-31."], USAGE)


async def _mirror(
    settings: Config, wish: Selection, feed: str, *, dry: bool, follow: bool, verb: str, as_json: bool
) -> Mirrored:
    from nugetproxy.cli.progress import bar
    from nugetproxy.cli.proxy_client import proxy_client
    from nugetproxy.jobs.mirror import Mirroring

    def told(one: Mirrored) -> None:
        typer.echo(json.dumps(_row(one)) if as_json else f"{one.id}: {_line(one, verb)}")

    async with proxy_client(settings) as proxy:
        with bar("Mirroring") as progress:
            job = Mirroring(proxy, wish, feed=feed, progress=progress)
            if follow:
                await job.follow(settings.cache.path / "run" / "mirror.json", told, asyncio.sleep)
            return await job.run(told, dry=dry)


def _row(one: Mirrored) -> Mapping[str, Any]:
    from nugetproxy.cli.warm import rows

    return {
        **({"id": one.id} if one.id else {}),
        "versions": one.versions,
        "fetched": one.fetched,
        "bytes": one.size,
        "held": one.held,
        "missing": rows(one.missing),
        "denied": rows(one.denied),
    }


def _line(one: Mirrored, verb: str) -> str:
    from nugetproxy.config.units import about_size

    size = f" ({about_size(one.size)})" if one.size else ""
    denied = f", {len(one.denied)} denied by rules" if one.denied else ""
    return f"{count(one.versions, 'version')}; {one.fetched} {verb}{size}, {one.held} held before{denied}"
