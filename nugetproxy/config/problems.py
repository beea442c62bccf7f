"""Problems turns what validation found into one line per mistake."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, assert_never

from nugetproxy.config.access import Access, AccessToken
from nugetproxy.config.cluster import Cluster
from nugetproxy.config.feeds import FeedTable, Mapped
from nugetproxy.config.layers import PREFIX, Key, Layer, contains
from nugetproxy.config.mirror import Mirror
from nugetproxy.config.model import (
    NUGET_ORG,
    Cache,
    Config,
    HistorySettings,
    Limits,
    Log,
    Network,
    PolicyCells,
    Server,
    Symbols,
    Tools,
)
from nugetproxy.config.rules import RuleTable
from nugetproxy.config.section import Section, keys_of
from nugetproxy.config.tables import Fault, Mistake
from nugetproxy.config.upstream import Upstream
from nugetproxy.nuget.kinds import Kind

ANY = "*"
TABLES: dict[Key, type[Section]] = {
    (): Config,
    ("server",): Server,
    ("cache",): Cache,
    ("log",): Log,
    ("limits",): Limits,
    ("network",): Network,
    ("access",): Access,
    ("cluster",): Cluster,
    ("upstreams", ANY): Upstream,
    ("feeds", ANY): FeedTable,
    ("feeds", ANY, "mapping", ANY): Mapped,
    ("mirror",): Mirror,
    ("symbols",): Symbols,
    ("tools",): Tools,
    ("history",): HistorySettings,
    ("policy", ANY): PolicyCells,
}
"""Every table of the configuration file; ``ANY`` stands for a name that is the operator's or a kind."""
LISTED: dict[Key, type[Section]] = {
    ("access", "tokens", ANY): AccessToken,
    ("feeds", ANY, "rules", ANY): RuleTable,
}
"""Tables that stand in a list; ``ANY`` is for their number."""

_EXAMPLE = {"nuget.org": {"url": NUGET_ORG}}
_EXAMPLES: dict[Key, Any] = {("upstreams",): _EXAMPLE, ("server",): {"listen": "127.0.0.1:5555"}}

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def dotted(key: Sequence[str]) -> str:
    """``key`` as TOML writes it: upstreams."nuget.org".url."""
    return ".".join(part if _BARE_KEY.fullmatch(part) else json.dumps(part) for part in key)


def problem_lines(mistakes: Iterable[Mistake], layers: Sequence[Layer]) -> tuple[str, ...]:
    """One line per mistake: where it was written, the full key, what to do. Never a value."""
    lines = []
    for mistake in mistakes:
        key = mistake.key
        places = (key[:length] for length in range(len(key), 0, -1))
        where = next(
            (origin for place in places for layer in layers if (origin := layer.origin(place))), "configuration"
        )
        lines.append(f"{where}: {dotted(key)}: {_sentence(mistake, layers)}")
    return tuple(dict.fromkeys(lines))


def _sentence(mistake: Mistake, layers: Sequence[Layer]) -> str:
    key = mistake.key
    match mistake.fault:
        case Fault.UNKNOWN:
            return _unknown(key, layers)
        case Fault.MISSING:
            named = len(key) == 3 and key[0] == "upstreams"
            hint = _variables(key, key[1:2], layers) if named else ""
            return f"is missing; {hint}" if hint else "is missing"
        case Fault.NO_TABLE:
            if not any(layer.spelled.get(key, "").startswith(PREFIX) for layer in layers):
                return "must be a table"
            example = json.dumps(_EXAMPLES.get(key, {"key": "value"}))
            return f"must be a table; in a variable that is JSON, such as {example}"
        case Fault.NO_MEMBER if key[0] == "policy":
            return _suggest("is no kind of document", key[:1], key[1], [kind.value for kind in Kind])
        case Fault.NO_MEMBER | Fault.SAID:
            return mistake.sentence
        case other:
            assert_never(other)


def _variables(key: Key, words: Sequence[str], layers: Sequence[Layer]) -> str:
    """How to set what variables said of an upstream whose name none of them can have; empty where they did not."""
    if not any(layer.origin(key[:2]).startswith(PREFIX) for layer in layers):
        return ""
    said = {name: one for layer in layers for name, one in _upstreams(layer).items()}
    known = [name for name, one in said.items() if isinstance(one, dict) and "url" in one] or list(_EXAMPLE)
    for name in known:
        spelled = re.sub(r"[^a-z0-9]", "_", name)
        if spelled != name and spelled == "_".join(words):
            given: dict[str, Any] = {**(_EXAMPLE[name] if name not in said else {}), "push": False}
            return (
                f'no variable can have the name of upstream "{name}"; '
                f"write {PREFIX}UPSTREAMS='{json.dumps({name: given})}' to set its keys"
            )
    return ""


def _upstreams(layer: Layer) -> Mapping[str, Any]:
    found = layer.values.get("upstreams")
    return found if isinstance(found, dict) else {}


def _unknown(key: Key, layers: Sequence[Layer]) -> str:
    if len(key) == 3 and key[0] == "upstreams" and (hint := _variables(key, key[1:], layers)):
        return f"is unknown; {hint}"
    if len(key) == 3 and key[0] == "upstreams" and any(contains(layer.values, (*key, "url")) for layer in layers):
        return f'is unknown; a name with a dot needs quotes: [upstreams."{key[1]}.{key[2]}"]'
    return _suggest("is unknown", key[:-1], key[-1], list(known_keys(key[:-1])))


def known_keys(table: Key) -> Iterator[str]:
    """The keys that may stand in ``table``."""
    for path, model in (TABLES | LISTED).items():
        if len(path) == len(table) and all(want in (ANY, have) for want, have in zip(path, table, strict=True)):
            yield from keys_of(model)


def _suggest(what: str, table: Key, name: str, known: Sequence[str]) -> str:
    """``what``, with the nearest key: a sibling that looks alike, else the same name in another table."""
    elsewhere = any(name.lower() in keys_of(model) for model in TABLES.values())
    if near := difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.8 if elsewhere else 0.6):
        return f"{what}; did you mean {dotted((*table, near[0]))}?"
    for path, model in TABLES.items():
        if near := difflib.get_close_matches(name.lower(), keys_of(model), n=1, cutoff=0.8):
            shown = [("KIND" if path[0] == "policy" else "NAME") if part == ANY else part for part in path]
            return f"{what}; did you mean {dotted((*shown, near[0]))}?"
    return f"{what}; known here: {', '.join(known) or 'nothing'}"
