"""The proxy's command line with a name service that a test can break.

``python -m tests.e2e.named FILE serve ...``: FILE has lines of a name with its address, read at every look-up; what
it does not name is not found.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from aiohttp.abc import ResolveResult

from nugetproxy import cli
from nugetproxy.upstream import wire
from tests.fakes.names import Names


class FileNames(Names):
    """Names in a file."""

    def __init__(self, file: Path) -> None:
        super().__init__({})
        self._file = file

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        self.known = {name: [address] for name, address in map(str.split, self._file.read_text().splitlines())}
        return await super().resolve(host, port, family)


def main() -> None:
    """Run the command that follows the file."""
    file = Path(sys.argv.pop(1))
    wire.ThreadResolver = lambda: FileNames(file)  # type: ignore[misc,assignment]
    cli.main()


if __name__ == "__main__":
    main()
