"""The loop that tests run on: no time passes on it while the process does not run, as much as it works takes time."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time

FREEZE = """
import os, signal, sys, time
print(flush=True)
sys.stdin.readline()
os.kill(os.getppid(), signal.SIGSTOP)
time.sleep(0.6)
os.kill(os.getppid(), signal.SIGCONT)
print(flush=True)
"""


async def test_a_time_out_does_not_come_while_the_process_is_stopped() -> None:
    command = (sys.executable, "-Ic", FREEZE)
    freezing = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert freezing.stdin is not None
    assert freezing.stdout is not None
    await freezing.stdout.readline()
    began = time.monotonic()
    async with asyncio.timeout(0.3):
        freezing.stdin.write(b"\n")
        await freezing.stdout.readline()
    assert time.monotonic() - began > 0.3
    assert await freezing.wait() == 0


async def test_what_a_callback_waits_for_is_no_time_what_it_does_is() -> None:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    subprocess.run([sys.executable, "-Ic", "import time; time.sleep(0.3)"], check=True)  # blocks, does nothing
    await asyncio.sleep(0)
    assert loop.time() - begun < 0.2
    begun, worked = loop.time(), time.thread_time()
    while time.thread_time() - worked < 0.1:
        pass
    await asyncio.sleep(0)
    assert loop.time() - begun >= 0.1
