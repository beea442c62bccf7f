"""``export`` and ``import`` carry packages with their documents to a place without a network."""

from __future__ import annotations

import errno
import io
import json
import os
import tarfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest
import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from nugetproxy.errors import BadRequest
from nugetproxy.jobs.exporting import new_place
from tests.fakes.feed import FakeFeed
from tests.fakes.origin import Script
from tests.fakes.packages import make_nupkg
from tests.fakes.process import ProxyProcess
from tests.jobs.test_repository import write
from tests.test_control import cli

pytestmark = pytest.mark.slow  # most tests start processes

Options = tuple[str, ...]
ADVISORY = {"acme.a": [{"url": "https://example.org/1", "severity": 2, "versions": "(, 2.0.0)"}]}


@pytest.fixture
async def shelf(feed: FakeFeed) -> FakeFeed:
    for id_, version in (("Acme.A", "1.0.0"), ("Acme.A", "1.1.0"), ("Acme.B", "2.0.0")):
        feed.add(make_nupkg(id_, version, size=3000))
    feed.vulnerabilities["base"] = ADVISORY
    return feed


def box(root: Path, name: str, feed: FakeFeed) -> Options:
    """The options of a proxy with a cache of its own."""
    (root / f"{name}.toml").write_text(f'[upstreams.up]\nurl = "{feed.index_url}"\n')
    return ("--cache-dir", str(root / name), "--config", str(root / f"{name}.toml"))


async def warmed(root: Path, feed: FakeFeed, *lines: str) -> Options:
    """A cache that holds these packages."""
    options = box(root, "first", feed)
    write(root, {"wanted.txt": "\n".join(lines)})
    code, out, err = await cli("warm", root / "wanted.txt", *options)
    assert code == 0, out + err
    return options


@pytest.fixture(params=["running", "stopped"])
async def second(request: pytest.FixtureRequest, shelf: FakeFeed, tmp_path: Path) -> AsyncIterator[Options]:
    """An empty cache, of a proxy that runs or of one that does not."""
    options = box(tmp_path, "second", shelf)
    if request.param == "stopped":
        yield options
        return
    async with ProxyProcess(*options):
        yield options


async def body(url: str) -> bytes:
    async with aiohttp.ClientSession(raise_for_status=True) as session, session.get(url) as answer:
        return await answer.read()


def held(root: Path, name: str) -> set[str]:
    return {path.name for path in (root / name / "up" / "packages").glob("*/*/*.nupkg.sha512")}


async def test_a_bundle_makes_an_empty_proxy_serve_without_its_upstream(
    shelf: FakeFeed, second: Options, tmp_path: Path
) -> None:
    first = await warmed(tmp_path, shelf, "Acme.A@1.0.0", "Acme.A@1.1.0", "Acme.B@2.0.0")
    bundle = tmp_path / "all.tar.zst"
    code, out, err = await cli("export", bundle, *first)
    assert (code, err) == (0, "")
    assert out.startswith("Wrote 3 packages (")
    await shelf.set_mode("refused")

    code, out, err = await cli("import", bundle, *second)
    assert code == 0, out + err
    assert out.startswith("Took 3 packages, ")
    write(tmp_path, {"wanted.txt": "Acme.A@1.0.0\nAcme.A@1.1.0\nAcme.B@2.0.0"})
    assert (await cli("warm", "--check", tmp_path / "wanted.txt", *second))[0] == 0
    code, out, _ = await cli("import", bundle, "--json", *second)
    assert code == 0
    assert json.loads(out)["taken"] == 0
    assert json.loads(out)["held"] == 3
    assert not list((tmp_path / "second" / "run").glob("transfer-*"))


async def test_documents_and_advisories_come_along(shelf: FakeFeed, tmp_path: Path) -> None:
    first = await warmed(tmp_path, shelf, "Acme.A@1.0.0")
    assert (await cli("export", tmp_path / "b", *first))[0] == 0
    await shelf.set_mode("refused")
    options = box(tmp_path, "second", shelf)
    assert (await cli("import", tmp_path / "b", *options))[0] == 0
    async with ProxyProcess(*options) as proxy:
        index = json.loads(await body(f"{proxy.url}/v3/vulnerabilities/index.json"))
        (page,) = [row for row in index if row["@name"] == "base"]
        assert b"https://example.org/1" in await body(page["@id"])
        listed = json.loads(await body(f"{proxy.url}/v3/content/acme.a/index.json"))
        assert listed["versions"] == ["1.0.0", "1.1.0"], "as upstream said it, not only what is held"


async def test_a_delta_has_only_what_is_new_and_lock_files_limit_a_bundle(shelf: FakeFeed, tmp_path: Path) -> None:
    first = await warmed(tmp_path, shelf, "Acme.A@1.0.0")
    assert (await cli("export", tmp_path / "full", *first))[0] == 0
    await warmed(tmp_path, shelf, "Acme.A@1.1.0", "Acme.B@2.0.0")
    code, out, _ = await cli("export", tmp_path / "delta", "--since", tmp_path / "full", "--json", *first)
    assert (code, json.loads(out)["packages"], json.loads(out)["left_out"]) == (0, 2, 1)
    lock = {"version": 1, "dependencies": {"net8.0": {"Acme.B": {"type": "Direct", "resolved": "2.0.0"}}}}
    write(tmp_path, {"packages.lock.json": json.dumps(lock)})
    code, out, _ = await cli("export", tmp_path / "few", "--only", tmp_path / "packages.lock.json", "--json", *first)
    assert (code, json.loads(out)["packages"]) == (0, 1)

    second = box(tmp_path, "second", shelf)
    code, _, err = await cli("import", tmp_path / "delta", *second)
    assert (code, err[:28]) == (1, "Not held: 1 of the 1 package")
    assert held(tmp_path, "second") == {"acme.a.1.1.0.nupkg.sha512", "acme.b.2.0.0.nupkg.sha512"}
    await cli("import", tmp_path / "full", *second)
    assert "acme.a.1.0.0.nupkg.sha512" in held(tmp_path, "second")
    assert (await cli("import", tmp_path / "delta", *second))[0] == 0


KEY = "1b2e6bd8c0e347a09c9a9a3d8f1e5d11FFFFFFFF"
SYMBOL = f"symbols/acme.a.pdb/{KEY}/acme.a.pdb"
PDB = b"BSJB" + bytes(range(256)) * 40


async def test_what_is_lost_beside_a_package_is_not_said_to_be_evicted(shelf: FakeFeed, tmp_path: Path) -> None:
    first = await warmed(tmp_path, shelf, "Acme.A@1.0.0")
    next((tmp_path / "first").rglob("acme.a.nuspec")).unlink()
    code, _, err = await cli("export", tmp_path / "all.tar.zst", *first)
    assert (code, "acme.a.nuspec: No such file" in err, "evicted" in err) == (1, True, False), err
    assert "'nugetproxy verify' writes what is lost" in " ".join(err.split())
    assert (await cli("verify", *first))[0] == 0
    assert (await cli("export", tmp_path / "all.tar.zst", *first))[0] == 0


async def test_symbols_that_debuggers_have_got_come_along(shelf: FakeFeed, tmp_path: Path) -> None:
    shelf.origin.routes[f"/{SYMBOL}"] = Script(body=PDB)
    options = []
    for name in ("first", "second"):
        options.append(box(tmp_path, name, shelf))
        with (tmp_path / f"{name}.toml").open("a") as file:
            file.write(f'[symbols]\nurls = ["{shelf.url}/symbols"]\n')
    async with ProxyProcess(*options[0]) as proxy:
        assert await body(f"{proxy.url}/{SYMBOL}") == PDB
        assert (await cli("export", tmp_path / "b", *options[0]))[0] == 0
    await shelf.set_mode("refused")
    code, out, err = await cli("import", tmp_path / "b", *options[1])
    assert code == 0, out + err
    async with ProxyProcess(*options[1]) as proxy:
        assert await body(f"{proxy.url}/{SYMBOL}") == PDB
    assert shelf.count(f"/{SYMBOL}") == 1


async def test_a_delta_is_signed_too(shelf: FakeFeed, tmp_path: Path) -> None:
    first = await warmed(tmp_path, shelf, "Acme.A@1.0.0")
    (private, public), theirs = keys(tmp_path, "ours"), keys(tmp_path, "theirs")[1]
    await cli("export", tmp_path / "full", "--sign", private, *first)
    await warmed(tmp_path, shelf, "Acme.B@2.0.0")
    code, out, err = await cli("export", tmp_path / "delta", "--since", tmp_path / "full", "--sign", private, *first)
    assert (code, "1 are in" in out) == (0, True), out + err
    second = box(tmp_path, "second", shelf)
    altered = repacked(lambda name, body: body.replace(b'"base"', b'"base" ') if "manifest.json" in name else body)
    (tmp_path / "altered").write_bytes(altered((tmp_path / "delta").read_bytes()))
    for bundle, key in (("altered", public), ("delta", theirs)):
        assert (await cli("import", tmp_path / bundle, "--trust", key, *second))[0] == 1
    assert held(tmp_path, "second") == set()
    for bundle in ("full", "delta"):
        code, _, err = await cli("import", tmp_path / bundle, "--trust", public, *second)
        assert code == 0, err
    assert held(tmp_path, "second") == {"acme.a.1.0.0.nupkg.sha512", "acme.b.2.0.0.nupkg.sha512"}


def unpacked(bundle: Path, folder: Path) -> None:
    plain = zstandard.ZstdDecompressor().decompressobj().decompress(bundle.read_bytes())
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        tar.extractall(folder, filter="data")


async def test_an_unpacked_bundle_is_a_folder_feed(shelf: FakeFeed, tmp_path: Path) -> None:
    first = await warmed(tmp_path, shelf, "Acme.A@1.0.0", "Acme.B@2.0.0")
    await cli("export", tmp_path / "b", *first)
    unpacked(tmp_path / "b", tmp_path / "folder")
    (tmp_path / "f.toml").write_text(f'[upstreams.up]\nurl = "{tmp_path / "folder"}"\n')
    write(tmp_path, {"wanted.txt": "Acme.A@1.0.0\nAcme.B@2.0.0"})
    options = ("--config", tmp_path / "f.toml", "--cache-dir", tmp_path / "third")
    code, out, err = await cli("warm", "--check", tmp_path / "wanted.txt", *options)
    assert code == 0, out + err


def cut(bundle: bytes) -> bytes:
    return bundle[: len(bundle) * 2 // 3]


def without_its_end(bundle: bytes) -> bytes:
    return bundle[:-1]


def flipped(bundle: bytes) -> bytes:
    altered = bytearray(bundle)
    altered[len(altered) // 2] ^= 0xFF
    return bytes(altered)


def repacked(change: Callable[[str, bytes], bytes | None]) -> Callable[[bytes], bytes]:
    """A sound archive with other contents."""

    def repack(bundle: bytes) -> bytes:
        plain = zstandard.ZstdDecompressor().decompressobj().decompress(bundle)
        written = io.BytesIO()
        with tarfile.open(fileobj=io.BytesIO(plain)) as old, tarfile.open(fileobj=written, mode="w") as new:
            for entry in old:
                file = old.extractfile(entry)
                content = change(entry.name, file.read() if file else b"")
                if content is not None:
                    entry.size = len(content)
                    new.addfile(entry, io.BytesIO(content))
        return zstandard.ZstdCompressor().compress(written.getvalue())

    return repack


@pytest.mark.parametrize(
    "alter",
    [
        cut,
        without_its_end,
        flipped,
        repacked(lambda name, body: body[:-1] + b"x" if name.endswith("1.0.0.nupkg") else body),
        repacked(lambda name, body: None if name.endswith("b.2.0.0.nupkg") else body),
        repacked(lambda name, body: None if "manifest" in name else body),
        repacked(lambda name, body: body.replace(b'"acme.a"', b'"acme.c"') if "manifest" in name else body),
        repacked(lambda name, body: body.replace(b'"acme.a/1.0.0/', b'"../a/1.0.0/') if "manifest" in name else body),
        lambda _bundle: b"",
        lambda _bundle: b"not a bundle",
    ],
    ids=[
        "cut",
        "without its last byte",
        "flipped",
        "package altered",
        "package lacking",
        "no manifest",
        "other id",
        "path outside",
        "empty",
        "something else",
    ],
)
async def test_a_bundle_that_was_cut_or_altered_is_refused_whole(
    shelf: FakeFeed, tmp_path: Path, alter: Callable[[bytes], bytes]
) -> None:
    first = await warmed(tmp_path, shelf, "Acme.A@1.0.0", "Acme.B@2.0.0")
    await cli("export", tmp_path / "good", *first)
    (tmp_path / "bad").write_bytes(alter((tmp_path / "good").read_bytes()))
    second = box(tmp_path, "second", shelf)
    code, out, err = await cli("import", tmp_path / "bad", *second)
    assert (code, out) == (1, "")
    assert "is refused, nothing of it was imported" in err
    assert held(tmp_path, "second") == set()
    assert not list((tmp_path / "second" / "run").glob("transfer-*"))


async def test_a_package_that_is_other_bytes_here_refuses_the_bundle(shelf: FakeFeed, tmp_path: Path) -> None:
    first = await warmed(tmp_path, shelf, "Acme.A@1.0.0", "Acme.B@2.0.0")
    await cli("export", tmp_path / "b", *first)
    second = box(tmp_path, "second", shelf)
    shelf.add(make_nupkg("Acme.A", "1.0.0", size=10))
    write(tmp_path, {"wanted.txt": "Acme.A@1.0.0"})
    assert (await cli("warm", tmp_path / "wanted.txt", *second))[0] == 0
    code, _, err = await cli("import", tmp_path / "b", *second)
    assert code == 1
    assert "acme.a 1.0.0: this version has other bytes here" in err
    assert held(tmp_path, "second") == {"acme.a.1.0.0.nupkg.sha512"}


def keys(root: Path, name: str) -> tuple[Path, Path]:
    private = Ed25519PrivateKey.generate()
    files = root / f"{name}.key", root / f"{name}.pub"
    files[0].write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = private.public_key()
    files[1].write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return files


async def test_a_bundle_is_taken_only_from_who_is_trusted(shelf: FakeFeed, tmp_path: Path) -> None:
    first = await warmed(tmp_path, shelf, "Acme.A@1.0.0")
    ours, theirs = keys(tmp_path, "ours"), keys(tmp_path, "theirs")
    await cli("export", tmp_path / "signed", "--sign", ours[0], *first)
    await cli("export", tmp_path / "plain", *first)
    second = box(tmp_path, "second", shelf)
    for bundle, trusted, why in (("signed", theirs, "its signature is not by that key"), ("plain", ours, "not signed")):
        code, _, err = await cli("import", tmp_path / bundle, "--trust", trusted[1], *second)
        assert code == 1
        assert why in err
    altered = repacked(lambda name, body: body.replace(b'"base"', b'"base" ') if "manifest.json" in name else body)
    (tmp_path / "altered").write_bytes(altered((tmp_path / "signed").read_bytes()))
    assert (await cli("import", tmp_path / "altered", "--trust", ours[1], *second))[0] == 1
    assert held(tmp_path, "second") == set()
    assert (await cli("import", tmp_path / "signed", "--trust", ours[1], *second))[0] == 0
    assert held(tmp_path, "second") == {"acme.a.1.0.0.nupkg.sha512"}


@pytest.mark.parametrize("layout", ["{name}", "{id}/{version}/{name}", "{id}/{name}"])
async def test_any_folder_of_packages_is_taken(shelf: FakeFeed, second: Options, tmp_path: Path, layout: str) -> None:
    for id_, version in (("Acme.A", "1.0.0"), ("Acme.Own", "3.0.0")):
        name = f"{id_}.{version}.nupkg"
        write(tmp_path / "folder", {layout.format(name=name, id=id_, version=version): make_nupkg(id_, version)})
    write(tmp_path / "folder", {"broken.nupkg": b"no zip", "acme.a/1.0.0/.nupkg.metadata": b"{}"})
    code, out, err = await cli("import", tmp_path / "folder", *second)
    assert (code, out) == (1, "Took 2 packages, 0 documents; 0 packages had been held before.\n")
    assert err.startswith(f"{tmp_path / 'folder' / 'broken.nupkg'}: ")
    (tmp_path / "folder" / "broken.nupkg").unlink()
    code, out, _ = await cli("import", tmp_path / "folder", *second)
    assert (code, out) == (0, "Took 0 packages, 0 documents; 2 packages had been held before.\n")
    await shelf.set_mode("refused")
    write(tmp_path, {"wanted.txt": "Acme.Own@3.0.0"})
    assert (await cli("warm", "--check", tmp_path / "wanted.txt", *second))[0] == 0


async def test_what_cannot_be_imported_says_why(shelf: FakeFeed, tmp_path: Path) -> None:
    second = box(tmp_path, "second", shelf)
    (tmp_path / "empty").mkdir()
    for place, why in (("empty", "There is no package"), ("nowhere", "There is no file")):
        code, _, err = await cli("import", tmp_path / place, *second)
        assert code == 1
        assert why in err
    code, _, err = await cli("export", tmp_path / "b", "--upstream", "nobody", *second)
    assert code == 64
    assert "There is no remote upstream 'nobody'; there are up." in err


@pytest.mark.parametrize(
    ("number", "told"), [(errno.ENOSPC, "No space left on device."), (errno.EACCES, "run this as the proxy's user.")]
)
def test_a_folder_that_cannot_be_made_is_told_with_the_cause(
    number: int, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "mkdir", failing)
    with pytest.raises(BadRequest) as caught:
        new_place(tmp_path)
    assert str(caught.value).endswith(told)
