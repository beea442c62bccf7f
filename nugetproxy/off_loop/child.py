"""Child is a short-lived process that works on large documents, one at a time."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from cachetools import LRUCache

from nugetproxy.errors import Reason, UpstreamUnavailable
from nugetproxy.nuget.documents.exact_json import InvalidDocument
from nugetproxy.off_loop.frames import BrokenFrame, read_frame, write_frame
from nugetproxy.off_loop.inside import DONE, INVALID
from nugetproxy.off_loop.values import Packed, unpack

IDLE_SECONDS: Final = 30.0
"""How long the process is kept when there is nothing to do."""
WORK_SECONDS: Final = 60.0
"""How long one piece of work may take."""
STOP_SECONDS: Final = 2.0
SMALL_ANSWER: Final = 64 * 1024
REMEMBERED: Final = 512
"""Small answers that are kept: what was found out about a large document need not be found out again."""

_BOOT: Final = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from nugetproxy.off_loop.inside import main; main(int(sys.argv[2]))"
)
_ENVIRONMENT: Final = ("PATH", "LD_LIBRARY_PATH")
"""What the child is told of ours; secrets are in the rest."""


class WorkLost(UpstreamUnavailable):
    """A large document could not be worked on: the process for that came to no end."""

    def __init__(self, why: str) -> None:
        super().__init__("", Reason.EXHAUSTED, f"its process for large documents was lost: {why}")
        self.why = why

    def __str__(self) -> str:
        return (
            f"This proxy could not work on a large document: {self.detail}. Ask again; if it stays so, give it more "
            "memory, or lower limits.document."
        )


class Child:
    """Starts the process when there is work, ends it when there has been none for a while; for any event loop.

    Everything that blocks is done in the one thread, which also keeps the order. The process inherits two pipes and
    nothing else; the kernel ends it with that thread's process.
    """

    def __init__(self, *, idle: float = IDLE_SECONDS, limit: float = WORK_SECONDS) -> None:
        """``idle`` and ``limit`` are ``IDLE_SECONDS`` and ``WORK_SECONDS`` where a test says nothing else."""
        self._idle = idle
        self._limit = limit
        self._lane = ThreadPoolExecutor(1, thread_name_prefix="large-documents")
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: LRUCache[bytes, Packed] = LRUCache(REMEMBERED)
        self._jobs = 0
        """How many have begun: a process is idle where the number stays."""
        self._timer: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int | None:
        """The process's id, while there is one."""
        process = self._process
        return process.pid if process is not None else None

    @property
    def jobs(self) -> int:
        """How many the process has been given."""
        return self._jobs

    async def run(self, call: Packed) -> Any:
        """What a packed call returns. Raises InvalidDocument where it did, WorkLost where there is no answer."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._lane, self._ask, call)
        finally:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = loop.call_later(self._idle, self._lane.submit, self._retire, self._jobs)

    async def end(self) -> None:
        """End the process; work that is under way is lost, new work starts another one."""
        if self._timer is not None:
            self._timer.cancel()
        if self._process is None:
            return
        self._process.kill()
        await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(self._lane, self._stop), STOP_SECONDS)

    # --- in the thread ---

    def _ask(self, call: Packed) -> Any:
        key = _digest(call)
        answer = self._answers.get(key)
        if answer is None:
            self._jobs += 1
            answer = self._exchange(call)
        verdict, found = unpack(answer)
        if verdict not in {DONE, INVALID}:
            raise WorkLost(found)
        if sum(map(len, answer)) <= SMALL_ANSWER:
            self._answers[key] = answer
        if verdict == INVALID:
            raise InvalidDocument(found)
        return found

    def _exchange(self, call: Packed) -> Packed:
        deadline = time.monotonic() + self._limit
        process = self._started()
        try:
            write_frame(_pipe(process.stdin), call, deadline)
            return read_frame(_pipe(process.stdout), deadline)
        except BrokenFrame as broken:
            self._stop()
            raise WorkLost(f"{broken} ({_end_of(process)})") from broken

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is not None:
            self._stop()  # killed while it was idle
        if self._process is None:
            root = str(Path(__file__).parent.parent.parent)
            paths = json.dumps([root, *(path or str(Path.cwd()) for path in sys.path)])
            try:
                self._process = subprocess.Popen(  # noqa: S603 - our own interpreter, our own module
                    [sys.executable, "-I", "-S", "-c", _BOOT, paths, str(os.getpid())],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    bufsize=0,
                    env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
                    process_group=0,  # what a terminal sends to us is for us to act on
                )
            except OSError as error:
                raise WorkLost(f"it cannot be started: {error.strerror}") from error
            os.set_blocking(_pipe(self._process.stdin), False)
        return self._process

    def _retire(self, jobs: int) -> None:
        if jobs == self._jobs:
            self._stop()

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with process:  # closes the pipes, waits
                process.kill()


def _pipe(end: Any) -> int:
    descriptor: int = end.fileno()
    return descriptor


def _digest(call: Packed) -> bytes:
    digest = blake2b(digest_size=16)
    for part in call:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()


def _end_of(process: subprocess.Popen[bytes]) -> str:
    code = process.returncode
    return f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
