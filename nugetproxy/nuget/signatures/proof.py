"""Proofs over one signature: that it was made with its key, when that was at the latest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from msgspec import Struct

from nugetproxy.nuget.signatures.certificates import (
    CODE_SIGNING,
    TIME_STAMPING,
    Certificate,
    key_of,
    objection,
)
from nugetproxy.nuget.signatures.flaw import Flaw, Flawed
from nugetproxy.nuget.signatures.message import TIMESTAMP_INFO, Message, Part, read_message, read_timestamp_info
from nugetproxy.nuget.signatures.roots import Roots

_HASHES: Final[Mapping[str, hashes.HashAlgorithm]] = MappingProxyType(
    {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}
)


class Moment(Struct, frozen=True):
    """Between which times something happened, in seconds since the epoch."""

    earliest: float
    latest: float

    def within(self, certificate: Certificate) -> bool:
        """Whether a certificate was valid all the time."""
        begin, end = certificate.lasts()
        return begin < self.earliest and self.latest < end


def prove(part: Part, content: bytes, what: str) -> None:
    """Raise Flawed unless ``part`` signs ``content``, made with the key of a certificate that may do so."""
    if why := objection(part.certificate, CODE_SIGNING):
        raise Flawed(Flaw.CERTIFICATE, f"{what}: {why}")
    if not part.binds or not part.has_time:
        raise Flawed(Flaw.DAMAGED, f"{what} does not name its certificate and its time, as it must")
    _prove_key(part, content, what)


def stamped(part: Part, roots: Roots, what: str) -> Moment | None:
    """When a signature was there, by its timestamp; None without one, or one that none of ``roots`` vouches for.

    Without any roots the timestamp itself is enough. Raises Flawed for one that is wrong.
    """
    if not part.tokens:
        return None
    name = f"the timestamp of {what}"
    token = read_message(part.tokens[0], name)
    if token.content_type != TIMESTAMP_INFO or len(token.parts) != 1:
        raise Flawed(Flaw.TIME, f"{name} is none")
    stamp = token.parts[0]
    said = read_timestamp_info(token.content)
    moment = Moment(said.at - said.accuracy, said.at + said.accuracy)
    _prove_stamp(stamp, token, name)
    if said.digest not in _HASHES or hashlib.new(said.digest, part.value).digest() != said.imprint:
        raise Flawed(Flaw.TIME, f"{name} is one of something else")
    if not Moment(said.at, said.at).within(stamp.certificate):
        raise Flawed(Flaw.TIME, f"{name} was made with a certificate that was not valid then")
    vouched = not roots or roots.vouch(stamp.certificate, token.certificates, TIME_STAMPING, said.at)
    return moment if vouched else None


def _prove_stamp(stamp: Part, token: Message, name: str) -> None:
    if why := objection(stamp.certificate, TIME_STAMPING):
        raise Flawed(Flaw.TIME, f"{name}: {why}")
    if not stamp.binds_timestamp or stamp.content_type != TIMESTAMP_INFO:
        raise Flawed(Flaw.TIME, f"{name} does not name its certificate, as it must")
    _prove_key(stamp, token.content, name)


def _prove_key(part: Part, content: bytes, what: str) -> None:
    if part.message_digest != hashlib.new(part.digest, content).digest():
        raise Flawed(Flaw.FORGED, f"{what} is one of something else")
    key = key_of(part.certificate)
    assert key is not None, "there is no objection to its certificate"
    try:
        key.verify(part.value, part.signed, PKCS1v15(), _HASHES[part.digest])
    except InvalidSignature as error:
        raise Flawed(Flaw.FORGED, f"{what} was not made with the key of its certificate") from error
