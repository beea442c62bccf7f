"""Policy says how a stored response of one kind may be used as it grows older."""

from __future__ import annotations

import math

from msgspec import Struct

FOREVER = math.inf
SECOND = 1.0
MINUTE = 60.0
HOUR = 3600.0
DAY = 86400.0


class Policy(Struct, frozen=True, kw_only=True):
    """Five spans in seconds (RFC 9111 section 4.2, RFC 5861); ``FOREVER`` is allowed everywhere."""

    fresh: float
    """Serve without asking upstream."""
    refresh: float = 0.0
    """After that, for this long: serve at once, revalidate behind the client's back."""
    on_error: float = 0.0
    """After ``fresh``, for this long: serve only if upstream fails."""
    absent: float = 0.0
    """How long a 404 is believed."""
    absent_on_error: float = 0.0
    """After ``absent``, for this long: believe a 404 only if upstream fails."""
