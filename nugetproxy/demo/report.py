"""The report shows the rounds as a table, then says in two sentences what was seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nugetproxy.demo.rounds import Round

COLD, WARM, OUTAGE = "cold", "warm", "outage"
STYLES = {COLD: "", WARM: "green", OUTAGE: "bold green"}
STATES = {COLD: "empty cache", WARM: "filled cache", OUTAGE: "no upstream"}


def show(console: Console, rounds: Sequence[Round]) -> None:
    """Print the table and the sentences."""
    console.print(table(rounds))
    for sentence in sentences(rounds):
        console.print(Text(sentence))


def table(rounds: Sequence[Round]) -> Table:
    """One row per round, a group per client."""
    made = Table(title="Each restore is by a client whose own caches are empty", box=box.SIMPLE_HEAD, pad_edge=False)
    made.padding = (0, 1, 0, 0)
    made.title_justify = "left"
    made.title_style = "bold"
    for heading in ("client", "round"):
        made.add_column(heading, no_wrap=True)
    for heading in ("packages", "requests", "MB", "from\ncache", "sent\nupstream", "time"):
        made.add_column(heading, justify="right")
    client = ""
    for one in rounds:
        if one.client != client and client:
            made.add_section()
        made.add_row(
            one.client if one.client != client else "",
            f"{one.name}: {STATES[one.name]}",
            str(one.packages),
            str(one.requests),
            f"{one.size / 1e6:.1f}",
            f"{one.from_cache / max(1, one.requests):.0%}",
            str(one.asked),
            f"{one.seconds:.2f} s",
            style=STYLES[one.name],
        )
        client = one.client
    return made


def sentences(rounds: Sequence[Round]) -> Iterator[str]:
    """What the rounds have shown, in plain words."""
    warm = [one for one in rounds if one.name == WARM]
    outage = [one for one in rounds if one.name == OUTAGE]
    yield (
        f"The second restore got {_all_of(warm)} answers out of the cache; "
        f"the upstream was asked {_times(sum(one.asked for one in warm))}."
    )
    times = " and ".join(
        f"{down.seconds:.2f} s instead of {up.seconds:.2f} s ({down.client})"
        for down, up in zip(outage, warm, strict=True)
    )
    yield (
        f"With the upstream dead, the proxy restarted and {sum(one.stale for one in outage)} of its documents past "
        f"their time, the same packages came again, byte for byte, in {times}: nobody noticed."
    )


def _all_of(rounds: Sequence[Round]) -> str:
    requests, cached = sum(one.requests for one in rounds), sum(one.from_cache for one in rounds)
    return f"all {requests}" if cached == requests else f"{cached} of {requests}"


def _times(number: int) -> str:
    return {0: "for nothing", 1: "once"}.get(number, f"{number} times")
