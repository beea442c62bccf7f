"""What an operator's commands say of a folder of packages that somebody else fills."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.process import ProxyProcess
from tests.test_control import cli
from tests.test_held_commands import path_of

pytestmark = pytest.mark.slow  # most tests start processes

FIRST, OTHER = (make_nupkg("Contoso.A", "1.0.0", description=text) for text in ("first bytes", "other bytes"))


class Setup:
    """A folder beside a remote upstream, both in the feed at the root; its proxy runs or is stopped."""

    def __init__(self, root: Path, feed: FakeFeed) -> None:
        self.folder = root / "packages"
        self.folder.mkdir()
        self.file = root / "proxy.toml"
        self.place("Contoso.A.1.0.0.nupkg", FIRST)
        self.proxy = ProxyProcess("--config", self.file)
        self.running = False
        self.file.write_text(
            f"""
[cache]
directory = "{root / "cache"}"
min_free = "0"
[upstreams.up]
url = "{feed.index_url}"
[upstreams.shelf]
url = "{self.folder}"
[feeds.all]
sources = ["shelf", "up"]
"""
        )

    def place(self, name: str, nupkg: bytes) -> None:
        """As whoever fills a folder should: under another name first."""
        (self.folder / "new").write_bytes(nupkg)
        (self.folder / "new").rename(self.folder / name)

    async def start(self) -> None:
        await self.proxy.start()
        await self.proxy.listening()

    async def tell(self, *words: str) -> tuple[int, str, str]:
        return await cli(*words, "--config", self.file)

    async def json(self, *words: str) -> Any:
        code, out, err = await self.tell(*words, "--json")
        assert code == 0, err
        return json.loads(out)

    async def get(self, id: str, version: str = "1.0.0") -> tuple[int, bytes]:
        async with aiohttp.ClientSession() as session, session.get(self.proxy.url + path_of(id, version)) as answer:
            return answer.status, await answer.read()


@pytest.fixture(params=[True, False], ids=["running", "stopped"])
async def setup(request: pytest.FixtureRequest, feed: FakeFeed, tmp_path: Path) -> AsyncIterator[Setup]:
    """Both packages were asked for once."""
    feed.add(make_nupkg("Acme.A", "1.0.0"))
    setup = Setup(tmp_path, feed)
    await setup.start()
    for id in ("Contoso.A", "Acme.A"):
        assert (await setup.get(id))[0] == 200
    setup.running = request.param
    if not setup.running:
        assert await setup.proxy.stop() == 0
    yield setup
    await setup.proxy.kill()


async def test_ls_lists_what_lies_there(setup: Setup) -> None:
    said = await setup.json("ls")
    rows = {one["id"]: one for one in said["packages"]}
    assert {id: (one["upstream"], one["kept"]) for id, one in rows.items()} == {
        "acme.a": ("up", False),
        "contoso.a": ("shelf", False),
    }
    assert rows["contoso.a"]["used"] is None
    assert rows["contoso.a"]["size"] == len(FIRST)
    assert (said["count"], said["unread"]) == (2, {})
    code, out, _ = await setup.tell("ls", "contoso.*", "--upstream", "shelf")
    assert (code, out.splitlines()[1].split()) == (0, ["contoso.a", "1.0.0", *out.split()[8:10], "-", "shelf"])
    code, out, err = await setup.tell("ls", "--upstream", "shelf", "acme.*")
    assert (code, out, err) == (1, "", "No such package is held.\n")


async def test_ls_says_that_a_folder_cannot_be_read(setup: Setup) -> None:
    setup.folder.rename(setup.folder.with_name("away"))
    setup.folder.mkdir()  # so does a share look that is not mounted
    code, _, err = await setup.tell("refresh", "Contoso.A", "--upstream", "shelf")
    assert (code, str(setup.folder) in err) == (1, True)
    code, out, err = await setup.tell("ls")
    assert (code, "acme.a" in out, "contoso.a" in out) == (0, True, False)
    assert "Not all of shelf is in it: " in err
    code, out, err = await setup.tell("ls", "--upstream", "shelf")
    assert (code, out, err.splitlines()[-1]) == (1, "", "No such package is held.")


async def test_verify_says_that_it_does_not_read_it(setup: Setup) -> None:
    code, out, err = await setup.tell("verify")
    assert (code, err) == (0, "")
    assert out.splitlines()[0].startswith("1 package (")
    assert out.splitlines()[1] == f"shelf: not read; what lies in {setup.folder} is checked when it is opened."
    assert (await setup.json("verify"))["folders"] == {"shelf": str(setup.folder)}
    assert (await setup.json("verify", "--upstream", "up"))["folders"] == {}
    code, out, err = await setup.tell("verify", "--upstream", "shelf")
    assert (code, out) == (1, "")
    assert err == f"Nothing is held of 'shelf': what lies in {setup.folder} is checked when it is opened.\n"


async def test_refresh_looks_into_it(setup: Setup) -> None:
    setup.place("Contoso.A.2.0.0.nupkg", make_nupkg("Contoso.A", "2.0.0"))
    code, out, err = await setup.tell("refresh", "Contoso.A")
    assert code == 0, err
    assert f"shelf: {setup.folder} has 1.0.0, 2.0.0." in out.splitlines()
    assert "up: it has no such package." in out.splitlines()
    if setup.running:
        assert (await setup.get("Contoso.A", "2.0.0"))[0] == 200
    code, _, err = await setup.tell("refresh", "Contoso.B", "--upstream", "shelf")
    assert (code, err) == (1, f"Nothing new is known of contoso.b: shelf: {setup.folder} has no such package.\n")


async def test_keep_says_that_nothing_is_evicted_there(setup: Setup) -> None:
    code, out, _ = await setup.tell("keep", "Contoso.A@1.0.0", "Acme.A", "Acme.Other")
    assert code == 0
    assert out.splitlines() == [
        "3 packages will not be evicted.",
        "Not held yet, so kept from when they are: 1 (acme.other).",
        "In the folder of shelf, from which nothing is evicted: 1 (contoso.a@1.0.0).",
    ]


async def test_who_knows_its_clients_too(setup: Setup) -> None:
    said = await setup.json("who", "Contoso.A@1.0.0")
    assert [(one["feed"], one["client"], one["times"]) for one in said["uses"]] == [("all", "127.0.0.1", 1)]
    bill = json.loads((await setup.tell("sbom", "--address", "127.0.0.1"))[1])
    assert [one["name"] for one in bill["components"]] == ["Acme.A", "Contoso.A"]


async def test_purge_forgets_which_bytes_a_package_had(setup: Setup) -> None:
    setup.place("Contoso.A.1.0.0.nupkg", OTHER)
    if setup.running:
        await setup.tell("refresh", "Contoso.A")
        status, said = await setup.get("Contoso.A")
        assert (status, b"'nugetproxy purge' forgets them" in said) == (502, True)
    code, out, err = await setup.tell("purge", "Contoso.A@1.0.0")
    assert (code, err) == (0, "")
    assert "Forgot the pinned hash of contoso.a 1.0.0 from shelf; the file stays." in out.splitlines()
    assert f"contoso.a 1.0.0 lies in {setup.folder}: whoever fills shelf removes it." in out.splitlines()
    if not setup.running:
        await setup.start()
    assert await setup.get("Contoso.A") == (200, OTHER)


async def test_purge_of_what_only_lies_there_is_no_success(setup: Setup) -> None:
    setup.place("Contoso.B.1.0.0.nupkg", make_nupkg("Contoso.B", "1.0.0"))
    code, out, err = await setup.tell("purge", "Contoso.B", "--upstream", "shelf")
    assert code == 1
    assert out == f"contoso.b 1.0.0 lies in {setup.folder}: whoever fills shelf removes it.\n"
    assert err.startswith("No package contoso.b is held in ")
    assert (setup.folder / "Contoso.B.1.0.0.nupkg").exists()
