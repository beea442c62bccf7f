"""Upstream is what an operator says of one remote feed, or of a folder of packages."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from nugetproxy.config.fields import (
    FilePath,
    FilePaths,
    Hosts,
    Networks,
    OptionalName,
    OrAuto,
    Origins,
    SecretText,
    Texts,
    UpstreamProxy,
    UpstreamUrl,
    Wait,
)
from nugetproxy.config.places import folder_of, is_nuget_org, is_private_place
from nugetproxy.config.secrets import Secret, parse_header_value
from nugetproxy.config.section import Section
from nugetproxy.config.tables import Parsed, between

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OUR_HEADERS = frozenset(
    (
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "accept-encoding",
        "range",
        "if-range",
        "te",
        "expect",
    )
)


def _headers(value: Any) -> Any:
    if not isinstance(value, Mapping) or not all(isinstance(text, str | Secret) for text in value.values()):
        raise ValueError('must be a table of texts, such as { "X-Team" = "build" }')
    return {name: text if isinstance(text, Secret) else _header(name, text) for name, text in value.items()}


def _header(name: str, value: str) -> str | Secret:
    if _HEADER_NAME.fullmatch(name) is None or name.lower() in _OUR_HEADERS:
        raise ValueError(f"{name!r} is not a header that can be set")
    try:
        return parse_header_value(name, value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream(Section):
    """One remote feed, or a folder of packages; durations in seconds."""

    url: UpstreamUrl
    username: str = ""
    password: SecretText = None
    headers: Annotated[Mapping[str, str | Secret], Parsed(_headers)] = field(default_factory=dict, repr=False)
    hosts: Hosts = ()
    credential_origins: Origins = ()
    internal: bool = False
    private: OrAuto = None
    offline: bool = False
    offline_versions: Literal["held", "known"] = "held"
    follow_catalog: bool = False
    push: bool = True
    delete: bool = True
    push_credentials: Literal["client", "proxy"] = "client"
    tries: Annotated[int, between(1, 10)] = 3
    connect_timeout: Wait = 2.0
    read_timeout: Wait = 30.0
    document_deadline: Wait = 15.0
    connections: Annotated[int, between(1, 1000)] = 64
    breaker_failures: Annotated[int, between(1)] = 5
    breaker_open: Wait = 1.0
    breaker_max: Wait = 5.0
    ca_file: FilePath = ""
    proxy: UpstreamProxy = ""

    dates_from: OptionalName = ""

    signatures: Literal["off", "warn", "require"] = "off"
    signature_roots: FilePaths = ()
    signature_owners: Texts = ()

    anonymous: OrAuto = None
    anonymous_from: Networks = ()

    lending_is_said: bool = field(default=False, compare=False, repr=False)
    """Whether anybody wrote ``push_credentials``; no key of its own."""

    @classmethod
    def made(cls, values: Mapping[str, Any]) -> Self:
        """As for every section; what is written says whether lending is said."""
        return cls(**values, lending_is_said="push_credentials" in values)

    @property
    def folder(self) -> Path | None:
        """The folder of packages that this is instead of a remote feed."""
        return folder_of(self.url)

    @property
    def has_credentials(self) -> bool:
        """Whether requests to this upstream carry something that others must not have."""
        return self.password is not None or any(isinstance(value, Secret) for value in self.headers.values())

    @property
    def role(self) -> bool | None:
        """Whether only its owners publish there: as it is said, or as all else tells; None where nothing does."""
        if self.private is not None:
            return self.private
        if self.has_credentials or self.internal or self.folder is not None or is_private_place(self.url):
            return True
        return False if is_nuget_org(self.url) else None

    @property
    def secrets(self) -> tuple[tuple[str, Secret], ...]:
        """Every reference with the key that it stands under."""
        own = () if self.password is None else (("password", self.password),)
        return own + tuple(
            (f"headers.{name}", value) for name, value in self.headers.items() if isinstance(value, Secret)
        )

    @property
    def identity(self) -> tuple[str, ...]:
        """As whom it is asked, where: everything that is stored of it belongs to this, whatever a secret's value is."""
        references = sorted(f"{key.lower()}={secret.reference}" for key, secret in self.secrets)
        return (self.url, self.username, *sorted(name.lower() for name in self.headers), *references)

    @property
    def takes_writes(self) -> bool:
        """Whether anything can be pushed to it or deleted from it."""
        return (self.push or self.delete) and not self.offline and self.folder is None

    @property
    def lends_credentials(self) -> bool:
        """Whether writes are made with the configured credentials instead of the client's."""
        return self.push_credentials == "proxy" and self.takes_writes

    @property
    def public_headers(self) -> frozenset[str]:
        """Names (lower case) of the configured headers that hold no secret."""
        return frozenset(name.lower() for name, value in self.headers.items() if not isinstance(value, Secret))

    def request_headers(self) -> dict[str, str]:
        """The configured headers with every secret filled in; Basic credentials as ``Authorization``.

        Raises ValueError when a secret's variable or file is missing.
        """
        headers = {name: value.reveal() if isinstance(value, Secret) else value for name, value in self.headers.items()}
        if self.password is not None:
            pair = f"{self.username}:{self.password.reveal()}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        return headers

    def secret_values(self) -> tuple[str, ...]:
        """What must never be printed: the secrets themselves, and their encoded form in ``Authorization``."""
        revealed = {secret.reveal() for _, secret in self.secrets}
        sent = self.request_headers()
        basic = {sent["Authorization"].removeprefix("Basic ")} if self.password is not None else set()
        return tuple(sorted(revealed | basic))
