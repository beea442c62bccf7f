"""What can be wrong with the signature of a package."""

from __future__ import annotations

from enum import StrEnum

from nugetproxy.errors import ProxyError


class Flaw(StrEnum):
    """Why a signature does not count; the same words in logs, metrics and the ledger."""

    UNSIGNED = "unsigned"
    DAMAGED = "damaged"
    """It cannot be read, or is not what NuGet's specification wants."""
    CONTENT = "content"
    """The package is not the one that was signed."""
    FORGED = "forged"
    """The signature was not made with the key of its certificate."""
    CERTIFICATE = "certificate"
    """Its certificate is none to sign packages with."""
    TIME = "time"
    """Its certificate was not valid when it was made, as far as that is proven."""
    SIGNER = "signer"
    """Nobody vouches for whoever made it."""
    OWNERS = "owners"
    """The package belongs to none of those that are wanted."""


class Flawed(ProxyError):
    """A signature that does not count; ``detail`` ends the sentence "the signature of the package: ..."."""

    def __init__(self, flaw: Flaw, detail: str) -> None:
        super().__init__(flaw, detail)
        self.flaw = flaw
        self.detail = detail

    def __str__(self) -> str:
        return f"The package's signature does not count ({self.flaw}): {self.detail}."
