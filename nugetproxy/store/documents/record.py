"""The form in which a document and its entry are one value."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson
from msgspec import Struct

from nugetproxy.caching.entry import Entry, Validators
from nugetproxy.off_loop.copies import part_of
from nugetproxy.store.sqlite_form import UnsoundFile

VERSION = 1
_DIGEST = 16
_LENGTH = 4
_FIXED = 1 + _DIGEST + _LENGTH


class DamagedRecord(UnsoundFile):
    """A stored value that is cut, changed, of another key or of another version."""


class Stored(Struct, frozen=True):
    """A document as upstream sent it (decoded), with the record of it."""

    entry: Entry
    body: bytes


def pack(key: str, header: Mapping[str, Any], body: bytes) -> bytes:
    """One byte version, 16 bytes digest, 4 bytes header length (big endian), header as JSON, body.

    One value, so that an entry is never seen with another one's body. The digest covers the key too: diskcache checks
    nothing, does not sync its value files, and a row may have been copied by hand.
    """
    head = orjson.dumps(header)
    return b"".join((bytes([VERSION]), _digest(key, head, body), len(head).to_bytes(_LENGTH, "big"), head, body))


def unpack(key: str, value: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and body; raises DamagedRecord."""
    if len(value) < _FIXED or value[0] != VERSION:
        raise DamagedRecord("version")
    end = _FIXED + int.from_bytes(value[1 + _DIGEST : _FIXED], "big")
    head, body = value[_FIXED:end], part_of(value, end)
    if end > len(value) or _digest(key, head, body) != value[1 : 1 + _DIGEST]:
        raise DamagedRecord("digest")
    header = orjson.loads(head)  # what we wrote, says the digest
    if not isinstance(header, dict):
        raise DamagedRecord("header")
    return header, body


def pack_entry(key: str, entry: Entry, body: bytes) -> bytes:
    """The value for an entry with its body."""
    header: dict[str, Any] = {
        "status": entry.status,
        "stored_at": entry.stored_at,
        "digest": entry.digest,
        "etag": entry.validators.etag,
        "last_modified": entry.validators.last_modified,
        "content_type": entry.content_type,
        "url": entry.url,
    }
    if entry.warnings:
        header["warnings"] = entry.warnings
    return pack(key, header, body)


def unpack_entry(key: str, value: bytes) -> Stored:
    """The entry with its body; raises DamagedRecord."""
    header, body = unpack(key, value)
    try:
        entry = Entry(
            status=int(header["status"]),
            stored_at=float(header["stored_at"]),
            digest=str(header["digest"]),
            validators=Validators(header["etag"], header["last_modified"]),
            content_type=str(header["content_type"]),
            url=str(header["url"]),
            warnings=tuple(map(str, header.get("warnings", ()))),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedRecord("header") from error
    return Stored(entry, body)


def _digest(key: str, head: bytes, body: bytes) -> bytes:
    digest = hashlib.blake2b(digest_size=_DIGEST)
    # Lengths first, so that no byte can move from one part to the next.
    name = key.encode()
    digest.update(len(name).to_bytes(4, "big") + name + len(head).to_bytes(4, "big") + head)
    digest.update(body)
    return digest.digest()
