"""Which package is meant is written as ``ID@VERSION``, or as ``ID VERSION``."""

from __future__ import annotations

from nugetproxy.cli.exits import USAGE, fail


def named(package: str, version: str | None = None) -> tuple[str, str]:
    """The id with the version, empty where none is written: the id in general.

    Ends the command where one is left out (``ID@``: a variable of a script that is empty), or where there are two.
    """
    id_, at, of_id = package.partition("@")
    if at and version is not None:
        fail([f"{package} {version} names two versions; write one of them."], USAGE)
    if not (of_id if at else version is None or version.strip()):
        fail([f"The version is left out; write {id_}@VERSION, or {id_} alone for all of them."], USAGE)
    return id_, of_id or version or ""
