"""A document file carries stored documents from one proxy to another."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Final

import aiofiles
import orjson

from nugetproxy.errors import BadRequest
from nugetproxy.store.documents.documents import Documents, of_id
from nugetproxy.store.documents.record import pack_entry, unpack_entry
from nugetproxy.store.sqlite_form import UnsoundFile

LARGEST: Final = 512 * 2**20
"""Bytes of one document that is read."""
LONGEST_HEAD: Final = 4096
_KEY: Final = re.compile(r"[a-z_]{1,40}:[0-9a-f]{40}")
_TAG: Final = re.compile(r"(?:id|kind|kept):[^\x00-\x1f]{0,300}")


async def write_documents(documents: Documents, path: Path, ids: Collection[str] | None) -> int:
    """Write what is stored into a new file: of these ids (lower case) with what is about none of them, else all of
    it. How many; raises OSError.
    """
    tags = None if ids is None else {of_id(id_) for id_ in ids}
    count = 0
    async with aiofiles.open(path, "xb") as file:
        for key, tag in await documents.listed():
            if tags is not None and tag.startswith(of_id("")) and tag not in tags:
                continue
            stored = await documents.get(key)
            if stored is None or _KEY.fullmatch(key) is None:
                continue
            value = pack_entry(key, stored.entry, stored.body)
            await file.write(orjson.dumps({"key": key, "tag": tag, "size": len(value)}) + b"\n" + value)
            count += 1
    return count


async def read_documents(documents: Documents, path: Path) -> int:
    """Store what is in a file, where nothing newer is; how many. Raises BadRequest for a damaged file, OSError."""
    count = 0
    async with aiofiles.open(path, "rb") as file:
        while line := await file.readline(LONGEST_HEAD):
            try:
                head = orjson.loads(line)
                key, tag, size = str(head["key"]), str(head["tag"]), int(head["size"])
                sound = _KEY.fullmatch(key) and _TAG.fullmatch(tag) and 0 < size <= LARGEST
                new = unpack_entry(key, await file.read(size) if sound else b"")
            except (ValueError, KeyError, TypeError, UnsoundFile) as error:
                raise BadRequest("The documents are damaged; get the bundle again.") from error
            old = await documents.get(key)
            if old is None or old.entry.stored_at < new.entry.stored_at:
                count += await documents.put(key, new.entry, new.body, tag=tag)
    return count
