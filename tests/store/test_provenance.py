"""The first-seen log: a line for all bytes that came, in a chain that no kill breaks, that nobody changes unseen."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from structlog.testing import capture_logs

from nugetproxy.nuget.first_seen import FirstSeen, line_hash
from nugetproxy.store.fs import FsOps
from nugetproxy.store.provenance.provenance import NAME, Provenance
from nugetproxy.store.provenance.reading import Examined, examine
from tests.fakes.clock import FakeClock
from tests.store.kit import FailingFs

FS = FsOps()


def seen(version: str, sha512: str = "b1", source: str = "up") -> FirstSeen:
    return FirstSeen(at=1_800_000_000.0, source=source, id="acme.a", version=version, sha512=sha512)


class Site:
    """A log that is opened as often as a test wants."""

    def __init__(self, directory: Path, fs: FsOps | None = None) -> None:
        self.directory = directory
        self.clock = FakeClock()
        self.fs = fs or FS
        self.log = self.opened()

    @property
    def path(self) -> Path:
        return self.directory / NAME

    def opened(self) -> Provenance:
        log = Provenance(fs=self.fs, clock=self.clock)
        log.begin(self.directory)
        return log

    def restart(self) -> None:
        self.log.close()
        self.log = self.opened()

    def lines(self) -> list[bytes]:
        return self.path.read_bytes().splitlines()

    def versions(self) -> list[str]:
        return [orjson.loads(line)["version"] for line in self.lines()]

    def examined(self, head: str = "") -> Examined:
        return examine(FS, self.path, head)

    def whole(self) -> bool:
        found = self.examined()
        return not found.breaks and not found.cut and found.chain.lines == len(self.lines())


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_line_says_what_came_when_with_the_hash_of_the_line_before(site: Site) -> None:
    site.log.append([seen("1.0.0"), seen("2.0.0")])
    first, second = site.lines()
    assert orjson.loads(first) == {
        "at": "2027-01-15T08:00:00Z",
        "source": "up",
        "id": "acme.a",
        "version": "1.0.0",
        "sha512": "b1",
        "signer": None,
        "before": "",
    }
    assert orjson.loads(second)["before"] == line_hash(first)
    assert site.path.stat().st_mode & 0o777 == 0o600


def test_the_same_bytes_are_entered_once_other_bytes_again(site: Site) -> None:
    for _ in range(2):
        site.log.append([seen("1.0.0"), seen("1.0.0"), seen("1.0.0", "b2"), seen("1.0.0", source="other")])
        site.restart()
        site.log.append([seen("1.0.0")])
    assert [orjson.loads(line)["sha512"] for line in site.lines()] == ["b1", "b2", "b1"]
    assert site.whole()


def test_what_the_log_lacks_is_known_by_version(site: Site) -> None:
    site.log.append([seen("1.0.0")])
    site.restart()
    versions = [("up", "acme.a", "1.0.0"), ("up", "acme.a", "2.0.0"), ("other", "acme.a", "1.0.0")]
    assert site.log.lacks(versions) == versions[1:]


@pytest.mark.parametrize("left", [1, 40, -1])
def test_a_line_that_was_cut_is_removed_at_the_start_and_the_chain_goes_on(site: Site, left: int) -> None:
    site.log.append([seen("1.0.0"), seen("2.0.0")])
    site.log.close()
    first, second = site.lines()
    site.path.write_bytes(first + b"\n" + second[:left])
    with capture_logs() as logs:
        site.log.append([seen("3.0.0")])
    assert site.versions() == ["1.0.0", "3.0.0"]
    assert site.whole()
    (told,) = (one for one in logs if one["event"] == "provenance.repaired")
    assert told["removed"] == len(second[:left])


@pytest.mark.parametrize("zeros", [bytes(5000), bytes(100) + b"\n"])
def test_zeros_that_a_power_cut_has_left_are_removed(site: Site, zeros: bytes) -> None:
    site.log.append([seen("1.0.0")])
    site.log.close()
    site.path.write_bytes(site.path.read_bytes() + zeros)
    site.log.append([seen("2.0.0")])
    assert site.versions() == ["1.0.0", "2.0.0"]
    assert site.whole()


def _changed(lines: list[bytes]) -> list[bytes]:
    return [lines[0], lines[1].replace(b'"b1"', b'"b9"'), *lines[2:]]


Tamper = Callable[[list[bytes]], list[bytes]]


@pytest.mark.parametrize(
    ("tamper", "numbers"),
    [
        (_changed, [3]),
        (lambda lines: [lines[0], *lines[2:]], [2]),
        (lambda lines: lines[1:], [1]),
        (lambda lines: [lines[1], lines[0], *lines[2:]], [1, 2, 3]),
        (lambda lines: [*lines[:2], lines[1], *lines[2:]], [3]),
        (lambda lines: [lines[0], b"not ours", *lines[2:]], [2, 3]),
        (lambda lines: [lines[0], b'{"at": 7}', *lines[2:]], [2, 3]),
    ],
    ids=["changed", "removed", "first removed", "exchanged", "repeated", "no JSON", "no line of ours"],
)
def test_a_line_that_somebody_has_changed_is_found(site: Site, tamper: Tamper, numbers: list[int]) -> None:
    site.log.append([seen(f"{number}.0.0") for number in range(1, 5)])
    site.log.close()
    site.path.write_bytes(b"".join(line + b"\n" for line in tamper(site.lines())))
    found = site.examined()
    assert [one.number for one in found.broken] == numbers
    site.log.append([seen("9.0.0")])
    assert site.lines()[-1].startswith(b'{"at":"2027-01-15T08:00:00Z","source":"up","id":"acme.a","version":"9.0.0"')
    assert [one.number for one in site.examined().broken] == numbers, "a start mends nothing of that"


def test_lines_that_were_removed_at_the_end_are_found_by_who_has_noted_the_last_one(site: Site) -> None:
    site.log.append([seen("1.0.0"), seen("2.0.0")])
    head = site.examined().chain.head
    assert head is not None
    site.log.append([seen("3.0.0")])
    assert site.examined(head).has_head
    site.log.close()
    site.path.write_bytes(site.lines()[0] + b"\n")
    found = site.examined(head)
    assert (found.breaks, found.has_head) == (0, False)


@pytest.mark.parametrize("op", ["edit", "write", "fsync"])
def test_lines_that_the_disk_does_not_take_wait_and_an_operator_is_told(tmp_path: Path, op: str) -> None:
    fs = FailingFs()
    site = Site(tmp_path, fs)
    if op != "edit":
        site.log.append([seen("1.0.0")])
    fs.arm(1, errno.ENOSPC, for_ever=True, only=op)
    with capture_logs() as logs:
        assert not site.log.append([seen("2.0.0")])
        site.clock.advance(10)
        assert not site.log.append([])
    assert [one["event"] for one in logs] == ["provenance.unwritten"], "told once"
    assert "No space left" in site.log.problem
    fs.disarm()
    assert not site.log.append([seen("3.0.0")]), "it is not asked again at once"
    site.clock.advance(10)
    assert site.log.append([seen("4.0.0")])
    assert site.log.problem == ""
    assert site.versions()[-3:] == ["2.0.0", "3.0.0", "4.0.0"]
    assert site.whole()


def test_half_a_write_leaves_no_half_line(tmp_path: Path) -> None:
    class Half(FailingFs):
        def write(self, fd: int, data: bytes, offset: int) -> None:
            if self.at:
                super(FailingFs, self).write(fd, data[: len(data) // 2], offset)
            super().write(fd, data, offset)

    fs = Half()
    site = Site(tmp_path, fs)
    site.log.append([seen("1.0.0")])
    fs.arm(1, errno.ENOSPC, for_ever=True, only="write")
    site.log.append([seen("2.0.0"), seen("3.0.0")])
    fs.disarm()
    site.clock.advance(10)
    site.log.append([])
    assert site.versions() == ["1.0.0", "2.0.0", "3.0.0"]
    assert site.whole()


def test_every_place_at_which_a_kill_may_cut_the_file_is_mended(site: Site) -> None:
    site.log.append([seen("1.0.0"), seen("2.0.0")])
    site.log.close()
    whole = site.path.read_bytes()
    for size in range(len(whole) + 1):
        site.path.write_bytes(whole[:size])
        log = site.opened()
        assert log.append([seen("1.0.0"), seen("2.0.0"), seen("3.0.0")])
        log.close()
        assert site.versions() == ["1.0.0", "2.0.0", "3.0.0"], size
        assert site.whole(), size


@pytest.mark.parametrize("how", ["removed", "moved", "replaced", "emptied"])
def test_a_log_that_is_taken_away_under_the_proxy_is_begun_again_and_that_is_told(site: Site, how: str) -> None:
    """What comes next is in the file that is there, not in one that nobody finds any more."""
    site.log.append([seen("1.0.0"), seen("2.0.0")])
    aside = site.path.with_name("aside")
    match how:
        case "removed":
            site.path.unlink()
        case "moved":
            site.path.rename(aside)
        case "replaced":
            aside.write_bytes(site.lines()[0] + b"\n")
            aside.replace(site.path)
        case _:
            site.path.write_bytes(b"")
    with capture_logs() as logs:
        assert site.log.append([seen("3.0.0")])
        assert site.log.append([seen("4.0.0")])
    assert [one["event"] for one in logs] == ["provenance.lost"]
    assert site.versions() == [*(["1.0.0"] if how == "replaced" else []), "3.0.0", "4.0.0"]
    assert site.whole()
    assert how != "moved" or len(aside.read_bytes().splitlines()) == 2
