"""Commands are what an operator may tell a proxy: one table for the socket, for HTTP, for a stopped one."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any, Final

import structlog
from msgspec import Struct

from nugetproxy.admin.desk import Desk
from nugetproxy.errors import BadRequest, NotFound, ProxyError

audit = structlog.get_logger("nugetproxy.audit")

LARGEST: Final = 2.0**53
"""Up to which every whole number is one of these, and fits into what SQLite has for them."""

Run = Callable[..., Awaitable[Mapping[str, Any]]]


class Command(Struct, frozen=True):
    """A function of the desk, with arguments by keyword; what it returns can be written as JSON."""

    place: str
    """Its module in this package with its name there: a proxy loads what it is asked for."""
    changes: bool
    """Whether it changes anything: over HTTP it is then a POST, else a GET."""

    @property
    def run(self) -> Run:
        """The function, loaded now."""
        module, name = self.place.split(".")
        run: Run = getattr(import_module(f"nugetproxy.admin.{module}"), name)
        return run


COMMANDS: Final[Mapping[str, Command]] = MappingProxyType(
    {
        "reload": Command("proxy_commands.reload", changes=True),
        "backup": Command("proxy_commands.backup", changes=True),
        "stats": Command("proxy_commands.stats", changes=False),
        "ls": Command("held_commands.listed", changes=False),
        "purge": Command("held_commands.purged", changes=True),
        "refresh": Command("held_commands.refresh", changes=True),
        "verify": Command("held_commands.verify", changes=True),
        "keep": Command("room_commands.keep", changes=True),
        "unkeep": Command("room_commands.unkeep", changes=True),
        "kept": Command("room_commands.kept", changes=False),
        "evict": Command("room_commands.evict", changes=True),
        "token/add": Command("token_commands.add", changes=True),
        "token/list": Command("token_commands.listed", changes=False),
        "token/revoke": Command("token_commands.revoke", changes=True),
        "who": Command("history_commands.who", changes=False),
        "audit": Command("history_commands.audited", changes=False),
        "sbom": Command("history_commands.sbom", changes=False),
        "restores": Command("history_commands.listed", changes=False),
        "restore": Command("history_commands.restore", changes=False),
        "provenance/verify": Command("provenance_commands.verify", changes=False),
        "provenance/lines": Command("provenance_commands.lines", changes=False),
        "explain": Command("feed_commands.explain", changes=False),
        "ask-anew": Command("feed_commands.asked_anew", changes=True),
        "claims": Command("feed_commands.listed", changes=False),
        "claims/release": Command("feed_commands.release", changes=True),
        "transfer/fits": Command("transfer_commands.fits", changes=True),
        "transfer/take": Command("transfer_commands.take", changes=True),
        "transfer/give-documents": Command("transfer_commands.give_documents", changes=True),
        "transfer/take-documents": Command("transfer_commands.take_documents", changes=True),
        "left/versions": Command("left_commands.versions", changes=True),
        "left/denied": Command("left_commands.denied", changes=True),
        "left/packages": Command("left_commands.packages", changes=True),
        "cluster/status": Command("cluster_commands.status", changes=True),
        "cluster/du": Command("cluster_commands.du", changes=False),
        "cluster/gc": Command("cluster_commands.gc", changes=True),
    }
)
"""Each by its path below ``/-/``. A row here is all that a command needs: its arguments, their types and which may be
left out are read from the function (see ``READERS`` for the types)."""


async def carry_out(desk: Desk, name: str, arguments: Mapping[str, Any], *, by: str) -> Mapping[str, Any]:
    """The result of a command; ``by`` says whose it is, for the audit event that there is for each.

    Raises NotFound for an unknown one, BadRequest for arguments that it does not have, and what the command raises.
    """
    command = COMMANDS.get(name)
    if command is None:
        raise NotFound(f"There is no such command; there are {', '.join(COMMANDS)}.")
    result = "failed unexpectedly"
    try:
        await desk.flush()
        run = command.run
        done = await run(desk, **_read(run, arguments))
    except ProxyError as error:
        result = str(error)
        raise
    except asyncio.CancelledError:  # a stop, or nobody waits for it any more
        result = "ended before it was done"
        raise
    else:
        result = "done"
        return done
    finally:
        audit.info("admin.audit", by=by, command=name, arguments=_told(arguments), result=result[:300])


def _told(arguments: Mapping[str, Any]) -> dict[str, str]:
    return {str(name)[:64]: _shortly(value) for name, value in list(arguments.items())[:20]}


def _shortly(value: Any) -> str:
    try:
        return str(value)[:300]
    except RecursionError:
        return "nested too deeply"


def _read(run: Run, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments as the function wants them, also where they came as the text of a query; raises BadRequest."""
    known = {name: one for name, one in inspect.signature(run).parameters.items() if one.kind is one.KEYWORD_ONLY}
    if unknown := sorted(set(arguments) - set(known)):
        raise BadRequest(f"There is no argument {unknown[0]!r:.80}; there are {', '.join(known) or 'none'}.")
    if missing := [name for name, one in known.items() if one.default is one.empty and name not in arguments]:
        raise BadRequest(f"The argument {missing[0]!r} is missing.")
    read = {}
    for name, given in arguments.items():
        reader, wanted = READERS[str(known[name].annotation)]
        try:
            read[name] = reader(given)
        except (ValueError, TypeError, KeyError) as error:
            raise BadRequest(f"The argument {name!r} must be {wanted}.") from error
    return read


def _text(given: Any) -> str:
    if not isinstance(given, str):
        raise TypeError
    return given


def _texts(given: Any) -> tuple[str, ...]:
    return tuple(map(_text, [given] if isinstance(given, str) else list(given)))


def _number(given: Any) -> float:
    if isinstance(given, bool):
        raise TypeError
    number = float(given)
    if not abs(number) <= LARGEST:  # nor what is no number
        raise ValueError
    return number


def _number_or_none(given: Any) -> float | None:
    return None if given is None else _number(given)


def _text_or_none(given: Any) -> str | None:
    return None if given is None else _text(given)


def _truth(given: Any) -> bool:
    return {True: True, False: False, "true": True, "false": False}[given]


READERS: Final[Mapping[str, tuple[Callable[[Any], Any], str]]] = MappingProxyType(
    {
        "str": (_text, "text"),
        "str | None": (_text_or_none, "text"),
        "tuple[str, ...]": (_texts, "a list of texts"),
        "float": (_number, "a number of at most 2^53"),
        "float | None": (_number_or_none, "a number of at most 2^53"),
        "bool": (_truth, "true or false"),
    }
)
"""By the annotation of a parameter: how what came in is read, what it must be."""
