"""The shelf is what the fake feed holds, with the history of its changes."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from tests.fakes.feed_catalog import Change
from tests.fakes.feed_packages import Held, normalize, read_package, sort_key

START = datetime(2024, 1, 1, tzinfo=UTC)


class Shelf:
    """Packages by lower id, in NuGet's order; every change is one second after the one before."""

    def __init__(self) -> None:
        self._packages: dict[str, list[Held]] = {}
        self._changes: list[Change] = []
        self._pending: list[Held] = []

    @property
    def packages(self) -> Mapping[str, Sequence[Held]]:
        """Every visible package, unlisted ones too, by lower id."""
        return self._packages

    @property
    def changes(self) -> Sequence[Change]:
        """Everything that ever happened, in order."""
        return self._changes

    def read(self, nupkg: bytes) -> Held:
        """The package in ``nupkg``, not yet held; ValueError if it is none."""
        return read_package(nupkg, commit=0, instant=START)

    def publish(self, held: Held, *, at: datetime | None = None) -> Held:
        """Make a package visible, in place of one of the same identity; as if it was done ``at`` another time."""
        held = self._stamped(held)
        held = held if at is None else replace(held, instant=at)
        others = [other for other in self._packages.get(held.lower, ()) if other.url_version != held.url_version]
        bisect.insort(others, held, key=lambda package: sort_key(package.version))
        self._packages[held.lower] = others
        self._changes.append(Change(held))
        return held

    def defer(self, held: Held) -> None:
        """Accept a package that stays invisible until ``publish_deferred``."""
        self._pending.append(held)

    def publish_deferred(self) -> None:
        """Make every deferred package visible."""
        pending, self._pending = self._pending, []
        for held in pending:
            self.publish(held)

    def remove(self, package_id: str, version: str) -> Held:
        """Take a package away altogether; KeyError if it is not held."""
        held = self.find(package_id, version)
        self._packages[held.lower].remove(held)
        if not self._packages[held.lower]:
            del self._packages[held.lower]
        self._changes.append(Change(self._stamped(held), deleted=True))
        return held

    def find(self, package_id: str, version: str) -> Held:
        """The visible package under any spelling; KeyError if there is none, ValueError for a bad version."""
        wanted = normalize(version).lower()
        for held in self._packages.get(package_id.lower(), ()):
            if held.url_version == wanted:
                return held
        raise KeyError((package_id, version))

    def exact(self, lower: str, url_version: str) -> Held | None:
        """The visible package under the only spelling that nuget.org's storage knows."""
        return next((held for held in self._packages.get(lower, ()) if held.url_version == url_version), None)

    def knows(self, held: Held) -> bool:
        """Whether a package of the same identity is visible or deferred."""
        known = [*self._packages.get(held.lower, ()), *self._pending]
        return any((other.lower, other.url_version) == (held.lower, held.url_version) for other in known)

    def _stamped(self, held: Held) -> Held:
        commit = len(self._changes) + 1
        return replace(held, commit=commit, instant=START + timedelta(seconds=commit))
