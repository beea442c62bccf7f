"""VendorFeed is a feed in the shape of a product: its index, its bases, its way with credentials and downloads.

The shapes are those of ``tests/nuget/indexes.py``; what stands behind every one is a ``FakeFeed``.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Awaitable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

from multidict import CIMultiDict

from tests.fakes import canary
from tests.fakes import feed_documents as documents
from tests.fakes.feed import LOGIN_PAGE, FakeFeed
from tests.fakes.origin import Origin, Script, Seen
from tests.nuget.indexes import FEEDS

SIGNED = "sv=2020-04-08&sr=b&sig=a%2Fb%2B%3D&se=x+y&%7E"
"""The query of a signed address: whoever writes it otherwise gets nothing."""
SEMVER1, SEMVER2 = documents.HIVES["semver1"], documents.HIVES["gz-semver2"]
BASIC = f"Basic {base64.b64encode(canary.BASIC.encode()).decode()}"
BEARER = f"Bearer {canary.TOKEN}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """What is peculiar to a product."""

    name: str
    wants: str = ""
    """The ``Authorization`` without which it says nothing."""
    refusal: Script = field(default_factory=lambda: Script(status=401, headers=[("WWW-Authenticate", "Basic")]))
    """What it says to everybody else."""
    moved: int = 0
    """The status with which downloads go to another origin with a signed address; 0 where they do not."""
    pushed: int = 201
    plain_hives: bool = False
    """Whether its only hives are those of old names, which have all versions all the same."""
    absent: tuple[tuple[str, str], ...] = ()
    """Headers of its 404s."""
    hits: int = 1
    """By which its ``totalHits`` are too many."""
    secret: str = ""
    """What stands in the path of each of its URLs, and must stand in none of ours."""

    @property
    def config(self) -> Mapping[str, Any]:
        """The credentials of an upstream's table; ``environment`` has what they refer to."""
        if self.wants == BASIC:
            return {"username": canary.USER, "password": "env:VENDOR_SECRET", "push_credentials": "proxy"}
        if self.wants == BEARER:
            return {"headers": {"Authorization": "env:VENDOR_SECRET"}, "push_credentials": "proxy"}
        return {"private": True}

    @property
    def environment(self) -> str:
        """The value of the variable that the credentials refer to."""
        return canary.PASSWORD if self.wants == BASIC else self.wants


SIGN_IN = Script(status=302, headers=[("Location", "/_signin?realm=feed")])
_NOTICE = ("X-NuGet-Warning", "Your request could not be authorized, or there is no such package.")

VENDORS: Mapping[str, Vendor] = {
    one.name: one
    for one in (
        Vendor(name="azure", wants=BASIC, refusal=SIGN_IN, moved=303, pushed=202),
        Vendor(name="github", wants=BASIC, moved=302, absent=(_NOTICE,)),
        Vendor(name="gitlab", wants=BASIC, plain_hives=True, moved=302),
        Vendor(name="artifactory", wants=BEARER, refusal=Script(status=403, reason="Forbidden"), moved=307),
        Vendor(name="nexus", wants=BASIC, hits=10),
        Vendor(name="proget", wants=BASIC),
        Vendor(name="bagetter", plain_hives=True),
        Vendor(name="cloudsmith", moved=302, secret="t0ken"),
    )
}

_INNER = {
    "PackageBaseAddress": documents.FLAT,
    "SearchQueryService": f"{documents.SEARCH_HOSTS[0]}/query",
    "SearchAutocompleteService": f"{documents.SEARCH_HOSTS[0]}/autocomplete",
    "PackagePublish": documents.PUBLISH,
    "SymbolPackagePublish": documents.SYMBOLS,
    "VulnerabilityInfo": f"{documents.VULNERABILITIES}/index.json",
}
"""Where the feed behind has what a resource is."""


class VendorFeed:
    """``async with VendorFeed(VENDORS["azure"]) as feed``; ``feed.behind`` holds the packages."""

    def __init__(self, vendor: Vendor) -> None:
        self.vendor = vendor
        self.behind = FakeFeed()
        self.origin = Origin(fallback=self._answer)
        self.store = Origin(fallback=self._blob)
        """Where signed addresses lead."""
        self._index, address = FEEDS[vendor.name]
        self._recorded = "{0.scheme}://{0.netloc}".format(urlsplit(address))
        self.index_path = urlsplit(address).path

    async def __aenter__(self) -> Self:
        await self.origin.__aenter__()
        await self.store.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.store.__aexit__(*exc)
        await self.origin.__aexit__(*exc)

    @property
    def index_url(self) -> str:
        """Its service index."""
        return f"{self.origin.url}{self.index_path}"

    def bases(self) -> Iterator[tuple[str, str]]:
        """(path of the vendor, path of the feed behind) of everything in its index, the longest first."""
        found: dict[str, str] = {}
        for row in self._index["resources"]:
            kind = row["@type"].partition("/")[0]
            path = urlsplit(row["@id"]).path.rstrip("/")
            inner = _INNER.get(kind)
            if kind == "RegistrationsBaseUrl":
                both = self.vendor.plain_hives or row["@type"].endswith(("/3.6.0", "/Versioned"))
                inner = SEMVER2 if both else found.get(path, SEMVER1)
            if inner is not None and not (inner == documents.PUBLISH and path in found):
                found[path] = inner
        found[f"{self._root_path}/_catalog"] = documents.CATALOG
        found[f"{self._root_path}/_pages"] = documents.VULNERABILITY_PAGES
        yield from sorted(found.items(), key=lambda pair: len(pair[0]), reverse=True)

    @property
    def _root_path(self) -> str:
        return f"/{self.vendor.secret}/team/repo" if self.vendor.secret else ""

    async def _answer(self, seen: Seen) -> Script:
        if seen.path == "/_signin":
            return Script(status=203, headers=[("Content-Type", "text/html")], body=LOGIN_PAGE)
        if self.vendor.wants and seen.headers.get("Authorization") != self.vendor.wants:
            return self.vendor.refusal
        if seen.path == self.index_path:
            text = json.dumps(self._index).replace(self._recorded, self.origin.url)
            return Script(headers=[("Content-Type", "application/json")], body=text.encode())
        inner = self._translated(seen)
        if inner is None:
            return Script(status=404)
        if inner.path.endswith(".nupkg") and self.vendor.moved and seen.method == "GET":
            return Script(status=self.vendor.moved, headers=[("Location", f"{self.store.url}{inner.path}?{SIGNED}")])
        assert self.behind.origin.fallback is not None
        return self._dressed(seen, await _awaited(self.behind.origin.fallback(inner)))

    def _translated(self, seen: Seen) -> Seen | None:
        """The request as the feed behind wants it."""
        headers = CIMultiDict(seen.headers)
        if self.vendor.wants and seen.method != "GET":
            headers["X-NuGet-ApiKey"] = self.behind.api_key  # who may write is known by now
        for outer, inner in self.bases():
            if seen.path == outer or seen.path.startswith(f"{outer}/"):
                write = seen.method not in {"GET", "HEAD"}
                where = documents.PUBLISH if write and "symbol" not in outer else inner
                if where.endswith((".json", "/query", "/autocomplete")):
                    return Seen(seen.method, where + (f"?{seen.query}" if seen.query else ""), headers, seen.body)
                return Seen(seen.method, where + seen.target.removeprefix(outer), headers, seen.body)
        return None

    def _dressed(self, seen: Seen, script: Script) -> Script:
        """The answer with the vendor's addresses in it."""
        headers = list(script.headers)
        if seen.method in {"PUT", "POST"} and script.status == 201:
            return Script(status=self.vendor.pushed, headers=headers, body=script.body)
        if script.status == 404:
            return Script(status=404, headers=[*headers, *self.vendor.absent], body=script.body)
        if ("Content-Type", "application/json") not in headers and "json" not in str(headers):
            return script
        zipped = ("Content-Encoding", "gzip") in headers
        text = (gzip.decompress(script.body) if zipped else script.body).decode()
        for outer, inner in self.bases():
            for hive in documents.HIVES.values() if inner in {SEMVER1, SEMVER2} else (inner,):
                text = text.replace(f"{self.behind.url}{hive}/", f"{self.origin.url}{outer}/")
        if '"totalHits"' in text and self.vendor.hits > 1:
            value = json.loads(text)
            text = json.dumps({**value, "totalHits": value["totalHits"] * self.vendor.hits})
        assert self.behind.url not in text, "an address that no product has"
        kept = [pair for pair in headers if pair[0] != "Content-Encoding"]
        return Script(status=script.status, headers=kept, body=text.encode())

    async def _blob(self, seen: Seen) -> Script:
        """The bytes at a signed address, for whoever spells it as it was said and shows nothing else."""
        if seen.query != SIGNED or "Authorization" in seen.headers:
            return Script(status=403, body=b"<Error><Code>AuthenticationFailed</Code></Error>")
        assert self.behind.origin.fallback is not None
        return await _awaited(self.behind.origin.fallback(Seen(seen.method, seen.path, seen.headers)))


async def _awaited(answer: Script | Awaitable[Script]) -> Script:
    return answer if isinstance(answer, Script) else await answer
