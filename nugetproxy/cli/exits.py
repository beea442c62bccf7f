"""Exits are the codes with which a command ends when it could not do what it was asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NoReturn

from nugetproxy.errors import ConfigError, ProxyError, StoreUnusable
from nugetproxy.web.listening import AddressUnusable, AddressWrong

FAILED: Final = 1
"""The command did its work, and the outcome is not what was wanted."""
USAGE: Final = 64
"""sysexits.h, EX_USAGE: the command was used wrongly."""
INTERRUPTED: Final = 130
"""Ctrl-C ended it (128 + SIGINT)."""
TRY_LATER: Final = 75
"""sysexits.h, EX_TEMPFAIL: the cache directory or the address is in use, or not usable now."""
CONFIGURATION: Final = 78
"""sysexits.h, EX_CONFIG: something is wrong in the configuration; trying again does not help."""

_CODES: Final[dict[type[ProxyError], int]] = {
    ConfigError: CONFIGURATION,
    StoreUnusable: TRY_LATER,
    AddressUnusable: TRY_LATER,
    AddressWrong: CONFIGURATION,
}


def exit_code(error: ProxyError) -> int | None:
    """The code for an error that says by itself what to do about it; None for one that no command may end with."""
    return next((_CODES[cls] for cls in type(error).__mro__ if cls in _CODES), None)


def fail(lines: Iterable[str], code: int) -> NoReturn:
    """End the command with these lines on stderr."""
    import typer

    from nugetproxy.cli.terminal import say

    for line in lines:
        say(line, err=True)
    raise typer.Exit(code)
