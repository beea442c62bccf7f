"""The examination is all that the doctor does, in its order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nugetproxy.cli.doctor.checks import check_cache, check_configuration, check_engines, check_proxy, own_url
from nugetproxy.cli.doctor.findings import Finding, Level
from nugetproxy.cli.doctor.leaks import find_leaks
from nugetproxy.cli.doctor.running import complete_url, readiness, wants_token
from nugetproxy.cli.doctor.sources import Ours, examine_sources
from nugetproxy.cli.quiet import quiet
from nugetproxy.cli.terminal import shown
from nugetproxy.config import Config
from nugetproxy.nuget.nuget_config import parse_nuget_config

STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.WRONG: "bold red"}


def examine_links(config: Config, *, proxy: str, own: bool = False, packages: Sequence[str], console: Console) -> bool:
    """Print where every published URL leads; True when a client may be led astray. ``own``: it is this machine's."""
    with quiet("off"):
        url = complete_url(proxy) if proxy else ""
        return asyncio.run(find_leaks(config, proxy=url, own=own, packages=packages, console=console))


def examine_nuget_config(path: Path, config: Config, *, proxy: str, console: Console) -> bool:
    """Print which sources of a file lead around the proxy; True when one does.

    The proxy is the configured one, or the one with the service index ``proxy``. Raises OSError, InvalidNugetConfig.
    """
    ours = Ours.running(complete_url(proxy)) if proxy else Ours.configured(config)
    counts = dict.fromkeys(Level, 0)
    _section(str(path), examine_sources(parse_nuget_config(path.read_bytes()), ours), counts, console)
    wrong = counts[Level.WRONG]
    console.print("Clients are led around the proxy." if wrong else "Every source leads to the proxy.", style="bold")
    return wrong > 0


def examine_all(config: Config, file: Path | None, *, packages: Sequence[str], console: Console) -> bool:
    """Print what can be said of this machine's proxy, of the configuration in ``file``; True when something is wrong.

    The links of the proxy that runs are examined where nobody has to show a token, else those that one with a fresh
    cache would publish.
    """
    counts = dict.fromkeys(Level, 0)
    for title, findings in (
        ("Configuration", check_configuration(config)),
        ("Cache directory", check_cache(config)),
        *((("Cluster", check_engines(config)),) if config.cluster.is_used else ()),
        ("Proxy", check_proxy(config, file)),
    ):
        _section(title, findings, counts, console)
    url = own_url(config) if readiness(f"{own_url(config)}/") is not None else ""
    closed = [name for name in config.published if wants_token(f"{url}/{name}/")] if url else []
    if closed:
        what = f"{', '.join(closed)}: a token is wanted, so what this configuration would publish is examined instead."
        console.print(what + "\n", markup=False)
        url = ""
    leaks = examine_links(config, proxy=url, own=True, packages=packages, console=console)
    wrong, warned = counts[Level.WRONG] + leaks, counts[Level.WARNING]
    verdict = "Something is wrong; see above." if wrong else "Nothing is wrong."
    console.print(f"\n{verdict}" + (f" Warnings: {warned}." if warned else ""), style="bold")
    return bool(wrong)


def _section(title: str, findings: Iterable[Finding], counts: dict[Level, int], console: Console) -> None:
    console.print(title, style="bold", markup=False, soft_wrap=True)
    lines = Table.grid(padding=(0, 1))
    for finding in findings:
        counts[finding.level] += 1
        lines.add_row(" ", Text(finding.level, style=STYLES[finding.level]), Text(shown(finding.text), overflow="fold"))
    console.print(lines)
    console.print()
