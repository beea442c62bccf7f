"""Operators ask how the engines are, what lies in the bucket."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from nugetproxy.cli.commands import app
from tests.cluster.conftest import shared
from tests.cluster.engines import Moto, Redis
from tests.cluster.farm import toml


def cli(*words: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "300"})
    return done.exit_code, done.stdout, done.stderr


def written(folder: Path, cluster: dict[str, str], **more: Any) -> Path:
    tables = {
        "cache": {"directory": str(folder / "cache"), "min_free": "0"},
        "upstreams": {"up": {"url": "http://127.0.0.1:9/v3/index.json"}},
        "cluster": cluster,
        **more,
    }
    path = folder / "replica.toml"
    path.write_text(toml(tables))
    return path


def test_engines_that_work_are_said_to(tmp_path: Path, moto: Moto, redis: Redis) -> None:
    file = written(tmp_path, shared(moto, redis))
    code, said, _ = cli("cluster", "status", "--config", file)
    assert (code, said) == (0, "bucket\tworks\ncoordination\tworks\n")
    code, said, _ = cli("check-config", file, "--connect")
    assert code == 0
    assert "The bucket of [cluster]: works\nThe coordination of [cluster]: works" in said
    _, said, _ = cli("doctor", "--config", file)
    assert "the bucket of [cluster]: works" in said
    assert "the coordination of [cluster]: works" in said
    code, said, _ = cli("cluster", "du", "--config", file)
    assert code == 0
    code, said, _ = cli("cluster", "gc", "--config", file)
    assert (code, said) == (0, "Removed 0 objects.\n")


@pytest.mark.slow
def test_engines_that_do_not_answer_are_named(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        {
            "store": "s3://gone/x",
            "endpoint": "http://127.0.0.1:9",
            "region": "us-east-1",
            "store_key": "env:TEST_STORE_KEY",
            "store_secret": "env:TEST_STORE_SECRET",
            "coordination": "redis://127.0.0.1:9/0",
        },
    )
    code, said, problem = cli("check-config", file, "--connect")
    assert (code, "works" in said) == (1, False)
    assert "Something is wrong with: bucket, coordination." in problem
    _, said, _ = cli("doctor", "--config", file)
    assert ("the bucket of [cluster]:" in said, "[cluster]: works" in said) == (True, False)


def test_who_shares_nothing_is_told_so(tmp_path: Path) -> None:
    code, _, problem = cli("cluster", "status", "--config", written(tmp_path, {}))
    assert code != 0
    assert "Nothing is shared" in problem


@pytest.mark.parametrize(
    ("cluster", "more", "expected"),
    [
        ({"endpoint": "https://s3.example.com"}, {}, "cluster.endpoint: has no effect without cluster.store"),
        ({"store": "ftp://bucket"}, {}, "cluster.store: must be a URL such as"),
        ({"store": "s3://key:secret@bucket"}, {}, "cluster.store: a URL must not hold credentials"),
        ({"coordination": "http://redis"}, {}, "cluster.coordination: must be a URL such as"),
        ({"store": "s3://bucket", "store_key": "AKIA"}, {}, "cluster.store_key"),
        (
            {"store": "s3://bucket", "store_key": "env:NOT_SET"},
            {},
            "cluster.store_key: the environment",
        ),
        (
            {},
            {"feeds": {"all": {"sources": ["up"], "redirect_min_bytes": "1 MB"}}},
            "feeds.all.redirect_min_bytes: has no effect without cluster.store",
        ),
    ],
)
def test_a_mistake_is_told_by_its_key(
    tmp_path: Path, cluster: dict[str, str], more: dict[str, Any], expected: str
) -> None:
    code, _, problem = cli("check-config", written(tmp_path, cluster, **more))
    assert code != 0
    assert expected in problem


def test_without_a_bucket_it_is_said_what_is_not_shared(tmp_path: Path) -> None:
    code, _, problem = cli("check-config", written(tmp_path, {"coordination": "redis://redis.example.com"}))
    assert code == 0
    assert "claims, owners and tokens are its own" in problem


async def test_a_start_does_not_wait_for_engines(tmp_path: Path) -> None:
    from tests.fakes.process import ProxyProcess

    file = written(tmp_path, {"coordination": "redis://127.0.0.1:9/0"})
    async with asyncio.timeout(30), ProxyProcess("--config", file) as proxy:
        assert await proxy.stop() == 0
