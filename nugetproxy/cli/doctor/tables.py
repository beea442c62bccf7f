"""Tables show what a walk through a feed has found."""

from __future__ import annotations

from itertools import groupby

from rich.console import Console

from nugetproxy.cli.terminal import shown
from nugetproxy.jobs.leaks import Report
from nugetproxy.nuget.leaks import Verdict

STYLES = {Verdict.LEAK: "bold red", Verdict.BROKEN: "red", Verdict.WEB: "cyan", Verdict.INFORMATION: "blue"}


def show(name: str, report: Report, console: Console) -> None:
    """Print every URL that does not stay with us, then what follows from it."""
    order = list(Verdict)
    console.print(f"Where {name} leads away", style="bold", markup=False, soft_wrap=True)
    rows = sorted(report.found.items(), key=lambda row: (order.index(row[0].verdict), row[0].why, row[0].field))
    for (verdict, why), group in groupby(rows, key=lambda row: (row[0].verdict, row[0].why)):
        console.print(f"\n{verdict}: {why}", style=STYLES[verdict], markup=False, soft_wrap=True)
        for sighting, (count, first) in group:
            where = f"{sighting.field} in {first}" if sighting.field and first != "index.json" else sighting.field
            times = f" ({count} times)" if count > 1 else ""
            console.print(f"  {shown(sighting.url)}", style="default", markup=False, soft_wrap=True)
            console.print(f"      {shown(where or first)}{times}", style="dim", markup=False, soft_wrap=True)
    counts = [f"{report.count(verdict)} {verdict.lower()}" for verdict in order if verdict is not Verdict.OURS]
    sampled = ", ".join(report.packages) or "none"
    told = f"{report.read} documents read; sample packages: {sampled}; {', '.join(counts)}."
    console.print(f"\n{told}", markup=False, soft_wrap=True)
    if report.tools:
        console.print(
            f"The list of tools (tools.json) was not examined: {shown(report.tools)}.", markup=False, soft_wrap=True
        )
    console.print(conclusion(report), style="bold red" if report.leaks else "green", soft_wrap=True)


def conclusion(report: Report) -> str:
    """The sentence at the end; it says of each sort as many as were counted."""
    leaks, broken = report.count(Verdict.LEAK), report.count(Verdict.BROKEN)
    away = f"{leaks} {'link leads' if leaks == 1 else 'links lead'} clients away." if leaks else ""
    dead = f"{broken} of our own {'links does' if broken == 1 else 'links do'} not answer." if broken else ""
    return " ".join(filter(None, (away or "No link leads a client away.", dead)))
