"""The canary rule: secrets are used, sent where they belong, seen nowhere else."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import StartProxy, pytest_runtest_makereport
from tests.fakes import canary
from tests.fakes import logs as fake_logs
from tests.fakes.asking import SMALL, ask, until
from tests.fakes.feed import FakeFeed
from tests.fakes.origin import Origin, Script

UP_PUSH = "/api/v2/package/"
READS = (
    "/v3/index.json",
    "/v3/content/acme.a/index.json",
    "/v3/content/acme.a/1.0.0/acme.a.1.0.0.nupkg",
    "/v3/registration/gz-semver2/acme.a/index.json",
    "/v3/query?q=acme",
    "/v3/vulnerabilities/index.json",
    "/v3/content/acme.none/1.0.0/acme.none.1.0.0.nupkg",
    "/v3/nothing",
    "/health/ready",
    "/metrics",
)
AUTHORIZATION = f"Basic {base64.b64encode(canary.BASIC.encode()).decode()}"


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """The log as a running proxy writes it, everything included."""
    with fake_logs.written() as stream:
        yield stream


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY_PASSWORD", canary.PASSWORD)
    monkeypatch.setenv("CANARY_TOKEN", canary.TOKEN)


async def test_secrets_reach_their_upstream_and_nobody_else(
    start_proxy: StartProxy, feed: FakeFeed, lines: io.StringIO
) -> None:
    feed.add(SMALL)
    upstream = {
        "username": canary.USER,
        "password": "env:CANARY_PASSWORD",
        "headers": {"X-Api-Token": "env:CANARY_TOKEN"},
    }
    proxy = await start_proxy(feed.index_url, upstream=upstream)
    async with Origin() as elsewhere:
        moved = Script(status=307, headers=[("Location", f"{elsewhere.url}/taken?key={canary.API_KEY}")])
        for mode in ("up", "5xx", "html", "429", "refused"):
            await feed.set_mode(mode)
            for path in READS:
                await ask(proxy, path)
            for scripts in ({}, {UP_PUSH: moved}, {UP_PUSH: Script(raw=b"", end="rst")}):
                feed.origin.routes |= scripts
                for method, path in (("PUT", "/v3/package/"), ("DELETE", "/v3/package/Acme.A/1.0.0")):
                    await ask(proxy, path, method, headers={"X-NuGet-ApiKey": canary.API_KEY}, data=b"body")
            feed.origin.routes.pop(UP_PUSH)
        assert elsewhere.requests == []

    reads = [seen for seen in feed.requests if seen.method in {"GET", "HEAD"}]
    writes = [seen for seen in feed.requests if seen not in reads]
    assert {seen.headers.get("Authorization") for seen in reads} == {AUTHORIZATION}
    assert {seen.headers.get("X-Api-Token") for seen in reads} == {canary.TOKEN}
    assert {seen.headers.get("Authorization") for seen in writes} == {None}, "configured secrets go with no write"
    assert {seen.headers.get("X-Api-Token") for seen in writes} == {None}
    written = [seen for seen in writes if seen.method == "PUT"]
    assert {seen.headers["X-NuGet-ApiKey"] for seen in written} == {canary.API_KEY}
    await proxy.stop()  # searches metrics and cache directory
    await until(lambda: "write.audit" in lines.getvalue())
    assert not canary.sightings(lines.getvalue().encode())


async def test_a_secret_in_an_exception_is_not_logged(
    start_proxy: StartProxy, feed: FakeFeed, lines: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = await start_proxy(feed.index_url, upstream={"headers": {"X-Api-Token": "env:CANARY_TOKEN"}})

    async def crash(*_: object) -> None:
        raise RuntimeError(f"could not use {canary.TOKEN} here")

    monkeypatch.setattr(proxy.app.feeds["up"], "read", crash)
    got = await ask(proxy, "/v3/index.json")
    assert got.status == 500
    await until(lambda: "request.crashed" in lines.getvalue())
    crashed = next(json.loads(line) for line in lines.getvalue().splitlines() if "request.crashed" in line)
    assert "RuntimeError" in crashed["exception"]
    assert not canary.sightings(lines.getvalue().encode())


# --- the rule itself -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "secret", [canary.API_KEY, canary.PASSWORD, canary.TOKEN, canary.BASIC], ids=["key", "password", "token", "basic"]
)
def test_a_canary_is_recognised_in_every_form(secret: str, tmp_path: Path) -> None:
    (tmp_path / "clean").write_bytes(b"nothing of the kind")
    assert canary.search(tmp_path) == []
    for form in canary._forms(secret):
        (tmp_path / "file").write_bytes(b"some \x00 bytes " + form + b" and more")
        assert len(canary.search(tmp_path)) == 1


async def test_a_response_with_a_canary_fails_its_reader(start_proxy: StartProxy, feed: FakeFeed) -> None:
    feed.origin.routes["/v3-flatcontainer/acme.a/1.0.0/readme"] = Script(body=f"see {canary.API_KEY}".encode())
    proxy = await start_proxy(feed.index_url)
    with pytest.raises(AssertionError, match="a secret in the body"):
        await ask(proxy, "/v3/content/acme.a/1.0.0/readme")
    with pytest.raises(AssertionError, match="secrets in the cache directory"):
        await proxy.stop()


def test_output_with_a_canary_fails_its_test(request: pytest.FixtureRequest) -> None:
    report = pytest.TestReport(
        "a test", ("", 0, ""), {}, "passed", None, "call", sections=[("Captured stdout call", canary.TOKEN)]
    )
    steps = pytest_runtest_makereport(request.node, None)  # type: ignore[arg-type]
    next(steps)
    with pytest.raises(StopIteration) as returned:
        steps.send(report)
    assert returned.value.value.outcome == "failed"
