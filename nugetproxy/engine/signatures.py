"""Signatures decides what becomes of the packages of one source by who has signed them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import StrEnum
from typing import Final, Protocol

import structlog
from cachetools import TTLCache
from msgspec import Struct
from msgspec.structs import replace

from nugetproxy.clock import Clock
from nugetproxy.errors import SignatureRefused, UpstreamFailure
from nugetproxy.metrics import Metrics
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.signatures.flaw import Flaw
from nugetproxy.nuget.signatures.roots import NO_ROOTS, Roots
from nugetproxy.nuget.signatures.verdict import Trust, Verdict
from nugetproxy.store.ledger.ledger import Judged, Ledger, LedgerUnavailable
from nugetproxy.store.packages.held import HeldPackage, Signed
from nugetproxy.store.packages.open_packages import OpenPackages
from nugetproxy.store.packages.staging import Staged

log = structlog.get_logger(__name__)

LOOKED_AT_SECONDS: Final = 3600.0
"""After so long the upstream's list is looked at again before a package is handed out, though it was judged by it."""
REFUSED_SECONDS: Final = 300.0
"""A download that was refused is not tried again for so long."""
REMEMBERED: Final = 10_000
_BY_TRUST: Final = frozenset({Flaw.SIGNER, Flaw.TIME, Flaw.OWNERS})
"""Flaws that another list of certificates may mend."""

Look = Callable[[HeldPackage, Trust, float], Awaitable[Verdict]]
"""Reads a package for the verdict at a wall time; raises DiskFailure."""


class Mode(StrEnum):
    """What becomes of a package without a signature that counts."""

    OFF = "off"
    """Nobody looks."""
    WARN = "warn"
    """It is handed out with a warning."""
    REQUIRE = "require"
    """It is refused."""


class SignaturePolicy(Struct, frozen=True, kw_only=True):
    """What an operator wants of the signatures of one source."""

    mode: Mode = Mode.OFF
    roots: Roots = NO_ROOTS
    owners: frozenset[str] = frozenset()


class RepositoryList(Protocol):
    """Tells with which certificates a source says to sign."""

    async def fingerprints(self) -> frozenset[str]:
        """SHA-256, in lower-case hex; raises UpstreamFailure."""


class NoList:
    """The list of a folder: there is none."""

    async def fingerprints(self) -> frozenset[str]:
        """None: a folder does not say with what it signs."""
        return frozenset()


class Signatures:
    """Every package is judged once by each trust; what comes of it is remembered in the ledger."""

    def __init__(self, source: str, ledger: Ledger, clock: Clock, metrics: Metrics) -> None:
        self.policy = SignaturePolicy()
        self._source = source
        self._ledger = ledger
        self._clock = clock
        self._metrics = metrics
        self._list: RepositoryList = NoList()
        self.changed: Callable[[], None] = _nothing
        """Is told that earlier verdicts may not count any more."""
        self._trust = Trust()
        self._is_listed = False
        """Whether what the upstream lists is part of it by now."""
        self._refused: TTLCache[PackageIdentity, SignatureRefused] = TTLCache(
            REMEMBERED, REFUSED_SECONDS, timer=clock.monotonic
        )

    @property
    def on(self) -> bool:
        """Whether signatures are looked at at all."""
        return self.policy.mode is not Mode.OFF

    @property
    def required(self) -> bool:
        """Whether a package without a signature that counts is refused."""
        return self.policy.mode is Mode.REQUIRE

    def use(self, policy: SignaturePolicy, certificates: RepositoryList) -> None:
        """From now on this is wanted; what was found out before counts as far as it is the same trust."""
        self.policy, self._list = policy, certificates
        self._is_listed = False
        self._trusts(Trust(roots=policy.roots, owners=policy.owners))

    def _trusts(self, trust: Trust) -> None:
        self._trust = trust
        self._refused.clear()
        self.changed()

    async def told(self, identity: PackageIdentity) -> str:
        """What is thought of the signature of a package, as a sentence; empty where nobody looks."""
        if not self.on:
            return ""
        verdict = await self.known(identity)
        if verdict is None:
            return f"Nobody has looked at the signature of {identity} by what counts now."
        return verdict.sentence(str(identity))

    async def take(self, staged: Staged) -> None:
        """Judge what was downloaded; raises SignatureRefused, UpstreamFailure, DiskFailure."""
        if not self.on:
            return
        trust, failure = await self._current()
        verdict = await staged.judge(trust, self._clock.now())
        staged.signed = self._signed(staged.identity, verdict, trust, failure)
        signer = verdict.signer if verdict.counts else None
        staged.signer = None if signer is None else f"{signer.fingerprint} {signer.subject}"
        if self.required and not verdict.counts:
            raise self._refusal(staged.identity, verdict)

    def refused(self, staged: Staged) -> None:
        """What was fetched is refused: it is not fetched again for a while, unless others are trusted by now."""
        signed = staged.signed
        if signed is not None and signed.trust is self._trust:
            self._refused[staged.identity] = self._refusal(staged.identity, signed.verdict)

    def taken(self, held: HeldPackage) -> None:
        """What was taken is held now."""
        self.forget(held.identity)
        if held.signed is not None and isinstance(held.signed.trust, Trust):
            self._note(held, held.signed.verdict, held.signed.trust)

    def unjudged(self, held: HeldPackage) -> bool:
        """Whether somebody has to judge a package before it may be handed out."""
        signed = held.signed
        return self.on and (signed is None or signed.trust is not self._trust or self._clock.now() >= signed.until)

    def allows(self, held: HeldPackage) -> bool:
        """Whether a package may be handed out as it is, without another look at it."""
        if not self.on:
            return True
        signed = held.signed
        return not self.unjudged(held) and (not self.required or signed is None or signed.verdict.counts)

    async def judge(self, held: HeldPackage, look: Look) -> None:
        """Judge a package by what is remembered of it, else by a ``look``; raises UpstreamFailure, DiskFailure.

        The caller has acquired it.
        """
        trust, failure = await self._current()
        verdict = await self._remembered(held, trust, anyhow=failure is not None)
        if verdict is not None:
            held.signed = self._as_signed(held.identity, verdict, trust)
            return
        verdict = await look(held, trust, self._clock.now())
        held.signed = self._signed(held.identity, verdict, trust, failure)
        self._note(held, verdict, trust)

    async def allow(self, held: HeldPackage, kept: OpenPackages) -> None:
        """Raise SignatureRefused unless a package may be handed out, UpstreamFailure, DiskFailure; it stays borrowed.

        It is one of ``kept``.
        """
        while self.unjudged(held):  # others may be trusted by the time that it is judged
            with held:
                await self.judge(held, kept.judge)
                kept.keep_on(held)
        self.check(held)

    def check(self, held: HeldPackage) -> None:
        """Raise SignatureRefused for what must not be handed out; it is judged already."""
        if self.required and held.signed is not None and not held.signed.verdict.counts:
            raise self._refusal(held.identity, held.signed.verdict)

    def check_absent(self, identity: PackageIdentity) -> None:
        """Raise SignatureRefused for what was refused a moment ago."""
        if (refused := self._refused.get(identity)) is not None:
            raise refused

    def forget(self, identity: PackageIdentity) -> None:
        """What was refused may be tried again."""
        self._refused.pop(identity, None)

    async def known(self, identity: PackageIdentity) -> Verdict | None:
        """The verdict that is remembered; None where there is none that counts now."""
        if (refused := self._refused.get(identity)) is not None:
            return Verdict(flaw=Flaw(refused.flaw), detail=refused.detail)
        with suppress(LedgerUnavailable):
            judged = await self._ledger.judged(self._source, identity)
            return None if judged is None else self._counting(judged, self._trust, anyhow=not self._is_listed)
        return None

    async def _current(self) -> tuple[Trust, UpstreamFailure | None]:
        """Whom we trust now; with the failure that kept us from the list, where it is the one of before."""
        try:
            listed = await self._list.fingerprints()
        except UpstreamFailure as failure:
            return self._trust, failure
        self._is_listed = True
        if listed != self._trust.listed:
            self._trusts(replace(self._trust, listed=listed))
        return self._trust, None

    async def _remembered(self, held: HeldPackage, trust: Trust, *, anyhow: bool) -> Verdict | None:
        """The verdict of before by the same trust; ``anyhow``: whatever the upstream's list was."""
        with suppress(LedgerUnavailable):  # judged again then
            judged = await self._ledger.judged(self._source, held.identity)
            if judged is not None and judged.sha512 == held.sha512:
                return self._counting(judged, trust, anyhow=anyhow)
        return None

    def _counting(self, judged: Judged, trust: Trust, *, anyhow: bool) -> Verdict | None:
        """What it says, by this trust (``anyhow``: as far as an operator determines it), unless that is over."""
        same = judged.trust == trust.key or (anyhow and _wanted(judged.trust) == _wanted(trust.key))
        verdict = _parsed(judged) if same else None
        over = verdict is not None and verdict.until is not None and self._clock.now() >= verdict.until
        return None if over else verdict

    def _signed(
        self, identity: PackageIdentity, verdict: Verdict, trust: Trust, failure: UpstreamFailure | None
    ) -> Signed:
        """A new verdict, told; raises ``failure`` where it may come of a list that could not be had."""
        if failure is not None and self.required and verdict.flaw in _BY_TRUST:
            raise failure
        self._metrics.rules.signatures.labels(self._source, verdict.flaw or "counts").inc()
        if not verdict.counts:
            says = {"upstream": self._source, "package": str(identity), "flaw": verdict.flaw, "detail": verdict.detail}
            log.warning("package.signature_flawed", refused=self.required, **says)
        return self._as_signed(identity, verdict, trust)

    def _as_signed(self, identity: PackageIdentity, verdict: Verdict, trust: Trust) -> Signed:
        notice = "" if verdict.counts or self.required else verdict.sentence(str(identity))
        again = self._clock.now() + LOOKED_AT_SECONDS
        until = again if verdict.until is None else min(again, verdict.until)
        return Signed(verdict=verdict, trust=trust, notice=notice, until=until)

    def _note(self, held: HeldPackage, verdict: Verdict, trust: Trust) -> None:
        judged = Judged(sha512=held.sha512, trust=trust.key, verdict=verdict.text())
        self._ledger.note_judged(self._source, held.identity, judged)

    def _refusal(self, identity: PackageIdentity, verdict: Verdict) -> SignatureRefused:
        assert verdict.flaw is not None, "what counts is not refused"
        return SignatureRefused(self._source, str(identity), verdict.flaw, verdict.detail)


def _nothing() -> None:
    """Nobody keeps any."""


def _wanted(key: str) -> str:
    """The part of a trust's key that an operator determines."""
    return key.partition(":")[0]


def _parsed(judged: Judged) -> Verdict | None:
    try:
        return Verdict.parse(judged.verdict)
    except (ValueError, KeyError, TypeError):  # a later release may know more
        return None
