"""Negotiation finds the content coding that a client takes (RFC 9110 section 12.5.3)."""

from __future__ import annotations

import re
from functools import lru_cache

from nugetproxy.feeds.reply import View

_NOT_AT_ALL = re.compile(r"\s*q\s*=\s*0(?:\.0*)?\s*", re.IGNORECASE)


@lru_cache(maxsize=1024)
def view_of(base: str, accept_encoding: str, head: bool) -> View:
    """The view of a client; most clients have one of very few."""
    return View(base=base, gzip=accepts_gzip(accept_encoding), head=head)


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether a client that sent this ``Accept-Encoding`` takes gzip (RFC 9110 section 12.5.3)."""
    if accept_encoding in {"gzip, deflate", "gzip"}:  # what nearly everybody sends
        return True
    weights = {}
    for part in accept_encoding.split(","):
        coding, _, weight = part.partition(";")
        weights[coding.strip().lower()] = weight
    # What is named counts before the asterisk, wherever it stands.
    said = next((weights[name] for name in ("gzip", "x-gzip", "*") if name in weights), "q=0")
    return _NOT_AT_ALL.fullmatch(said) is None
