"""Symbols is a symbol server for debuggers, in front of others."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from multidict import CIMultiDictProxy

from nugetproxy.engine.target import Target
from nugetproxy.errors import BadRequest, NotFound, UpstreamFailure
from nugetproxy.feeds.files import AS_THEY_ARE, STORED_BYTES, Files
from nugetproxy.feeds.reply import Reply, View
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.symbols import CHECKSUM_HEADER, SymbolFile, parse_checksums


class SymbolSource(Struct, frozen=True):
    """One upstream symbol server."""

    url: str
    """Where ``{file}/{key}/{file}`` is below, without a slash at the end."""
    files: Files


class Symbols:
    """Asks its upstreams in their order; what one of them has is kept for ever, what none has for a while."""

    def __init__(self, sources: Sequence[SymbolSource]) -> None:
        self._sources = tuple(sources)

    async def read(self, path: str, headers: CIMultiDictProxy[str], view: View) -> Reply:
        """The reply for ``symbols/{file}/{key}/{file}``.

        Raises NotFound for other paths, for what is not stored offline, BadRequest for a malformed ``SymbolChecksum``,
        UpstreamFailure where nobody has the file and not everybody could be asked.
        """
        symbol = SymbolFile.parse(path.partition("/")[2])
        if symbol is None:
            raise NotFound("Symbols are asked for as symbols/{file}/{key}/{file}.")
        checksums = parse_checksums(headers.getall(CHECKSUM_HEADER, []))
        if checksums is None:
            raise BadRequest(f"The {CHECKSUM_HEADER} header is malformed; it is ALGORITHM:HEX, several with ';'.")
        failed: UpstreamFailure | None = None
        absent: Reply | None = None
        lacking = NotFound("No symbol server is configured.")
        for source in self._sources:
            try:
                reply = await source.files.read(_target(source, symbol, checksums), view)
            except UpstreamFailure as failure:
                failed = failed or failure
                continue
            except NotFound as error:  # offline, another one's may be stored
                lacking = error
                continue
            if reply.status == 200:
                return reply
            absent = reply
        if failed is not None:
            raise failed
        if absent is None:
            raise lacking
        return absent

    def expect_new(self) -> None:
        """Symbols were pushed: for a while upstream is asked again for what it did not have."""
        for source in self._sources:
            source.files.cache.invalidate("")

    async def close(self) -> None:
        """End the connections to all upstreams."""
        for source in self._sources:
            await source.files.close()


def _target(source: SymbolSource, symbol: SymbolFile, checksums: str) -> Target:
    return Target(
        kind=Kind.SYMBOL,
        path=f"symbols/{symbol.path}",
        urls=(f"{source.url}/{symbol.path}",),
        query=checksums,
        scope=source.url,
        headers=(*AS_THEY_ARE, *(((CHECKSUM_HEADER, checksums),) if checksums else ())),
        limit=STORED_BYTES,
    )
