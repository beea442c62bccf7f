"""The command ``token`` makes, lists, revokes what lets clients in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from nugetproxy.cli.control import tell
from nugetproxy.cli.exits import USAGE, fail
from nugetproxy.cli.options import CacheDirectory, ConfigFile, Json
from nugetproxy.cli.terminal import say

app = typer.Typer(add_completion=False, no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The token.")]


@app.callback()
def token() -> None:
    """Make, list, revoke tokens: they let clients read, push, or administer; at once, also while the proxy runs."""


@app.command()
def add(
    name: Name,
    *,
    scope: Annotated[str, typer.Option(metavar="SCOPES", help="What it is good for: read,push,admin; one or more.")],
    feed: Annotated[
        list[str] | None, typer.Option(metavar="FEED", help="A feed that it is good for, else all; may be repeated.")
    ] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="SPAN", help='How long it is good for, such as "90d", else for ever.')
    ] = None,
    config: ConfigFile = None,
    cache_dir: CacheDirectory = None,
) -> None:
    """Make a token and print it, alone on stdout; it is kept as a hash and cannot be shown again."""
    from nugetproxy.config import load

    settings = load(config, cache_dir=cache_dir)
    arguments = {
        "name": name,
        "scopes": [part.strip() for part in scope.split(",") if part.strip()],
        "feeds": feed or [],
        "expires_in": _seconds(expires),
    }
    made = tell(settings, "token/add", arguments)
    for line in _made(made):
        say(line, err=True)
    typer.echo(made["secret"])


def _seconds(text: str | None) -> float | None:
    from nugetproxy.config.units import parse_span

    if text is None or text.strip().lower() == "forever":
        return None
    try:
        return parse_span(text)
    except ValueError as error:
        fail([f"--expires: {error}"], USAGE)


def _made(made: Mapping[str, Any]) -> Iterator[str]:
    where = f"the feeds {', '.join(made['feeds'])}" if made["feeds"] else "all feeds"
    until = f"until {made['expires']}" if made["expires"] else "for ever"
    yield f"Token {made['name']} ({', '.join(made['scopes'])}; {where}; {until}). It is shown this once:"
    if made["closed_feeds"]:
        yield (
            f"From now on everybody needs a token for {', '.join(made['closed_feeds'])}, unless the configuration says "
            "otherwise (anonymous)."
        )
    if made["open_beside"]:
        yield (
            f"No token may read {', '.join(made['open_beside'])}, where packages of the same sources are. Where the "
            "configuration does not say who may (anonymous), everybody may."
        )


@app.command("list")
def list_tokens(*, json: Json = False, config: ConfigFile = None, cache_dir: CacheDirectory = None) -> None:
    """List all tokens, a line each: name, scopes, feeds, until when, what else there is to know."""
    from nugetproxy.cli.tables import as_json
    from nugetproxy.config import load

    tokens = tell(load(config, cache_dir=cache_dir), "token/list", {})["tokens"]
    if json:
        as_json({"tokens": tokens})
        return
    if not tokens:
        say("There is no token.", err=True)
    for one in tokens:
        words = [("configuration", one["configured"]), ("expired", one["expired"])]
        more = " ".join(word for word, true in words if true)
        columns = (one["name"], ",".join(one["scopes"]), ",".join(one["feeds"]) or "*", one["expires"] or "-", more)
        typer.echo("\t".join(columns).rstrip())


@app.command()
def revoke(name: Name, config: ConfigFile = None, cache_dir: CacheDirectory = None) -> None:
    """Let nobody in by a token any more, at once."""
    from nugetproxy.config import load

    done = tell(load(config, cache_dir=cache_dir), "token/revoke", {"name": name})
    say(f"Revoked {name}.")
    if done["feeds_without_token"]:
        say(
            f"No token may read {', '.join(done['feeds_without_token'])} any more. Where the configuration does not "
            "say who may (anonymous), everybody may now; nobody where the proxy has credentials for the feed and other "
            "machines reach it.",
            err=True,
        )
