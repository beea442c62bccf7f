"""Report turns samples into a table with medians, ratios, targets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from statistics import median

OURS = "nugetproxy"
REFERENCES = ("direct", "nginx", "one source", "no rules")
"""What ours is compared with: the first of these that was measured beside it."""


@dataclass(frozen=True, slots=True)
class Target:
    """At most ``limit`` (at least, if ``least``): in the point's unit, or times the reference's (``relative``)."""

    limit: float
    relative: bool = False
    least: bool = False

    def __str__(self) -> str:
        return f"{'>=' if self.least else '<='} {self.limit:g}{'x' if self.relative else ''}"

    def met(self, ours: float | None, ratio: float | None) -> bool | None:
        """Whether it is; None where that is not known."""
        value = ratio if self.relative else ours
        if value is None:
            return None
        return value >= self.limit if self.least else value <= self.limit


@dataclass(slots=True)
class Samples:
    """Everything measured: by point, then by server, in the order of rounds."""

    points: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    targets: dict[str, Target] = field(default_factory=dict)

    def add(self, point: str, server: str, value: float, target: Target | None = None) -> None:
        """One more sample."""
        self.points.setdefault(point, {}).setdefault(server, []).append(value)
        if target is not None:
            self.targets[point] = target

    def servers(self) -> list[str]:
        """Everybody who was measured."""
        return list(dict.fromkeys(name for point in self.points.values() for name in point))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One point: medians by server, the ratio of ours to the reference's, what was wanted."""

    point: str
    medians: Mapping[str, float]
    ratio: float | None
    target: Target | None

    @property
    def verdict(self) -> str:
        """The target, and whether it is met."""
        if self.target is None:
            return ""
        met = self.target.met(self.medians.get(OURS), self.ratio)
        return f"{self.target} { ({True: 'met', False: 'MISSED', None: 'not known'}[met]) }"


def rows(samples: Samples) -> Iterator[Row]:
    """The rows, in the order in which they were first measured."""
    for point, servers in samples.points.items():
        medians = {name: median(values) for name, values in servers.items()}
        reference = next((medians[name] for name in REFERENCES if name in medians), None)
        ratio = medians[OURS] / reference if OURS in medians and reference else None
        yield Row(point=point, medians=medians, ratio=ratio, target=samples.targets.get(point))


def table(samples: Samples) -> str:
    """In Markdown."""
    servers = samples.servers()
    lines = [_line("", *servers, "ratio", "target"), _line("---", *("---:" for _ in servers), "---:", "---")]
    for row in rows(samples):
        medians = (_number(row.medians.get(name)) for name in servers)
        lines.append(_line(row.point, *medians, _number(row.ratio), row.verdict))
    return "\n".join(lines)


def document(samples: Samples, facts: Mapping[str, object]) -> dict[str, object]:
    """For machines: facts of the run, medians and every sample."""
    points = {
        row.point: {
            "median": row.medians,
            "ratio": row.ratio,
            "target": row.verdict,
            "samples": samples.points[row.point],
        }
        for row in rows(samples)
    }
    return {"facts": dict(facts), "points": points}


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"
