"""Commands reach a running proxy by its control socket; of a stopped one they do the work themselves."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import socket
from collections.abc import AsyncIterator, Mapping
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from nugetproxy.cli.exits import FAILED, USAGE, exit_code, fail
from nugetproxy.cli.quiet import quiet
from nugetproxy.errors import ProxyError, StoreUnusable

if TYPE_CHECKING:
    from nugetproxy.app import App
    from nugetproxy.config import Config

PATIENCE: Final = 600.0
"""Seconds for what a running proxy has to do."""
JSON: Final = {"Content-Type": "application/json"}
NOBODY: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ECONNREFUSED})
"""What a connection ends with where no proxy runs."""
BEFORE: Final = frozenset({"keep", "refresh", "token/add", "explain", "cluster/status", "cluster/du", "cluster/gc"})
"""Commands that say something before the first start, too."""
OF_NO_PACKAGE: Final = frozenset({"token/add", "token/list", "token/revoke", "claims/release"})
"""Commands for which it does not matter which upstreams are known."""
CACHE: Final = frozenset({"format", "ledger.db", "entries"})
"""What a directory that was a proxy's has one of (of its first form, of this one, or what a backup brought), unless
somebody has copied the folders of upstreams alone."""


def wants_cache(settings: Config) -> None:
    """End the command where no proxy has ever run: the name of another one's directory was left out, or misspelt.

    Else it would find nothing wrong there, back up nothing, and leave an empty cache.
    """
    path = settings.cache.path
    try:
        names = {one.name for one in path.iterdir()}
    except FileNotFoundError:
        names = set()
    except OSError:
        return  # opening it says what is wrong
    if names.isdisjoint({*CACHE, *settings.upstreams}) and any(
        one.folder is None for one in settings.upstreams.values()
    ):
        where = "Name the proxy's by --config, or --cache-dir."
        fail([f"There is no cache in {path}: no proxy has run with it. {where}"], FAILED)


def name_others(settings: Config) -> None:
    """Tell on stderr of which upstreams that are not known there are packages, too: the proxy may run with another
    configuration, and what it holds then would seem not to be there.
    """
    from nugetproxy.cli.terminal import say
    from nugetproxy.store.upstream_folders import strange_folders

    for folder in strange_folders(settings.cache.path, settings.upstreams):
        unknown = "the configuration has no upstream of this name. --config names the one that the proxy runs with."
        say(f"Packages of {folder.name} lie there, too, but are not looked at: {unknown}", err=True)


def tell(settings: Config, name: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """The result of a command of ``nugetproxy.admin.commands``; ends the process with what is wrong, if anything."""
    try:
        json.dumps(arguments, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        fail(["What is written is not text in UTF-8, be it a file's name; it cannot be passed on."], USAGE)
    try:
        said = _running(settings.cache.path, name, arguments)
        if said is not None:
            return said
        if name not in BEFORE:
            wants_cache(settings)
        if name not in OF_NO_PACKAGE:
            name_others(settings)
        with quiet():
            return asyncio.run(_stopped(settings, name, arguments))
    except ProxyError as error:
        if exit_code(error) is not None:
            raise
        fail([str(error)], FAILED)


def _running(cache: Path, name: str, arguments: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What the proxy that runs with this cache directory says; None where none runs."""
    connection = Connection(cache)
    try:
        target, body = asking(name, arguments)
        connection.request("GET" if body is None else "POST", target, body, {} if body is None else JSON)
        answer = connection.getresponse()
        said = json.loads(answer.read())
    except OSError as error:
        if error.errno in NOBODY:
            return None
        fail([unreachable(cache, error)], FAILED)
    except (HTTPException, ValueError) as error:
        fail([f"The running proxy did not say what is expected ({type(error).__name__}); see its log."], FAILED)
    finally:
        connection.close()
    if answer.status != 200:
        fail([str(said.get("error", answer.reason))], FAILED)
    result: Mapping[str, Any] = said
    return result


def unreachable(cache: Path, error: OSError) -> str:
    """Why nobody knows what runs with this cache directory, with what to do."""
    if isinstance(error, PermissionError):
        return f"{cache} is closed to this user: run the command as the user that the proxy runs as."
    return f"The running proxy cannot be reached: {error.strerror or error}."


def asking(name: str, arguments: Mapping[str, Any]) -> tuple[str, bytes | None]:
    """The target of a command with the body of its POST; None for a GET."""
    from nugetproxy.admin.commands import COMMANDS

    if COMMANDS[name].changes:
        return f"/-/{name}", json.dumps(arguments).encode()
    query = urlencode({key: value for key, value in arguments.items() if value is not None}, doseq=True)
    return f"/-/{name}?{query}", None


class Connection(HTTPConnection):
    """HTTP over the socket of a cache directory."""

    def __init__(self, cache: Path) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._cache = cache

    def give_up(self) -> None:
        """End it also where another thread waits for an answer."""
        if self.sock is not None:
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)
        self.close()

    def connect(self) -> None:
        """Open the socket; ``http.client`` calls it before the first request. Raises OSError."""
        from nugetproxy.web.control import IN_CACHE, reachable

        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(PATIENCE)
        with reachable(self._cache / IN_CACHE) as path:
            self.sock.connect(path)


@contextlib.asynccontextmanager
async def opened(settings: Config) -> AsyncIterator[App]:
    """The application of a stopped proxy; raises StoreUnusable, where one runs that has no socket, too."""
    from nugetproxy.app import build
    from nugetproxy.store.lock import DirectoryLocked

    try:
        async with build(settings) as app:
            yield app
    except DirectoryLocked as locked:
        remedy = "It answers at no run/control.sock there: wait for its end if it is a command, else restart the proxy."
        raise StoreUnusable(locked.directory, locked.why, remedy) from locked


async def _stopped(settings: Config, name: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    from nugetproxy.admin.commands import carry_out

    async with opened(settings) as app:
        return await carry_out(app.desk, name, arguments, by=f"uid {os.getuid()} (command line)")
