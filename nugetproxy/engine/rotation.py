"""Rotation notices that the secrets of an upstream are no longer those that its stored answers were asked with."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os

from nugetproxy.caching.entry import Entry
from nugetproxy.engine.target import Target
from nugetproxy.nuget.kinds import Kind
from nugetproxy.store.documents.documents import Documents, of_kind

_SALT = 16


async def same_since(documents: Documents, scope: str, secrets: tuple[str, ...], now: float) -> float:
    """Since when the upstream of ``scope`` is asked with these ``secrets``; times as in ``Entry.stored_at``.

    0 for one without any; ``now`` where it is not known. What was said not to exist before that may only have been
    hidden from other secrets.
    """
    if not secrets:
        return 0.0
    key = Target(kind=Kind.INDEX, path="secrets", scope=scope).key
    known = await documents.get(key)
    if known is not None and await asyncio.to_thread(_is_of, known.body, secrets):
        return known.entry.stored_at
    sealed = await asyncio.to_thread(_seal, os.urandom(_SALT), secrets)
    await documents.put(key, Entry.of(200, sealed, stored_at=now), sealed, tag=of_kind(Kind.INDEX))
    return now


def _seal(salt: bytes, secrets: tuple[str, ...]) -> bytes:
    """Tells whether secrets are the same without telling them: salted, as slow to try as log-ins allow."""
    text = "\0".join(sorted(secrets)).encode()
    return salt + hashlib.scrypt(text, salt=salt, n=2**14, r=8, p=1, dklen=32)


def _is_of(sealed: bytes, secrets: tuple[str, ...]) -> bool:
    return hmac.compare_digest(_seal(sealed[:_SALT], secrets), sealed)
