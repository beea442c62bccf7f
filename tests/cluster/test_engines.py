"""The engines of these tests end with them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cluster.engines import Redis

ROOT = Path(__file__).parent.parent.parent
START = """
import time
from tests.cluster.engines import Redis

print(Redis().start()._process.pid, flush=True)
time.sleep(60)
"""


def is_there(pid: int) -> bool:
    """Whether it runs; one that has ended may wait for somebody to take note of it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_an_engine_does_not_outlive_tests_that_were_killed() -> None:
    if not Redis.is_there():
        pytest.skip("redis-server is missing: install the Debian package redis-server")
    with subprocess.Popen([sys.executable, "-c", START], cwd=ROOT, stdout=subprocess.PIPE) as tests:
        assert tests.stdout is not None
        engine = int(tests.stdout.readline())
        assert is_there(engine)
        tests.kill()
    until = time.monotonic() + 10
    while is_there(engine) and time.monotonic() < until:
        time.sleep(0.02)
    survived = is_there(engine)
    if survived:
        os.kill(engine, signal.SIGKILL)
    assert not survived
