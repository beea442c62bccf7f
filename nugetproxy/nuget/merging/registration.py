"""The registration of one id in several sources, in pages of its own."""

from __future__ import annotations

import uuid
from collections.abc import Container, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from hashlib import blake2b
from typing import Any
from urllib.parse import quote

from msgspec import Struct

from nugetproxy.nuget.documents.exact_json import InvalidDocument, as_object, dumps, loads_exact, objects
from nugetproxy.nuget.documents.registration import entry_of, leaf_version, leaves
from nugetproxy.nuget.documents.rewrite import CATALOG, SEPARATE
from nugetproxy.nuget.identity import invariant_lower
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.merging.versions import Owners, choose_owners
from nugetproxy.nuget.nuspec import has_semver2_bound
from nugetproxy.nuget.resources import GZ_SEMVER1, GZ_SEMVER2, HIVES, SEMVER1
from nugetproxy.nuget.routes import Route
from nugetproxy.nuget.synthesis.registration import INLINED_BELOW, PAGE_LEAVES
from nugetproxy.nuget.version import Version

Json = dict[str, Any]

_INSTEAD: Mapping[str, tuple[str, ...]] = {
    GZ_SEMVER2: (GZ_SEMVER2, GZ_SEMVER1, SEMVER1),
    GZ_SEMVER1: (GZ_SEMVER1, SEMVER1, GZ_SEMVER2),
    SEMVER1: (SEMVER1, GZ_SEMVER1, GZ_SEMVER2),
}
"""Where to look for the leaves of a hive, best first."""


class SourceRegistration(Struct, frozen=True):
    """What one source says of the id: its index, then its pages."""

    source: str
    documents: Sequence[bytes]
    """Rendered for the merged feed: with a view of the source's services under the merged feed's base."""
    filtered: bool = False
    """They are of a hive with more packages than the merged one may have."""


class MergedRegistration(Struct, frozen=True):
    """The owners' leaves, ascending; at least one."""

    id: str
    """Lower case."""
    base: str
    """Where the merged feed is published (``.../v3/``)."""
    hive: str
    leaves: tuple[tuple[Version, Json], ...]

    def index(self) -> bytes:
        """The index, with its leaves inlined below 128 versions."""
        inlined = len(self.leaves) < INLINED_BELOW
        groups = [self.leaves[at : at + PAGE_LEAVES] for at in range(0, len(self.leaves), PAGE_LEAVES)]
        pages = [self._page(group, inlined=inlined, items=inlined) for group in groups]
        kinds = ["catalog:CatalogRoot", "PackageRegistration", "catalog:Permalink"]
        commit = _commit(self.leaves)
        return dumps({"@id": self._index_url, "@type": kinds, **commit, "count": len(pages), "items": pages})

    def page(self, lower: str, upper: str) -> bytes | None:
        """The page with the versions from ``lower`` to ``upper`` (any spelling); None if there are none.

        Bounds of an index made of other leaves are as good as today's: what an index named must be found.
        """
        first, last = Version.parse(lower), Version.parse(upper)
        if first is None or last is None:
            return None
        group = [leaf for leaf in self.leaves if first <= leaf[0] <= last]
        if not group:
            return None
        return dumps({**self._page(group, inlined=False, items=True), "@id": self._page_url(first, last)})

    def leaf(self, version: str) -> bytes | None:
        """The leaf of a version (in URL form) as its page has it; None if there is none."""
        found = next((leaf for known, leaf in self.leaves if known.url == version), None)
        return None if found is None else dumps(found)

    @property
    def _folder(self) -> str:
        return f"{self.base}{self.hive}/{quote(self.id)}"

    @property
    def _index_url(self) -> str:
        return f"{self._folder}/index.json"

    def _page_url(self, first: Version, last: Version) -> str:
        return f"{self._folder}/page/{first.url}/{last.url}.json"

    def _page(self, group: Sequence[tuple[Version, Json]], *, inlined: bool, items: bool) -> Json:
        first, last = group[0][0], group[-1][0]
        fragment = f"{self._index_url}#page/{first.url}/{last.url}"
        page: Json = {
            "@id": fragment if inlined else self._page_url(first, last),
            "@type": "catalog:CatalogPage",
            **_commit(group),
            "count": len(group),
        }
        if items:
            page |= {"items": [leaf for _, leaf in group], "parent": self._index_url}
        return {**page, "lower": first.normalized, "upper": last.normalized}


def hive_of(offered: Container[str], wanted: str) -> tuple[str, bool] | None:
    """The hive of one source (with those ``offered``) that gives its leaves to the merged hive ``wanted``, and whether
    they must be filtered.

    A source with bare hives only says in them what it has, SemVer 2.0.0 or not, as it does when it is asked alone. None
    for a source without registrations.
    """
    found = next((hive for hive in _INSTEAD[wanted] if hive in offered), None)
    return None if found is None else (found, found == GZ_SEMVER2 != wanted)


def merge_registration(
    id_: str, sources: Sequence[SourceRegistration], recorded: Owners, *, base: str, hive: str
) -> MergedRegistration | None:
    """One registration of the leaves of the owners; None where no source has one (for this ``hive``).

    ``sources`` are in the feed's order, without those that said 404. ``recorded`` comes from the version list, which
    has all versions, as ``merge_versions`` chose them: a hive need not have them all. Raises InvalidDocument.
    """
    found: dict[Version, dict[str, Json]] = {}
    for source in sources:
        for version, leaf in _read(source):
            found.setdefault(version, {}).setdefault(source.source, leaf)
    owners = choose_owners({version: list(by_source) for version, by_source in found.items()}, recorded)
    lower = invariant_lower(id_)
    place = partial(_for_hive, folder=f"{base}{hive}/{quote(lower)}", base=base, hive=hive)
    chosen = tuple(
        (version, place(found[version][owner], version, owner))
        for version in sorted(found)
        if (owner := owners.get(version.url)) is not None
    )
    return MergedRegistration(lower, base, hive, chosen) if chosen else None


def merged_document(
    route: Route, sources: Sequence[SourceRegistration], recorded: Owners, *, base: str
) -> bytes | None:
    """The registration document of ``route``, merged; None where there is none. Raises InvalidDocument."""
    merged = merge_registration(route.id, sources, recorded, base=base, hive=route.resource)
    if merged is None:
        return None
    if route.kind is Kind.REGISTRATION:
        return merged.index()
    if route.kind is Kind.REGISTRATION_LEAF:
        return merged.leaf(route.version)
    words = route.rest.removesuffix(".json").split("/")  # {id}/page/{lower}/{upper}.json
    return merged.page(words[2], words[3]) if len(words) == 4 and words[1] == "page" else None


def leaf_for_hive(body: bytes, version: str, *, id_: str, owner: str, base: str, hive: str) -> bytes:
    """The owner's leaf document (rendered for the merged feed) in the merged ``hive``. Raises InvalidDocument."""
    document, parsed = as_object(loads_exact(body), "the registration leaf"), Version.parse(version)
    if parsed is None:
        raise InvalidDocument(f"{version!r} is no version")
    folder = f"{base}{hive}/{quote(invariant_lower(id_))}"
    own = {"@id": f"{folder}/{parsed.url}.json", "registration": f"{folder}/index.json"}
    if "catalogEntry" in document:
        own["catalogEntry"] = _apart(document["catalogEntry"], base, owner)
    return dumps({**_entry_for_hive(document, base, hive), **own})


def _read(source: SourceRegistration) -> Iterator[tuple[Version, Json]]:
    for body in source.documents:
        for leaf in leaves(as_object(loads_exact(body), "the registration")):
            version = leaf_version(leaf)
            if version is not None and not (source.filtered and _is_semver2(leaf)):
                yield version, leaf


def _for_hive(leaf: Json, version: Version, owner: str, *, folder: str, base: str, hive: str) -> Json:
    entry = leaf.get("catalogEntry")
    # A leaf may be the catalog entry itself; clients look for an object.
    entry = entry if isinstance(entry, dict) else {name: leaf[name] for name in leaf if name != "catalogEntry"}
    if "@id" in entry:
        entry = {**entry, "@id": _apart(entry["@id"], base, owner)}
    return {
        **leaf,
        "@id": f"{folder}/{version.url}.json",
        "@type": "Package",
        "catalogEntry": _entry_for_hive(entry, base, hive),
        "registration": f"{folder}/index.json",
    }


def _apart(link: Any, base: str, owner: str) -> Any:
    """A link into the owner's catalog, as a document made of held packages has it: where those of a feed of several are
    found."""
    usual, own = f"{base}{CATALOG}", f"{base}{SEPARATE[CATALOG]}"
    if not isinstance(link, str) or not link.startswith(usual) or link.startswith(own):
        return link
    return f"{own}{owner}/{link.removeprefix(usual)}"


def _entry_for_hive(entry: Json, base: str, hive: str) -> Json:
    """Its dependencies lead into the same hive; sources may have been asked for another one."""
    groups = entry.get("dependencyGroups")
    if not isinstance(groups, list):
        return entry
    return {**entry, "dependencyGroups": [_group_for_hive(group, base, hive) for group in groups]}


def _group_for_hive(group: Any, base: str, hive: str) -> Any:
    needs = group.get("dependencies") if isinstance(group, dict) else None
    if not isinstance(needs, list):
        return group
    return {**group, "dependencies": [_need_for_hive(need, base, hive) for need in needs]}


def _need_for_hive(need: Any, base: str, hive: str) -> Any:
    stated = need.get("registration") if isinstance(need, dict) else None
    if not isinstance(stated, str):
        return need
    other = next((f"{base}{one}/" for one in HIVES if stated.startswith(f"{base}{one}/")), None)
    return need if other is None else {**need, "registration": f"{base}{hive}/{stated.removeprefix(other)}"}


def _is_semver2(leaf: Json) -> bool:
    """By its version, or by a bound of a dependency (NuGet's wiki, "SemVer 2.0.0 support")."""
    entry = entry_of(leaf)
    version = Version.parse(entry["version"]) if isinstance(entry.get("version"), str) else leaf_version(leaf)
    if version is not None and version.is_semver2:
        return True
    return any(has_semver2_bound(range_) for range_ in _ranges(entry.get("dependencyGroups")))


def _ranges(groups: Any) -> Iterator[str]:
    for group in objects(groups):
        for need in objects(group.get("dependencies")):
            if isinstance(need.get("range"), str):
                yield need["range"]


def _commit(group: Sequence[tuple[Version, Json]]) -> Json:
    """A commit that changes exactly when the leaves do: its id is a digest, its time that of the newest leaf."""
    digest = blake2b(dumps([leaf for _, leaf in group]), digest_size=16).digest()
    stamps = [stamp for _, leaf in group for stamp in (leaf.get("commitTimeStamp"),) if isinstance(stamp, str)]
    newest = max(stamps, key=_moment, default="")
    return {"commitId": str(uuid.UUID(bytes=digest)), **({"commitTimeStamp": newest} if newest else {})}


def _moment(stamp: str) -> datetime:
    try:
        moment = datetime.fromisoformat(stamp)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
