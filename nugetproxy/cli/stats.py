"""The command ``stats`` tells how a proxy is doing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import typer

from nugetproxy.cli.control import tell
from nugetproxy.cli.options import CacheDirectory, ConfigFile, Json
from nugetproxy.cli.terminal import say

app = typer.Typer(add_completion=False)


@app.command()
def stats(*, json: Json = False, config: ConfigFile = None, cache_dir: CacheDirectory = None) -> None:
    """What is held, how requests were answered since the start, what is in trouble."""
    from nugetproxy.cli.tables import as_json, table
    from nugetproxy.config import load
    from nugetproxy.config.units import about_size

    said = tell(load(config, cache_dir=cache_dir), "stats", {})
    if json:
        as_json(said)
        return
    for line in _lines(said):
        say(line)
    rows = (
        (one["name"], _count(one["packages"]), "-" if one["size"] is None else about_size(one["size"]), _state(one))
        for one in said["upstreams"]
    )
    table(("Upstream", ">Packages", ">Held", "State"), rows)
    if said["levels"]:
        columns = ("Second level", ">Hits", ">Misses", ">Errors", ">Takes", "State")
        table(columns, ((one["engine"], *_level(one)) for one in said["levels"]))


def _lines(said: Mapping[str, Any]) -> Iterator[str]:
    from nugetproxy.config.units import about_size

    state = "running" if said["running"] else "stopped"
    yield f"nugetproxy {said['version']}, {state}; {about_size(said['limit'])} may be held, {said['kept']} kept."
    if said["requests"]:
        outcomes = ", ".join(f"{count} {name}" for name, count in sorted(said["outcomes"].items()))
        yield f"Requests since the start: {said['requests']} ({outcomes})."
    if said["hit_ratio"] is not None:
        yield (
            f"{said['hit_ratio']:.1%} of what was not rejected needed no download; "
            f"{about_size(said['sent_bytes'])} sent to clients, {about_size(int(said['received_bytes']))} received."
        )
    yield from (f"Problem: {one}" for one in said["problems"])


def _level(one: Mapping[str, Any]) -> tuple[str, str, str, str, str]:
    takes = "-" if one["seconds"] is None else f"{1000 * one['seconds']:.1f} ms"
    state = "good" if one["breaker"] == "closed" else "lost; this replica goes on without it"
    return str(one["hits"]), str(one["misses"]), str(one["errors"]), takes, state


def _count(packages: int | None) -> str:
    return "-" if packages is None else str(packages)


def _state(one: Mapping[str, Any]) -> str:
    return "; ".join(f"{origin}: {what}" for origin, what in one["trouble"].items()) or "good"
