"""The architecture: imports only point down, libraries have their homes, modules say what they are."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from tests.modules import first_line, imports_of, listing, parsed, statements

PACKAGE = Path(__file__).parent.parent / "nugetproxy"
FLOORS = (
    "errors log metrics clock on_disk",
    "caching",
    "nuget",
    "off_loop",
    "upstream store cluster",
    "engine",
    "sources",
    "feeds",
    "admin",
    "web jobs",
    "config",
    "app",
    "cli serve demo __main__ banner",
)
FLOOR = {part: level for level, parts in enumerate(FLOORS) for part in parts.split()}
BESIDE = {
    ("serve", "banner"),
    ("cli", "serve"),
    ("cli", "demo"),
    ("demo", "banner"),
    ("__main__", "cli"),
}
"""Who may import whom on the top floor."""

SERVER = "aiohttp.web"
HOMES = {
    "aiohttp": {"upstream", "web", "app", "serve"},
    SERVER: {"web", "app", "serve"},
    "diskcache": {"store"},
    "sqlite3": {"store"},
    "tomllib": {"config"},
    "platformdirs": {"config"},
    "typer": {"cli"},
    "rich": {"cli", "demo"},
    "opentelemetry": {"app"},
    "tenacity": {"upstream"},
    "defusedxml": {"nuget"},
    "aiofiles": {"store", "engine", "web"},
    "subprocess": {"off_loop"},
    "uvloop": {"serve"},
    "obstore": {"cluster"},
    "redis": {"cluster"},
    "zstandard": {"jobs"},
    "cryptography": {"jobs", "nuget"},
    "asn1crypto": {"nuget"},
}
"""Where a library may be imported."""

CLIENT_NAMES = {"ClientSession", "TCPConnector", "ClientTimeout", "ClientError", "ClientResponse", "request"}
NEVER = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "requests"}
PURE = ("caching", "nuget")
IMPURE = {
    "asyncio",
    "time",
    "socket",
    "threading",
    "aiohttp",
    "structlog",
    "random",
    "secrets",
    "subprocess",
    "os",
    "pathlib",
    "shutil",
    "tempfile",
    "glob",
    "sqlite3",
    "importlib",
    "pkgutil",
    "runpy",
}
IMPURE_CALLS = {"open", "__import__", "exec", "eval", "input", "print"}
IMPURE_METHODS = {"now", "utcnow", "today"}
"""Of ``datetime`` and ``date``: the time is an argument there."""
LONGEST_MODULE, LONGEST_FUNCTION = 400, 60
"""Lines; the aim is 300 and 30."""
BANNED_NAMES = re.compile(r"(^|_)(utils?|helpers?|misc|common|manager)(_|$)")

MODULES = sorted(PACKAGE.rglob("*.py"))
ROOT = PACKAGE.parent


def every(paths: Iterable[Path]) -> Callable[[Callable[[Path], None]], Callable[[], None]]:
    """Make one test of a check of a file: all files that fail it are named. (A test for each would take a minute.)"""

    def whole(check: Callable[[Path], None]) -> Callable[[], None]:
        def test() -> None:
            wrong = []
            for path in paths:
                try:
                    check(path)
                except AssertionError as error:
                    wrong.append(f"{path.relative_to(ROOT)}: {error}")
            assert not wrong, "\n".join(wrong)

        test.__doc__ = check.__doc__
        return test

    return whole


every_module = every(MODULES)


def part_of(path: Path) -> str:
    """The floor's name for a module: its package, or its own name."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def parts_imported_by(path: Path) -> set[str]:
    """The parts of our own package that a module imports."""
    found = set()
    for module, name in imports_of(path):
        if module == "nugetproxy":
            found.add(name)
        elif module.startswith("nugetproxy."):
            found.add(module.split(".")[1])
    return found - {"__version__"}


def test_the_check_sees_imports_of_every_form(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        "import nugetproxy.app\nfrom nugetproxy import web, __version__\nfrom nugetproxy.store.fs import FsOps\n"
        "def f():\n    from nugetproxy.cli import main\nimport os, pickle\n"
        "try:\n    import a\nexcept ImportError:\n    import b\nelse:\n    import c\nfinally:\n    import d\n"
        "match 1:\n    case 1:\n        with f():\n            import e\nasync def g():\n    import h\n",
        encoding="utf-8",
    )
    assert parts_imported_by(module) == {"app", "web", "store", "cli"}
    assert {("pickle", ""), *((name, "") for name in "abcdeh")} <= set(imports_of(module))


def test_every_part_has_a_floor() -> None:
    assert {part_of(path) for path in MODULES} - {"__init__"} <= set(FLOOR)


@every_module
def test_imports_point_down(path: Path) -> None:
    here = part_of(path)
    for there in parts_imported_by(path) - {here}:
        allowed = here in FLOOR and (FLOOR[there] < FLOOR[here] or (here, there) in BESIDE)
        assert allowed, f"{here} may not import {there}"


@every_module
def test_libraries_are_imported_in_their_homes_only(path: Path) -> None:
    here = part_of(path)
    for module, name in imports_of(path):
        for library in {module.split(".")[0], f"{module}.{name}".rstrip("."), module}:
            if library in HOMES:
                assert here in HOMES[library], f"{library} is not imported in {here}"
        assert module.split(".")[0] not in NEVER, f"{module} is not used in this project"
        if module == "aiohttp" and name in CLIENT_NAMES:
            assert here == "upstream", f"aiohttp's client belongs in upstream, not in {here}"


@every_module
def test_the_pure_floors_do_no_input_or_output(path: Path) -> None:
    if part_of(path) in PURE:
        assert not {module.split(".")[0] for module, _ in imports_of(path)} & IMPURE
        tree = parsed(path)
        assert not [node for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef | ast.Await)]
        assert not set(impure_calls(tree))


def impure_calls(tree: ast.Module) -> Iterator[str]:
    """What reads the clock, the file system, or code by its name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in IMPURE_CALLS:
            yield node.id
        if isinstance(node, ast.Attribute) and node.attr in IMPURE_METHODS:
            yield node.attr


def test_the_check_sees_the_clock_files_and_imports_by_name() -> None:
    text = "a = datetime.now()\nb = date.today\nc = open('x')\nd = [__import__]\ne = f(now=1)\nnow = e\n"
    assert set(impure_calls(ast.parse(text))) == {"now", "today", "open", "__import__"}


@every_module
def test_what_lies_at_a_path_is_asked_of_on_disk(path: Path) -> None:
    """From Python 3.14 on pathlib says "nothing" of what it could not look at."""
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"\.(exists|is_file|is_dir|is_mount|is_symlink|is_socket)\(\)|os\.path\.(exists|is)", text)


@every_module
def test_a_module_says_in_its_first_line_what_it_is(path: Path) -> None:
    assert first_line(path).endswith("."), f"not a sentence: {first_line(path)!r}"


@every_module
def test_module_names_say_something(path: Path) -> None:
    assert BANNED_NAMES.search(path.stem) is None


@every_module
def test_modules_and_functions_stay_readable(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_MODULE, "split it by idea"
    for node in statements(parsed(path).body):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < LONGEST_FUNCTION, f"{node.name} is too long"


@every_module
def test_annotations_are_lazy_everywhere(path: Path) -> None:
    if ("__future__", "annotations") not in imports_of(path):
        assert len(parsed(path).body) <= 1


@every_module
def test_no_bare_task_is_created(path: Path) -> None:
    """A task that nobody holds can vanish (asyncio keeps weak references only)."""
    text = path.read_text(encoding="utf-8")
    for node in ast.walk(parsed(path)) if "create_task" in text or "ensure_future" in text else ():
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            called = node.value.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            owner = called.value.id if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name) else ""
            bare = name in {"create_task", "ensure_future"} and owner != "group"  # an asyncio.TaskGroup holds its own
            assert not bare, f"line {node.lineno}: nobody holds this task"


TOLD = [
    path
    for pattern in ("*.md", "*.toml", "config/**/*", "deploy/**/*", ".ci/*", "nugetproxy/**/*.py", "tests/**/*.py")
    for path in sorted(ROOT.glob(pattern))
    if path.is_file() and path.suffix not in {".pyc", ".nupkg"}
]


def test_all_files_that_fail_a_check_are_named() -> None:
    def check(path: Path) -> None:
        assert path.suffix != ".md", "prose"

    every([ROOT / "tests" / "conftest.py"])(check)()
    with pytest.raises(AssertionError, match=r"(?s)README\.md: prose.*config/README\.md: prose"):
        every([ROOT / "README.md", ROOT / "tests" / "conftest.py", ROOT / "config" / "README.md"])(check)()


@every(TOLD)
def test_no_file_names_a_package_registrys_host(path: Path) -> None:
    """An installation takes its packages from wherever the machine is set up to."""
    hosts = ("pypi" + ".org", "pythonhosted" + ".org", "npmjs" + ".", "deb.debian" + ".org", "archive.ubuntu" + ".com")
    text = path.read_text(encoding="utf-8", errors="replace")
    assert not [host for host in hosts if host in text]


def test_contributors_are_shown_these_floors_and_rooms() -> None:
    text = (ROOT / "tests" / "README.md").read_text(encoding="utf-8")
    assert "\n".join(f"    {level:2}  {parts}" for level, parts in reversed(list(enumerate(FLOORS)))) in text
    shown = dict(re.findall(r"^\| `([a-z_/]+)/` \| (.*) \|$", text, flags=re.MULTILINE))
    told = dict(line.partition(": ")[::2] for line in listing())
    rooms = {name.removesuffix("/__init__.py"): said for name, said in told.items() if name.endswith("/__init__.py")}
    assert {room: shown.get(room) for room in rooms} == rooms
    assert len(told) == len(MODULES)
