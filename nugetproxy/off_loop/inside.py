"""The inside of the child: it reads a call, makes it, writes the answer, until nobody asks any more."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from nugetproxy.nuget.documents.exact_json import InvalidDocument
from nugetproxy.off_loop.frames import BrokenFrame, read_frame, write_frame
from nugetproxy.off_loop.values import NoPlainValue, Packed, call, pack

DONE, INVALID, FAILED = "done", "invalid", "failed"
"""What an answer begins with: the work's result, why its document is none, what else was wrong."""
PR_SET_PDEATHSIG = 1
LIKELY_VICTIM = "800"
"""When memory is short the kernel ends this process, not the one that serves clients."""


def main(parent: int) -> None:
    """Answer ``parent``, our process's, through standard input and output; return when it has gone."""
    questions, answers = os.dup(0), os.dup(1)
    os.dup2(2, 1)  # nothing that a library prints gets among the answers
    _settle(parent)
    with suppress(BrokenFrame):
        while True:
            write_frame(answers, _answer(read_frame(questions)))


def _answer(question: Packed) -> Packed:
    try:
        return pack((DONE, call(question)))
    except InvalidDocument as problem:
        return pack((INVALID, problem.detail))
    except (MemoryError, RecursionError, NoPlainValue, ValueError, TypeError, LookupError, AttributeError) as error:
        return pack((FAILED, f"{type(error).__name__}: {error}"))


def _settle(parent: int) -> None:
    """End with the parent; sooner, where memory is short."""
    import ctypes  # the parent imports this module, too

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before we had asked for that
        sys.exit()
    with suppress(OSError):  # a sandbox may forbid it
        Path("/proc/self/oom_score_adj").write_text(LIKELY_VICTIM, encoding="ascii")
