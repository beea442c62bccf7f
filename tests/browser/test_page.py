"""The page in a real browser: two widths, light and dark, live, by keyboard, looked at by axe."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.browser.scene import ADMIN, AUTHOR, BACKWARDS, SESSION, scene

DRIVE = Path(__file__).parent / "drive.cjs"
KIT = os.environ.get("NUGETPROXY_TEST_BROWSER_KIT", "")
"""A folder in which npm has installed playwright-core and axe-core."""
CHROMIUM = shutil.which("chromium") or ""
NODE = shutil.which("node") or ""
SHOTS = os.environ.get("NUGETPROXY_TEST_SHOTS", "")
"""Where screenshots are to be kept."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(420),
    pytest.mark.skipif(not (KIT and CHROMIUM and NODE), reason="no chromium, node or NUGETPROXY_TEST_BROWSER_KIT"),
]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the driver saw."""
    return asyncio.run(drive(tmp_path_factory.mktemp("scene")))


async def drive(directory: Path) -> dict[str, Any]:
    shots = Path(SHOTS) if SHOTS else directory / "shots"
    shots.mkdir(exist_ok=True)
    async with scene(directory) as shown, shown.downloading():
        await shown.restore()
        process = await asyncio.create_subprocess_exec(
            NODE, DRIVE, KIT, CHROMIUM, f"{shown.proxy.url}/", shots, ADMIN,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        errors = asyncio.create_task(process.stderr.read())
        said: dict[str, Any] = {}
        async with asyncio.timeout(400):
            while line := await process.stdout.readline():
                said = json.loads(line)
                if said.get("wants") == "the upstream lost":
                    await shown.public.set_mode("refused")
                    await shown.fail()
                elif said.get("wants") == "the upstream back":
                    await shown.public.set_mode("up")
            await process.wait()
        assert process.returncode == 0, (await errors).decode()
        return said


def test_axe_finds_nothing(seen: dict[str, Any]) -> None:
    assert seen["violations"] == []


def test_nothing_is_asked_of_anywhere_else_and_nothing_fails(seen: dict[str, Any]) -> None:
    assert seen["foreign"] == []
    assert seen["errors"] == []


def test_no_view_is_wider_than_its_window(seen: dict[str, Any]) -> None:
    assert seen["overflow"] == []


def test_long_names_are_broken_and_hide_nothing(seen: dict[str, Any]) -> None:
    assert seen["isolated"] == [BACKWARDS] * 4, "what reads backwards leaves the words after it alone"
    assert seen["narrow"] == [], "a letter a line"


def test_the_icon_of_a_package_is_shown(seen: dict[str, Any]) -> None:
    assert seen["icons"] == [64] * 4, "two widths, light and dark"


def test_who_has_signed_a_package_is_a_row_of_its_view(seen: dict[str, Any]) -> None:
    assert seen["signatures"] == 4 * [
        f"contoso.http 2.1.3 is signed by CN=Contoso (SHA-256 {AUTHOR.fingerprint}).",
        "fabrikam.tools.format 3.1.0 has no signature that counts: it is not signed.",
    ]


def test_the_audit_names_what_should_not_be_used_any_more(seen: dict[str, Any]) -> None:
    assert len(seen["audits"]) == 4, "two widths, light and dark"
    for text in seen["audits"]:
        for piece in ("contoso.http", "1.8.0", "2.0.0", "critical", "contoso.json", "12.0.3", "deprecated"):
            assert piece in text.lower(), text


def test_a_slow_restore_is_found_with_what_was_slow(seen: dict[str, Any]) -> None:
    assert len(seen["restores"]) == 4, "two widths, light and dark"
    for text in seen["restores"].values():
        assert "Why was this restore slow?" in text
        assert "The upstream was slow" in text
        assert "The slowest was contoso.data.sqlite 8.0.2" in text
        assert SESSION in text, "an administrator looks"


def test_the_page_is_used_by_keyboard(seen: dict[str, Any]) -> None:
    assert seen["first"] == "Skip to the content"
    assert seen["second"] == "search"
    assert seen["focus"] == "H1", "whoever cannot see learns that the view has changed"
    assert "Administrators see which" in seen["who"], "nobody has signed in here"


def test_what_changes_is_shown_while_somebody_looks(seen: dict[str, Any]) -> None:
    assert seen["live"] == ["nuget.org lost", "All is well"]
