"""The command ``restore`` brings back what ``backup`` carried away, while the proxy is stopped."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from nugetproxy.cli.exits import FAILED, fail
from nugetproxy.cli.options import CacheDirectory, ConfigFile
from nugetproxy.cli.terminal import say
from nugetproxy.on_disk import exists, is_dir

app = typer.Typer(add_completion=False)


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What backup wrote.")],
    *,
    config_to: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Where to write the configuration in it; nothing is there yet.")
    ] = None,
    config: ConfigFile = None,
    cache_dir: CacheDirectory = None,
) -> None:
    """Put the ledger, the first-seen log of a backup in place of those in the cache directory, which are set aside."""
    from nugetproxy.config import load
    from nugetproxy.errors import BadRequest, StoreUnusable
    from nugetproxy.store import backup_file
    from nugetproxy.store.fs import FsOps
    from nugetproxy.store.ledger.opening import replace_by
    from nugetproxy.store.lock import DirectoryLock, remedy_of
    from nugetproxy.store.provenance.provenance import replacing_log
    from nugetproxy.store.sqlite_form import ERRORS

    cache = load(config, cache_dir=cache_dir).cache
    try:
        found = backup_file.read_backup(file)
    except BadRequest as error:
        fail([str(error)], FAILED)
    wanted, log = _beside(config_to, found, file) if config_to is not None else {}, found.get(backup_file.PROVENANCE)
    with DirectoryLock(cache.path, forced=cache.force_network_filesystem):
        try:
            with replacing_log(FsOps(), cache.path, log) if log is not None else nullcontext():
                aside = replace_by(FsOps(), cache.path, found[backup_file.LEDGER])
        except ERRORS as error:
            remedy = remedy_of(getattr(error, "errno", None))
            raise StoreUnusable(str(cache.path), str(error).rstrip("."), remedy) from error
    if aside is not None:
        say(f"The ledger of before is {aside}.")
    say(f"The ledger in {cache.path} is that of the backup.")
    say("Tokens that were revoked since the backup was made are good again: nugetproxy token list.")
    for path, name in wanted.items():
        try:
            path.touch(mode=0o600, exist_ok=False)
            path.write_bytes(found[name])
        except OSError as error:
            fail([f"{path} was not written: {error.strerror}."], FAILED)
        say(f"{path} is the {name} of the backup.")
    if backup_file.TOKENS in found:
        where = "is not written without --config-to" if config_to is None else f"is {config_to}.tokens now"
        say(
            f"The file of tokens in the backup {where}; put it where access.tokens_file says: until then its tokens "
            "let nobody in, and feeds that only they keep closed are open.",
            err=True,
        )


def _beside(config_to: Path, found: Mapping[str, bytes], file: Path) -> dict[Path, str]:
    """The files beside those of the cache, each with what it is in the backup; ends the command where one cannot be."""
    from nugetproxy.store import backup_file

    if backup_file.CONFIGURATION not in found:
        fail([f"There is no configuration in {file}: the backup was made without --config."], FAILED)
    places = {config_to: backup_file.CONFIGURATION, Path(f"{config_to}.tokens"): backup_file.TOKENS}
    wanted = {path: name for path, name in places.items() if name in found}
    if there := [path for path in wanted if exists(path)]:
        fail([f"{there[0]} exists already; name another file."], FAILED)
    if not is_dir(config_to.parent):
        fail([f"There is no folder {config_to.parent}."], FAILED)
    return wanted
