"""Four replicas, each a process, in the storms and failures that a farm sees."""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.conftest import shared
from tests.cluster.engines import HOST, Redis, SeaweedFs, free_port, running
from tests.cluster.farm import PACKAGES, REPLICAS, Farm, Storm, after, any_replica, by_hash
from tests.fakes.packages import make_nupkg

ROOT = Path(__file__).parent.parent.parent
pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(600)]


def note(record_property: Any, name: str, storm: Storm) -> None:
    record_property(name, str(storm))
    print(name, storm, storm.errors[:3])


@pytest.mark.parametrize("how", ["hash", "both", "bucket"])
async def test_a_cold_storm_asks_upstream_once_for_each_package(
    request: pytest.FixtureRequest, tmp_path: Path, record_property: Any, how: str
) -> None:
    """Then every disk is replaced, upstream is dead, and the bucket serves all."""
    store = request.getfixturevalue("seaweed") if how != "hash" else None
    redis = request.getfixturevalue("redis") if how == "both" else None
    choose = by_hash if how == "hash" else any_replica
    async with Farm(tmp_path, shared(store, redis)) as farm:
        storm = await farm.storm(choose)
        note(record_property, f"cold storm, {how}", storm)
        assert storm.errors == []
        assert storm.per_package <= 1.1
        if how == "hash":
            return
        await farm.uploaded()
        await farm.feed.set_mode("refused")
        await farm.replace_disks()
        storm = await farm.storm(choose)
        note(record_property, f"disks replaced, upstream dead, {how}", storm)
        assert (storm.errors, storm.per_package) == ([], 0)


@pytest.mark.parametrize("when", ["before", "in the middle"])
@pytest.mark.parametrize("how", ["killed", "hangs"])
@pytest.mark.parametrize("which", ["redis", "bucket"])
async def test_an_engine_that_is_lost_costs_no_answer_and_two_seconds(
    tmp_path: Path, record_property: Any, which: str, how: str, when: str
) -> None:
    for engine in (SeaweedFs, Redis):
        if not engine.is_there():
            pytest.skip(f"{engine.program} is missing")
    async with Farm(tmp_path / "alone", {}) as farm:
        alone = await farm.storm()
    with running(SeaweedFs()) as store, running(Redis()) as redis:
        assert isinstance(store, SeaweedFs) and isinstance(redis, Redis)
        store.make_bucket()
        engine = store if which == "bucket" else redis
        async with Farm(tmp_path / "shared", shared(store, redis)) as farm:
            lose = engine.kill if how == "killed" else engine.hang
            if when == "before":
                await asyncio.to_thread(lose)
            async with after(farm.half, lose) if when != "before" else nullcontext():
                storm = await farm.storm()
            note(record_property, f"{which} {how} {when} (alone: p99 {alone.p99:.2f} s)", storm)
            assert storm.errors == []
            assert storm.p99 <= alone.p99 + 2.0
            assert storm.per_package <= REPLICAS


async def test_a_replica_that_is_killed_costs_no_wrong_byte(
    tmp_path: Path, record_property: Any, seaweed: SeaweedFs, redis: Redis
) -> None:
    async with Farm(tmp_path, shared(seaweed, redis)) as farm:
        dead: list[int] = []

        async def kill() -> None:
            dead.append(0)
            await farm.replicas[0].kill()

        def choose(_: str, number: int) -> int:
            return number % REPLICAS if not dead or number % REPLICAS else 1

        async with after(farm.half, lambda: kill()):
            storm = await farm.storm(choose)
        note(record_property, "a replica killed", storm)
        assert not [one for one in storm.errors if "WRONG" in one]
        assert all(one.startswith(farm.replicas[0].url or "http") for one in storm.errors)
        assert storm.per_package <= 1.5


async def test_what_one_replica_pushes_all_list(tmp_path: Path, record_property: Any, redis: Redis) -> None:
    async with Farm(tmp_path, shared(None, redis)) as farm:
        path = "/v3/content/acme.p0/index.json"
        for number in range(REPLICAS):
            assert (await farm.json(number, path))["versions"] == ["1.0.0"]
        await farm.push(0, make_nupkg("Acme.P0", "2.0.0"))
        began = time.monotonic()
        for number in range(1, REPLICAS):
            while "2.0.0" not in (await farm.json(number, path))["versions"]:
                assert time.monotonic() - began < 2
        took = time.monotonic() - began
        record_property("push seen by all after", f"{took:.3f} s")
        assert took < 0.2 + 0.3  # three answers one after the other, on a busy machine


async def test_a_rolling_restart_behind_haproxy_loses_no_request(
    tmp_path: Path, record_property: Any, seaweed: SeaweedFs, redis: Redis
) -> None:
    haproxy = shutil.which("haproxy") or "/usr/sbin/haproxy"
    if not Path(haproxy).exists():
        pytest.skip("haproxy is missing: install the Debian package haproxy")
    *ports, front = [free_port() for _ in range(REPLICAS + 1)]
    servers = "".join(f"    server r{number} {HOST}:{port}\n" for number, port in enumerate(ports))
    shipped = (ROOT / "deploy" / "haproxy-cluster.cfg").read_text().replace("bind :5555", f"bind {HOST}:{front}")
    file = tmp_path / "haproxy.cfg"
    file.write_text(re.sub(r"(?m)^    server .*\n", "", shipped) + servers)
    async with Farm(tmp_path / "farm", shared(seaweed, redis), ports=ports) as farm:
        balancer = await asyncio.create_subprocess_exec(haproxy, "-db", "-f", file)
        try:
            await asyncio.sleep(2.5)  # until it has seen that all of them are there
            done = asyncio.Event()
            load = asyncio.create_task(farm.restore_until(done, f"http://{HOST}:{front}"))
            for one in farm.replicas:
                await asyncio.sleep(2)
                assert await one.stop() == 0
                await one.start()
                await one.listening()
                await one.ready()
            await asyncio.sleep(2)
            done.set()
            storm = await load
        finally:
            balancer.terminate()
            await balancer.wait()
        record_property("rolling restart", f"{len(storm.seconds)} requests, {len(storm.errors)} errors")
        assert len(storm.seconds) > 100
        assert storm.errors == []


async def test_a_large_fill_takes_little_memory(tmp_path: Path, record_property: Any, seaweed: SeaweedFs) -> None:
    large = make_nupkg("Acme.Large", "1.0.0", size=300_000_000)
    async with Farm(tmp_path, shared(seaweed, None), replicas=2) as farm:
        farm.feed.add(large)
        path = "/v3/content/acme.large/1.0.0/acme.large.1.0.0.nupkg"
        before = [memory(one.pid, "VmRSS") for one in farm.replicas]
        for number in range(2):
            assert await farm.size(number, path) == len(large)
            await farm.uploaded()
        grown = [(memory(one.pid, "VmHWM") - old) / 2**20 for one, old in zip(farm.replicas, before, strict=True)]
        assert farm.fetches()["/v3-flatcontainer/acme.large/1.0.0/acme.large.1.0.0.nupkg"] == 1
        record_property("300 MB through upload and download, growth", [f"{one:.0f} MiB" for one in grown])
        assert max(grown) <= 64


def memory(pid: int, field: str) -> int:
    """Bytes of a process: now (VmRSS), or the most that it ever had (VmHWM)."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(rf"{field}:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


async def test_without_engines_a_hit_and_a_miss_cost_no_further_call(tmp_path: Path) -> None:
    """Nothing of the second level is counted, since there is none."""
    async with Farm(tmp_path, {}, replicas=1) as farm:
        await farm.storm(lambda _, __: 0, clients=2)
        text = await farm.metrics(0)
        assert not re.findall(r"^nugetproxy_(?:shared|engine_calls)_total\{.*$", text, re.MULTILINE)
        assert sum(farm.fetches().values()) == PACKAGES
