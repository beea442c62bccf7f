"""``nugetproxy ledger begin-afresh`` ends a refusal to start, and never works beside a running proxy."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from nugetproxy.cli.commands import app
from nugetproxy.errors import StoreUnusable
from nugetproxy.store.lock import DirectoryLock
from tests.fakes.asking import PACKAGE, SMALL, ask
from tests.fakes.feed import FakeFeed
from tests.fakes.proxy import Proxy

LEDGER = ["ledger", "begin-afresh", "--cache-dir"]


async def test_a_damaged_ledger_without_copies_is_set_aside_and_the_proxy_starts(proxy: Proxy, feed: FakeFeed) -> None:
    feed.add(SMALL)
    assert (await ask(proxy, PACKAGE)).body == SMALL
    await proxy.stop()
    (proxy.directory / "ledger.db").write_bytes(b"?" * 5000)
    with pytest.raises(StoreUnusable, match="begin-afresh"):
        await proxy.start()
    await proxy.app.__aexit__(None, None, None)
    done = CliRunner().invoke(app, [*LEDGER, str(proxy.directory)])
    assert done.exit_code == 0, done.output
    (aside,) = proxy.directory.glob("ledger.db.corrupt-*")
    assert aside.read_bytes() == b"?" * 5000
    assert str(aside) in done.output.replace("\n", "")
    await proxy.start()
    got = await ask(proxy, PACKAGE)
    assert (got.body, got.cache) == (SMALL, "hit")


def test_beside_a_running_proxy_it_does_nothing(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"?")
    with DirectoryLock(tmp_path):
        done = CliRunner().invoke(app, [*LEDGER, str(tmp_path)])
    assert done.exit_code == 75
    assert (tmp_path / "ledger.db").read_bytes() == b"?"
