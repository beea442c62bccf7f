"""nugetproxy is a caching proxy and mirror for NuGet V3 feeds."""

from __future__ import annotations

__version__ = "0.1.0"
