"""A plain start loads what a plain proxy needs: the rest is loaded when somebody asks for it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from mmap import PAGESIZE as PAGE
from pathlib import Path
from typing import Final

import pytest
import trustme

from nugetproxy.admin.commands import COMMANDS
from nugetproxy.store.sieve import Sieve

STARTED: Final = """
import asyncio, sys
sys.argv[1:] = ["serve", "--listen", "127.0.0.1:0", "--cache-dir", sys.argv[1]]

def run(_runner, main):
    main.close()
    return 0

asyncio.Runner.run = run
import nugetproxy.cli
try:
    nugetproxy.cli.main()
except SystemExit as ended:
    assert ended.code == 0
assert "rich" not in sys.modules
import ssl
from aiohttp import connector
for context in (connector._SSL_CONTEXT_VERIFIED, connector._SSL_CONTEXT_UNVERIFIED):
    assert context.cert_store_stats()["x509"] == 0, "the system's authorities were read"
own = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
own.set_default_verify_paths()
assert own.cert_store_stats()["x509"] == 1, "they cannot be read any more"
print(*sys.modules)
"""
"""A start as by the command, up to where the event loop would run."""
UNDER_WAY: Final = """
import gc
from nugetproxy import serve
from nugetproxy.config.model import Config

async def hold(*_):
    gc.collect()
    before = gc.get_stats()[0]["collections"]
    held = [[one] for one in range(3_000)]
    print(gc.get_stats()[0]["collections"] - before, len(held))
    return 0

serve._serve = hold
serve.run(Config())
"""
"""What a few dozen requests at once hold, in a process that serves."""
LATE: Final = (
    "nugetproxy.jobs",
    "nugetproxy.demo",
    "nugetproxy.cli.doctor",
    "nugetproxy.admin.explain",
    "nugetproxy.admin.audit",
    "nugetproxy.admin.page.overview",
    "nugetproxy.app.mirroring",
    "nugetproxy.nuget.projects",
    "nugetproxy.nuget.signatures.judge",
    "nugetproxy.nuget.signatures.certificates",
    "nugetproxy.cluster.bucket",
    "nugetproxy.cluster.coordinator",
    "aiohttp.web",
    "argparse",
    "asn1crypto",
    "cryptography",
    "ctypes",
    "obstore",
    "opentelemetry",
    "platformdirs",
    "pydantic",
    "pydantic_core",
    "redis",
    "rich",
    "typer",
    "uvloop",
    "zstandard",
)
"""Each costs memory of every proxy for what few of them do: certificates alone were 11 MB."""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Sequence[str]:
    """The modules of a process that is about to serve, on a system that knows one authority."""
    folder = tmp_path_factory.mktemp("start")
    known = folder / "known.pem"
    trustme.CA().cert_pem.write_to_path(known)
    environ = {**os.environ, "SSL_CERT_FILE": str(known), "SSL_CERT_DIR": str(folder / "none")}
    command = [sys.executable, "-c", STARTED, str(folder / "cache")]
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=120, env=environ)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("name", LATE)
def test_a_plain_start_does_not_load(loaded: Sequence[str], name: str) -> None:
    assert [one for one in loaded if one == name or one.startswith(f"{name}.")] == []


@pytest.mark.slow
def test_what_requests_hold_while_they_are_under_way_is_not_looked_through_for_garbage() -> None:
    done = subprocess.run([sys.executable, "-c", UNDER_WAY], capture_output=True, check=False, text=True, timeout=120)
    assert (done.stdout, done.returncode) == ("0 3000\n", 0), done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_where_the_table_says(name: str) -> None:
    assert callable(COMMANDS[name].run)


def test_a_sieve_takes_memory_only_where_something_was_put_in() -> None:
    before = _resident()
    sieves = [Sieve(("one", "two")) for _ in range(64)]
    taken = _resident() - before
    assert all("one" in sieve and "three" not in sieve for sieve in sieves)
    assert taken < 16 * 2**20


def _resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE
