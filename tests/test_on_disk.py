"""What lies at a path is said, or that it cannot be told: with every version of Python."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nugetproxy.on_disk import exists, is_dir, is_file

LOOKS = (exists, is_file, is_dir)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("file", (True, True, False)),
        ("folder", (True, False, True)),
        ("to_file", (True, True, False)),
        ("to_folder", (True, False, True)),
        ("missing", (False, False, False)),
        ("to_missing", (False, False, False)),
        ("round", (False, False, False)),
        ("file/below", (False, False, False)),
        ("nul\0", (False, False, False)),
    ],
)
def test_what_lies_there_is_told(tmp_path: Path, name: str, said: tuple[bool, ...]) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    for link, target in {"to_file": "file", "to_folder": "folder", "to_missing": "missing", "round": "round"}.items():
        (tmp_path / link).symlink_to(target)
    assert tuple(look(tmp_path / name) for look in LOOKS) == said


@pytest.mark.parametrize("look", LOOKS)
def test_a_failed_look_is_no_answer(tmp_path: Path, look: Callable[[Path], bool]) -> None:
    with pytest.raises(OSError, match="File name too long"):
        look(tmp_path / ("x" * 5000))
