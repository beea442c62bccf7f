"""The engines and replicas of these tests end with them."""

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
ENGINE = """
import time
from tests.cluster.engines import Redis

print(Redis().start()._process.pid, flush=True)
time.sleep(60)
"""
REPLICA = """
import asyncio, sys
from pathlib import Path
from tests.cluster.farm import Farm

async def main():
    async with Farm(Path(sys.argv[1]), {}, replicas=1) as farm:
        print(farm.replicas[0].pid, flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


def is_there(pid: int) -> bool:
    """Whether it runs; one that has ended may wait for somebody to take note of it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("start", [ENGINE, REPLICA], ids=["engine", "replica"])
def test_none_outlives_tests_that_were_killed(tmp_path: Path, start: str) -> None:
    if start is ENGINE and not Redis.is_there():
        pytest.skip("redis-server is missing: install the Debian package redis-server")
    with subprocess.Popen([sys.executable, "-c", start, tmp_path], cwd=ROOT, stdout=subprocess.PIPE) as tests:
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
