"""Fixtures of the outage tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.conftest import StartProxy
from tests.fakes.asking import ask
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy
from tests.outage.kit import CATALOG, COLD, COMMON, MANY, RICH, Down, NamedFeed, links_of, routes_of, upstream

OF_MANY = [make_nupkg("Many", f"1.0.{patch}") for patch in range(MANY)]


@pytest.fixture
async def named() -> AsyncIterator[NamedFeed]:
    """The upstream: one package with everything, one of many versions, one that nobody asks for before the outage."""
    async with NamedFeed() as feed:
        feed.vulnerabilities = {
            "base": {"acme.a": [{"severity": 1, "url": "https://a.example/", "versions": "[0.9.0]"}]}
        }
        feed.add(RICH)
        feed.add(COLD)
        for nupkg in OF_MANY:
            feed.add(nupkg)
        yield feed


@pytest.fixture
def how() -> Down:
    """The outage, where a test is not about several."""
    return "5xx"


@pytest.fixture
async def warm(start_proxy: StartProxy, named: NamedFeed, how: Down) -> tuple[Proxy, list[str]]:
    """A proxy that was asked for everything about ``acme.a``, with all that it was asked for."""
    proxy = await start_proxy(named.index_url, upstream=upstream(how), resolver=named.names)
    paths = [*COMMON, *routes_of("acme.a"), "/v3/registration/gz-semver2/many/index.json", CATALOG]
    paths += await links_of(proxy)
    for path in paths:
        got = await ask(proxy, path)
        assert got.status == 200, (path, got.status)
    return proxy, paths
