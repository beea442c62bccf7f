"""A real dotnet pushes and deletes through the proxy, with its own key, exactly once."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.conftest import FRESH, Built, NewBox
from tests.e2e.proxy import Proxy
from tests.fakes.feed import FakeFeed


def writes(feed: FakeFeed) -> list[tuple[str, str | None]]:
    """Every write that the feed saw, with its key."""
    return [
        (f"{seen.method} {seen.path.rstrip('/')}", seen.headers.get("X-NuGet-ApiKey"))
        for seen in feed.requests
        if seen.method not in {"GET", "HEAD"}
    ]


async def test_what_was_pushed_restores_at_once(
    dotnet: str, proxy: Proxy, feed: FakeFeed, new_box: NewBox, built: Built
) -> None:
    nupkg = built.nupkg(FRESH, "1.0.0")
    before = new_box(proxy.index_url)
    before.project(f"{FRESH}/1.0.0")
    # The proxy now remembers that there is no such package.
    assert "NU1101" in (await before.run(dotnet, "restore")).failed().output

    (await before.run(dotnet, "nuget", "push", nupkg, "-s", "feed", "-k", feed.api_key)).ok()

    after = new_box(proxy.index_url)
    after.project(f"{FRESH}/1.0.0")
    (await after.run(dotnet, "restore")).ok()
    assert after.restored()["acme.fresh.1.0.0.nupkg"] == nupkg.read_bytes()


async def test_a_push_brings_package_and_symbols_to_upstream_once(
    dotnet: str, proxy: Proxy, feed: FakeFeed, new_box: NewBox, built: Built
) -> None:
    nupkg = built.nupkg(FRESH, "1.0.0")
    box = new_box(proxy.index_url)

    (await box.run(dotnet, "nuget", "push", nupkg, "-s", "feed", "-k", feed.api_key)).ok()

    assert feed.shelf.find(FRESH, "1.0.0").content == nupkg.read_bytes()
    assert feed.symbols == {("acme.fresh", "1.0.0"): nupkg.with_suffix(".snupkg").read_bytes()}
    assert writes(feed) == [("PUT /api/v2/package", feed.api_key), ("PUT /api/v2/symbolpackage", feed.api_key)]


async def test_a_new_version_shows_after_its_push(
    dotnet: str, proxy: Proxy, feed: FakeFeed, new_box: NewBox, built: Built
) -> None:
    newer = feed.remove("Acme.Core", "1.1.0").content
    box = new_box(proxy.index_url)
    box.project("Acme.Core/1.*")
    (await box.run(dotnet, "restore")).ok()
    assert set(box.restored()) == {"acme.core.1.0.0.nupkg"}
    file = box.root / "Acme.Core.1.1.0.nupkg"
    file.write_bytes(newer)

    (await box.run(dotnet, "nuget", "push", file, "-s", "feed", "-k", feed.api_key, "--no-symbols", "true")).ok()

    after = new_box(proxy.index_url)
    after.project("Acme.Core/1.*")
    (await after.run(dotnet, "restore")).ok()
    assert after.restored() == {"acme.core.1.1.0.nupkg": newer}


async def test_a_duplicate_is_refused_in_the_words_of_upstream(
    dotnet: str, proxy: Proxy, feed: FakeFeed, new_box: NewBox, built: Built
) -> None:
    box = new_box(proxy.index_url)
    push = (dotnet, "nuget", "push", built.nupkg("Acme.Core", "1.0.0"), "-s", "feed", "-k", feed.api_key)

    refused = (await box.run(*push)).failed()

    assert "The feed already contains package 'Acme.Core' and version '1.0.0'." in refused.output
    assert "409" in refused.output
    assert writes(feed) == [("PUT /api/v2/package", feed.api_key)]


async def test_skip_duplicate_skips_it(
    dotnet: str, proxy: Proxy, feed: FakeFeed, new_box: NewBox, built: Built
) -> None:
    box = new_box(proxy.index_url)
    file = built.nupkg("Acme.Core", "1.0.0")

    ran = await box.run(dotnet, "nuget", "push", file, "-s", "feed", "-k", feed.api_key, "--skip-duplicate")

    assert "already exists" in ran.ok().output


async def test_a_wrong_key_is_refused_in_the_words_of_upstream(
    dotnet: str, proxy: Proxy, feed: FakeFeed, new_box: NewBox, built: Built, tmp_path: Path
) -> None:
    box = new_box(proxy.index_url)
    key = "wrong-key-4711"

    refused = (await box.run(dotnet, "nuget", "push", built.nupkg(FRESH, "1.0.0"), "-s", "feed", "-k", key)).failed()

    assert "The specified API key is invalid" in refused.output
    assert writes(feed) == [("PUT /api/v2/package", key)]
    await proxy.stop()
    assert key not in proxy.output
    assert not [path for path in proxy.cache.rglob("*") if path.is_file() and key.encode() in path.read_bytes()]


async def test_a_warning_of_upstream_reaches_the_user(
    dotnet: str, proxy: Proxy, feed: FakeFeed, new_box: NewBox, built: Built
) -> None:
    feed.warnings = ["All published packages should have license information.", "Another thing."]
    box = new_box(proxy.index_url)

    pushed = await box.run(dotnet, "nuget", "push", built.nupkg(FRESH, "1.0.0"), "-s", "feed", "-k", feed.api_key)

    assert all(warning in pushed.ok().output for warning in feed.warnings)


async def test_a_deleted_package_is_unlisted_and_still_restores(
    dotnet: str, proxy: Proxy, feed: FakeFeed, new_box: NewBox
) -> None:
    box = new_box(proxy.index_url)
    delete = ("nuget", "delete", "Acme.Core", "1.1.0", "-s", "feed", "-k", feed.api_key, "--non-interactive")

    (await box.run(dotnet, *delete)).ok()

    assert not feed.shelf.find("Acme.Core", "1.1.0").listed
    assert writes(feed) == [("DELETE /api/v2/package/Acme.Core/1.1.0", feed.api_key)]
    box.project("Acme.Core/1.1.0")
    (await box.run(dotnet, "restore")).ok()


async def test_a_push_without_upstream_fails_and_is_not_kept(
    dotnet: str, proxy: Proxy, feed: FakeFeed, new_box: NewBox, built: Built
) -> None:
    warm = new_box(proxy.index_url)
    warm.project("Acme.Core/1.0.0")
    (await warm.run(dotnet, "restore")).ok()
    await feed.set_mode("refused")
    box = new_box(proxy.index_url)

    (await box.run(dotnet, "nuget", "push", built.nupkg(FRESH, "1.0.0"), "-s", "feed", "-k", feed.api_key)).failed()

    await feed.set_mode("up")
    assert "acme.fresh" not in feed.shelf.packages
    assert writes(feed) == []
