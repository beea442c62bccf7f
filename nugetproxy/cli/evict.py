"""The command ``evict`` lets packages go, or says which would."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

import typer

from nugetproxy.cli.control import tell
from nugetproxy.cli.exits import USAGE, fail
from nugetproxy.cli.options import CacheDirectory, ConfigFile, Json
from nugetproxy.cli.terminal import count, say

app = typer.Typer(add_completion=False)

WHY: Final = {"unused": "unused for long", "superseded": "newer versions", "room": "least recently used"}


@app.command()
def evict(
    *,
    simulate: Annotated[bool, typer.Option("--simulate", help="Only say what would go, in which order, why.")] = False,
    to: Annotated[str | None, typer.Option(metavar="SIZE", help='Down to so much, such as "20 GiB".')] = None,
    unused_for: Annotated[
        str | None, typer.Option(metavar="SPAN", help='What nobody asked for in so long, such as "90d".')
    ] = None,
    keep_last: Annotated[int, typer.Option(min=0, metavar="N", help="All but N versions of an id; 0: all stay.")] = 0,
    json: Json = False,
    config: ConfigFile = None,
    cache_dir: CacheDirectory = None,
) -> None:
    """Make room by the configured rules, or by these; what is kept stays."""
    from nugetproxy.admin.commands import LARGEST
    from nugetproxy.cli.tables import as_json, day, table
    from nugetproxy.config import load
    from nugetproxy.config.units import about_size, parse_size, parse_span

    try:
        arguments = {
            "to": None if to is None else parse_size(to),
            "unused_for": None if unused_for is None else min(parse_span(unused_for), LARGEST),
            "keep_last": keep_last,
            "simulate": simulate,
        }
    except ValueError as error:
        fail([str(error)], USAGE)
    said = tell(load(config, cache_dir=cache_dir), "evict", arguments)
    if json:
        as_json(said)
        return
    if said["packages"]:
        rows = (
            (one["id"], one["version"], about_size(one["size"]), day(one["used"]), WHY[one["why"]])
            for one in said["packages"]
        )
        table(("Package", "Version", ">Size", "Used", "Why"), rows)
    for line in _told(said, simulate=simulate):
        say(line)


def _told(said: Mapping[str, Any], *, simulate: bool) -> Iterator[str]:
    from nugetproxy.config.units import about_size

    what, broken = count(len(said["packages"]), "package"), said["broken_lock_files"]
    if simulate:
        yield (
            f"Would free {about_size(said['size'])} ({what}), would break {len(broken)} of "
            f"{said['kept_lock_files']} kept lock files."
        )
    else:
        yield f"Freed {about_size(said['removed'])} ({what})."
    left = said["held"] - said["size"]
    if left > said["limit"]:
        yield f"{about_size(left)} stay, more than {about_size(said['limit'])}: the rest is kept, or just asked for."
