"""Section is what all tables of the configuration are: frozen dataclasses whose fields are the keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, Self


class Section:
    """A table. ``tables.read`` makes one of what is written; made directly, its values must be right already."""

    __slots__ = ()

    @classmethod
    def cleaned(cls, table: Mapping[str, Any]) -> Mapping[str, Any]:
        """What is written, before any of it is looked at."""
        return table

    @classmethod
    def made(cls, values: Mapping[str, Any]) -> Self:
        """A section with these values; the others are the defaults."""
        return cls(**values)

    def but(self, **values: Any) -> Self:
        """The same with other values."""
        return replace(self, **values)  # type: ignore[type-var]


def keys_of(section: type[Section]) -> tuple[str, ...]:
    """The keys of a table; a field that two equal sections need not have in common is none."""
    return tuple(field.name for field in fields(section) if field.compare)  # type: ignore[arg-type]
