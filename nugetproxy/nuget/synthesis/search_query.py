"""SearchQuery is what a client asks of a search, read from the query string of its URL."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Final
from urllib.parse import parse_qsl

from msgspec import Struct

from nugetproxy.errors import BadRequest
from nugetproxy.nuget.identity import Version, invariant_lower

MAX_SKIP: Final = 3000
MAX_TAKE: Final = 1000
DEFAULT_TAKE: Final = 20
"""nuget.org's limits."""
MAX_TEXT: Final = 2000
"""Characters of ``q`` that are looked at."""
MAX_TERMS: Final = 16
"""Terms of ``q`` that are looked at; a search for more would only cost more."""
MAX_WORDS: Final = 32
"""Words of all terms together that are looked at."""
_MAX_PARAMETERS: Final = 100


class BadParameter(BadRequest, ValueError):
    """A parameter of a search has a value that cannot be meant; ``allowed`` says what it can be."""

    def __init__(self, parameter: str, value: str, allowed: str) -> None:
        self.parameter = parameter
        self.value = value
        self.allowed = allowed
        super().__init__(f"The parameter {parameter!r} is {value[:100]!r}, but must be {allowed}.")


class Field(StrEnum):
    """What a term may be looked for in, besides everything."""

    ID = "id"
    TITLE = "title"
    TAGS = "tags"
    AUTHORS = "authors"
    OWNERS = "owners"
    SUMMARY = "summary"
    DESCRIPTION = "description"


class Word(Struct, frozen=True):
    """Letters and digits, lower case; ``parts`` are those of a camel-case word, with which it is found as well."""

    text: str
    parts: tuple[str, ...] = ()


class Term(Struct, frozen=True):
    """Words that must all be found, one after the other if it is a phrase; without words it is found nowhere."""

    words: tuple[Word, ...]
    phrase: bool = False


class SearchQuery(Struct, frozen=True, kw_only=True):
    """A search as nuget.org understands it: terms of one field are alternatives, different fields must all match.

    Terms without a field must all be found, each anywhere; nuget.org is content with one of them.
    """

    terms: tuple[Term, ...] = ()
    scoped: tuple[tuple[Field, tuple[Term, ...]], ...] = ()
    """The alternatives by field (``id:``, ``tags:`` ...)."""
    ids: tuple[str, ...] = ()
    """Alternatives of ``packageid:``: whole ids, lower case."""
    versions: tuple[str, ...] = ()
    """Alternatives of ``version:``, in URL form."""
    name: str = ""
    """The one thing that is looked for, lower case, in case it is the id itself or its beginning."""
    skip: int = 0
    take: int = DEFAULT_TAKE
    prerelease: bool = False
    semver2: bool = False
    """The client knows SemVer 2.0.0 (``semVerLevel``)."""
    package_type: str = ""
    """Lower case; empty for all types."""
    id: str | None = None
    """Of autocomplete: the id (lower case) whose versions are asked for, instead of ids."""

    @staticmethod
    def parse(query: str) -> SearchQuery:
        """Read a raw query string (without ``?``); unknown parameters are ignored. Raises BadParameter."""
        given = _parameters(query)
        text, id_ = given.get("q", "").strip()[:MAX_TEXT], given.get("id", "").strip()
        found = _Terms(text)
        return SearchQuery(
            terms=tuple(found.plain),
            scoped=tuple((field, tuple(terms)) for field, terms in found.scoped.items()),
            ids=tuple(found.ids),
            versions=tuple(found.versions),
            name=found.name,
            skip=_integer(given, "skip", default=0, highest=MAX_SKIP),
            take=_integer(given, "take", default=DEFAULT_TAKE, highest=MAX_TAKE),
            prerelease=given.get("prerelease", "").strip().lower() == "true",
            semver2=_knows_semver2(given.get("semverlevel", "")),
            package_type=given.get("packagetype", "").strip().lower(),
            id=invariant_lower(id_) if id_ and not text else None,
        )


_FIELDS: Final = {
    **{field.value: field for field in Field},
    "tag": Field.TAGS,
    "author": Field.AUTHORS,
    "owner": Field.OWNERS,
}
_PACKAGE_ID: Final = "packageid"
_VERSION: Final = "version"
_SEMVER2: Final = Version(2)

_TERM = re.compile(r'(?:(?P<field>[A-Za-z]+):)?(?:"(?P<phrase>[^"]*)"?|(?P<plain>[^\s"]+))')
"""``word``, ``"some words"``, ``field:word``, ``field:"some words"``; a quotation mark may lack its partner."""
_ENDS = re.compile(r"^\W+|\W+$")
_TAG_SEPARATORS = re.compile(r"[\s,;]+")


class _Terms:
    """The terms of one ``q``, sorted by where they are to be found."""

    def __init__(self, text: str) -> None:
        self.plain: list[Term] = []
        self.scoped: dict[Field, list[Term]] = {}
        self.ids: dict[str, None] = {}
        self.versions: dict[str, None] = {}
        self._words = MAX_WORDS
        names: list[str] = []
        for field, value, phrase in _cut(text):
            if not field and value == "*":  # everything, as nuget.org has it
                continue
            if field == _PACKAGE_ID:
                self.ids[invariant_lower(value)] = None
            elif field == _VERSION:
                version = Version.parse(value)
                self.versions[value.lower() if version is None else version.url] = None
            elif field in _FIELDS:
                self._add_scoped(_FIELDS[field], value, phrase)
            else:
                self.plain.extend(self._term(value, phrase))
            if field in {"", _PACKAGE_ID, Field.ID}:
                names.append(invariant_lower(value))
        self.name = _ENDS.sub("", names[0]) if len(names) == 1 else ""

    def _add_scoped(self, field: Field, value: str, phrase: bool) -> None:
        values = [tag for tag in _TAG_SEPARATORS.split(value) if tag] if field is Field.TAGS and not phrase else [value]
        self.scoped.setdefault(field, []).extend(term for text in values for term in self._term(text, phrase))

    def _term(self, value: str, phrase: bool) -> Iterator[Term]:
        """One term, or none when there were words enough already."""
        if self._words > 0:
            words = split_words(value)[: self._words]
            self._words -= max(1, len(words))
            yield Term(tuple(Word(word.lower(), () if phrase else _parts(word)) for word in words), phrase)


def _cut(text: str) -> Iterator[tuple[str, str, bool]]:
    """(field in lower case or "", value, whether it is a phrase) of at most ``MAX_TERMS`` terms."""
    count = 0
    for match in _TERM.finditer(text):
        field, phrase = (match["field"] or "").lower(), match["phrase"] is not None
        value = (match["phrase"] if phrase else match["plain"]).strip()
        if field and field not in _FIELDS and field not in {_PACKAGE_ID, _VERSION}:
            # Not a field of ours: then the colon is just text.
            field, value = "", f"{match['field']}:{value}"
        if value and count < MAX_TERMS:
            count += 1
            yield field, value, phrase


def _parts(word: str) -> tuple[str, ...]:
    """Parts of one letter would find nearly everything."""
    parts = camel_parts(word)
    return parts if all(len(part) > 1 for part in parts) else ()


def _parameters(query: str) -> dict[str, str]:
    """The parameters by lower-case name; of repeated ones the first counts, as in ASP.NET."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_PARAMETERS)
    except ValueError as error:
        raise BadParameter("query", query, f"at most {_MAX_PARAMETERS} parameters") from error
    given: dict[str, str] = {}
    for name, value in pairs:
        given.setdefault(name.lower(), value.replace("\0", " "))
    return given


def _integer(given: dict[str, str], name: str, *, default: int, highest: int) -> int:
    text = given.get(name, "").strip()
    if not text:
        return default
    if text.isascii() and text.isdigit() and len(text) < 10 and int(text) <= highest:
        return int(text)
    raise BadParameter(name, text, f"a whole number from 0 to {highest}")


def _knows_semver2(level: str) -> bool:
    version = Version.parse(level)
    return version is not None and version >= _SEMVER2


_BOUNDARY = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[0-9])(?=[A-Za-z])|(?<=[A-Za-z])(?=[0-9])")
_SEPARATORS = re.compile(r"[\W_]+")


def split_words(text: str) -> list[str]:
    """The runs of letters and digits in ``text``, in their case."""
    return [word for word in _SEPARATORS.split(text) if word]


def camel_parts(word: str) -> tuple[str, ...]:
    """``EntityFramework6`` -> ``entity framework 6``; a word that is not made of several has no parts."""
    parts = _BOUNDARY.split(word)
    return tuple(part.lower() for part in parts) if len(parts) > 1 else ()


def id_parts(id: str) -> tuple[str, ...]:
    """What an id is also found by: the parts of its words, with all of it in one word."""
    words = split_words(id)
    parts = [part for word in words for part in camel_parts(word)]
    return (*parts, "".join(words).lower()) if len(words) > 1 else tuple(parts)
