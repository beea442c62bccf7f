"""Mirror is the table of what is fetched before anybody asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from nugetproxy.config.fields import OptionalName, Texts
from nugetproxy.config.section import Section
from nugetproxy.config.tables import Checked, between
from nugetproxy.config.units import day_seconds
from nugetproxy.nuget.mapping import check_pattern


def _patterns(value: tuple[str, ...]) -> None:
    for pattern in value:
        check_pattern(pattern)


def _day(value: str) -> None:
    try:
        day_seconds(value)
    except ValueError:
        raise ValueError("must be a day such as 2025-01-31, or empty") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror(Section):
    """What is fetched before anybody asks for it, in the background; no ``ids``: nothing is."""

    ids: Annotated[Texts, Checked(_patterns)] = ()
    feed: OptionalName = ""
    latest: Annotated[int, between(0)] = 0
    since: Annotated[str, Checked(_day)] = ""
    prerelease: bool = False
    unlisted: bool = False
    dependencies: bool = True
