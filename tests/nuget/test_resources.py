"""The resource registry."""

from __future__ import annotations

import pytest

from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.resources import BY_NAME, BY_TYPE, DROPPED_TYPES, RESOURCES, Resource, Shape
from nugetproxy.nuget.routes import WORDS, parse_route

EXAMPLES = {
    "{id}": "foo.bar",
    "{version}": "1.0.0",
    "{leaf}": "1.0.0.json",
    "{nupkg}": "foo.bar.1.0.0.nupkg",
    "{nuspec}": "foo.bar.nuspec",
    "{page}": "page/1.0.0/2.0.0.json",
    "{path}": "2020.01.01.00.00.00/foo.bar.1.0.0.json",
}


def test_every_word_of_the_patterns_is_understood() -> None:
    assert EXAMPLES.keys() == WORDS.keys()
    used = {word for row in RESOURCES for pattern in row.routes for word in pattern.split("/") if "{" in word}
    assert used == WORDS.keys()


@pytest.mark.parametrize(
    ("row", "pattern", "kind"),
    [(row, pattern, kind) for row in RESOURCES for pattern, kind in row.routes.items()],
    ids=lambda value: value.name if isinstance(value, Resource) else str(value),
)
def test_every_pattern_is_reached(row: Resource, pattern: str, kind: Kind) -> None:
    path = "/".join(EXAMPLES.get(word, word) for word in pattern.split("/"))
    route = parse_route(path)
    assert route is not None
    assert (route.kind, route.resource, route.write) == (kind, row.name, False)
    assert row.root + route.rest == path or row.shape is Shape.ENDPOINT


def test_every_kind_has_a_route() -> None:
    beside_feeds = {Kind.SYMBOL, Kind.TOOLS, Kind.TOOL, Kind.TOOL_LATEST}
    assert {kind for row in RESOURCES for kind in row.routes.values()} == set(Kind) - beside_feeds


def test_a_type_belongs_to_one_row() -> None:
    types = [name for row in RESOURCES for name in row.types]
    assert len(types) == len(set(types)) == len(BY_TYPE)
    assert not DROPPED_TYPES & set(types)
    assert len(BY_NAME) == len(RESOURCES)


@pytest.mark.parametrize("row", [row for row in RESOURCES if row.path], ids=lambda row: row.name)
def test_published_paths_have_the_slash_that_clients_expect(row: Resource) -> None:
    assert row.path.endswith("/") == (row.shape is Shape.BASE)
    assert "?" not in row.path


@pytest.mark.parametrize("row", [row for row in RESOURCES if row.shape is Shape.WRITE], ids=lambda row: row.name)
def test_writes_are_routed_with_or_without_the_slash(row: Resource) -> None:
    for path in (row.path, f"{row.path}/"):
        route = parse_route(path)
        assert route is not None
        assert (route.kind, route.resource, route.rest, route.write) == (None, row.name, "", True)


def test_only_signatures_need_a_secure_client() -> None:
    assert {row.name.partition("/")[0] for row in RESOURCES if row.secure_only} == {"signatures"}
