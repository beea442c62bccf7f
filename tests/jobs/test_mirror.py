"""``mirror`` fetches packages by pattern, goes on after a kill, follows the catalog."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from nugetproxy.feeds.without_upstreams import WithoutUpstreams
from nugetproxy.jobs import mirror
from nugetproxy.jobs.inner_client import InnerClient
from nugetproxy.jobs.mirror import Mirrored, Mirroring, Offer, Selection, select
from nugetproxy.nuget.version import Version
from tests.conftest import StartProxy
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.feed_documents import SEARCH_HOSTS
from tests.fakes.logs import written
from tests.fakes.origin import Script, Seen
from tests.fakes.packages import make_nupkg
from tests.fakes.process import ROOT, ProxyProcess, clean_environ
from tests.fakes.proxy import Proxy
from tests.jobs.test_warm import downloads
from tests.test_control import cli

pytestmark = pytest.mark.slow  # most tests start processes

Options = tuple[str, ...]


@pytest.fixture
async def shelf(feed: FakeFeed) -> FakeFeed:
    for id_, version, needs in (
        ("Acme.A", "1.0.0", (("Other.Base", "1.0.0"),)),
        ("Acme.A", "1.1.0", (("Other.Base", "1.0.0"),)),
        ("Acme.A", "2.0.0-rc.1", ()),
        ("Acme.B", "1.0.0", ()),
        ("Acmeter", "1.0.0", ()),
        ("Other.Base", "1.0.0", ()),
        ("Other.Base", "2.0.0", ()),
    ):
        feed.add(make_nupkg(id_, version, dependencies=needs))
    feed.add(make_nupkg("Acme.A", "1.2.0"), listed=False)
    return feed


@pytest.fixture(params=["running", "stopped"])
async def options(request: pytest.FixtureRequest, shelf: FakeFeed, tmp_path: Path) -> AsyncIterator[Options]:
    """Those that lead a command to a proxy that runs, or to one that does not."""
    (tmp_path / "proxy.toml").write_text(f'[upstreams.up]\nurl = "{shelf.index_url}"\n')
    found = ("--cache-dir", str(tmp_path / "cache"), "--config", str(tmp_path / "proxy.toml"))
    if request.param == "stopped":
        yield found
        return
    async with ProxyProcess(*found):
        yield found


async def test_ids_by_pattern_are_fetched_with_what_they_need(shelf: FakeFeed, options: Options) -> None:
    code, out, err = await cli("mirror", "Acme.*", "--dry-run", *options)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "All: 3 versions; 4 to fetch, 0 held before"
    assert downloads(shelf) == []

    code, out, err = await cli("mirror", "Acme.*", *options)
    assert (code, err) == (0, "")
    assert [line.partition(":")[0] for line in out.splitlines()] == ["acme.a", "acme.b", "All"]
    assert downloads(shelf) == [
        "acme.a.1.0.0.nupkg",
        "acme.a.1.1.0.nupkg",
        "acme.b.1.0.0.nupkg",
        "other.base.1.0.0.nupkg",
    ], "listed and stable only"
    code, out, _ = await cli("mirror", "Acme.*", "--json", *options)
    assert code == 0
    counts = {"versions": 3, "fetched": 0, "bytes": 0, "held": 4}
    assert json.loads(out.splitlines()[-1]) == {**counts, "missing": [], "denied": []}


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("--latest", "1"), ["acme.a.1.1.0", "other.base.1.0.0"]),
        (("--latest", "1", "--no-dependencies"), ["acme.a.1.1.0"]),
        (("--latest", "1", "--prerelease"), ["acme.a.2.0.0-rc.1"]),
        (("--latest", "1", "--unlisted"), ["acme.a.1.2.0"]),
        (("--since", "2999-01-01"), []),
    ],
)
async def test_versions_are_selected(
    shelf: FakeFeed, options: Options, words: tuple[str, ...], wanted: list[str]
) -> None:
    assert (await cli("mirror", "ACME.A", *words, *options))[0] == 0
    assert downloads(shelf) == [f"{name}.nupkg" for name in wanted]


async def test_it_goes_on_after_a_kill_at_any_point(shelf: FakeFeed, tmp_path: Path) -> None:
    for number in range(12):
        shelf.add(make_nupkg(f"Many.P{number}", "1.0.0", size=20_000))
    (tmp_path / "proxy.toml").write_text(f'[upstreams.up]\nurl = "{shelf.index_url}"\n')
    options = ("--cache-dir", str(tmp_path / "cache"), "--config", str(tmp_path / "proxy.toml"))
    for wanted in (1, 4, 8):
        process = await started("mirror", "Many.*", *options)
        async with asyncio.timeout(60):
            while len(downloads(shelf)) < wanted and process.returncode is None:
                await asyncio.wait({asyncio.ensure_future(process.wait())}, timeout=0.02)
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.wait()
    code, out, err = await cli("mirror", "Many.*", *options)
    assert code == 0, out + err
    held = {path.name for path in (tmp_path / "cache" / "up" / "packages").glob("*/*/*.sha512")}
    assert held == {f"many.p{number}.1.0.0.nupkg.sha512" for number in range(12)}


async def test_it_follows_the_catalog_and_remembers_how_far_it_was(
    shelf: FakeFeed, start_proxy: StartProxy, tmp_path: Path, clock: FakeClock
) -> None:
    shelf.catalog_page_size = 3
    proxy = await start_proxy(shelf.index_url)
    assert await rounds(proxy, tmp_path, 1) == ["acme.a", "acme.b"]
    shelf.add(make_nupkg("Acme.B", "1.1.0"))
    shelf.add(make_nupkg("Stranger", "1.0.0"))
    shelf.add(make_nupkg("Acme.New", "1.0.0"))
    clock.advance(300)
    assert await rounds(proxy, tmp_path, 1) == ["acme.b", "acme.new"], "it went on where it had ended"
    assert {"acme.b.1.1.0.nupkg", "acme.new.1.0.0.nupkg"} <= set(downloads(shelf))
    assert "stranger.1.0.0.nupkg" not in downloads(shelf)
    clock.advance(300)
    assert await rounds(proxy, tmp_path, 1) == []


async def test_a_catalog_that_had_nothing_in_it_is_read_from_its_beginning(
    feed: FakeFeed, start_proxy: StartProxy, tmp_path: Path, clock: FakeClock
) -> None:
    feed.catalog_page_size = 2
    proxy = await start_proxy(feed.index_url)
    assert await rounds(proxy, tmp_path, 1) == []
    for number in range(5):
        feed.add(make_nupkg(f"Acme.N{number}", "1.0.0"))
    clock.advance(300)
    assert await rounds(proxy, tmp_path, 1) == [f"acme.n{number}" for number in range(5)]
    feed.add(make_nupkg("Acme.N5", "1.0.0"))
    clock.advance(300)
    assert await rounds(proxy, tmp_path, 1) == ["acme.n5"]


@pytest.mark.parametrize("restarted", [True, False])
async def test_what_a_rule_hides_is_fetched_once_it_passes(
    shelf: FakeFeed,
    start_proxy: StartProxy,
    tmp_path: Path,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    restarted: bool,
) -> None:
    """It is on pages of the catalog then that were read long before."""
    monkeypatch.setattr(mirror, "LOOK_ROUNDS", 3)
    shelf.catalog_page_size = 1
    rules = [{"name": "week", "min_age": "7d"}]
    proxy = await start_proxy(shelf.index_url, feeds={"up": {"sources": ["up"], "rules": rules}})
    await rounds(proxy, tmp_path, 1)
    for id_ in ("Acme.B", "Stranger"):
        shelf.add(make_nupkg(id_, "1.1.0"), at=datetime.fromtimestamp(clock.now(), UTC))
    clock.advance(300)
    if restarted:
        await rounds(proxy, tmp_path, 1)
        assert not await held(proxy, "acme.b/1.1.0")
        clock.advance(8 * 86400)
        await rounds(proxy, tmp_path, 2)
    else:
        days = iter((0, 8))
        await rounds(proxy, tmp_path, 3, lambda _: clock.advance(next(days, 0) * 86400))
    assert await held(proxy, "acme.b/1.1.0")
    assert await rounds(proxy, tmp_path, 1) == []


async def test_what_could_not_be_had_is_tried_again_in_the_next_rounds(
    shelf: FakeFeed, start_proxy: StartProxy, tmp_path: Path, clock: FakeClock
) -> None:
    proxy = await start_proxy(shelf.index_url)
    await rounds(proxy, tmp_path, 1)
    shelf.add(make_nupkg("Acme.New", "1.0.0"))
    late = "/v3-flatcontainer/acme.new/1.0.0/acme.new.1.0.0.nupkg"
    shelf.origin.routes[late] = Script(status=404)
    clock.advance(300)

    def after(number: int) -> None:
        clock.advance(300)
        if number == 3:
            del shelf.origin.routes[late]

    assert await rounds(proxy, tmp_path, 5, after) == ["acme.new"] * 4
    assert await rounds(proxy, tmp_path, 1) == [], "then it moves on"
    assert (await proxy.client.get("/v3/content/acme.new/1.0.0/acme.new.1.0.0.nupkg")).status == 200
    assert await rounds(proxy, tmp_path, 1) == []


async def test_what_the_first_look_could_not_have_is_tried_again_too(
    shelf: FakeFeed, start_proxy: StartProxy, tmp_path: Path, clock: FakeClock
) -> None:
    late = "/v3-flatcontainer/acme.b/1.0.0/acme.b.1.0.0.nupkg"
    shelf.origin.routes[late] = Script(status=404)
    proxy = await start_proxy(shelf.index_url)

    def after(_number: int) -> None:
        clock.advance(300)
        shelf.origin.routes.pop(late, None)

    assert await rounds(proxy, tmp_path, 2, after) == ["acme.a", "acme.b", "acme.b", "acme.b"]
    assert await held(proxy, "acme.b/1.0.0")


@pytest.mark.parametrize("seconds", [150, 600], ids=["fresh", "refreshed behind its readers"])
async def test_what_the_catalog_names_is_asked_for_though_its_list_is_stored(
    shelf: FakeFeed, start_proxy: StartProxy, tmp_path: Path, clock: FakeClock, seconds: int
) -> None:
    proxy = await start_proxy(shelf.index_url, policy={})
    await rounds(proxy, tmp_path, 1)
    shelf.add(make_nupkg("Acme.B", "1.1.0"))
    clock.advance(seconds)  # the catalog is fresh for two minutes, lists are for five
    assert await rounds(proxy, tmp_path, 1) == ["acme.b"]
    assert await held(proxy, "acme.b/1.1.0")


@pytest.mark.parametrize("id_", ["acme.a", "acme.and.new"])
async def test_an_id_that_fails_keeps_no_other_out_and_is_tried_again(
    shelf: FakeFeed, start_proxy: StartProxy, tmp_path: Path, clock: FakeClock, id_: str
) -> None:
    proxy = await start_proxy(shelf.index_url)
    await rounds(proxy, tmp_path, 1)
    for name in (id_, "Acme.B"):
        shelf.add(make_nupkg(name, "3.0.0"))
    clock.advance(300)
    for index in (f"/v3-flatcontainer/{id_}/index.json", f"/v3/registration5-gz-semver2/{id_}/index.json"):
        shelf.origin.routes[index] = Script(status=500)

    def after(_number: int) -> None:
        clock.advance(300)
        shelf.origin.routes.clear()

    assert await rounds(proxy, tmp_path, 2, after) == [id_, "acme.b", id_]
    assert await held(proxy, f"{id_}/3.0.0", "acme.b/3.0.0")


@pytest.mark.parametrize("wish", [Selection(patterns=("acme.a", "acme.b")), Selection(patterns=("acme.*",), since=1.0)])
async def test_what_a_feed_does_not_tell_of_is_missing(
    shelf: FakeFeed, start_proxy: StartProxy, wish: Selection
) -> None:
    """A version list does not say what is unlisted, nor when it was published."""
    shelf.origin.routes["/v3/registration5-gz-semver2/acme.a/index.json"] = Script(status=500)
    proxy = await start_proxy(shelf.index_url)
    done = await Mirroring(asks(proxy), wish).run(lambda _: None)
    assert (done.versions, done.fetched) == (1, 1), "of Acme.B"
    assert [(one.id, one.why.partition(" (")[0]) for one in done.missing] == [("acme.a", "its registration is lacking")]


async def test_a_feed_without_registrations_cannot_tell_what_was_published_since(
    shelf: FakeFeed, start_proxy: StartProxy
) -> None:
    shelf.origin.routes["/v3/registration5-gz-semver2/acme.b/index.json"] = Script(status=404)
    proxy = await start_proxy(shelf.index_url)
    done = await Mirroring(asks(proxy), Selection(patterns=("acme.b",), since=1.0)).run(lambda _: None)
    assert [one.why for one in done.missing] == ["the feed does not say when its versions were published"]


def asks(proxy: Proxy) -> InnerClient:
    return InnerClient(lambda: proxy.app.desk, "test")


async def held(proxy: Proxy, *names: str) -> bool:
    told = await asks(proxy).command("left/packages", {"packages": names, "feed": ""})
    return None not in told["packages"].values()


@pytest.mark.timeout(600)
async def test_following_is_killed_at_every_stage_and_misses_nothing(shelf: FakeFeed, tmp_path: Path) -> None:
    kinds = ("catalog", "catalog_page", "versions", "registration")
    at_once = "".join(f'[policy.{kind}]\nfresh = "0s"\nrefresh = "0s"\nabsent = "0s"\n' for kind in kinds)
    (tmp_path / "proxy.toml").write_text(f'[upstreams.up]\nurl = "{shelf.index_url}"\n{at_once}')
    options = ("--cache-dir", str(tmp_path / "cache"), "--config", str(tmp_path / "proxy.toml"))
    shelf.catalog_page_size = 2
    for number in range(5):
        for step in range(3):
            shelf.add(make_nupkg(f"Acme.New{number}", f"1.{step}.0", size=5000))
        before = len(shelf.requests)
        await killed_after(shelf, before + (3, 9, 17, 26, 40)[number], "mirror", "Acme.*", "--follow", *options)
    wanted = {f"acme.new{number}.1.{step}.0.nupkg.sha512" for number in range(5) for step in range(3)}
    async with asyncio.timeout(120):
        await run_until_held(wanted, tmp_path / "cache", "mirror", "Acme.*", "--follow", *options)
    assert published_and_held(tmp_path / "cache") == wanted


@pytest.mark.parametrize(("there", "told"), [(990, 0), (1500, 1)])
async def test_a_prefix_of_more_ids_than_a_search_shows_is_told(
    start_proxy: StartProxy, feed: FakeFeed, there: int, told: int
) -> None:
    """Of a feed with rules a search shows a thousand; the others were left out without a word."""

    def found(seen: Seen) -> Script:
        words = dict(part.split("=") for part in seen.query.split("&"))
        ids = [f"Acme.A{number}" for number in range(there)][int(words["skip"]) :][: int(words["take"])]
        hits = [{"id": id, "version": "1.0.0", "versions": [{"version": "1.0.0"}]} for id in ids]
        return Script(body=json.dumps({"totalHits": there, "data": hits}).encode())

    for host in SEARCH_HOSTS:
        feed.origin.routes[f"{host}/query"] = found
    rules = [{"name": "none", "ids": ["X"]}]
    proxy = await start_proxy(feed.index_url, feeds={"ruled": {"sources": ["up"], "rules": rules}})
    job = Mirroring(asks(proxy), Selection(patterns=("acme.*",)), feed="ruled")
    with capture_logs() as logs:
        ids = [id_ async for id_ in job.ids()]
    assert len(ids) == min(there, 1000)
    assert [line["event"] for line in logs].count("mirror.cut") == told


async def started(*words: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "nugetproxy",
        *words,
        cwd=ROOT,
        env=clean_environ(),
        stdout=asyncio.subprocess.DEVNULL,
    )


async def killed_after(feed: FakeFeed, requests: int, *words: str) -> None:
    """A command that is killed once the feed has seen so many requests, or, after some, none for two seconds."""
    process, began = await started(*words), len(feed.requests)
    ended = asyncio.ensure_future(process.wait())
    seen, quiet_since = began, asyncio.get_running_loop().time()
    async with asyncio.timeout(90):
        while len(feed.requests) < requests and not ended.done():
            await asyncio.wait({ended}, timeout=0.02)
            if len(feed.requests) > seen:
                seen, quiet_since = len(feed.requests), asyncio.get_running_loop().time()
            elif seen > began and asyncio.get_running_loop().time() > quiet_since + 2:
                break
    assert process.returncode is None, "it follows until it is killed"
    process.send_signal(signal.SIGKILL)
    await process.wait()


def published_and_held(cache: Path) -> set[str]:
    """The packages of ours that are there, by the names of their hash files."""
    return {path.name for path in (cache / "up" / "packages").glob("acme.new*/*/*.sha512")}


async def run_until_held(wanted: set[str], cache: Path, *words: str) -> None:
    """Run a command until all that is ``wanted`` is held."""
    process = await started(*words)
    try:
        while not wanted <= published_and_held(cache):
            assert process.returncode is None
            await asyncio.wait({asyncio.ensure_future(process.wait())}, timeout=0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()


class _Enough(Exception):
    """The test has seen what it wanted."""


async def rounds(
    proxy: Proxy, tmp_path: Path, count: int, after: Callable[[int], object] = lambda _: None
) -> list[str]:
    """The ids that were looked through until so many rounds had been slept after; ``after`` is told of each."""
    seen: list[str] = []
    slept = 0

    async def sleep(_seconds: float) -> None:
        nonlocal slept
        slept += 1
        after(slept)
        if slept >= count:
            raise _Enough

    job = Mirroring(asks(proxy), Selection(patterns=("acme.*",)))
    with pytest.raises(_Enough):
        await job.follow(tmp_path / "mirror.json", lambda one: seen.append(one.id), sleep)
    return seen


async def test_the_configuration_has_it_done_in_the_background(shelf: FakeFeed, tmp_path: Path) -> None:
    (tmp_path / "proxy.toml").write_text(
        f'[upstreams.up]\nurl = "{shelf.index_url}"\n[mirror]\nids = ["Acme.*"]\nlatest = 1\n'
    )
    async with ProxyProcess("--cache-dir", tmp_path / "cache", "--config", tmp_path / "proxy.toml") as proxy:
        await proxy.logged("mirror.fetched", id="acme.a", versions=1, packages=2)
        await proxy.logged("mirror.fetched", id="acme.b", versions=1, packages=1)
    assert downloads(shelf) == ["acme.a.1.1.0.nupkg", "acme.b.1.0.0.nupkg", "other.base.1.0.0.nupkg"]


async def test_a_stop_in_the_midst_of_it_is_no_failure_of_its_commands(
    start_proxy: StartProxy, shelf: FakeFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = asyncio.Event()

    async def denied(*_: object) -> dict[Version, str]:
        asked.set()
        await asyncio.Event().wait()
        return {}

    monkeypatch.setattr(WithoutUpstreams, "denied", denied)
    with written() as log:
        proxy = await start_proxy(shelf.index_url, mirror={"ids": ["acme.a"]})
        proxy.app.start_background()
        await asyncio.wait_for(asked.wait(), 30)
        await proxy.stop()
    said = [event for line in log.getvalue().splitlines() if (event := json.loads(line))["event"] == "admin.audit"]
    assert [one["result"] for one in said if one["command"] == "left/denied"] == ["ended before it was done"]


async def test_what_cannot_be_mirrored_says_why(shelf: FakeFeed, tmp_path: Path) -> None:
    (tmp_path / "proxy.toml").write_text(f'[upstreams.up]\nurl = "{shelf.index_url}"\n')
    options = ("--cache-dir", str(tmp_path / "cache"), "--config", str(tmp_path / "proxy.toml"))
    for words, why in (
        (("A*b",), "has a * that is not its last character"),
        (("A", "--since", "yesterday"), "is not a date"),
        (("A", "--feed", "nowhere"), "There is no feed 'nowhere'"),
        (("A", "--follow", "--dry-run"), "leave out --dry-run"),
    ):
        code, _, err = await cli("mirror", *words, *options)
        assert code == 64
        assert why in err
    await shelf.set_mode("refused")
    code, _, err = await cli("mirror", "Acme.*", *options)
    assert code == 1
    assert "cannot be searched" in err


def version(text: str) -> Version:
    found = Version.parse(text)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("wish", "wanted"),
    [
        (Selection(patterns=()), ["2.0.0", "1.0.0"]),
        (Selection(patterns=(), prerelease=True), ["3.0.0-a", "2.0.0", "1.0.0"]),
        (Selection(patterns=(), unlisted=True), ["4.0.0", "2.0.0", "1.0.0"]),
        (Selection(patterns=(), latest=1), ["2.0.0"]),
        (Selection(patterns=(), since=150.0), ["2.0.0"]),
    ],
)
def test_selection(wish: Selection, wanted: list[str]) -> None:
    offers = [
        Offer(version("1.0.0"), published=100.0),
        Offer(version("2.0.0"), published=200.0),
        Offer(version("3.0.0-a"), published=300.0),
        Offer(version("4.0.0"), listed=False),
    ]
    assert [one.normalized for one in select(offers, wish)] == wanted


def test_totals_add_up() -> None:
    total = Mirrored(versions=1, fetched=2, size=3, held=4) + Mirrored(versions=10, fetched=20, size=30, held=40)
    assert (total.versions, total.fetched, total.size, total.held) == (11, 22, 33, 44)
