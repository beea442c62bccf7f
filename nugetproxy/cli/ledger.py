"""The command ``ledger`` mends what must not be lost, while the proxy is stopped."""

from __future__ import annotations

import typer

from nugetproxy.cli.options import CacheDirectory, ConfigFile
from nugetproxy.cli.terminal import say

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def ledger() -> None:
    """Mend the ledger: pins, links, and what else must not be lost."""


@app.command("begin-afresh")
def begin_afresh(config: ConfigFile = None, cache_dir: CacheDirectory = None) -> None:
    """Set a damaged ledger aside and begin an empty one: pins, tokens, claims, what is kept are forgotten; packages
    stay. A sound one stays as it is.
    """
    from nugetproxy.cli.control import wants_cache
    from nugetproxy.cli.exits import FAILED, fail
    from nugetproxy.config import load
    from nugetproxy.errors import BadRequest, StoreUnusable
    from nugetproxy.store.fs import FsOps
    from nugetproxy.store.ledger.opening import begin_afresh as begin
    from nugetproxy.store.lock import DirectoryLock
    from nugetproxy.store.sqlite_form import ERRORS

    settings = load(config, cache_dir=cache_dir)
    wants_cache(settings)
    cache = settings.cache
    with DirectoryLock(cache.path, forced=cache.force_network_filesystem):
        try:
            aside = begin(FsOps(), cache.path)
        except BadRequest as error:
            fail([str(error)], FAILED)
        except ERRORS as error:
            raise StoreUnusable(str(cache.path), str(error), "Make it writable for this user.") from error
    if aside is not None:
        say(f"The ledger of before is {aside}.")
    say("An empty ledger was begun: the next bytes of every package that is not held are taken as its first.")
    say(
        "Tokens are forgotten, too (but for those of the configuration, of access.tokens_file): what they closed may "
        "be open to everybody until there are new ones. So are the claims of private sources, and what was kept.",
        err=True,
    )
