"""The command ``reload`` has a running proxy follow its configuration as it is now."""

from __future__ import annotations

import typer

from nugetproxy.cli.control import tell
from nugetproxy.cli.options import CacheDirectory, ConfigFile
from nugetproxy.cli.terminal import say

app = typer.Typer(add_completion=False)


@app.command()
def reload(config: ConfigFile = None, cache_dir: CacheDirectory = None) -> None:
    """Have the running proxy read its configuration again; a wrong one changes nothing."""
    from nugetproxy.config import load

    done = tell(load(config, cache_dir=cache_dir), "reload", {})
    for key in done["changed"]:
        say(f"Changed: {key}")
    for key in done["restart"]:
        say(f"Needs a restart: {key}", err=True)
    for warning in done["warnings"]:
        say(f"Warning: {warning}", err=True)
    if not done["changed"] and not done["restart"]:
        say("Nothing has changed.")
