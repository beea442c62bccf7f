"""Commands are modules of their own, each loaded when it is asked for."""

from __future__ import annotations

import errno
import os
import sys
from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from nugetproxy import __version__
from nugetproxy.cli.exits import FAILED, exit_code
from nugetproxy.errors import ProxyError

COMMANDS: Final = {
    "serve": "serve",
    "init": "init",
    "check-config": "check_config",
    "doctor": "doctor",
    "reload": "reload",
    "stats": "stats",
    "ls": "ls",
    "purge": "purge",
    "refresh": "refresh",
    "keep": "keep",
    "unkeep": "unkeep",
    "evict": "evict",
    "verify": "verify",
    "warm": "warm",
    "mirror": "mirror",
    "export": "export",
    "import": "import_",
    "token": "token",
    "explain": "explain",
    "who": "who",
    "audit": "audit",
    "sbom": "sbom",
    "restores": "restores",
    "provenance": "provenance",
    "claims": "claims",
    "backup": "backup",
    "restore": "restore",
    "ledger": "ledger",
    "cluster": "cluster",
    "demo": "demo",
}
"""Each command -> its module in this package, which has a ``typer.Typer(add_completion=False)`` called ``app``.

A module imports at its top only what its options need, all else inside its function: one command never waits for what
another one needs. A ``Typer`` of one ``command()`` is that command, one with a ``callback()`` is a group of them.
"""

UNWRITABLE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""What stdout ends with where it is a file on a disk that is full, or fails."""


class Commands(TyperGroup):
    """The commands of the table; an error of ours becomes a line on stderr with its exit code."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        names: dict[str, Any] = dict.fromkeys(COMMANDS)
        self.commands = names  # for "did you mean"; what they name is loaded below

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, as the help shows them."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, loaded now; None for an unknown one."""
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        command = typer.main.get_command(import_module(f"nugetproxy.cli.{module}").app)
        command.name = cmd_name
        return command

    def main(self, *words: Any, **further: Any) -> Any:
        """Run the command line; output that the disk does not take is a line on stderr."""
        try:
            return super().main(*words, **further)
        except OSError as error:
            if error.filename is not None or error.errno not in UNWRITABLE:
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left of it would fail again as the process ends
            print(f"What it prints cannot be written: {error.strerror}.", file=sys.stderr)
            sys.exit(FAILED)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except ProxyError as error:
            code = exit_code(error)
            if code is None:
                raise
            typer.echo(str(error), err=True)
            raise typer.Exit(code) from error
        except OSError as error:
            if error.filename is None:
                raise
            typer.echo(f"{os.fsdecode(error.filename)}: {error.strerror}.", err=True)
            raise typer.Exit(FAILED) from error


app = typer.Typer(
    cls=Commands,
    name="nugetproxy",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_show_locals=False,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"nugetproxy {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A caching proxy for NuGet V3 feeds."""
