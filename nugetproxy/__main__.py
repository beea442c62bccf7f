"""Runs the command line as ``python -m nugetproxy``."""

from __future__ import annotations

from nugetproxy.cli import main

if __name__ == "__main__":
    main()
