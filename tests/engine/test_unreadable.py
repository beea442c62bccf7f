"""A folder of an id that the disk does not give keeps none of the others from being looked after."""

from __future__ import annotations

import errno
import json

import orjson
import pytest
from structlog.testing import capture_logs

from nugetproxy.admin.commands import carry_out
from nugetproxy.engine.held_entries import enter_held
from nugetproxy.engine.unpinned import look_into_unpinned
from nugetproxy.errors import BadRequest
from nugetproxy.store.fs import DiskFailure, FsOps, StrPath
from tests.conftest import StartProxy
from tests.fakes.asking import ask
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy
from tests.outage.kit import lay_down

OTHERS = {"bulk.n0", "bulk.n1", "bulk.n3", "bulk.n4"}


class Unreadable(FsOps):
    """Does not list one folder."""

    def names(self, path: StrPath) -> list[str]:
        if str(path).endswith("/bulk.n2"):
            raise DiskFailure("names", errno.EIO, str(path))
        return super().names(path)


@pytest.fixture
async def proxy(start_proxy: StartProxy, feed: FakeFeed) -> Proxy:
    """One that holds five packages, of one of which it cannot say so."""
    proxy = await start_proxy(feed.index_url, fs=Unreadable())
    await proxy.stop()
    for number in range(5):
        lay_down(proxy.packages, f"bulk.n{number}", "1.0.0", make_nupkg(f"Bulk.N{number}", "1.0.0"))
    await proxy.start()
    return proxy


async def test_they_are_scrubbed(proxy: Proxy) -> None:
    size = sum(len(make_nupkg(id, "1.0.0")) for id in ("Bulk.N0", "Bulk.N1", "Bulk.N3", "Bulk.N4"))
    with capture_logs() as logs:
        await proxy.app.scrub.round()
    assert proxy.metric("scrub_bytes_total") == size
    told = [(one["event"], one.get("detail", "")) for one in logs if one["event"].startswith("scrub.")]
    assert [event for event, _ in told] == ["scrub.skipped", "scrub.finished"]
    assert "bulk.n2" in told[0][1]


async def test_they_are_entered_in_the_first_seen_log_and_pinned(proxy: Proxy, clock: FakeClock) -> None:
    await look_into_unpinned(proxy.held, clock)
    assert {one.id for one in await proxy.held.pinned_versions("bulk.n2", *OTHERS)} == OTHERS
    with capture_logs() as logs:
        await enter_held(proxy.held, proxy.app.shared.provenance, clock)
    lines = (proxy.directory / "provenance.log").read_bytes().splitlines()
    assert {orjson.loads(line)["id"] for line in lines} == OTHERS
    assert "bulk.n2" in next(one["detail"] for one in logs if one["event"] == "provenance.incomplete")


async def test_an_operator_has_them_verified_and_is_told_of_the_one(proxy: Proxy) -> None:
    said = await carry_out(proxy.app.desk, "verify", {}, by="a test")
    assert (said["checked"], said["next"]) == (4, "")
    (one,) = said["damaged"]
    assert (one["upstream"], one["id"], one["repaired"]) == ("up", "bulk.n2", False)
    assert "EIO" in one["says"]


async def test_an_operator_who_lists_what_is_held_is_told_too(proxy: Proxy, clock: FakeClock) -> None:
    said = await carry_out(proxy.app.desk, "ls", {}, by="a test")
    assert (said["count"], "bulk.n2" in said["unread"].get("up", "")) == (4, True)
    await enter_held(proxy.held, proxy.app.shared.provenance, clock)
    with pytest.raises(BadRequest, match=r"bulk\.n2"):
        await carry_out(proxy.app.desk, "provenance/verify", {}, by="a test")


async def test_they_are_found_but_not_all_is_known(proxy: Proxy, feed: FakeFeed) -> None:
    await feed.set_mode("refused")
    found = json.loads((await ask(proxy, "/v3/query?q=bulk&semVerLevel=2.0.0")).body)
    assert {one["id"].lower() for one in found["data"]} == OTHERS
    assert not proxy.held.holdings.synced
    assert (await ask(proxy, "/v3/content/bulk.n2/index.json")).status == 503
    assert json.loads((await ask(proxy, "/v3/content/bulk.n3/index.json")).body)["versions"] == ["1.0.0"]


async def test_a_hash_file_that_cannot_be_read_keeps_no_other_package_from_its_line(
    start_proxy: StartProxy, feed: FakeFeed, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = await start_proxy(feed.index_url, fs=(fs := FsOps()))
    await proxy.stop()
    for number in range(3):
        lay_down(proxy.packages, f"bulk.n{number}", "1.0.0", make_nupkg(f"Bulk.N{number}", "1.0.0"))
    await proxy.start()

    def content(path: StrPath, limit: int) -> bytes:
        if str(path).endswith("bulk.n1.1.0.0.nupkg.sha512"):
            raise DiskFailure("read", errno.EIO, str(path))
        return FsOps.content(fs, path, limit)

    monkeypatch.setattr(fs, "content", content)
    with capture_logs() as logs:
        await enter_held(proxy.held, proxy.app.shared.provenance, clock)
    lines = (proxy.directory / "provenance.log").read_bytes().splitlines()
    assert {orjson.loads(line)["id"] for line in lines} == {"bulk.n0", "bulk.n2"}
    assert "bulk.n1" in next(one["detail"] for one in logs if one["event"] == "provenance.incomplete")
