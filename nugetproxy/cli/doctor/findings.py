"""Findings are what an examination says, line by line."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from msgspec import Struct

from nugetproxy.errors import Reason, UpstreamFailure


class Level(StrEnum):
    """How good or bad it is."""

    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"


class Finding(Struct, frozen=True):
    """One thing that was examined."""

    level: Level
    text: str


_WORDS: Mapping[Reason, str] = MappingProxyType(
    {
        Reason.REFUSED: "the connection was refused",
        Reason.CONNECT_TIMEOUT: "nobody answers the connection in time",
        Reason.READ_TIMEOUT: "it does not answer in time",
        Reason.SLOW: "it does not answer in time",
        Reason.STALL: "it stopped in the middle of its answer",
        Reason.DNS: "its host name does not resolve",
        Reason.DNS_TIMEOUT: "the name service does not answer",
        Reason.RESET: "the connection was cut",
        Reason.TRUNCATED: "the connection was cut",
    }
)


def told(failure: UpstreamFailure) -> str:
    """Why an upstream gave no answer, in words."""
    words = _WORDS.get(failure.reason)
    return words or (f"{failure.reason}: {failure.detail}" if failure.detail else str(failure.reason))
