"""The command ``backup`` carries away what must not be lost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nugetproxy.cli.control import tell
from nugetproxy.cli.exits import FAILED, fail
from nugetproxy.cli.options import CacheDirectory, ConfigFile
from nugetproxy.cli.terminal import say
from nugetproxy.on_disk import exists

app = typer.Typer(add_completion=False)


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it; nothing else is there yet.")],
    config: ConfigFile = None,
    cache_dir: CacheDirectory = None,
) -> None:
    """Write the ledger (pins, tokens, claims, what is kept), the first-seen log, the configuration to a file, while the
    proxy runs.
    """
    from nugetproxy import __version__
    from nugetproxy.config import load
    from nugetproxy.store import backup_file

    settings = load(config, cache_dir=cache_dir)
    if exists(file):
        fail([f"{file} exists already; name another file."], FAILED)
    copy = settings.cache.path / tell(settings, "backup", {})["file"]
    log = settings.cache.path / backup_file.PROVENANCE
    others = {backup_file.CONFIGURATION: config, backup_file.TOKENS: settings.access.file}
    try:
        files = {backup_file.LEDGER: copy.read_bytes()}
        if exists(log):  # as far as it is written: a line may be on its way
            files[backup_file.PROVENANCE] = b"".join(log.read_bytes().rpartition(b"\n")[:2])
        files |= {name: path.read_bytes() for name, path in others.items() if path is not None and exists(path)}
        backup_file.write_backup(file, files, __version__)
        copy.unlink()
    except OSError as error:
        fail([f"The backup was not made: {error.filename or file}: {error.strerror}."], FAILED)
    say(f"{file} holds {', '.join(files)}. Packages and documents are not in it: they are fetched again.")
