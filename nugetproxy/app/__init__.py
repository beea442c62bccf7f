"""App builds everything from the configuration."""

from __future__ import annotations

from nugetproxy.app.composition import App, build

__all__ = ["App", "build"]
