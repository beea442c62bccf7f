"""The connections to an upstream go round by client."""

from __future__ import annotations

import asyncio

from tests.conftest import StartProxy
from tests.fakes.asking import ask, until
from tests.fakes.feed import FakeFeed
from tests.fakes.origin import Script
from tests.fakes.packages import make_nupkg

FRONT = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "127.0.0.1"}


async def test_a_job_with_many_requests_does_not_starve_another_machine(
    start_proxy: StartProxy, feed: FakeFeed
) -> None:
    proxy = await start_proxy(feed.index_url, server={"trusted_proxies": ["127.0.0.0/8"]}, upstream={"connections": 1})
    await ask(proxy, "/v3/index.json")
    gate = asyncio.Event()
    for number in range(6):
        held = feed.add(make_nupkg(f"Acme.N{number}", "1.0.0"))
        path = f"/v3-flatcontainer/acme.n{number}/1.0.0/acme.n{number}.1.0.0.nupkg"
        feed.origin.routes[path] = Script(body=held.content, gate=gate)
    feed.requests.clear()

    def get(number: int, client: str) -> asyncio.Task[object]:
        path = f"/v3/content/acme.n{number}/1.0.0/acme.n{number}.1.0.0.nupkg"
        return asyncio.create_task(ask(proxy, path, headers={**FRONT, "X-Forwarded-For": client}))

    many = [get(number, "203.0.113.7") for number in range(5)]
    await until(lambda: len(feed.requests) == 1 and proxy.metric("flights") == 5)
    one = get(5, "203.0.113.8")
    await until(lambda: proxy.metric("flights") == 6)
    gate.set()
    await asyncio.gather(*many, one)
    packages = [seen.path for seen in feed.requests if seen.path.endswith(".nupkg")]
    assert len(packages) == 6
    assert "acme.n5" in packages[2], "behind what was under way and one more, not behind all"
