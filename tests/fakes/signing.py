"""Signed packages, made with authorities of their own as NuGet makes them."""

from __future__ import annotations

import base64
import hashlib
import struct
import zlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

from asn1crypto import algos, cms, core, tsp
from asn1crypto import x509 as asn1
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

CODE_SIGNING = ExtendedKeyUsageOID.CODE_SIGNING
TIME_STAMPING = ExtendedKeyUsageOID.TIME_STAMPING
TLS_SERVER = ExtendedKeyUsageOID.SERVER_AUTH
BEGIN, END = datetime(2020, 1, 1, tzinfo=UTC), datetime(2040, 1, 1, tzinfo=UTC)
CONTENT_TYPE, MESSAGE_DIGEST = "1.2.840.113549.1.9.3", "1.2.840.113549.1.9.4"
SIGNING_TIME, SIGNING_CERTIFICATE_V2 = "1.2.840.113549.1.9.5", "1.2.840.113549.1.9.16.2.47"
COMMITMENT, OWNERS = "1.2.840.113549.1.9.16.2.16", "1.3.6.1.4.1.311.84.2.1.1.2"
SERVICE_INDEX = "1.3.6.1.4.1.311.84.2.1.1.1"
ORIGIN, RECEIPT = "1.2.840.113549.1.9.16.6.1", "1.2.840.113549.1.9.16.6.2"
"""Types of attributes, and the two commitments that NuGet knows."""
_NAME = b".signature.p7s"


@cache
def key(role: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    """One for each role: they take long to make."""
    return rsa.generate_private_key(65537, bits)


@dataclass(frozen=True)
class Identity:
    """A certificate with its key and those above it."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey
    above: tuple[x509.Certificate, ...] = ()

    @property
    def fingerprint(self) -> str:
        return self.certificate.fingerprint(hashes.SHA256()).hex()

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def issue(
        self,
        name: str,
        *,
        usage: ObjectIdentifier | None = CODE_SIGNING,
        begin: datetime = BEGIN,
        end: datetime = END,
        authority: bool = False,
        bits: int = 2048,
        path_length: int | None = None,
    ) -> Identity:
        """A certificate that this one vouches for."""
        made = key(f"{name} {bits}", bits)
        certificate = _certificate(name, made, self, usage, begin, end, authority=authority, path_length=path_length)
        return Identity(certificate, made, (self.certificate, *self.above))


def authority(name: str) -> Identity:
    """A root."""
    made = key(name)
    return Identity(_certificate(name, made, None, None, BEGIN, END, authority=True), made)


def _certificate(
    name: str,
    own: rsa.RSAPrivateKey,
    issuer: Identity | None,
    usage: ObjectIdentifier | None,
    begin: datetime,
    end: datetime,
    *,
    authority: bool,
    path_length: int | None = None,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.certificate.subject)
        .public_key(own.public_key())
        .serial_number(int.from_bytes(hashlib.sha256(f"{name} {usage} {begin} {end}".encode()).digest()[:15], "big"))
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=path_length), critical=True)
    )
    if usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=True)
    return builder.sign(own if issuer is None else issuer.key, hashes.SHA256())


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """A timestamp to be made."""

    by: Identity
    at: datetime
    of: bytes | None = None
    """What it is a timestamp of, where not of the signature."""


@dataclass(frozen=True, kw_only=True)
class Seal:
    """A signature to be made; what is odd about it has names of its own."""

    by: Identity
    kind: str = "author"
    stamp: Stamp | None = None
    owners: tuple[str, ...] = ()
    counter: Seal | None = None
    statement: bytes | None = None
    """What is signed, where it is not the digest of the package."""
    binds: Identity | None = None
    """Whose certificate the attributes name, where not one's own."""
    without: frozenset[str] = frozenset()
    """Types of attributes that are left out."""
    kinds: tuple[str, ...] = field(default=())
    """Commitments, where there are others than one of ``kind``."""


def signed(package: bytes, seal: Seal) -> bytes:
    """The package with a signature."""
    return with_signature(package, signature(package, seal))


def signature(package: bytes, seal: Seal) -> bytes:
    """A signature over a package."""
    digest = base64.b64encode(hashlib.sha256(package).digest())
    statement = b"Version:1\r\n\r\n2.16.840.1.101.3.4.2.1-Hash:" + digest + b"\r\n\r\n"
    statement = seal.statement if seal.statement is not None else statement
    signer = _signer_info(seal, statement, content_type="data")
    chain = (*_chain(seal.by), *(_chain(seal.counter.by) if seal.counter is not None else ()))
    return _message("data", core.ParsableOctetString(statement), signer, chain)


def with_signature(package: bytes, content: bytes, *, method: int = 0, name: bytes = _NAME) -> bytes:
    """The package with ``content`` as its last file, as NuGet puts a signature there."""
    end = package.rindex(b"PK\x05\x06")
    here, total, size, start = struct.unpack_from("<2H2L", package, end + 8)
    shared = struct.pack("<5H3L2H", 20, 0, method, 0, 33, zlib.crc32(content), len(content), len(content), len(name), 0)
    local = b"PK\x03\x04" + shared + name + content
    header = b"PK\x01\x02" + struct.pack("<H", 20) + shared + struct.pack("<3H2L", 0, 0, 0, 0, start) + name
    counts = struct.pack("<2H2L", here + 1, total + 1, size + len(header), start + len(local))
    directory = package[start:end]
    return package[:start] + local + directory + header + package[end : end + 8] + counts + package[end + 20 :]


def _signer_info(seal: Seal, content: bytes, *, content_type: str | None) -> cms.SignerInfo:
    attributes = _attributes(seal, content, content_type)
    value = seal.by.key.sign(attributes.dump(), padding.PKCS1v15(), hashes.SHA256())
    unsigned: list[Any] = []
    if seal.stamp is not None:
        token = _timestamp(seal.stamp, value)
        unsigned.append({"type": "signature_time_stamp_token", "values": [cms.ContentInfo.load(token)]})
    if seal.counter is not None:
        counter = _signer_info(seal.counter, value, content_type=None)
        unsigned.append({"type": "counter_signature", "values": [counter]})
    return _info(seal.by, attributes, value, unsigned)


def _info(by: Identity, attributes: cms.CMSAttributes, value: bytes, unsigned: list[Any]) -> cms.SignerInfo:
    certificate = asn1.Certificate.load(_der(by.certificate))
    fields: dict[str, Any] = {
        "version": "v1",
        "sid": cms.SignerIdentifier(
            {
                "issuer_and_serial_number": cms.IssuerAndSerialNumber(
                    {"issuer": certificate.issuer, "serial_number": certificate.serial_number}
                )
            }
        ),
        "digest_algorithm": algos.DigestAlgorithm({"algorithm": "sha256"}),
        "signed_attrs": attributes,
        "signature_algorithm": algos.SignedDigestAlgorithm({"algorithm": "rsassa_pkcs1v15"}),
        "signature": value,
    }
    if unsigned:
        fields["unsigned_attrs"] = cms.CMSAttributes(unsigned)
    return cms.SignerInfo(fields)


def _attributes(seal: Seal, content: bytes, content_type: str | None) -> cms.CMSAttributes:
    bound = asn1.Certificate.load(_der((seal.binds or seal.by).certificate))
    kinds = seal.kinds or (seal.kind,)
    oids = {"author": ORIGIN, "repository": RECEIPT}
    values: list[tuple[str, bytes]] = [
        (MESSAGE_DIGEST, core.OctetString(hashlib.sha256(content).digest()).dump()),
        (SIGNING_TIME, core.UTCTime(datetime(2025, 6, 1, tzinfo=UTC)).dump()),
        (SIGNING_CERTIFICATE_V2, _certificate_id(bound).dump()),
    ]
    if content_type is not None:
        values.append((CONTENT_TYPE, cms.ContentType(content_type).dump()))
    for one in kinds:
        values.append((COMMITMENT, _constructed(0x30, core.ObjectIdentifier(oids.get(one, one)).dump())))
    if "repository" in kinds:
        values.append((SERVICE_INDEX, core.IA5String("https://feed.example/v3/index.json").dump()))
    if seal.owners:
        values.append((OWNERS, _constructed(0x30, b"".join(core.UTF8String(one).dump() for one in seal.owners))))
    made = sorted(
        _constructed(0x30, core.ObjectIdentifier(oid).dump() + _constructed(0x31, value))
        for oid, value in values
        if oid not in seal.without
    )
    return cms.CMSAttributes.load(_constructed(0x31, b"".join(made)))


def _constructed(tag: int, contents: bytes) -> bytes:
    """A value in DER (X.690 section 8.1)."""
    size = len(contents)
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag]) + (bytes([size]) if size < 128 else bytes([0x80 | len(length)]) + length) + contents


def _certificate_id(bound: asn1.Certificate) -> Any:
    issuer = asn1.GeneralNames([asn1.GeneralName({"directory_name": bound.issuer})])
    return tsp.SigningCertificateV2(
        {
            "certs": [
                {
                    "hash_algorithm": {"algorithm": "sha256"},
                    "cert_hash": hashlib.sha256(bound.dump()).digest(),
                    "issuer_serial": {"issuer": issuer, "serial_number": bound.serial_number},
                }
            ]
        }
    )


def _timestamp(stamp: Stamp, value: bytes) -> bytes:
    imprint = hashlib.sha256(value if stamp.of is None else stamp.of).digest()
    said = tsp.TSTInfo(
        {
            "version": "v1",
            "policy": "1.2.3.4",
            "message_imprint": {"hash_algorithm": {"algorithm": "sha256"}, "hashed_message": imprint},
            "serial_number": 1,
            "gen_time": stamp.at,
        }
    )
    seal = Seal(by=stamp.by, without=frozenset({COMMITMENT}))
    signer = _signer_info(seal, said.dump(), content_type="tst_info")
    return _message("tst_info", core.ParsableOctetString(said.dump()), signer, _chain(stamp.by))


def _message(kind: str, content: Any, signer: cms.SignerInfo, chain: tuple[x509.Certificate, ...]) -> bytes:
    unique = {_der(one): asn1.Certificate.load(_der(one)) for one in chain}
    data = cms.SignedData(
        {
            "version": "v3",
            "digest_algorithms": [algos.DigestAlgorithm({"algorithm": "sha256"})],
            "encap_content_info": {"content_type": kind, "content": content},
            "certificates": [cms.CertificateChoices({"certificate": one}) for one in unique.values()],
            "signer_infos": [signer],
        }
    )
    return bytes(cms.ContentInfo({"content_type": "signed_data", "content": data}).dump())


def _chain(by: Identity) -> tuple[x509.Certificate, ...]:
    return (by.certificate, *by.above)


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)
