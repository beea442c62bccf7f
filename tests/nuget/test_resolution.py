"""Resolution: lowest applicable, nearest wins, cousins get the highest, as NuGet's resolver does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest

from nugetproxy.nuget.frameworks import Framework
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.nuspec import Dependency, DependencyGroup
from nugetproxy.nuget.projects.needs import Graph
from nugetproxy.nuget.resolution import Known, Walk, dependencies, walk, walk_all
from nugetproxy.nuget.version import Version


def needs(text: str) -> tuple[Dependency, ...]:
    """``A 1.0, B [2.0]``"""
    words = [part.strip().split(" ", 1) for part in text.split(";") if part.strip()]
    return tuple(Dependency(id_, range_[0] if range_ else "") for id_, *range_ in words)


def feed(packages: Mapping[str, str]) -> Known:
    """What there is to know of packages: ``{"A 1.0.0": "B 1.0"}``."""
    known = Known()
    for name, below in packages.items():
        identity = PackageIdentity.parse(*name.split())
        assert identity is not None
        version = Version.parse(identity.version)
        assert version is not None
        known.lists[identity.id] = (*(known.lists.get(identity.id) or ()), version)
        known.groups[identity] = (DependencyGroup(None, needs(below)),)
    return known


def resolve(graph: Graph, all_known: Known) -> Walk:
    """Ask for what is wanted until the walk is complete."""
    known = Known()
    for _ in range(50):
        found = walk(graph, known)
        if found.complete:
            return found
        known.lists.update({id_: all_known.lists.get(id_, ()) for id_ in found.lists})
        known.groups.update({one: all_known.groups[one] for one in found.packages})
    raise AssertionError("the walk does not come to an end")


def chosen(found: Walk) -> list[str]:
    return sorted(str(found.awaited.get(key)) for key in found.chosen.values())


def graph_of(text: str, framework: str = "net8.0", **more: Mapping[str, str]) -> Graph:
    return Graph(references=needs(text), framework=Framework.parse(framework), **more)


CASES = [
    ("the lowest that fits", "A 1.1", {"A 1.0.0": "", "A 1.2.0": "", "A 2.0.0": ""}, ["a 1.2.0"]),
    ("what it needs, too", "A 1.0", {"A 1.0.0": "B 1.0", "B 1.0.0": "C 2.0", "C 2.0.0": ""}, None),
    (
        "a direct reference wins over what is farther",
        "A 1.0;B 1.0",
        {"A 1.0.0": "B 2.0", "B 1.0.0": "", "B 2.0.0": ""},
        ["a 1.0.0", "b 1.0.0"],
    ),
    (
        "of cousins the highest",
        "A 1.0;B 1.0",
        {"A 1.0.0": "C 1.0", "B 1.0.0": "C 2.0", "C 1.0.0": "Old 1.0", "C 2.0.0": "", "Old 1.0.0": ""},
        ["a 1.0.0", "b 1.0.0", "c 2.0.0"],
    ),
    (
        "what came in by a loser goes with it",
        "A 1.0;B 1.0",
        {
            "A 1.0.0": "C 1.0",
            "C 1.0.0": "D 1.0",
            "D 1.0.0": "E 1.0",
            "E 1.0.0": "",
            "B 1.0.0": "F 1.0",
            "F 1.0.0": "G 1.0",
            "G 1.0.0": "C 2.0",
            "C 2.0.0": "",
        },
        ["a 1.0.0", "b 1.0.0", "c 2.0.0", "f 1.0.0", "g 1.0.0"],
    ),
    ("floating", "A 1.*", {"A 1.0.0": "", "A 1.5.0": "", "A 2.0.0": ""}, ["a 1.5.0"]),
    ("a circle ends", "A 1.0", {"A 1.0.0": "B 1.0", "B 1.0.0": "A 1.0"}, ["a 1.0.0", "b 1.0.0"]),
]


@pytest.mark.parametrize(("why", "text", "packages", "wanted"), CASES, ids=[one[0] for one in CASES])
def test_a_restore_takes(why: str, text: str, packages: Mapping[str, str], wanted: list[str] | None) -> None:
    found = resolve(graph_of(text), feed(packages))
    assert chosen(found) == (wanted or sorted(f"{name.lower()}" for name in packages))


def test_what_loses_later_is_fetched_all_the_same() -> None:
    """Its dependencies are read before it is known that it loses."""
    packages = {"A 1.0.0": "C 1.0", "B 1.0.0": "C 2.0", "C 1.0.0": "", "C 2.0.0": ""}
    found = resolve(graph_of("A 1.0;B 1.0"), feed(packages))
    assert {str(one) for one in found.awaited.values()} == {"a 1.0.0", "b 1.0.0", "c 1.0.0", "c 2.0.0"}


def test_pins_hold_for_what_comes_in_through_others() -> None:
    packages = {"A 1.0.0": "B 1.0", "B 1.0.0": "", "B 3.0.0": ""}
    found = resolve(graph_of("A 1.0", pins={"b": "3.0"}), feed(packages))
    assert chosen(found) == ["a 1.0.0", "b 3.0.0"]


def test_what_comes_with_the_framework_is_asked_for_by_projects_only() -> None:
    packages = {"A 1.0.0": "Sys 4.3;Newer 6.0;Own 1.0", "Newer 6.0.0": "", "Own 1.0.0": "", "Sys 4.3.0": ""}
    pruned = {"sys": Version(4, 3), "newer": Version(5), "own": Version(9)}
    graph = Graph(references=needs("A 1.0;Own 1.0"), framework=Framework.parse("net10.0"), pruned=pruned)
    assert chosen(resolve(graph, feed(packages))) == ["a 1.0.0", "newer 6.0.0", "own 1.0.0"]
    assert "sys" not in {key.id for key in walk_all(graph, feed(packages)).awaited}


@pytest.mark.parametrize(
    ("range_", "pruned"),
    [
        ("", True),
        ("4.5.0", True),
        ("(4.5.0,)", True),
        ("[4.5.0,9.0.0)", True),
        ("4.7.0-a", True),
        ("9.0.0", False),
        ("[4.5.0]", False),
        ("[4.5.0,4.5.5]", False),
        ("(,5.0.0]", False),
        ("(,4.5.5]", False),
    ],
)
def test_a_range_that_does_not_hold_what_comes_with_the_framework_is_asked_for(range_: str, *, pruned: bool) -> None:
    """As dotnet restore of SDK 10 does it for System.Memory."""
    packages = {"A 1.0.0": f"Sys {range_}", "Sys 4.5.0": "", "Sys 9.0.0": ""}
    graph = Graph(references=needs("A 1.0"), framework=Framework.parse("net10.0"), pruned={"sys": Version(5)})
    assert (len(chosen(resolve(graph, feed(packages)))) == 1) is pruned


def test_older_clients_read_what_loses_with_all_below_it() -> None:
    packages = {"A 1.0.0": "C 1.0", "B 1.0.0": "C 2.0", "C 1.0.0": "Old 1.0", "C 2.0.0": "", "Old 1.0.0": ""}
    graph = graph_of("A 1.0;B 1.0")
    assert "old" not in {key.id for key in resolve(graph, feed(packages)).chosen.values()}
    assert "old" in {key.id for key in walk_all(graph, feed(packages)).awaited}


def test_other_projects_are_walked_through_but_never_asked_for() -> None:
    graph = Graph(
        references=(Dependency("_project_lib", "1.0.0"),),
        framework=Framework.parse("net8.0"),
        projects={"_project_lib": needs("A 1.0")},
    )
    found = resolve(graph, feed({"A 1.0.0": ""}))
    assert chosen(found) == ["a 1.0.0"]
    assert {key.id for key in found.begun} == {"a"}


def test_what_fits_nothing_is_awaited_without_a_version() -> None:
    found = resolve(graph_of("A 2.0;B 1.0"), feed({"A 1.0.0": ""}))
    assert [(key.id, version) for key, version in found.awaited.items()] == [("a", None), ("b", None)]


@pytest.mark.parametrize(
    ("framework", "wanted"),
    [
        ("net8.0", ["for-net6"]),
        ("net472", ["for-net45"]),
        ("netstandard2.0", []),
        (None, ["for-net45", "for-net6"]),
    ],
)
def test_dependencies_are_those_of_the_nearest_group(framework: str | None, wanted: Iterable[str]) -> None:
    groups = [
        DependencyGroup(".NETFramework4.5", needs("for-net45 1.0")),
        DependencyGroup("net6.0", needs("for-net6 1.0")),
        DependencyGroup(".NETStandard2.0", ()),
    ]
    target = Framework.parse(framework) if framework else None
    assert [one.id for one in dependencies(groups, target)] == list(wanted)
