"""The command ``provenance`` reads the first-seen log."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nugetproxy.cli.control import tell
from nugetproxy.cli.exits import FAILED, USAGE, fail
from nugetproxy.cli.options import CacheDirectory, ConfigFile, Json
from nugetproxy.cli.since import Since, moment
from nugetproxy.cli.terminal import count, say
from nugetproxy.on_disk import exists

if TYPE_CHECKING:
    from nugetproxy.config import Config
    from nugetproxy.nuget.first_seen import Difference, FirstSeen

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def provenance() -> None:
    """Read the first-seen log: which bytes every version had when it first came, in lines chained by hashes."""


@app.command()
def verify(
    *,
    head: Annotated[
        str, typer.Option(metavar="HASH", help="The hash of the last line, noted earlier: it must still be there.")
    ] = "",
    json: Json = False,
    config: ConfigFile = None,
    cache_dir: CacheDirectory = None,
) -> None:
    """Tell whether the log is whole, and whether the hash file of every held package is that of its line; else exit
    code 1. Whether packages are what their hash files say, ``nugetproxy verify`` tells.
    """
    from nugetproxy.cli.tables import as_json
    from nugetproxy.config import load

    said = tell(load(config, cache_dir=cache_dir), "provenance/verify", {"head": head})
    wrong = list(_wrong(said))
    if json:
        as_json(said)
    else:
        for line in wrong:
            say(line)
        for name in said["left_out"]:
            say(f"What is held of {name} was not looked at: no upstream has this name here.")
        typer.echo(f"{said['lines']} lines, {said['held']} packages held. The hash of the last line:")
        typer.echo(said["head"] or "(there is no line)")
        if not wrong:
            typer.echo("Every line follows the one before; every held package has the hash of its line beside it.")
            typer.echo("Whether its bytes are those of the hash: nugetproxy verify")
    if wrong:
        raise typer.Exit(FAILED)


def _wrong(said: Mapping[str, Any]) -> Iterator[str]:
    """What is not as it should be, a line each."""
    for one in said["broken"]:
        yield f"Line {one['number']}: {one['why']}."
    if said["breaks"] > len(said["broken"]):
        yield f"{said['breaks'] - len(said['broken'])} further lines are wrong."
    if not said["knows_head"]:
        yield "No line has the hash that was noted: lines were removed since, or changed."
    for one in said["other_bytes"]:
        yield f"{one['id']} {one['version']} from {one['upstream']} has other bytes than when it first came."
    if said["others"] > len(said["other_bytes"]):
        yield f"{said['others'] - len(said['other_bytes'])} further packages have other bytes."
    for one in said["unknown"]:
        what = f"{one['id']} {one['version']} from {one['upstream']}"
        yield f"{what} is held without a line; a start of the proxy adds one."
    if said["unknowns"] > len(said["unknown"]):
        yield f"{said['unknowns'] - len(said['unknown'])} further packages are held without a line."


@app.command()
def export(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="Where to write; else to the terminal.")] = None,
    *,
    since: Since = "",
    config: ConfigFile = None,
    cache_dir: CacheDirectory = None,
) -> None:
    """Write the lines of the log as they are (JSON lines), all or from the first one of a time on."""
    from nugetproxy.config import load

    settings, begin = load(config, cache_dir=cache_dir), moment(since)
    if file is None:
        for line in _lines(settings, begin):
            typer.echo(line)
        return
    if exists(file):
        fail([f"{file} exists already; name another file."], FAILED)
    part = file.with_name(f"{file.name}.part")
    try:
        with part.open("w", encoding="utf-8") as into:
            written = sum(1 for line in _lines(settings, begin) if into.write(f"{line}\n"))
        part.replace(file)  # half of a log looks like a whole one
    except OSError as error:
        fail([f"{file} cannot be written: {error.strerror}."], FAILED)
    finally:
        with suppress(OSError):
            part.unlink()
    typer.echo(f"{file} holds {count(written, 'line')}.")


@app.command()
def diff(
    other: Annotated[Path, typer.Argument(metavar="OTHER", help="What export wrote at another site, or its log.")],
    *,
    any_source: Annotated[
        bool, typer.Option("--any-source", help="Compare by id and version, whatever the upstreams are called there.")
    ] = False,
    json: Json = False,
    config: ConfigFile = None,
    cache_dir: CacheDirectory = None,
) -> None:
    """Compare with the log of another site. Exit code 1 where a version has other bytes there than here."""
    from nugetproxy.cli.tables import as_json
    from nugetproxy.config import load
    from nugetproxy.nuget.first_seen import bytes_of, difference, whole_lines

    settings = load(config, cache_dir=cache_dir)
    try:
        theirs = whole_lines(other.read_bytes())
    except OSError as error:
        fail([f"{other} cannot be read: {error.strerror}."], USAGE)
    there = bytes_of(_read(theirs, str(other)), any_source=any_source)
    ours = (line.encode() for line in _lines(settings, 0.0))
    here = bytes_of(_read(ours, "The log of this proxy"), any_source=any_source)
    found = difference(here, there)
    if json:
        as_json(_told(found))
    else:
        _print(found, any_source=any_source)
    if found.other:
        raise typer.Exit(FAILED)


def _lines(settings: Config, since: float) -> Iterator[str]:
    place: float | None = 0.0
    while place is not None:
        said = tell(settings, "provenance/lines", {"after": place, "since": since})
        yield from said["lines"]
        place, since = said["next"], 0.0


def _read(lines: Iterable[bytes], where: str) -> Iterator[FirstSeen]:
    """What the lines of a log say; tells on stderr where they do not follow each other."""
    from nugetproxy.nuget.first_seen import Chain

    chain = Chain(head=None)
    for line in lines:
        seen, wrong = chain.follow(line)
        if seen is None:
            fail([f"{where}, line {chain.lines}: {wrong}. That is no first-seen log."], USAGE)
        if wrong:
            say(f"{where}, line {chain.lines}: {wrong}.", err=True)
        yield seen


def _told(found: Difference) -> Mapping[str, Any]:
    return {
        "same": found.same,
        "only_here": found.only_here,
        "only_there": found.only_there,
        "different": [
            {
                **({"upstream": key[0]} if len(key) == 3 else {}),
                "id": key[-2],
                "version": key[-1],
                "here": sorted(here),
                "there": sorted(there),
            }
            for key, here, there in found.other
        ],
    }


def _print(found: Difference, *, any_source: bool) -> None:
    for key, here, there in found.other:
        say(" ".join((key[-2], key[-1], *(() if any_source else ("from", key[0])))))
        for where, hashes in (("here", here), ("there", there)):
            for one in sorted(hashes):
                say(f"  {where:5} {one}")
    typer.echo(
        f"{len(found.other)} with different bytes, {found.same} the same, {found.only_here} only here, "
        f"{found.only_there} only there."
    )
    if not found.same and not found.other and sys.stdout.isatty() and not any_source:
        typer.echo("Upstreams may be called otherwise there; --any-source compares all the same.")
