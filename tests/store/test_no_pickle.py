"""A cache directory is no place to execute code from: nothing of ours can load objects."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import nugetproxy

PACKAGE = Path(nugetproxy.__file__).parent
FORBIDDEN = {"pickle", "_pickle", "cPickle", "pickletools", "marshal", "shelve", "dill", "cloudpickle", "joblib"}


def imported(source: str) -> set[str]:
    """The top-level names that a module imports, also by __import__ and importlib with a literal; none where no
    forbidden one is in it.
    """
    if not any(name in source for name in FORBIDDEN):  # to parse all modules takes seconds
        return set()
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {(node.module or "").partition(".")[0]} | {alias.name for alias in node.names}
        elif isinstance(node, ast.Call):
            names |= {a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)}
    return names


def test_no_module_imports_anything_that_loads_objects() -> None:
    modules = list(PACKAGE.rglob("*.py"))
    assert len(modules) > 20
    found = {path.name: bad for path in modules if (bad := imported(path.read_text()) & FORBIDDEN)}
    assert found == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import pickle as p",
        "from pickle import loads",
        "from six.moves import cPickle",
        "def f():\n    import marshal",
        "__import__('shelve')",
        "import importlib; importlib.import_module('dill')",
    ],
)
def test_every_way_of_importing_is_seen(source: str) -> None:
    assert imported(source) & FORBIDDEN
