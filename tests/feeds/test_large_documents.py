"""Large documents: made in a child, kept as they were made, refused beyond their limits."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from nugetproxy.feeds.kept_pages import KeptPages
from nugetproxy.off_loop import CHILD, HEAVY
from nugetproxy.store.documents.documents import Documents, Stored
from nugetproxy.store.fs import FsOps
from nugetproxy.store.ledger.opening import begin_afresh
from tests.conftest import StartProxy
from tests.fakes.asking import PACKAGE, REGISTRATION, UP_REGISTRATION, UP_VERSIONS, VERSIONS, ask, until
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.origin import Script
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy

COUNT = 40
US = "http://nuget.example.com"


@pytest.fixture(autouse=True)
def _acme(feed: FakeFeed) -> None:
    feed.add(make_nupkg("Acme.A", "1.0.0"))


def large(feed: FakeFeed, note: str, pages: int = 0, *, noise: bool = False) -> bytes:
    """A registration of more than 2 MiB; ``pages`` further ones of it lie where the feed has no resource.

    With ``noise`` it is larger, in the gzip coding, too: more than a connection takes at once.
    """
    long = "many words. " * (HEAVY // 12 // COUNT + 1)
    if noise:
        long += random.Random(0).randbytes(4 * HEAVY // COUNT).hex()
    leaves = [
        {
            "@id": f"{feed.url}/v3/registration5-gz-semver2/acme.a/1.{number}.0.json",
            "catalogEntry": {"id": "Acme.A", "version": f"1.{number}.0", "description": f"{note} {long}"},
            "packageContent": f"{feed.url}/v3-flatcontainer/acme.a/1.{number}.0/acme.a.1.{number}.0.nupkg",
        }
        for number in range(COUNT)
    ]
    named = [
        {"@id": f"{feed.url}/elsewhere/{number}.json", "lower": "2.0.0", "upper": "2.0.0"} for number in range(pages)
    ]
    for page in named:
        body = b'{"items":[{"catalogEntry":{"id":"Acme.A","version":"2.0.0"}}]}'
        feed.origin.routes[page["@id"].removeprefix(feed.url)] = Script(body=body)
    return json.dumps({"items": [{"@id": f"{feed.url}/x#page", "items": leaves}, *named]}).encode()


def contents(body: bytes) -> Iterator[Any]:
    return (leaf["packageContent"] for leaf in json.loads(body)["items"][0]["items"])


@pytest.fixture
async def proxy(start_proxy: StartProxy, feed: FakeFeed) -> Proxy:
    """One that is called the same after a restart."""
    return await start_proxy(feed.index_url, server={"public_url": US})


async def test_it_is_worked_on_in_a_child(proxy: Proxy, feed: FakeFeed) -> None:
    feed.origin.routes[UP_REGISTRATION] = Script(body=large(feed, "first"))
    before = CHILD.jobs
    answer = await ask(proxy, REGISTRATION)
    assert answer.status == 200
    assert next(contents(answer.body)) == f"{US}/v3/content/acme.a/1.0.0/acme.a.1.0.0.nupkg"
    assert feed.url.encode() not in answer.body
    assert CHILD.jobs - before == 3, "check, look for pages, render"


async def test_a_package_comes_whose_registration_is_large(proxy: Proxy, feed: FakeFeed) -> None:
    feed.origin.routes[UP_REGISTRATION] = Script(body=large(feed, "first"))
    assert (await ask(proxy, REGISTRATION)).status == 200
    before = CHILD.jobs
    answer = await ask(proxy, PACKAGE)
    assert (answer.status, CHILD.jobs > before) == (200, True), "what it says of the package is looked for"


async def test_it_is_never_parsed_again_when_it_is_stored(proxy: Proxy, feed: FakeFeed) -> None:
    feed.origin.routes[UP_REGISTRATION] = Script(body=large(feed, "first"))
    first = await ask(proxy, REGISTRATION)
    await proxy.restart()
    before = CHILD.jobs
    plain = await ask(proxy, REGISTRATION)
    packed = await ask(proxy, REGISTRATION, headers={"Accept-Encoding": "gzip"})
    assert plain.body == gzip.decompress(packed.body) == first.body
    assert plain.headers["ETag"] == first.headers["ETag"] != packed.headers["ETag"]
    assert plain.cache == "hit; ttl=300"
    assert CHILD.jobs == before


async def test_a_crowd_has_it_made_once(proxy: Proxy, feed: FakeFeed) -> None:
    feed.origin.routes[UP_REGISTRATION] = Script(body=large(feed, "first"))
    before = CHILD.jobs
    answers = await asyncio.gather(*(ask(proxy, REGISTRATION) for _ in range(5)))
    assert len({answer.body for answer in answers}) == 1
    assert CHILD.jobs - before == 3


async def test_four_mebibytes_are_in_memory(proxy: Proxy, feed: FakeFeed, monkeypatch: pytest.MonkeyPatch) -> None:
    body = {"items": [], "pad": [f"{number:01000}" for number in range(4000)]}
    feed.origin.routes[UP_REGISTRATION] = Script(body=json.dumps(body).encode())
    first = await ask(proxy, REGISTRATION)

    async def unwanted(*_: Any) -> Any:
        raise AssertionError("each of many clients would have a copy of its own")

    monkeypatch.setattr(KeptPages, "get", unwanted)
    monkeypatch.setattr(Documents, "get", unwanted)
    again = await ask(proxy, REGISTRATION)
    assert (again.body, again.cache) == (first.body, "hit; ttl=300")


@pytest.mark.slow
@pytest.mark.parametrize("accepted", ["identity", "gzip"])
async def test_clients_that_are_sent_it_at_the_same_time_share_it(
    start_proxy: StartProxy, feed: FakeFeed, monkeypatch: pytest.MonkeyPatch, accepted: str
) -> None:
    proxy = await start_proxy(feed.index_url, cache={"hot_memory": "4 MiB"})  # too little to keep it
    feed.origin.routes[UP_REGISTRATION] = Script(body=large(feed, "first", noise=True))
    headers = {"Accept-Encoding": accepted}
    whole = await ask(proxy, REGISTRATION, headers=headers)
    found, get = 0, KeptPages.get

    async def counted(*arguments: Any) -> Any:
        nonlocal found
        found += 1
        return await get(*arguments)

    monkeypatch.setattr(KeptPages, "get", counted)
    async with proxy.client.get(REGISTRATION, headers=headers, auto_decompress=False) as slow:
        assert found == 1
        assert (await ask(proxy, REGISTRATION, headers=headers)).body == whole.body
        assert found == 1, "what is being sent is sent to the second one, too"
        assert await slow.read() == whole.body
    await ask(proxy, REGISTRATION, headers=headers)
    assert found == 2, "nobody holds on to it"


@pytest.mark.slow
async def test_clients_that_ask_at_the_same_time_have_it_read_once(
    start_proxy: StartProxy, feed: FakeFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = await start_proxy(feed.index_url, server={"public_url": US}, cache={"hot_memory": "4 MiB"})
    feed.origin.routes[UP_REGISTRATION] = Script(body=large(feed, "first", noise=True))
    first = await ask(proxy, REGISTRATION)
    read: Counter[str] = Counter()
    go, get = asyncio.Event(), Documents.get

    async def counted(documents: Documents, key: str) -> Stored | None:
        read[key] += 1
        await go.wait()
        return await get(documents, key)

    monkeypatch.setattr(Documents, "get", counted)
    asking = [asyncio.create_task(ask(proxy, REGISTRATION)) for _ in range(5)]
    await until(lambda: proxy.app.edge._under_way == 5)
    go.set()
    assert {answer.body for answer in await asyncio.gather(*asking)} == {first.body}
    assert read
    assert max(read.values()) == 1


async def test_another_content_is_another_page(
    proxy: Proxy, feed: FakeFeed, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nugetproxy.engine.cache.SOFT_DEADLINE", 30.0)  # a busy machine takes longer to check it
    for note in ("first", "second"):
        feed.origin.routes[UP_REGISTRATION] = Script(body=large(feed, note))
        answer = await ask(proxy, REGISTRATION)
        assert json.loads(answer.body)["items"][0]["items"][0]["catalogEntry"]["description"].startswith(note)
        clock.advance(400)


async def test_its_links_lead_somewhere_even_with_another_ledger(proxy: Proxy, feed: FakeFeed) -> None:
    feed.origin.routes[UP_REGISTRATION] = Script(body=large(feed, "first", pages=2))
    await ask(proxy, REGISTRATION)
    await proxy.stop()
    (proxy.directory / "ledger.db").write_bytes(b"?")
    begin_afresh(FsOps(), proxy.directory)
    await proxy.start()
    before = CHILD.jobs
    index = json.loads((await ask(proxy, REGISTRATION)).body)
    for page in index["items"][1:]:
        assert (await ask(proxy, page["@id"].removeprefix(US))).status == 200
    assert CHILD.jobs == before


async def test_too_many_values_are_refused(start_proxy: StartProxy, feed: FakeFeed) -> None:
    proxy = await start_proxy(feed.index_url, limits={"document_values": 400})
    assert (await ask(proxy, REGISTRATION)).status == 200
    feed.origin.routes[UP_VERSIONS] = Script(body=json.dumps({"versions": ["1.0.0"] * 400}).encode())
    answer = await ask(proxy, VERSIONS)
    assert answer.status == 502
    assert b"more than 400 values (limits.document_values)" in answer.body


async def test_too_many_bytes_are_refused_with_the_key_to_change(start_proxy: StartProxy, feed: FakeFeed) -> None:
    proxy = await start_proxy(feed.index_url, limits={"document": "20 KiB"})
    feed.origin.routes[UP_VERSIONS] = Script(body=b" " * 20_481)
    answer = await ask(proxy, VERSIONS)
    assert answer.status == 502
    assert b"more than 20480 bytes, see limits.document" in answer.body


async def test_of_too_many_pages_none_is_asked_for(start_proxy: StartProxy, feed: FakeFeed) -> None:
    proxy = await start_proxy(feed.index_url, limits={"document_links": 3})
    feed.origin.routes[UP_REGISTRATION] = Script(body=large(feed, "first", pages=4))
    answer = await ask(proxy, REGISTRATION)
    assert answer.status == 502
    assert b"more than 3 links or pages (limits.document_links)" in answer.body
    assert [feed.count(f"/elsewhere/{number}.json") for number in range(4)] == [0] * 4


async def test_too_many_links_are_not_handed_out(start_proxy: StartProxy, feed: FakeFeed) -> None:
    proxy = await start_proxy(feed.index_url, limits={"document_links": 3})
    leaf = {"catalogEntry": {"id": "Acme.A", "version": "1.0.0"}}
    pages = [{"@id": f"{feed.url}/elsewhere/{number}#page", "items": [leaf]} for number in range(4)]
    feed.origin.routes[UP_REGISTRATION] = Script(body=json.dumps({"items": pages}).encode())
    answer = await ask(proxy, REGISTRATION)
    assert answer.status == 502
    assert b"more than 3 links or pages (limits.document_links)" in answer.body


async def test_a_child_that_is_lost_is_our_own_failure(
    proxy: Proxy, feed: FakeFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed.origin.routes[UP_REGISTRATION] = Script(body=large(feed, "lost"))
    monkeypatch.setattr(CHILD, "_limit", 0.0)
    answer = await ask(proxy, REGISTRATION)
    assert answer.status == 503
    assert b"its process for large documents was lost" in answer.body
    assert (await ask(proxy, VERSIONS)).status == 200, "the upstream is not blamed"
    monkeypatch.undo()
    assert (await ask(proxy, REGISTRATION)).status == 200
