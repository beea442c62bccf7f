"""Repository finds the files of a .NET repository that name packages, then reads them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from glob import glob
from pathlib import Path
from typing import Final, NoReturn

from msgspec import Struct

from nugetproxy.errors import BadRequest
from nugetproxy.nuget.projects.families import family_of, is_project, read_file
from nugetproxy.nuget.projects.msbuild import ProjectFile
from nugetproxy.nuget.projects.needs import Needs, UnreadableFile, read_xml
from nugetproxy.nuget.projects.project import Projects, read_project
from nugetproxy.on_disk import is_dir, is_file

LARGEST: Final = 256 * 2**20
"""Bytes of one file that are read."""
_SKIPPED: Final = frozenset({".git", ".hg", ".svn", ".vs", "node_modules", "bin", "obj"})
_OUTPUT: Final = Path("obj", "project.assets.json")
_WORD: Final = r"\s*[`'\"]?([^`'\",()]*?)[`'\"]?\s*"
_ABOVE: Final = re.compile(
    rf"\$\(\[MSBuild\]::(GetPathOfFileAbove|GetDirectoryNameOfFileAbove)\({_WORD}(?:,{_WORD})?\)\)", re.IGNORECASE
)
_PARSED: Final = 512
"""Files that are remembered, as most projects import the same ones."""


class Read(Struct, frozen=True):
    """One file that was read."""

    path: Path
    needs: Needs


def read_all(paths: Sequence[Path]) -> tuple[Read, ...]:
    """What these files, or the files in these folders, ask for, and the projects that they refer to; blocking.

    Raises UnreadableFile, BadRequest.
    """
    try:
        return tuple(_reads(paths))
    except OSError as error:
        _refuse(error)


def _reads(paths: Sequence[Path]) -> Iterable[Read]:
    disk = _Disk()
    waiting: list[Path] = []
    for path in paths:
        inside = list(_search(path)) if is_dir(path) else [path]
        if not inside:
            raise BadRequest(f"Nothing in {path} names packages; name a file, or another folder.")
        waiting += inside
    found: dict[Path, Read] = {}
    for path in waiting:
        if path not in found:
            found[path] = disk.read(path, whole=path in paths)
            for other in (file for text in found[path].needs.projects for file in _files(Path(text))):
                if is_project(other.name):
                    waiting += [other, *_lock(other)]
    return found.values()


def _lock(project: Path) -> list[Path]:
    """The lock file of a project, if there is one (PackagesLockFileUtilities.GetNuGetLockFilePath)."""
    names = (f"packages.{project.stem.replace(' ', '_')}.lock.json", "packages.lock.json")
    return [project.parent / name for name in names if is_file(project.parent / name)][:1]


def _search(root: Path) -> Iterator[Path]:
    """What names packages below a folder; the assets of the last restore count only where nothing else tells what it
    was.
    """
    for folder, folders, names in os.walk(root, onerror=_refuse):
        folders[:] = sorted(name for name in folders if name not in _SKIPPED)
        here = Path(folder)
        known = sorted(name for name in names if family_of(name) is not None)
        projects = sorted(name for name in names if is_project(name) and _is_of_msbuild(here / name))
        yield from (here / name for name in (*projects, *known))
        if not known and not projects and is_file(here / _OUTPUT):
            yield here / _OUTPUT


def _is_of_msbuild(project: Path) -> bool:
    """Other programs call their files ``.proj``, too."""
    return project.suffix.lower() != ".proj" or b"<Project" in _bytes(project).replace(b"\0", b"")


def _refuse(error: OSError) -> NoReturn:
    raise UnreadableFile(str(error.filename), error.strerror or str(error)) from error


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > LARGEST:
            raise UnreadableFile(str(path), f"it is larger than {LARGEST >> 20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise UnreadableFile(str(path), error.strerror or str(error)) from error


class _Disk:
    """The files of MSBuild as they lie there."""

    def __init__(self) -> None:
        self._file = lru_cache(_PARSED)(_parsed)
        self._projects = Projects(self._load, self._find)

    def read(self, path: Path, *, whole: bool) -> Read:
        """One file; of a project beside a lock file only what that does not name, unless it is wanted ``whole``."""
        if not is_project(path.name):
            return Read(path, read_file(_bytes(path), str(path)))
        path.stat()
        try:
            needs = read_project(str(path), self._projects)
        except RecursionError as error:
            raise UnreadableFile(str(path), "it is nested too deeply") from error
        if not whole and _lock(path):
            needs = Needs(exact=needs.exact, projects=needs.projects)
        return Read(path, needs)

    def _around(self, path: Path) -> tuple[ProjectFile, ...]:
        """A project with what surrounds it, in the order in which MSBuild imports it."""
        before = [_above(path.parent, name) for name in ("Directory.Build.props", "Directory.Packages.props")]
        after = [*_files(path.with_name(f"{path.name}.user")), _above(path.parent, "Directory.Build.targets")]
        return tuple(self._file(one) for one in (*before, path, *after) if one is not None)

    def _load(self, name: str) -> tuple[ProjectFile, ...]:
        """Another project; nothing where there is none, as a build then says by itself."""
        path = Path(name)
        return self._around(path) if is_file(path) else ()

    def _find(self, text: str, importer: str) -> Sequence[ProjectFile] | None:
        folder = Path(importer).parent
        place = _ABOVE.sub(lambda match: _told_above(match, folder), text).replace("\\", "/").strip()
        if "$(" in place or "@(" in place or "%(" in place:
            return None
        return [self._file(one) for one in _files(folder / place)]


def _files(place: Path) -> list[Path]:
    """The file there, or all that a pattern means."""
    text = str(place)
    places = [place] if "*" not in text else map(Path, sorted(glob(text, recursive=True)))  # noqa: PTH207 - absolute, too
    return [one for one in places if is_file(one)]


def _parsed(path: Path) -> ProjectFile:
    return ProjectFile(os.path.normpath(path.absolute()), read_xml(_bytes(path), str(path)))


def _above(folder: Path, name: str) -> Path | None:
    """The nearest file of that name in a folder or above it."""
    place = Path(os.path.normpath(folder.absolute()))
    return next((one / name for one in (place, *place.parents) if is_file(one / name)), None)


def _told_above(match: re.Match[str], folder: Path) -> str:
    """What MSBuild's functions say of files above one."""
    if match[1].lower() == "getpathoffileabove":
        return str(_above(folder / (match[3] or ""), match[2]) or "")
    found = _above(folder / match[2], match[3] or "")
    return str(found.parent) if found is not None else ""
