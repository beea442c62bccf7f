"""IndexTrouble is why an upstream that answers has no service index that can be used."""

from __future__ import annotations

from typing import Final

import structlog

from nugetproxy.clock import Clock
from nugetproxy.errors import Reason, UpstreamFailure
from nugetproxy.metrics import Metrics
from nugetproxy.upstream.breaker import Cause
from nugetproxy.upstream.failures import remedy
from nugetproxy.upstream.settings import UpstreamSettings

log = structlog.get_logger(__name__)

WRONG_URL: Final = (
    "See what answers at its url: that must be a V3 service index, whose URL most often ends in /index.json (a V2 feed "
    "will not do)."
)
OF_AN_INDEX: Final = frozenset({Reason.INVALID_CONTENT, Reason.REDIRECT_DENIED, Reason.STATUS})
"""Failures of the index itself: asked for again it fails again, until somebody changes something."""


class IndexTrouble:
    """What is wrong with the index of one upstream now, told in the log when it begins."""

    def __init__(self, upstream: str, clock: Clock, metrics: Metrics) -> None:
        self.cause: Cause | None = None
        """None while the index can be used, or was not asked for."""
        self.remedy = ""
        """What an operator can do about it."""
        self._upstream = upstream
        self._clock = clock
        self._gauge = metrics.unusable.labels(upstream)
        self._shown = True

    def show(self, shown: bool) -> None:
        """Whether the gauge is about it: it says 0 where nobody asks any more."""
        self._shown = shown
        self._gauge.set(shown and self.cause is not None)

    def answered(self, status: int, settings: UpstreamSettings) -> None:
        """Upstream gave an answer that was believed, whatever its status."""
        if status in {401, 403}:
            self._begin(Reason.AUTH, f"status {status} for its service index", remedy(Reason.AUTH, "", settings))
        elif status in {404, 410}:
            self._begin(Reason.GONE, f"status {status} for its service index", WRONG_URL)
        elif status in {200, 304} and self.cause is not None:
            self.cause, self.remedy = None, ""
            self.show(self._shown)

    def failed(self, failure: UpstreamFailure) -> None:
        """There was no usable answer."""
        if failure.reason in OF_AN_INDEX and not failure.remembered:
            self._begin(failure.reason, failure.detail, WRONG_URL)

    def _begin(self, reason: Reason, detail: str, todo: str) -> None:
        if self.cause is None or self.cause.reason is not reason:
            log.warning("upstream.unusable", upstream=self._upstream, reason=reason, detail=detail, remedy=todo)
        self.cause, self.remedy = Cause(reason=reason, detail=detail, at=self._clock.now()), todo
        self.show(self._shown)
