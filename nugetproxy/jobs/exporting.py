"""Exporting writes what is held of remote upstreams into a bundle."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import file_digest
from pathlib import Path
from tarfile import TarFile
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from nugetproxy.errors import BadRequest
from nugetproxy.jobs import bundle
from nugetproxy.jobs.bundle import DOCUMENTS, MANIFEST, SIGNATURE, Manifest, Packed
from nugetproxy.jobs.progress import Progress
from nugetproxy.jobs.proxy_client import ProxyClient
from nugetproxy.jobs.stopping import in_thread
from nugetproxy.nuget.identity import PackageIdentity

LEFT_SECONDS: Final = 24 * 3600.0
"""What a killed import or export has left is removed by the next one after so long."""


class Exported(Struct, frozen=True, kw_only=True):
    """What is in a bundle."""

    packages: int
    size: int
    """Bytes of the packages in it."""
    documents: int
    left_out: int
    """Packages that the base of a delta has."""


class ExportWish(Struct, frozen=True, kw_only=True):
    """What to export, and how."""

    cache: Path
    upstreams: Sequence[str]
    only: Collection[PackageIdentity] | None = None
    """None: everything that is held."""
    base: Path | None = None
    """A bundle; what it has is left out."""
    key: Path | None = None
    """To sign with (PEM, ed25519)."""


async def export(proxy: ProxyClient, file: Path, wish: ExportWish, progress: Progress) -> Exported:
    """Write a bundle; it appears under its name once it is whole. Raises BadRequest, BadBundle, OSError."""
    place = new_place(wish.cache)
    try:
        ids = sorted({one.id for one in wish.only}) if wish.only is not None else []
        arguments = {"place": place.name, "ids": ids, "every": wish.only is None}
        given = await proxy.command("transfer/give-documents", arguments)
        try:
            found = await in_thread(lambda seen: _write(file, wish, place / "documents", seen), progress)
        except OSError as error:
            what = f"{error.filename or file}: {error.strerror or error}"
            raise BadRequest(f"No bundle was made ({what}).{_remedy(error, wish.cache)}") from error
        return replace(found, documents=int(given["documents"]))
    finally:
        await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)


def _remedy(error: OSError, cache: Path) -> str:
    """What to do about a file that is gone; nothing where it is none of the cache's."""
    lost = Path(str(error.filename))
    if not isinstance(error, FileNotFoundError) or not lost.is_relative_to(cache):
        return ""
    if any(lost.parent.glob("*.nupkg")):
        return " The package is there: 'nugetproxy verify' writes what is lost beside it."
    return " What is evicted meanwhile is missing; try again."


def new_place(cache: Path) -> Path:
    """A folder that the proxy reads from and writes to, whoever it runs as; raises BadRequest."""
    place = cache / "run" / f"transfer-{secrets.token_hex(8)}"
    try:
        place.parent.mkdir(mode=0o700, exist_ok=True)
        for other in place.parent.glob("transfer-*"):
            if time.time() - other.stat().st_mtime > LEFT_SECONDS:
                shutil.rmtree(other, ignore_errors=True)
        place.mkdir()
        place.chmod(0o777)  # nobody but its owner gets through the folder that it is in
    except OSError as error:
        remedy = "; run this as the proxy's user." if isinstance(error, PermissionError) else "."
        raise BadRequest(f"{place.parent} cannot be written to: {error.strerror}{remedy}") from error
    return place


def held_packages(cache: Path, upstreams: Sequence[str]) -> Iterator[tuple[Packed, Path]]:
    """What lies in the folders of these upstreams, with its file; blocking."""
    for upstream in upstreams:
        for mark in sorted((cache / upstream / "packages").glob("*/*/*.nupkg.sha512")):
            file = mark.with_suffix("")
            try:
                sha512, size = mark.read_text("ascii", "replace").strip(), file.stat().st_size
            except OSError:  # evicted since
                continue
            id_, version = mark.parent.parent.name, mark.parent.name
            packed = Packed(
                upstream=upstream,
                id=id_,
                version=version,
                sha512=sha512,
                size=size,
                path=f"{id_}/{version}/{file.name}",
            )
            if packed.identity == PackageIdentity.parse(id_, version) and file.name == packed.identity.nupkg_name:
                yield packed, file  # else somebody has laid it there, and nobody is served it


def _write(file: Path, wish: ExportWish, documents: Path, progress: Progress) -> Exported:
    known = _base(wish.base)
    chosen = [
        (one, path)
        for one, path in held_packages(wish.cache, wish.upstreams)
        if wish.only is None or one.identity in wish.only
    ]
    new = [(one, path) for one, path in chosen if _key(one) not in known[1]]
    progress.expect(len(new))
    files, contents = _files(new)
    with documents.open("rb") as stored:
        files[DOCUMENTS] = (file_digest(stored, "sha512").hexdigest(), documents.stat().st_size)
    old = [replace(one, path="") for one, path in chosen if _key(one) in known[1]]
    manifest = Manifest(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        base=known[0],
        packages=(*(one for one, _ in new), *old),
        files=files,
    ).encoded()
    with bundle.writing(file) as tar:
        bundle.add_bytes(tar, MANIFEST, manifest)
        if wish.key is not None:
            bundle.add_bytes(tar, SIGNATURE, bundle.sign(manifest, wish.key))
        for name, path in contents.items():
            _add(tar, name, path, files[name], progress.moved)
            if name.endswith(".nupkg"):
                progress.done(name)
        _add(tar, DOCUMENTS, documents, files[DOCUMENTS], progress.moved)
    return Exported(packages=len(new), size=sum(one.size for one, _ in new), documents=0, left_out=len(old))


def _key(one: Packed) -> tuple[str, PackageIdentity, str]:
    """Of one package of one upstream: another one that holds it, too, may be another place where it is imported."""
    return one.upstream, one.identity, one.sha512


def _base(file: Path | None) -> tuple[str, frozenset[tuple[str, PackageIdentity, str]]]:
    """What a delta is to: the name of the manifest, the keys of its packages."""
    if file is None:
        return "", frozenset()
    body, _ = bundle.read_manifest(file)
    manifest = Manifest.parse(body, file)
    return bundle.digest_of(body), frozenset(map(_key, manifest.packages))


def _files(packages: Sequence[tuple[Packed, Path]]) -> tuple[dict[str, tuple[str, int]], Mapping[str, Path]]:
    """Each file of these packages with its SHA-512 and size, and where it lies; raises BadRequest."""
    files: dict[str, tuple[str, int]] = {}
    contents: dict[str, Path] = {}
    for one, path in packages:
        stated = (bundle.hex_of(one.sha512), one.size)
        if files.get(one.path, stated) != stated:
            raise BadRequest(
                f"Two upstreams hold different packages of {one.id} {one.version}; export one of them (--upstream)."
            )
        files[one.path], contents[one.path] = stated, path
        folder = one.path.rpartition("/")[0]
        for beside in (path.with_name(f"{one.id}.nuspec"), path.with_name(f"{path.name}.sha512")):
            body = beside.read_bytes()
            name = f"{folder}/{beside.name}"
            files[name], contents[name] = (bundle.digest_of(body), len(body)), beside
    return files, contents


def _add(tar: TarFile, name: str, path: Path, stated: tuple[str, int], moved: Callable[[int], None]) -> None:
    with path.open("rb") as file:
        if bundle.add_file(tar, name, file, stated[1], moved) != stated[0]:
            raise BadRequest(f"{path} is damaged, so no bundle was made; 'nugetproxy doctor' says more.")
