"""The verdict over the signature of a package, with whose signatures count."""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from typing import TYPE_CHECKING, Self

from msgspec import Struct

from nugetproxy.nuget.signatures.flaw import Flaw
from nugetproxy.nuget.signatures.roots import NO_ROOTS, Roots

if TYPE_CHECKING:  # what reads certificates is large; most proxies never look at one
    from nugetproxy.nuget.signatures.certificates import Certificate
    from nugetproxy.nuget.zip_archive import Content


class By(StrEnum):
    """As what somebody has signed."""

    AUTHOR = "author"
    REPOSITORY = "repository"


class Signer(Struct, frozen=True):
    """Whoever made a signature."""

    by: By
    fingerprint: str
    """The SHA-256 of the certificate, in lower-case hex."""
    subject: str
    """Its name."""

    @classmethod
    def of(cls, by: By, certificate: Certificate) -> Self:
        """The one whose certificate this is."""
        return cls(by, certificate.fingerprint, certificate.name)

    def __str__(self) -> str:
        return f"{self.subject} (SHA-256 {self.fingerprint})"


class Trust(Struct, frozen=True, kw_only=True):
    """Whose signatures of a package count."""

    roots: Roots = NO_ROOTS
    """Whoever has a certificate of theirs may sign, and say when somebody else has."""
    listed: frozenset[str] = frozenset()
    """Fingerprints of certificates with which the upstream says to sign as a repository."""
    owners: frozenset[str] = frozenset()
    """A package must belong to one of them, as a repository says; empty: to anybody."""

    @property
    def key(self) -> str:
        """Differs where verdicts may differ; behind its colon is what the upstream's list makes of it."""
        wanted = (sorted(self.roots.fingerprints), sorted(self.owners))
        return f"{_digest(wanted)}:{_digest(sorted(self.listed))}"

    def judge(self, content: Content, now: float) -> Verdict:
        """The verdict over the package in ``content`` (the caller's to close) at ``now``, a wall time.

        Reads all of it. Raises OSError if the disk fails.
        """
        from nugetproxy.nuget.signatures.judge import judge

        return judge(content, self, now)


class Verdict(Struct, frozen=True, kw_only=True):
    """What is to be thought of the signature of a package."""

    flaw: Flaw | None = None
    """None where it counts."""
    detail: str = ""
    """What is wrong."""
    signers: tuple[Signer, ...] = ()
    """Whoever says to have signed it, the one who was first before the one who has countersigned."""
    owners: tuple[str, ...] = ()
    """Whom it belongs to, as a repository says."""
    signed_at: float | None = None
    """When it was signed at the latest, where that is proven; seconds since the epoch."""
    until: float | None = None
    """When it ceases to count, where time alone makes it."""

    @property
    def counts(self) -> bool:
        """Whether the package is what somebody has signed whom we trust."""
        return self.flaw is None

    @property
    def signer(self) -> Signer | None:
        """Whoever was first to sign it; None where nobody can be told to have."""
        return self.signers[0] if self.signers else None

    def sentence(self, package: str) -> str:
        """The same for people."""
        if self.flaw is None:
            return f"{package} is signed by {' and '.join(str(one) for one in self.signers)}."
        return f"{package} has no signature that counts: {self.detail}."

    def text(self) -> str:
        """All of it, for ``parse``."""
        return json.dumps(
            {
                "flaw": self.flaw,
                "detail": self.detail,
                "signers": [[one.by, one.fingerprint, one.subject] for one in self.signers],
                "owners": self.owners,
                "signed_at": self.signed_at,
                "until": self.until,
            }
        )

    @classmethod
    def parse(cls, text: str) -> Self:
        """What ``text`` was made of; raises ValueError, KeyError."""
        said = json.loads(text)
        return cls(
            flaw=None if said["flaw"] is None else Flaw(said["flaw"]),
            detail=said["detail"],
            signers=tuple(Signer(By(by), print_, subject) for by, print_, subject in said["signers"]),
            owners=tuple(said["owners"]),
            signed_at=said["signed_at"],
            until=said["until"],
        )


def _digest(said: object) -> str:
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()
