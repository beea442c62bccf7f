"""App builds everything from the configuration."""

from __future__ import annotations

from nugetproxy.app.application import App
from nugetproxy.app.composition import build

__all__ = ["App", "build"]
