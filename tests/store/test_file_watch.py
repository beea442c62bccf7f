"""Files that somebody replaces are seen to be others."""

from __future__ import annotations

from pathlib import Path

from nugetproxy.store.file_watch import FileWatch
from tests.fakes.clock import FakeClock


async def test_a_file_that_becomes_readable_has_changed(tmp_path: Path, clock: FakeClock) -> None:
    file = tmp_path / "secret"
    file.write_text("new")
    file.chmod(0)
    watch, told = FileWatch(clock), list[str]()

    async def changed() -> None:
        told.append("changed")

    watch.add((file,), changed)
    await watch.look()
    assert told == []
    file.chmod(0o600)
    await watch.look()
    assert told == ["changed"]
    await watch.look()
    assert told == ["changed"]
