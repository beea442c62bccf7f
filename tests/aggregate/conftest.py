"""Farms: one feed of a private and a public source."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import pytest

from tests.conftest import StartProxy
from tests.fakes.asking import Got, ask
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy

QUICK = {"tries": 1, "connect_timeout": "10s", "read_timeout": "10s", "document_deadline": "20s"}
"""Whoever is down refuses at once; tests of a hanging source set short times."""

StartFarm = Callable[..., Awaitable["Farm"]]


class Farm:
    """A proxy with the feed ``all`` at its root, in front of two feeds."""

    def __init__(self, proxy: Proxy, company: FakeFeed, public: FakeFeed) -> None:
        self.proxy = proxy
        self.company = company
        self.public = public

    async def get(self, path: str, method: str = "GET", **more: Any) -> Got:
        return await ask(self.proxy, path.removeprefix(self.proxy.url), method, **more)

    async def read(self, path: str) -> Any:
        got = await self.get(path)
        assert got.status == 200, (path, got.status, got.body)
        return json.loads(got.body)

    async def versions(self, id: str) -> list[str]:
        return list((await self.read(f"/v3/content/{id}/index.json"))["versions"])

    async def package(self, id: str, version: str) -> Got:
        return await self.get(f"/v3/content/{id}/{version}/{id}.{version}.nupkg")

    async def error(self, path: str, status: int) -> str:
        got = await self.get(path)
        assert got.status == status, (path, got.status, got.body)
        return str(json.loads(got.body)["error"])


def asked_for(feed: FakeFeed, word: str) -> list[str]:
    """The requests that name something."""
    return [seen.target for seen in feed.requests if word.lower() in seen.target.lower()]


@pytest.fixture
async def company() -> AsyncIterator[FakeFeed]:
    """What only its owners publish to."""
    async with FakeFeed() as running:
        yield running


@pytest.fixture
async def public() -> AsyncIterator[FakeFeed]:
    """Where anybody publishes."""
    async with FakeFeed() as running:
        yield running


@pytest.fixture
def start_farm(start_proxy: StartProxy, company: FakeFeed, public: FakeFeed) -> StartFarm:
    """Starts farms: ``await start_farm(mapping={...})``; further ones are keys of its table, ``feeds`` others."""

    async def start(
        upstream: Mapping[str, Any] = {},
        other: Mapping[str, Any] = {},
        tables: Mapping[str, Any] = {},
        feeds: Mapping[str, Any] = {},
        **keys: Any,
    ) -> Farm:
        proxy = await start_proxy(
            company.index_url,
            upstream={**QUICK, "private": True, **upstream},
            upstreams={"public": {"url": public.index_url, **QUICK, "private": False, **other}},
            feeds={"all": {"sources": ["up", "public"], **keys}, **feeds},
            **tables,
        )
        return Farm(proxy, company, public)

    return start


@pytest.fixture
async def farm(start_farm: StartFarm, company: FakeFeed, public: FakeFeed) -> Farm:
    """``Contoso.A`` is the company's, ``Acme.A`` anybody's."""
    company.add(OURS)
    public.add(THEIRS)
    public.add(NEWER)
    return await start_farm()


OURS = make_nupkg("Contoso.A", "1.0.0", readme="# Ours", description="ours")
THEIRS = make_nupkg("Acme.A", "1.0.0", readme="# Theirs", icon=b"\x89PNG\r\n\x1a\n...", license_file="MIT")
NEWER = make_nupkg("Acme.A", "2.0.0-rc.1", dependencies=[("Contoso.A", "[1.0.0, )")])
