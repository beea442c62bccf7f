"""Accounting asks the kernel what a server's processes cost."""

from __future__ import annotations

import os
import time
from pathlib import Path

MIB = 2**20
_SCHEDULED = 2
"""The clock of what the scheduler gave a process, among its clocks."""


def processes(session: int) -> list[int]:
    """The processes of a session: a server that was started as its leader, with all its workers."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _session(entry) == session]


def cpu_seconds(session: int) -> float:
    """User and system time of all processes of a session, all threads that are and were."""
    return sum(map(_cpu_seconds, processes(session)))


def rss_mib(session: int) -> float:
    """Resident memory of all processes of a session, in MiB; pages that they share count for each."""
    return sum(_rss(pid) for pid in processes(session)) / MIB


def _cpu_seconds(pid: int) -> float:
    """By the clock of the process (clock_getcpuclockid(3)): in /proc are ticks of 10 ms, and a small load takes three.

    The number of that clock is made of the number of the process.
    """
    try:
        return time.clock_gettime(~pid << 3 | _SCHEDULED)
    except OSError:  # it has ended meanwhile
        return 0.0


def _rss(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # it has ended meanwhile
        return 0


def _session(process: Path) -> int:
    fields = _fields(process)
    return int(fields[3]) if fields else -1


def _fields(process: Path) -> list[str]:
    """The fields of stat from the third one (the state) on: the name before it may hold anything."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
