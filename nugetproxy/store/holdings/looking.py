"""A look at one id tells what its folder holds, before the holdings know all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from nugetproxy.nuget.facts import PackageFacts
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.version import Version
from nugetproxy.store.holdings.sync import ReadFacts, read_all

WalkId = Callable[[str], Iterable[tuple[PackageIdentity, int, float]]]
"""(identity, bytes, last use) of every held package of an id (lower case)."""


def look(
    id: str, walk: WalkId, read: ReadFacts, known: Mapping[PackageIdentity, PackageFacts]
) -> tuple[tuple[PackageFacts, ...], int]:
    """The facts of all that is held of an id, ascending, with the number of those that were not ``known``.

    Blocks; raises DiskFailure.
    """
    sizes = {identity: size for identity, size, _ in walk(id)}
    found = [facts for identity, facts in known.items() if sizes.get(identity) == facts.size]
    fresh = read_all(read, sizes.items() - {(facts.identity, facts.size) for facts in found})[0]
    return tuple(sorted((*found, *fresh), key=_version)), len(fresh)


def _version(facts: PackageFacts) -> Version:
    version = Version.parse(facts.identity.version)
    assert version is not None, "what is held is named by versions"
    return version
