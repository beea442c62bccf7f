"""tools.json lists the downloads of nuget.exe."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from msgspec import Struct

from nugetproxy.nuget.documents.exact_json import InvalidDocument, as_object, dumps, loads, loads_exact, objects
from nugetproxy.nuget.urls import absolute, split_url, without_fragment

_SAFE = re.compile(r"/(?:(?!\.)[A-Za-z0-9._~+-]{1,100}/){0,8}(?!\.)[A-Za-z0-9._~+-]{1,100}")


class Tool(Struct, frozen=True):
    """One download that tools.json lists."""

    url: str
    versioned: bool
    """Whether its content never changes: its version stands in its URL."""


def check_tools(document: Any) -> None:
    """Raises InvalidDocument unless ``document`` lists at least one download."""
    if not any(isinstance(entry.get("url"), str) for entry in _entries(as_object(document, "tools.json"))):
        raise InvalidDocument("tools.json lists no download")


def listed_tools(body: bytes, url: str) -> Mapping[str, Tool]:
    """Path below ``tools/`` -> download, for everything that the ``body`` from ``url`` lists.

    Beside each ``/v{version}/`` there is ``/latest/``, as on dist.nuget.org, which the list does not name. Raises
    InvalidDocument.
    """
    found: dict[str, Tool] = {}
    for entry in _entries(loads(body)):
        target = _target(entry, url)
        if target is None:
            continue
        version = f"/v{entry.get('version')}/"
        found.setdefault(_local(target, url), Tool(target, version in target))
        if version in target:
            latest = target.replace(version, "/latest/")
            found.setdefault(_local(latest, url), Tool(latest, versioned=False))
    return MappingProxyType(found)


def render_tools(body: bytes, url: str, base: str) -> bytes:
    """``body`` (which came from ``url``) with its downloads below ``base`` (``.../tools/``). Raises InvalidDocument."""
    document = loads_exact(body)
    for entry in _entries(document):
        target = _target(entry, url)
        if target is not None:
            entry["url"] = base + _local(target, url)
    return dumps(document)


def _entries(document: Any) -> Iterator[dict[str, Any]]:
    """The entries of all tools; other things in the document are none of ours."""
    for value in document.values() if isinstance(document, dict) else ():
        yield from objects(value)


def _target(entry: dict[str, Any], url: str) -> str | None:
    stated = entry.get("url")
    target = absolute(stated, url) if isinstance(stated, str) else None
    return None if target is None else without_fragment(target)


def _local(target: str, url: str) -> str:
    """The path of ``target`` itself where it lies beside the list, so that known addresses are easily changed to ours;
    else one that stands for the whole URL."""
    there, here = split_url(target), split_url(url)
    if there is None or here is None:
        raise InvalidDocument("tools.json lists something that is no URL")
    if there.host == here.host and not there.query and _SAFE.fullmatch(there.path):
        return there.path[1:]
    name = there.path.rpartition("/")[2]
    digest = hashlib.blake2b(target.encode(errors="surrogatepass"), digest_size=16).hexdigest()
    return f"x/{digest}/{name if _SAFE.fullmatch(f'/{name}') else 'file'}"
