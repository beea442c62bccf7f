"""LineWriter writes lines in a thread of its own, so that a full pipe never holds up a request."""

from __future__ import annotations

import io
import os
import select
import threading
from collections import deque
from collections.abc import Callable
from typing import IO, cast

LIMIT = 10_000
GATHER = 0.02
"""Seconds that the thread lets lines gather before it writes them with one call."""
CHUNK = 64 * 1024


class LineWriter:
    """A bounded queue of lines before a stream; what does not fit, or cannot be written, is dropped, counted.

    ``notice(count)`` makes the line that tells of ``count`` dropped ones, written once the stream takes lines again.
    """

    def __init__(
        self, stream: IO[str] | IO[bytes] | None, notice: Callable[[int], bytes], *, limit: int = LIMIT
    ) -> None:
        self.dropped = 0
        self._told = 0
        self._notice = notice
        self._limit = limit
        self._lines: deque[bytes] = deque()
        self._put = _sink(stream)
        self._counting = threading.Lock()  # protects ``dropped``, counted up by every thread that logs
        self._wanted = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Queue ``line`` (with its line break); never waits, never raises."""
        if len(self._lines) >= self._limit:
            self._drop(1)
            return
        self._lines.append(line)
        if not self._wanted.is_set():
            self._wanted.set()

    def close(self, timeout: float = 1.0) -> None:
        """Write what is queued, for at most ``timeout`` seconds; a blocked stream is left behind."""
        self._stopping.set()
        self._wanted.set()
        self._thread.join(timeout)

    def _drop(self, count: int) -> None:
        with self._counting:
            self.dropped += count

    def _run(self) -> None:
        while not (self._stopping.is_set() and not self._lines):
            self._wanted.wait()
            self._stopping.wait(GATHER)
            self._wanted.clear()
            while self._lines:
                self._write_some()

    def _write_some(self) -> None:
        chunk, size = [], 0
        while self._lines and size < CHUNK:
            chunk.append(self._lines.popleft())
            size += len(chunk[-1])
        try:
            self._put(b"".join(chunk))
            if (dropped := self.dropped) > self._told:
                self._put(self._notice(dropped - self._told))
                self._told = dropped
        except (OSError, ValueError):  # closed pipe, full disk, closed stream: count, try again with the next lines
            self._drop(len(chunk))


def _sink(stream: IO[str] | IO[bytes] | None) -> Callable[[bytes], None]:
    """How to write all of some bytes to ``stream``; None (a closed stdout) swallows them.

    Real files are written through their descriptor: a thread that is blocked inside a buffered stream would hold its
    lock, on which the interpreter aborts at exit.
    """
    if stream is None:
        return _nowhere
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError, AttributeError):
        return lambda data: _write_stream(stream, data)
    return lambda data: _write_all(descriptor, data)


def _nowhere(_data: bytes) -> None:
    raise OSError("no stream")


def _write_stream(stream: IO[str] | IO[bytes], data: bytes) -> None:
    if isinstance(stream, io.TextIOBase):
        stream.write(data.decode())
    else:
        cast("IO[bytes]", stream).write(data)
    stream.flush()


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:  # somebody made the descriptor non-blocking
            select.select([], [descriptor], [], 1.0)
