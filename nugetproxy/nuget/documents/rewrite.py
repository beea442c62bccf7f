"""Rewriting turns upstream's URLs in a document into ours."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote, unquote
from uuid import UUID

from msgspec import Struct, field

from nugetproxy.nuget.documents.bounds import USUAL, too_many_links
from nugetproxy.nuget.identity import PackageIdentity, invariant_lower
from nugetproxy.nuget.kinds import Kind, family
from nugetproxy.nuget.routes import Route, parse_route
from nugetproxy.nuget.services import ServiceMap
from nugetproxy.nuget.urls import absolute, split_url, without_fragment


class View(Struct, frozen=True):
    """Who looks at which copy of a document."""

    services: ServiceMap
    """Of the upstream that the document came from."""
    base: str
    """Our public URL as this client knows it, up to and with ``/v3/``."""
    url: str
    """Where the document came from: the base of relative URLs in it."""
    resource: str = ""
    """The registry row asked for: where upstream has one base for several (hives), links stay below this one."""
    source: str = ""
    """The source that the document is of, where the feed has several; what cannot be merged is found by it."""
    most_links: int = USUAL.links
    """Opaque ones."""

    def place(self, local: str) -> str:
        """Our URL for the path ``local`` below ``/v3/``."""
        for folder, own in SEPARATE.items() if self.source else ():
            if local.startswith(folder):
                return f"{self.base}{own}{self.source}/{local.removeprefix(folder)}"
        return self.base + local


CATALOG: Final = "catalog/"
SEPARATE: Mapping[str, str] = MappingProxyType(
    {CATALOG: "catalog/data/from/", "vulnerabilities/pages/": "vulnerabilities/pages/from/"}
)
"""What is not merged -> where the documents of each source are, below its name, in a feed of several."""


class Link(Struct, frozen=True):
    """An opaque link ``x/{token}``; it must be kept for longer than any document that names it."""

    token: str
    kind: Kind
    url: str
    """Absolute, without fragment."""

    @staticmethod
    def to(kind: Kind, url: str) -> Link:
        """The link to ``url``, the same on every call."""
        text = f"{kind}\n{url}".encode(errors="surrogatepass")
        return Link(hashlib.blake2b(text, digest_size=16).hexdigest(), kind, url)


_SHOWN = frozenset(kind for kind in Kind if kind.row.shown)


_NAMED: Mapping[Kind, frozenset[Kind]] = MappingProxyType(
    {Kind.REGISTRATION_LEAF: family(Kind.REGISTRATION_LEAF) | family(Kind.CATALOG_LEAF)}
)
"""What a field may turn out to name, where it is more than the kind's family: where there is no catalog (or another
proxy in between), the catalogEntry of a leaf names a leaf."""


def locate(kind: Kind, url: str, services: ServiceMap, resource: str = "") -> Route | Link:
    """What a rendered link to ``url`` (absolute, clients fetch it as ``kind``) leads to: a route of ours, or opaque.

    ``resource`` is the registry row that the document with the link was asked for under, as in ``View``.
    """
    url = without_fragment(url)
    local = services.to_local(url, prefer=resource, kinds=_may_name(kind))
    route = parse_route(local) if local is not None else None
    return Link.to(kind, url) if route is None else route


def _may_name(kind: Kind) -> frozenset[Kind]:
    return _NAMED.get(kind) or family(kind)


class Rewriter(Struct):
    """Rewrites the URLs of one document for one view, and collects the opaque links that this needs."""

    view: View
    links: dict[str, Link] = field(default_factory=dict)
    _followed: dict[tuple[str, Kind], str] = field(default_factory=dict)

    def follow(self, kind: Kind, url: str) -> str:
        """Ours for a ``url`` that clients fetch; one under no mapped base becomes an opaque link.

        Raises InvalidDocument where that would be one too many.
        """
        known = self._followed.get((url, kind))
        if known is None:
            known = self._followed[url, kind] = self._follow(kind, url)
        return known

    def show(self, url: str) -> str:
        """Ours for a ``url`` that is only shown, if it is under a mapped base; else as it is.

        One below the feed's own path, which may hold a secret, becomes a name that leads nowhere.
        """
        local = self._local(url, _SHOWN)
        if local is not None:
            return self.view.place(local)
        target = absolute(url, self.view.url)
        if target is None or not self.view.services.is_own(target):
            return url
        digest = hashlib.blake2b(target.encode(errors="surrogatepass"), digest_size=16).digest()
        return f"urn:uuid:{UUID(bytes=digest)}"

    def context(self, url: str) -> str:
        """Ours for the ``@base`` of a JSON-LD context, if it is under a mapped base; else as it is."""
        local = self.view.services.base_to_local(url, prefer=self.view.resource)
        return url if local is None else self.view.base + local

    def content(self, identity: PackageIdentity | None, url: str) -> str:
        """Ours for the ``packageContent`` of ``identity``, wherever upstream keeps it, spelled as upstream spells it.

        PSResourceGet looks for the version in it, and minds the case.
        """
        if identity is None:
            return self.follow(Kind.PACKAGE, url)
        if content_identity(url) == identity:
            return f"{self.view.base}{_content_path(url)}"
        id_, version = quote(_spelled(identity.id, url)), _spelled(identity.version, url)
        return f"{self.view.base}content/{id_}/{version}/{id_}.{version}.nupkg"

    def leaf_identity(self, url: str) -> PackageIdentity | None:
        """What the ``url`` of a registration leaf says about the package, if it is under a mapped base."""
        local = self._local(url, frozenset({Kind.REGISTRATION_LEAF}))
        route = parse_route(without_fragment(local)) if local is not None else None
        return PackageIdentity(route.id, route.version) if route is not None else None

    def _follow(self, kind: Kind, url: str) -> str:
        local = self._local(url, _may_name(kind))
        if local is not None:
            return self.view.place(local)
        target = absolute(url, self.view.url)
        if target is None:
            return url
        target, hash_, fragment = target.partition("#")
        link = Link.to(kind, target)
        self.links[link.token] = link
        if len(self.links) > self.view.most_links:
            raise too_many_links(self.view.most_links)
        return f"{self.view.base}x/{link.token}{hash_}{fragment}"

    def _local(self, url: str, kinds: frozenset[Kind]) -> str | None:
        target = absolute(url, self.view.url)
        if target is None:
            return None
        return self.view.services.to_local(target, prefer=self.view.resource, kinds=kinds)


def content_identity(url: str) -> PackageIdentity | None:
    """The identity in ``.../{id}/{version}/{id}.{version}.nupkg``, None for a URL of another form."""
    route = parse_route(_content_path(url))
    return PackageIdentity(route.id, route.version) if route is not None and route.kind is Kind.PACKAGE else None


def _content_path(url: str) -> str:
    """The path below ``/v3/`` that a URL of that form has with us, as it is spelled."""
    parts = split_url(url)
    return "content/" + "/".join(parts.path.split("/")[-3:]) if parts is not None else ""


def _spelled(word: str, url: str) -> str:
    """``word`` (lower case) in the case that it has in ``url``, if it is there."""
    parts = split_url(url)
    path = unquote(parts.path) if parts is not None else ""
    at = path.lower().find(word)
    found = path[at : at + len(word)] if at >= 0 else word
    return found if invariant_lower(found) == word else word


Rule = Callable[[Rewriter, dict[str, Any], str], str]
"""(rewriter, the object that has the field, the field's value) -> the new value."""


class Field(Struct, frozen=True):
    """What to do with one field: ``rule`` if it is a string, ``inner`` if it is an object or an array of them."""

    rule: Rule | None = None
    inner: Mapping[str, Field] | None = None


Fields = Mapping[str, Field]


def follows(kind: Kind) -> Rule:
    """The rule for URLs that clients fetch as ``kind``."""
    return lambda rewriter, _, url: rewriter.follow(kind, url)


def shown(rewriter: Rewriter, _: dict[str, Any], url: str) -> str:
    """The rule for URLs that are there to be read."""
    return rewriter.show(url)


def base(rewriter: Rewriter, _: dict[str, Any], url: str) -> str:
    """The rule for ``@base``."""
    return rewriter.context(url)


def content(rewriter: Rewriter, node: dict[str, Any], url: str) -> str:
    """The rule for ``packageContent``; comes before the rule for ``@id``, which it may have to read."""
    if absolute(url, rewriter.view.url) is None:  # what is no address is not made into one
        return url
    identity = stated_identity(node) or content_identity(url)
    leaf = node.get("@id")
    if identity is None and isinstance(leaf, str):
        identity = rewriter.leaf_identity(leaf)
    return rewriter.content(identity, url)


def stated_identity(node: dict[str, Any]) -> PackageIdentity | None:
    """The identity in the ``id`` and ``version`` of ``node`` or of its ``catalogEntry``."""
    entry = node.get("catalogEntry")
    words = entry if isinstance(entry, dict) else node
    id_, version = words.get("id"), words.get("version")
    return PackageIdentity.parse(id_, version) if isinstance(id_, str) and isinstance(version, str) else None


def rewrite(fields: Fields, value: Any, rewriter: Rewriter) -> None:
    """Apply ``fields`` to ``value`` (an object, or an array of them) in place; whatever else is there stays."""
    if isinstance(value, list):
        # Arrays in arrays are nothing that NuGet has, so the tables bound the recursion.
        for item in value:
            if isinstance(item, dict):
                rewrite(fields, item, rewriter)
        return
    if not isinstance(value, dict):
        return
    for name, rules in fields.items():
        found = value.get(name)
        if found is None:
            continue
        if isinstance(found, str):
            if rules.rule is not None:
                value[name] = rules.rule(rewriter, value, found)
        elif rules.inner is not None:
            rewrite(rules.inner, found, rewriter)
