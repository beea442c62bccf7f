"""Transfer commands bring packages with their documents from files in the cache directory, or write them there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from nugetproxy.admin.desk import Desk
from nugetproxy.engine.document_file import read_documents, write_documents
from nugetproxy.engine.packages import Packages
from nugetproxy.errors import BadRequest, NotFound
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.sources.remote import RemoteSource
from nugetproxy.store.fs import DiskFailure

PLACE: Final = re.compile(r"transfer-[0-9a-f]{16}")
"""A folder in ``run/`` of the cache directory, which only operators can write to."""
DOCUMENTS: Final = "documents"
"""The name of the file in it."""


async def fits(desk: Desk, *, upstream: str, packages: tuple[str, ...], hashes: tuple[str, ...]) -> Mapping[str, Any]:
    """Which packages (``id/version``, each with its SHA-512 in base64) are held, which cannot be taken, and why."""
    if len(packages) != len(hashes):
        raise BadRequest("There must be a hash for each package.")
    into = _packages(desk, upstream)
    held, refused = [], {}
    for name, sha512 in zip(packages, hashes, strict=True):
        identity = _identity(name)
        if why := await into.refusal(identity, sha512):
            refused[name] = why
        elif await into.held(identity) is not None:
            held.append(name)
    return {"held": held, "refused": refused}


async def take(desk: Desk, *, upstream: str, package: str, place: str, sha512: str) -> Mapping[str, Any]:
    """Take a package (``id/version``) from its file (``id version``) in a folder of transfers; after that it is there,
    durably.
    """
    identity, into = _identity(package), _packages(desk, upstream)
    try:
        taken = await into.take(identity, _place(desk, place) / str(identity), sha512)
        if (failure := await into.folder.pending.settle(identity)) is not None:
            raise failure
    except (OSError, DiskFailure) as error:
        why = str(error).removesuffix(".")
        raise BadRequest(f"{package} cannot be taken: {why}.") from error
    for feed in desk.feeds.values():
        feed.outdate(identity.id)
    return {"taken": taken}


async def give_documents(
    desk: Desk, *, place: str, ids: tuple[str, ...] = (), every: bool = False
) -> Mapping[str, Any]:
    """Write the stored documents of ids, or of ``every`` one, into a folder of transfers.

    Packages that are held now are then in their folders, for whoever reads those next.
    """
    for source in desk.remote().values():
        for identity in source.packages.folder.pending.sizes():
            await source.packages.folder.pending.settle(identity)
    wanted = None if every else {id_.lower() for id_ in ids}
    try:
        return {"documents": await write_documents(desk.documents, _place(desk, place) / DOCUMENTS, wanted)}
    except OSError as error:
        raise BadRequest(f"The documents cannot be written: {error.strerror or error}.") from error


async def take_documents(desk: Desk, *, place: str) -> Mapping[str, Any]:
    """Store the documents in a folder of transfers, where nothing newer is stored."""
    try:
        return {"documents": await read_documents(desk.documents, _place(desk, place) / DOCUMENTS)}
    except OSError as error:
        raise BadRequest(f"The documents cannot be read: {error.strerror or error}.") from error
    finally:
        desk.forget()


def _packages(desk: Desk, upstream: str) -> Packages:
    source = desk.sources.get(upstream)
    if not isinstance(source, RemoteSource):
        remote = ", ".join(desk.remote())
        raise NotFound(f"There is no remote upstream {upstream!r} to hold packages of; there are {remote or 'none'}.")
    return source.packages


def _identity(name: str) -> PackageIdentity:
    identity = PackageIdentity.parse(*name.partition("/")[::2])
    if identity is None:
        raise BadRequest(f"{name[:200]!r} is not id/version.")
    return identity


def _place(desk: Desk, place: str) -> Path:
    """A folder of transfers; raises BadRequest for any other name."""
    folders = [one.packages.folder for one in desk.remote().values()]
    if PLACE.fullmatch(place) is None or not folders:
        raise BadRequest("That is no folder of transfers.")
    return folders[0].layout.root.parent / "run" / place
