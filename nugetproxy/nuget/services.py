"""Services are what an upstream's service index offers."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, assert_never

from msgspec import Struct

from nugetproxy.nuget.documents.exact_json import InvalidDocument, as_object, loads, loads_exact
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.resources import BY_NAME, BY_TYPE, DROPPED_TYPES, HIVES, VERIFY_KEY, Shape
from nugetproxy.nuget.routes import parse_route
from nugetproxy.nuget.urls import absolute, encoded, join_url, split_url, with_query, without_fragment
from nugetproxy.nuget.version import Version

_ANY_CLIENT = Version(0)
_VERSION_3 = re.compile(r"3\.\d+\.\d+(?:[-+][0-9A-Za-z.+-]+)?")
_DISPLAY = frozenset({"{id-lower}/index.json", "{id-lower}/{version-lower}.json"})
_USUAL_ENDING = re.compile(r"(?:/api)?(?:/v3)?/index\.json$", re.IGNORECASE)
"""Of an index: what stands before it in the path is the feed's own, and a secret with some (MyGet, Cloudsmith)."""
_SAFE_REST = re.compile(r"(?:(?!\.)[A-Za-z0-9._~+-]+/)*")


class Offer(Struct, frozen=True, kw_only=True):
    """One entry of upstream's index, understood."""

    properties: Mapping[str, Any]
    """The entry as it was."""
    url: str
    """Its ``@id``, absolute; templates with their braces."""
    resources: Mapping[str, tuple[str, ...]]
    """Registry row -> the entry's ``@type`` strings that it serves."""

    @property
    def since(self) -> Version:
        """Its newest ``clientVersion``: of two entries of one type clients take what is newest for them."""
        stated = self.properties.get("clientVersion")
        versions = (Version.parse(text) for text in _strings(stated))
        return max((version for version in versions if version is not None), default=_ANY_CLIENT)


class _Mount(Struct, frozen=True):
    """One upstream location and the place below ``/v3/`` that stands for it."""

    resource: str
    local: str
    url: str
    """Upstream's, without query; ends in a slash when it is the beginning of URLs."""
    query: str = ""

    @property
    def whole(self) -> bool:
        """True when it is one URL, not the beginning of many."""
        return not self.local.endswith("/")


class ServiceMap(Struct, frozen=True, kw_only=True, eq=False):
    """Which URL of upstream is which path of ours, both ways; made by ``parse_service_index``."""

    url: str
    """Where the index came from."""
    digest: str
    """Changes whenever the index does (lower-case hex)."""
    index: Mapping[str, Any]
    """The index as it was, its numbers exact."""
    offers: tuple[Offer, ...]
    resources: frozenset[str]
    """The names of the registry rows that upstream offers."""
    unknown: tuple[str, ...] = ()
    """The ``@type`` strings that we do not know, each once: a line in the log each."""
    denied: tuple[str, ...] = ()
    """The ``@type`` strings dropped because they name plain http below an https index."""
    _best: tuple[Offer, ...]
    """The offers, those for the newest clients first."""
    _mounts: Mapping[str, tuple[_Mount, ...]]
    _prefixes: tuple[tuple[str, tuple[_Mount, ...]], ...]
    """Scheme-less upstream URLs, the longest first."""

    def has(self, resource: str) -> bool:
        """True when upstream offers ``resource`` (a name of the registry); a flat container has readmes too."""
        return resource in self.resources or (resource == "readme" and "content" in self._mounts)

    def upstream_urls(self, resource: str, rest: str, query: str = "") -> tuple[str, ...]:
        """Where to ask for ``rest`` of ``resource`` (as in ``Route``), best first; empty if upstream lacks it.

        ``query`` is sent as it is; parameters that upstream's own ``@id`` carries are added unless it has them.
        """
        if resource == "index":
            return (self.url,)
        urls = [*self._readme_urls(rest)] if resource == "readme" else []
        for mount in self._mounts.get("content" if resource == "readme" else resource, ()):
            at = BY_NAME[mount.resource].root + rest
            if mount.whole and at in (mount.local, BY_NAME[mount.resource].root):
                urls.append(with_query(mount.url, mount.query, query))
            elif not mount.whole and at.startswith(mount.local) and not self._is_document(mount, at):
                urls.append(with_query(mount.url + at.removeprefix(mount.local), mount.query, query))
        return tuple(dict.fromkeys(urls))

    def to_local(self, url: str, *, prefer: str = "", kinds: frozenset[Kind] | None = None) -> str | None:
        """``url`` as a path below ``/v3/``, with its fragment; None if no route of ours stands for it.

        The longest base wins; of equal bases that of the resource ``prefer``, else the first of the registry.
        ``kinds`` limits what the route may return.
        """
        parts = split_url(url)
        if parts is None:
            return None
        target = parts.host + parts.path
        for prefix, mounts in self._prefixes:
            if not target.startswith(prefix):
                continue
            for mount in sorted(mounts, key=lambda one: one.resource != prefer) if len(mounts) > 1 else mounts:
                if parts.query not in ("", mount.query) or (mount.whole and target != prefix):
                    continue
                local = mount.local + target[len(prefix) :]
                route = parse_route(local)
                if route is not None and route.kind is not None and (kinds is None or route.kind in kinds):
                    return f"{local}#{parts.fragment}" if "#" in url else local
        return None

    def is_own(self, url: str) -> bool:
        """Whether ``url`` lies below a path that is this feed's alone: nobody else need know what stands there."""
        parts, index = split_url(url), split_url(self.url)
        if parts is None or index is None:
            return False
        own = _USUAL_ENDING.sub("", index.path)
        return own.strip("/") != "" and (parts.host, True) == (index.host, parts.path.startswith(f"{own}/"))

    def base_to_local(self, url: str, *, prefer: str = "") -> str | None:
        """``url``, the beginning of other URLs (as ``@base`` is), as a path below ``/v3/``."""
        parts = split_url(encoded(url))
        if parts is None or parts.query or parts.fragment:
            return None
        target = f"{parts.host}{parts.path.rstrip('/')}/"
        for prefix, mounts in self._prefixes:
            rest = target.removeprefix(prefix)
            bases = [mount for mount in mounts if not mount.whole]
            if bases and (rest != target) and _SAFE_REST.fullmatch(rest):
                return min(bases, key=lambda one: one.resource != prefer).local + rest
        return None

    def publish_urls(self, resource: str, rest: str = "") -> tuple[str, ...]:
        """The complete URLs to send a write to, best first (``rest`` already encoded); empty if there is none.

        As NuGet's PackageUpdateResource builds them: always a slash after the ``@id``, and the usual path when
        the ``@id`` is a bare host. ``verifykey`` is beside ``package``, as in the gallery's routes.
        """
        urls = []
        offered = "package" if resource == VERIFY_KEY else resource
        for offer in self._best:
            if offered in offer.resources:
                url, _, query = without_fragment(offer.url).partition("?")
                parts = split_url(url)
                if parts is not None and parts.path in ("", "/"):
                    url = join_url(url, "api/v2/package")
                if resource == VERIFY_KEY:
                    url = join_url(url.rstrip("/").rpartition("/")[0], VERIFY_KEY)
                urls.append(with_query(join_url(url, rest), query, ""))
        return tuple(dict.fromkeys(urls))

    def denies(self, resource: str) -> bool:
        """True when upstream offers ``resource``, but only over plain http below an https index."""
        name = "package" if resource == VERIFY_KEY else resource
        return name not in self.resources and any(BY_TYPE[denied].name == name for denied in self.denied)

    def template_to_local(self, url: str) -> str | None:
        """A template of registration URLs as a path below ``/v3/``; None if it is below no hive."""
        parts = split_url(url)
        if parts is None or parts.query:
            return None
        target = parts.host + parts.path
        for prefix, mounts in self._prefixes:
            if target.startswith(prefix) and target[len(prefix) :] in _DISPLAY:
                return next((mount.local + target[len(prefix) :] for mount in mounts if mount.resource in HIVES), None)
        return None

    def _readme_urls(self, rest: str) -> Iterable[str]:
        id_, _, tail = rest.partition("/")
        version = tail.partition("/")[0]
        for offer in self._best:
            if "readme" in offer.resources:
                url = re.sub(r"\{lower_id\}", id_, offer.url, flags=re.IGNORECASE)
                yield re.sub(r"\{lower_version\}", version, url, flags=re.IGNORECASE)

    def _is_document(self, mount: _Mount, at: str) -> bool:
        """True when ``at`` is not below ``mount`` but the document that the resource begins with."""
        row = BY_NAME[mount.resource]
        return row.shape is Shape.DOCUMENT and at in (row.path, row.root)


def parse_service_index(body: bytes, url: str) -> ServiceMap:
    """What the index ``body``, which came from ``url`` (after redirects), offers. Raises InvalidDocument."""
    check_service_index(loads(body))
    index = loads_exact(body)
    offers: list[Offer] = []
    unknown: dict[str, None] = {}
    denied: dict[str, None] = {}
    for entry in index["resources"]:
        types = _types(entry)
        known = [name for name in types if name in BY_TYPE]
        at = entry.get("@id") if known else None
        where = absolute(at, url) if isinstance(at, str) else None
        unknown.update(dict.fromkeys(name for name in types if name not in BY_TYPE and name not in DROPPED_TYPES))
        if where is None:
            continue
        if _is_https(url) and not _is_https(where):
            denied.update(dict.fromkeys(known))
            continue
        resources: dict[str, tuple[str, ...]] = {}
        for name in known:
            row = BY_TYPE[name].name
            resources[row] = (*resources.get(row, ()), name)
        offers.append(Offer(properties=MappingProxyType(entry), url=where, resources=MappingProxyType(resources)))
    best = sorted(offers, key=lambda offer: offer.since, reverse=True)
    mounts = _mounts(best)
    return ServiceMap(
        url=url,
        digest=hashlib.blake2b(b"\0".join((url.encode(errors="surrogateescape"), body)), digest_size=16).hexdigest(),
        index=MappingProxyType(index),
        offers=tuple(offers),
        _best=tuple(best),
        resources=frozenset(name for offer in offers for name in offer.resources),
        unknown=tuple(unknown),
        denied=tuple(denied),
        _mounts=MappingProxyType(mounts),
        _prefixes=_prefixes(mounts),
    )


def check_service_index(index: Any) -> None:
    """Raises InvalidDocument unless ``index`` is a service index as NuGet's ServiceIndexResourceV3Provider wants it."""
    version = as_object(index, "the service index").get("version")
    if not isinstance(version, str) or _VERSION_3.fullmatch(version) is None:
        raise InvalidDocument(f"the service index says version {version!r}, not 3.x")
    if not isinstance(index.get("resources"), list):
        raise InvalidDocument("the service index has no resources")


def offers_anything(index: Mapping[str, Any]) -> bool:
    """Whether a service index names a resource of the registry."""
    return any(name in BY_TYPE for entry in index["resources"] for name in _types(entry))


def _types(entry: Any) -> list[str]:
    """The ``@type`` strings of an entry, which may be one or an array."""
    if not isinstance(entry, dict):
        return []
    return _strings(entry.get("@type"))


def _strings(stated: Any) -> list[str]:
    return [text for text in (stated if isinstance(stated, list) else [stated]) if isinstance(text, str)]


def _is_https(url: str) -> bool:
    return url[:6].lower() == "https:"


def _mounts(offers: list[Offer]) -> dict[str, tuple[_Mount, ...]]:
    """Registry row -> its places, in the order of the offers, each once."""
    mounts: dict[str, dict[_Mount, None]] = {}
    for offer in offers:
        url, _, query = without_fragment(offer.url).partition("?")
        for name in offer.resources:
            row = BY_NAME[name]
            places = mounts.setdefault(name, {})
            match row.shape:
                case Shape.BASE:
                    places[_Mount(name, row.path, join_url(url, ""), query)] = None
                case Shape.ENDPOINT:
                    places[_Mount(name, row.path, url, query)] = None
                case Shape.DOCUMENT:
                    places[_Mount(name, row.path, url, query)] = None
                    if name in _BESIDE:
                        places[_Mount(name, _BESIDE[name], url[: url.rfind("/") + 1], query)] = None
                case Shape.TEMPLATE | Shape.WEB | Shape.WRITE:
                    pass
                case unknown:
                    assert_never(unknown)
    return {name: tuple(places) for name, places in mounts.items() if places}


_BESIDE = {"catalog": "catalog/", "vulnerabilities": "vulnerabilities/pages/"}
"""Where the documents go that lie in the directory of a resource's first document, or below it."""


def _prefixes(mounts: Mapping[str, tuple[_Mount, ...]]) -> tuple[tuple[str, tuple[_Mount, ...]], ...]:
    """Scheme-less URL -> the places that begin with it: the longest first, then in the registry's order."""
    found: dict[str, list[_Mount]] = {}
    for name in BY_NAME:
        for mount in mounts.get(name, ()):
            parts = split_url(mount.url)
            if parts is not None:
                found.setdefault(parts.host + parts.path, []).append(mount)
    return tuple((prefix, tuple(found[prefix])) for prefix in sorted(found, key=len, reverse=True))
