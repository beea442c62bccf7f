"""Entered remembers which versions the first-seen log has, in some bytes of memory for each."""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_left

from nugetproxy.nuget.first_seen import FirstSeen


class Entered:
    """Digests of what was entered; of a million versions there are some 16 MiB."""

    def __init__(self) -> None:
        self._bytes = _Digests()
        self._versions = _Digests()

    def add(self, seen: FirstSeen) -> None:
        """It is in the log."""
        self._bytes.add(_digest(seen.source, seen.id, seen.version, seen.sha512))
        self._versions.add(_digest(seen.source, seen.id, seen.version))

    def settle(self) -> None:
        """All that was in the log is added; from now on one may ask."""
        self._bytes.settle()
        self._versions.settle()

    def has(self, seen: FirstSeen) -> bool:
        """Whether these bytes of the version are in the log."""
        return _digest(seen.source, seen.id, seen.version, seen.sha512) in self._bytes

    def has_version(self, source: str, id: str, version: str) -> bool:
        """Whether any bytes of the version are."""
        return _digest(source, id, version) in self._versions


class _Digests:
    """A set of numbers of 64 bits: the old ones sorted, the new ones by hash.

    Until it is settled nobody may ask, so that a long log takes 8 bytes for each, not 70.
    """

    def __init__(self) -> None:
        self._old = array("Q")
        self._new: set[int] | None = None

    def add(self, number: int) -> None:
        if self._new is None:
            self._old.append(number)
        else:
            self._new.add(number)

    def settle(self) -> None:
        self._old = array("Q", sorted(self._old))
        self._new = set()

    def __contains__(self, number: int) -> bool:
        assert self._new is not None, "it is settled before anybody asks"
        at = bisect_left(self._old, number)
        return number in self._new or (at < len(self._old) and self._old[at] == number)


def _digest(*words: str) -> int:
    return int.from_bytes(hashlib.blake2b("\0".join(words).encode(), digest_size=8).digest())
