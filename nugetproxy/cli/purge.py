"""The command ``purge`` forgets a package."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nugetproxy.cli.control import tell
from nugetproxy.cli.exits import FAILED, USAGE, fail
from nugetproxy.cli.named import named
from nugetproxy.cli.options import CacheDirectory, ConfigFile, Json, Upstream
from nugetproxy.cli.terminal import count, say

if TYPE_CHECKING:
    from nugetproxy.config import Config

app = typer.Typer(add_completion=False)


@app.command()
def purge(
    package: Annotated[str, typer.Argument(metavar="ID[@VERSION]", help="The package.")],
    version: Annotated[str | None, typer.Argument(metavar="[VERSION]", help="One version; else all of them.")] = None,
    *,
    upstream: Upstream = "",
    json: Json = False,
    config: ConfigFile = None,
    cache_dir: CacheDirectory = None,
) -> None:
    """Remove a package from the cache, with its documents and its pinned hash; while the proxy runs, too."""
    from nugetproxy.cli.tables import as_json
    from nugetproxy.config import load
    from nugetproxy.nuget.identity import PackageIdentity

    settings = load(config, cache_dir=cache_dir)
    id, wanted = named(package, version)
    identity = PackageIdentity.parse(id, wanted or "1.0.0")
    if identity is None:
        fail([f"{id} {wanted}".rstrip() + " is not a package id with a version."], USAGE)
    done = tell(settings, "purge", {"id": identity.id, "version": wanted, "upstream": upstream})
    if json:
        as_json(done)
    else:
        for line in _told(identity.id, done):
            say(line)
    if not any(one["removed"] or one["forgotten"] for one in done["upstreams"]):
        what = identity.id if not wanted else f"{identity.id} {identity.version}"
        fail(_not_held(what, done, settings), FAILED)


def _told(id: str, done: Mapping[str, Any]) -> Iterator[str]:
    """What was removed, a line each."""
    from nugetproxy.config.units import about_size

    for one in done["upstreams"]:
        if one["removed"]:
            yield f"Removed {id} {', '.join(one['removed'])} from {one['upstream']} ({about_size(one['size'])})."
        if one["forgotten"]:
            versions = ", ".join(one["forgotten"])
            held = "the file stays" if one.get("folder") else "no such package was held"
            yield f"Forgot the pinned hash of {id} {versions} from {one['upstream']}; {held}."
        if one.get("lying"):
            yield f"{id} {', '.join(one['lying'])} lies in {one['folder']}: whoever fills {one['upstream']} removes it."
        if one.get("says"):
            yield f"{one['upstream']}: {one['says']}"
    if done["documents"]:
        yield f"Removed {count(done['documents'], 'document')}."


def _not_held(what: str, done: Mapping[str, Any], settings: Config) -> Iterator[str]:
    """Why no package was removed."""
    near = done["similar"]
    yield f"No package {what} is held in {settings.cache.path}." + (f" Did you mean {near}?" if near else "")
    for one in done["upstreams"]:
        if one["held"]:
            yield f"Held in {one['upstream']}: {', '.join(one['held'])}."
