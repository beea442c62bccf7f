"""Removal of the gzip content coding, with a limit on what comes out."""

from __future__ import annotations

from zlib_ng import zlib_ng

RATIO = 250
"""Most that JSON may have been compressed; gzip itself can do 1,000, which only a bomb needs."""
UNSUSPICIOUS = 1024 * 1024
"""Output up to here is never called a bomb."""
_MEMBERS = 1000
_STEP = 1024 * 1024
_GZIP = 16 + zlib_ng.MAX_WBITS


CODINGS = frozenset({"gzip", "x-gzip", "deflate", "compress", "x-compress", "br", "zstd", "dcb", "dcz"})
"""The registered content codings besides identity; any other word changes nothing about the bytes."""


class Undecodable(ValueError):
    """The body is not what its Content-Encoding says."""


class Incomplete(ValueError):
    """The body ends in the midst of the coding."""


class TooLong(ValueError):
    """More would come out than is allowed."""


def gunzip(data: bytes, limit: int) -> bytes:
    """``data`` decoded, all members of it (RFC 1952 section 2.2), padding zeros ignored.

    ``limit`` is in bytes of output. Raises Undecodable, Incomplete, TooLong.
    """
    limit = min(limit, max(UNSUSPICIOUS, RATIO * len(data)))
    out = bytearray()
    rest = data
    for _ in range(_MEMBERS):
        rest = _member(rest, out, limit).lstrip(b"\0")
        if not rest:
            return bytes(out)
    raise Undecodable(f"more than {_MEMBERS} gzip members")


def _member(data: bytes, out: bytearray, limit: int) -> bytes:
    """Decode one member into ``out``; what follows it."""
    decoder = zlib_ng.decompressobj(_GZIP)
    while not decoder.eof:
        try:
            piece = decoder.decompress(data, min(_STEP, limit + 1 - len(out)))
        except zlib_ng.error as error:  # type: ignore[misc]  # its stub calls the class an instance
            raise Undecodable("not gzip") from error
        out += piece
        if len(out) > limit:
            raise TooLong(f"more than {limit} bytes after decoding")
        data = decoder.unconsumed_tail
        if not piece and not data and not decoder.eof:
            raise Incomplete("the gzip stream ends early")
    return decoder.unused_data
