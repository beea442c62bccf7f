"""Failures of aiohttp in our own words."""

from __future__ import annotations

from nugetproxy.errors import UpstreamRefused


class OutcomeUnknown(UpstreamRefused):
    """Upstream was lost after (part of) a write had been sent, so nobody knows whether it was carried out."""

    def __str__(self) -> str:
        return (
            f"Upstream {self.upstream!r} was lost after the request had been sent ({self.reason}: {self.detail}); "
            "whether it was carried out is unknown. Look before repeating it."
        )
