"""A CMS message (RFC 5652) as the values that a judgement needs; nothing of it is vouched for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from asn1crypto import cms, core, tsp
from msgspec import Struct

from nugetproxy.nuget.signatures.certificates import Certificate
from nugetproxy.nuget.signatures.flaw import Flaw, Flawed

DATA: Final = "1.2.840.113549.1.7.1"
TIMESTAMP_INFO: Final = "1.2.840.113549.1.9.16.1.4"
DIGESTS: Final = frozenset({"sha256", "sha384", "sha512"})
_CONTENT_TYPE, _MESSAGE_DIGEST = "1.2.840.113549.1.9.3", "1.2.840.113549.1.9.4"
_SIGNING_TIME, _COUNTERSIGNATURE = "1.2.840.113549.1.9.5", "1.2.840.113549.1.9.6"
_SIGNING_CERTIFICATE, _SIGNING_CERTIFICATE_V2 = "1.2.840.113549.1.9.16.2.12", "1.2.840.113549.1.9.16.2.47"
_TIMESTAMP, _COMMITMENT = "1.2.840.113549.1.9.16.2.14", "1.2.840.113549.1.9.16.2.16"
_SERVICE_INDEX, _OWNERS = "1.3.6.1.4.1.311.84.2.1.1.1", "1.3.6.1.4.1.311.84.2.1.1.2"
_BROKEN: Final = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError)
"""What the reader of ASN.1 raises over bytes that are none."""
MOST_CERTIFICATES: Final = 100


class Part(Struct, frozen=True, kw_only=True):
    """One signature of a message, or over another signature in it."""

    certificate: Certificate
    digest: str
    """The name of the hash function that it is made with."""
    signed: bytes
    """Its attributes, which the key has signed."""
    value: bytes
    """What came of that."""
    content_type: str | None
    message_digest: bytes
    binds: bool
    """Whether the attributes name this very certificate, as NuGet wants it of authors and repositories."""
    binds_timestamp: bool
    """Whether they do as RFC 3161 wants it, in the form of before too."""
    has_time: bool
    commitments: frozenset[str]
    owners: tuple[str, ...]
    service_index: str
    tokens: tuple[bytes, ...]
    """Timestamps (RFC 3161), each a message of its own."""
    over: tuple[Part, ...]
    """Signatures over ``value``."""


class Message(Struct, frozen=True, kw_only=True):
    """Something that was signed, with its signatures."""

    content_type: str
    content: bytes
    certificates: tuple[Certificate, ...]
    parts: tuple[Part, ...]


class TimestampInfo(Struct, frozen=True, kw_only=True):
    """What a timestamp says (RFC 3161 section 2.4.2); seconds since the epoch."""

    at: float
    accuracy: float
    digest: str
    imprint: bytes


@contextmanager
def reading(what: str) -> Iterator[None]:
    """What turns out to be no ASN.1 raises Flawed."""
    try:
        yield
    except _BROKEN as error:
        raise Flawed(Flaw.DAMAGED, f"{what} cannot be read") from error


def read_message(data: bytes, what: str) -> Message:
    """The message in DER; raises Flawed, saying ``what`` is wrong."""
    with reading(what):
        info = cms.ContentInfo.load(data, strict=True)
        if info["content_type"].native != "signed_data":
            raise Flawed(Flaw.DAMAGED, f"{what} is no signed message")
        signed = info["content"]
        known = [one.chosen for one in signed["certificates"] or () if one.name == "certificate"]
        if len(known) > MOST_CERTIFICATES:
            raise Flawed(Flaw.DAMAGED, f"{what} has {len(known)} certificates")
        certificates = [(one, Certificate.read(one.dump())) for one in known]
        inside = signed["encap_content_info"]
        return Message(
            content_type=inside["content_type"].dotted,
            content=bytes(inside["content"]),
            certificates=tuple(one for _, one in certificates),
            parts=tuple(_part(one, certificates, what, nested=True) for one in signed["signer_infos"]),
        )


def read_timestamp_info(content: bytes) -> TimestampInfo:
    """What a timestamp says; raises Flawed."""
    with reading("its timestamp"):
        said = tsp.TSTInfo.load(content, strict=True)
        accuracy = said["accuracy"].native or {}
        units = (("seconds", 1.0), ("millis", 1e-3), ("micros", 1e-6))
        return TimestampInfo(
            at=said["gen_time"].native.timestamp(),
            accuracy=sum(float(accuracy.get(name) or 0) * unit for name, unit in units),
            digest=said["message_imprint"]["hash_algorithm"]["algorithm"].native,
            imprint=said["message_imprint"]["hashed_message"].native,
        )


def _part(signer: Any, certificates: list[tuple[Any, Certificate]], what: str, *, nested: bool) -> Part:
    own = [pair for pair in certificates if _is_of(signer["sid"], pair[0])]
    if not own:
        raise Flawed(Flaw.DAMAGED, f"{what} comes without the certificate of whoever made it")
    digest, algorithm = signer["digest_algorithm"]["algorithm"].native, signer["signature_algorithm"]
    if digest not in DIGESTS or algorithm.signature_algo != "rsassa_pkcs1v15" or _other_hash(algorithm, digest):
        raise Flawed(Flaw.DAMAGED, f"{what} is made with algorithms that NuGet does not take")
    signed = _Attributes(signer["signed_attrs"], what)
    unsigned = _Attributes(signer["unsigned_attrs"], what)
    bound_before, bound = _bound(signed, own[0][0])
    content_type, message_digest = signed.one(_CONTENT_TYPE), signed.one(_MESSAGE_DIGEST)
    counters = unsigned.all(_COUNTERSIGNATURE) if nested else []
    url = signed.one(_SERVICE_INDEX)
    owners = signed.one(_OWNERS)
    return Part(
        certificate=own[0][1],
        digest=digest,
        signed=b"\x31" + signer["signed_attrs"].dump()[1:],  # a SET, as it was when it was signed (RFC 5652 5.4)
        value=signer["signature"].native,
        content_type=None if content_type is None else content_type.dotted,
        message_digest=b"" if message_digest is None else message_digest.native,
        binds=bound is True and bound_before is None,
        binds_timestamp=False not in {bound, bound_before} and True in {bound, bound_before},
        has_time=signed.one(_SIGNING_TIME) is not None,
        commitments=frozenset(_sequence(one)[0].dotted for one in signed.all(_COMMITMENT)),
        owners=() if owners is None else tuple(one.native for one in _members(owners)),
        service_index="" if url is None else str(core.IA5String.load(url.dump()).native),
        tokens=tuple(one.dump() for one in unsigned.all(_TIMESTAMP)),
        over=tuple(_part(one, certificates, "a countersignature", nested=False) for one in counters),
    )


class _Attributes:
    """The values of a set of attributes, by type."""

    def __init__(self, attributes: Any, what: str) -> None:
        self._what = what
        self._values: dict[str, list[Any]] = {}
        for one in attributes or ():
            self._values.setdefault(one["type"].dotted, []).extend(one["values"])

    def all(self, kind: str) -> list[Any]:
        """Of one type."""
        return self._values.get(kind, [])

    def one(self, kind: str) -> Any:
        """Of one type that may be there once; None where it is not."""
        values = self.all(kind)
        if len(values) > 1:
            raise Flawed(Flaw.DAMAGED, f"{self._what} has an attribute twice")
        return values[0] if values else None


def _is_of(sid: Any, certificate: Any) -> bool:
    if sid.name == "subject_key_identifier":
        return bool(sid.chosen.native == (certificate.key_identifier or certificate.public_key.sha1))
    same_issuer = bool(sid.chosen["issuer"] == certificate.issuer)
    return same_issuer and bool(sid.chosen["serial_number"].native == certificate.serial_number)


def _other_hash(algorithm: Any, digest: str) -> bool:
    """Whether the signature's own algorithm names another hash function."""
    name = algorithm["algorithm"].native
    return bool(name != "rsassa_pkcs1v15" and algorithm.hash_algo != digest)


def _bound(signed: _Attributes, certificate: Any) -> tuple[bool | None, bool | None]:
    """Whether signing-certificate (RFC 2634) and signing-certificate-v2 (RFC 5035) name it; None: not there."""
    der = certificate.dump()
    before, now = signed.one(_SIGNING_CERTIFICATE), signed.one(_SIGNING_CERTIFICATE_V2)
    named_before = named = None
    if before is not None:
        first = before["certs"][0]
        digest = hashlib.sha1(der, usedforsecurity=False).digest()
        named_before = first["cert_hash"].native == digest and _names(first["issuer_serial"], certificate) is not False
    if now is not None:
        first = now["certs"][0]
        name = first["hash_algorithm"]["algorithm"].native
        serial = _names(first["issuer_serial"], certificate)
        same = name in DIGESTS and first["cert_hash"].native == hashlib.new(name, der).digest()
        wanted = signed.one(_SERVICE_INDEX) is not None or bool(signed.all(_COMMITMENT))
        named = same and (serial is True or (serial is None and not wanted))
    return named_before, named


def _names(issuer_serial: Any, certificate: Any) -> bool | None:
    """Whether issuer and serial number are those of the certificate; None where they are not given."""
    if issuer_serial.native is None:
        return None
    names = [one.chosen for one in issuer_serial["issuer"] if one.name == "directory_name"]
    same_issuer = bool(names) and bool(names[0] == certificate.issuer)
    return same_issuer and bool(issuer_serial["serial_number"].native == certificate.serial_number)


def _sequence(value: Any) -> Any:
    return core.Sequence.load(value.dump(), strict=True)


def _members(value: Any) -> Any:
    found = core.SequenceOf.load(value.dump(), spec=core.UTF8String, strict=True)
    return list(found)
