"""The command ``check-config`` says what is wrong in a configuration file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nugetproxy.cli.options import ConfigFile
from nugetproxy.cli.terminal import say

if TYPE_CHECKING:
    from nugetproxy.config import Config

app = typer.Typer(add_completion=False)


@app.command()
def check_config(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="The TOML file to check.")] = None,
    *,
    config: ConfigFile = None,
    connect: Annotated[
        bool, typer.Option("--connect", help="Ask the shared bucket and Redis whether they work.")
    ] = False,
) -> None:
    """Say what is wrong in a configuration file, together with the environment variables that override it."""
    from nugetproxy.cli.exits import USAGE, fail
    from nugetproxy.config import conditions, load, warnings

    if (file is None) == (config is None):
        fail(["Name the file to check, once: 'nugetproxy check-config FILE'."], USAGE)
    file = file or config
    settings = load(file)
    for warning in (*warnings(settings), *conditions(settings)):
        say(f"warning: {warning}", err=True)
    say(f"{file} is valid.")
    for line in _summary(settings):
        say(line)
    if connect:
        _connect(settings)


def _connect(config: Config) -> None:
    from nugetproxy.cli.engines import examined
    from nugetproxy.cli.exits import FAILED, fail

    problems = []
    for engine, problem in examined(config):
        say(f"The {engine} of [cluster]: {problem or 'works'}")
        problems += [engine] if problem else []
    if problems:
        fail([f"Something is wrong with: {', '.join(problems)}."], FAILED)


def _summary(config: Config) -> Iterator[str]:
    from nugetproxy.config import safe_url

    yield f"Listens on {config.server.listen}"
    for name, upstream in config.upstreams.items():
        yield f"Upstream {name}: {safe_url(upstream.url)}"
    for name, feed in config.feeds.items():
        yield f"Feed {name}: {', '.join(feed.sources)}"
        if feed.told:
            yield f"Feed {name}: {feed.told}"
    yield f"Stores in {config.cache.path}"
