"""Asked is one question to a feed with rules, with the answer that it has without them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from msgspec import Struct

from nugetproxy.feeds.judge import Ruling
from nugetproxy.feeds.rendering import Page
from nugetproxy.feeds.reply import Reply, View
from nugetproxy.nuget.routes import Route
from nugetproxy.nuget.rules import Verdict
from nugetproxy.nuget.version import Version

Inner = Callable[[Route, str, View], Awaitable[Reply]]
"""The feed without its rules."""


class Cut(Struct, frozen=True, kw_only=True):
    """What is left of a document."""

    reply: Reply
    """As it is without rules."""
    page: Page | None = None
    """None where nothing is left."""
    rulings: tuple[Ruling, ...] = ()
    lasting: bool = False
    """Whether nothing but the answer and its one ruling could change it."""
    why: str = ""
    """Why nothing is left."""
    denied: tuple[str, Version, Verdict] | None = None
    """The version that all of the document is about, if it does not exist."""


class Asked(Struct, frozen=True, kw_only=True):
    """One question with the answer of the feed without its rules."""

    route: Route
    query: str
    view: View
    reply: Reply
    body: bytes

    @property
    def etag(self) -> str:
        """The answer's entity tag; empty where it has none."""
        return self.reply.etag or ""

    @property
    def place(self) -> tuple[str, ...]:
        """Where the answer is, and for whom."""
        return ("ruled", self.view.base, self.route.resource, self.route.rest, self.query)

    @property
    def page(self) -> Page:
        """The whole of it."""
        return Page(self.body, self.etag)


def page_of_reply(reply: Reply) -> Page:
    """An answer as it is."""
    return Page(body_of(reply), reply.etag or "")


def body_of(reply: Reply) -> bytes:
    """The bytes of an answer that is a document."""
    assert isinstance(reply.body, bytes), "a document"
    return reply.body
