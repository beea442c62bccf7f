"""``who``, ``sbom``, ``restores``: what a terminal is told of the history."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import uuid
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from nugetproxy.nuget.projects.sboms import read_json_bill
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.process import ProxyProcess
from tests.nuget.test_inventory import wrong_with
from tests.test_control import cli
from tests.web.test_tokens import basic

pytestmark = pytest.mark.slow  # most tests start processes

SECRET = "nupx_of-the-farm-long-enough"
NUPKG = make_nupkg("Acme.A", "1.0.0", authors="Ann", description="Does it.")
TOOL = make_nupkg("Acme.Tool", "2.0.0-beta.1")


def written(tmp_path: Path, feed: FakeFeed, more: str = "") -> Path:
    """A configuration for one upstream that anybody may read, with a token; ``more`` tables."""
    (tmp_path / "secret").write_text(SECRET)
    file = tmp_path / "proxy.toml"
    file.write_text(
        f"""
[cache]
directory = "{tmp_path / "cache"}"
min_free = "0"
[upstreams.up]
url = "{feed.index_url}"
anonymous = true
[[access.tokens]]
name = "farm"
token = "file:{tmp_path / "secret"}"
scopes = ["read"]
{more}
"""
    )
    return file


@pytest.fixture
def config(tmp_path: Path, feed: FakeFeed) -> Path:
    feed.add(NUPKG)
    feed.add(TOOL)
    return written(tmp_path, feed)


async def restore(proxy: ProxyProcess) -> None:
    headers = {"X-NuGet-Session-Id": "the-session"}
    async with aiohttp.ClientSession(headers=headers) as session:
        for name, shown in (
            ("acme.a.1.0.0", basic(SECRET)),
            ("acme.tool.2.0.0-beta.1", basic(SECRET)),
            ("acme.a.1.0.0", {}),
        ):
            id_, version = re.fullmatch(r"([a-z.]+)\.(\d.*)", name).groups()  # type: ignore[union-attr]
            async with session.get(f"{proxy.url}/v3/content/{id_}/{version}/{name}.nupkg", headers=shown) as answer:
                assert answer.status == 200


async def test_a_running_proxy_and_a_stopped_one_tell_the_same(config: Path) -> None:
    told = []
    async with ProxyProcess("--config", config) as proxy:
        await restore(proxy)
        told.append(await everything(config))
        await proxy.stop()
    told.append(await everything(config))
    assert told[0] == told[1]


async def everything(config: Path) -> list[str]:
    """The output of every command, once it was looked at."""
    code, who, err = await cli("who", "Acme.A", "--config", config)
    assert code == 0, err
    heading, *rows = who.splitlines()
    assert heading.split() == ["Token", "Version", "Times", "Last", "(UTC)", "Feed", "Address"]
    assert {(row.split()[0], row.split()[1], row.split()[-1]) for row in rows} == {
        ("farm", "1.0.0", "127.0.0.1"),
        ("-", "1.0.0", "127.0.0.1"),
    }
    assert (await cli("who", "acme.tool@2.0.0-BETA.1", "--config", config))[0] == 0
    assert (await cli("who", "acme.tool@1.0.0", "--config", config))[0] == 1
    assert (await cli("who", "acme.a", "--since", "2999-01-01", "--config", config))[0] == 1
    code, restores, _ = await cli("restores", "--config", config)
    assert code == 0
    assert len(restores.splitlines()) == 3, "a heading, what came by the token, what came without"
    code, one, _ = await cli("restores", "1", "--config", config)
    assert code == 0
    assert "It was quick." in one
    assert "acme.a 1.0.0" in one
    bill = await sbom(config)
    for varies in ("serialNumber", "metadata"):
        del bill[varies]
    return [who, restores, one, json.dumps(bill)]


async def sbom(config: Path, *more: str) -> dict[str, Any]:
    code, out, err = await cli("sbom", "--token", "farm", "--since", "1d", *more, "--config", config)
    assert code == 0, err
    bill: dict[str, Any] = json.loads(out)
    return bill


async def test_the_bill_of_materials_is_cyclonedx(config: Path) -> None:
    async with ProxyProcess("--config", config) as proxy:
        await restore(proxy)
        bill = await sbom(config)
    assert (bill["bomFormat"], bill["specVersion"], bill["version"]) == ("CycloneDX", "1.6", 1)
    prefix, serial = bill["serialNumber"][:9], bill["serialNumber"][9:]
    assert (prefix, str(uuid.UUID(serial))) == ("urn:uuid:", serial)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", bill["metadata"]["timestamp"])
    assert bill["metadata"]["component"]["name"] == "farm"
    first, second = bill["components"]
    assert first == {
        "type": "library",
        "bom-ref": "pkg:nuget/Acme.A@1.0.0",
        "name": "Acme.A",
        "version": "1.0.0",
        "purl": "pkg:nuget/Acme.A@1.0.0",
        "authors": [{"name": "Ann"}],
        "description": "Does it.",
        "hashes": [{"alg": "SHA-512", "content": hashlib.sha512(NUPKG).hexdigest()}],
    }
    assert second["purl"] == "pkg:nuget/Acme.Tool@2.0.0-beta.1"
    assert base64.b16decode(second["hashes"][0]["content"].upper()) == hashlib.sha512(TOOL).digest()
    needs = read_json_bill(json.dumps(bill).encode(), "bom.json")
    assert [str(one.id) for one in needs.exact] == ["acme.a", "acme.tool"], "warm reads it"
    assert wrong_with(bill) == "", "by the official schema"


async def test_what_cannot_be_told_says_why(config: Path, tmp_path: Path) -> None:
    assert (await cli("keep", "acme.a", "--config", config))[0] == 0, "a cache is begun"
    assert (await cli("sbom", "--config", config))[0] == 64
    assert (await cli("who", "acme.a", "--since", "yesterday", "--config", config))[0] == 64
    code, _, err = await cli("restores", "--config", config)
    assert (code, "history.restores" in err) == (1, True)
    code, _, err = await cli("restores", "7", "--config", config)
    assert (code, "no such restore" in err) == (1, True)
    code, _, err = await cli("who", "../..", "--config", config)
    assert (code, "no package id" in err) == (1, True)
    config.write_text(config.read_text() + '[history]\nusage = "off"\n')
    code, _, err = await cli("who", "acme.a", "--config", config)
    assert (code, "history.usage" in err) == (1, True)


@pytest.mark.parametrize("columns", [60, 80])
async def test_tables_fit_into_their_terminal(config: Path, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async with ProxyProcess("--config", config) as proxy:
        await restore(proxy)
        monkeypatch.setenv("COLUMNS", str(columns))
        for words in (("who", "acme.a"), ("restores",), ("restores", "1")):
            code, out, _ = await cli(*words, "--config", config)
            assert code == 0
            assert max(map(len, out.splitlines())) <= columns, out
