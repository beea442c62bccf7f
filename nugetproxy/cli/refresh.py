"""The command ``refresh`` has upstreams asked about a package now."""

from __future__ import annotations

import typer

from nugetproxy.cli.control import tell
from nugetproxy.cli.options import CacheDirectory, ConfigFile, Json, PackageName, Upstream
from nugetproxy.cli.terminal import say

app = typer.Typer(add_completion=False)


@app.command()
def refresh(
    package: PackageName,
    *,
    upstream: Upstream = "",
    json: Json = False,
    config: ConfigFile = None,
    cache_dir: CacheDirectory = None,
) -> None:
    """Ask upstream about a package now: which versions there are, what is said of them. Folders are looked into."""
    from nugetproxy.cli.tables import as_json
    from nugetproxy.config import load

    done = tell(load(config, cache_dir=cache_dir), "refresh", {"id": package, "upstream": upstream})
    if json:
        as_json(done)
        return
    for one in done["upstreams"]:
        say(f"{one['upstream']}: {one['says']}.")
