"""Measures the holdings: how long it takes to fill, and to search, with many packages.

``python -m tests.bench.holdings [--packages 100000] [--queries 400]`` from the project's root; no packages are made,
only what is known of them.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from rich.console import Console
from rich.table import Table

from nugetproxy.nuget.facts import PackageFacts
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.synthesis.search_query import SearchQuery
from nugetproxy.store.holdings.holdings import Holdings

SYLLABLES = """
    ka lo mi ne ru sa ti vo den bar cor fel gan hul jor pex qui rax tor wim zen ost ard ith eum ant
"""
COMMON = """
    Microsoft System Extensions Core Json Logging Data Client Common Abstractions Tools Net Http Azure Sql Entity
    Framework Test Web Api Services Hosting Configuration Security Identity Drawing Serialization
"""
FLATTENING = 20
"""Zipf's law with so many of its first ranks left out: the most frequent word is in a quarter of the descriptions."""


@dataclass(frozen=True, slots=True)
class Language:
    """Made-up words, as unevenly frequent as those of a real feed."""

    words: Sequence[str]
    common: Sequence[str]

    @staticmethod
    def make(dice: random.Random) -> Language:
        """The language that ``dice`` determine."""
        common, syllables = COMMON.split(), SYLLABLES.split()
        vocabulary = common + ["".join(dice.choices(syllables, k=dice.randint(2, 4))).capitalize() for _ in range(8000)]
        weights = [1 / (rank + FLATTENING) for rank in range(len(vocabulary))]
        return Language(dice.choices(vocabulary, weights, k=200_000), common)

    def name(self, dice: random.Random) -> str:
        """A package id."""
        first = dice.choice(self.common if dice.random() < 0.3 else self.words)
        rest = ("".join(dice.choices(self.words, k=dice.choice((1, 1, 2)))) for _ in range(dice.randint(0, 3)))
        return ".".join((first, *rest))[:90].rstrip(".")

    def text(self, dice: random.Random, shortest: int, longest: int) -> str:
        """Words in a row."""
        at = dice.randrange(len(self.words) - longest)
        return " ".join(self.words[at : at + dice.randint(shortest, longest)])


def make_facts(count: int, *, most_versions: int, seed: int = 1) -> Iterator[PackageFacts]:
    """``count`` packages; ids have up to ``most_versions`` versions, most of them few."""
    dice = random.Random(seed)
    language = Language.make(dice)
    return itertools.islice(_endless(dice, language, most_versions), count)


def _endless(dice: random.Random, language: Language, most_versions: int) -> Iterator[PackageFacts]:
    names: set[str] = set()
    while True:
        name = language.name(dice)
        if name.lower() not in names:
            names.add(name.lower())
            yield from _versions(dice, language, name, min(most_versions, int(dice.paretovariate(1))))


def _versions(dice: random.Random, language: Language, name: str, count: int) -> Iterator[PackageFacts]:
    description, tags = language.text(dice, 8, 60), language.text(dice, 0, 6).lower()
    kind = dice.choices(("", "DotnetTool", "Template"), (94, 4, 2))[0]
    for number in range(count):
        label = dice.choice(("", "", "", "-beta", "-rc.1"))
        version = f"{1 + number // 10}.{number % 10}.0{label}"
        identity = PackageIdentity.parse(name, version)
        assert identity is not None
        yield PackageFacts(
            identity=identity,
            id=name,
            version=version,
            title=name.replace(".", " "),
            description=description,
            summary=description[:80],
            authors=language.text(dice, 1, 2),
            tags=tags,
            is_semver2="rc." in version,
            package_types=((kind, ""),) if kind else (),
            published=1.6e9 + number,
            size=10_000 + number,
        )


def make_query(dice: random.Random, facts: Sequence[PackageFacts]) -> tuple[str, str]:
    """(what sort of query, query string)."""
    held = dice.choice(facts)
    words = held.description.split()
    sorts = {
        "whole id": held.id,
        "typing an id": held.id[: dice.randint(2, 8)],
        "one word": dice.choice(words),
        "two words": " ".join(dice.choices(words, k=2)),
        "phrase": f'"{" ".join(words[:2])}"',
        "field": f"{dice.choice(('id', 'title', 'tags', 'author'))}:{dice.choice(words)}",
        "everything": "",
    }
    sort = dice.choices(tuple(sorts), (20, 25, 20, 15, 5, 10, 5))[0]
    given = {"q": sorts[sort], "prerelease": dice.choice(("true", "false")), "semVerLevel": "2.0.0", "take": "26"}
    if dice.random() < 0.1:
        given["packageType"] = "DotnetTool"
    return sort, urlencode(given)


async def fill(holdings: Holdings, facts: Sequence[PackageFacts]) -> tuple[float, float, list[float]]:
    """Seconds of a first synchronisation, of one that finds nothing to do, of searches meanwhile."""
    known = {held.identity: held for held in facts}
    meanwhile: list[float] = []

    async def sync() -> float:
        began = time.perf_counter()
        await holdings.sync(
            lambda: ((identity, held.size, 0.0) for identity, held in known.items()),
            lambda identity, _: known[identity],
        )
        return time.perf_counter() - began

    async def search() -> None:
        while True:
            meanwhile.append(await timed_search(holdings, "q=json&take=20"))
            await asyncio.sleep(0.05)

    searcher = asyncio.create_task(search())
    first = await sync()
    searcher.cancel()
    return first, await sync(), meanwhile


async def timed_search(holdings: Holdings, query: str) -> float:
    """Seconds of one search, with the way to its thread and back."""
    began = time.perf_counter()
    await holdings.search(SearchQuery.parse(query))
    return time.perf_counter() - began


def quantile(seconds: Sequence[float], part: float) -> str:
    """In milliseconds."""
    ordered = sorted(seconds)
    return f"{1000 * ordered[min(len(ordered) - 1, int(part * len(ordered)))]:.1f}"


async def measure(name: str, facts: Sequence[PackageFacts], queries: int, console: Console) -> None:
    """One shape of holdings."""
    with tempfile.TemporaryDirectory() as directory:
        holdings, path = Holdings(), Path(directory) / "holdings.db"
        await holdings.open(path)
        first, second, meanwhile = await fill(holdings, facts)
        ids = len({held.identity.id for held in facts})
        console.print(
            f"{name}: {len(facts)} packages of {ids} ids: filled in {first:.1f} s, checked again in {second:.1f} s, "
            f"{path.stat().st_size / 1e6:.0f} MB; searches meanwhile: p50 {quantile(meanwhile, 0.5)} ms, "
            f"p95 {quantile(meanwhile, 0.95)} ms"
        )
        dice, times = random.Random(2), dict[str, list[float]]()
        for _ in range(queries):
            sort, query = make_query(dice, facts)
            times.setdefault(sort, []).append(await timed_search(holdings, query))
        await holdings.close()
    table = Table("query", "count", "p50 ms", "p95 ms", "max ms")
    for sort, seconds in (*sorted(times.items()), ("all", list(itertools.chain(*times.values())))):
        figures = (quantile(seconds, part) for part in (0.5, 0.95, 1.0))
        table.add_row(sort, str(len(seconds)), *figures)
    console.print(table)


def main() -> None:
    """Measure a holdings as a build farm has it, then one in which every package has another id."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--packages", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=400)
    given = parser.parse_args()
    console = Console()
    for name, most_versions in (("several versions", 200), ("one version each", 1)):
        facts = list(make_facts(given.packages, most_versions=most_versions))
        asyncio.run(measure(name, facts, given.queries, console))


if __name__ == "__main__":
    main()
