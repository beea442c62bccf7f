"""The command ``cluster`` tells how the shared engines are, what lies in the bucket."""

from __future__ import annotations

import typer

from nugetproxy.cli.exits import FAILED, fail
from nugetproxy.cli.options import CacheDirectory, ConfigFile, Json
from nugetproxy.cli.terminal import count

app = typer.Typer(add_completion=False)


@app.callback()
def cluster() -> None:
    """What replicas share: a bucket, a Redis."""


@app.command()
def status(*, json: Json = False, config: ConfigFile = None, cache_dir: CacheDirectory = None) -> None:
    """Ask each engine whether it works; a bucket is tried with eight writers at once."""
    from nugetproxy.cli.control import tell
    from nugetproxy.cli.tables import as_json
    from nugetproxy.config import load

    engines = tell(load(config, cache_dir=cache_dir), "cluster/status", {})["engines"]
    if json:
        as_json({"engines": engines})
    for one in engines if not json else ():
        typer.echo(f"{one['engine']}\t{one['problem'] or 'works'}")
    wrong = [one["engine"] for one in engines if one["problem"]]
    if wrong:
        fail([f"Something is wrong with: {', '.join(wrong)}. Clients are served all the same."], FAILED)


@app.command()
def du(*, json: Json = False, config: ConfigFile = None, cache_dir: CacheDirectory = None) -> None:
    """Count what lies in the bucket, by upstream; the whole bucket is listed."""
    from nugetproxy.cli.control import tell
    from nugetproxy.cli.tables import as_json
    from nugetproxy.config import load
    from nugetproxy.config.units import about_size

    sources = tell(load(config, cache_dir=cache_dir), "cluster/du", {})["sources"]
    if json:
        as_json({"sources": sources})
    for one in sources if not json else ():
        size = about_size(one["package_bytes"] + one["document_bytes"])
        held = f"{count(one['packages'], 'package')}\t{count(one['documents'], 'document')}"
        typer.echo(f"{one['source']}\t{held}\t{size}")


@app.command()
def gc(*, json: Json = False, config: ConfigFile = None, cache_dir: CacheDirectory = None) -> None:
    """Remove leases, probes and writes of yesterday from the bucket, with uploads that never ended; never a package."""
    from nugetproxy.cli.control import tell
    from nugetproxy.cli.tables import as_json
    from nugetproxy.config import load

    removed = tell(load(config, cache_dir=cache_dir), "cluster/gc", {})["removed"]
    if json:
        as_json({"removed": removed})
    else:
        typer.echo(f"Removed {removed} objects.")
