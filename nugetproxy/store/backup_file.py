"""Backup files hold what must not be lost, with the hashes of it; all of it blocks."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from nugetproxy.errors import BadRequest

FORM: Final = 1
MANIFEST: Final = "manifest.json"
LEDGER: Final = "ledger.db"
PROVENANCE: Final = "provenance.log"
CONFIGURATION: Final = "configuration.toml"
TOKENS: Final = "tokens_file"
LARGEST: Final = 4 * 2**30
"""Bytes of a file in it."""


def write_backup(path: Path, files: Mapping[str, bytes], version: str) -> None:
    """Make a backup at ``path``, whole or not at all, which only its owner may read. Raises OSError."""
    hashes = {name: hashlib.sha256(body).hexdigest() for name, body in files.items()}
    manifest = json.dumps({"form": FORM, "nugetproxy": version, "sha256": hashes}, indent=2).encode()
    scratch = path.with_name(f"{path.name}.part")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            with tarfile.open(fileobj=file, mode="w:gz") as archive:
                for name, body in {MANIFEST: manifest, **files}.items():
                    member = tarfile.TarInfo(name)
                    member.size, member.mode = len(body), 0o600
                    archive.addfile(member, io.BytesIO(body))
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except BaseException:
        with suppress(OSError):
            scratch.unlink()
        raise


def read_backup(path: Path) -> Mapping[str, bytes]:
    """What is in a backup, verified; raises BadRequest where it is not whole, or of a newer form."""
    try:
        with tarfile.open(path, mode="r:gz") as archive:
            members = [(one.name, one.size, archive.extractfile(one)) for one in archive if one.isreg()]
            found = {name: body.read() for name, size, body in members if body is not None and size <= LARGEST}
        manifest = json.loads(found.pop(MANIFEST))
        form, hashes = manifest["form"], dict(manifest["sha256"])
    except OSError as error:
        raise BadRequest(f"{path} cannot be read: {error.strerror or error}.") from error
    except (tarfile.TarError, zlib.error, EOFError, KeyError, TypeError, ValueError) as error:
        raise BadRequest(f"{path} is no backup, or was cut short; nothing was restored.") from error
    if form != FORM:
        raise BadRequest(f"{path} was made by a newer nugetproxy ({manifest.get('nugetproxy')}); use that one.")
    if {name: hashlib.sha256(body).hexdigest() for name, body in found.items()} != hashes or LEDGER not in found:
        raise BadRequest(f"{path} was altered since it was made; nothing was restored.")
    return found
