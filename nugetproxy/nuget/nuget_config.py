"""A nuget.config as far as it says where packages come from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Final
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from msgspec import Struct

from nugetproxy.errors import ProxyError
from nugetproxy.nuget.identity import invariant_lower
from nugetproxy.nuget.mapping import Rule

MAX_BYTES: Final = 2**20

_ENV = re.compile(r"%([^%\s]+)%")
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")
"""What XmlConvert.EncodeLocalName makes of characters that no element's name may have."""
_TRUE: Final = "true"


class InvalidNugetConfig(ProxyError):
    """A file that NuGet would not read as its configuration."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    def __str__(self) -> str:
        return f"Not a usable nuget.config: {self.detail}."


class Secret(StrEnum):
    """How a password is written; never what it is."""

    NONE = "none"
    VARIABLE = "variable"
    """As ``%NAME%``, an environment variable."""
    CLEAR = "clear"
    """In clear text."""
    ENCRYPTED = "encrypted"
    """For one user of one Windows machine; nobody else can read it."""


class SourceCredentials(Struct, frozen=True, kw_only=True):
    """Who a client says it is to one source, without the password itself."""

    username: str
    """As written; ``%NAME%`` names a variable."""
    secret: Secret
    variable: str = ""
    """The name of the environment variable with the password, if it is in one."""


class ConfiguredSource(Struct, frozen=True, kw_only=True):
    """One package or audit source."""

    name: str
    url: str
    """As written: a URL, or a folder (perhaps relative to the file)."""
    protocol_version: str = ""
    enabled: bool = True
    allow_insecure: bool = False
    min_publish_age_hours: int = 0
    """How old a version has to be before the client chooses it by itself (NuGet 8)."""
    credentials: SourceCredentials | None = None

    @property
    def is_url(self) -> bool:
        """False for a folder."""
        return invariant_lower(self.url[:8]).startswith(("http://", "https://"))

    @property
    def is_v3(self) -> bool:
        """True where NuGet speaks V3 to it: by its address, or because the file says so."""
        return self.is_url and (invariant_lower(self.url).endswith(".json") or self.protocol_version == "3")


class NugetConfig(Struct, frozen=True, kw_only=True):
    """What one file says; files above it are not looked at."""

    sources: tuple[ConfiguredSource, ...] = ()
    """In the file's order."""
    audit_sources: tuple[ConfiguredSource, ...] = ()
    mapping: tuple[Rule, ...] = ()
    """Pattern by pattern, in the file's order; sources that the file does not have are named all the same."""
    min_publish_age_exceptions: tuple[str, ...] = ()
    http_proxy: str = ""
    inherits_sources: bool = True
    """False if it clears the sources of files above it."""


def parse_nuget_config(xml: bytes) -> NugetConfig:
    """What the file ``xml`` says; raises InvalidNugetConfig."""
    root = _root(xml)
    disabled = {
        invariant_lower(name)
        for name, item in _added(root, "disabledPackageSources").items()
        if invariant_lower(item.get("value", "").strip()) == _TRUE
    }
    credentials = {invariant_lower(name): found for name, found in _credentials(root)}
    settings = {invariant_lower(name): item.get("value", "") for name, item in _added(root, "config").items()}
    exceptions = (item.get("pattern") or item.get("key") or "" for item in _items(root, "minPublishAgeExceptions"))
    return NugetConfig(
        sources=tuple(_source(n, i, credentials, disabled) for n, i in _added(root, "packageSources").items()),
        audit_sources=tuple(_source(n, i, credentials, disabled) for n, i in _added(root, "auditSources").items()),
        mapping=tuple(_rules(root)),
        min_publish_age_exceptions=tuple(text.strip() for text in exceptions if text.strip()),
        http_proxy=settings.get("http_proxy", ""),
        inherits_sources=not any(_is_clear(item) for section in root.findall("packageSources") for item in section),
    )


def _root(xml: bytes) -> Element:
    if len(xml) > MAX_BYTES:
        raise InvalidNugetConfig(f"it is larger than {MAX_BYTES} bytes")
    try:
        root: Element = fromstring(xml, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise InvalidNugetConfig(f"it is not readable XML ({error})") from error
    if root.tag != "configuration":
        raise InvalidNugetConfig(f"its root is {root.tag[:100]!r}, not configuration")
    return root


def _items(root: Element, section: str) -> list[Element]:
    """What stands in a section, behind the last ``<clear/>``."""
    found: list[Element] = []
    for part in root.findall(section):
        for item in part:
            found = [] if _is_clear(item) else [*found, item]
    return found


def _is_clear(item: Element) -> bool:
    return item.tag == "clear"


def _added(root: Element, section: str) -> dict[str, Element]:
    """Key -> the item that counts: the last with this key in any case, in the place of the first."""
    spelled: dict[str, str] = {}
    found: dict[str, Element] = {}
    for item in _items(root, section):
        key = item.get("key", "").strip()
        if item.tag != "add" or not key:
            continue
        known = spelled.setdefault(invariant_lower(key), key)
        found[known] = item
    return found


def _source(
    name: str, item: Element, credentials: dict[str, SourceCredentials], disabled: set[str]
) -> ConfiguredSource:
    hours = item.get("minPublishAgeHours", "").strip()
    return ConfiguredSource(
        name=name,
        url=item.get("value", "").strip(),
        protocol_version=item.get("protocolVersion", "").strip(),
        enabled=invariant_lower(name) not in disabled,
        allow_insecure=invariant_lower(item.get("allowInsecureConnections", "").strip()) == _TRUE,
        min_publish_age_hours=int(hours) if hours.isascii() and hours.isdigit() and len(hours) < 10 else 0,
        credentials=credentials.get(invariant_lower(name)),
    )


def _credentials(root: Element) -> Iterator[tuple[str, SourceCredentials]]:
    """(source, credentials); the source's name is that of the element, escaped."""
    for item in _items(root, "packageSourceCredentials"):
        values = {
            invariant_lower(part.get("key", "").strip()): part.get("value", "") for part in item if part.tag == "add"
        }
        name = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), item.tag)
        clear, encrypted = values.get("cleartextpassword", ""), values.get("password", "")
        variable = _ENV.fullmatch(clear.strip())
        yield (
            name,
            SourceCredentials(
                username=values.get("username", ""),
                secret=_secret(clear, encrypted),
                variable=variable[1] if variable is not None else "",
            ),
        )


def _secret(clear: str, encrypted: str) -> Secret:
    if clear:
        return Secret.VARIABLE if _ENV.fullmatch(clear.strip()) else Secret.CLEAR
    return Secret.ENCRYPTED if encrypted else Secret.NONE


def _rules(root: Element) -> Iterator[Rule]:
    """The mapping turned around: for each pattern the sources that name it."""
    found: dict[str, Rule] = {}
    for source in _items(root, "packageSourceMapping"):
        name = source.get("key", "").strip()
        if source.tag != "packageSource" or not name:
            continue
        for package in source.findall("package"):
            pattern = package.get("pattern", "").strip()
            if not pattern:
                continue
            known = found.get(invariant_lower(pattern), Rule(pattern, ()))
            found[known.key] = Rule(known.pattern, tuple(dict.fromkeys((*known.sources, name))))
    yield from found.values()
