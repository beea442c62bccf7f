"""The command ``audit`` tells what is held, or was got, that should not be used any more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal

import typer

from nugetproxy.cli.exits import FAILED
from nugetproxy.cli.options import CacheDirectory, ConfigFile, Json
from nugetproxy.cli.since import Since, moment
from nugetproxy.cli.terminal import count, say

app = typer.Typer(add_completion=False)

USERS: Final = 3
"""Who are named in a row."""
Severity = Literal["low", "moderate", "high", "critical"]


@app.command()
def audit(
    *,
    since: Since = "",
    fail_on: Annotated[
        Severity | None, typer.Option(metavar="SEVERITY", help="Exit code 1 from low, moderate, high or critical on.")
    ] = None,
    json: Json = False,
    config: ConfigFile = None,
    cache_dir: CacheDirectory = None,
) -> None:
    """Tell which packages that are held or were got have an advisory, are withdrawn (critical), deprecated or unlisted
    (low), denied by a rule (high), or would be by one on trial (low), with who has got them.
    """
    from nugetproxy.cli.control import tell
    from nugetproxy.cli.tables import as_json, table
    from nugetproxy.config import load
    from nugetproxy.nuget.rules import SEVERITIES

    said = tell(load(config, cache_dir=cache_dir), "audit", {"since": moment(since)})
    findings = said["findings"]
    if json:
        as_json(said)
    else:
        if findings:
            table(("Package", "Version", "Severity", "Got by", "Found"), map(_row, findings))
        typer.echo(f"{len(findings)} of {count(said['looked_at'], 'version')} with something to say.")
    for line in _gaps(said):
        say(line, err=True)
    if fail_on is not None:
        least = SEVERITIES.index(fail_on)
        if any(SEVERITIES.index(one["severity"]) >= least for one in findings):
            raise typer.Exit(FAILED)


def _row(one: Mapping[str, Any]) -> tuple[str, ...]:
    names = list(dict.fromkeys(use["token"] or use["client"] for use in one["users"]))
    more = f" +{len(names) - USERS}" if len(names) > USERS else ""
    got = ", ".join(names[:USERS]) + more if names else "-"
    return one["id"], one["version"], one["severity"], got, "; ".join(one["says"])


def _gaps(said: Mapping[str, Any]) -> Iterator[str]:
    """What this is silent about: no finding is no proof there."""
    for one in said["unknown"]:
        whose = f" of {one['upstream']!r}" if one["upstream"] else ""
        yield f"Not known now{whose}: {one['says']}"
    if said["without_advisories"]:
        yield f"No advisories are published by {', '.join(said['without_advisories'])}."
