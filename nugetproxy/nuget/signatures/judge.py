"""Judge looks at the signature of a package, as NuGet's specification has it."""

from __future__ import annotations

from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from nugetproxy.nuget.signatures.archive import open_signed
from nugetproxy.nuget.signatures.certificates import CODE_SIGNING, Certificate
from nugetproxy.nuget.signatures.flaw import Flaw, Flawed
from nugetproxy.nuget.signatures.message import DATA, Message, Part, read_message
from nugetproxy.nuget.signatures.proof import Moment, prove, stamped
from nugetproxy.nuget.signatures.statement import check_content
from nugetproxy.nuget.signatures.verdict import By, Signer, Trust, Verdict
from nugetproxy.nuget.zip_archive import Content

PRIMARY, COUNTER = "the signature", "the countersignature"

_BY: Final = MappingProxyType({"1.2.840.113549.1.9.16.6.1": By.AUTHOR, "1.2.840.113549.1.9.16.6.2": By.REPOSITORY})
"""By commitment type (RFC 5126 section 5.11.1: proof of origin, proof of receipt)."""


class _Signatures(Struct, frozen=True, kw_only=True):
    """The signatures of one package, whole or not."""

    message: Message
    primary: Part
    by: By
    counter: Part | None

    @property
    def signers(self) -> tuple[Signer, ...]:
        first = Signer.of(self.by, self.primary.certificate)
        return (first,) if self.counter is None else (first, Signer.of(By.REPOSITORY, self.counter.certificate))

    @property
    def owners(self) -> tuple[str, ...]:
        return self.primary.owners if self.counter is None else self.counter.owners


def judge(content: Content, trust: Trust, now: float) -> Verdict:
    """The verdict over the package in ``content`` (the caller's to close) at ``now``, a wall time.

    Reads all of it. Raises OSError if the disk fails.
    """
    found: _Signatures | None = None
    try:
        archive = open_signed(content)
        if archive is None:
            return Verdict(flaw=Flaw.UNSIGNED, detail="it is not signed")
        found = _read(archive.signature)
        prove(found.primary, found.message.content, PRIMARY)
        if found.counter is not None:
            prove(found.counter, found.primary.value, COUNTER)
        check_content(archive, found.message.content)
        return _weigh(found, trust, now)
    except Flawed as error:
        signers, owners = (found.signers, found.owners) if found is not None else ((), ())
        return Verdict(flaw=error.flaw, detail=error.detail, signers=signers, owners=owners)


def _read(signature: bytes) -> _Signatures:
    message = read_message(signature, PRIMARY)
    if len(message.parts) != 1 or message.content_type != DATA:
        raise Flawed(Flaw.DAMAGED, "the package does not have exactly one signature")
    primary = message.parts[0]
    by = _by(primary, PRIMARY)
    if by is None or primary.content_type != DATA:
        raise Flawed(Flaw.DAMAGED, "the signature says neither that of an author nor that of a repository")
    counters = [one for one in primary.over if _by(one, COUNTER) is By.REPOSITORY]
    if len(counters) > 1 or (counters and by is By.REPOSITORY):
        raise Flawed(Flaw.DAMAGED, "the package is signed by several repositories")
    counter = counters[0] if counters else None
    if not (counter or primary).service_index and (counter is not None or by is By.REPOSITORY):
        raise Flawed(Flaw.DAMAGED, "the repository's signature does not say which repository it is of")
    return _Signatures(message=message, primary=primary, by=by, counter=counter)


def _by(part: Part, what: str) -> By | None:
    known = {_BY[one] for one in part.commitments if one in _BY}
    if len(known) > 1:
        raise Flawed(Flaw.DAMAGED, f"{what} says both that of an author and that of a repository")
    return next(iter(known), None)


def _weigh(found: _Signatures, trust: Trust, now: float) -> Verdict:
    """The verdict over signatures that are proven; raises Flawed."""
    primary, counter, pool = found.primary, found.counter, found.message.certificates
    present = Moment(now, now)
    own = stamped(primary, trust.roots, PRIMARY)
    theirs = stamped(counter, trust.roots, COUNTER) if counter is not None else None
    known = counter is not None and _covers(trust, counter, By.REPOSITORY, pool, (theirs or present).latest)
    confirmed = known and counter is not None and (theirs or present).within(counter.certificate)
    # A trusted repository has seen the signature: its time proves that it was there (as NuGet's own verification).
    moment = own or (theirs if confirmed else None) or present
    if not moment.within(primary.certificate):
        raise _untimely(primary, PRIMARY)
    covered = _covers(trust, primary, found.by, pool, moment.latest)
    if not covered and not confirmed:
        if known and counter is not None:
            raise _untimely(counter, COUNTER)
        raise _unknown(found)
    if trust.owners:
        _check_owners(counter if confirmed else primary, confirmed or found.by is By.REPOSITORY, trust.owners)
    ends = [] if moment is not present else [primary.certificate.lasts()[1]]
    if not covered and counter is not None and theirs is None:
        ends.append(counter.certificate.lasts()[1])
    return Verdict(
        signers=found.signers,
        owners=found.owners,
        signed_at=None if moment is present else moment.latest,
        until=min(ends, default=None),
    )


def _covers(trust: Trust, part: Part, by: By, pool: tuple[Certificate, ...], at: float) -> bool:
    """Whether whoever made ``part`` is known, or somebody vouches for him."""
    if by is By.REPOSITORY and part.certificate.fingerprint in trust.listed:
        return True
    return bool(trust.roots) and trust.roots.vouch(part.certificate, pool, CODE_SIGNING, at)


def _check_owners(repository: Part | None, trusted: bool, wanted: frozenset[str]) -> None:
    owners = repository.owners if repository is not None and trusted else ()
    if not wanted & set(owners):
        said = f"it belongs to {', '.join(owners)}" if owners else "no trusted repository says whom it belongs to"
        raise Flawed(Flaw.OWNERS, f"{said}; signature_owners wants one of {', '.join(sorted(wanted))}")


def _unknown(found: _Signatures) -> Flawed:
    by = " and ".join(f"{one.by} {one}" for one in found.signers)
    return Flawed(
        Flaw.SIGNER,
        f"it is signed by {by}; neither signature_roots nor the upstream's list of repository certificates knows that",
    )


def _untimely(part: Part, what: str) -> Flawed:
    begin, end = (datetime.fromtimestamp(one, UTC).date().isoformat() for one in part.certificate.lasts())
    stamp = "none of signature_roots vouches for its timestamp" if part.tokens else "it has no timestamp"
    return Flawed(Flaw.TIME, f"the certificate of {what} is valid from {begin} to {end} only, and {stamp}")
