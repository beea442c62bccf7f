"""A small package is looked into at once, one that takes longer in a thread."""

from __future__ import annotations

import base64
import hashlib
import io
import struct
import zipfile
from collections.abc import AsyncIterator

import pytest

from nugetproxy.nuget.package import DamagedEntry, InvalidPackage
from nugetproxy.store.packages.folder import PackageFolder
from nugetproxy.store.packages.staging import LONG, PARSED, UNPACKED, Staged
from tests.fakes.packages import make_nupkg, make_nuspec
from tests.store.kit import IDENTITY, NUPKG

ID, VERSION = "Newtonsoft.Json", "13.0.3"


def zipped_as_is(nuspec: str) -> bytes:
    """A package of a stored nuspec that is said to have one byte."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(f"{ID}.nuspec", nuspec)
    package = bytearray(buffer.getvalue())
    struct.pack_into("<L", package, package.index(b"PK\x01\x02") + 24, 1)
    return bytes(package)


@pytest.fixture
async def staged(folder: PackageFolder) -> AsyncIterator[Staged]:
    """Nothing yet, in memory."""
    staged = await folder.stage(IDENTITY, in_memory=2 * LONG)
    yield staged
    await staged.abandon()
    staged.close()


async def test_what_is_found_at_once_is_what_a_thread_finds(staged: Staged) -> None:
    await staged.write(NUPKG)
    found = await staged.look_now(IDENTITY, contents=True)
    assert found is not None
    assert found == staged.look(IDENTITY, contents=True)()
    assert staged.sha512 == base64.b64encode(hashlib.sha512(NUPKG).digest()).decode()


@pytest.mark.parametrize(
    "nupkg",
    [
        make_nupkg(ID, VERSION, size=LONG),
        make_nupkg(ID, VERSION, files={"lib/zeros": bytes(UNPACKED)}),
        make_nupkg(ID, VERSION, files={f"lib/{n}": bytes(UNPACKED // 50) for n in range(50)}),
        make_nupkg(ID, VERSION, description="a" * PARSED),
        zipped_as_is(make_nuspec(ID, VERSION, fields={"description": "a" * PARSED})),
    ],
    ids=["large", "much to unpack", "much in many", "much to parse", "much to parse that is said to be little"],
)
async def test_what_takes_longer_is_left_to_a_thread(staged: Staged, nupkg: bytes) -> None:
    await staged.write(nupkg)
    assert await staged.look_now(IDENTITY, contents=True) is None
    held = await staged.land(staged.look(IDENTITY, contents=True))
    assert held.size == len(nupkg)


async def test_what_lies_in_a_file_already_is_left_to_a_thread(folder: PackageFolder) -> None:
    staged = await folder.stage(IDENTITY)
    await staged.write(NUPKG)
    assert await staged.look_now(IDENTITY) is None
    await staged.abandon()
    staged.close()


async def test_what_is_no_sound_package_is_told_at_once(staged: Staged) -> None:
    await staged.write(NUPKG[:-1])
    with pytest.raises(InvalidPackage):
        await staged.look_now(IDENTITY)


async def test_a_damaged_entry_is_told_at_once(staged: Staged) -> None:
    at = NUPKG.index(b"\x89PNG")  # stored as it is
    await staged.write(NUPKG[:at] + b"\x88" + NUPKG[at + 1 :])
    assert await staged.look_now(IDENTITY) is not None, "where the contents are nobody's concern"
    with pytest.raises(DamagedEntry):
        await staged.look_now(IDENTITY, contents=True)
