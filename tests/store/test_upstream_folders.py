"""What the cache directory holds of each upstream: whose it is, what is left over."""

from __future__ import annotations

from pathlib import Path

import pytest

from nugetproxy.config import feed_of
from nugetproxy.store.upstream_folders import Leftover, leftovers, settle

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
