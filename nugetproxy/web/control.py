"""Control sockets are Unix sockets by which commands reach a running proxy."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from nugetproxy.web.listening import BACKLOG, AddressUnusable

LONGEST: Final = 107
"""Bytes of a path that a socket address holds (unix(7)), without the NUL at its end."""
IN_CACHE: Final = Path("run", "control.sock")
"""The one of a cache directory, below it."""


@contextlib.contextmanager
def reachable(path: Path) -> Iterator[str]:
    """``path`` in a form that fits into a socket address: through the descriptor of its directory where need be."""
    if len(os.fsencode(path)) <= LONGEST:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def control_socket(cache: Path) -> socket.socket:
    """The listening socket of a cache directory that is locked by us: nobody else listens there; raises OSError."""
    path = cache / IN_CACHE
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.parent.chmod(0o700)
    path.unlink(missing_ok=True)  # left by a process that was killed
    return _bound(path)


def admin_socket(path: Path) -> socket.socket:
    """A socket that listens at a path that an operator chose; raises AddressUnusable."""
    try:
        if os.path.lexists(path) and not stat.S_ISSOCK(path.lstat().st_mode):
            raise AddressUnusable(str(path), "there is a file that is no socket", "Set another server.admin_listen.")
        if _answers(path):
            raise AddressUnusable(str(path), "another process listens there", "Set another server.admin_listen.")
        path.unlink(missing_ok=True)
        return _bound(path)
    except OSError as error:
        remedy = "Set another server.admin_listen, in a folder that is there, where this user may write."
        raise AddressUnusable(str(path), error.strerror or str(error), remedy) from error


def _bound(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with reachable(path) as name:
            listener.bind(name)
        path.chmod(0o600)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        with contextlib.suppress(OSError), reachable(path) as name:
            probe.connect(name)
            return True
    return False
