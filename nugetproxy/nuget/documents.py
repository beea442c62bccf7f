"""Documents of the NuGet V3 protocol: one import for reading, checking or rewriting them."""

from __future__ import annotations

from dataclasses import dataclass

from nugetproxy.nuget.exactjson import InvalidDocument
from nugetproxy.nuget.identity import Version
from nugetproxy.nuget.policies import Kind
from nugetproxy.nuget.services import ServiceMap, parse_service_index

__all__ = [
    "InvalidDocument",
    "Link",
    "PageRef",
    "Rendered",
    "ServiceMap",
    "View",
    "check",
    "listed_versions",
    "page_commit",
    "parse_service_index",
    "registration_pages",
    "render",
    "render_index",
    "stated_content",
    "vulnerability_pages",
]


@dataclass(frozen=True, slots=True)
class View:
    services: ServiceMap
    base: str
    url: str
    resource: str = ""


@dataclass(frozen=True, slots=True)
class Link:
    token: str
    kind: Kind
    url: str


@dataclass(frozen=True, slots=True)
class Rendered:
    body: bytes
    links: tuple[Link, ...] = ()
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PageRef:
    url: str
    commit: str


def render_index(services: ServiceMap, base: str, *, secure: bool) -> bytes:
    """The service index as a client of ``base`` (ending in ``/v3/``) sees it."""
    raise NotImplementedError


def check(kind: Kind, body: bytes, *, id: str = "") -> None:
    """Raises InvalidDocument unless ``body`` is a usable document of ``kind`` (about package ``id``)."""
    raise NotImplementedError


def render(kind: Kind, body: bytes, view: View) -> Rendered:
    """``body`` as a client of ``view.base`` sees it."""
    raise NotImplementedError


def registration_pages(body: bytes, url: str) -> tuple[PageRef, ...]:
    """The pages that a registration index does not hold itself."""
    raise NotImplementedError


def page_commit(body: bytes) -> str:
    """What identifies the state of a registration page (or index)."""
    raise NotImplementedError


def vulnerability_pages(body: bytes, url: str) -> tuple[PageRef, ...]:
    """The pages of a vulnerability index, in its order."""
    raise NotImplementedError


def listed_versions(body: bytes) -> tuple[tuple[str, Version], ...]:
    """(upstream's spelling, version) of a version list, ascending, each version once."""
    raise NotImplementedError


def stated_content(body: bytes, version: Version, url: str) -> str | None:
    """The ``packageContent`` URL that a registration index, page or leaf states for ``version``."""
    raise NotImplementedError
