"""The form in which plain values go from process to process, in which nothing can be said that runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from importlib import import_module
from itertools import islice
from types import FunctionType, MappingProxyType
from typing import Any, TypeAlias

import orjson
from msgspec import Struct

HOMES = ("nugetproxy.nuget.", "nugetproxy.caching.")
"""Where the classes of values are at home, and the functions that may be called: the floors that know no world."""

PIECE = 256
"""Items that are read in about a millisecond."""

Packed: TypeAlias = tuple[bytes, ...]
"""The value as JSON, then the bytes in it as they are."""

_SEQUENCES: Mapping[str, type[Any]] = MappingProxyType({one.__name__: one for one in (list, tuple, set, frozenset)})
_MAPPINGS: Mapping[str, type[Any]] = MappingProxyType({one.__name__: one for one in (dict, MappingProxyType)})


class NoPlainValue(Exception):
    """Something that has no such form."""


def pack(value: Any) -> Packed:
    """``value`` to be sent: texts, numbers, bytes, collections, enumerations, structs and named tuples of ``HOMES``.

    Raises NoPlainValue.
    """
    blobs: list[bytes] = []
    form = _form(value, blobs)
    return (json.dumps(form, separators=(",", ":")).encode(), *blobs)


def pack_call(work: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Packed:
    """The call of a function of ``HOMES``; raises NoPlainValue."""
    if not isinstance(work, FunctionType) or not work.__module__.startswith(HOMES) or "." in work.__qualname__:
        raise NoPlainValue(repr(work))
    return pack((work.__module__, work.__qualname__, tuple(args), dict(kwargs)))


def call(packed: Sequence[bytes]) -> Any:
    """What the function returns; raises what it raises."""
    home, name, args, kwargs = unpack(packed)
    work = _named(home, name)
    if not isinstance(work, FunctionType):
        raise NoPlainValue(name)
    return work(*args, **kwargs)


def unpack(packed: Sequence[bytes]) -> Any:
    """The value that was sent; raises NoPlainValue."""
    return _value(json.loads(packed[0]), packed[1:])


def _form(value: Any, blobs: list[bytes]) -> Any:
    """JSON for ``value``: what is no plain text or number is an array that begins with the name of its form."""
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return value
    if kind is bytes:
        blobs.append(value)
        return ["bytes", len(blobs) - 1]
    if kind in _SEQUENCES.values():
        return [kind.__name__, *_pieces(value, blobs)]
    if kind in _MAPPINGS.values():
        return [kind.__name__, *_pieces(value.items(), blobs)]
    if kind is orjson.Fragment:
        return ["number", orjson.dumps(value).decode()]
    if kind.__module__.startswith(HOMES) and isinstance(value, Enum):
        return ["enum", kind.__module__, kind.__name__, value.value]
    if kind.__module__.startswith(HOMES) and isinstance(value, Struct | tuple):
        names = value.__struct_fields__ if isinstance(value, Struct) else kind._fields
        parts = {name: _form(getattr(value, name), blobs) for name in names}
        return ["object", kind.__module__, kind.__name__, parts]
    raise NoPlainValue(kind.__name__)


def _pieces(items: Collection[Any], blobs: list[bytes]) -> list[Any]:
    """The items; many as JSON arrays of their own, since reading a large one would hold Python's lock all the while."""
    rest, pieces = iter(items), []
    while piece := [_form(item, blobs) for item in islice(rest, PIECE)]:
        if len(items) <= PIECE:
            return [piece]
        blobs.append(json.dumps(piece, separators=(",", ":")).encode())
        pieces.append(len(blobs) - 1)
    return pieces


def _items(pieces: Iterable[Any], blobs: Sequence[bytes]) -> Iterator[Any]:
    for piece in pieces:
        for item in piece if isinstance(piece, list) else json.loads(blobs[piece]):
            yield _value(item, blobs)


def _value(form: Any, blobs: Sequence[bytes]) -> Any:
    if not isinstance(form, list):
        return form
    match form:
        case ["bytes", index]:
            return blobs[index]
        case [name, *pieces] if name in _SEQUENCES:
            return _SEQUENCES[name](_items(pieces, blobs))
        case [name, *pieces] if name in _MAPPINGS:
            return _MAPPINGS[name](dict(_items(pieces, blobs)))
        case ["number", text]:
            return orjson.Fragment(text)
        case ["enum", home, name, word] if issubclass(_class(home, name), Enum):
            return _class(home, name)(word)
        case ["object", home, name, parts] if issubclass(_class(home, name), Struct | tuple):
            return _class(home, name)(**{part: _value(item, blobs) for part, item in parts.items()})
        case _:
            raise NoPlainValue(str(form[:1]))


def _class(home: str, name: str) -> type[Any]:
    found = _named(home, name)
    if not isinstance(found, type):
        raise NoPlainValue(name)
    return found


def _named(home: str, name: str) -> Any:
    """What a module of ``HOMES`` made itself under a name."""
    if not home.startswith(HOMES):
        raise NoPlainValue(home)
    found = getattr(sys.modules.get(home) or import_module(home), name, None)
    if getattr(found, "__module__", "") != home:
        raise NoPlainValue(name)
    return found
