"""A feed that is some way off: the tests' fake one, each of whose answers begins after a span.

``python -m tests.bench.slow_feed FOLDER --seconds 0.08`` serves the packages in FOLDER on a free port.
"""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser
from pathlib import Path

from tests.fakes.feed import FakeFeed, serve
from tests.fakes.origin import Script, Seen


class SlowFeed(FakeFeed):
    """Answers after ``seconds``."""

    seconds = 0.0

    async def _answer(self, seen: Seen) -> Script:
        await asyncio.sleep(self.seconds)
        return await super()._answer(seen)


def main() -> None:
    """Serve."""
    parser = ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=0.0, help="before each answer")
    arguments = parser.parse_args()
    # A client that talks to the feed itself refuses signatures at a plain http address.
    feed = SlowFeed(omit=["RepositorySignatures"])
    feed.seconds = arguments.seconds
    asyncio.run(serve(feed, arguments.folder))


if __name__ == "__main__":
    main()
