"""Becomes another program that is killed as soon as whoever started it has died."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """``until_parent.py PARENT PROGRAM ARGS...``, where PARENT is the id of the process that starts it."""
    parent, program = int(sys.argv[1]), sys.argv[2:]
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it has died before it could be said
        sys.exit(f"{program[0]}: whoever wanted it is gone")
    os.execv(program[0], program)


if __name__ == "__main__":
    main()
