"""Repository finds the files of a .NET repository that name packages, then reads them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from nugetproxy.errors import BadRequest
from nugetproxy.nuget.projects.families import family_of, is_project, read_file
from nugetproxy.nuget.projects.msbuild import ProjectFile
from nugetproxy.nuget.projects.needs import Needs, UnreadableFile, local, read_xml
from nugetproxy.nuget.projects.project import read_project

LARGEST: Final = 256 * 2**20
"""Bytes of one file that are read."""
_SKIPPED: Final = frozenset({".git", ".hg", ".svn", ".vs", "node_modules", "bin", "obj"})
_OUTPUT: Final = Path("obj", "project.assets.json")
_ABOVE: Final = re.compile(r"GetPathOfFileAbove\(\s*'?\"?([\w.\-]+)", re.IGNORECASE)
_HERE: Final = "$(MSBuildThisFileDirectory)"
_DEEPEST: Final = 16
"""Files that import files."""


class Read(Struct, frozen=True):
    """One file that was read."""

    path: Path
    needs: Needs


def read_all(paths: Sequence[Path]) -> tuple[Read, ...]:
    """What these files, or the files in these folders, ask for; blocking. Raises UnreadableFile, BadRequest."""
    found: dict[Path, Callable[[Path], Needs]] = {}
    for path in paths:
        if path.is_dir():
            inside = list(_search(path))
            if not inside:
                raise BadRequest(f"Nothing in {path} names packages; name a file, or another folder.")
            for one in inside:
                found.setdefault(one, _beside_lock if is_project(one.name) and _is_locked(one) else _read)
        else:
            found[path] = _read
    return tuple(Read(path, read(path)) for path, read in found.items())


def _beside_lock(project: Path) -> Needs:
    """What no lock file names: SDKs, downloads."""
    return Needs(exact=_read(project).exact)


def _is_locked(project: Path) -> bool:
    """Whether a lock file says what it takes (PackagesLockFileUtilities.GetNuGetLockFilePath)."""
    names = (f"packages.{project.stem.replace(' ', '_')}.lock.json", "packages.lock.json")
    return any((project.parent / name).is_file() for name in names)


def _read(path: Path) -> Needs:
    if is_project(path.name):
        return read_project(_with_imports(path), str(path), lambda name: _load(Path(name)))
    return read_file(_bytes(path), str(path))


def _search(root: Path) -> Iterator[Path]:
    """What names packages below a folder; the assets of the last restore count only where nothing else tells what it
    was.
    """
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in _SKIPPED)
        here = Path(folder)
        known = sorted(name for name in names if family_of(name) is not None)
        projects = sorted(name for name in names if is_project(name))
        yield from (here / name for name in (*projects, *known))
        if not known and not projects and (here / _OUTPUT).is_file():
            yield here / _OUTPUT


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > LARGEST:
            raise UnreadableFile(str(path), f"it is larger than {LARGEST >> 20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise UnreadableFile(str(path), error.strerror or str(error)) from error


def _load(path: Path) -> tuple[ProjectFile, ...]:
    """Another project; nothing where there is none, as a build then says by itself."""
    return _with_imports(path) if path.is_file() else ()


def _with_imports(path: Path) -> tuple[ProjectFile, ...]:
    """A project with what surrounds it, in the order in which MSBuild imports it."""
    before = [above for name in ("Directory.Build.props", "Directory.Packages.props") if (above := _above(path, name))]
    after = [above for name in ("Directory.Build.targets",) if (above := _above(path, name))]
    seen: set[Path] = set()
    return tuple(file for one in (*before, path, *after) for file in _expanded(one, seen, _DEEPEST))


def _above(path: Path, name: str, *, beyond: bool = False) -> Path | None:
    """The nearest file of that name in the folder of ``path`` or above it; ``beyond``: above it only."""
    folder = path.absolute().parent
    folders = [folder, *folder.parents][1 if beyond else 0 :]
    return next((place / name for place in folders if (place / name).is_file()), None)


def _expanded(path: Path, seen: set[Path], depth: int) -> Iterator[ProjectFile]:
    """A file behind those that it imports, as far as their places can be told."""
    where = path.absolute()
    if where in seen or depth == 0:
        return
    seen.add(where)
    root = read_xml(_bytes(path), str(path))
    for element in root.iter():
        if local(element) == "Import" and (other := _imported(element.get("Project", ""), path)) is not None:
            yield from _expanded(other, seen, depth - 1)
    yield ProjectFile(str(path), root)


def _imported(text: str, path: Path) -> Path | None:
    if (named := _ABOVE.search(text)) is not None:
        return _above(path, named[1], beyond=True)
    plain = text.replace(_HERE, "").replace("\\", "/")
    if not plain or "$(" in plain or "*" in plain:
        return None
    other = path.parent / plain
    return other if other.is_file() else None
