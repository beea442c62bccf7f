"""The drill: a real dotnet restores while upstream is down in every way, in hardly more time than before."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.clients import Box
from tests.e2e.conftest import Built, NewBox
from tests.e2e.proxy import Proxy
from tests.e2e.test_restore import WEB, restore
from tests.fakes.feed import FakeFeed, Mode

HOST = "feed.test"
DOWN: tuple[Mode | str, ...] = ("refused", "hang", "clogged", "dns", "5xx", "html", "429")
MOST = 3.0
"""How many times the warm restore an outage may take here. It is hardly 1.2 (``python -m tests.bench.outage``), but
the machine that runs the tests does other things as well."""
STALE = "".join(
    f'[policy.{kind}]\nfresh = "0s"\n' for kind in ("index", "versions", "registration", "search", "vulnerabilities")
)


class NamedFeed(FakeFeed):
    """A feed with a host name."""

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.origin.port}"


@pytest.fixture
async def named(built: Built) -> AsyncIterator[NamedFeed]:
    async with NamedFeed() as feed:
        for content in built.published().values():
            feed.add(content)
        yield feed


@pytest.fixture
def names(tmp_path: Path) -> Path:
    """The file in which the proxy's name service looks."""
    file = tmp_path / "names"
    file.write_text(f"{HOST} 127.0.0.1\n")
    return file


@pytest.fixture
async def drilled(named: NamedFeed, names: Path, tmp_path: Path) -> AsyncIterator[Proxy]:
    """A proxy as shipped, but that nothing stays fresh: every document of every restore is to be asked for again."""
    config = f'[upstreams.feed]\nurl = "{named.index_url}"\ninternal = true\n{STALE}'
    async with Proxy(tmp_path / "cache", config=config, program=("tests.e2e.named", str(names))) as proxy:
        yield proxy


async def timed(dotnet: str, box: Box) -> float:
    """Seconds that a restore with empty client caches takes."""
    began = time.monotonic()
    await restore(dotnet, box, "--no-cache")
    return time.monotonic() - began


async def restart(proxy: Proxy) -> None:
    await proxy.stop()
    await proxy.start()


async def test_the_drill(
    dotnet: str, drilled: Proxy, named: NamedFeed, names: Path, new_box: NewBox, built: Built
) -> None:
    expected = {name: built.published()[name] for name in WEB}
    await timed(dotnet, new_box(drilled.index_url))
    warm = min([await timed(dotnet, new_box(drilled.index_url)) for _ in range(2)])
    downloads = sum(seen.path.endswith(".nupkg") for seen in named.requests)
    ratios: dict[str, float] = {}
    for how in DOWN:
        if how == "dns":
            names.write_text("")
            await restart(drilled)  # what was looked up is remembered for a minute
        else:
            await named.set_mode(how)  # type: ignore[arg-type]
        box = new_box(drilled.index_url)
        ratios[how] = await timed(dotnet, box) / warm
        assert box.restored() == expected, how
        names.write_text(f"{HOST} 127.0.0.1\n")
        await named.set_mode("up")
        await restart(drilled)  # nothing is known of the outage any more
    print(f"warm: {warm:.2f} s;", ", ".join(f"{how}: {ratio:.2f}x" for how, ratio in ratios.items()))
    assert sum(seen.path.endswith(".nupkg") for seen in named.requests) == downloads == len(WEB)
    assert {how: ratio for how, ratio in ratios.items() if ratio > MOST} == {}


async def test_offline_a_restore_needs_no_upstream_at_all(
    dotnet: str, named: NamedFeed, names: Path, tmp_path: Path, new_box: NewBox, built: Built
) -> None:
    """Not even its name: the process is told that what it has is the feed."""
    cache = tmp_path / "cache"
    config = f'[upstreams.feed]\nurl = "{named.index_url}"\ninternal = true\n'
    async with Proxy(cache, config=config, program=("tests.e2e.named", str(names))) as proxy:
        await restore(dotnet, new_box(proxy.index_url))
    names.write_text("")
    asked = len(named.requests)
    async with Proxy(cache, config=f"{config}offline = true\n") as proxy:
        box = await restore(dotnet, new_box(proxy.index_url), "--no-cache")
        project = box.project("Acme.Core/1.0.0")
        listed = (await box.run(dotnet, "restore", "--no-cache")).ok()
        added = (await box.run(dotnet, "add", project, "package", "Acme.Text")).ok()
        missing = new_box(proxy.index_url)
        missing.project("Acme.Core/1.1.0")
        failed = (await missing.run(dotnet, "restore")).failed()
    assert {name: content for name, content in box.restored().items() if name in WEB} == {
        name: built.published()[name] for name in WEB
    }
    assert "1.2.3" in added.output, (listed, added)
    assert "NU1102" in failed.output or "NU1603" in failed.output, failed.output
    assert len(named.requests) == asked
