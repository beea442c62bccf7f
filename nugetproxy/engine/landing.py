"""What is said of a package that is about to be held."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from nugetproxy.nuget.facts import PackageFacts
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.nuspec import Nuspec
from nugetproxy.store.ledger.ledger import VersionFacts
from nugetproxy.store.packages.held import HeldPackage


class Landing(Struct, frozen=True, kw_only=True):
    """What upstream's documents say of one package; None: nothing."""

    sha512: str | None = None
    """In base64."""
    published: float | None = None
    """Seconds since the epoch."""
    listed: bool = True
    facts: VersionFacts | None = None
    """For the ledger."""


class Metadata(Protocol):
    """What upstream's documents say of a package beside what lies in it."""

    async def landing(self, identity: PackageIdentity) -> Landing:
        """Of a version that is about to be held."""

    def landed(self, identity: PackageIdentity, said: Landing) -> None:
        """The version is held now; ``said`` is what ``landing`` returned."""


class Arrival(Struct, frozen=True, kw_only=True):
    """What is noted of a package once it is in the folder."""

    nuspec: Nuspec
    said: Landing
    pin: bool

    def facts(self, held: HeldPackage) -> PackageFacts:
        """For the holdings."""
        return PackageFacts.of(self.nuspec, published=held.modified, size=held.size, listed=self.said.listed)
