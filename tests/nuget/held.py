"""Facts of packages for tests."""

from __future__ import annotations

from typing import Any

from nugetproxy.nuget.facts import PackageFacts
from nugetproxy.nuget.identity import PackageIdentity

BASE = "http://proxy.example:5555/feed/v3/"


def facts(id: str = "Newtonsoft.Json", version: str = "13.0.3", **fields: Any) -> PackageFacts:
    """The facts of a package; SemVer 2.0.0 if its version says so, unless ``fields`` differ."""
    identity = PackageIdentity.parse(id, version)
    assert identity is not None, (id, version)
    bare = PackageFacts(identity=identity, id=id, version=version, published=0.0, size=0)
    given = {"published": 1_700_000_000.0, "size": 1000, "is_semver2": bare.parsed.is_semver2, **fields}
    return PackageFacts(identity=identity, id=id, version=bare.parsed.full, **given)
