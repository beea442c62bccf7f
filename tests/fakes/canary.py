"""Canaries are random secrets for tests to use: wherever else one turns up, something leaks.

The API key of every ``FakeFeed`` is one. What is searched after every test: captured output, so the log before any
redaction; every response that the test's client reads, with its headers; the metrics and the cache directory of every
``Proxy`` that stops.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

from aiohttp import ClientSession, TraceConfig, TraceRequestEndParams, TraceResponseChunkReceivedParams

API_KEY = f"canary-key-{secrets.token_hex(12)}"
USER = "canary-user"
PASSWORD = f"canary+pass/{secrets.token_hex(12)}"
TOKEN = f"canary-token-{secrets.token_hex(12)}"


def _forms(value: str) -> Iterable[bytes]:
    yield value.encode()
    yield quote(value, safe="").encode()
    yield base64.b64encode(value.encode())
    yield value.encode("utf-16-le")


BASIC = f"{USER}:{PASSWORD}"
_FORMS = {form: name for name in ("API_KEY", "PASSWORD", "TOKEN", "BASIC") for form in _forms(globals()[name])}
_STEMS = frozenset(_forms("canary"))
"""With one of them begins every form: where none is, nothing else needs to be looked for."""
assert all(form.startswith(tuple(_STEMS)) for form in _FORMS), "a canary begins as the others do"


def sightings(data: bytes) -> set[str]:
    """The names of the canaries in ``data``, in any form."""
    if not any(stem in data for stem in _STEMS):
        return set()
    return {name for form, name in _FORMS.items() if form in data}


def search(directory: Path) -> list[str]:
    """Every file below ``directory`` with a canary in it or in its name."""
    return [
        f"{path}: {found}"
        for path in sorted(directory.rglob("*"))
        if (found := sightings(str(path).encode()) | (sightings(path.read_bytes()) if path.is_file() else set()))
    ]


def watch() -> TraceConfig:
    """For a client session: fails the request whose response has a canary in it."""
    trace = TraceConfig()
    trace.on_request_end.append(_headers)
    trace.on_response_chunk_received.append(_body)
    return trace


async def _headers(_session: ClientSession, _context: SimpleNamespace, params: TraceRequestEndParams) -> None:
    response = params.response
    lines = [f"{response.reason}", *(f"{name}: {value}" for name, value in response.headers.items())]
    assert not sightings("\n".join(lines).encode()), f"a secret in the headers of {params.method} {params.url.path}"


async def _body(_session: ClientSession, _context: SimpleNamespace, params: TraceResponseChunkReceivedParams) -> None:
    assert not sightings(params.chunk), f"a secret in the body of {params.method} {params.url.path}"
