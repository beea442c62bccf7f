"""What a change to the code would add for a new NuGet resource, for as long as a test runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nugetproxy.nuget import resources
from nugetproxy.nuget.documents.check import CHECKS, Check
from nugetproxy.nuget.documents.render import FIELDS
from nugetproxy.nuget.documents.rewrite import Fields
from nugetproxy.nuget.kinds import Kind, Row
from nugetproxy.nuget.resources import Resource
from nugetproxy.nuget.routes import _patterns, parse_route


def new_kind(word: str, row: Row) -> Kind:
    """A member as the line ``WORD = "word", row`` makes it; no member yet (see ``added``)."""
    kind = str.__new__(Kind, word)
    kind._name_, kind._value_, kind.row = word.upper(), word, row
    return kind


@contextmanager
def added(kind: Kind, resource: Resource, check: Check, fields: Fields) -> Iterator[None]:
    """The kind's line, its resource, its check, its rewriting."""
    Kind._member_names_.append(kind.name)
    Kind._member_map_[kind.name] = kind
    Kind._value2member_map_[kind.value] = kind
    CHECKS[kind], FIELDS[kind] = check, fields
    resources.add(resource)
    try:
        yield
    finally:
        Kind._member_names_.remove(kind.name)
        del Kind._member_map_[kind.name], Kind._value2member_map_[kind.value], CHECKS[kind], FIELDS[kind]
        resources.RESOURCES.remove(resource)
        del resources.BY_NAME[resource.name]
        for name in resource.types:
            del resources.BY_TYPE[name]
        for names in resources.BY_WORD.values():
            names[:] = [name for name in names if name != resource.name]
        parse_route.cache_clear()
        _patterns.cache_clear()
