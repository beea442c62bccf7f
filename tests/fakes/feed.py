"""FakeFeed is a NuGet V3 upstream feed made of the packages that it holds.

In a test::

    async with FakeFeed() as feed:
        feed.add(make_nupkg("Acme.A", "1.0.0"))
        ...                       # feed.index_url is the source to use
        await feed.set_mode("refused")
        assert feed.count("/v3/index.json") == 1

As a program: ``python -m tests.fakes.feed --port 5000 --packages DIR`` serves the packages in a folder.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import signal
import ssl as tls
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Self, get_args
from urllib.parse import unquote

from tests.fakes import canary
from tests.fakes import feed_documents as documents
from tests.fakes import feed_reads as reads
from tests.fakes import feed_writes as writes
from tests.fakes.feed_packages import Held
from tests.fakes.feed_shelf import Shelf
from tests.fakes.origin import Origin, Script, Seen

Mode = Literal["up", "refused", "5xx", "html", "hang", "clogged", "429"]
"""``hang`` accepts connections but answers nothing; ``clogged`` lets no connection come about."""

LOGIN_PAGE = b"<!DOCTYPE html><html><body><h1>Please log in to this network</h1></body></html>"

Handler = Callable[..., Script | Awaitable[Script]]


def _row(methods: str, pattern: str, handler: Handler) -> tuple[frozenset[str], re.Pattern[str], Handler]:
    return frozenset(methods.split()), re.compile(pattern), handler


_GET = "GET HEAD"
_HOSTS = "(?:" + "|".join(documents.SEARCH_HOSTS) + ")"
_ROUTES = (
    _row(_GET, r"/v3/index\.json", reads.index),
    _row(_GET, documents.FLAT + r"/([^/]+)/index\.json", reads.versions),
    _row(_GET, documents.FLAT + r"/([^/]+)/([^/]+)/([^/]+\.nupkg)", reads.package),
    _row(_GET, documents.FLAT + r"/([^/]+)/([^/]+)/([^/]+\.nuspec)", reads.nuspec),
    _row(_GET, documents.FLAT + r"/([^/]+)/([^/]+)/(icon|license|readme)", reads.member),
    _row(_GET, r"/v3/registration5-(semver1|gz-semver1|gz-semver2)/([^/]+)/(.+)\.json", reads.registration),
    _row(_GET, _HOSTS + "/query", reads.query),
    _row(_GET, _HOSTS + "/autocomplete", reads.complete),
    _row(_GET, documents.SIGNATURES + r"/(4\.7\.0|4\.9\.0|5\.0\.0)/index\.json", reads.signatures),
    _row(_GET, documents.VULNERABILITIES + r"/index\.json", reads.vulnerabilities),
    _row(_GET, documents.VULNERABILITY_PAGES + r"/[0-9a-f]+/vulnerability\.(\w+)\.json", reads.vulnerability_page),
    _row(_GET, documents.CATALOG + r"/(.+)\.json", reads.catalog),
    _row("PUT", documents.PUBLISH + "/?", writes.push),
    _row("PUT", documents.SYMBOLS + "/?", writes.push_symbols),
    _row("PUT", documents.PUBLISH + "/([^/]+)/deprecations", writes.deprecate),
    _row("POST", documents.PUBLISH + "/create-verification-key/([^/]+)(?:/([^/]+))?", writes.create_verification_key),
    _row("DELETE POST", documents.PUBLISH + "/([^/]+)/([^/]+)", writes.set_listed),
    _row("GET", documents.PUBLISH + "/([^/]+)(?:/([^/]+))?", writes.download),
    _row("GET", "/api/v2/verifykey/([^/]+)(?:/([^/]+))?", writes.verify_key),
)


class FakeFeed:
    """A whole feed with the switches that break it.

    ``omit`` names resources that the service index leaves out: a client that talks to the feed directly over plain
    http refuses one with ``RepositorySignatures``. Paths that a test scripts in ``origin.routes`` win over the feed.
    """

    def __init__(
        self, *, api_key: str = canary.API_KEY, omit: Iterable[str] = (), ssl: tls.SSLContext | None = None
    ) -> None:
        self.origin = Origin(ssl=ssl, fallback=self._answer)
        self.shelf = Shelf()
        self.api_key = api_key
        self.omit = set(omit)
        self.warnings: list[str] = []
        """Sent as ``X-NuGet-Warning`` with every answer to a write."""
        self.late = False
        """Whether what is pushed stays invisible until ``shelf.publish_deferred``: nuget.org indexes late."""
        self.overwrite = False
        """Whether pushing a version again replaces it instead of 409."""
        self.retry_after = "1"
        """The ``Retry-After`` of mode "429"."""
        self.catalog_page_size = 550
        self.symbols: dict[tuple[str, str], bytes] = {}
        """Pushed symbol packages by lower id and URL version."""
        self.registration_extra: dict[str, dict[str, dict[str, Any]]] = {}
        """Lower id, URL version: members for catalog entries of the SemVer 2 hive (deprecation, vulnerabilities)."""
        self.vulnerabilities: dict[str, Any] = {"base": {}, "update": {}}
        """The pages' contents by name; a change of content changes the page's address."""
        self._mode: Mode = "up"
        self._released = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self.origin.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.release()
        await self.origin.__aexit__(*exc)

    @property
    def url(self) -> str:
        """The feed's address without a slash at the end."""
        return self.origin.url

    @property
    def index_url(self) -> str:
        """The address of the service index: the source that a client is given."""
        return f"{self.url}/v3/index.json"

    @property
    def requests(self) -> list[Seen]:
        """Every request since the start, or since the test cleared the list."""
        return self.origin.requests

    def count(self, path: str) -> int:
        """How many requests for ``path`` (raw, without query) arrived."""
        return self.origin.count(path)

    def add(self, nupkg: bytes, *, listed: bool = True, at: datetime | None = None) -> Held:
        """Publish a package, in place of one of the same identity; ValueError if it is no package.

        ``at`` is when it was published, for whoever is told so.
        """
        return self.shelf.publish(replace(self.shelf.read(nupkg), listed=listed), at=at)

    def remove(self, package_id: str, version: str) -> Held:
        """Take a package away altogether, which nuget.org does only by hand; KeyError if it is not held."""
        return self.shelf.remove(package_id, version)

    def set_listed(self, package_id: str, version: str, listed: bool) -> Held:
        """Unlist or relist a package; KeyError if it is not held."""
        return self.shelf.publish(replace(self.shelf.find(package_id, version), listed=listed))

    @property
    def mode(self) -> Mode:
        """What the feed does with requests now; ``set_mode`` changes it."""
        return self._mode

    async def set_mode(self, mode: Mode) -> None:
        """Begin or end an outage; whoever hangs is answered as the new mode says (dropped by "refused")."""
        if mode not in get_args(Mode):
            raise ValueError(f"no such mode: {mode!r}")
        self._mode = mode
        if mode == "refused":
            await self.origin.refuse()
        elif mode == "clogged":
            await self.origin.clog()
        else:
            await self.origin.listen()
        self.release()

    def release(self) -> None:
        """Answer every request that hangs now; later ones hang again."""
        self._released.set()
        self._released = asyncio.Event()

    async def _answer(self, seen: Seen) -> Script:
        if self._mode == "hang":
            await self._released.wait()
        return self._broken() or await self._routed(seen)

    def _broken(self) -> Script | None:
        text = ("Content-Type", "text/plain")
        match self._mode:
            case "5xx":
                return Script(status=503, headers=[text], body=b"The service is unavailable.")
            case "429":
                return Script(status=429, headers=[text, ("Retry-After", self.retry_after)], body=b"Slow down.")
            case "html":
                return Script(headers=[("Content-Type", "text/html")], body=LOGIN_PAGE)
            case _:
                return None

    async def _routed(self, seen: Seen) -> Script:
        path, other = unquote(seen.path), set[str]()
        for methods, pattern, handler in _ROUTES:
            match = pattern.fullmatch(path)
            if match is None:
                continue
            if seen.method in methods:
                script = handler(self, seen, *match.groups())
                return script if isinstance(script, Script) else await script
            other |= methods
        return Script(status=405, headers=[("Allow", ", ".join(sorted(other)))]) if other else reads.MISSING


async def serve(feed: FakeFeed, folder: Path | None) -> None:
    """Serve a folder's packages until a signal ends it."""
    for path in sorted(folder.rglob("*.nupkg")) if folder else ():
        feed.add(path.read_bytes())
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with feed:
        print(f"Listening on {feed.index_url}", flush=True)
        await stop.wait()


def main() -> None:
    """Serve the packages of a folder until a signal ends it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one, which the first line of output names")
    parser.add_argument("--packages", type=Path, help="a folder with .nupkg files, at any depth")
    parser.add_argument("--omit", action="append", default=[], help="a resource that the service index leaves out")
    arguments = parser.parse_args()
    feed = FakeFeed(api_key="the-api-key", omit=arguments.omit)
    feed.origin.port = arguments.port
    asyncio.run(serve(feed, arguments.packages))


if __name__ == "__main__":
    main()
