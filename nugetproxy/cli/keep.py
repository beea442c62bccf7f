"""The command ``keep`` names packages that are never evicted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from nugetproxy.cli.control import tell
from nugetproxy.cli.exits import USAGE, fail
from nugetproxy.cli.options import CacheDirectory, ConfigFile, Json
from nugetproxy.cli.terminal import count, say
from nugetproxy.on_disk import is_file

app = typer.Typer(add_completion=False)

LOCK_FILES: Final = ("packages.lock.json", "project.assets.json", "packages.config")
ALIKE: Final = 0.85
"""What ``difflib`` says of names that differ in a letter or two."""


@app.command()
def keep(
    what: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ID[@VERSION]|FILE]...", help="Packages, or lock files that name them."),
    ] = None,
    *,
    json: Json = False,
    config: ConfigFile = None,
    cache_dir: CacheDirectory = None,
) -> None:
    """Never evict these packages, or all that a lock file names; without a name, list what is kept."""
    from nugetproxy.cli.tables import as_json
    from nugetproxy.config import load

    settings = load(config, cache_dir=cache_dir)
    if not what:
        _list(tell(settings, "kept", {}), json=json)
        return
    for one in what:
        mind_versions(one)
        _mind_the_spelling(one)
    named, files = [one for one in what if not means_file(one)], [Path(one) for one in what if means_file(one)]
    wanted = [{"packages": _versions(file), "by": str(file.absolute())} for file in files]
    wanted += [{"packages": named}] if named else []
    done = [tell(settings, "keep", one) for one in wanted]
    missing = sorted({one for each in done for one in each["missing"]})
    lying = {name: source for each in done for name, source in each["in_folders"].items()}
    kept = sum(one["kept"] for one in done)
    if json:
        as_json({"kept": kept, "missing": missing, "in_folders": lying})
        return
    for line in (*_told(kept, missing), *_in_folders(lying)):
        say(line)


def means_file(text: str) -> bool:
    """Whether a file is meant, not a package; a lock file need not exist any more."""
    from nugetproxy.nuget.projects.families import family_of

    with contextlib.suppress(OSError):  # which is longer than a name may be
        return "/" in text or family_of(text) is not None or is_file(Path(text))
    return False


def mind_versions(text: str) -> None:
    """End the command at a version by itself: it is a good package id, too, of no package."""
    from nugetproxy.nuget.version import Version

    if "." in text and Version.parse(text) is not None and not means_file(text):
        fail([f"{text} is a version; write ID@{text}."], USAGE)


def _mind_the_spelling(text: str) -> None:
    """End the command at a word that is all but the name of a file: most are good package ids, too, of no package."""
    from difflib import get_close_matches

    from nugetproxy.nuget.projects.families import is_project

    if "@" in text or means_file(text):
        return
    if is_project(text) or get_close_matches(text.lower(), LOCK_FILES, 1, ALIKE):
        fail([f"There is no file {text}; if it is the id of a package, write {text}@VERSION."], USAGE)


def _versions(file: Path) -> list[str]:
    """What a file says to have been restored."""
    from nugetproxy.errors import ProxyError
    from nugetproxy.jobs.repository import read_all

    try:
        needs = [one.needs for one in read_all([file])]
    except ProxyError as error:
        fail([str(error)], USAGE)
    found = sorted({f"{one.id}@{one.version}" for each in needs for one in (*each.exact, *each.direct)})
    if not found:
        fail([f"{file} names no versions; take a lock file (packages.lock.json) or project.assets.json."], USAGE)
    return found


def _told(kept: int, missing: list[str]) -> Iterator[str]:
    yield f"{count(kept, 'package')} will not be evicted."
    if missing:
        few = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        yield f"Not held yet, so kept from when they are: {len(missing)} ({few})."


def _in_folders(lying: Mapping[str, str]) -> Iterator[str]:
    for source in sorted(set(lying.values())):
        names = [name for name, where in lying.items() if where == source]
        few = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        yield f"In the folder of {source}, from which nothing is evicted: {len(names)} ({few})."


def _list(said: Mapping[str, Any], *, json: bool) -> None:
    from nugetproxy.cli.tables import as_json, day, table

    if json:
        as_json(said)
    elif said["kept"]:
        rows = ((one["id"], one["version"] or "all", day(one["since"]), one["by"] or "-") for one in said["kept"])
        table(("Package", "Version", "Since", "Lock file"), rows)
    else:
        say("Nothing is kept.")
