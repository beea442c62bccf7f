"""What is stored belongs to an upstream as it is asked: by its name, where, as whom; never to a secret's value."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from nugetproxy.config import Config
from nugetproxy.config.tables import read
from tests.conftest import StartProxy
from tests.fakes import canary
from tests.fakes.asking import SMALL, UP_VERSIONS, VERSIONS, ask
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.origin import Script, Seen
from tests.fakes.packages import make_nupkg

OTHER = "/v3/content/acme.b/index.json"
LOGIN = {"username": "svc", "password": "env:TEST_PASSWORD"}


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_PASSWORD", canary.PASSWORD)
    monkeypatch.setenv("TEST_TOKEN", canary.TOKEN)


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"username": "other", "password": "env:TEST_PASSWORD"},
        {"username": "svc", "password": "env:TEST_TOKEN"},
        {"headers": {"Authorization": "env:TEST_PASSWORD"}},
        {**LOGIN, "headers": {"X-Team": "build"}},
    ],
)
async def test_upstreams_at_one_url_share_nothing_that_is_stored(
    start_proxy: StartProxy, feed: FakeFeed, other: dict[str, Any]
) -> None:
    """What one of them may see the other may not."""
    more = {"url": feed.index_url, **other}
    proxy = await start_proxy(feed.index_url, upstream=LOGIN, upstreams={"second": more})
    feed.add(SMALL)
    assert (await ask(proxy, VERSIONS)).status == 200
    got = await ask(proxy, f"/second{VERSIONS}")
    assert (got.status, got.cache) == (200, "fwd=uri-miss; fwd-status=200; stored")
    assert feed.count(UP_VERSIONS) == 2


def test_the_identity_says_everything_but_values() -> None:
    def identity(**more: Any) -> tuple[str, ...]:
        return read(Config, {"upstreams": {"u": {"url": "https://x/index.json", **more}}}).upstreams["u"].identity

    known = [
        identity(),
        identity(**LOGIN),
        identity(username="other", password="env:TEST_PASSWORD"),
        identity(username="svc", password="env:TEST_TOKEN"),
        identity(headers={"X-Key": "env:TEST_TOKEN"}),
        identity(headers={"X-Team": "build"}),
    ]
    assert len(set(known)) == len(known)
    assert canary.PASSWORD not in json.dumps(known)


async def test_a_rotated_secret_finds_what_is_stored_but_asks_again_for_what_was_hidden(
    start_proxy: StartProxy, feed: FakeFeed, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed.add(SMALL)
    feed.add(make_nupkg("Acme.B", "1.0.0"))
    feed.origin.routes["/v3-flatcontainer/acme.b/index.json"] = _hidden_from(canary.PASSWORD)
    proxy = await start_proxy(feed.index_url, upstream=LOGIN)
    assert (await ask(proxy, VERSIONS)).status == 200
    assert (await ask(proxy, OTHER)).status == 404

    clock.advance(5)
    await proxy.restart()
    assert (await ask(proxy, OTHER)).cache == "hit; ttl=25", "the same secret sees the same"

    await proxy.stop()
    monkeypatch.setenv("TEST_PASSWORD", "another-password")
    again = await start_proxy(feed.index_url, upstream=LOGIN)
    assert (await ask(again, VERSIONS)).cache == "hit; ttl=295", "nothing else is asked for again"
    assert (await ask(again, OTHER)).status == 200


def _hidden_from(password: str) -> Any:
    """A list that is not there for who logs in with ``password``."""
    pair = base64.b64encode(f"svc:{password}".encode()).decode()

    def answer(seen: Seen) -> Script:
        hidden = seen.headers.get("Authorization") == f"Basic {pair}"
        return Script(status=404) if hidden else Script(body=b'{"versions":["1.0.0"]}')

    return answer
