"""A bundle is one file (tar, zstd) of packages with their documents, which is a folder feed once unpacked."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO, Final

import orjson
import zstandard
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from msgspec import Struct, to_builtins

from nugetproxy.errors import BadRequest
from nugetproxy.nuget.identity import PackageIdentity

FORMAT: Final = 1
MANIFEST: Final = ".bundle/manifest.json"
SIGNATURE: Final = ".bundle/manifest.sig"
DOCUMENTS: Final = ".bundle/documents"
"""No package can be called ``.bundle``, so NuGet does not look in there."""
LARGEST_MANIFEST: Final = 256 * 2**20
PIECE: Final = 2**20
PACKED: Final = 2**11
"""Compressed bytes that are read at once: even of zeros they are no more than 64 MiB."""
LEVEL: Final = 3
"""Of zstd; packages are compressed already."""


class BadBundle(BadRequest):
    """A bundle is not what it was when it was made, or none at all."""

    def __init__(self, file: Path, why: str) -> None:
        super().__init__(f"{file} is refused, nothing of it was imported: {why}.")
        self.file = file
        self.why = why


class Packed(Struct, frozen=True, kw_only=True):
    """One package in a bundle."""

    upstream: str
    id: str
    version: str
    sha512: str
    """Base64."""
    size: int
    path: str
    """Of the .nupkg in the bundle; empty in a delta for what its base has."""

    @property
    def identity(self) -> PackageIdentity:
        """Which package it is."""
        return PackageIdentity(self.id, self.version)


class Manifest(Struct, frozen=True, kw_only=True):
    """What a bundle holds; ``files`` is every file but this one and its signature, with SHA-512 (hex) and size."""

    created: str
    base: str
    """The SHA-512 (hex) of the manifest that this one is a delta to; empty for a full bundle."""
    packages: tuple[Packed, ...]
    files: Mapping[str, tuple[str, int]]

    def encoded(self) -> bytes:
        """As it is written."""
        return orjson.dumps({"format": FORMAT, **to_builtins(self)}, option=orjson.OPT_INDENT_2) + b"\n"

    @staticmethod
    def parse(body: bytes, file: Path) -> Manifest:
        """Read it; raises BadBundle."""
        try:
            found = orjson.loads(body)
            if found["format"] != FORMAT:
                raise BadBundle(file, f"it has the format {found['format']!r}; a newer nugetproxy may read it")
            packages = tuple(Packed(**row) for row in found["packages"])
            files = {str(path): (str(hash_), int(size)) for path, (hash_, size) in found["files"].items()}
            manifest = Manifest(created=str(found["created"]), base=str(found["base"]), packages=packages, files=files)
        except (ValueError, KeyError, TypeError) as error:
            raise BadBundle(file, "its manifest cannot be read") from error
        manifest.check(file)
        return manifest

    def check(self, file: Path) -> None:
        """Raises BadBundle where it contradicts itself or names what has no business in a bundle."""
        for one in self.packages:
            identity = PackageIdentity.parse(one.id, one.version)
            path = f"{one.id}/{one.version}/{one.identity.nupkg_name}"
            if identity != one.identity or (one.path and (one.path != path or path not in self.files)):
                raise BadBundle(file, f"its manifest is wrong about {one.id} {one.version}")
        for path in self.files:
            if path.startswith("/") or any(part in {"", ".", ".."} for part in path.split("/")):
                raise BadBundle(file, "its manifest names a file outside of it")


def digest_of(manifest: bytes) -> str:
    """What a delta calls its base."""
    return hashlib.sha512(manifest).hexdigest()


def hex_of(sha512: str) -> str:
    """Of a base64 hash; empty for what is none."""
    try:
        return base64.b64decode(sha512, validate=True).hex()
    except ValueError:
        return ""


# --- signatures ---


def sign(manifest: bytes, key: Path) -> bytes:
    """Raises BadRequest where ``key`` is no PEM file of an ed25519 private key."""
    try:
        private = load_pem_private_key(key.read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadRequest(f"{key} cannot be read as a private key without a pass phrase (PEM): {error}.") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise BadRequest(f"{key} is no ed25519 key; 'openssl genpkey -algorithm ed25519' makes one.")
    return private.sign(manifest)


def check_signature(manifest: bytes, signature: bytes | None, key: Path, file: Path) -> None:
    """Raises BadBundle unless the owner of ``key`` (PEM, public) has signed the manifest."""
    try:
        public = load_pem_public_key(key.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise BadRequest(f"{key} cannot be read as a public key (PEM): {error}.") from error
    if not isinstance(public, Ed25519PublicKey):
        raise BadRequest(f"{key} is no ed25519 key.")
    if signature is None:
        raise BadBundle(file, "it is not signed")
    try:
        public.verify(signature, manifest)
    except InvalidSignature as error:
        raise BadBundle(file, "its signature is not by that key") from error


# --- files ---


@contextmanager
def writing(path: Path) -> Iterator[tarfile.TarFile]:
    """A bundle that appears under its name once it is whole; raises OSError."""
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
            with (
                compressor.stream_writer(file, closefd=False) as packed,
                tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar,
            ):
                yield tar
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def add_bytes(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a file whose whole content is at hand."""
    tar.addfile(_entry(name, len(content)), io.BytesIO(content))


def add_file(tar: tarfile.TarFile, name: str, file: BinaryIO, size: int, moved: Callable[[int], None]) -> str:
    """A file of ``size`` bytes with its time, which is when a package was published; its SHA-512 (hex)."""
    counted = _Counted(file, moved)
    entry = _entry(name, size)
    entry.mtime = int(os.fstat(file.fileno()).st_mtime)
    tar.addfile(entry, counted)  # type: ignore[arg-type]
    return counted.hash.hexdigest()


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o644
    return entry


class _Counted:
    """A file that is hashed while it is read."""

    def __init__(self, file: BinaryIO, moved: Callable[[int], None]) -> None:
        self._file = file
        self._moved = moved
        self.hash = hashlib.sha512()

    def read(self, size: int) -> bytes:
        piece = self._file.read(size)
        self.hash.update(piece)
        self._moved(len(piece))
        return piece


def read_manifest(path: Path) -> tuple[bytes, bytes | None]:
    """The manifest of a bundle with its signature; raises BadBundle."""
    with reading(path, to_its_end=False) as tar:
        entry = tar.next()
        if entry is None or entry.name != MANIFEST or entry.size > LARGEST_MANIFEST:
            raise BadBundle(path, "it does not begin with a manifest")
        manifest = _content(tar, entry)
        entry = tar.next()
        if entry is None or entry.name != SIGNATURE or entry.size >= PIECE:
            return manifest, None
        return manifest, _content(tar, entry)


def unpack(path: Path, manifest: Manifest, into: Path, moved: Callable[[int], None]) -> None:
    """Write packages (``id version``: file names may be those of two) and documents into ``into``; every file must be
    what the manifest says.

    Raises BadBundle, OSError; what was written until then is the caller's to remove.
    """
    lacking = dict(manifest.files)
    names = {one.path: str(one.identity) for one in manifest.packages if one.path}
    names[DOCUMENTS] = DOCUMENTS.rpartition("/")[2]
    with reading(path) as tar:
        for entry in tar:
            if entry.name in {MANIFEST, SIGNATURE}:
                continue
            stated = lacking.pop(entry.name, None)
            if stated is None or not entry.isreg():
                raise BadBundle(path, f"{entry.name} is not in its manifest")
            place = into / names[entry.name] if entry.name in names else Path(os.devnull)
            found = _copy(tar, entry, place, moved)
            if (found, entry.size) != stated:
                raise BadBundle(path, f"{entry.name} was altered")
    if lacking:
        raise BadBundle(path, f"{len(lacking)} files of its manifest are lacking, {min(lacking)} among them")


def _copy(tar: tarfile.TarFile, entry: tarfile.TarInfo, place: Path, moved: Callable[[int], None]) -> str:
    """Write one file; its SHA-512 (hex)."""
    found = hashlib.sha512()
    with place.open("wb") as file:
        for piece in _pieces(tar, entry):
            found.update(piece)
            file.write(piece)
            moved(len(piece))
    return found.hexdigest()


@contextmanager
def reading(path: Path, *, to_its_end: bool = True) -> Iterator[tarfile.TarFile]:
    """The files of a bundle, one after the other; raises BadBundle where it is cut or no bundle."""
    try:
        with path.open("rb") as file:
            plain = _Plain(file)
            with tarfile.open(fileobj=plain, mode="r|") as tar:  # type: ignore[call-overload]
                yield tar
            while to_its_end and (piece := plain.read(PIECE)):
                if piece.strip(b"\0"):
                    raise BadBundle(path, "something follows it")
    except (tarfile.TarError, zstandard.ZstdError, EOFError) as error:
        raise BadBundle(path, f"it is cut, altered, or no bundle ({error})") from error


class _Plain:
    """What a compressed file holds; its end must be the end of what was compressed."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._plain = memoryview(b"")
        """What was decompressed, as far as it was not read."""

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes, nothing at the end; raises EOFError where that is too early, ZstdError."""
        found: list[memoryview] = []
        while size:
            found.append(self._plain[:size])
            size, self._plain = size - len(found[-1]), self._plain[size:]
            if not size:
                break
            packed = self._file.read(PACKED)
            if not packed:
                if not self._frame.eof:
                    raise EOFError("it ends too early")
                break
            if self._frame.eof:
                raise EOFError("something follows its end")
            self._plain = memoryview(self._frame.decompress(packed))
            if self._frame.unused_data:
                raise EOFError("something follows its end")
        return b"".join(found)


def _content(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    return b"".join(_pieces(tar, entry))


def _pieces(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> Iterator[bytes]:
    file: IO[bytes] | None = tar.extractfile(entry)
    left = entry.size
    while file is not None and left and (piece := file.read(min(PIECE, left))):
        left -= len(piece)
        yield piece
    if left:
        raise EOFError(f"{left} bytes of {entry.name} are lacking")
