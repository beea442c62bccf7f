"""Projects (*.csproj with what is imported) name packages that are still to be resolved."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from nugetproxy.nuget.framework_tables import CLASSIC, CORE, STANDARD
from nugetproxy.nuget.frameworks import Framework
from nugetproxy.nuget.identity import PackageId, PackageIdentity
from nugetproxy.nuget.nearest import fallbacks_of, nearest
from nugetproxy.nuget.nuspec import Dependency
from nugetproxy.nuget.projects.msbuild import FSHARP, IMPLICIT, Evaluation, Find, Item, ProjectFile, evaluate
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
_WANTING: Final = (
    "PublishAot",
    "IsAotCompatible",
    "PublishTrimmed",
    "IsTrimmable",
    "PublishSingleFile",
    "PublishReadyToRun",
    "SelfContained",
)
"""For which the SDK refers to packages, or downloads some, in versions that only it knows."""
_TOOLS: Final = "DotNetCliToolReference"

_IDENTIFIERS: Final = MappingProxyType({CORE: ".NETCoreApp", STANDARD: ".NETStandard", CLASSIC: ".NETFramework"})

Load = Callable[[str], Sequence[ProjectFile]]
"""The files of a project with those that surround it, in their order; empty where there is none."""


class _Target(Struct, frozen=True):
    """A project for one of its frameworks."""

    path: str
    text: str
    """The framework as the project spells it; empty where it names none."""
    evaluation: Evaluation

    @property
    def framework(self) -> Framework | None:
        return Framework.parse(self.text) if self.text else None

    @property
    def fallbacks(self) -> tuple[Framework, ...] | None:
        """What it takes with a warning; None where its framework is not known."""
        if self.framework is None:
            return None
        named = map(Framework.parse, self.evaluation.value("AssetTargetFallback").split(";"))
        implicit = () if self.evaluation.is_on("DisableImplicitAssetTargetFallback") else fallbacks_of(self.framework)
        return (*(one for one in named if one is not None), *implicit)


class Projects:
    """The projects of a repository, each evaluated once."""

    def __init__(self, load: Load, find: Find) -> None:
        self._load = load
        self._find = find
        self._targets: dict[str, tuple[_Target, ...]] = {}

    def targets(self, path: str) -> tuple[_Target, ...]:
        """A project for each of its frameworks; nothing where there is none."""
        if path not in self._targets:
            self._targets[path] = tuple(_targets(self._load(path), path, self._find))
        return self._targets[path]


def read_project(path: str, others: Projects) -> Needs:
    """The references of the project at ``path``, for each of its frameworks."""
    targets = others.targets(path)
    remarks: dict[str, None] = {}
    graphs, exact, links = [], list[PackageIdentity](), dict[str, None]()
    for target in targets:
        evaluation = target.evaluation
        projects = _projects(target, others)
        exact.extend(_sdks(evaluation.files))
        links |= dict.fromkeys(_places(target))
        references = [*_references(target, remarks), *(Dependency(name, "1.0.0") for name in _linked(target))]
        graphs.append(
            Graph(
                references=tuple(references),
                framework=target.framework,
                fallbacks=target.fallbacks,
                pins=_pins(evaluation),
                pruned=_pruned(target),
                projects=projects,
            )
        )
        exact.extend(_downloads(evaluation, remarks, path))
        remarks |= dict.fromkeys(f"{path}: {text}" for text in (*_elsewhere(evaluation), *evaluation.remarks))
    return Needs(graphs=tuple(graphs), exact=tuple(dict.fromkeys(exact)), remarks=tuple(remarks), projects=tuple(links))


def _targets(files: Sequence[ProjectFile], path: str, find: Find) -> Iterator[_Target]:
    name = path.rpartition("/")[2]
    full = next((file.path for file in files if file.path.endswith(f"/{name}")), path)
    base, dot, extension = name.rpartition(".")
    given = {
        "MSBuildProjectName": base,
        "MSBuildProjectDirectory": full.rpartition("/")[0] or ".",
        "MSBuildProjectFile": name,
        "MSBuildProjectExtension": dot + extension,
        "MSBuildProjectFullPath": full,
    }
    plain = evaluate(files, given, find)
    many, one = plain.value("TargetFrameworks"), plain.value("TargetFramework")
    for text in [part.strip() for part in (many or one).split(";") if part.strip()] or [""]:
        known = {**given, "TargetFramework": text} if many else given  # else it is known from where the project says it
        yield _Target(path, text, evaluate(files, known, find, _framework(text)) if text else plain)


def _framework(text: str) -> Mapping[str, str]:
    """What the SDK makes of ``TargetFramework``."""
    found = Framework.parse(text)
    if found is None or found.name not in _IDENTIFIERS:
        return {}
    last = max((at for at, number in enumerate(found.version) if number), default=0)
    numbers = ".".join(map(str, found.version[: max(2, last + 1)]))
    return {
        "TargetFrameworkIdentifier": _IDENTIFIERS[found.name],
        "TargetFrameworkVersion": f"v{numbers}",
        "TargetPlatformIdentifier": found.platform,
    }


def _references(target: _Target, remarks: dict[str, None]) -> Iterator[Dependency]:
    """The packages that a project refers to by itself."""
    evaluation = target.evaluation
    central = _central(evaluation)
    globals_ = evaluation.items.get("GlobalPackageReference", []) if central is not None else []
    for item in (*_packages(evaluation), *globals_, *evaluation.items.get(_TOOLS, [])):
        stated = _version(item, central)
        if PackageId.parse(item.include) is None:
            remarks[f"{target.path}: no package can be called {item.include!r}; it is left out."] = None
        elif VersionRange.parse(stated) is None:
            remarks[f"{target.path}: the version of {item.include} cannot be told ({stated!r})."] = None
        yield Dependency(item.include, stated)
    yield from _implicit(target)


def _packages(evaluation: Evaluation) -> list[Item]:
    """Its package references, without what only the SDK knows the version of."""
    stated = evaluation.items.get("PackageReference", [])
    return [item for item in stated if item.metadata.get("version") or IMPLICIT not in item.metadata]


def _version(item: Item, central: Mapping[str, str] | None) -> str:
    own = item.metadata.get("versionoverride") or item.metadata.get("version", "")
    return own or (central or {}).get(item.include.lower(), "")


def _central(evaluation: Evaluation) -> Mapping[str, str] | None:
    """Versions by id (lower case) where they are managed centrally; None where projects state them."""
    if not evaluation.is_on("ManagePackageVersionsCentrally"):
        return None
    stated = reversed(evaluation.items.get("PackageVersion", []))  # of several the first one counts
    return {one.include.lower(): one.metadata.get("version", "") for one in stated}


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


def _pruned(target: _Target) -> Mapping[str, Version]:
    """What comes with .NET; nothing where the project says that nothing is to be pruned."""
    if target.evaluation.value("RestoreEnablePackagePruning").lower() == "false":
        return {}
    sdks = {file.root.get("Sdk", "").partition("/")[0].lower() for file in target.evaluation.files}
    frameworks = {item.include.lower() for item in target.evaluation.items.get("FrameworkReference", [])}
    web = "microsoft.net.sdk.web" in sdks or "microsoft.aspnetcore.app" in frameworks
    return pruned(target.framework, web=web)


def _downloads(evaluation: Evaluation, remarks: dict[str, None], path: str) -> Iterator[PackageIdentity]:
    for item in evaluation.items.get("PackageDownload", []):
        for text in item.metadata.get("version", "").split(";"):
            wanted = VersionRange.parse(text)
            identity = PackageIdentity.parse(item.include, wanted.lower.full) if wanted and wanted.lower else None
            if identity is not None:
                yield identity
            else:
                remarks[f"{path}: the version of {item.include} cannot be told ({text!r})."] = None


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


def _elsewhere(evaluation: Evaluation) -> Iterator[str]:
    """What a restore takes besides, which no file says but that of the last one."""
    for sdk in _sdks(evaluation.files):
        yield f"what the SDK {sdk.id} refers to by itself is only in obj/project.assets.json."
    implicit = any(IMPLICIT in item.metadata for item in evaluation.items.get("PackageReference", []))
    stated = any(item.include.lower() == FSHARP.lower() for item in _packages(evaluation))
    if implicit and not stated and not evaluation.is_on("DisableImplicitFSharpCoreReference"):
        yield f"which {FSHARP} the SDK refers to is only in obj/project.assets.json."
    for name in _WANTING:
        if evaluation.is_on(name):
            yield f"what the SDK takes for {name} is only in obj/project.assets.json."
    runtimes = {evaluation.value("RuntimeIdentifier"), *evaluation.value("RuntimeIdentifiers").split(";")}
    if named := ", ".join(sorted(text.strip() for text in runtimes if text.strip())):
        yield f"what it needs for {named} besides (packs, runtime.json of packages) is only in obj/project.assets.json."


def _linked(target: _Target) -> Iterator[str]:
    """The ids that stand for the projects that a project refers to."""
    for item in target.evaluation.items.get("ProjectReference", []):
        if item.metadata.get("referenceoutputassembly", "").lower() != "false":
            yield _stand_in(_place(target.path, item.include))


def _places(target: _Target) -> list[str]:
    """The paths of the projects that a project refers to; a restore of it is one of theirs, too."""
    return [_place(target.path, item.include) for item in target.evaluation.items.get("ProjectReference", [])]


def _place(path: str, include: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), include.replace("\\", "/")))


def _stand_in(path: str) -> str:
    """An id of its own for a project, which none of a package is likely to be."""
    return f"_project_{sha256(path.encode(errors='surrogateescape')).hexdigest()}"


def _projects(target: _Target, others: Projects) -> Mapping[str, tuple[Dependency, ...]]:
    """What the projects below refer to, by their stand-ins."""
    found: dict[str, tuple[Dependency, ...]] = {}
    waiting = _places(target)
    while waiting:
        path = waiting.pop()
        if _stand_in(path) in found:
            continue
        found[_stand_in(path)] = ()
        below = _fitting(others.targets(path), target)
        if below is not None:
            central = _central(below.evaluation)
            packages = [
                Dependency(item.include, _version(item, central))
                for item in _packages(below.evaluation)
                if "all" not in item.metadata.get("privateassets", "").lower().split(";")
            ]
            links = [Dependency(name, "1.0.0") for name in _linked(below)]
            found[_stand_in(path)] = (*packages, *_implicit(below), *links)
            waiting += _places(below)
    return found


def _fitting(targets: Sequence[_Target], user: _Target) -> _Target | None:
    """The one that another project uses."""
    framework = user.framework
    by_framework = {one.framework: one for one in targets if one.framework is not None}
    found = nearest(framework, by_framework, user.fallbacks) if framework is not None else None
    return by_framework[found] if found is not None else next(iter(targets), None)
