"""The leak walk reads what we publish as clients do, to find what leads elsewhere."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from urllib.parse import quote

from msgspec import Struct, field

from nugetproxy.errors import NotFound
from nugetproxy.jobs.proxy_client import Fetched
from nugetproxy.nuget.leaks import Sighting, Verdict, document_sightings, index_sightings
from nugetproxy.nuget.resources import BY_TYPE, GZ_SEMVER1, SEMVER1, Shape

SAMPLES = 3
LINKS_EACH = 4
"""Of the links of one document so many are followed: half of them the first, half the last."""
MOST = 400
"""Documents in all."""
DEPENDENCIES = "dependencies"
"""The field of a registration in which other packages are named."""


Fetch = Callable[[str, bool], Awaitable[Fetched]]
"""Gets a URL of ours; True for its headers only. Answers with a status where there is no document."""


class Report(Struct):
    """What a walk through a feed has found."""

    read: int = 0
    """Documents."""
    packages: tuple[str, ...] = ()
    tools: str = ""
    """What came instead of the list of tools, which need not be published; empty where it came, or is not."""
    found: dict[Sighting, tuple[int, str]] = field(default_factory=dict)
    """Each URL that does not stay with us -> how often, in which document first."""

    @property
    def leaks(self) -> bool:
        """Whether a client may be led astray."""
        return any(sighting.verdict in {Verdict.LEAK, Verdict.BROKEN} for sighting in self.found)

    def count(self, verdict: Verdict) -> int:
        """How many different ones of that sort were found."""
        return sum(sighting.verdict is verdict for sighting in self.found)

    def add(self, sighting: Sighting, document: str) -> None:
        """Note what does not stay with us."""
        if sighting.verdict is not Verdict.OURS:
            count, first = self.found.get(sighting, (0, document))
            self.found[sighting] = (count + 1, first)


class LeakWalk:
    """From the service index to the documents it leads to, then to one level of sample packages."""

    def __init__(self, fetch: Fetch, *, root: str, base: str) -> None:
        """``root`` is what all URLs of ours begin with (``https://host/``), ``base`` the feed's, up to ``/v3/``."""
        self._fetch = fetch
        self._root = root
        self._base = base
        self._seen: set[str] = set()
        self._waiting: deque[str] = deque()
        self._may_lack: set[str] = set()
        """What need not be there: an id of SemVer 2 versions alone is in one hive only, a dependency may be of another
        feed."""
        self._report = Report()

    async def run(self, packages: Iterable[str] = ()) -> Report:
        """Walk; without ``packages`` (ids), some that a search finds are the samples.

        Raises NotFound when there is no service index to begin with.
        """
        got = await self._fetch(f"{self._base}index.json", False)
        index = got.document
        if not isinstance(index, dict):
            raise NotFound(f"no service index ({got.said})")
        self._report.read = 1
        sightings = list(index_sightings(index, self._base))
        for sighting in sightings:
            self._report.add(sighting, "index.json")
        places = [
            (BY_TYPE[sighting.field].shape, sighting.field.partition("/")[0], sighting.url)
            for sighting in sightings
            if sighting.verdict is Verdict.OURS and sighting.field in BY_TYPE
        ]
        self._report.packages = tuple(packages) or await self._samples(places)
        older = {one.url for one in sightings if _is_older_hive(one.field)}
        for shape, name, url in places:
            starts = list(self._starts(shape, name, url))
            self._waiting.extend(starts)
            if url in older:
                self._may_lack.update(starts)
        self._waiting.append(f"{self._root}tools.json")
        while self._waiting and self._report.read < MOST:
            await self._read(self._waiting.popleft())
        return self._report

    async def _samples(self, places: Iterable[tuple[Shape, str, str]]) -> tuple[str, ...]:
        """The ids of the first packages that a search finds."""
        for _, name, url in places:
            if name == "SearchQueryService":
                found = (
                    await self._fetch(f"{url}?q=&take={SAMPLES}&prerelease=true&semVerLevel=2.0.0", False)
                ).document
                data = found.get("data", ()) if isinstance(found, dict) else ()
                return tuple(str(one["id"]) for one in data[:SAMPLES] if isinstance(one, dict) and "id" in one)
        return ()

    def _starts(self, shape: Shape, name: str, url: str) -> Iterable[str]:
        """What a client asks of one resource."""
        ids = [quote(id.lower()) for id in self._report.packages]
        if shape is Shape.BASE:
            return [f"{url}{id}/index.json" for id in ids]
        if shape is Shape.DOCUMENT:
            return [url]
        if shape is Shape.ENDPOINT:
            return [f"{url}?q={id}&prerelease=true&semVerLevel=2.0.0" for id in ids]
        return []

    async def _read(self, url: str) -> None:
        url = url.partition("#")[0]
        if url in self._seen:
            return
        self._seen.add(url)
        headers_only = not (url.endswith(".json") or "?" in url or "/x/" in url)
        got = await self._fetch(url, headers_only)
        self._report.read += 1
        place = url.removeprefix(self._base).removeprefix(self._root)
        if got.status == 404 and url in self._may_lack:
            return
        if got.status != 200:
            if url != f"{self._root}tools.json":  # which need not be published
                self._report.add(Sighting(Verdict.BROKEN, got.said, "", url), place)
            elif got.status != 404:
                self._report.tools = got.said
            return
        links: dict[str, None] = {}
        for sighting in document_sightings(got.document, self._root):
            self._report.add(sighting, place)
            if sighting.verdict is Verdict.OURS and not sighting.url.endswith("/"):
                links[sighting.url] = None
                if DEPENDENCIES in sighting.field.split("."):
                    self._may_lack.add(sighting.url)
        few = list(links)
        self._waiting.extend(few if len(few) <= LINKS_EACH else [*few[: LINKS_EACH // 2], *few[-LINKS_EACH // 2 :]])


def _is_older_hive(type_: str) -> bool:
    """Whether a resource is a hive of registrations that has no SemVer 2 versions."""
    return type_ in BY_TYPE and BY_TYPE[type_].name in {GZ_SEMVER1, SEMVER1}
