"""Source is everything of one upstream in NuGet's terms: it knows no client, no view, no reply."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Final, Protocol

from msgspec import Struct

from nugetproxy.engine.flight_body import FlightBody
from nugetproxy.engine.signatures import Signatures
from nugetproxy.engine.target import Found
from nugetproxy.engine.tasks import Tasks
from nugetproxy.errors import UpstreamFailure
from nugetproxy.nuget.documents.render import Link
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.nuspec import DependencyGroup
from nugetproxy.nuget.routes import Route
from nugetproxy.nuget.services import ServiceMap
from nugetproxy.nuget.version import Version
from nugetproxy.store.packages.held import HeldPackage
from nugetproxy.upstream.answers import Head, Sent
from nugetproxy.upstream.breaker import BreakerState

PREFETCH_SECONDS: Final = 60.0
"""So long after a ``prefetch`` another one may have something to do."""

Named = Callable[[str, str], None]
"""Is told an id (lower case) with a normalised version."""


class Document(Struct, frozen=True):
    """A document as upstream said it; ``found.entry`` has the digest of its bytes, or says that it is absent."""

    kind: Kind
    """Of what was found; a link does not tell it before."""
    found: Found
    services: ServiceMap
    """What its links are read by."""


class MadeDocument(Struct, frozen=True):
    """A document that was made of what is held."""

    kind: Kind
    body: bytes
    notice: str = ""
    """What is not known of it, for whoever reads it."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """As of what was found."""
        return (self.notice,) if self.notice else ()


class WriteSide(Protocol):
    """Takes the writes to one source."""

    async def check(self, method: str, route: Route, length: int | None) -> str:
        """The URL that a write goes to, before its body is read; raises ProxyError where it is not taken."""

    async def send(
        self,
        method: str,
        route: Route,
        url: str,
        headers: Mapping[str, str],
        body: AsyncIterator[bytes] | None,
        *,
        named: Named,
    ) -> Sent:
        """What was answered to it; ``named`` is told which package the body is. Raises UpstreamFailure."""


class Changing(Protocol):
    """Counts how often something has become another."""

    @property
    def changes(self) -> int:
        """How often."""


class Source(Protocol):
    """One upstream. Its reads raise NotFound for what it certainly lacks, UpstreamFailure where nobody can say."""

    @property
    def name(self) -> str:
        """As the configuration calls it."""

    @property
    def immutable(self) -> bool:
        """True where a version never has other bytes than it had."""

    @property
    def offline(self) -> bool:
        """True where it is never asked: what is stored is all there is."""

    @property
    def changing(self) -> Changing | None:
        """Counts the changes of what it has that are no answer of an upstream, and no write through us.

        None where there are none.
        """

    @property
    def signatures(self) -> Signatures:
        """What becomes of its packages by who has signed them."""

    @property
    def writes(self) -> WriteSide:
        """What takes pushes, deletes and relists for it."""

    async def open(self) -> None:
        """Make what is held usable; raises StoreUnusable."""

    def start(self, tasks: Tasks, *, secure: bool) -> None:
        """Begin what it does unasked; ``secure`` says that clients come over https."""

    async def close(self) -> None:
        """Close what was opened; its tasks must have been stopped."""

    async def ready(self) -> None:
        """Return when it can answer; raises UpstreamFailure that says why it cannot."""

    def breakers(self) -> Mapping[str, BreakerState]:
        """The circuit breakers of its origins; none where nobody is asked."""

    async def offers(self, resource: str) -> bool:
        """Whether it has a resource, as the registry calls it."""

    async def document(self, route: Route, query: str) -> Document | None:
        """The document of ``route``; None where it keeps none, so that what it holds is all that it can say.

        ``query`` is the raw query string of whoever asks; only searches look at it.
        """

    async def stored(self, route: Route) -> Found | None:
        """What is stored of the document of ``route``, however old; nobody is asked. None where nothing is."""

    async def made(self, route: Route, query: str, base: str, failure: UpstreamFailure | None = None) -> MadeDocument:
        """The document of ``route`` as what is held tells it, its links below ``base``.

        ``failure`` is why there is no better one; it is raised where nothing can be made.
        """

    async def package(self, route: Route, *, head: bool) -> HeldPackage | FlightBody | Head | Found:
        """A package: held (borrowed, until the next await), in flight (to be closed), or an entry that it is absent.

        What is not held is not fetched for a ``head``; then it is what upstream says about it.
        """

    async def elsewhere(self, held: HeldPackage) -> str | None:
        """A URL at which anybody can read a held package for some minutes; None where there is none."""

    async def member(self, identity: PackageIdentity, kind: Kind, *, sure: bool = True) -> bytes | None:
        """The nuspec, readme, icon or licence out of a held package; None where ``document`` may have it.

        Where it need not be ``sure``, None also of a package that is known to be lacking.
        """

    def lacks_package(self, identity: PackageIdentity) -> bool:
        """Whether a package is known not to be held, unless somebody else has just put it there."""

    def at_hand(self, identity: PackageIdentity) -> HeldPackage | None:
        """A held package that is kept open now (borrowed, until the next await); None says nothing."""

    async def versions_without_upstream(self, id_: str) -> tuple[Version, ...] | None:
        """What a client would be told of an id (lower case) if no upstream answered any more; nobody is asked.

        Empty where there is no such package, None where that could not be told.
        """

    async def needs_without_upstream(self, identity: PackageIdentity) -> tuple[DependencyGroup, ...] | None:
        """What a held package depends on; None for one that could not be delivered if no upstream answered."""

    async def keep_links(self, links: Iterable[Link]) -> None:
        """Remember links that are about to be handed out; ``document`` finds their routes."""

    def prefetch(self) -> None:
        """Fetch what a client that comes over https asks for next."""
