"""A bill of materials is what the schema of CycloneDX says, whatever a package says of itself."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest

from nugetproxy.nuget.inventory import Component, bill

PLAIN = Component(id="Acme.A", version="1.0.0")


def made(*components: Component, subject: str = "farm") -> dict[str, Any]:
    serial = "3e671687-395b-41f5-a30f-a58921a69b79"
    return bill(components, subject=subject, serial=serial, now=1_785_000_000.5, version="0.1.0")


@cache
def schema() -> Any:
    """The official one. To load it takes seconds, which every worker of a test run would pay at the top."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    return JsonStrictValidator(SchemaVersion.V1_6)


def wrong_with(document: dict[str, Any]) -> str:
    """What the official schema minds; empty where nothing is wrong."""
    found = schema().validate_str(json.dumps(document))
    return "" if found is None else str(found.data)


@pytest.mark.parametrize(
    "component",
    [
        PLAIN,
        Component(id="acme.a", version="1.0.0-rc.1", sha512="ab" * 64),
        Component(id="Acme.A", version="1.0.0", license="MIT", authors="Ann, Bob", description="Does it."),
        Component(
            id="Acme.A", version="1.0.0", license="(MIT OR Apache-2.0) AND GPL-2.0-only WITH Bison-exception-2.2"
        ),
        Component(
            id="Acme.A", version="1.0.0", license="whatever this is", authors=" ", description="\n\t\u2028é𝄞\u0000"
        ),
        Component(id="Äcme_ü.B-c", version="1.2.3.4", description="x" * 5000),
    ],
)
def test_the_official_schema_takes_it(component: Component) -> None:
    assert wrong_with(made(component)) == ""


def test_the_official_schema_takes_one_of_many_of_none_for_anybody() -> None:
    assert wrong_with(made()) == ""
    many = [Component(id=f"Acme.P{number}", version="1.0.0") for number in range(200)]
    assert wrong_with(made(*many, subject="2001:db8::1")) == ""


def test_the_schema_is_there_to_mind() -> None:
    for at, value in (("purl", 7), ("type", "package"), ("hashes", [{"alg": "SHA-512", "content": "AB=="}])):
        broken = made(PLAIN)
        broken["components"][0][at] = value
        assert wrong_with(broken)
