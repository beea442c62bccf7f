"""What the holdings finds, in which order."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nugetproxy.nuget.facts import PackageFacts
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.nuspec import Dependency, DependencyGroup
from nugetproxy.nuget.synthesis.search_query import SearchQuery
from nugetproxy.nuget.version import Version
from nugetproxy.store.holdings.database import FILTERS, make_tables
from nugetproxy.store.holdings.holdings import Holdings
from nugetproxy.store.holdings.rows import change, facts_of, sort_key
from nugetproxy.store.holdings.search import autocomplete, search
from tests.nuget.held import facts
from tests.store.kit import hold


@pytest.fixture
async def holdings(tmp_path: Path) -> AsyncIterator[Holdings]:
    opened = Holdings()
    await opened.open(tmp_path / "holdings.db")
    yield opened
    await opened.close()


SHELF = (
    facts("Newtonsoft.Json", "12.0.1", description="Json for .NET", authors="James Newton-King"),
    facts("Newtonsoft.Json", "13.0.3", description="Json framework for .NET", authors="James Newton-King", tags="json"),
    facts("Newtonsoft.Json", "14.0.0-beta", description="Coming soon", authors="James Newton-King"),
    facts("Newtonsoft.Json.Bson", "1.0.2", description="Binary", authors="James Newton-King", tags="bson"),
    facts("Json", "1.0.0", description="Small"),
    facts("System.Text.Json", "8.0.0", title="Text Json", description="Reads and writes", owners="dotnet"),
    facts("FastJsonReader", "2.0.0", description="Quick"),
    facts("Unrelated", "1.0.0", description="Has json inside, json and json", summary="A summary"),
    facts("EntityFrameworkCore", "7.0.0", title="EF", description="An ORM", tags="orm,database entity"),
    facts("Tool.Only", "1.0.0", package_types=(("DotnetTool", ""),)),
    facts("Tool.Both", "1.0.0", package_types=(("DotnetTool", "1.0"), ("Custom", ""))),
    facts("Pre.Only", "1.0.0-alpha", description="early"),
    facts("Sem.Two", "1.0.0-alpha.1", description="later"),
    facts("Sem.Two", "0.9.0", description="earlier"),
    facts("Hidden.Package", "1.0.0", listed=False),
    facts("Half.Hidden", "1.0.0"),
    facts("Half.Hidden", "2.0.0", listed=False),
    facts("Größe.Straße", "1.0.0", description="Maße und Gewichte"),
)


@pytest.fixture
async def shelf(holdings: Holdings) -> Holdings:
    """A holdings with a few well-known packages."""
    await hold(holdings, SHELF)
    return holdings


def query(q: str = "", **parameters: object) -> SearchQuery:
    return SearchQuery.parse(urlencode({"q": q, **parameters}))


async def ids(holdings: Holdings, q: str = "", **parameters: object) -> list[str]:
    total, hits = await holdings.search(query(q, **parameters))
    found = [hit.newest.id for hit in hits]
    assert total == len(found)
    return found


ALL = {"prerelease": "true", "semVerLevel": "2.0.0"}


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        # The id itself, then ids that begin so, then ids that have it, then whatever else has it.
        (
            "json",
            {0: "Json", 1: None, 2: None, 3: None, 4: None, 5: "Unrelated"},
        ),
        ("newtonsoft.json", {0: "Newtonsoft.Json", 1: "Newtonsoft.Json.Bson"}),
        ("NEWTONSOFT.JSON", {0: "Newtonsoft.Json", 1: "Newtonsoft.Json.Bson"}),
        ("newtonsoft json", {0: None, 1: None}),
        ("newton", {0: None, 1: None}),
        ("newtonsoftjson", {0: None, 1: None}),
    ],
)
async def test_ranking(shelf: Holdings, q: str, expected: dict[int, str | None]) -> None:
    found = await ids(shelf, q)
    assert len(found) == len(expected)
    assert {place: found[place] for place, name in expected.items() if name} == {
        place: name for place, name in expected.items() if name
    }


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        ("newton", {"Newtonsoft.Json", "Newtonsoft.Json.Bson"}),
        ("soft", set()),
        ("framework", {"Newtonsoft.Json", "EntityFrameworkCore"}),
        ("entity core", {"EntityFrameworkCore"}),
        ("EntityFramework", {"EntityFrameworkCore"}),
        ("TextJson", {"System.Text.Json"}),
        ("reader", {"FastJsonReader"}),
        ("jsonread", set()),
        ("json missing", set()),
        ("orm", {"EntityFrameworkCore"}),
        ("id:json", {"Json", "Newtonsoft.Json", "Newtonsoft.Json.Bson", "System.Text.Json", "FastJsonReader"}),
        ("id:bson id:ef id:Unrelated", {"Newtonsoft.Json.Bson", "Unrelated"}),
        ("packageid:json", {"Json"}),
        ("packageid:JSON packageid:unrelated packageid:nobody", {"Json", "Unrelated"}),
        ("packageid:newtonsoft", set()),
        ("title:text", {"System.Text.Json"}),
        ("title:ef", {"EntityFrameworkCore"}),
        ("tags:json", {"Newtonsoft.Json"}),
        ("tag:bson,orm", {"Newtonsoft.Json.Bson", "EntityFrameworkCore"}),
        ("tags:jso", set()),
        ("author:newton", {"Newtonsoft.Json", "Newtonsoft.Json.Bson"}),
        ("authors:james id:bson", {"Newtonsoft.Json.Bson"}),
        ("owner:dotnet", {"System.Text.Json"}),
        ("summary:summary", {"Unrelated"}),
        ("description:binary", {"Newtonsoft.Json.Bson"}),
        ("json description:reads", {"System.Text.Json"}),
        ('"json inside"', {"Unrelated"}),
        ('"and inside"', set()),
        ('"json and json"', {"Unrelated"}),
        ('"text.json"', {"System.Text.Json"}),
        ("größe", {"Größe.Straße"}),
        ("GRÖSSE", set()),
        ("grosse", set()),
        ("gewichte", {"Größe.Straße"}),
        ("masse", set()),
        ("version:12.0.1", {"Newtonsoft.Json"}),
        ("json version:1.0", {"Json", "Unrelated"}),
        ("packageid:newtonsoft.json version:99.0", set()),
        ("version:14.0.0-beta", set()),
        ("early", set()),
        ("hidden", {"Half.Hidden"}),
        ("12.0.1", set()),
    ],
)
async def test_what_is_found(shelf: Holdings, q: str, expected: set[str]) -> None:
    assert set(await ids(shelf, q)) == expected


async def test_which_ids_are_held(shelf: Holdings) -> None:
    assert await shelf.held_ids(["json", "newtonsoft.json", "newtonsoft", "other", "json"]) == {
        "json",
        "newtonsoft.json",
    }
    assert await shelf.held_ids([]) == frozenset()


async def test_everything_is_ordered_by_downloads_then_id(holdings: Holdings) -> None:
    await hold(holdings, [facts("B"), facts("A"), facts("C", downloads=5)])
    assert await ids(holdings) == ["C", "A", "B"]
    assert await ids(holdings, "*") == ["C", "A", "B"]


@pytest.mark.parametrize(
    ("parameters", "shown", "hidden"),
    [
        ({}, {"Sem.Two", "Half.Hidden"}, {"Pre.Only", "Hidden.Package"}),
        ({"prerelease": "true"}, {"Pre.Only", "Sem.Two"}, {"Hidden.Package"}),
        ({"semVerLevel": "2.0.0"}, {"Sem.Two"}, {"Pre.Only", "Hidden.Package"}),
        (ALL, {"Sem.Two", "Pre.Only"}, {"Hidden.Package"}),
    ],
)
async def test_who_may_see_what(shelf: Holdings, parameters: dict[str, str], shown: set[str], hidden: set[str]) -> None:
    found = set(await ids(shelf, **parameters))
    assert shown <= found
    assert not hidden & found


@pytest.mark.parametrize(
    ("id", "parameters", "newest", "versions"),
    [
        ("newtonsoft.json", {}, "13.0.3", ["12.0.1", "13.0.3"]),
        ("newtonsoft.json", {"prerelease": "true"}, "14.0.0-beta", ["12.0.1", "13.0.3", "14.0.0-beta"]),
        ("sem.two", {"prerelease": "true"}, "0.9.0", ["0.9.0"]),
        ("sem.two", {"semVerLevel": "2.0.0"}, "0.9.0", ["0.9.0"]),
        ("sem.two", ALL, "1.0.0-alpha.1", ["0.9.0", "1.0.0-alpha.1"]),
        ("half.hidden", ALL, "1.0.0", ["1.0.0"]),
    ],
)
async def test_a_hit_has_the_versions_that_may_be_seen(
    shelf: Holdings, id: str, parameters: dict[str, str], newest: str, versions: list[str]
) -> None:
    total, (hit,) = await shelf.search(query(f"packageid:{id}", **parameters))
    assert total == 1
    assert hit.newest.version == newest
    assert [version for version, _ in hit.versions] == versions


async def test_words_are_those_of_the_version_that_is_shown(shelf: Holdings) -> None:
    assert await ids(shelf, "coming") == []
    assert await ids(shelf, "coming", prerelease="true") == ["Newtonsoft.Json"]
    assert await ids(shelf, "earlier", prerelease="true") == ["Sem.Two"]
    assert await ids(shelf, "earlier", **ALL) == []
    assert await ids(shelf, "later", **ALL) == ["Sem.Two"]


async def test_a_version_filter_chooses_the_hit(shelf: Holdings) -> None:
    _, (hit,) = await shelf.search(query("packageid:newtonsoft.json version:12.0.1"))
    assert (hit.newest.version, hit.versions) == ("12.0.1", (("12.0.1", 0),))


@pytest.mark.parametrize(
    ("package_type", "expected"),
    [
        ("DotnetTool", {"Tool.Only", "Tool.Both"}),
        ("dotnettool", {"Tool.Only", "Tool.Both"}),
        ("custom", {"Tool.Both"}),
        ("Dotnet", set()),
        ("' OR 1=1 --", set()),
    ],
)
async def test_package_types_are_exact_without_case(shelf: Holdings, package_type: str, expected: set[str]) -> None:
    assert set(await ids(shelf, packageType=package_type)) == expected
    assert set(await ids(shelf, "tool", packageType=package_type)) == expected


async def test_packages_without_a_type_are_dependencies(shelf: Holdings) -> None:
    found = await ids(shelf, packageType="Dependency")
    assert "Json" in found
    assert not {"Tool.Only", "Tool.Both"} & set(found)


@pytest.mark.parametrize("q", ["", "part", "id:part"])
async def test_pages_cut_one_list_whose_length_is_exact(holdings: Holdings, q: str) -> None:
    names = [f"Part.Number{number:03}" for number in range(57)]
    random.Random(3).shuffle(names)
    await hold(holdings, [facts(name, version) for name in names for version in ("1.0.0", "2.0.0")])
    whole, hits = await holdings.search(query(q, take=1000))
    assert whole == 57
    in_order = [hit.newest.id for hit in hits]
    assert sorted(in_order) == sorted(names)
    paged: list[str] = []
    for skip in range(0, 70, 10):
        total, page = await holdings.search(query(q, skip=skip, take=10))
        assert total == 57
        paged += [hit.newest.id for hit in page]
    assert paged == in_order
    assert await holdings.search(query(q, take=0)) == (57, ())
    assert await holdings.search(query(q, skip=57)) == (57, ())


async def test_a_crowd_of_hits_keeps_the_id_first(holdings: Holdings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nugetproxy.store.holdings.search._CROWD", 3)
    others = [facts(f"Other{number}", description="json") for number in range(5)]
    await hold(holdings, [facts("Text.Json"), *others, facts("Json.Text"), facts("Json")])
    whole = ["Json", "Json.Text", "Text.Json", *(f"Other{number}" for number in range(5))]
    assert await ids(holdings, "json") == whole
    for skip in range(len(whole)):
        for take in (1, 2, 5):
            _, hits = await holdings.search(query("json", skip=skip, take=take))
            assert [hit.newest.id for hit in hits] == whole[skip : skip + take]


# --- autocomplete ---


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        ("newton", ["Newtonsoft.Json", "Newtonsoft.Json.Bson"]),
        ("Newtonsoft.J", ["Newtonsoft.Json", "Newtonsoft.Json.Bson"]),
        ("bson", ["Newtonsoft.Json.Bson"]),
        ("binary", []),
        ("entity", ["EntityFrameworkCore"]),
    ],
)
async def test_autocomplete_looks_at_ids_only(shelf: Holdings, q: str, expected: list[str]) -> None:
    total, found = await shelf.autocomplete(query(q))
    assert (total, sorted(found)) == (len(expected), expected)


async def test_autocomplete_pages(shelf: Holdings) -> None:
    total, everything = await shelf.autocomplete(query(**ALL))
    assert total == len(everything) == 13
    assert await shelf.autocomplete(query(skip=2, take=3, **ALL)) == (13, everything[2:5])


@pytest.mark.parametrize(
    ("id", "parameters", "expected"),
    [
        ("Newtonsoft.Json", {}, ("12.0.1", "13.0.3")),
        ("NEWTONSOFT.JSON", {"prerelease": "true"}, ("12.0.1", "13.0.3", "14.0.0-beta")),
        ("sem.two", {"prerelease": "true"}, ("0.9.0",)),
        ("sem.two", ALL, ("0.9.0", "1.0.0-alpha.1")),
        ("half.hidden", ALL, ("1.0.0",)),
        ("nobody", {}, ()),
    ],
)
async def test_autocomplete_of_versions(
    shelf: Holdings, id: str, parameters: dict[str, str], expected: tuple[str, ...]
) -> None:
    asked = SearchQuery.parse(urlencode({"id": id, **parameters}))
    assert await shelf.autocomplete(asked) == (len(expected), expected)


# --- facts ---


async def test_facts_come_back_whole_and_ascending(holdings: Holdings) -> None:
    needs = (DependencyGroup("net8.0", (Dependency("Other", "[1.0, 2.0)"),)),)
    held = [facts("Some.Id", text, dependency_groups=needs) for text in ("1.9.0", "1.10.0-b", "1.10.0", "2.0.0+sha")]
    for package in reversed(held):
        assert await holdings.add(package)
    assert await holdings.facts("SOME.id") == tuple(held)
    assert await holdings.facts("some") == ()


async def test_adding_again_replaces(holdings: Holdings) -> None:
    await holdings.add(facts("A", "1.0.0", description="before"))
    await holdings.add(facts("A", "1.0.0+sha", description="after", size=9))
    assert await ids(holdings, "before", **ALL) == []
    assert await ids(holdings, "after", **ALL) == ["A"]
    (held,) = await holdings.facts("a")
    assert (held.version, held.size) == ("1.0.0+sha", 9)


async def test_removing_uncovers_the_version_before(holdings: Holdings) -> None:
    older, newer = facts("A", "1.0.0", description="older"), facts("A", "2.0.0", description="newer")
    await holdings.add(older)
    await holdings.add(newer)
    assert await ids(holdings, "older") == []
    assert await holdings.remove(newer.identity)
    assert await ids(holdings, "older") == ["A"]
    assert await ids(holdings, "newer") == []
    assert await holdings.remove(older.identity)
    assert await ids(holdings) == []
    assert await holdings.remove(older.identity), "what is gone already is no failure"


async def test_what_is_known_survives_a_restart(holdings: Holdings, tmp_path: Path) -> None:
    await holdings.add(facts("A"))
    await holdings.close()
    again = Holdings()
    await again.open(tmp_path / "holdings.db")
    try:
        assert await ids(again) == ["A"]
        assert not again.synced
    finally:
        await again.close()


async def test_others_on_the_machine_cannot_read_the_file(holdings: Holdings, tmp_path: Path) -> None:
    await holdings.add(facts("A"))
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes["holdings.db"] == 0o600
    assert set(modes.values()) == {0o600}


# --- hostile queries ---


@pytest.mark.parametrize(
    "q",
    [
        "NEAR(json bson)",
        'NEAR("json" "bson", 5)',
        "json AND bson",
        "json OR nothing",
        "json NOT bson",
        "NOT json",
        "^json",
        "json*",
        "* * *",
        "id : json",
        "{id title}:json",
        "-id:json",
        '"json""bson"',
        '""""',
        '"',
        "'; DROP TABLE packages; --",
        "json') OR 1=1 --",
        "json + bson",
        "(((((",
        ")))))",
        "\\",
        "%_%",
        "\u202ejson\u0000\ufeff",
        "\U0001f600",
        "e\u0301",
        "\u0301",
        "\u0130 \u017f \u212a",
        "a" * 4096,
        '"' * 4096,
        "a " * 2048,
        "x:" * 2048,
        "tags:" + "," * 4000 + "json",
        " ".join(f"id:{number}" for number in range(500)),
        "AND " * 1000,
        "(" * 4096,
        "A1b2C3" * 700,
    ],
)
async def test_no_query_is_more_than_words(shelf: Holdings, q: str) -> None:
    for parameters in ({}, ALL, {"packageType": q[:100]}):
        total, hits = await shelf.search(query(q, **parameters))
        assert total >= len(hits)
        total, found = await shelf.autocomplete(query(q, **parameters))
        assert total >= len(found)
    await shelf.autocomplete(SearchQuery.parse(urlencode({"id": q})))
    await shelf.facts(q)
    assert len(await ids(shelf, **ALL)) == 13, "nothing is lost"
    assert shelf.synced


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        ("json AND bson", None),
        ("json OR nothing", None),
        ("json NOT bson", None),
        ("json*", "Json"),
        ("^json", "Json"),
        ("???", None),
        ("'; DROP TABLE packages; --", None),
    ],
)
async def test_operators_are_words_or_nothing(shelf: Holdings, q: str, expected: str | None) -> None:
    _, hits = await shelf.search(query(q))
    assert next((hit.newest.id for hit in hits), None) == expected


@given(st.text(max_size=60))
def test_any_text_can_be_searched_for(q: str) -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    make_tables(connection)
    change(connection, add=SHELF[:3])
    asked = query(q.encode(errors="replace").decode())
    total, hits = search(connection, asked)
    assert total == len(hits) <= 3
    total, ids = autocomplete(connection, asked)
    assert total == len(ids) <= 3
    connection.close()


# --- what a change costs, what it leaves ---

_one = st.builds(
    lambda id, version, listed: facts(id, version, listed=listed, description=f"{id} {version}"),
    st.sampled_from(["One", "Other"]),
    st.sampled_from(["1.0.0", "2.0.0-beta", "2.0.0-beta.1", "2.0.0", "3.0.0-rc.1", "3.0.0"]),
    st.booleans(),
)


@given(st.lists(st.tuples(st.lists(_one, max_size=4), st.lists(_one, max_size=3))))
def test_after_every_change_the_newest_that_can_be_seen_stands_for_its_id(
    changes: list[tuple[list[PackageFacts], list[PackageFacts]]],
) -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    make_tables(connection)
    held: dict[PackageIdentity, PackageFacts] = {}
    for add, remove in changes:
        change(connection, add=add, remove=[one.identity for one in remove])
        for gone in remove:
            held.pop(gone.identity, None)
        held |= {one.identity: one for one in add}
        shown = {}
        for seen in FILTERS:
            visible = [one for one in held.values() if one.listed and _is_seen(one, seen)]
            newest = sorted(visible, key=lambda one: one.parsed)
            shown |= {(one.identity.id, seen): one.identity.version for one in newest}
        marks = connection.execute("SELECT id, version, newest FROM packages").fetchall()
        found = {(id, seen): version for id, version, mark in marks for seen in FILTERS if mark & 1 << seen}
        assert found == shown
        worded = "SELECT packages.id, version FROM packages JOIN words ON words.rowid = number"
        assert set(connection.execute(worded)) == {(id, version) for (id, _), version in shown.items()}
        kept = {one.identity: one for id in ("one", "other") for one in facts_of(connection, id)}
        assert kept == held
        (types,) = connection.execute("SELECT count(*) FROM types").fetchone()
        assert (len(marks), types) == (len(held), len(held))
    connection.close()


def _is_seen(held: PackageFacts, seen: int) -> bool:
    return (not held.parsed.is_prerelease or bool(seen & 1)) and (not held.is_semver2 or bool(seen & 2))


def test_a_batch_of_packages_costs_no_more_statements_than_one() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    make_tables(connection)
    change(connection, add=[facts("Busy", f"1.0.{n}") for n in range(200)])
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    change(connection, add=[facts(f"Cold.P{n}", "1.0.0") for n in range(40)] + [facts("Busy", "2.0.0")])
    connection.set_trace_callback(None)
    ours = [one for one in statements if not one.startswith("--")]  # those of the search index within are its own
    assert len(ours) < 20, ours
    connection.close()


# --- the order of versions in the file ---

_numbers = st.integers(0, 2**31 - 1) | st.integers(0, 3)
_label = st.from_regex(r"[0-9A-Za-z-]{1,4}", fullmatch=True) | st.sampled_from(
    ["0", "1", "-1", "-0", "2147483647", "2147483648", "-2147483648", "-2147483649", "a", "A", "beta", "beta10"]
)
_version = st.builds(
    lambda numbers, labels: Version.parse(".".join(map(str, numbers)) + ("-" + ".".join(labels) if labels else "")),
    st.tuples(_numbers, _numbers, _numbers, _numbers),
    st.lists(_label, max_size=3),
).filter(lambda version: version is not None)


@given(_version, _version)
def test_sort_keys_order_as_versions_do(one: Version, other: Version) -> None:
    assert (sort_key(one) < sort_key(other)) == (one < other)
    assert (sort_key(one) == sort_key(other)) == (one == other)


def test_the_fixture_shelf_is_sound() -> None:
    assert len({held.identity for held in SHELF}) == len(SHELF)
    assert all(PackageFacts.from_json(held.to_json()) == held for held in SHELF)
