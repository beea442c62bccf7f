"""Projects (*.csproj with what is imported) name packages that are still to be resolved."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct

from nugetproxy.nuget.frameworks import CLASSIC, CORE, STANDARD, Framework, nearest
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.nuspec import Dependency
from nugetproxy.nuget.projects.msbuild import Evaluation, Item, ProjectFile, evaluate
from nugetproxy.nuget.projects.needs import Graph, Needs, local
from nugetproxy.nuget.projects.pruned import pruned
from nugetproxy.nuget.version import Version
from nugetproxy.nuget.version_range import VersionRange

_IMPLICIT: Final = (
    (STANDARD, (2, 0, 0, 0), (2, 1, 0, 0), "NETStandard.Library", "2.0.3"),
    (STANDARD, (1, 0, 0, 0), (2, 0, 0, 0), "NETStandard.Library", "1.6.1"),
    (CORE, (2, 2, 0, 0), (3, 0, 0, 0), "Microsoft.NETCore.App", "2.2.0"),
    (CORE, (2, 1, 0, 0), (2, 2, 0, 0), "Microsoft.NETCore.App", "2.1.0"),
    (CORE, (2, 0, 0, 0), (2, 1, 0, 0), "Microsoft.NETCore.App", "2.0.0"),
    (CORE, (1, 0, 0, 0), (2, 0, 0, 0), "Microsoft.NETCore.App", "1.0.5"),
    (CLASSIC, (2, 0, 0, 0), (5, 0, 0, 0), "Microsoft.NETFramework.ReferenceAssemblies", "1.0.3"),
)
"""What the SDK refers to by itself: framework, from which version on, below which one, the package."""
_TOOLS: Final = "DotNetCliToolReference"

Load = Callable[[str], Sequence[ProjectFile]]
"""The files of another project with what is imported into it; empty where there is none."""


class _Target(Struct, frozen=True):
    """A project for one of its frameworks."""

    path: str
    text: str
    """The framework as the project spells it; empty where it names none."""
    evaluation: Evaluation

    @property
    def framework(self) -> Framework | None:
        return Framework.parse(self.text) if self.text else None


def read_project(files: Sequence[ProjectFile], path: str, load: Load) -> Needs:
    """The references of the project at ``path``, for each of its frameworks.

    ``files`` are its own with what is imported, in their order; ``load`` finds those of projects that it refers to.
    """
    targets = list(_targets(files, path))
    remarks: dict[str, None] = {}
    graphs, exact = [], list(_sdks(files))
    for target in targets:
        evaluation = target.evaluation
        projects = _projects(target, load)
        references = [*_references(target, remarks), *(Dependency(name, "1.0.0") for name in _linked(target))]
        graphs.append(
            Graph(
                references=tuple(references),
                framework=target.framework,
                pins=_pins(evaluation),
                pruned=_pruned(target, files),
                projects=projects,
            )
        )
        exact.extend(_downloads(evaluation))
        for condition in evaluation.undecided:
            remarks[f"{path}: the condition {condition!r} is taken as met; only a build can decide it."] = None
    return Needs(graphs=tuple(graphs), exact=tuple(dict.fromkeys(exact)), remarks=tuple(remarks))


def _targets(files: Sequence[ProjectFile], path: str) -> Iterator[_Target]:
    folder, _, name = path.rpartition("/")
    given = {"MSBuildProjectName": name.rpartition(".")[0], "MSBuildProjectDirectory": folder or "."}
    plain = evaluate(files, given)
    many = plain.value("TargetFrameworks") or plain.value("TargetFramework")
    for text in [part.strip() for part in many.split(";") if part.strip()] or [""]:
        yield _Target(path, text, evaluate(files, {**given, "TargetFramework": text}) if text else plain)


def _references(target: _Target, remarks: dict[str, None]) -> Iterator[Dependency]:
    """The packages that a project refers to by itself."""
    evaluation = target.evaluation
    central = _central(evaluation)
    globals_ = evaluation.items.get("GlobalPackageReference", []) if central is not None else []
    for item in (*evaluation.items.get("PackageReference", []), *globals_, *evaluation.items.get(_TOOLS, [])):
        stated = _version(item, central)
        if VersionRange.parse(stated) is None:
            remarks[f"{target.path}: the version of {item.include} cannot be told ({stated!r})."] = None
        yield Dependency(item.include, stated)
    yield from _implicit(target)


def _version(item: Item, central: Mapping[str, str] | None) -> str:
    own = item.metadata.get("versionoverride") or item.metadata.get("version", "")
    return own or (central or {}).get(item.include.lower(), "")


def _central(evaluation: Evaluation) -> Mapping[str, str] | None:
    """Versions by id (lower case) where they are managed centrally; None where projects state them."""
    if not evaluation.is_on("ManagePackageVersionsCentrally"):
        return None
    return {one.include.lower(): one.metadata.get("version", "") for one in evaluation.items.get("PackageVersion", [])}


def _pins(evaluation: Evaluation) -> Mapping[str, str]:
    if not evaluation.is_on("CentralPackageTransitivePinningEnabled"):
        return {}
    return {id_: version for id_, version in (_central(evaluation) or {}).items() if VersionRange.parse(version)}


def _implicit(target: _Target) -> Iterator[Dependency]:
    framework, evaluation = target.framework, target.evaluation
    if framework is None or evaluation.is_on("DisableImplicitFrameworkReferences"):
        return
    for name, lowest, above, id_, version in _IMPLICIT:
        if framework.name == name and lowest <= framework.version < above:
            yield Dependency(id_, version)


def _pruned(target: _Target, files: Sequence[ProjectFile]) -> Mapping[str, Version]:
    """What comes with .NET; nothing where the project says that nothing is to be pruned."""
    if target.evaluation.value("RestoreEnablePackagePruning").lower() == "false":
        return {}
    sdks = {file.root.get("Sdk", "").partition("/")[0].lower() for file in files}
    frameworks = {item.include.lower() for item in target.evaluation.items.get("FrameworkReference", [])}
    web = "microsoft.net.sdk.web" in sdks or "microsoft.aspnetcore.app" in frameworks
    return pruned(target.framework, web=web)


def _downloads(evaluation: Evaluation) -> Iterator[PackageIdentity]:
    for item in evaluation.items.get("PackageDownload", []):
        for text in item.metadata.get("version", "").split(";"):
            wanted = VersionRange.parse(text)
            identity = PackageIdentity.parse(item.include, wanted.lower.full) if wanted and wanted.lower else None
            if identity is not None:
                yield identity


def _sdks(files: Sequence[ProjectFile]) -> Iterator[PackageIdentity]:
    """SDKs that come from the feed: those with a version."""
    for file in files:
        for element in file.root.iter():
            named = element.get("Sdk", "") if local(element) in {"Project", "Import"} else ""
            if local(element) == "Sdk":
                named = f"{element.get('Name', '')}/{element.get('Version', '')}"
            elif local(element) == "Import" and element.get("Version"):
                named = f"{named}/{element.get('Version', '')}"
            for text in named.split(";"):
                id_, _, version = text.strip().partition("/")
                identity = PackageIdentity.parse(id_, version) if version else None
                if identity is not None:
                    yield identity


def _linked(target: _Target) -> Iterator[str]:
    """The ids that stand for the projects that a project refers to."""
    for item in target.evaluation.items.get("ProjectReference", []):
        if item.metadata.get("referenceoutputassembly", "").lower() != "false":
            yield _stand_in(_place(target.path, item.include))


def _place(path: str, include: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), include.replace("\\", "/")))


def _stand_in(path: str) -> str:
    """An id of its own for a project, which none of a package is likely to be."""
    word = "".join(char if char.isascii() and char.isalnum() else "_" for char in path.lower())
    return f"_project_{word}"[-100:].lstrip(".-")


def _projects(target: _Target, load: Load) -> Mapping[str, tuple[Dependency, ...]]:
    """What the projects below refer to, by their stand-ins."""
    found: dict[str, tuple[Dependency, ...]] = {}
    waiting = [_place(target.path, item.include) for item in target.evaluation.items.get("ProjectReference", [])]
    while waiting:
        path = waiting.pop()
        if _stand_in(path) in found:
            continue
        found[_stand_in(path)] = ()
        below = _fitting(list(_targets(load(path), path)), target.framework)
        if below is not None:
            central = _central(below.evaluation)
            packages = [
                Dependency(item.include, _version(item, central))
                for item in below.evaluation.items.get("PackageReference", [])
                if "all" not in item.metadata.get("privateassets", "").lower().split(";")
            ]
            links = [Dependency(name, "1.0.0") for name in _linked(below)]
            found[_stand_in(path)] = (*packages, *_implicit(below), *links)
            waiting += [_place(path, item.include) for item in below.evaluation.items.get("ProjectReference", [])]
    return found


def _fitting(targets: Sequence[_Target], framework: Framework | None) -> _Target | None:
    """The one that a project for ``framework`` uses."""
    by_framework = {one.framework: one for one in targets if one.framework is not None}
    found = nearest(framework, by_framework) if framework is not None else None
    return by_framework[found] if found is not None else next(iter(targets), None)
