"""Shown is what a ruling has left of one document, for whoever asks for the same again."""

from __future__ import annotations

from weakref import ref

from msgspec import Struct

from nugetproxy.feeds.rendering import Page
from nugetproxy.feeds.reply import Reply, View


class Shown(Struct, frozen=True):
    """Right as long as the ruling is, and the document."""

    view: View
    """How the document without rules is asked for."""
    etag: str | None
    """The document's, asked for like that."""
    page: ref[Page] | None = None
    """What is left of it, as the client takes it, while that is hot; None where it is the whole."""

    def of(self, reply: Reply) -> Page | None:
        """What is left of the document as it is now; None where it must be looked at again."""
        etag, body = reply.etag, reply.body
        if etag is None or etag != self.etag or not isinstance(body, bytes):
            return None
        return Page(body, etag, reply.gzipped) if self.page is None else self.page()
