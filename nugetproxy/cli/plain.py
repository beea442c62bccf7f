"""A plain start is ``serve`` with options that need no explanation, read without the library of all other commands.

That library takes 10 MiB of every proxy, and a tenth of its start.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from msgspec import Struct

from nugetproxy.cli.lean import lean_imports
from nugetproxy.errors import ProxyError

ONCE: Final = frozenset({"--config", "--listen", "--cache-dir"})
"""Options with one value."""
UPSTREAM: Final = "--upstream"
OFFLINE: Final = "--offline"


class Start(Struct, frozen=True, kw_only=True):
    """How the proxy is to be started."""

    config: Path | None = None
    listen: str | None = None
    upstreams: Sequence[str] = ()
    cache_dir: str | None = None
    offline: bool = False

    def run(self) -> int:
        """Run the proxy until it is told to stop; the exit code. Raises ProxyError."""
        signal.signal(signal.SIGTERM, _end)
        with lean_imports():
            from nugetproxy.config import load

        read = partial(
            load,
            self.config,
            listen=self.listen,
            upstreams=self.upstreams,
            cache_dir=self.cache_dir,
            offline=self.offline,
        )
        settings = read()
        with lean_imports():
            from nugetproxy.serve import run  # the whole server: not needed to say what is wrong in a file

        return run(settings, read)

    def run_alone(self) -> int:
        """``run``; an error of ours becomes a line on stderr with its exit code."""
        try:
            return self.run()
        except ProxyError as error:
            from nugetproxy.cli.exits import exit_code

            code = exit_code(error)
            if code is None:
                raise
            print(error, file=sys.stderr)
            return code
        except KeyboardInterrupt:  # before the server could take it
            return 128 + signal.SIGINT


def plain_start(words: Sequence[str]) -> Start | None:
    """The start that a command line asks for; None where it is another command, or needs an explanation."""
    if not words or words[0] != "serve":
        return None
    given: dict[str, list[str]] = {}
    rest = iter(words[1:])
    for word in rest:
        name, equals, value = word.partition("=")
        if name == OFFLINE:
            if equals:
                return None
        elif name in ONCE or name == UPSTREAM:
            value = value if equals else next(rest, "")
            if not value.strip() or value.startswith("-") or (name in ONCE and name in given):
                return None
        else:
            return None
        given.setdefault(name, []).append(value)
    config, listen, cache_dir = (given.get(name, [None])[0] for name in ("--config", "--listen", "--cache-dir"))
    return Start(
        config=Path(config) if config is not None else None,
        listen=listen,
        upstreams=given.get(UPSTREAM, ()),
        cache_dir=cache_dir,
        offline=OFFLINE in given,
    )


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    """A stop that comes before the server can take it is no failure."""
    sys.exit(0)
