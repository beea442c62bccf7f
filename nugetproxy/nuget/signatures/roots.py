"""Roots are certificates that are believed without a reason, as an operator named them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # what reads certificates is large; most proxies never look at one
    from cryptography.x509 import ObjectIdentifier

    from nugetproxy.nuget.signatures.certificates import Certificate


class Roots:
    """Certificates by whom they are of."""

    def __init__(self, certificates: Iterable[Certificate] = ()) -> None:
        self._by_subject = _by_subject(certificates)
        self.fingerprints = frozenset(one.fingerprint for group in self._by_subject.values() for one in group)
        """Of all of them."""

    def __bool__(self) -> bool:
        return bool(self.fingerprints)

    def vouch(
        self, certificate: Certificate, pool: Iterable[Certificate], purpose: ObjectIdentifier, at: float
    ) -> bool:
        """Whether a chain leads from ``certificate`` to one of them, by way of ``pool``, all valid ``at`` that time."""
        from nugetproxy.nuget.signatures.certificates import chains

        found = chains(certificate, self._by_subject, _by_subject(pool), purpose, at)
        return any(chain[-1].fingerprint in self.fingerprints for chain in found)


def _by_subject(certificates: Iterable[Certificate]) -> Mapping[bytes, list[Certificate]]:
    found: defaultdict[bytes, list[Certificate]] = defaultdict(list)
    for one in certificates:
        found[one.subject].append(one)
    return found


NO_ROOTS: Final = Roots()
