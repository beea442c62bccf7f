"""View is how one client sees a feed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """How one client sees the feed."""

    base: str
    """The URL below which it finds us, as in ``http://host:5555/v3/``."""
    gzip: bool = False
    head: bool = False

    @property
    def secure(self) -> bool:
        """True when the client came over https."""
        return self.base.startswith("https:")
