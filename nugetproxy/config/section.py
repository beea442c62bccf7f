"""Section is what all tables of the configuration share."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A table: unknown keys are errors, values never appear in error texts."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
