"""Admin is the JSON interface of the commands, under ``/-/``."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qs

import orjson
from aiohttp import hdrs
from aiohttp.http_exceptions import HttpProcessingError

from nugetproxy.admin.commands import COMMANDS, carry_out
from nugetproxy.admin.desk import Desk
from nugetproxy.engine.outcome import CACHE_NAME
from nugetproxy.errors import BadRequest, MethodNotAllowed, NotFound, TooLarge
from nugetproxy.web import http as web
from nugetproxy.web.access import AccessEvent
from nugetproxy.web.admission import Admission, is_foreign
from nugetproxy.web.hosts import PublicAddresses
from nugetproxy.web.incoming import MALFORMED_BODY, awaits_welcome, welcome
from nugetproxy.web.refusals import Forbidden
from nugetproxy.web.whole import Whole, common_headers

ROOT: Final = "/-/"
LARGEST: Final = 1 * 2**20
PATIENCE: Final = 30.0
"""Seconds within which the arguments of a command must be here."""


class Admin:
    """Answers ``GET /-/NAME?argument=value`` and ``POST /-/NAME`` with the arguments as a JSON object."""

    def __init__(self, desk: Desk, admission: Admission, addresses: PublicAddresses) -> None:
        self._desk = desk
        self._admission = admission
        self._addresses = addresses

    async def respond(
        self, request: web.BaseRequest, path: str, query: str, event: AccessEvent, *, trusted: bool = False
    ) -> Whole:
        """The result of a command; ``trusted`` where it came in by a socket that only operators can reach.

        Raises Unauthorized, Forbidden and whatever ends a command.
        """
        event.kind = "admin"
        # Raises UnknownHost: a page may have given its own name our address.
        base = self._addresses.direct_base(request) if trusted else self._addresses.base(request)
        if request.method not in {hdrs.METH_GET, hdrs.METH_HEAD} and is_foreign(request, base):
            raise Forbidden("A page of another site asked for this; the proxy's own pages and tools may.")
        by = _peer(request) if trusted else f"token {self._admission.admit_admin(request, event.client).name}"
        name = path.removeprefix(ROOT)
        command = COMMANDS.get(name)
        if command is None:
            raise NotFound(f"There is no such command; there are {', '.join(COMMANDS)}.")
        wanted = hdrs.METH_POST if command.changes else hdrs.METH_GET
        if request.method != wanted:
            raise MethodNotAllowed(request.method, (wanted,))
        arguments = await _arguments(request) if command.changes else _of_query(query)
        return _json(await carry_out(self._desk, name, arguments, by=by))


async def _arguments(request: web.BaseRequest) -> Mapping[str, Any]:
    """The JSON object in the body; raises BadRequest, TooLarge."""
    if request.content_type != "application/json":  # which no form of a page can send
        raise BadRequest("The arguments are a JSON object, with the Content-Type application/json.")
    body = bytearray()
    if awaits_welcome(request):
        welcome(request)
    try:
        async with asyncio.timeout(PATIENCE):
            async for piece in request.content.iter_any():
                body += piece
                if len(body) > LARGEST:
                    raise TooLarge("The body", LARGEST)
    except TimeoutError as error:
        raise BadRequest("The arguments took too long; send them again.") from error
    except HttpProcessingError as error:
        raise BadRequest(MALFORMED_BODY) from error
    try:
        found = orjson.loads(bytes(body) or b"{}")
    except orjson.JSONDecodeError as error:
        raise BadRequest("The arguments are not valid JSON.") from error
    if not isinstance(found, dict):
        raise BadRequest("The arguments must be a JSON object.")
    return found


def _of_query(query: str) -> Mapping[str, Any]:
    try:
        found = parse_qs(query, keep_blank_values=True, max_num_fields=100)
    except ValueError as error:
        raise BadRequest("The query cannot be read.") from error
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def _peer(request: web.BaseRequest) -> str:
    """Who is at the other end of a socket that only operators can reach."""
    end = request.transport.get_extra_info("socket") if request.transport is not None else None
    if end is None or end.family != socket.AF_UNIX:
        return f"address {request.remote or ''}"
    form = struct.Struct("3i")  # struct ucred, unix(7): process, user, group
    process, user, _ = form.unpack(end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, form.size))
    return f"uid {user} (process {process})"


def _json(result: Mapping[str, Any]) -> Whole:
    body = orjson.dumps(result) + b"\n"
    headers = {
        **common_headers("no-store", f"{CACHE_NAME}; fwd=bypass"),
        hdrs.CONTENT_TYPE: "application/json; charset=utf-8",
    }
    return Whole(200, headers, body, length=len(body))
