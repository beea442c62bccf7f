"""Nearest chooses, among what a package is made for, what a project takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from nugetproxy.nuget.framework_tables import CLASSIC, NONE, OF_PACKAGES, OF_PLATFORMS
from nugetproxy.nuget.frameworks import ANY, ERA, PLATFORM_ALIAS, Framework, members

_FALLBACKS: Final = tuple(
    Framework(CLASSIC, version)
    for version in (
        (4, 6, 1, 0),
        (4, 6, 2, 0),
        (4, 7, 0, 0),
        (4, 7, 1, 0),
        (4, 7, 2, 0),
        (4, 8, 0, 0),
        (4, 8, 1, 0),
    )
)
_OLDER: Final = frozenset(PLATFORM_ALIAS.values())


def nearest(
    target: Framework, offered: Iterable[Framework], fallbacks: Sequence[Framework] | None = None
) -> Framework | None:
    """Which of ``offered`` a project for ``target`` uses (NuGet's FrameworkReducer); None where none fits.

    ``fallbacks`` are then tried (AssetTargetFallback): those that the SDK has by itself, where None are given.
    """
    offers = tuple(offered)
    tried = (target, *(fallbacks_of(target) if fallbacks is None else fallbacks))
    return next((found for one in tried if (found := nearest_itself(one, offers)) is not None), None)


def fallbacks_of(target: Framework) -> Sequence[Framework]:
    """What the SDK lets a project take with a warning."""
    return _FALLBACKS if target.has_fallback else ()


def nearest_itself(target: Framework, offered: Sequence[Framework]) -> Framework | None:
    """As ``nearest``, without what is taken with a warning."""
    if target in offered:
        return target
    left = _reduced([one for one in dict.fromkeys(offered) if target.uses(one)])
    for step in _STEPS:
        if len(left) > 1:
            left = step(target, left) or left
    return min(left, key=_precedence, default=None)


def _reduced(fit: list[Framework]) -> list[Framework]:
    """Without what another one of them says better."""
    fit = [one for one in fit if one != ANY] or fit
    return [one for one in fit if not any(_is_better(other, one) for other in fit if other != one)]


def _is_better(other: Framework, one: Framework) -> bool:
    if not other.uses(one):
        return False
    return not one.uses(other) or (one.name == other.name and one.version == NONE != other.version)


# --- steps: what is left, empty where they do not tell ---


def _same_name(target: Framework, left: list[Framework]) -> list[Framework]:
    same = [one for one in left if one.name == target.name]
    if not same:
        return []
    return [one for one in left if one in same or (target.is_of_platform and one.name in _OLDER)]


def _portable(target: Framework, left: list[Framework]) -> list[Framework]:
    others = [one for one in left if not one.is_portable]
    if others or not left[0].is_portable:
        return others
    votes = Counter[Framework]()
    every = list(dict.fromkeys(member for one in left for member in members(one, optional=True)))
    for voter in members(target, optional=True) if target.is_portable else (target,):
        chosen = nearest_itself(voter, every)
        votes.update(one for one in left if chosen in members(one, optional=True))
    most = max(votes.values(), default=0)
    left = [one for one in left if votes[one] == most]
    best = left[0]
    for one in left[1:]:
        if _is_better_portable(one, best):
            best = one
    return [best]


def _is_better_portable(one: Framework, best: Framework) -> bool:
    """The fewer it is for, the better; of as many, the higher ones."""
    mine, theirs = ({member.name: member.version for member in members(each)} for each in (one, best))
    if len(mine) != len(theirs):
        return len(mine) < len(theirs)
    higher = sum((mine[name] > theirs[name]) - (mine[name] < theirs[name]) for name in mine.keys() & theirs.keys())
    if higher:
        return higher > 0
    classic = mine.get(CLASSIC, NONE), theirs.get(CLASSIC, NONE)
    if classic[0] != classic[1] and NONE not in classic:
        return classic[0] > classic[1]
    return _folder(one) < _folder(best)


def _folder(framework: Framework) -> str:
    """As a folder of a package is called."""
    short = framework.name + "".join(map(str, framework.version)).rstrip("0")
    return f"{short}-{'+'.join(sorted(map(_folder, members(framework))))}" if framework.is_portable else short


def _of_no_packages(target: Framework, left: list[Framework]) -> list[Framework]:
    return [] if _is_of_packages(target) else [one for one in left if not _is_of_packages(one)]


def _profile(target: Framework, left: list[Framework]) -> list[Framework]:
    same = [one for one in left if target.profile and (one.name, one.profile) == (target.name, target.profile)]
    return same or [one for one in left if not one.profile]


def _platform(target: Framework, left: list[Framework]) -> list[Framework]:
    if not target.platform:
        return []
    same = [one for one in left if one.name == target.name]
    if not target.is_of_platform or any(one.version >= ERA for one in same):
        highest = max((one.version for one in same), default=NONE)
        return [one for one in same if one.version == highest]
    return [one for one in left if one.name in _OLDER]


_STEPS: Final[tuple[Callable[[Framework, list[Framework]], list[Framework]], ...]] = (
    _same_name,
    _portable,
    _of_no_packages,
    _profile,
    _platform,
)


def _is_of_packages(framework: Framework) -> bool:
    return framework.name in OF_PACKAGES or (framework.name == "netcore" and framework.version >= (5, 0, 0, 0))


def _precedence(framework: Framework) -> tuple[bool, int, str, Sequence[int], str, Sequence[int]]:
    """Where nothing else tells."""
    of_packages = framework.name in OF_PACKAGES
    order = OF_PACKAGES[:4] if of_packages else OF_PLATFORMS
    place = order.index(framework.name) if framework.name in order else len(order)
    version, platform = ([-number for number in each] for each in (framework.version, framework.platform_version))
    return of_packages, place, framework.name, version, framework.profile, platform
