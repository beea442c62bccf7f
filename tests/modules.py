"""What modules say: the list of them for contributors (``python -m tests.modules``), what each one imports."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "nugetproxy"


def parsed(path: Path) -> ast.Module:
    """The tree of a module; who keeps it has every full collection of garbage look at it."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def statements(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """These with all within them; expressions, which are most of a tree, are passed over."""
    for one in body:
        yield one
        for name in ("body", "orelse", "finalbody", "handlers", "cases"):
            yield from statements(getattr(one, name, ()))


@cache
def imports_of(path: Path) -> tuple[tuple[str, str], ...]:
    """Each imported module with the name taken from it ("" for ``import x``); also those inside functions."""
    found: list[tuple[str, str]] = []
    for node in statements(parsed(path).body):
        if isinstance(node, ast.Import):
            found += ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found += ((str(node.module), alias.name) for alias in node.names)
    return tuple(found)


@cache
def first_line(path: Path) -> str:
    """Of what a module says that it is."""
    return (ast.get_docstring(parsed(path)) or "").partition("\n")[0]


def listing() -> list[str]:
    """Each module with its first line, by rooms."""
    lines = []
    for path in sorted(PACKAGE.rglob("*.py"), key=lambda path: (path.parent, path.name)):
        lines.append(f"{path.relative_to(PACKAGE)}: {first_line(path)}")
    return lines


if __name__ == "__main__":
    print("\n".join(listing()))
