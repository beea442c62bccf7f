"""The command ``purge`` forgets a package."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from nugetproxy.cli.exits import FAILED, USAGE, fail
from nugetproxy.cli.options import CacheDirectory, ConfigFile, PackageName

if TYPE_CHECKING:
    from nugetproxy.admin.purge import Purge
    from nugetproxy.config import Config
    from nugetproxy.nuget.identity import PackageIdentity

app = typer.Typer(add_completion=False)


@app.command()
def purge(
    package: PackageName,
    version: Annotated[str | None, typer.Argument(metavar="VERSION", help="One version; else all of them.")] = None,
    config: ConfigFile = None,
    cache_dir: CacheDirectory = None,
) -> None:
    """Remove a package from the cache, with its documents and its pinned hash; only while the proxy is stopped."""
    from nugetproxy.cli.quiet import quiet
    from nugetproxy.config import load
    from nugetproxy.nuget.identity import PackageIdentity

    settings = load(config, cache_dir=cache_dir)
    identity = PackageIdentity.parse(package, version or "1.0.0")
    if identity is None:
        fail([f"{package} {version or ''}".rstrip() + " is not a package id with a version."], USAGE)
    with quiet():
        done, near = asyncio.run(_purge(settings, identity, every=version is None))
    for line in _told(done):
        typer.echo(line)
    if not any(one.packages or one.pins for one in done.feeds):
        what = identity.id if version is None else f"{identity.id} {identity.version}"
        fail(_not_held(what, near, done, settings), FAILED)


def _told(done: Purge) -> Iterator[str]:
    """What was removed, a line each."""
    from nugetproxy.config.units import about_size

    for one in done.feeds:
        if one.packages:
            versions = ", ".join(identity.version for identity in one.packages)
            yield f"Removed {one.packages[0].id} {versions} from {one.feed} ({about_size(one.size)})."
        if one.pins:
            versions = ", ".join(identity.version for identity in one.pins)
            yield f"Forgot the pinned hash of {one.pins[0].id} {versions} from {one.feed}; no such package was held."
    if done.documents:
        yield f"Removed {done.documents} document{'s' if done.documents > 1 else ''}."


def _not_held(what: str, near: str, done: Purge, settings: Config) -> Iterator[str]:
    """Why no package was removed."""
    yield f"No package {what} is held in {settings.cache.path}." + (f" Did you mean {near}?" if near else "")
    for one in done.feeds:
        if one.others:
            yield f"Held in {one.feed}: {', '.join(identity.version for identity in one.others)}."


async def _purge(settings: Config, identity: PackageIdentity, *, every: bool) -> tuple[Purge, str]:
    """What was removed, and where that is nothing, the held id that looks most like the wanted one."""
    from nugetproxy.admin.purge import purge, similar
    from nugetproxy.app import build

    async with build(settings) as app:
        done = await purge(app.packages, app.documents, identity.id, None if every else identity.version)
        known = any(one.packages or one.pins or one.others for one in done.feeds)
        return done, "" if known else await similar(app.packages, identity.id)
