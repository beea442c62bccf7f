"""Mirror is the table of what is fetched before anybody asks for it."""

from __future__ import annotations

from pydantic import Field, field_validator

from nugetproxy.config.section import Section
from nugetproxy.config.units import day_seconds
from nugetproxy.nuget.mapping import BadPattern, check_pattern


class Mirror(Section):
    """What is fetched before anybody asks for it, in the background; no ``ids``: nothing is."""

    ids: tuple[str, ...] = ()
    feed: str = ""
    latest: int = Field(default=0, ge=0)
    since: str = ""
    prerelease: bool = False
    unlisted: bool = False
    dependencies: bool = True

    @field_validator("ids")
    @classmethod
    def _check_ids(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in value:
            try:
                check_pattern(pattern)
            except BadPattern as error:
                raise ValueError(str(error)) from error
        return value

    @field_validator("since")
    @classmethod
    def _check_since(cls, value: str) -> str:
        try:
            day_seconds(value)
        except ValueError:
            raise ValueError("must be a day such as 2025-01-31, or empty") from None
        return value
