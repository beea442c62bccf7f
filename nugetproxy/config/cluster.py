"""Cluster is the table of what several replicas share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeAlias
from urllib.parse import urlsplit

from nugetproxy.config.fields import SecretText
from nugetproxy.config.section import Section
from nugetproxy.config.tables import Parsed

_STORES: Final = ("s3", "gs", "az")
_COORDINATORS: Final = ("redis", "rediss")


def _place(value: Any, schemes: tuple[str, ...], example: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be text in quotes, such as {example}")  # noqa: TRY004 - what is told to an operator
    if not value:
        return ""
    try:
        parts = urlsplit(value)
        wrong = parts.port == 0
    except ValueError as error:
        raise ValueError("not a URL; its host or port is malformed") from error
    if wrong or parts.scheme not in schemes or not parts.netloc or parts.query or parts.fragment:
        raise ValueError(f'must be a URL such as {example}, or "" for none')
    if "@" in parts.netloc:
        raise ValueError("a URL must not hold credentials; they have keys of their own")
    return value.rstrip("/")


def _store(value: Any) -> str:
    url = _place(value, _STORES, '"s3://bucket/prefix", "gs://bucket" or "az://container"')
    if any(part in {"", ".", ".."} for part in urlsplit(url).path.split("/")[1:]):
        raise ValueError("the prefix must not hold empty parts, '.' or '..'")
    return url


def _coordination(value: Any) -> str:
    return _place(value, _COORDINATORS, '"redis://host:6379/0"')


def _endpoint(value: Any) -> str:
    return _place(value, ("http", "https"), '"https://s3.example.com"')


Store: TypeAlias = Annotated[str, Parsed(_store)]
Coordination: TypeAlias = Annotated[str, Parsed(_coordination)]
Endpoint: TypeAlias = Annotated[str, Parsed(_endpoint)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster(Section):
    """A bucket and a Redis that several replicas share; both optional."""

    store: Store = ""
    coordination: Coordination = ""
    endpoint: Endpoint = ""
    region: str = ""
    store_key: SecretText = None
    store_secret: SecretText = None
    coordination_password: SecretText = None

    @property
    def is_used(self) -> bool:
        """Whether anything is shared."""
        return bool(self.store or self.coordination)
