"""The command ``sbom`` prints what a client has got as a bill of materials."""

from __future__ import annotations

from typing import Annotated

import typer

from nugetproxy.cli.exits import FAILED, USAGE, fail
from nugetproxy.cli.options import CacheDirectory, ConfigFile
from nugetproxy.cli.since import Since, moment

app = typer.Typer(add_completion=False)


@app.command()
def sbom(
    *,
    token: Annotated[str, typer.Option(metavar="NAME", help="What came in by this token.")] = "",
    address: Annotated[
        str, typer.Option(metavar="ADDRESS", help="What a client at this address has got; without --token, by none.")
    ] = "",
    since: Since = "",
    config: ConfigFile = None,
    cache_dir: CacheDirectory = None,
) -> None:
    """Print the packages that a token, or an address, has got: CycloneDX in JSON. Exit code 1 if there is none."""
    from nugetproxy.cli.control import tell
    from nugetproxy.cli.tables import as_json
    from nugetproxy.config import load

    if not token and not address:
        fail(["Write sbom --token NAME, sbom --address ADDRESS, or both."], USAGE)
    arguments = {"token": token, "client": address, "since": moment(since)}
    said = tell(load(config, cache_dir=cache_dir), "sbom", arguments)
    as_json(said)
    if not said["components"]:
        fail(["Nothing came in by that, as far as it is remembered (history.usage)."], FAILED)
