"""The list of certificates with which a feed says to sign as a repository."""

from __future__ import annotations

import re
from typing import Any, Final

from nugetproxy.nuget.documents.exact_json import InvalidDocument, loads, objects

_SHA256: Final = "2.16.840.1.101.3.4.2.1"
_FINGERPRINT: Final = re.compile(r"[0-9a-fA-F]{64}")


def listed_fingerprints(body: bytes) -> frozenset[str]:
    """The SHA-256 fingerprints, in lower-case hex, that a RepositorySignatures document lists; others are skipped."""
    try:
        said: Any = loads(body)
    except InvalidDocument:
        return frozenset()
    found = said.get("signingCertificates") if isinstance(said, dict) else None
    prints = [one.get("fingerprints") for one in objects(found)]
    values = [one.get(_SHA256) for one in prints if isinstance(one, dict)]
    return frozenset(one.lower() for one in values if isinstance(one, str) and _FINGERPRINT.fullmatch(one))
