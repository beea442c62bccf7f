"""Problems turns what validation found into one line per mistake."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from nugetproxy.config.layers import Key, Layer, contains
from nugetproxy.config.model import Cache, Config, Limits, Log, PolicyCells, Server, Symbols, Tools, Upstream
from nugetproxy.nuget.kinds import Kind

ANY = "*"
TABLES: dict[Key, type[BaseModel]] = {
    (): Config,
    ("server",): Server,
    ("cache",): Cache,
    ("log",): Log,
    ("limits",): Limits,
    ("upstreams", ANY): Upstream,
    ("symbols",): Symbols,
    ("tools",): Tools,
    ("policy", ANY): PolicyCells,
}
"""Every table of the configuration file; ``ANY`` stands for a name that is the operator's or a kind."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SENTENCES = {
    "missing": "is missing",
    "string_type": "must be text in quotes",
    "model_type": "must be a table",
    "dict_type": "must be a table",
    "mapping_type": "must be a table",
    "too_short": "must have at least one entry",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
}


def dotted(key: Sequence[str]) -> str:
    """``key`` as TOML writes it: upstreams."nuget.org".url."""
    return ".".join(part if _BARE_KEY.fullmatch(part) else json.dumps(part) for part in key)


def problem_lines(error: ValidationError, layers: Sequence[Layer]) -> tuple[str, ...]:
    """One line per mistake: where it was written, the full key, what to do. Never a value."""
    lines = []
    for detail in error.errors(include_url=False, include_input=False):
        key = tuple(str(part) for part in detail["loc"] if part != "[key]")
        where = next((origin for layer in layers if (origin := layer.origin(key))), "")
        where = where or next((origin for layer in layers if (origin := layer.origin(key[:-1]))), "configuration")
        lines.append(f"{where}: {dotted(key)}: {_sentence(detail, key, layers)}")
    return tuple(dict.fromkeys(lines))


def _sentence(detail: Any, key: Key, layers: Sequence[Layer]) -> str:
    kind = detail["type"]
    context = detail.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown(key, layers)
    if kind == "enum" and key[0] == "policy":
        return _suggest("is no kind of document", key[:1], key[1], [kind.value for kind in Kind])
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        return f"must be one of {context['expected'].replace(chr(39), chr(34))}"
    if kind in ("greater_than_equal", "less_than_equal"):
        limit, word = (context["ge"], "least") if kind == "greater_than_equal" else (context["le"], "most")
        return f"must be at {word} {limit}"
    return _SENTENCES.get(kind, str(detail["msg"]))


def _unknown(key: Key, layers: Sequence[Layer]) -> str:
    if len(key) == 3 and key[0] == "upstreams" and any(contains(layer.values, (*key, "url")) for layer in layers):
        return f'is unknown; a name with a dot needs quotes: [upstreams."{key[1]}.{key[2]}"]'
    return _suggest("is unknown", key[:-1], key[-1], list(known_keys(key[:-1])))


def known_keys(table: Key) -> Iterator[str]:
    """The keys that may stand in ``table``."""
    for path, model in TABLES.items():
        if len(path) == len(table) and all(want in (ANY, have) for want, have in zip(path, table, strict=True)):
            yield from model.model_fields


def _suggest(what: str, table: Key, name: str, known: Sequence[str]) -> str:
    """``what``, with the nearest key: a sibling that looks alike, else the same name in another table."""
    if near := difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.6):
        return f"{what}; did you mean {dotted((*table, near[0]))}?"
    for path, model in TABLES.items():
        if near := difflib.get_close_matches(name.lower(), list(model.model_fields), n=1, cutoff=0.8):
            shown = [("KIND" if path[0] == "policy" else "NAME") if part == ANY else part for part in path]
            return f"{what}; did you mean {dotted((*shown, near[0]))}?"
    return f"{what}; known here: {', '.join(known) or 'nothing'}"
