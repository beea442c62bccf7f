"""Certificates: which may sign packages, whom somebody vouches for."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Final, Self, TypeVar

from asn1crypto import x509 as asn1
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier, SignatureAlgorithmOID
from msgspec import Struct

CODE_SIGNING: Final = ExtendedKeyUsageOID.CODE_SIGNING
TIME_STAMPING: Final = ExtendedKeyUsageOID.TIME_STAMPING
_LIFETIME_SIGNING: Final = ObjectIdentifier("1.3.6.1.4.1.311.10.3.13")
_ALGORITHMS: Final = frozenset(
    {
        SignatureAlgorithmOID.RSA_WITH_SHA256,
        SignatureAlgorithmOID.RSA_WITH_SHA384,
        SignatureAlgorithmOID.RSA_WITH_SHA512,
    }
)
"""What NuGet takes of signing certificates (its SigningSpecificationsV1)."""
SMALLEST_KEY: Final = 2048
"""Bits of an RSA key."""
LONGEST_CHAIN: Final = 8
MOST_STEPS: Final = 200
"""Signatures of certificates that are checked for one chain."""
_HASHES: Final = frozenset({"sha256", "sha384", "sha512"})
"""With which authorities may have signed."""
_PEM: Final = re.compile(rb"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)
_SHORT: Final = MappingProxyType(
    {
        "common_name": "CN",
        "organization_name": "O",
        "organizational_unit_name": "OU",
        "locality_name": "L",
        "state_or_province_name": "S",
        "country_name": "C",
    }
)
_UNREADABLE: Final = (ValueError, TypeError, KeyError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)
_NOT_ISSUED: Final = (InvalidSignature, UnsupportedAlgorithm, *_UNREADABLE)
_E = TypeVar("_E", bound=x509.ExtensionType)


class Certificate(Struct, frozen=True, kw_only=True):
    """One certificate, read as far as it takes to find it.

    Real roots have parts that a strict reader complains of.
    """

    der: bytes
    subject: bytes
    issuer: bytes
    """Names in DER."""

    @classmethod
    def read(cls, der: bytes) -> Self:
        """Raises ValueError for what is none."""
        try:
            signed = asn1.Certificate.load(der, strict=True)["tbs_certificate"]
            return cls(der=der, subject=signed["subject"].dump(), issuer=signed["issuer"].dump())
        except _UNREADABLE as error:
            raise ValueError("not a certificate") from error

    @property
    def opened(self) -> x509.Certificate:
        """All of it; raises ValueError."""
        try:
            return x509.load_der_x509_certificate(self.der)
        except x509.InvalidVersion as error:
            raise ValueError(str(error)) from error

    @property
    def fingerprint(self) -> str:
        """Its SHA-256 as NuGet writes it: in lower-case hex."""
        return hashlib.sha256(self.der).hexdigest()

    @property
    def name(self) -> str:
        """Whose it is, the most special first."""
        try:
            parts = [_part(one) for group in asn1.Name.load(self.subject).chosen for one in group]
        except _UNREADABLE:
            return "a name that cannot be read"
        return ", ".join(reversed(parts))

    def lasts(self) -> tuple[float, float]:
        """From when until when it is valid, in seconds since the epoch."""
        opened = self.opened
        return opened.not_valid_before_utc.timestamp(), opened.not_valid_after_utc.timestamp()


def load_pem(text: bytes) -> tuple[Certificate, ...]:
    """The certificates of a PEM file; raises ValueError where there is none, or one that is none."""
    blocks = _PEM.findall(text)
    if not blocks:
        raise ValueError("no certificate in PEM form")
    return tuple(Certificate.read(base64.b64decode(block)) for block in blocks)


def objection(certificate: Certificate, purpose: ObjectIdentifier) -> str:
    """Why it cannot sign for ``purpose``; empty where it can."""
    try:
        opened = certificate.opened
        usages = _usages(opened)
    except _UNREADABLE:
        return "its certificate cannot be read"
    if opened.signature_algorithm_oid not in _ALGORITHMS:
        return "its certificate is itself signed in a way that NuGet does not take"
    key = key_of(certificate)
    if key is None or key.key_size < SMALLEST_KEY:
        return f"its certificate has no RSA key of at least {SMALLEST_KEY} bits"
    if usages is None or purpose not in usages:
        return f"its certificate is not made for {'code signing' if purpose == CODE_SIGNING else 'time stamping'}"
    if _LIFETIME_SIGNING in usages:
        return "its certificate is one for lifetime signing, which NuGet does not take"
    return ""


def key_of(certificate: Certificate) -> RSAPublicKey | None:
    """Its key; None where that is none of RSA."""
    with suppress(UnsupportedAlgorithm, ValueError, TypeError):
        key = certificate.opened.public_key()
        return key if isinstance(key, RSAPublicKey) else None
    return None


def chains(
    certificate: Certificate,
    roots: Mapping[bytes, list[Certificate]],
    pool: Mapping[bytes, list[Certificate]],
    purpose: ObjectIdentifier,
    at: float,
) -> Iterator[tuple[Certificate, ...]]:
    """Every way up from ``certificate``, whole or not."""
    left = MOST_STEPS
    waiting: list[tuple[Certificate, ...]] = [(certificate,)]
    while waiting:
        chain = waiting.pop()
        yield chain
        above = chain[-1].issuer
        trusted = roots.get(above, ())
        for one in (*pool.get(above, ()), *trusted) if len(chain) < LONGEST_CHAIN else ():
            left -= 1
            if left < 0:
                return
            if one not in chain and _issued(chain, one, purpose, None if one in trusted else at):
                waiting.append((*chain, one))


def _issued(chain: tuple[Certificate, ...], issuer: Certificate, purpose: ObjectIdentifier, at: float | None) -> bool:
    """Whether ``issuer`` may have issued the last of ``chain``, and has; ``at`` None: whenever that was."""
    try:
        begin, end = issuer.lasts()
        issued, above = chain[-1].opened, issuer.opened
        hashed = issued.signature_hash_algorithm
        if hashed is None or hashed.name not in _HASHES or not (at is None or begin <= at <= end):
            return False
        if not _is_authority(above, below=len(chain) - 1) or purpose not in (_usages(above) or {purpose}):
            return False
        issued.verify_directly_issued_by(above)
    except _NOT_ISSUED:
        return False
    return True


def _is_authority(certificate: x509.Certificate, *, below: int) -> bool:
    """Whether it may issue certificates, with ``below`` authorities between it and the signer (RFC 5280 4.2.1.9)."""
    constraints = _extension(certificate, x509.BasicConstraints)
    usage = _extension(certificate, x509.KeyUsage)
    if constraints is None or not constraints.ca or (usage is not None and not usage.key_cert_sign):
        return False
    return constraints.path_length is None or below <= constraints.path_length


def _usages(certificate: x509.Certificate) -> frozenset[ObjectIdentifier] | None:
    """What it is made for; None where it does not say, which for an authority means everything."""
    found = _extension(certificate, x509.ExtendedKeyUsage)
    usages = frozenset(found) if found is not None else None
    constraints = _extension(certificate, x509.BasicConstraints)
    if usages and constraints and constraints.ca and ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usages:
        return None
    return usages


def _extension(certificate: x509.Certificate, kind: type[_E]) -> _E | None:
    with suppress(x509.ExtensionNotFound):
        return certificate.extensions.get_extension_for_class(kind).value
    return None


def _part(one: Any) -> str:
    """One part of a name, on one line."""
    kind = one["type"].native
    value = str(one["value"].native)
    return f"{_SHORT.get(kind, kind)}={''.join(letter for letter in value if letter.isprintable())}"
