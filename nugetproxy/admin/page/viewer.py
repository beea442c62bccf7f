"""A viewer is whoever looks at the page, as far as it matters what they may see."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from nugetproxy.admin.desk import Desk
from nugetproxy.sources.source import Source


class Viewer(Struct, frozen=True):
    """The feeds that they may read; whether they administer, so that they see who the clients are."""

    feeds: frozenset[str]
    admin: bool

    def sources(self, desk: Desk) -> Mapping[str, Source]:
        """What those feeds are made of, by name."""
        seen = [source for name, feed in desk.feeds.items() if name in self.feeds for source in feed.sources]
        return {source.name: source for source in seen}
