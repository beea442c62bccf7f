"""Keys say where everything lies in the bucket, which is a flat container itself."""

from __future__ import annotations

import hashlib
from typing import Final

from nugetproxy.nuget.identity import PackageIdentity

LEASES: Final = "_lease/"
PROBES: Final = "_probe/"
ALIVE: Final = f"{PROBES}alive"
MARKS: Final = "_mark/"
TRUTH: Final = "_truth/"
"""What begins with an underscore is nobody's package: no source may be called so."""
CLAIMS: Final = f"{TRUTH}claims/"
RELEASED: Final = f"{TRUTH}released/"
OWNERS: Final = f"{TRUTH}owners/"
TOKENS: Final = f"{TRUTH}tokens/"
REVOKED: Final = f"{TRUTH}revoked/"
ORIGINS: Final = f"{TRUTH}origins/"


def package(source: str, identity: PackageIdentity) -> str:
    """The key of a package file."""
    return f"{source}/flat/{identity.id}/{identity.version}/{identity.nupkg_name}"


def nuspec(source: str, identity: PackageIdentity) -> str:
    """What the package says of itself, beside it."""
    return f"{source}/flat/{identity.id}/{identity.version}/{identity.id}.nuspec"


def versions(source: str, id_: str) -> str:
    """The version list of an id (lower case)."""
    return f"{source}/flat/{id_}/index.json"


def document(source: str, kind: str, id_: str, key: str) -> str:
    """Any other document; ``key`` is the cache key."""
    return f"{documents(source, id_)}{kind}-{key.rpartition(':')[2]}.json"


def documents(source: str, id_: str) -> str:
    """Where all of them lie."""
    return f"{source}/documents/{id_ or '_'}/"


def service_index(source: str) -> str:
    """What makes the bucket a feed that clients can use."""
    return f"{source}/index.json"


def mark(tag: str) -> str:
    """The mark of the last write to what ``tag`` names."""
    return f"{MARKS}{tag}"


def tag(source: str, id_: str) -> str:
    """What the marks of an id (lower case) of a source are kept under; an empty id stands for any."""
    return f"{source}/{id_ or '_'}"


def lease(key: str) -> str:
    """Where the lease of a key lies; the key may be of any form."""
    return f"{LEASES}{hashlib.blake2b(key.encode(), digest_size=20).hexdigest()}"
