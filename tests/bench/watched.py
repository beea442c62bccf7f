"""The proxy's command line with a close look at its event loop.

``python -m tests.bench.watched FILE serve ...``: FILE gets a line for every beat: when it was (monotonic clock), how
many seconds late.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from nugetproxy import cli
from nugetproxy.app import composition
from nugetproxy.engine.loop_watch import LoopWatch

BEAT = 0.005

_seen: list[tuple[float, float]] = []


class Watched(LoopWatch):
    """Looks two hundred times a second."""

    async def beat(self) -> None:
        """Sleep for one beat, note how late it was."""
        began = time.monotonic()
        await asyncio.sleep(BEAT)
        ended = time.monotonic()
        _seen.append((ended, ended - began - BEAT))


def main() -> None:
    """Serve, then write what was seen."""
    file = Path(sys.argv.pop(1))
    composition.LoopWatch = Watched  # type: ignore[misc]  # a seam for this measurement alone
    try:
        cli.main()
    finally:
        file.write_text("".join(f"{at} {late}\n" for at, late in _seen), encoding="ascii")


if __name__ == "__main__":
    main()
