"""What the cache directory holds of each upstream: whose it is, what is left over."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nugetproxy.config import feed_of
from nugetproxy.store.upstream_folders import Leftover, leftovers, origin_of, settle

OLD, NEW = "old.example/v3/index.json", "new.example/v3/index.json"


def hold(root: Path, what: str) -> Path:
    place = root / "packages" / "acme" / "1.0.0" / "acme.1.0.0.nupkg"
    place.parent.mkdir(parents=True)
    place.write_text(what)
    return place


def test_a_folder_that_says_nothing_is_taken_over(tmp_path: Path) -> None:
    place = hold(tmp_path, "old")
    assert settle(tmp_path, OLD) is None
    assert settle(tmp_path, OLD) is None
    assert place.read_text() == "old"


def test_packages_of_another_feed_are_put_aside_until_it_is_back(tmp_path: Path) -> None:
    settle(tmp_path, OLD)
    place = hold(tmp_path, "old")
    replaced = settle(tmp_path, NEW)
    assert replaced is not None
    assert replaced.feed == OLD
    assert (replaced.path / "acme" / "1.0.0" / "acme.1.0.0.nupkg").read_text() == "old"
    assert not place.exists()
    hold(tmp_path, "new")
    back = settle(tmp_path, OLD)
    assert back is not None
    assert back.feed == NEW
    assert place.read_text() == "old"


@pytest.mark.parametrize("done", ["aside", "nothing"])
def test_a_start_that_was_killed_in_the_middle_is_done_again(tmp_path: Path, done: str) -> None:
    settle(tmp_path, OLD)
    place = hold(tmp_path, "old")
    if done == "aside":
        replaced = settle(tmp_path, NEW)
        assert replaced is not None
        (tmp_path / "origin").write_text(f"{OLD}\n")
    replaced = settle(tmp_path, NEW)
    assert replaced is not None
    assert (replaced.path / "acme").is_dir()
    assert not place.exists()


@pytest.mark.parametrize("then", [OLD, NEW])
@pytest.mark.parametrize("steps", range(4))
def test_wherever_it_ends_what_lies_there_is_of_the_feed_that_it_then_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int, then: str
) -> None:
    """A disk fails it in the middle, or a kill ends it; whoever set the other feed sets the one of before again."""
    settle(tmp_path, OLD)
    place = hold(tmp_path, OLD)
    settle(tmp_path, NEW)
    hold(tmp_path, NEW)
    left = iter(range(steps))
    with monkeypatch.context() as patched:
        for step in ("rename", "write_text", "replace"):
            patched.setattr(Path, step, _until_none_is_left(left, getattr(Path, step)))
        with pytest.raises(OSError, match="Input/output error"):
            settle(tmp_path, OLD)
    assert not place.exists() or place.read_text() == origin_of(tmp_path)
    for feed in (then, OLD, NEW):
        settle(tmp_path, feed)
        assert (origin_of(tmp_path), place.read_text()) == (feed, feed)


def _until_none_is_left(left: Iterator[int], step: Callable[..., Any]) -> Callable[..., Any]:
    def act(*words: Any, **further: Any) -> Any:
        if next(left, None) is None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return step(*words, **further)

    return act


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("http://Feed.example/v3/index.json", "https://feed.example:443/v3/index.json", True),
        ("https://feed.example/v3/index.json", "https://feed.example/v3/index.json/", True),
        ("https://feed.example/v3/index.json", "https://feed.example:8443/v3/index.json", False),
        ("https://feed.example/a/v3/index.json", "https://feed.example/b/v3/index.json", False),
        ("https://feed.example/v3/index.json?feed=a", "https://feed.example/v3/index.json?feed=b", False),
    ],
)
def test_which_urls_are_one_feed(one: str, other: str, same: bool) -> None:
    assert (feed_of(one) == feed_of(other)) is same


def test_a_feed_is_named_without_its_query() -> None:
    assert "canary" not in feed_of("https://feed.example/v3/index.json?sig=canary")


def test_what_nobody_has_configured_is_left_over(tmp_path: Path) -> None:
    for name in ("up", "gone"):
        hold(tmp_path / name, "four")
    (tmp_path / "entries").mkdir()
    (tmp_path / "lock").touch()
    assert leftovers(tmp_path, {"up"}) == (Leftover(tmp_path / "gone", 4),)
    assert leftovers(tmp_path / "missing", {"up"}) == ()
