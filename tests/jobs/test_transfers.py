"""``export`` and ``import`` of what is not as it should be: damaged files, signatures that do not count."""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from nugetproxy.cli.socket_client import SocketClient
from nugetproxy.errors import BadRequest
from nugetproxy.jobs.bundle import MANIFEST, BadBundle, Manifest, Packed, add_bytes, writing
from nugetproxy.jobs.exporting import ExportWish, export
from nugetproxy.jobs.importing import Broken, Importing
from nugetproxy.jobs.inner_client import InnerClient
from nugetproxy.jobs.progress import Unseen
from nugetproxy.jobs.proxy_client import AT_ONCE
from nugetproxy.store.fs import DiskFailure
from tests.conftest import StartProxy
from tests.engine.test_signatures import AUTHOR, BAD, GOOD, OWNED, REPOSITORY, ROOT, list_certificates, wanted
from tests.fakes.asking import PACKAGE, ask
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy
from tests.fakes.signing import Seal, signed
from tests.jobs.test_bundles import unpacked

AT = "acme.a/1.0.0/acme.a.1.0.0.nupkg"


@pytest.fixture
def roots(tmp_path: Path) -> Path:
    path = tmp_path / "roots.pem"
    path.write_bytes(ROOT.pem)
    return path


def asks(proxy: Proxy) -> InnerClient:
    return InnerClient(lambda: proxy.app.desk, "test")


@pytest.fixture
def importing() -> Callable[[Proxy], Importing]:
    return lambda proxy: Importing(asks(proxy), proxy.directory, Unseen(), upstreams=["up"], into="up")


async def test_one_that_does_not_count_keeps_no_other_out(
    start_proxy: StartProxy, feed: FakeFeed, roots: Path, tmp_path: Path, importing: Callable[[Proxy], Importing]
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.nupkg").write_bytes(BAD)
    for number in range(12):
        package = signed(make_nupkg("Acme.B", f"{number}.0.0"), Seal(by=AUTHOR))
        (folder / f"b{number}.nupkg").write_bytes(package)
    proxy = await start_proxy(feed.index_url, upstream=wanted("require", roots))
    done = await importing(proxy).folder(folder)
    assert (done.taken, done.held, len(done.refused)) == (12, 0, 1)
    assert done.refused[0].startswith("acme.a 1.0.0: acme.a 1.0.0 is refused, its signature does not count (signer)")


async def test_what_is_held_but_does_not_count_keeps_no_other_out_either(
    start_proxy: StartProxy, feed: FakeFeed, roots: Path, tmp_path: Path, importing: Callable[[Proxy], Importing]
) -> None:
    feed.add(BAD)
    proxy = await start_proxy(feed.index_url)
    assert (await ask(proxy, PACKAGE)).status == 200
    await proxy.reload(upstream=wanted("require", roots))
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.nupkg").write_bytes(BAD)
    (folder / "b.nupkg").write_bytes(signed(make_nupkg("Acme.B", "1.0.0"), Seal(by=AUTHOR)))
    done = await importing(proxy).folder(folder)
    assert (done.taken, done.held, done.refused) == (1, 1, ())


TWINS = (("Acme", "1.2.3.4"), ("Acme.1", "2.3.4"))
"""Different packages whose files are both called ``acme.1.2.3.4.nupkg``."""


async def test_packages_whose_files_have_one_name_are_both_taken(
    start_proxy: StartProxy, feed: FakeFeed, tmp_path: Path, importing: Callable[[Proxy], Importing]
) -> None:
    first = await start_proxy(feed.index_url)
    for number, (id_, version) in enumerate(TWINS):
        feed.add(make_nupkg(id_, version, size=1000 * number))
        assert (await ask(first, f"/v3/content/{id_.lower()}/{version}/acme.1.2.3.4.nupkg")).status == 200
    bundle = tmp_path / "bundle"
    await export(asks(first), bundle, ExportWish(cache=first.directory, upstreams=["up"]), Unseen())
    second = await start_proxy(feed.index_url, directory=tmp_path / "second")
    done = await importing(second).bundle(bundle, None)
    assert (done.taken, done.refused) == (2, ())
    third = await start_proxy(feed.index_url, directory=tmp_path / "third")
    done = await importing(third).folder(first.packages)
    assert (done.taken, done.refused) == (2, ())


@pytest.mark.parametrize(("into", "taken"), [("", 2), ("up", 1)])
async def test_what_two_upstreams_hold_is_taken_for_both(
    start_proxy: StartProxy, feed: FakeFeed, tmp_path: Path, into: str, taken: int
) -> None:
    more = {"other": {"url": feed.index_url}}
    feed.add(make_nupkg("Acme.A", "1.0.0"))
    first = await start_proxy(feed.index_url, upstreams=more)
    bundles = tmp_path / "full", tmp_path / "delta"
    for upstream, bundle, base in (("up", bundles[0], None), ("other", bundles[1], bundles[0])):
        assert (await ask(first, f"/{upstream}/v3/content/{AT}")).status == 200
        wish = ExportWish(cache=first.directory, upstreams=["up", "other"], base=base)
        assert (await export(asks(first), bundle, wish, Unseen())).packages == 1
    both = tmp_path / "both"
    await export(asks(first), both, ExportWish(cache=first.directory, upstreams=["up", "other"]), Unseen())
    for name, files in (("second", [both]), ("third", [*bundles])):
        proxy = await start_proxy(feed.index_url, directory=tmp_path / name, upstreams=more)
        jobs = [Importing(asks(proxy), proxy.directory, Unseen(), upstreams=["up", "other"], into=into) for _ in files]
        done = [await job.bundle(file, None) for job, file in zip(jobs, files, strict=True)]
        assert (sum(one.taken for one in done), [one.refused for one in done]) == (taken, [()] * len(files))
        assert len(list(proxy.directory.glob("*/packages/*/*/*.sha512"))) == taken


async def test_a_package_of_symbols_is_not_taken_for_the_package(
    start_proxy: StartProxy, feed: FakeFeed, tmp_path: Path, importing: Callable[[Proxy], Importing]
) -> None:
    """Nor in a folder feed, where NuGet leaves them out."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "Acme.A.1.0.0.symbols.nupkg").write_bytes(make_nupkg("Acme.A", "1.0.0", size=5000))
    (folder / "Acme.B.1.0.0.NUPKG").write_bytes(make_nupkg("Acme.B", "1.0.0"))
    proxy = await start_proxy(feed.index_url)
    done = await importing(proxy).folder(folder)
    assert (done.taken, done.refused) == (1, ())
    assert [one.id for one in await proxy.held.holdings.recorded()] == ["acme.b"]


async def test_what_the_disk_does_not_take_is_told_in_one_sentence(
    start_proxy: StartProxy,
    feed: FakeFeed,
    tmp_path: Path,
    importing: Callable[[Proxy], Importing],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def full(*_: object) -> None:
        raise DiskFailure("write", errno.ENOSPC)

    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.nupkg").write_bytes(make_nupkg("Acme.A", "1.0.0"))
    proxy = await start_proxy(feed.index_url)
    monkeypatch.setattr(proxy.held.folder, "stage", full)
    (said,) = (await importing(proxy).folder(tmp_path / "folder")).refused
    assert said.endswith("No space left on device (ENOSPC).")


@pytest.mark.parametrize("offline", [True, False])
async def test_a_bundle_says_itself_whose_signatures_count(
    start_proxy: StartProxy, feed: FakeFeed, tmp_path: Path, importing: Callable[[Proxy], Importing], offline: bool
) -> None:
    """Where its upstream cannot be asked for its certificates."""
    list_certificates(feed, REPOSITORY)
    feed.add(OWNED)
    first = await start_proxy(feed.index_url, upstream=wanted("require"))
    assert (await ask(first, PACKAGE)).status == 200
    bundle = tmp_path / "bundle"
    await export(asks(first), bundle, ExportWish(cache=first.directory, upstreams=["up"]), Unseen())
    await feed.set_mode("refused")
    upstream = wanted("require", offline=offline)
    second = await start_proxy(feed.index_url, directory=tmp_path / "second", upstream=upstream)
    done = await importing(second).bundle(bundle, None)
    assert (done.taken, done.refused) == (1, ())
    assert (await ask(second, PACKAGE)).body == OWNED


async def test_of_a_bundle_too_the_rest_is_taken(
    start_proxy: StartProxy, feed: FakeFeed, roots: Path, tmp_path: Path, importing: Callable[[Proxy], Importing]
) -> None:
    feed.add(GOOD)
    feed.add(make_nupkg("Acme.B", "1.0.0"))
    first = await start_proxy(feed.index_url)
    for path in (PACKAGE, "/v3/content/acme.b/1.0.0/acme.b.1.0.0.nupkg"):
        assert (await ask(first, path)).status == 200
    bundle = tmp_path / "bundle"
    await export(asks(first), bundle, ExportWish(cache=first.directory, upstreams=["up"]), Unseen())
    second = await start_proxy(feed.index_url, directory=tmp_path / "second", upstream=wanted("require", roots))
    done = await importing(second).bundle(bundle, None)
    assert (done.taken, [line.partition(":")[0] for line in done.refused]) == (1, ["acme.b 1.0.0"])


@pytest.mark.parametrize("body", [b"bad", b"", b"\xff", b"=" * 88])
async def test_a_damaged_hash_file_is_named(
    start_proxy: StartProxy, feed: FakeFeed, tmp_path: Path, body: bytes
) -> None:
    feed.add(GOOD)
    proxy = await start_proxy(feed.index_url)
    assert (await ask(proxy, PACKAGE)).status == 200
    (mark,) = proxy.packages.glob("*/*/*.sha512")
    mark.write_bytes(body)
    with pytest.raises(BadRequest, match=r"acme\.a\.1\.0\.0\.nupkg is damaged, so no bundle was made"):
        await export(asks(proxy), tmp_path / "bundle", ExportWish(cache=proxy.directory, upstreams=["up"]), Unseen())


async def test_what_lies_in_the_folder_and_is_no_package_of_it_is_left_out(
    start_proxy: StartProxy, feed: FakeFeed, tmp_path: Path, importing: Callable[[Proxy], Importing]
) -> None:
    feed.add(GOOD)
    proxy = await start_proxy(feed.index_url)
    assert (await ask(proxy, PACKAGE)).status == 200
    held = proxy.packages / "acme.a" / "1.0.0"
    for other in ("acme.a/1.0", "acme.a/old", "Acme.A/1.0.0", "no id/1.0.0"):
        shutil.copytree(held, proxy.packages / other)
    shutil.copy(held / "acme.a.1.0.0.nupkg.sha512", held / "copy.nupkg.sha512")
    shutil.copy(held / "acme.a.1.0.0.nupkg", held / "copy.nupkg")
    bundle = tmp_path / "bundle"
    done = await export(asks(proxy), bundle, ExportWish(cache=proxy.directory, upstreams=["up"]), Unseen())
    assert done.packages == 1
    second = await start_proxy(feed.index_url, directory=tmp_path / "second")
    assert (await importing(second).bundle(bundle, None)).taken == 1


async def test_a_bundle_whose_manifest_has_no_hash_is_refused(
    start_proxy: StartProxy, feed: FakeFeed, tmp_path: Path, importing: Callable[[Proxy], Importing]
) -> None:
    manifest = Manifest(
        created="",
        base="",
        packages=(Packed(upstream="up", id="acme.a", version="1.0.0", sha512="bad", size=len(GOOD), path=AT),),
        files={AT: (hashlib.sha512(GOOD).hexdigest(), len(GOOD))},
    )
    bundle = tmp_path / "bundle"
    with writing(bundle) as tar:
        add_bytes(tar, MANIFEST, manifest.encoded())
        add_bytes(tar, AT, GOOD)
    proxy = await start_proxy(feed.index_url)
    with pytest.raises(BadBundle, match=r"its manifest contradicts itself about acme\.a 1\.0\.0"):
        await importing(proxy).bundle(bundle, None)


async def test_an_import_whose_proxy_goes_away_stops_and_says_what_is_done(
    start_proxy: StartProxy, feed: FakeFeed, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(30):
        (folder / f"b{number}.nupkg").write_bytes(make_nupkg("Acme.B", f"{number}.0.0"))
    proxy = await start_proxy(feed.index_url)
    asked = Counter[str]()

    class Leaving(InnerClient):
        async def command(self, name: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
            asked[name] += 1
            if asked["transfer/take"] > 10:
                return await SocketClient(tmp_path / "nobody").command(name, arguments)
            return await super().command(name, arguments)

    def again(client: InnerClient) -> Importing:
        return Importing(client, proxy.directory, Unseen(), upstreams=["up"], into="up")

    with pytest.raises(Broken) as broken:
        await again(Leaving(lambda: proxy.app.desk, "test")).folder(folder)
    assert (broken.value.taken, broken.value.left, broken.value.refused) == (10, 20, 0)
    assert asked["transfer/take"] <= 10 + AT_ONCE, "nobody is asked for the rest"
    assert str(broken.value).endswith(
        ": of the packages 10 were taken, 0 refused, 20 not taken. What was taken stays; import again for the rest."
    )
    done = await again(asks(proxy)).folder(folder)
    assert (done.taken, done.held, done.refused) == (20, 10, ())


async def test_what_is_imported_keeps_the_date_on_which_it_was_published(
    start_proxy: StartProxy, feed: FakeFeed, tmp_path: Path, importing: Callable[[Proxy], Importing]
) -> None:
    """NuGet reads it from the file where a folder is its source, that of a bundle included."""
    published = datetime(2021, 5, 1, 12, tzinfo=UTC)
    for version in ("1.0.0", "2.0.0"):
        feed.add(make_nupkg("Acme.A", version), at=published, listed=version == "1.0.0")
    first = await start_proxy(feed.index_url)
    for version in ("1.0.0", "2.0.0"):
        assert (await ask(first, PACKAGE.replace("1.0.0", version))).status == 200
    assert (await ask(first, "/v3/registration/gz-semver2/acme.a/index.json")).status == 200
    bundle = tmp_path / "bundle"
    await export(asks(first), bundle, ExportWish(cache=first.directory, upstreams=["up"]), Unseen())
    unpacked(bundle, tmp_path / "folder")
    assert (tmp_path / "folder" / AT).stat().st_mtime == published.timestamp()
    await feed.set_mode("refused")
    second = await start_proxy(feed.index_url, directory=tmp_path / "second")
    assert (await importing(second).bundle(bundle, None)).taken == 2
    assert (second.packages / AT).stat().st_mtime == published.timestamp()
    hits = json.loads((await ask(second, "/v3/query?q=acme")).body)["data"]
    assert [one["version"] for hit in hits for one in hit["versions"]] == ["1.0.0"], "the other one is unlisted"


async def test_what_has_other_bytes_than_upstream_states_is_not_taken(
    start_proxy: StartProxy, feed: FakeFeed, tmp_path: Path, importing: Callable[[Proxy], Importing]
) -> None:
    """As it would not be, had it come from there."""
    stated = base64.b64encode(hashlib.sha512(b"others").digest()).decode()
    feed.registration_extra["acme.a"] = {"1.0.0": {"packageHash": stated, "packageHashAlgorithm": "SHA512"}}
    for id_ in ("Acme.A", "Acme.B"):
        feed.add(make_nupkg(id_, "1.0.0"))
    proxy = await start_proxy(feed.index_url)
    assert (await ask(proxy, "/v3/registration/gz-semver2/acme.a/index.json")).status == 200
    folder = tmp_path / "folder"
    folder.mkdir()
    for id_ in ("Acme.A", "Acme.B"):
        (folder / f"{id_}.nupkg").write_bytes(make_nupkg(id_, "1.0.0"))
    done = await importing(proxy).folder(folder)
    why = "its SHA-512 is not the one that upstream's metadata states"
    assert (done.taken, done.refused) == (1, (f"acme.a 1.0.0: {why}",))
