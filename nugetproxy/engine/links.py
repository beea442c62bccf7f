"""Links remember what the opaque links of one upstream stand for."""

from __future__ import annotations

from collections.abc import Iterable

from nugetproxy.nuget.documents.render import Link
from nugetproxy.nuget.kinds import Kind
from nugetproxy.store.documents.documents import Documents


class Links:
    """A link is known to the upstream alone whose document it stood in: only that one is ever asked for it."""

    def __init__(self, entries: Documents, upstream: str) -> None:
        self._entries = entries
        self._upstream = upstream

    async def keep(self, links: Iterable[Link]) -> None:
        """Remember what is about to be handed out."""
        for link in links:
            await self._entries.put_link(self._name(link.token), link.kind, link.url)

    async def get(self, token: str) -> tuple[Kind, str] | None:
        """The kind and the URL of a link that was handed out; None where it was not."""
        return await self._entries.get_link(self._name(token))

    def _name(self, token: str) -> str:
        return f"{self._upstream}:{token}"
