"""Who shares nothing pays nothing for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PROGRAM = """
import asyncio, sys
from pathlib import Path
from nugetproxy.app import build
from nugetproxy.config import Config

async def main():
    config = Config(cache={"directory": sys.argv[1], "min_free": "0"}, upstreams={"up": {"url": sys.argv[2]}})
    async with build(config) as app:
        assert app.replicas is None
        assert all(one.shared is None for one in app.packages.values())
asyncio.run(main())
shared = {"obstore", "redis", "hiredis", "nugetproxy.cluster.bucket", "nugetproxy.cluster.coordinator"}
print(sorted(shared & sys.modules.keys()))
"""


def test_without_the_table_neither_client_is_imported(tmp_path: Path) -> None:
    index = "http://127.0.0.1:9/v3/index.json"
    environ = {name: value for name, value in os.environ.items() if not name.startswith("NUGETPROXY_")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path / "cache", index],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"
