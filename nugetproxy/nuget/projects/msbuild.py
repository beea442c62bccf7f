"""MSBuild files are evaluated as far as package references need it: properties, imports, items, simple conditions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final
from xml.etree.ElementTree import Element

from msgspec import Struct, field

from nugetproxy.nuget.projects.conditions import is_met
from nugetproxy.nuget.projects.needs import local

_ITEMS: Final = {
    name.lower(): name
    for name in (
        "PackageReference",
        "PackageVersion",
        "GlobalPackageReference",
        "PackageDownload",
        "ProjectReference",
        "FrameworkReference",
        "DotNetCliToolReference",
    )
}
"""Those that are read, by lower-case name: MSBuild takes any case."""
FSHARP: Final = "FSharp.Core"
"""The package that projects in F# refer to without saying so."""
IMPLICIT: Final = "isimplicitlydefined"
_USUAL: Final = MappingProxyType({"configuration": "Debug", "platform": "AnyCPU"})
"""What a restore has where nothing else is said; a build may say it, so items for any of them are taken."""
_UNTOLD: Final = frozenset({"os", "msbuildruntimetype", "msbuildversion", "netcoresdkversion", "usingmicrosoftnetsdk"})
"""What MSBuild and the SDK set by themselves, which only a build can tell."""
_PROPERTY = re.compile(r"\$\(([A-Za-z_][\w-]*)\)")
_DEEPEST: Final = 32
"""Properties within properties."""


class ProjectFile(Struct, frozen=True):
    """One file of an evaluation: a project, or what is imported into it."""

    path: str
    root: Element


Find = Callable[[str, str], Sequence[ProjectFile] | None]
"""The files that an import names, by its text and the path of the file that has it; None where they cannot be told."""


class Item(Struct):
    """One item; metadata by lower-case name."""

    include: str
    metadata: dict[str, str] = field(default_factory=dict)


class Evaluation(Struct):
    """What a project is for one framework."""

    properties: dict[str, str]
    """By lower-case name."""
    untold: frozenset[str] = _UNTOLD
    """Properties that are set by somebody else, nobody knows how; as long as no file sets them."""
    items: dict[str, list[Item]] = field(default_factory=dict)
    files: list[ProjectFile] = field(default_factory=list)
    """All that were read, in their order."""
    remarks: dict[str, None] = field(default_factory=dict)
    """What could not be told."""

    def value(self, name: str) -> str:
        """A property; empty where it is not set."""
        return self.properties.get(name.lower(), "").strip()

    def is_on(self, name: str) -> bool:
        """Whether a property says true."""
        return self.value(name).lower() == "true"

    def expand(self, text: str) -> str:
        """``text`` with the properties that are known; those that are not set are empty, as for MSBuild."""
        for _ in range(_DEEPEST):
            filled = _PROPERTY.sub(self._filled, text)
            if filled == text:
                break
            text = filled
        return text

    def _filled(self, match: re.Match[str]) -> str:
        name = match[1].lower()
        return match[0] if name in self.untold else self.properties.get(name, "")

    def applies(self, element: Element) -> bool | None:
        """Whether its condition is met; None where only a build can decide it, which is noted."""
        condition = element.get("Condition", "")
        met = is_met(condition, self.expand)
        if met is None:
            self.remarks[f"the condition {condition.strip()!r} is taken as met; only a build can decide it."] = None
        return met


def evaluate(
    files: Sequence[ProjectFile], given: Mapping[str, str], find: Find, late: Mapping[str, str] = MappingProxyType({})
) -> Evaluation:
    """The files in the order in which they are imported; ``given`` properties win over theirs, as global ones do.

    ``late`` ones are set by the SDK behind the project (``MSBuildProjectFile``), before items.
    """
    reading = _Reading(given, find)
    if given["MSBuildProjectFile"].endswith(".fsproj"):
        reading.refer(FSHARP)
    for file in files:
        reading.read(file)
        if file.path.rpartition("/")[2] == given["MSBuildProjectFile"]:
            reading.set_late(late)
    return reading.with_items()


class _Reading:
    """One evaluation: all properties with all imports first, then all items."""

    def __init__(self, given: Mapping[str, str], find: Find) -> None:
        given = {name.lower(): value for name, value in given.items()}
        self._find = find
        self._fixed = frozenset(given)
        self._found = Evaluation({**_USUAL, **given})
        self._items: list[tuple[ProjectFile, Element]] = []
        self._set: set[str] = set()
        self._paths: set[str] = set()

    def read(self, file: ProjectFile) -> None:
        """Its properties, with those of what it imports where it does so; MSBuild imports nothing twice."""
        if file.path in self._paths:
            return
        self._paths.add(file.path)
        self._found.files.append(file)
        self._set_place(file)
        for one in file.root:
            kind = local(one)
            if kind == "Import":
                self._import(one, file)
            elif kind == "ImportGroup" and is_met(one.get("Condition", ""), self._found.expand) is not False:
                for each in one:
                    self._import(each, file)
            elif kind in {"ItemGroup", "Target"}:
                self._items.append((file, one))
            else:
                if kind == "Choose":
                    self._items.append((file, one))
                for group, _ in _groups(one, "PropertyGroup", self._found):
                    self._take_properties(group)

    def refer(self, id_: str) -> None:
        """The SDK refers to a package, in a version that it alone knows; the project may say another one."""
        self._found.items["PackageReference"] = [Item(id_, {IMPLICIT: "true"})]

    def set_late(self, late: Mapping[str, str]) -> None:
        """Properties as far as no file has set them."""
        for name, value in late.items():
            self._found.properties.setdefault(name.lower(), value)

    def with_items(self) -> Evaluation:
        """What was found, after its items were taken, too."""
        found = self._found
        found.untold = (found.untold | _USUAL.keys()) - self._set - self._fixed
        for file, element in self._items:
            self._set_place(file)
            if local(element) == "Target":
                self._take_target(element)
            for group, sure in _groups(element, "ItemGroup", found):
                self._take_group(group, sure=sure)
        return found

    def _set_place(self, file: ProjectFile) -> None:
        folder, _, name = file.path.rpartition("/")
        place = f"{folder}/" if folder else "/" if file.path.startswith("/") else "./"
        base, dot, extension = name.rpartition(".")
        self._found.properties |= {
            "msbuildthisfiledirectory": place,
            "msbuildthisfile": name,
            "msbuildthisfilename": base,
            "msbuildthisfileextension": dot + extension,
            "msbuildthisfilefullpath": file.path,
        }

    def _import(self, element: Element, file: ProjectFile) -> None:
        found = self._found
        if local(element) != "Import" or element.get("Sdk"):
            return
        if is_met(element.get("Condition", ""), found.expand) is False:
            return
        text = element.get("Project", "")
        files = self._find(found.expand(text), file.path)
        if files is None:
            found.remarks[f"what the import of {text!r} says cannot be told."] = None
        for one in files or ():
            self.read(one)
        self._set_place(file)

    def _take_properties(self, group: Element) -> None:
        found = self._found
        for one in group:
            name = local(one).lower()
            if name not in self._fixed and found.applies(one) is not False:
                found.properties[name] = found.expand(one.text or "")
                found.untold -= {name}
                self._set.add(name)

    def _take_group(self, group: Element, *, sure: bool) -> None:
        for one in group:
            if local(one).lower() in _ITEMS and (met := self._found.applies(one)) is not False:
                _take(self._found, one, sure=sure and met is True)

    def _take_target(self, target: Element) -> None:
        """What a target adds when it runs."""
        groups = [one for one in target if local(one) == "ItemGroup"]
        if any(local(one).lower().startswith("package") and one.get("Include") for group in groups for one in group):
            name = target.get("Name", "")
            self._found.remarks[f"the target {name!r} is taken as run; only a build can decide it."] = None
            for each in groups:
                self._take_group(each, sure=False)


def _groups(one: Element, name: str, found: Evaluation) -> Iterator[tuple[Element, bool]]:
    """An element, if it is such a group that applies, or those within ``Choose``; with whether that is for sure."""
    kind = local(one)
    if kind == name and (met := found.applies(one)) is not False:
        yield one, met is True
    elif kind == "Choose":
        for branch in one:
            met = True if local(branch) == "Otherwise" else found.applies(branch) if local(branch) == "When" else False
            if met is False:
                continue
            for below in branch:
                for group, sure in _groups(below, name, found):
                    yield group, sure and met is True
            if met or name == "PropertyGroup":  # of two values none is better: the first is as good
                return


def _take(found: Evaluation, element: Element, *, sure: bool) -> None:
    """Add items, change them, or take them away; where it is not ``sure``, nothing is taken away."""
    items = found.items.setdefault(_ITEMS[local(element).lower()], [])
    all_of_them = {"*", f"@({local(element).lower()})"}
    metadata = {name.lower(): found.expand(value).strip() for name, value in element.attrib.items()}
    for part in element:
        if found.applies(part) is not False:
            metadata[local(part).lower()] = found.expand(part.text or "").strip()
    removed = _names(metadata.pop("remove", ""))
    if removed and sure:
        items[:] = [one for one in items if one.include.lower() not in removed and not removed & all_of_them]
    updated = _names(metadata.pop("update", ""))
    for one in items:
        if one.include.lower() in updated or updated & all_of_them:
            one.metadata.update(metadata)
    included = found.expand(element.get("Include", ""))
    metadata.pop("include", None)
    items.extend(Item(name.strip(), dict(metadata)) for name in included.split(";") if name.strip())


def _names(text: str) -> set[str]:
    return {part.strip().lower() for part in text.split(";") if part.strip()}
