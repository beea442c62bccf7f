"""Needs are what one file asks for: packages by version, graphs that are still to be resolved."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final
from xml.etree.ElementTree import Element, ParseError

import orjson
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from msgspec import Struct, field

from nugetproxy.errors import BadRequest
from nugetproxy.nuget.frameworks import Framework
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.nuspec import Dependency
from nugetproxy.nuget.version import Version

_BOM: Final = b"\xef\xbb\xbf"
_STRING: Final = rb'("(?:[^"\\]|\\.)*+"?)'
"""What is not closed goes to the end, so that nothing is looked at twice."""
_COMMENT = re.compile(_STRING + rb"|//[^\r\n]*+|/\*.*?(?:\*/|\Z)", re.DOTALL)
_TRAILING = re.compile(_STRING + rb"|,(?=\s*[}\]])", re.DOTALL)


class UnreadableFile(BadRequest):
    """A file is not what its name says."""

    def __init__(self, file: str, why: str) -> None:
        super().__init__(f"{file} cannot be read: {why}. Correct it, or leave it out.")
        self.file = file
        self.why = why


class Graph(Struct, frozen=True, kw_only=True):
    """The references of one project for one framework, to be resolved as a restore does."""

    references: tuple[Dependency, ...]
    framework: Framework | None = None
    """None where no project is known: then whatever any framework needs."""
    fallbacks: tuple[Framework, ...] | None = None
    """Frameworks that are tried where nothing fits that one; None: those that the SDK has by itself."""
    pins: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Id (lower case) -> range, of packages that come in through others (CentralPackageTransitivePinning)."""
    pruned: Mapping[str, Version] = field(default_factory=lambda: MappingProxyType({}))
    """Id (lower case) -> up to which version nobody asks for it: it comes with .NET."""
    projects: Mapping[str, tuple[Dependency, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """What other projects of the repository refer to, by the id that stands for each in ``references``."""


class Needs(Struct, frozen=True, kw_only=True):
    """What one file asks for."""

    exact: tuple[PackageIdentity, ...] = ()
    """Versions that were resolved before: with all that they need, as far as the file is complete."""
    graphs: tuple[Graph, ...] = ()
    direct: tuple[PackageIdentity, ...] = ()
    """Versions that are fetched without looking into a list first (packages.config)."""
    remarks: tuple[str, ...] = ()
    """What cannot be told from the file, as sentences."""
    projects: tuple[str, ...] = ()
    """Paths of other projects, which are restored with this one."""

    @staticmethod
    def of(found: Iterable[tuple[str, str]], file: str, remarks: Iterable[str] = ()) -> Needs:
        """Of pairs of id and version; what no package can be called is a remark."""
        exact: dict[PackageIdentity, None] = {}
        said = list(remarks)
        for id_, version in found:
            identity = PackageIdentity.parse(id_, version)
            if identity is None:
                said.append(f"{file}: no package can be called {id_[:100]!r} {version[:100]!r}; it is left out.")
            else:
                exact[identity] = None
        return Needs(exact=tuple(exact), remarks=tuple(said))


def read_json(body: bytes, file: str) -> Any:
    """The document; comments and commas at the end of lists are read over, as .NET does. Raises UnreadableFile."""
    text = body.removeprefix(_BOM)
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        plain = _TRAILING.sub(_kept, _COMMENT.sub(_kept, text))
    try:
        return orjson.loads(plain)
    except orjson.JSONDecodeError as error:
        raise UnreadableFile(file, f"it is not valid JSON ({error})") from error


def _kept(match: re.Match[bytes]) -> bytes:
    return match[1] or b""


def json_object(body: bytes, file: str) -> Mapping[str, Any]:
    """As ``read_json``, of a file that holds an object."""
    found = read_json(body, file)
    if not isinstance(found, dict):
        raise UnreadableFile(file, "it is no JSON object")
    return found


def table(value: Any) -> Mapping[str, Any]:
    """``value`` where it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def read_xml(body: bytes, file: str) -> Element:
    """The root element; raises UnreadableFile."""
    try:
        root: Element = fromstring(body.removeprefix(_BOM), forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise UnreadableFile(file, f"it is not readable XML ({error})") from error
    return root


def local(element: Element) -> str:
    """The name of an element without its namespace."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""
