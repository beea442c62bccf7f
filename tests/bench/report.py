"""Report turns samples into a table with medians, ratios, targets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from statistics import median
from types import MappingProxyType

OURS, THEIRS = "nugetproxy", "nginx"


@dataclass(frozen=True, slots=True)
class Target:
    """At most ``limit``: times what nginx needs (``relative``), or in the point's own unit."""

    limit: float
    relative: bool = False

    def __str__(self) -> str:
        return f"<= {self.limit:g}{'x' if self.relative else ''}"


SMALL_HIT, LARGE_HIT = Target(4, relative=True), Target(1.5, relative=True)
ONE_DOWNLOAD, LATE_FIRST_BYTE, IDLE = Target(1), Target(50), Target(80)
TARGETS: Mapping[str, Target] = MappingProxyType(
    {
        "RSS idle, MiB": IDLE,
        "version list, gzip: CPU us/request": SMALL_HIT,
        "1 kB package: CPU us/request": SMALL_HIT,
        **{
            f"{size}, {clients}: CPU ms/GB": LARGE_HIT
            for size in ("30 MB", "300 MB")
            for clients in ("1 client", "8 clients")
        },
        **{f"crowd, {speed} upstream: upstream downloads": ONE_DOWNLOAD for speed in ("paced", "fast")},
        "crowd, paced upstream: late first byte, ms": LATE_FIRST_BYTE,
    }
)


@dataclass(slots=True)
class Samples:
    """Everything measured: by point, then by server, in the order of rounds."""

    points: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, point: str, server: str, value: float) -> None:
        """One more sample."""
        self.points.setdefault(point, {}).setdefault(server, []).append(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One point: medians, the ratio of them to nginx's, whether the target is met (None: no target, or no nginx)."""

    point: str
    ours: float | None
    theirs: float | None
    ratio: float | None
    target: Target | None
    met: bool | None


def rows(samples: Samples) -> Iterator[Row]:
    """The rows, in the order in which they were first measured."""
    for point, servers in samples.points.items():
        ours = median(servers[OURS]) if OURS in servers else None
        theirs = median(servers[THEIRS]) if THEIRS in servers else None
        ratio = ours / theirs if ours is not None and theirs else None
        target = TARGETS.get(point)
        value = ratio if target is not None and target.relative else ours
        met = value <= target.limit if target is not None and value is not None else None
        yield Row(point=point, ours=ours, theirs=theirs, ratio=ratio, target=target, met=met)


def table(samples: Samples) -> str:
    """For people."""
    lines = [f"{'':50} {OURS:>12} {THEIRS:>12} {'ratio':>7}  target"]
    for row in rows(samples):
        numbers = f"{_number(row.ours):>12} {_number(row.theirs):>12} {_number(row.ratio):>7}"
        verdict = {True: "met", False: "MISSED", None: "not known"}[row.met]
        lines.append(f"{row.point:50} {numbers}  {f'{row.target} {verdict}' if row.target else ''}".rstrip())
    return "\n".join(lines)


def document(samples: Samples, facts: Mapping[str, object]) -> dict[str, object]:
    """For machines: facts of the run, medians and every sample."""
    points = {
        row.point: {
            "median": {OURS: row.ours, THEIRS: row.theirs},
            "ratio": row.ratio,
            "target": str(row.target) if row.target else None,
            "met": row.met,
            "samples": samples.points[row.point],
        }
        for row in rows(samples)
    }
    return {"facts": dict(facts), "points": points}


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"
