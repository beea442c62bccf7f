"""The version list of one id in several sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from msgspec import Struct

from nugetproxy.nuget.documents.exact_json import dumps
from nugetproxy.nuget.documents.version_list import listed_versions
from nugetproxy.nuget.version import Version

Owners = Mapping[str, str]
"""Version in URL form -> the source that it belongs to."""


class SourceDocument(Struct, frozen=True):
    """What one source says."""

    source: str
    body: bytes


class MergedVersions(Struct, frozen=True):
    """One list with what it was made of."""

    body: bytes
    owners: Owners
    """Of every version in it: what was recorded, and the choices made here, which are to be recorded."""


def merge_versions(lists: Sequence[SourceDocument], recorded: Owners) -> MergedVersions | None:
    """The lists of the sources that know the id, united; None where none does.

    ``lists`` are as the sources said them, in the feed's order, without the sources that said 404; one that failed
    must not be left out (a short list silently changes which version is restored). A version belongs to the first
    source that lists it, unless ``recorded`` names another; what its owner does not list any more is not listed, as
    nobody else's bytes may stand for it. Raises InvalidDocument.
    """
    if not lists:
        return None
    named: dict[Version, list[str]] = {}
    for document in lists:
        for _, version in listed_versions(document.body):
            named.setdefault(version, []).append(document.source)
    owners = choose_owners(named, recorded)
    return MergedVersions(dumps({"versions": list(owners)}), owners)


def choose_owners(named: Mapping[Version, Sequence[str]], recorded: Owners) -> Owners:
    """Who owns each version that somebody names (in the feed's order), ascending; its owner has to name it, too."""
    owners: dict[str, str] = {}
    for version in sorted(named):
        owner = recorded.get(version.url, named[version][0])
        if owner in named[version]:
            owners[version.url] = owner
    return MappingProxyType(owners)
