"""The command ``purge`` forgets a package."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from nugetproxy.cli.exits import USAGE, fail
from nugetproxy.cli.options import CacheDirectory, ConfigFile, PackageName

if TYPE_CHECKING:
    from nugetproxy.admin.purge import Purge
    from nugetproxy.config import Config
    from nugetproxy.nuget.identity import PackageIdentity

app = typer.Typer(add_completion=False)


@app.command()
def purge(
    package: PackageName,
    version: Annotated[str | None, typer.Argument(metavar="VERSION", help="One version; else all held ones.")] = None,
    config: ConfigFile = None,
    cache_dir: CacheDirectory = None,
) -> None:
    """Remove a package from the cache, with its documents and its pinned hash; only while the proxy is stopped."""
    from nugetproxy.config import load
    from nugetproxy.nuget.identity import PackageIdentity

    settings = load(config, cache_dir=cache_dir)
    identity = PackageIdentity.parse(package, version or "1.0.0")
    if identity is None:
        fail([f"{package} {version or ''}".rstrip() + " is not a package id with a version."], USAGE)
    done = asyncio.run(_purge(settings, identity, every=version is None))
    for one in done.feeds:
        typer.echo(f"{one.feed}: {len(one.packages)} packages, {one.size} bytes {' '.join(one.packages)}".rstrip())
    typer.echo(f"{done.documents} documents")


async def _purge(settings: Config, identity: PackageIdentity, *, every: bool) -> Purge:
    from nugetproxy.admin.purge import purge
    from nugetproxy.app import build

    async with build(settings) as app:
        held = {name: feed.packages for name, feed in app.feeds.items()}
        return await purge(held, app.entries, identity.id, None if every else identity.version)
