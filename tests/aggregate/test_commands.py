"""``explain`` and ``claims`` at the command line, for a proxy that runs and for one that does not."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest
from typer.testing import CliRunner

from nugetproxy.cli.commands import app
from tests.aggregate.conftest import NEWER, OURS, THEIRS
from tests.fakes.feed import FakeFeed
from tests.fakes.process import ProxyProcess

pytestmark = pytest.mark.slow  # most tests start processes

CONFIG = """
[cache]
directory = "{cache}"
[server]
listen = "127.0.0.1:0"
[upstreams.company]
url = "{company}"
private = true
[upstreams.public]
url = "{public}"
private = false
[feeds.all]
sources = ["company", "public"]
"""


@pytest.fixture
def file(company: FakeFeed, public: FakeFeed, tmp_path: Path) -> Path:
    """The configuration."""
    company.add(OURS)
    public.add(THEIRS)
    public.add(NEWER)
    path = tmp_path / "farm.toml"
    values = {"cache": tmp_path / "cache", "company": company.index_url, "public": public.index_url}
    path.write_text(CONFIG.format(**values))
    return path


async def cli(*words: object) -> tuple[int, str, str]:
    """Exit code, stdout, stderr of a command."""
    done = await asyncio.to_thread(CliRunner().invoke, app, [str(word) for word in words])
    return done.exit_code, done.stdout, done.stderr


async def checked(file: Path) -> None:
    code, said, _ = await cli("explain", "Contoso.A", "1.0.0", "--config", file)
    assert code == 0
    assert (
        said.splitlines()[0]
        == "contoso.a 1.0.0 belongs to company, which listed it first; the id is claimed by company."
    )
    assert "public (public): not asked: the id is claimed by company" in said
    assert (await cli("claims", "--config", file))[:2] == (0, "contoso.a\tcompany\n")
    assert (await cli("claims", "none", "--config", file))[:2] == (0, "")


async def test_running_then_stopped(file: Path) -> None:
    async with ProxyProcess("--config", file) as proxy:
        url = f"{proxy.url}/v3/content/contoso.a/index.json"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            assert answer.status == 200
        await checked(file)
    await checked(file)
    code, said, _ = await cli("claims", "release", "Contoso.A", "--config", file)
    assert (code, said.startswith("Released contoso.a from company")) == (0, True)
    assert (await cli("claims", "--config", file))[:2] == (0, "")
    code, _, told = await cli("claims", "release", "--upstream", "company", "--config", file)
    assert (code, "There is no claim of company." in told) == (1, True)


@pytest.mark.parametrize("words", [("release",), ("a", "b"), ("a", "--upstream", "b"), ("release", "a", "b")])
async def test_what_cannot_be_meant(words: tuple[str, ...], file: Path) -> None:
    code, _, told = await cli("claims", *words, "--config", file)
    assert (code, "Write claims, claims ID" in told) == (64, True)


async def test_what_is_no_package_is_said(file: Path) -> None:
    code, _, told = await cli("explain", "a b", "--config", file)
    assert (code, "a b is not a package id" in told) == (1, True)
