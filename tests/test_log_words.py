"""The log has one vocabulary: what is logged as ``reason`` is a word of ``Reason``."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from nugetproxy.errors import Reason
from tests.modules import parsed

PACKAGE = Path(__file__).parent.parent / "nugetproxy"
LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "rate_limited", "_log", "emit"}
OF_A_FAILURE = {"failure.reason", "error.reason", "state.cause.reason", "e.reason"}
"""Fields of that type, see ``test_the_fields_are_reasons``."""


def every() -> Iterator[tuple[Path, ast.Module]]:
    """The modules that say something of a reason."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if "reason" in path.read_text(encoding="utf-8"):
            yield path, parsed(path)


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def reasons_logged(function: ast.AST) -> Iterator[ast.expr]:
    """What is given as ``reason`` to whatever logs."""
    for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        if name in LEVELS:
            yield from (keyword.value for keyword in call.keywords if keyword.arg == "reason")


def annotated(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    """The arguments that can only be a reason."""
    given = function.args
    for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs):
        if argument.annotation is not None and ast.unparse(argument.annotation) in {"Reason", "Reason | None"}:
            yield argument.arg


def known(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """The names in a function that hold reasons: arguments, what is set from reasons, what a conclusion holds."""
    names = {*annotated(function), *OF_A_FAILURE}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            parts = [node.value.body, node.value.orelse] if isinstance(node.value, ast.IfExp) else [node.value]
            if all(is_reason(part, names) for part in parts):
                names.add(node.targets[0].id)
        if isinstance(node, ast.MatchClass) and ast.unparse(node.cls) in {"ServeStale", "Fail"}:
            names |= {part.name for part in node.patterns if isinstance(part, ast.MatchAs) and part.name == "reason"}
    return names


def is_reason(value: ast.expr, names: set[str]) -> bool:
    said = ast.unparse(value)
    return said in names or (said.startswith("Reason.") and said.removeprefix("Reason.") in Reason.__members__)


def test_every_logged_reason_is_a_reason() -> None:
    seen, wrong = 0, []
    for path, tree in every():
        for function in functions(tree):
            logged = list(reasons_logged(function))
            names = known(function) if logged else set()
            for value in logged:
                seen += 1
                if not is_reason(value, names):
                    wrong.append(f"{path.relative_to(PACKAGE)}:{value.lineno}: reason={ast.unparse(value)}")
    assert not wrong
    assert seen > 10, "it looks at the calls that log"


def test_the_fields_are_reasons() -> None:
    """What has a field ``reason`` of another type is no failure: an HTTP reason phrase, said by ``Sent``, or
    the sentence of a rule, or what the log says of a request.
    """
    others = set()
    for _, tree in every():
        for owner in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
            for node in owner.body:
                is_field = isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "reason"
                if is_field and isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) != "Reason":
                    others.add(owner.name)
    assert others == {"Sent", "Damaged", "AccessEvent", "Trouble", "What", "Rule", "RuleTable"}


@pytest.mark.parametrize(
    ("source", "right"),
    [
        ("def f():\n    log.info('a.b', reason=Reason.DISK)", True),
        ("def f():\n    log.info('a.b', reason=Reason.DISC)", False),
        ("def f(word: str):\n    log.info('a.b', reason=word)", False),
        ("def f(why: Reason | None):\n    log.info('a.b', reason=why)", True),
        (
            "def f(e):\n    reason = e.reason if e else Reason.DISK\n    log.info('a.b', reason=reason)",
            True,
        ),
        ("def f(error):\n    reason = str(error)\n    self._log.error('a.b', reason=reason)", False),
    ],
)
def test_the_check_sees(source: str, right: bool) -> None:
    (function,) = functions(ast.parse(source))
    assert [is_reason(value, known(function)) for value in reasons_logged(function)] == [right]
