"""The list of modules for contributors: ``python -m tests.modules``."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "nugetproxy"


def listing() -> list[str]:
    """Each module with its first line, by rooms."""
    lines = []
    for path in sorted(PACKAGE.rglob("*.py"), key=lambda path: (path.parent, path.name)):
        first = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]
        lines.append(f"{path.relative_to(PACKAGE)}: {first}")
    return lines


if __name__ == "__main__":
    print("\n".join(listing()))
