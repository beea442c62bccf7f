"""One feed's documents made of those of several sources (protocol.md section 8)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nugetproxy.nuget.documents.render import InvalidDocument, ServiceMap, View, check, render
from nugetproxy.nuget.identity import Version
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.merging.registration import (
    MergedRegistration,
    SourceRegistration,
    hive_of,
    leaf_for_hive,
    merge_registration,
)
from nugetproxy.nuget.merging.search import Window, merge_id_versions, merge_ids, merge_search, window_of
from nugetproxy.nuget.merging.service_index import merged_resources, render_merged_index
from nugetproxy.nuget.merging.versions import SourceDocument, merge_versions
from nugetproxy.nuget.merging.vulnerabilities import (
    AdvisoryGroup,
    advisory_groups,
    merge_advisory_pages,
    merged_advisory_index,
    merged_page_path,
)
from nugetproxy.nuget.resources import GZ_SEMVER1, GZ_SEMVER2, SEMVER1
from nugetproxy.nuget.routes import parse_route
from tests.nuget.indexes import FEEDS, GITLAB, GITLAB_URL, NUGET, NUGET_URL, index_of, nuget_org, services_of

BASE = "https://proxy.example.com/farm/v3/"
HIVE = f"{BASE}{GZ_SEMVER2}/"


def said(source: str, document: Any) -> SourceDocument:
    return SourceDocument(source, json.dumps(document).encode())


def listed(source: str, *versions: str) -> SourceDocument:
    return said(source, {"versions": list(versions)})


# --- version lists ---


def test_lists_are_united_and_each_version_has_an_owner() -> None:
    merged = merge_versions([listed("company", "2.0.0", "1.0"), listed("public", "1.0.0", "1.5.0-RC", "3.0.0")], {})
    assert merged is not None
    assert json.loads(merged.body) == {"versions": ["1.0.0", "1.5.0-rc", "2.0.0", "3.0.0"]}
    assert merged.owners == {"1.0.0": "company", "1.5.0-rc": "public", "2.0.0": "company", "3.0.0": "public"}


def test_an_owner_that_is_recorded_stays() -> None:
    lists = [listed("company", "1.0.0"), listed("public", "1.0.0")]
    merged = merge_versions(lists, {"1.0.0": "public"})
    assert merged is not None
    assert merged.owners == {"1.0.0": "public"}


@pytest.mark.parametrize("owner", ["public", "left the feed"])
def test_what_the_owner_does_not_list_nobody_else_may_stand_for(owner: str) -> None:
    merged = merge_versions([listed("company", "1.0.0", "2.0.0"), listed("public", "3.0.0")], {"1.0.0": owner})
    assert merged is not None
    assert json.loads(merged.body) == {"versions": ["2.0.0", "3.0.0"]}


def test_a_list_that_no_source_has_is_none() -> None:
    assert merge_versions([], {}) is None


def test_a_source_that_says_garbage_spoils_the_list() -> None:
    with pytest.raises(InvalidDocument):
        merge_versions([listed("a", "1.0.0"), SourceDocument("b", b"<html>")], {})


numbers = st.lists(st.integers(0, 9).map(lambda n: f"{n}.0.0"), max_size=6)


@given(st.lists(numbers, min_size=1, max_size=4), st.dictionaries(st.integers(0, 9), st.integers(0, 4)))
def test_a_merged_list_holds(lists: list[list[str]], recorded: dict[int, int]) -> None:
    owners = {f"{number}.0.0": str(source) for number, source in recorded.items()}
    merged = merge_versions([listed(str(at), *versions) for at, versions in enumerate(lists)], owners)
    assert merged is not None
    found = json.loads(merged.body)["versions"]
    assert found == sorted(set(found), key=lambda text: int(text[0]))
    assert list(merged.owners) == found
    for version in {version for versions in lists for version in versions}:
        first = next(str(at) for at, versions in enumerate(lists) if version in versions)
        owner = owners.get(version, first)
        assert merged.owners.get(version) == (owner if version in dict(enumerate(lists)).get(int(owner), []) else None)


# --- registration ---


def leaf(version: str, *, hive: str = GZ_SEMVER2, **entry: Any) -> dict[str, Any]:
    """As rendered for the merged feed, of a source that was asked for ``hive``."""
    url = Version.parse(version).url  # type: ignore[union-attr]
    return {
        "@id": f"{BASE}{hive}/foo/{url}.json",
        "commitTimeStamp": "2024-01-01T00:00:00Z",
        "packageContent": f"{BASE}content/foo/{url}/foo.{url}.nupkg",
        "registration": f"{BASE}{hive}/foo/index.json",
        "catalogEntry": {"id": "Foo", "version": version, **entry},
    }


def registered(source: str, *leaves: dict[str, Any], filtered: bool = False) -> SourceRegistration:
    document = {"items": [{"@id": f"{BASE}{source}", "items": list(leaves)}]}
    return SourceRegistration(source, [json.dumps(document).encode()], filtered)


def merge(*sources: SourceRegistration, owners: dict[str, str] | None = None, hive: str = GZ_SEMVER2) -> Any:
    return merge_registration("Foo", sources, owners or {}, base=BASE, hive=hive)


def document(merged: MergedRegistration) -> dict[str, Any]:
    body = merged.index()
    check(Kind.REGISTRATION, body, id="foo")
    found: dict[str, Any] = json.loads(body)
    return found


def test_leaves_come_from_their_owners() -> None:
    merged = merge(
        registered("company", leaf("1.0.0", title="ours"), leaf("3.0.0", title="ours")),
        registered("public", leaf("1.0.0", title="theirs"), leaf("2.0.0", title="theirs"), leaf("3.0.0", title="x")),
        owners={"3.0.0": "public"},
    )
    (page,) = document(merged)["items"]
    titles = [(one["catalogEntry"]["version"], one["catalogEntry"]["title"]) for one in page["items"]]
    assert titles == [("1.0.0", "ours"), ("2.0.0", "theirs"), ("3.0.0", "x")]
    assert (page["lower"], page["upper"], page["count"]) == ("1.0.0", "3.0.0", 3)
    assert page["@id"] == f"{HIVE}foo/index.json#page/1.0.0/3.0.0"
    assert page["parent"] == f"{HIVE}foo/index.json"


def test_a_source_without_the_owner_s_version_does_not_stand_in_for_it() -> None:
    merged = merge(registered("public", leaf("1.0.0"), leaf("2.0.0")), owners={"1.0.0": "company"})
    assert [version.url for version, _ in merged.leaves] == ["2.0.0"]
    assert merge(registered("public", leaf("1.0.0")), owners={"1.0.0": "company"}) is None


def test_all_links_lead_into_the_merged_hive() -> None:
    need = {"id": "Bar", "range": "[1.0.0, )", "registration": f"{BASE}{SEMVER1}/bar/index.json"}
    bare = leaf("1.0.0-PRE", hive=SEMVER1, dependencyGroups=[{"dependencies": [need]}, {"targetFramework": "net8.0"}])
    content = f"{BASE}content/Foo/1.0.0-PRE/Foo.1.0.0-PRE.nupkg"
    merged = merge(registered("gitlab", {**bare, "packageContent": content}))
    (one,) = document(merged)["items"][0]["items"]
    assert one["@id"] == f"{HIVE}foo/1.0.0-pre.json"
    assert one["registration"] == f"{HIVE}foo/index.json"
    assert one["packageContent"] == content
    assert one["catalogEntry"]["dependencyGroups"][0]["dependencies"][0]["registration"] == f"{HIVE}bar/index.json"
    assert SEMVER1 not in json.dumps(one)


def test_a_leaf_that_is_its_own_catalog_entry_gets_one() -> None:
    bare = {"@id": f"{HIVE}foo/1.0.0.json", "id": "Foo", "version": "1.0.0", "listed": False}
    (one,) = document(merge(registered("a", bare)))["items"][0]["items"]
    assert (one["catalogEntry"]["version"], one["catalogEntry"]["listed"]) == ("1.0.0", False)


def test_the_semver1_hives_of_a_source_that_has_only_the_other_are_filtered() -> None:
    bound = [{"dependencies": [{"id": "Bar", "range": "[1.0.0-a.1, )"}]}]
    leaves = [leaf("1.0.0"), leaf("1.1.0-rc.1"), leaf("1.2.0+sha"), leaf("1.3.0", dependencyGroups=bound)]
    merged = merge(registered("azure", *leaves, filtered=True), hive=GZ_SEMVER1)
    assert [version.url for version, _ in merged.leaves] == ["1.0.0"]
    assert len(merge(registered("azure", *leaves)).leaves) == 4


@pytest.mark.parametrize(
    ("hives", "wanted", "expected"),
    [
        ((GZ_SEMVER2, GZ_SEMVER1, SEMVER1), GZ_SEMVER1, (GZ_SEMVER1, False)),
        ((GZ_SEMVER2, SEMVER1), GZ_SEMVER1, (SEMVER1, False)),
        ((GZ_SEMVER2,), SEMVER1, (GZ_SEMVER2, True)),
        ((GZ_SEMVER2,), GZ_SEMVER2, (GZ_SEMVER2, False)),
        ((SEMVER1,), GZ_SEMVER2, (SEMVER1, False)),
        ((), GZ_SEMVER2, None),
    ],
)
def test_which_hive_of_a_source_is_asked(hives: Sequence[str], wanted: str, expected: Any) -> None:
    types = {GZ_SEMVER2: "/3.6.0", GZ_SEMVER1: "/3.4.0", SEMVER1: ""}
    rows = [(f"RegistrationsBaseUrl{types[hive]}", f"https://feed.example/{hive}/") for hive in hives]
    assert hive_of(services_of(index_of(*rows), "https://feed.example/index.json").resources, wanted) == expected


@pytest.mark.parametrize(("count", "pages", "inlined"), [(1, 1, True), (64, 1, True), (65, 2, True), (127, 2, True)])
def test_few_leaves_are_inlined(count: int, pages: int, inlined: bool) -> None:
    found = document(merge(registered("a", *(leaf(f"1.{number}.0") for number in range(count)))))
    assert found["count"] == len(found["items"]) == pages
    assert sum(page["count"] for page in found["items"]) == count
    assert all(("items" in page) is inlined for page in found["items"])


@given(st.integers(128, 330), st.integers(0, 40))
def test_index_and_pages_are_consistent(count: int, split: int) -> None:
    leaves = [leaf(f"1.{number}.0") for number in range(count)]
    merged = merge(registered("a", *leaves[split:]), registered("b", *leaves))
    index, seen = document(merged), []
    assert index["count"] == len(index["items"]) == -(-count // 64)
    for named in index["items"]:
        route = parse_route(named["@id"].removeprefix(BASE))
        assert "items" not in named
        assert route is not None
        assert route.kind is Kind.REGISTRATION_PAGE
        body = merged.page(*route.rest.removesuffix(".json").split("/")[2:])
        check(Kind.REGISTRATION_PAGE, body, id="foo")
        page = json.loads(body)
        assert {name: page[name] for name in named} == named
        assert len(page["items"]) == page["count"] <= 64
        assert page["parent"] == index["@id"]
        seen += [one["catalogEntry"]["version"] for one in page["items"]]
    assert seen == [f"1.{number}.0" for number in range(count)]


def test_bounds_of_another_index_still_lead_to_leaves() -> None:
    merged = merge(registered("a", *(leaf(f"1.{number}.0") for number in range(5))))
    assert json.loads(merged.page("1.1", "1.3.0"))["count"] == 3
    assert merged.page("2.0.0", "3.0.0") is None
    assert merged.page("x", "3.0.0") is None


def test_a_commit_changes_with_the_leaves_only() -> None:
    later = {**leaf("2.0.0"), "commitTimeStamp": "2024-03-01T00:00:00.1234567+01:00"}
    one, two = merge(registered("a", leaf("1.0.0"), later)), merge(registered("b", leaf("1.0.0"), later))
    assert document(one)["commitTimeStamp"] == later["commitTimeStamp"]
    assert document(one)["commitId"] == document(two)["commitId"]
    other = merge(registered("a", leaf("1.0.0", listed=False), later))
    assert document(one)["commitId"] != document(other)["commitId"]
    bare = {**leaf("1.0.0"), "commitTimeStamp": "yesterday"}
    assert document(merge(registered("a", bare, leaf("0.9.0"))))["commitTimeStamp"] == "2024-01-01T00:00:00Z"


def test_a_leaf_document_of_the_owner_is_placed_in_the_merged_hive() -> None:
    need = {"id": "Bar", "registration": f"{BASE}{SEMVER1}/bar/index.json"}
    body = json.dumps({**leaf("1.0.0", hive=SEMVER1), "dependencyGroups": [{"dependencies": [need]}]}).encode()
    found = json.loads(leaf_for_hive(body, "1.0.0", id_="FOO", owner="a", base=BASE, hive=GZ_SEMVER2))
    check(Kind.REGISTRATION_LEAF, json.dumps(found).encode(), id="foo")
    assert found["@id"] == f"{HIVE}foo/1.0.0.json"
    assert found["dependencyGroups"][0]["dependencies"][0]["registration"] == f"{HIVE}bar/index.json"


def test_what_a_source_said_is_rendered_and_merged_under_one_base() -> None:
    """The shapes fit: a source's document, a view of its services under the merged feed's base, the merger."""
    services = services_of(GITLAB, GITLAB_URL)
    at = next(offer.url for offer in services.offers if SEMVER1 in offer.resources)
    upstream = {
        "items": [
            {
                "@id": f"{at}/foo/index.json#page/1.0.0/1.0.0",
                "items": [
                    {
                        "@id": f"{at}/foo/1.0.0.json",
                        "packageContent": f"{GITLAB_URL.rpartition('/')[0]}/download/Foo/1.0.0/Foo.1.0.0.nupkg",
                        "catalogEntry": {"@id": f"{at}/foo/1.0.0.json", "id": "Foo", "version": "1.0.0"},
                    }
                ],
            }
        ]
    }
    hive = hive_of(services.resources, GZ_SEMVER2)
    assert hive == (SEMVER1, False)
    view = View(services, BASE, f"{at}/foo/index.json", SEMVER1)
    body = render(Kind.REGISTRATION, json.dumps(upstream).encode(), view).body
    merged = merge(SourceRegistration("gitlab", [body]))
    (one,) = document(merged)["items"][0]["items"]
    assert one["@id"] == f"{HIVE}foo/1.0.0.json"
    assert one["packageContent"] == f"{BASE}content/Foo/1.0.0/Foo.1.0.0.nupkg"


# --- search ---


def hit(id_: str, *versions: str, **more: Any) -> dict[str, Any]:
    items = [{"version": version, "downloads": 1, "@id": f"{BASE}{SEMVER1}/x.json"} for version in versions]
    return {"id": id_, "version": versions[-1] if versions else "1.0.0", "versions": items, **more}


def result(source: str, *hits: dict[str, Any], total: int | None = None) -> SourceDocument:
    return said(source, {"totalHits": len(hits) if total is None else total, "data": list(hits)})


def search(
    *answers: SourceDocument, skip: int = 0, take: int = 20, claimed: frozenset[tuple[str, str]] = frozenset()
) -> dict[str, Any]:
    window = Window("", skip, take)
    body = merge_search(answers, window, base=BASE, hive=GZ_SEMVER2, suppressed=lambda *who: who in claimed)
    check(Kind.SEARCH, body)
    found: dict[str, Any] = json.loads(body)
    return found


def test_hits_are_interleaved_by_rank_in_the_feed_s_order() -> None:
    found = search(result("a", hit("A1"), hit("A2"), hit("A3"), total=100), result("b", hit("B1"), total=7), take=3)
    assert [one["id"] for one in found["data"]] == ["A1", "B1", "A2"]
    assert found["totalHits"] == 107


def test_one_id_is_one_hit_with_the_versions_of_all() -> None:
    found = search(
        result("a", hit("Foo", "1.0.0", "2.0.0", title="ours", totalDownloads=5)),
        result("b", hit("FOO", "2.0.0", "1.5.0-RC.1", title="theirs", totalDownloads=9)),
    )
    (one,) = found["data"]
    assert (found["totalHits"], one["title"], one["totalDownloads"]) == (1, "ours", 5)
    assert [item["version"] for item in one["versions"]] == ["1.0.0", "1.5.0-RC.1", "2.0.0"]
    assert one["@id"] == one["registration"] == f"{HIVE}foo/index.json"
    assert [item["@id"] for item in one["versions"]] == [
        f"{HIVE}foo/{version}.json" for version in ("1.0.0", "1.5.0-rc.1", "2.0.0")
    ]


def test_a_hit_of_several_sources_is_as_that_of_the_newest_version_says() -> None:
    old, new = hit("Foo", "1.9.0", title="old", deprecation={}), hit("FOO", "1.2.0", "1.10.0", title="new", extra=1)
    for answers in ((result("a", old), result("b", new)), (result("a", new), result("b", old))):
        (one,) = search(*answers)["data"]
        assert (one["version"], one["title"], "deprecation" in one, one["extra"]) == ("1.10.0", "new", False, 1)
        assert [item["version"] for item in one["versions"]] == ["1.2.0", "1.9.0", "1.10.0"]


def test_a_claimed_id_is_not_spoken_of_by_others() -> None:
    claimed = frozenset({("public", "contoso.x")})
    answers = (result("public", hit("Contoso.X", "9.9.9"), hit("B")), result("company", hit("contoso.x", "1.0.0")))
    found = search(*answers, claimed=claimed)
    assert [(one["id"], len(one["versions"])) for one in found["data"]] == [("contoso.x", 1), ("B", 0)]
    assert found["totalHits"] == 2


def test_a_promise_of_one_registry_is_not_repeated() -> None:
    (one,) = search(result("a", hit("A", verified=True)))["data"]
    assert "verified" not in one


@pytest.mark.parametrize(("skip", "take", "ids"), [(0, 2, "AB"), (1, 2, "BC"), (3, 5, "D"), (4, 5, ""), (0, 0, "")])
def test_the_window_is_cut_after_the_merge(skip: int, take: int, ids: str) -> None:
    found = search(result("a", hit("A"), hit("C")), result("b", hit("B"), hit("D")), skip=skip, take=take)
    assert "".join(one["id"] for one in found["data"]) == ids


def test_there_are_at_least_as_many_hits_as_are_shown() -> None:
    assert search(result("a", hit("A"), hit("B"), total=0))["totalHits"] == 2


@pytest.mark.parametrize(("stated", "hits"), [({}, 3), ({"totalHits": "7"}, 10), ({"totalHits": "many"}, 3)])
def test_hits_are_counted_as_far_as_they_are_stated(stated: dict[str, Any], hits: int) -> None:
    found = search(said("a", {**stated, "data": [hit("A")]}), result("b", hit("B"), total=3))
    assert (len(found["data"]), found["totalHits"]) == (2, hits)


def test_a_search_result_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidDocument):
        search(said("a", {"totalHits": 1}))


@pytest.mark.parametrize(
    ("query", "window"),
    [
        ("", Window("skip=0&take=20", 0, 20)),
        ("q=a%26b&skip=10&take=5&prerelease=true", Window("q=a%26b&prerelease=true&skip=0&take=15", 10, 5)),
        ("Skip=7&q=x&TAKE=0", Window("q=x&skip=0&take=7", 7, 0)),
        ("take=99999&skip=99999999999", Window("skip=0&take=1000", 999999999, 1000)),
        ("take=-1&skip=abc", Window("skip=0&take=20", 0, 20)),
    ],
)
def test_each_source_is_asked_from_the_first_hit_on(query: str, window: Window) -> None:
    assert window_of(query) == window


@given(st.lists(st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=6), max_size=3), st.integers(0, 6))
def test_pages_of_a_merged_search_follow_each_other(sources: list[list[str]], take: int) -> None:
    answers = [result(str(at), *map(hit, ids)) for at, ids in enumerate(sources)]
    whole = [one["id"] for one in search(*answers, take=50)["data"]]
    assert sorted(whole) == sorted({id_ for ids in sources for id_ in ids})
    paged = [one["id"] for skip in range(0, 24, take or 1) for one in search(*answers, skip=skip, take=take)["data"]]
    assert paged == (whole if take else [])


def test_ids_are_completed_from_all_sources() -> None:
    answers = [
        said("a", {"totalHits": 9, "data": ["Foo", "Foo.A"]}),
        said("b", {"totalHits": 3, "data": ["FOO", "Foo.B", "Contoso.X"]}),
    ]
    body = merge_ids(answers, Window("", 0, 10), suppressed=lambda source, id_: id_ == "contoso.x" and source == "b")
    check(Kind.AUTOCOMPLETE, body)
    assert json.loads(body) == {"totalHits": 10, "data": ["Foo", "Foo.A", "Foo.B"]}


def test_versions_are_completed_from_all_sources() -> None:
    owners = {"1.0.0": "a", "1.5.0-rc.1": "b", "2.0.0": "a", "3.0.0": "c"}
    answers = [said("a", {"data": ["2.0.0", "1.0.0"]}), said("b", {"data": ["1.0", "1.5.0-rc.1", "3.0.0", "4.0.0"]})]
    body = merge_id_versions(answers, owners)
    assert json.loads(body) == {"totalHits": 3, "data": ["1.0.0", "1.5.0-rc.1", "2.0.0"]}


# --- advisories ---


def advisories(source: str, *names: str) -> SourceDocument:
    pages = [
        {"@name": name, "@id": f"{BASE}x/{source}{name}", "@updated": f"2024-{at:02}"} for at, name in enumerate(names)
    ]
    return said(source, pages)


def test_advisory_indexes_are_concatenated() -> None:
    groups = advisory_groups([advisories("nuget.org", "base", "update"), advisories("company", "base")])
    body = merged_advisory_index(groups, BASE)
    check(Kind.VULNERABILITIES, body)
    index = json.loads(body)
    assert [page["@id"] for page in index] == [
        f"{BASE}x/{one}" for one in ("nuget.orgbase", "nuget.orgupdate", "companybase")
    ]
    names = [page["@name"] for page in index]
    assert names[2] == "company-base"
    assert len(set(names)) == 3
    assert names == [page["@name"] for page in json.loads(merged_advisory_index(groups, BASE))]


@pytest.mark.parametrize("source", ["nuget.org", "x" * 60, "ä", "a b"])
def test_names_of_pages_are_what_clients_take(source: str) -> None:
    groups = advisory_groups([advisories(source, "base", "update")])
    for group in groups:
        assert 1 <= len(group.name) <= 32
        assert group.name.replace("-", "").replace("_", "").isascii()
        assert group.name.replace("-", "").replace("_", "").isalnum()
    assert len({group.name for group in groups}) == 2


def many(sources: int, pages: int) -> tuple[AdvisoryGroup, ...]:
    return advisory_groups([advisories(f"s{at}", *map(str, range(pages))) for at in range(sources)])


@pytest.mark.parametrize(
    ("sources", "pages", "groups"), [(1, 16, 16), (2, 8, 16), (2, 9, 2), (16, 2, 16), (20, 1, 16), (20, 3, 16)]
)
def test_more_pages_than_clients_read_are_merged(sources: int, pages: int, groups: int) -> None:
    found = many(sources, pages)
    assert len(found) == groups
    assert sum(len(group.pages) for group in found) == sources * pages
    index = json.loads(merged_advisory_index(found, BASE))
    merged = [page for page, group in zip(index, found, strict=True) if len(group.pages) > 1]
    for page in merged:
        assert page["@id"] == BASE + merged_page_path(page["@name"])
        route = parse_route(merged_page_path(page["@name"]))
        assert route is not None
        assert route.kind is Kind.VULNERABILITY_PAGE
        assert page["@updated"] == f"2024-{pages - 1:02}"


def test_pages_are_merged_by_id() -> None:
    high, low = {"severity": 3, "url": "u", "versions": "(, 2.0.0)"}, {"severity": 1, "url": "v", "versions": "1.0.0"}
    pages: list[Any] = [{"foo": [high], "bar": [low]}, [], {"Foo": [low, high]}]
    body = merge_advisory_pages([json.dumps(page).encode() for page in pages])
    check(Kind.VULNERABILITY_PAGE, body)
    assert json.loads(body) == {"foo": [high, low], "bar": [low]}
    assert merge_advisory_pages([b"[]"]) == b"{}"
    with pytest.raises(InvalidDocument):
        merge_advisory_pages([b'"x"'])


# --- the service index ---


def index_types(*sources: ServiceMap, **more: Any) -> dict[str, str]:
    body = render_merged_index(sources, BASE, **more)
    check(Kind.INDEX, body)
    resources = json.loads(body)["resources"]
    types = [entry["@type"] for entry in resources]
    assert len(types) == len(set(types))
    return {entry["@type"]: entry["@id"] for entry in resources}


def test_the_index_unites_what_the_sources_can() -> None:
    gitlab = services_of(GITLAB, GITLAB_URL)
    found = index_types(gitlab, nuget_org())
    assert found["RegistrationsBaseUrl/3.6.0"] == HIVE
    assert found["PackageBaseAddress/3.0.0"] == f"{BASE}content/"
    assert found["VulnerabilityInfo/6.7.0"] == f"{BASE}vulnerabilities/index.json"
    assert found["ReadmeUriTemplate/6.13.0"] == f"{BASE}content/{{lower_id}}/{{lower_version}}/readme"
    assert all(url.startswith(BASE) for url in found.values())
    absent = ("RepositorySignatures", "Catalog", "PackageDetails", "PackagePublish", "SymbolPackage", "Legacy")
    assert not [kind for kind in found if kind.startswith(absent)]
    assert "RegistrationsBaseUrl/3.6.0" not in index_types(gitlab, gitlab)


def test_the_index_keeps_the_client_version_of_an_entry() -> None:
    body = render_merged_index([nuget_org(), services_of(GITLAB, GITLAB_URL)], BASE)
    versioned = [entry for entry in json.loads(body)["resources"] if entry["@type"] == "RegistrationsBaseUrl/Versioned"]
    assert [entry.get("clientVersion") for entry in versioned] == ["4.3.0-alpha"]


def test_writes_are_those_of_the_one_source_that_takes_them() -> None:
    gitlab = services_of(GITLAB, GITLAB_URL)
    found = index_types(nuget_org(), gitlab, writes=gitlab)
    assert found["PackagePublish/2.0.0"] == f"{BASE}package"
    assert ("SymbolPackagePublish/4.9.0" in found) is gitlab.has("symbolpackage")


def test_advisories_of_others_are_offered() -> None:
    gitlab, audit = services_of(GITLAB, GITLAB_URL), services_of(NUGET, NUGET_URL)
    assert "vulnerabilities" not in merged_resources([gitlab])
    assert merged_resources([gitlab], [audit]) == merged_resources([gitlab]) | {"vulnerabilities"}
    found = index_types(gitlab, advisories=[audit])
    assert found["VulnerabilityInfo/6.7.0"] == f"{BASE}vulnerabilities/index.json"
    assert "RegistrationsBaseUrl/3.6.0" not in found


def test_registrations_alone_make_a_version_list() -> None:
    rows = index_of(("RegistrationsBaseUrl/3.6.0", "https://feed.example/reg/"))
    services = services_of(rows, "https://feed.example/index.json")
    assert index_types(services, services)["PackageBaseAddress/3.0.0"] == f"{BASE}content/"


@pytest.mark.parametrize("feed", sorted(set(FEEDS) - {"nuget.org"}))
def test_every_feed_beside_nuget_org_makes_an_index_of_ours(feed: str) -> None:
    services = services_of(*FEEDS[feed])
    index = json.loads(render_merged_index([services, nuget_org()], BASE, writes=services))
    assert all(row["@id"].startswith(BASE) for row in index["resources"])
    kinds = {row["@type"] for row in index["resources"]}
    assert {"PackageBaseAddress/3.0.0", "SearchQueryService", "RegistrationsBaseUrl/3.6.0"} <= kinds
    assert ("PackagePublish/2.0.0" in kinds) is (feed != "cloudsmith")
    assert not [kind for kind in kinds if kind.startswith(("RepositorySignatures", "Catalog", "LegacyGallery"))]
    assert hive_of(services.resources, GZ_SEMVER2) is not None
