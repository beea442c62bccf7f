"""Resolution finds out which versions a restore takes, from what is known of packages so far."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from msgspec import Struct, field

from nugetproxy.nuget.frameworks import ANY, Framework
from nugetproxy.nuget.identity import PackageId, PackageIdentity
from nugetproxy.nuget.nearest import nearest
from nugetproxy.nuget.nuspec import Dependency, DependencyGroup
from nugetproxy.nuget.projects.needs import Graph
from nugetproxy.nuget.version import Version
from nugetproxy.nuget.version_range import VersionRange

EVERYTHING: Final = VersionRange(with_lower=False)
LAST_PATCH: Final = 32767
MOST_RESTARTS: Final = 2000
"""After so many a graph is taken as it is: NuGet would go on, and its user would give up."""


class Key(Struct, frozen=True):
    """One reference: NuGet looks each of them up once."""

    id: str
    """Lower case."""
    range: VersionRange


class Known(Struct):
    """What was learnt of packages so far; what is not in here is still to be asked for."""

    lists: dict[str, tuple[Version, ...] | None] = field(default_factory=dict)
    """Versions by id: empty where there is no such package, None where nobody can say."""
    groups: dict[PackageIdentity, tuple[DependencyGroup, ...] | None] = field(default_factory=dict)
    """What packages depend on; None where one cannot be had."""


class Walk(Struct):
    """What a restore of one graph asks for, as far as it is known."""

    awaited: dict[Key, PackageIdentity | None] = field(default_factory=dict)
    """What it cannot go on without -> the version that it takes; None where none fits, or where none is known."""
    begun: set[Key] = field(default_factory=set)
    """What it begins to fetch before it knows whether it needs it."""
    chosen: dict[str, Key] = field(default_factory=dict)
    """What it ends with, by id."""
    lists: set[str] = field(default_factory=set)
    """Ids whose versions are still to be asked for."""
    packages: set[PackageIdentity] = field(default_factory=set)
    """Packages that are still to be asked for what they depend on."""

    @property
    def complete(self) -> bool:
        """Whether nothing is left to be asked for."""
        return not self.lists and not self.packages


def walk(graph: Graph, known: Known) -> Walk:
    """Go through a graph as NuGet's DependencyGraphResolver does (SDK 9 and later): nearest first, highest wins.

    Where no project is known nothing loses for certain: it depends on the framework. Call it again with more ``known``
    until the walk is complete.
    """
    walking = _Walking(graph, known)
    found = walking.run()
    return walking.everything() if graph.framework is None else found


def walk_all(graph: Graph, known: Known) -> Walk:
    """All that older clients may ask for (before SDK 9): they read what loses, too, with all below it."""
    return _Walking(graph, known).everything()


def dependencies(
    groups: Iterable[DependencyGroup], framework: Framework | None, fallbacks: Sequence[Framework] | None = None
) -> tuple[Dependency, ...]:
    """Of the group that a project for ``framework`` takes (see ``nearest``); of all groups where it is None."""
    if framework is None:
        return tuple(need for group in groups for need in group.dependencies)
    offered: dict[Framework, DependencyGroup] = {}
    for group in groups:
        target = ANY if group.target_framework is None else Framework.parse(group.target_framework)
        if target is not None:
            offered.setdefault(target, group)
    found = nearest(framework, offered, fallbacks)
    return () if found is None else offered[found].dependencies


class _Item(Struct):
    key: Key
    path: tuple[Key, ...] = ()
    direct: bool = False
    eclipsed: set[Key] = field(default_factory=set)
    """The last steps of the ways by which lower versions were refused."""


class _Walking:
    """One walk; it begins anew whenever something that was thrown out had thrown out others."""

    def __init__(self, graph: Graph, known: Known) -> None:
        self._graph = graph
        self._known = known
        self._evicted: dict[Key, tuple[Key, ...]] = {}
        """What was thrown out -> the way to what took its place."""
        self._queue: deque[_Item] = deque()
        self._chosen: dict[str, _Item] = {}
        self._walk = Walk()

    def run(self) -> Walk:
        for _ in range(MOST_RESTARTS):
            self._queue.clear()
            self._chosen.clear()
            for key in _keys(self._graph.references):
                self._queue.append(_Item(key, direct=key.id not in self._graph.projects))
            if self._import():
                break
        self._walk.chosen = {id_: item.key for id_, item in self._chosen.items() if id_ not in self._graph.projects}
        return self._walk

    def everything(self) -> Walk:
        """As if nothing but a direct reference won over anything."""
        waiting = list(_keys(self._graph.references))
        direct = {key.id for key in waiting if key.id not in self._graph.projects}
        seen = set(waiting)
        while waiting:
            for key in self._below(waiting.pop()):
                pinned = self._pinned(key)
                if pinned not in seen and pinned.id not in direct:
                    seen.add(pinned)
                    waiting.append(pinned)
        return self._walk

    def _below(self, key: Key) -> Iterator[Key]:
        """What a reference leads to, without what comes with .NET."""
        for one in _keys(self._needs(key)):
            upto = None if key.id in self._graph.projects else self._graph.pruned.get(one.id)
            if upto is None or not (one.range.holds(upto) and one.range.holds(_last_patch(upto))):
                yield one

    def _pinned(self, key: Key) -> Key:
        """A reference as its central pin changes it."""
        pin = VersionRange.parse(self._graph.pins.get(key.id, ""))
        return key if pin is None else Key(key.id, pin)

    def _import(self) -> bool:
        """Whether the queue came to its end."""
        self._walk.begun.update(item.key for item in self._queue if item.key.id not in self._graph.projects)
        while self._queue:
            item = self._queue.popleft()
            needs = tuple(self._below(item.key))
            if item.key in self._evicted:
                continue
            other = self._chosen.get(item.key.id)
            if other is not None:
                if not self._replaces(item, other):
                    continue
                if self._throw_out(item, other):
                    return False
            self._chosen[item.key.id] = item
            self._go_on(item, needs)
        return True

    def _go_on(self, item: _Item, needs: tuple[Key, ...]) -> None:
        for key in needs:
            next_key = self._pinned(key)
            if next_key.id not in self._graph.projects:
                self._walk.begun.add(next_key)
            self._queue.append(_Item(next_key, (*item.path, item.key)))

    def _replaces(self, item: _Item, other: _Item) -> bool:
        """Whether ``item`` wins over what was chosen for its id; a direct reference always stays."""
        if other.direct or item.key.range == other.key.range:
            return False
        near = _is_prefix(other.path, item.path)
        if other.key.range.is_at_least(item.key.range):
            if not near and item.path:
                other.eclipsed.add(item.path[-1])
            return False
        return not near and not any(step in other.eclipsed for step in item.path)

    def _throw_out(self, item: _Item, other: _Item) -> bool:
        """Let ``item`` take the place of ``other``; True where others came in by it, so that all begins anew."""
        del self._chosen[other.key.id]
        freed = [key for key, path in self._evicted.items() if other.key in path]
        for key in freed:
            del self._evicted[key]
        deep = bool(freed) or any(other.key in one.path for one in self._chosen.values())
        self._evicted[other.key] = (*item.path, item.key)
        self._queue = deque(one for one in self._queue if other.key not in one.path)
        return deep

    def _needs(self, key: Key) -> tuple[Dependency, ...]:
        """What a reference leads to; notes what is not known yet."""
        if key.id in self._graph.projects:
            return self._graph.projects[key.id]
        found = find(key, self._known)
        self._walk.awaited[key] = found
        if key.id not in self._known.lists:
            self._walk.lists.add(key.id)
        if found is None:
            return ()
        if found not in self._known.groups:
            self._walk.packages.add(found)
            return ()
        return dependencies(self._known.groups[found] or (), self._graph.framework, self._graph.fallbacks)


def find(key: Key, known: Known) -> PackageIdentity | None:
    """The version that a reference takes of those that are known."""
    versions = known.lists.get(key.id)
    best = key.range.best(versions) if versions else None
    return None if best is None else PackageIdentity(key.id, best.url)


def _keys(needs: Iterable[Dependency]) -> Iterator[Key]:
    for need in needs:
        package = PackageId.parse(need.id)
        if package is not None:
            yield Key(package.lower, VersionRange.parse(need.range) or EVERYTHING)


def _last_patch(version: Version) -> Version:
    """As which a package that comes with .NET stands for itself: a range must hold it."""
    return Version(version.major, version.minor, LAST_PATCH)


def _is_prefix(one: tuple[Key, ...], other: tuple[Key, ...]) -> bool:
    """Whether both lead the same way as far as the shorter one goes."""
    return all(mine == theirs for mine, theirs in zip(one, other, strict=False))
