"""Hiding takes the secrets that we send to an upstream out of what it says."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable
from urllib.parse import quote

HIDDEN = "[hidden]"
SHORTEST_SECRET = 4
"""Shorter ones would be found inside ordinary words."""


class Hiding:
    """A page of an upstream that shows the request, as debug pages do, must not hand our secrets to its readers."""

    def __init__(self, secrets: Iterable[str]) -> None:
        spelled = {form for secret in secrets if len(secret) >= SHORTEST_SECRET for form in _spellings(secret)}
        ordered = sorted(spelled, key=len, reverse=True)
        self._text = re.compile("|".join(map(re.escape, ordered))) if ordered else None
        self._raw = re.compile(b"|".join(re.escape(form.encode()) for form in ordered)) if ordered else None

    def text(self, said: str) -> str:
        """``said`` without secrets."""
        return said if self._text is None else self._text.sub(HIDDEN, said)

    def raw(self, said: bytes) -> bytes:
        """``said``, in UTF-8 or a coding that agrees with it on ASCII, without secrets."""
        return said if self._raw is None else self._raw.sub(HIDDEN.encode(), said)


def _spellings(secret: str) -> set[str]:
    """As it is, then as pages, JSON and URLs write it."""
    as_json = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    return {
        secret,
        html.escape(secret),
        html.escape(secret, quote=False),
        quote(secret, safe=""),
        quote(secret),
        *as_json,
    }
