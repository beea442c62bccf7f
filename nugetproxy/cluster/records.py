"""Records are documents as the second level keeps them: the bytes of upstream, the rest beside them."""

from __future__ import annotations

import hashlib
from typing import Final
from urllib.parse import quote, unquote

from nugetproxy.caching.entry import Entry, Validators
from nugetproxy.cluster.engines import Thing

LARGEST_META: Final = 1800
"""Stores take 2 kB."""
LAST_TIME: Final = 1e11
"""In seconds since the epoch; what is no number is not before it."""


def pack(entry: Entry, body: bytes, *, key: str, mark: str) -> Thing | None:
    """The object for a document; None for what says too much about itself.

    Names have letters and digits only, as every store and proxy passes them on; none is the name of a header without
    its hyphen, which obstore takes for that header.
    """
    said = {
        "fetchedat": repr(entry.stored_at),
        "status": str(entry.status),
        "digest": entry.digest,
        "key": key,
        "mark": mark,
        "upstreametag": entry.validators.etag,
        "lastmodified": entry.validators.last_modified,
        "mediatype": entry.content_type,
        "upstreamurl": entry.url,
        "warnings": "\n".join(entry.warnings),
    }
    meta = {name: quote(value, safe=" /:;=,.-_") for name, value in said.items() if value}
    if sum(len(name) + len(value) for name, value in meta.items()) > LARGEST_META:
        return None
    return Thing(body=body, meta=meta)


def unpack(thing: Thing, key: str) -> tuple[Entry, str] | None:
    """The entry of a document with its mark; None where it is damaged, or another's than that of ``key``."""
    said = {name: unquote(value) for name, value in thing.meta.items()}
    if said.get("key") != key:
        return None
    try:
        entry = Entry(
            status=int(said["status"]),
            stored_at=float(said["fetchedat"]),
            digest=said["digest"],
            validators=Validators(said.get("upstreametag"), said.get("lastmodified")),
            content_type=said.get("mediatype", ""),
            url=said.get("upstreamurl", ""),
            warnings=tuple(said["warnings"].split("\n")) if "warnings" in said else (),
        )
    except (KeyError, ValueError):
        return None
    if not 0.0 <= entry.stored_at < LAST_TIME or entry.status not in {200, 404}:
        return None
    if hashlib.sha256(thing.body).hexdigest() != entry.digest:
        return None
    return entry, said.get("mark", "")
