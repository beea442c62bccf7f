"""``audit`` in a terminal: what it prints, with which code it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fakes.asking import until
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.process import ProxyProcess
from tests.test_cli_history import restore, written
from tests.test_control import cli

pytestmark = pytest.mark.slow  # most tests start processes

HOLE = {"url": "https://example.test/advisories/GHSA-aaaa-bbbb-cccc", "severity": 2, "versions": "(, 1.0.0]"}

RULES = """
[feeds.up]
sources = ["up"]
[[feeds.up.rules]]
name = "no-betas"
ids = ["Acme.Tool"]
prerelease = true
dry_run = true
"""


@pytest.fixture
def config(tmp_path: Path, feed: FakeFeed) -> Path:
    feed.add(make_nupkg("Acme.A", "1.0.0"))
    feed.add(make_nupkg("Acme.Tool", "2.0.0-beta.1"))
    feed.vulnerabilities["base"] = {"acme.a": [HOLE]}
    return written(tmp_path, feed, RULES)


async def fetched(config: Path, proxy: ProxyProcess) -> None:
    await restore(proxy)
    held = config.parent / "cache" / "up" / "packages"
    await until(lambda: len(list(held.glob("*/*/*.sha512"))) == 2)


async def test_a_running_proxy_and_a_stopped_one_tell_the_same(config: Path) -> None:
    told = []
    async with ProxyProcess("--config", config) as proxy:
        await fetched(config, proxy)
        told.append(await cli("audit", "--config", config))
        await proxy.stop()
    told.append(await cli("audit", "--config", config))
    assert told[0] == told[1]
    code, out, err = told[0]
    assert (code, err) == (0, "")
    heading, first, second, total = out.splitlines()
    assert heading.split() == ["Package", "Version", "Severity", "Got", "by", "Found"]
    assert first.split()[:3] == ["acme.a", "1.0.0", "high"]
    assert first.endswith(f"advisory {HOLE['url']}")
    assert "farm" in first
    assert second.split()[:3] == ["acme.tool", "2.0.0-beta.1", "low"]
    assert second.endswith("would be decided by the rule 'no-betas' of 'up' (it is a prerelease)")
    assert total == "2 of 2 versions with something to say."


@pytest.mark.parametrize(("severity", "code"), [("low", 1), ("high", 1), ("critical", 0)])
async def test_a_build_fails_from_the_severity_on_that_it_names(config: Path, severity: str, code: int) -> None:
    async with ProxyProcess("--config", config) as proxy:
        await fetched(config, proxy)
        ended, out, _ = await cli("audit", "--json", "--fail-on", severity, "--config", config)
        assert ended == code
        assert [one["severity"] for one in json.loads(out)["findings"]] == ["high", "low"]
        assert (await cli("audit", "--fail-on", "low", "--since", "2999-01-01", "--config", config))[0] == 0
        assert (await cli("audit", "--fail-on", "grave", "--config", config))[0] == 2


@pytest.mark.parametrize("columns", [60, 80])
async def test_it_fits_into_its_terminal(config: Path, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async with ProxyProcess("--config", config) as proxy:
        await fetched(config, proxy)
        monkeypatch.setenv("COLUMNS", str(columns))
        code, out, _ = await cli("audit", "--config", config)
        assert code == 0
        assert max(map(len, out.splitlines())) <= columns, out


async def test_an_advisory_does_not_speak_to_the_terminal(config: Path, feed: FakeFeed) -> None:
    feed.vulnerabilities["base"] = {"acme.a": [{**HOLE, "url": f"{HOLE['url']}\x1b[2J"}]}
    async with ProxyProcess("--config", config) as proxy:
        await fetched(config, proxy)
        _, out, _ = await cli("audit", "--config", config)
        assert f"advisory {HOLE['url']}\\u001b[2J" in out


async def test_what_is_not_known_is_told(config: Path, feed: FakeFeed) -> None:
    async with ProxyProcess("--config", config) as proxy:
        await fetched(config, proxy)
        await feed.set_mode("refused")
        _, _, err = await cli("audit", "--config", config)
        assert "Not known now of 'up'" in err
