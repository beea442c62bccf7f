"""Tables of the configuration are read into sections, by the types of their fields; every mistake is found at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, fields
from enum import Enum, auto
from functools import cache, partial
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from msgspec import Struct

from nugetproxy.config.layers import Key
from nugetproxy.config.section import Section, keys_of

Take: TypeAlias = Callable[[Any, Key], Any]
"""Makes a value of what is written under a key; raises Mistakes."""
S = TypeVar("S", bound=Section)

LONGEST: Final = 40
"""Letters of a number: Python refuses to read thousands of them, with another error."""
LARGEST: Final = 2**53
"""Of whole numbers: larger ones fit into no JSON, and into nothing that SQLite has."""
_WHOLE: Final = re.compile(r"\s*[+-]?[0-9]+(?:_[0-9]+)*(?:\.0*)?\s*", re.ASCII)
_TRUTHS: Final[Mapping[Any, bool]] = {
    **dict.fromkeys((True, "1", "t", "true", "y", "yes", "on"), True),
    **dict.fromkeys((False, "0", "f", "false", "n", "no", "off"), False),
}


class Fault(Enum):
    """What is wrong with a key."""

    SAID = auto()
    """A sentence says it."""
    MISSING = auto()
    UNKNOWN = auto()
    NO_TABLE = auto()
    NO_MEMBER = auto()
    """It is none of those that there are; a sentence names them."""


class Mistake(Struct, frozen=True):
    """One thing that is wrong; never a value."""

    key: Key
    fault: Fault
    sentence: str = ""


class Mistakes(Exception):
    """What is written cannot be read."""

    def __init__(self, found: Iterable[Mistake]) -> None:
        super().__init__()
        self.found = tuple(found)


class Parsed(Struct, frozen=True):
    """Makes the value of what is written, before its type is looked at; ``parse`` raises ValueError with a sentence."""

    parse: Callable[[Any], Any]


class Checked(Struct, frozen=True):
    """Looks at the value once its type is right; ``check`` raises ValueError with a sentence."""

    check: Callable[[Any], None]


def between(least: int, most: int | None = None) -> Checked:
    """Numbers from ``least`` to ``most``."""

    def check(value: int) -> None:
        if value < least:
            raise ValueError(f"must be at least {least}")
        if most is not None and value > most:
            raise ValueError(f"must be at most {most}")

    return Checked(check)


def _some(value: Sequence[Any] | Mapping[Any, Any]) -> None:
    if not value:
        raise ValueError("must have at least one entry")


SOME: Final = Checked(_some)
"""At least one entry."""


def read(section: type[S], table: Any, key: Key = ()) -> S:
    """The section that ``table`` is, of which ``key`` is the place; raises Mistakes, all that there are."""
    if isinstance(table, section):
        return table
    if not isinstance(table, Mapping):
        raise Mistakes([Mistake(key, Fault.NO_TABLE)])
    table = section.cleaned(table)
    takers, required = _takers(cast(Any, section))
    values: dict[str, Any] = {}
    found: list[Mistake] = []
    for name, take in takers.items():
        if name in table:
            with _noting(found):
                values[name] = take(table[name], (*key, name))
        elif name in required:
            found.append(Mistake((*key, name), Fault.MISSING))
    found += [Mistake((*key, str(name)), Fault.UNKNOWN) for name in table if name not in takers]
    if found:
        raise Mistakes(found)
    return section.made(values)


@contextmanager
def _noting(found: list[Mistake]) -> Iterator[None]:
    """Goes on after mistakes, which are ``found``."""
    try:
        yield
    except Mistakes as mistakes:
        found += mistakes.found


@cache
def _takers(section: Any) -> tuple[Mapping[str, Take], frozenset[str]]:
    """How each key is read; the keys that must be there."""
    types = get_type_hints(section, include_extras=True)
    declared = {field.name: field for field in fields(section)}
    names = keys_of(section)
    required = [name for name in names if declared[name].default is declared[name].default_factory is MISSING]
    return {name: _taker(types[name]) for name in names}, frozenset(required)


def _taker(kind: Any) -> Take:
    """How a value of a type is read."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is not None:
        return _FORMS[origin](parts)
    if issubclass(kind, Section):
        return partial(read, kind)
    if kind in _PLAIN:
        return _PLAIN[kind]
    return partial(_member if issubclass(kind, Enum) else _instance, kind)


def _wrong(key: Key, sentence: str, fault: Fault = Fault.SAID) -> Mistakes:
    return Mistakes([Mistake(key, fault, sentence)])


def _words(words: Iterable[object]) -> str:
    """As in: must be one of "a", "b" or "c"."""
    *others, last = (f'"{word}"' for word in words)
    return f"must be one of {', '.join(others)} or {last}" if others else f"must be {last}"


def _bool(value: Any, key: Key) -> bool:
    known = value.strip().lower() if isinstance(value, str) else value
    if not isinstance(known, int | str) or known not in _TRUTHS:
        raise _wrong(key, "must be true or false")
    return _TRUTHS[known]


def _int(value: Any, key: Key) -> int:
    if isinstance(value, str) and len(value) < LONGEST and _WHOLE.fullmatch(value):
        value = int(value.partition(".")[0])
    if isinstance(value, bool) or not isinstance(value, int | float) or value % 1:
        raise _wrong(key, "must be a whole number")
    if value > LARGEST:
        raise _wrong(key, f"must be at most {LARGEST}")
    return int(value)


def _float(value: Any, key: Key) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(key, "must be a number")
    return float(value)


def _str(value: Any, key: Key) -> str:
    if not isinstance(value, str):
        raise _wrong(key, "must be text in quotes")
    return value


def _member(kind: type[Enum], value: Any, key: Key) -> Enum:
    try:
        return kind(value)
    except ValueError:
        raise _wrong(key, _words(one.value for one in kind), Fault.NO_MEMBER) from None


def _instance(kind: type[Any], value: Any, key: Key) -> Any:
    """Of a type that only ``Parsed`` makes."""
    if not isinstance(value, kind):
        raise _wrong(key, "must be text in quotes")
    return value


def _literal(parts: tuple[Any, ...]) -> Take:
    def take(value: Any, key: Key) -> Any:
        if not isinstance(value, str) or value not in parts:
            raise _wrong(key, _words(parts))
        return value

    return take


def _list(parts: tuple[Any, ...]) -> Take:
    one = _taker(parts[0])

    def take(value: Any, key: Key) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple):
            raise _wrong(key, "must be a list")
        found: list[Mistake] = []
        taken = []
        for number, entry in enumerate(value):
            with _noting(found):
                taken.append(one(entry, (*key, str(number))))
        if found:
            raise Mistakes(found)
        return tuple(taken)

    return take


def _table(parts: tuple[Any, ...]) -> Take:
    named, one = map(_taker, parts)

    def take(value: Any, key: Key) -> Mapping[Any, Any]:
        if not isinstance(value, Mapping):
            raise Mistakes([Mistake(key, Fault.NO_TABLE)])
        found: list[Mistake] = []
        names, entries = [], []
        for name, entry in value.items():
            at = (*key, str(name))
            with _noting(found):
                names.append(named(name, at))
            with _noting(found):
                entries.append(one(entry, at))
        if found:
            raise Mistakes(found)
        return dict(zip(names, entries, strict=True))

    return take


def _either(parts: tuple[Any, ...]) -> Take:
    takers = [_taker(part) for part in parts if part is not NoneType]

    def take(value: Any, key: Key) -> Any:
        if value is None and NoneType in parts:
            return None
        failed = []
        for one in takers:
            try:
                return one(value, key)
            except Mistakes as mistakes:
                failed.append(mistakes)
        raise max(failed, key=lambda mistakes: len(mistakes.found[0].key))  # of the one that it is meant to be

    return take


def _annotated(parts: tuple[Any, ...]) -> Take:
    inner, *steps = parts
    one = _taker(inner)
    parsing = [step.parse for step in steps if isinstance(step, Parsed)]
    checking = [step.check for step in steps if isinstance(step, Checked)]

    def take(value: Any, key: Key) -> Any:
        try:
            for parse in parsing:
                value = parse(value)
            value = one(value, key)
            for check in checking:
                check(value)
        except ValueError as error:
            raise _wrong(key, str(error)) from None
        return value

    return take


_PLAIN: Final[Mapping[type, Take]] = {bool: _bool, int: _int, float: _float, str: _str}
_FORMS: Final[Mapping[Any, Callable[[tuple[Any, ...]], Take]]] = {
    Annotated: _annotated,
    Literal: _literal,
    Union: _either,
    UnionType: _either,
    tuple: _list,
    Mapping: _table,
}
