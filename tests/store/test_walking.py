"""Going through a package folder in batches: everything once, in order, with few looks at the folder as a whole."""

from __future__ import annotations

from pathlib import Path

from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.fs import FsOps, StrPath
from nugetproxy.store.packages.layout import Layout
from nugetproxy.store.packages.walking import LISTED_SECONDS, Walking


class Looks(FsOps):
    """Counts how often each directory is listed."""

    def __init__(self) -> None:
        super().__init__()
        self.at: dict[str, int] = {}

    def names(self, path: StrPath) -> list[str]:
        self.at[str(path)] = self.at.get(str(path), 0) + 1
        return super().names(path)


def held(root: Path, *names: str) -> list[PackageIdentity]:
    layout = Layout(root)
    for name in names:
        (Path(layout.packages) / name).mkdir(parents=True)
    return [identity for name in names if (identity := PackageIdentity.parse(*name.split("/"))) is not None]


def all_of(walking: Walking, count: int) -> list[PackageIdentity]:
    found: list[PackageIdentity] = []
    last = None
    while batch := walking.after(last, count):
        found += batch
        last = batch[-1]
    return found


def test_everything_comes_once_in_order_with_one_look_at_the_whole(tmp_path: Path) -> None:
    wanted = held(tmp_path, "a/1.0.0", "a/2.0.0", "a/2.0.1", "b/1.0.0", "c/1.0.0", "d.e/1.0.0", "d.e/1.0.1")
    for count in (1, 2, 3, 7, 100):
        fs = Looks()
        assert all_of(Walking(fs, Layout(tmp_path)), count) == wanted
        assert fs.at[str(Layout(tmp_path).packages)] == 1, count


def test_who_begins_again_sees_what_came_meanwhile(tmp_path: Path) -> None:
    one, three = held(tmp_path, "a/1.0.0", "c/1.0.0")
    walking = Walking(FsOps(), Layout(tmp_path))
    assert walking.after(None, 1) == [one]
    (two,) = held(tmp_path, "b/1.0.0")
    assert all_of(walking, 1) == [one, two, three]


def test_who_takes_long_sees_it_too(tmp_path: Path) -> None:
    one, three = held(tmp_path, "a/1.0.0", "c/1.0.0")
    now = 0.0
    walking = Walking(FsOps(), Layout(tmp_path), lambda: now)
    assert walking.after(None, 1) == [one]
    (two,) = held(tmp_path, "b/1.0.0")
    assert walking.after(one, 2) == [three]
    assert walking.after(None, 1) == [one]
    now = LISTED_SECONDS + 1
    assert walking.after(one, 2) == [two, three]


def test_what_went_meanwhile_is_passed_over(tmp_path: Path) -> None:
    one, two = held(tmp_path, "a/1.0.0", "c/1.0.0")
    walking = Walking(FsOps(), Layout(tmp_path))
    held(tmp_path, "b/1.0.0")
    assert walking.after(None, 1) == [one]
    (Path(Layout(tmp_path).packages) / "b" / "1.0.0").rmdir()
    (Path(Layout(tmp_path).packages) / "b").rmdir()
    assert walking.after(one, 5) == [two]
