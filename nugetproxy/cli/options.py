"""Options are what several commands take in the same way."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def _file(text: str) -> Path:
    if not text.strip():
        raise typer.BadParameter("it is empty; write the path of a TOML file, or leave the option out")
    return Path(text)


ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", parser=_file, help="The TOML file that the proxy runs with.")
]
CacheDirectory = Annotated[str | None, typer.Option("--cache-dir", metavar="DIR", help="The cache directory.")]
FeedName = Annotated[str, typer.Option("--feed", metavar="FEED", help="The published feed; else the first one.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Upstream = Annotated[str, typer.Option("--upstream", metavar="NAME", help="Of this upstream only.")]
PackageName = Annotated[str, typer.Argument(metavar="ID", help="The package.")]
