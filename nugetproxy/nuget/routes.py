"""Routes say what a path below ``/v3/`` asks for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from types import MappingProxyType
from urllib.parse import quote, unquote

from msgspec import Struct, field

from nugetproxy.nuget.identity import PackageId, PackageIdentity, Version, is_word_character
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.resources import BY_NAME, BY_WORD, RESOURCES, VERIFY_KEY, Resource, Shape

MAX_PATH = 1024
LINK = "link"
"""``Route.resource`` of an opaque link (``x/{token}``); ``Route.rest`` is its token."""

# The only encodings that NuGet needs: "+" of version metadata, and UTF-8 beyond ASCII in package ids. Everything
# else (%2f, %5c, %00, %25, %2e ...) has no business here, so no second decoding can turn a path into another.
_SAFE_PATH = re.compile(r"[A-Za-z0-9._~+/-]*+(?:%(?:2[bB]|[89a-fA-F][0-9a-fA-F])[A-Za-z0-9._~+/-]*+)*+")
_OUT = r"\x00-*,/:-@\[-^`{-}\x7f\U00010000-\U0010ffff"
"""What no segment has: all but letters, digits, ``_~+-.`` and what is beyond ASCII, up to U+FFFF.

A class of what it has would take six times as long to compile, at every start: each of its characters is looked at.
"""
_SEGMENT = re.compile(rf"[^.{_OUT}](?:[^{_OUT}]*[^.{_OUT}])?")
_TOKEN = re.compile(r"[0-9a-f]{32}")
_USUAL = re.compile(
    r"content/([a-z0-9_]+(?:[.-][a-z0-9_]+)*)"
    r"/(?:index\.json|((?:0|[1-9][0-9]{0,8})(?:\.(?:0|[1-9][0-9]{0,8})){2})/\1\.\2\.nupkg)"
)
"""What restores ask for, in the usual spelling: a version list, or a package of a version of three numbers."""


class Route(Struct, frozen=True, kw_only=True):
    """What a path asks for."""

    kind: Kind | None
    """None for writes, and for opaque links until their token is looked up."""
    resource: str
    """The name of the registry row, or ``LINK``."""
    rest: str
    """The path below the resource as it is to be sent upstream: percent-encoded, id lower, version normalised."""
    id: str = ""
    """Lower case; empty where the path names no package."""
    version: str = ""
    """In URL form (normalised, lower case)."""
    alternatives: tuple[str, ...] = ()
    """Other spellings of ``rest`` that are worth asking for after a 404."""
    write: bool = False


@lru_cache(maxsize=2048)
def parse_route(path: str) -> Route | None:
    """What ``path`` (raw, percent-encoded, below ``/v3/``, without query) asks for; None means 404.

    Whitelist grammar first, then the registry; the outcome is safe as a part of an upstream URL.
    """
    usual = _USUAL.fullmatch(path)
    if usual is not None:
        return _usual_route(usual[1], usual[2])
    path = _ENDPOINTS.get(path, path)
    if len(path) > MAX_PATH or _SAFE_PATH.fullmatch(path) is None:
        return None
    raw = path.split("/")
    first = raw[0]
    if first in _WRITES:
        return _write_route(first, raw[1:])
    segments = _decoded(raw)
    if segments is None:
        return None
    if first == "x":
        token = "/".join(raw[1:])
        return Route(kind=None, resource=LINK, rest=token) if _TOKEN.fullmatch(token) else None
    for name in BY_WORD.get(first, ()):
        for pattern in _patterns(name):
            route = pattern.match(raw, segments)
            if route is not None:
                return route
    return None


def _usual_route(id: str, version: str | None) -> Route | None:
    """What the grammar below makes of such a path, in a third of the time."""
    if version is None:
        return version_list_route(id) if PackageId.parse(id) is not None else None
    identity = PackageIdentity.parse(id, version)
    return None if identity is None else package_route(identity)


def _decoded(raw: list[str]) -> list[str] | None:
    """The segments as text, or None if one is empty, dotted at an end, or not letters, digits and ``._~+-``."""
    try:
        segments = [unquote(part, errors="strict") if "%" in part else part for part in raw]
    except UnicodeDecodeError:
        return None
    return segments if all(map(_is_plain, segments)) else None


def _is_plain(text: str) -> bool:
    if _SEGMENT.fullmatch(text) is None:
        return False
    return text.isascii() or all(char.isascii() or is_word_character(char) for char in text)


class _Words(Struct):
    """What was understood of the segments so far."""

    id: PackageId | None = None
    version: Version | None = None
    rest: list[str] = field(default_factory=list)
    alternatives: list[str] = field(default_factory=list)


Word = Callable[[_Words, list[str], list[str]], bool]
"""Reads the first of the raw and decoded segments that are left into the words (the last word reads them all)."""


def _id(words: _Words, raw: list[str], text: list[str]) -> bool:
    words.id = PackageId.parse(text[0])
    if words.id is None:
        return False
    lower = words.id.lower
    words.rest.append(quote(lower) if "%" in raw[0] or "+" in lower else lower)  # no other character needs it here
    words.alternatives.append(raw[0])
    return True


def _version(words: _Words, raw: list[str], text: list[str]) -> bool:
    words.version = Version.parse(text[0])
    if words.version is None or words.id is None or PackageIdentity.parse(words.id.text, text[0]) is None:
        return False
    words.rest.append(words.version.url)
    words.alternatives.append(raw[0])
    return True


def _leaf(words: _Words, raw: list[str], text: list[str]) -> bool:
    stem = text[0].removesuffix(".json")
    if stem == text[0] or not _version(words, raw, [stem]):
        return False
    words.rest[-1] += ".json"
    return True


def _nupkg(words: _Words, raw: list[str], text: list[str]) -> bool:
    id_, version = words.id, words.version
    if id_ is None or version is None or not _names_package(text[0], id_, version):
        return False
    name = f"{words.rest[0]}.{version.url}.nupkg"
    words.rest.append(name)
    return True


def _names_package(file: str, id_: PackageId, version: Version) -> bool:
    """True when ``file`` is ``{id}.{version}.nupkg`` in any spelling of the two."""
    stem, dot, suffix = file.rpartition(".")
    length = len(id_.text)
    named = PackageId.parse(stem[:length])
    return (
        suffix.lower() == "nupkg"
        and bool(dot)
        and stem[length : length + 1] == "."
        and named is not None
        and named.lower == id_.lower
        and Version.parse(stem[length + 1 :]) == version
    )


def _nuspec(words: _Words, raw: list[str], text: list[str]) -> bool:
    stem, _, suffix = text[0].rpartition(".")
    named = PackageId.parse(stem)
    if words.id is None or named is None or named.lower != words.id.lower or suffix.lower() != "nuspec":
        return False
    words.rest.append(f"{words.rest[0]}.nuspec")
    return True


def _path(words: _Words, raw: list[str], text: list[str]) -> bool:
    """Any safe path to a JSON document, spelled as upstream spelled it."""
    if not text[-1].endswith(".json") or "index.json" in text[:-1]:
        return False
    words.rest.extend(raw)
    return True


def _page(words: _Words, raw: list[str], text: list[str]) -> bool:
    """A registration page: a path below the id, both as upstream spelled them."""
    if not _path(words, raw, text):
        return False
    words.rest[0], words.alternatives[0] = words.alternatives[0], words.rest[0]
    return True


WORDS: Mapping[str, Word] = MappingProxyType(
    {
        "{id}": _id,
        "{version}": _version,
        "{leaf}": _leaf,
        "{nupkg}": _nupkg,
        "{nuspec}": _nuspec,
        "{path}": _path,
        "{page}": _page,
    }
)
"""What stands for the words in braces in the registry's patterns."""
_GREEDY = frozenset({_path, _page})


class _Pattern(Struct, frozen=True):
    """One pattern of one resource, cut into words."""

    resource: Resource
    kind: Kind
    skip: int
    """How many leading words are the resource's own root."""
    words: tuple[str | Word, ...]

    def match(self, raw: list[str], text: list[str]) -> Route | None:
        if len(raw) != len(self.words) and (len(raw) < len(self.words) or self.words[-1] not in _GREEDY):
            return None
        found = _Words()
        for at, word in enumerate(self.words):
            if isinstance(word, str):
                if raw[at] != word:
                    return None
                if at >= self.skip:
                    found.rest.append(word)
            elif not word(found, raw[at:], text[at:]):
                return None
        return self._route(found, raw)

    def _route(self, found: _Words, raw: list[str]) -> Route:
        rest = "/".join(found.rest)
        alternatives: tuple[str, ...] = ()
        if self.kind.row.spelled_by_upstream:
            below = raw[self.skip + 1 :]
            others = ["/".join([found.alternatives[0], *below])]
            if self.kind is Kind.REGISTRATION_PAGE:
                # The version bounds in its name are spelled in lower case by nuget.org, and by most others.
                others.append("/".join([quote(found.id.lower) if found.id else "", *(text.lower() for text in below)]))
            alternatives = tuple(dict.fromkeys(other for other in others if other != rest))
        return Route(
            kind=self.kind,
            resource=self.resource.name,
            rest=rest,
            id=found.id.lower if found.id else "",
            version=found.version.url if found.version else "",
            alternatives=alternatives,
        )


@cache
def _patterns(resource: str) -> tuple[_Pattern, ...]:
    """The patterns of a row of the registry."""
    row = BY_NAME[resource]
    found = []
    for text, kind in row.routes.items():
        words = text.split("/")
        skip = len(words) if row.shape is Shape.ENDPOINT else row.root.count("/")
        found.append(_Pattern(row, kind, skip, tuple(WORDS.get(word, word) for word in words)))
    return tuple(found)


def version_list_route(id: str) -> Route:
    """What ``parse_route`` makes of the path of the version list of an id (lower case)."""
    return Route(kind=Kind.VERSIONS, resource="content", rest=f"{quote(id)}/index.json", id=id)


def index_route(hive: str, id: str) -> Route:
    """The same of the index of its registration."""
    return Route(kind=Kind.REGISTRATION, resource=hive, rest=f"{quote(id)}/index.json", id=id)


def leaf_route(hive: str, identity: PackageIdentity) -> Route:
    """The same of a leaf of that; without the work of parsing, as it is needed for every package that lands."""
    rest = f"{quote(identity.id)}/{identity.version}.json"
    kind = Kind.REGISTRATION_LEAF
    return Route(kind=kind, resource=hive, rest=rest, id=identity.id, version=identity.version)


def package_route(identity: PackageIdentity) -> Route:
    """The same of a package."""
    rest = f"{quote(identity.id)}/{identity.version}/{quote(identity.nupkg_name)}"
    return Route(kind=Kind.PACKAGE, resource="content", rest=rest, id=identity.id, version=identity.version)


_ENDPOINTS = MappingProxyType({f"{row.path}/": row.path for row in RESOURCES if row.shape is Shape.ENDPOINT})
"""Paket puts a slash behind the URL of every resource."""
_WRITES = frozenset(row.name for row in RESOURCES if row.shape is Shape.WRITE)
_ABOUT_PACKAGES = frozenset({"package", VERIFY_KEY})
"""Write resources whose paths name packages."""


def _write_route(resource: str, raw: list[str]) -> Route | None:
    """A write; ``rest`` keeps the caller's spelling, without the one trailing slash that is fine everywhere."""
    if raw and not raw[-1]:
        raw = raw[:-1]
    if not raw:
        return Route(kind=None, resource=resource, rest="", write=True)
    segments = _decoded(raw)
    if segments is None:
        return None
    words = segments[1:] if segments[0] == "create-verification-key" else segments
    id_ = PackageId.parse(words[0]) if words and resource in _ABOUT_PACKAGES else None
    identity = PackageIdentity.parse(words[0], words[1]) if id_ and len(words) > 1 else None
    return Route(
        kind=None,
        resource=resource,
        rest="/".join(raw),
        id=id_.lower if id_ else "",
        version=identity.version if identity else "",
        write=True,
    )
