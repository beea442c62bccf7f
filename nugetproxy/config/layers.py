"""Layers are the places that configuration comes from: command line, environment, file."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from msgspec import Struct

from nugetproxy.config.places import derive_name, place_or_url
from nugetproxy.errors import ConfigError

Tree: TypeAlias = dict[str, Any]
Key: TypeAlias = tuple[str, ...]

PREFIX = "NUGETPROXY_"
NOT_OURS = "NUGETPROXY_TEST_"
"""Variables of the test suite, which share the prefix."""
_OF_A_SERVICE = re.compile(
    r"NUGETPROXY_([A-Z0-9]+_)*(SERVICE_(HOST|PORT(_\w+)?)=.*|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?=.*|PORT=\w+://.*)"
)
"""What Kubernetes sets in every pod beside a Service that is called ``nugetproxy``, or begins so."""


class Layer(Struct, frozen=True):
    """One source of values: what it is called, its tree of values, how each key is spelled there."""

    label: str
    values: Tree
    spelled: Mapping[Key, str]

    def origin(self, key: Key) -> str:
        """How to name this source in an error about ``key``; empty when it says nothing about it."""
        for length in range(len(key), 0, -1):
            if key[:length] in self.spelled:
                return self.spelled[key[:length]]
        if not contains(self.values, key):
            return ""
        return next((name for spelled, name in self.spelled.items() if spelled[: len(key)] == key), self.label)

    def without(self, name: str) -> Layer:
        """The same source, silent about the table ``name``."""
        return Layer(self.label, {key: value for key, value in self.values.items() if key != name}, self.spelled)


def contains(tree: Tree, key: Key) -> bool:
    """Whether ``key`` leads to a value in ``tree``."""
    at: Any = tree
    for part in key:
        if not isinstance(at, dict) or part not in at:
            return False
        at = at[part]
    return True


def overlaid(below: Tree, above: Tree) -> Tree:
    """Both in one: tables of both are merged, of all else ``above`` wins."""
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        merged[key] = overlaid(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return merged


def file_layer(file: Path) -> Layer:
    """The values of a TOML file; raises ConfigError."""
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError((f"{file}: cannot be read: {error.strerror}",)) from error
    except UnicodeDecodeError as error:
        raise ConfigError((f"{file}: is not text in UTF-8",)) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError((f"{file}: is not valid TOML: {error}",)) from error
    except ValueError:  # of a number with thousands of digits
        raise ConfigError((f"{file}: has a number that is too long",)) from None
    except RecursionError:
        raise ConfigError((f"{file}: has lists or tables within each other too deep",)) from None
    return Layer(str(file), values, {})


def environment_layer(environ: Mapping[str, str]) -> Layer:
    """The values of ``NUGETPROXY_SECTION__KEY`` variables; tables and lists may be JSON. Raises ConfigError."""
    values: Tree = {}
    spelled: dict[Key, str] = {}
    problems: list[str] = []
    for variable, text in _ours(environ):
        key = tuple(variable[len(PREFIX) :].lower().split("__"))
        table = values
        for part in key[:-1]:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                break
        if not isinstance(table, dict) or key[-1] in table:
            problems.append(f"{variable}: contradicts another variable that sets the same key")
            continue
        try:
            table[key[-1]] = _read(text)
        except ValueError as error:
            problems.append(f"{variable}: {error}")
        spelled[key] = variable
    if problems:
        raise ConfigError(tuple(problems))
    return Layer("the environment", values, spelled)


def _ours(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for variable, text in sorted(environ.items()):
        name = variable.upper()
        if name.startswith(PREFIX) and not name.startswith(NOT_OURS) and not _OF_A_SERVICE.fullmatch(f"{name}={text}"):
            yield variable, text


_BRACKETED_HOST = re.compile(r"""\s*\[[^\]\s"',]*:[^\]\s"',]*\]""")


def _read(text: str) -> Any:
    """JSON where it looks like a table or a list, else the text; "[::1]:5555" is text. Raises ValueError."""
    if not text.lstrip().startswith(("{", "[")) or _BRACKETED_HOST.match(text):
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"character {error.pos + 1} of {len(text)}" if error.pos < len(text) else "at its end"
        raise ValueError(f"begins as JSON does, but is not valid JSON: {error.msg} ({where})") from None
    except ValueError:  # of a number with thousands of digits
        raise ValueError("has a number that is too long") from None
    except RecursionError:
        raise ValueError("has lists or tables within each other too deep") from None


def flags_layer(listen: str | None, upstreams: tuple[str, ...], cache_dir: str | None) -> Layer:
    """The values of the command line; ``upstreams`` are URLs or folders, the first one is published at ``/v3/``.

    Raises ConfigError when a URL is malformed, or neither that nor a folder, or when something is empty.
    """
    values: Tree = {}
    spelled: dict[Key, str] = {}
    if cache_dir is not None and not cache_dir.strip():
        raise ConfigError(("--cache-dir: is empty; write a directory, or leave it out for the user's cache directory",))
    if listen is not None:
        values["server"] = {"listen": listen}
        spelled["server", "listen"] = "--listen"
    if cache_dir is not None:
        values["cache"] = {"directory": cache_dir}
        spelled["cache", "directory"] = "--cache-dir"
    try:
        named = {derive_name(url): {"url": url} for url in map(place_or_url, upstreams)}
    except ValueError as error:
        raise ConfigError((f"--upstream: {error}",)) from error
    if named:
        values["upstreams"] = named
        spelled["upstreams",] = "--upstream"
    return Layer("the command line", values, spelled)
