"""Starting configurations are TOML that a person goes on with."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from nugetproxy.config.model import NUGET_ORG
from nugetproxy.config.places import RESERVED_NAMES, safe_url, split_url
from nugetproxy.config.problems import dotted
from nugetproxy.nuget.nuget_config import ConfiguredSource, NugetConfig, Secret
from nugetproxy.on_disk import is_dir

HEAD: Final = """\
# A starting configuration of nugetproxy; run it with: nugetproxy serve --config FILE
# Every other key has a default: see config/nugetproxy.toml. `nugetproxy check-config FILE` says what is wrong in it.
[server]
listen = "127.0.0.1:5555"

[cache]
# directory = "/var/cache/nugetproxy"
max_size = "50 GiB"
"""
FEED: Final = "all"
"""The name of the feed with all sources; also its first part of the path."""


def starting() -> str:
    """A proxy of nuget.org."""
    return f'{HEAD}\n[upstreams."nuget.org"]\nurl = {_text(NUGET_ORG)}'


def taken_over(said: NugetConfig, file: Path) -> str:
    """What the nuget.config in ``file`` says, as far as it is the proxy's matter; secrets by reference only."""
    listed = [source for source in (*said.sources, *said.audit_sources) if source.enabled]
    places = {source.name.lower(): place for source in listed if (place := _place(source, file)) is not None}
    names = _names([source.name for source in listed if source.name.lower() in places])
    blocks = [HEAD.rstrip(), *_remarks(said, places, file)]
    written: set[str] = set()
    for source in listed:
        name = names.get(source.name.lower())
        if name is not None and name not in written:
            written.add(name)
            place, audit = places[source.name.lower()], source not in said.sources
            blocks.append("\n".join(_upstream(name, source, place, audit=audit)))
    return "\n\n".join((*blocks, *_feed(said, names)))


def _place(source: ConfiguredSource, file: Path) -> str | None:
    """The URL or folder of a source that the proxy can have as an upstream."""
    if not source.is_url:
        folder = (file.parent / source.url).resolve() if source.url else None
        return str(folder) if folder is not None and is_dir(folder) else None
    try:
        split_url(source.url)
    except ValueError:
        return None
    return source.url if source.is_v3 else None


def _names(given: Iterable[str]) -> Mapping[str, str]:
    """Each source's name (lower case) -> a name that an upstream may have, different for each."""
    found: dict[str, str] = {}
    for name in given:
        plain = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._")[:58] or "source"
        plain = f"feed-{plain}" if plain in RESERVED_NAMES else plain
        taken = {other for key, other in found.items() if key != name.lower()}
        number = 2
        unique = plain
        while unique in taken:
            unique, number = f"{plain}-{number}", number + 1
        found.setdefault(name.lower(), unique)
    return found


def _remarks(said: NugetConfig, places: Mapping[str, str], file: Path) -> Iterator[str]:
    """What is not taken over, or wants a decision."""
    lines = [f"# From {file}."]
    if said.inherits_sources:
        lines.append("# It does not <clear /> its sources: files above it (often nuget.org) add theirs.")
    for source in (*said.sources, *said.audit_sources):
        if not source.enabled:
            lines.append(f"# Left out: {_text(source.name)}, which is disabled.")
        elif source.name.lower() not in places:
            lines.append(f"# Left out: {_text(source.name)}: neither a V3 feed nor a folder of this machine.")
    if said.http_proxy:
        lines.append("# It names an http_proxy for clients: see [network] proxy.")
    yield "\n".join(lines)


def _upstream(name: str, source: ConfiguredSource, place: str, *, audit: bool) -> Iterator[str]:
    yield f"[{dotted(('upstreams', name))}]"
    yield f"url = {_text(place)}"
    who = source.credentials
    if who is not None and source.is_url:
        variable = who.variable or re.sub(r"[^A-Z0-9]+", "_", f"{name}_password".upper())
        if who.secret in {Secret.CLEAR, Secret.ENCRYPTED}:
            yield f"# The password is not taken over: put it into the environment variable {variable}."
        if "%" in who.username:
            yield "# The user name holds a variable of NuGet's: write what it stands for."
        yield f"username = {_text(who.username)}"
        yield f"password = {_text(f'env:{variable}')}"
        yield 'push_credentials = "client"'
    elif source.is_url and not audit and not safe_url(place).startswith("https://api.nuget.org/"):
        yield "# true: its ids are never asked of a public source; false where anybody may publish there."
        yield "private = true"


def _feed(said: NugetConfig, names: Mapping[str, str]) -> Iterator[str]:
    """All sources as one feed, with the mapping and the audit sources."""
    own = [names[source.name.lower()] for source in said.sources if source.name.lower() in names]
    advisories = [names[source.name.lower()] for source in said.audit_sources if source.name.lower() in names]
    rules = {
        rule.pattern: [names[key] for key in map(str.lower, rule.sources) if key in names] for rule in said.mapping
    }
    waiting = {names[source.name.lower()]: source for source in said.sources if _waits(source, names)}
    if len(own) < 2 and not advisories and not rules and not waiting:
        return
    lines = [f"[feeds.{FEED}]", f"sources = {json.dumps(own)}"]
    lines += [f"advisories = {json.dumps(advisories)}"] if advisories else []
    lines += ["", f"[feeds.{FEED}.mapping]"] if rules else []
    lines += [f"{_text(pattern)} = {json.dumps(sources)}" for pattern, sources in rules.items() if sources]
    yield "\n".join(lines)
    yield from _cooldown(said, waiting)


def _waits(source: ConfiguredSource, names: Mapping[str, str]) -> bool:
    """Whether clients have it wait for versions to come of age."""
    return source.enabled and source.min_publish_age_hours > 0 and source.name.lower() in names


def _cooldown(said: NugetConfig, waiting: Mapping[str, ConfiguredSource]) -> Iterator[str]:
    """minPublishAgeHours as rules, with minPublishAgeExceptions before them."""
    rule = f"[[feeds.{FEED}.rules]]"
    if waiting and said.min_publish_age_exceptions:
        yield "\n".join(
            (
                "# minPublishAgeExceptions: what is not too young for anybody.",
                rule,
                'name = "exceptions"',
                f"ids = {json.dumps(list(said.min_publish_age_exceptions))}",
                'action = "allow"',
            )
        )
    for name, source in waiting.items():
        yield "\n".join(
            (
                f"# minPublishAgeHours of {_text(source.name)}: younger versions do not exist yet.",
                rule,
                f"name = {_text(f'cooldown-{name}'[:64])}",
                f"sources = {json.dumps([name])}",
                f'min_age = "{source.min_publish_age_hours}h"',
                "# As NuGet means it; true: what fixes a known advisory does not wait.",
                "advisory_bypass = false",
            )
        )


def _text(text: str) -> str:
    """As a TOML string; JSON's escapes are TOML's."""
    return json.dumps(text).replace("\x7f", "\\u007f")
