"""A crash or a power cut at any point of a download or a deletion leaves a package that is right, or none."""

from __future__ import annotations

import base64
import hashlib
import os
from functools import partial
from pathlib import Path

import pytest

from nugetproxy.store.fs import FsOps, StrPath
from nugetproxy.store.packages.commit import remove_package, set_aside
from nugetproxy.store.packages.folder import PackageFolder
from nugetproxy.store.packages.held import Descriptor
from nugetproxy.store.packages.layout import Layout
from nugetproxy.store.packages.publishing import publish_all
from nugetproxy.store.packages.recovery import recover
from nugetproxy.store.packages.verify import Sound, examine, read_marker
from tests.store.conftest import Maker
from tests.store.crash import Effect, RecordingFs, materialise
from tests.store.kit import IDENTITY, NUPKG, content, files, package_files, store

pytestmark = pytest.mark.slow  # it tries every point of many

FS = FsOps()
SHA512 = base64.b64encode(hashlib.sha512(NUPKG).digest()).decode()


async def downloaded(make_folder: Maker, root: Path, fs: RecordingFs) -> PackageFolder:
    folder = make_folder(fs, root)
    await folder.prepare()
    await store(folder, piece=len(NUPKG) // 3 + 1)
    await folder.close()
    return folder


class Memory(FsOps):
    """What a crash leaves need not be durable again."""

    def fsync(self, fd: int) -> None:
        pass

    def sync_dir(self, fd: int, path: StrPath) -> None:
        pass


def start(layout: Layout) -> None:
    """What a start does with staging, in one thread."""
    layout.prepare(MEMORY)
    for name in FS.names(layout.staging):
        found = recover(MEMORY, layout, partial(Descriptor, close=os.close), name)
        if found is not None:
            package, held = found
            assert publish_all(MEMORY, layout, [package]) == {}
            held.release()


MEMORY = Memory()


def problems(layout: Layout) -> list[str]:
    """What is wrong with a folder as a crash left it: for NuGet reading it, and for the proxy started on it."""
    found = []
    marker = read_marker(FS, layout.marker(IDENTITY))
    if marker is not None:
        if not layout.nupkg(IDENTITY).exists() or layout.nupkg(IDENTITY).read_bytes() != NUPKG:
            found.append("the hash file vouches for a package that is not right")
        elif not layout.nuspec(IDENTITY).exists() or b"</package>" not in layout.nuspec(IDENTITY).read_bytes():
            found.append("the hash file vouches for a nuspec that is not right")
    if layout.nupkg(IDENTITY).exists() and layout.nupkg(IDENTITY).read_bytes() != NUPKG:
        found.append("wrong bytes under a final name")
    start(layout)
    if FS.names(layout.staging):
        found.append("something is left in staging")
    finding = examine(FS, layout, IDENTITY, None)
    if isinstance(finding, Sound):
        if FS.read(finding.fd, len(NUPKG) + 1, 0) != NUPKG:
            found.append("wrong bytes served")
        FS.close(finding.fd)
    elif finding is not None:
        found.append(f"damaged: {finding.reason}")
    return found


def enumerate_states(fs: RecordingFs, root: Path, tmp_path: Path) -> tuple[list[str], int]:
    """All problems in all states; how many states there were."""
    found: list[str] = []
    number = 0
    for number, (finished, tree) in enumerate(fs.states(root), 1):
        layout = Layout(tmp_path / "states" / str(number))
        materialise(tree, root, layout.root)
        found += problems(layout)
        if finished and not layout.marker(IDENTITY).exists():
            found.append("a finished download was lost")
    return found, number


async def test_every_crash_during_a_download(make_folder: Maker, tmp_path: Path) -> None:
    fs = RecordingFs()
    folder = await downloaded(make_folder, tmp_path / "cache", fs)
    found, states = enumerate_states(fs, folder.layout.root, tmp_path)
    assert found == []
    assert states > 50


@pytest.mark.parametrize("forgotten", ["fsync", "fsync_dir"])
async def test_the_enumeration_finds_a_forgotten_sync(make_folder: Maker, tmp_path: Path, forgotten: str) -> None:
    fs = RecordingFs(forget=frozenset({forgotten}))
    folder = await downloaded(make_folder, tmp_path / "cache", fs)
    found, _ = enumerate_states(fs, folder.layout.root, tmp_path)
    assert found != []


async def assert_each_kill_is_recovered_from(
    make_folder: Maker, kills: Path, fs: RecordingFs, *, root: Path, durable: int
) -> None:
    """From the effect ``durable`` on the package is held."""
    for prefix in range(fs.done + 1):
        copy = make_folder(FS, kills / str(prefix))
        materialise(fs.killed(prefix, root), root, copy.layout.root)
        await copy.prepare()
        assert list(copy.layout.staging.iterdir()) == []
        held = await copy.open(IDENTITY)
        assert (held is not None) == (prefix >= durable)
        assert content(held or await store(copy)) == NUPKG
        assert files(copy.layout.root) == package_files(IDENTITY)
        await copy.close()


async def test_every_kill_during_a_download_can_be_recovered_from(make_folder: Maker, tmp_path: Path) -> None:
    """Without a power cut everything done is there; from the moment that it is sealed, the package is held."""
    fs = RecordingFs()
    folder = await downloaded(make_folder, tmp_path / "cache", fs)
    root = folder.layout.root
    path = Path(folder.layout.sealed(IDENTITY, SHA512) or "")
    sealed = next(effect.after for effect in fs.effects if effect.kind == "link" and effect.path == path)
    await assert_each_kill_is_recovered_from(make_folder, tmp_path / "kills", fs, root=root, durable=sealed)


def flip_padding(fs: RecordingFs, folder: PackageFolder) -> None:
    """Damage that only the hash shows: the structure of the archive stays whole."""
    path = folder.layout.nupkg(IDENTITY)
    at = NUPKG.index(b"padding.bin") + 100
    with path.open("r+b") as file:
        file.seek(at)
        file.write(bytes([NUPKG[at] ^ 1]))
    fs.effects.append(Effect("write", fs.done, inode=fs.linked[path], offset=at, data=bytes([NUPKG[at] ^ 1])))


@pytest.mark.parametrize("act", ["delete", "quarantine"])
async def test_every_crash_while_a_package_goes(make_folder: Maker, tmp_path: Path, act: str) -> None:
    fs = RecordingFs()
    folder = await downloaded(make_folder, tmp_path / "cache", fs)
    fs.done += 1
    if act == "quarantine":
        flip_padding(fs, folder)
    fs.done += 1
    before = fs.done
    fs.synced.append((before, lambda effect: effect.after < before))  # all that was long ago
    if act == "quarantine":
        set_aside(fs, folder.layout, IDENTITY, "damaged")
    else:
        remove_package(fs, folder.layout, IDENTITY)
    found = []
    for number, (_, tree) in enumerate(fs.states(folder.layout.root)):
        layout = Layout(tmp_path / "states" / str(number))
        materialise(tree, folder.layout.root, layout.root)
        layout.prepare(FS)
        finding = examine(FS, layout, IDENTITY, None)
        found.append(type(finding).__name__)
        if isinstance(finding, Sound):
            assert FS.read(finding.fd, len(NUPKG) + 1, 0) == NUPKG
            FS.close(finding.fd)
    assert {"NoneType", "Sound"} <= set(found)
    assert ("Damaged" in found) == (act == "quarantine")


async def test_every_kill_while_a_small_package_is_written_can_be_recovered_from(
    make_folder: Maker, tmp_path: Path
) -> None:
    """It never has another name than the one that says what it must be: what is not whole is none."""
    fs = RecordingFs()
    folder = make_folder(fs, tmp_path / "cache")
    await folder.prepare()
    await store(folder, in_memory=len(NUPKG))
    await folder.close()
    root, path = folder.layout.root, Path(folder.layout.sealed(IDENTITY, SHA512) or "")
    written = next(effect.after for effect in fs.effects if effect.kind == "write" and effect.data == NUPKG)
    assert [effect.kind for effect in fs.effects if effect.path == path] == ["link", "unlink"]
    await assert_each_kill_is_recovered_from(make_folder, tmp_path / "kills", fs, root=root, durable=written)


async def test_every_power_cut_while_a_small_package_is_written(make_folder: Maker, tmp_path: Path) -> None:
    fs = RecordingFs()
    folder = make_folder(fs, tmp_path / "cache")
    await folder.prepare()
    await store(folder, in_memory=len(NUPKG))
    await folder.close()
    found, states = enumerate_states(fs, folder.layout.root, tmp_path)
    assert found == []
    assert states > 50
