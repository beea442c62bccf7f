"""SocketClient asks a running proxy over its socket, from threads."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from nugetproxy.cli.control import JSON, Connection, asking
from nugetproxy.errors import BadRequest
from nugetproxy.jobs.proxy_client import AT_ONCE, Fetched, Moved, ProxyGone, nobody_counts

PIECE: Final = 2**18
GONE: Final = (OSError, HTTPException)
"""What a connection ends with."""


class _Question(Struct, frozen=True, kw_only=True):
    target: str
    body: bytes | None = None
    """Of a POST; None for a GET."""
    moved: Moved = nobody_counts
    keep: bool = True


class SocketClient:
    """As many connections as there are requests at once; each is used again."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="socket-client")
        self._busy: set[Connection] = set()
        self._idle: list[Connection] = []
        self._closed = False

    def close(self) -> None:
        """End what is under way; nothing is begun any more."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        for connection in [*self._busy, *self._idle]:
            connection.give_up()

    async def get(self, path: str, moved: Moved = nobody_counts, *, keep: bool = True) -> Fetched:
        """As ``ProxyClient.get`` says it."""
        return await self._asked(_Question(target=f"/{path}", moved=moved, keep=keep))

    async def command(self, name: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """As ``ProxyClient.command`` says it."""
        target, body = asking(name, arguments)
        got = await self._asked(_Question(target=target, body=body))
        said = got.document
        if isinstance(said, dict):
            return said
        if not got.status:
            raise ProxyGone(got.failure)
        raise BadRequest(got.error or f"The running proxy did not answer ({got.said}); see its log.")

    async def _asked(self, question: _Question) -> Fetched:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._ask, question)

    def _ask(self, question: _Question) -> Fetched:
        for connection in self._connections():
            try:
                return self._once(connection, question)
            except GONE as error:
                failure = error
        return Fetched(0, failure=f"the connection to the proxy ended ({failure or type(failure).__name__})")

    def _connections(self) -> list[Connection]:
        """An idle one, which may have been idle for too long, then a new one."""
        new = Connection(self._cache)
        try:
            return [self._idle.pop(), new]
        except IndexError:
            return [new]

    def _once(self, connection: Connection, question: _Question) -> Fetched:
        self._busy.add(connection)
        whole = False
        try:
            if self._closed:  # looked at once it can be seen among the busy ones
                raise HTTPException("the command ends")
            if question.body is None:
                connection.request("GET", question.target)
            else:
                connection.request("POST", question.target, question.body, JSON)
            answer = connection.getresponse()
            pieces = []
            while piece := answer.read(PIECE):
                question.moved(len(piece))
                if question.keep or answer.status != 200:
                    pieces.append(piece)
            if answer.length:
                raise HTTPException(f"{answer.length} bytes are lacking")
            whole = not answer.will_close
            return Fetched(answer.status, answer.headers.get("Content-Type", ""), b"".join(pieces))
        finally:
            self._busy.discard(connection)
            if whole:
                self._idle.append(connection)
            else:
                connection.close()
