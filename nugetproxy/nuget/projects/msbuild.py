"""MSBuild files are evaluated as far as package references need it: properties, items, simple conditions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final
from xml.etree.ElementTree import Element

from msgspec import Struct, field

from nugetproxy.nuget.projects.conditions import is_met
from nugetproxy.nuget.projects.needs import local

ITEMS: Final = frozenset(
    {
        "PackageReference",
        "PackageVersion",
        "GlobalPackageReference",
        "PackageDownload",
        "ProjectReference",
        "FrameworkReference",
        "DotNetCliToolReference",
    }
)
_PROPERTY = re.compile(r"\$\(([A-Za-z_][\w-]*)\)")
_DEEPEST: Final = 32
"""Properties within properties."""


class ProjectFile(Struct, frozen=True):
    """One file of an evaluation: a project, or what is imported into it."""

    path: str
    root: Element


class Item(Struct):
    """One item; metadata by lower-case name."""

    include: str
    metadata: dict[str, str] = field(default_factory=dict)


class Evaluation(Struct):
    """What a project is for one framework."""

    properties: dict[str, str]
    """By lower-case name."""
    items: dict[str, list[Item]] = field(default_factory=dict)
    undecided: dict[str, None] = field(default_factory=dict)
    """Conditions that could not be told, so that they were taken as met."""

    def value(self, name: str) -> str:
        """A property; empty where it is not set."""
        return self.properties.get(name.lower(), "").strip()

    def is_on(self, name: str) -> bool:
        """Whether a property says true."""
        return self.value(name).lower() == "true"

    def expand(self, text: str) -> str:
        """``text`` with the properties that are known; those that are not set are empty, as for MSBuild."""
        for _ in range(_DEEPEST):
            filled = _PROPERTY.sub(lambda match: self.properties.get(match[1].lower(), ""), text)
            if filled == text:
                break
            text = filled
        return text


def evaluate(files: Sequence[ProjectFile], given: Mapping[str, str]) -> Evaluation:
    """The files in the order in which they are imported; ``given`` properties win over theirs, as global ones do."""
    found = Evaluation({name.lower(): value for name, value in given.items()})
    fixed = frozenset(found.properties)
    for file in files:
        _set_place(found, file)
        for group in _blocks(file.root, "PropertyGroup", found):
            for one in group:
                if local(one).lower() not in fixed and _applies(one, found):
                    found.properties[local(one).lower()] = found.expand(one.text or "")
    for file in files:
        _set_place(found, file)
        for group in _blocks(file.root, "ItemGroup", found):
            for one in group:
                if local(one) in ITEMS and _applies(one, found):
                    _take(found, one)
    return found


def _set_place(found: Evaluation, file: ProjectFile) -> None:
    folder = file.path.rpartition("/")[0]
    found.properties["msbuildthisfiledirectory"] = f"{folder}/" if folder else "./"


def _blocks(parent: Element, name: str, found: Evaluation) -> Iterator[Element]:
    """The groups of a file that apply, those within ``Choose`` included."""
    for one in parent:
        kind = local(one)
        if kind == name and _applies(one, found):
            yield one
        elif kind == "Choose":
            yield from _chosen(one, name, found)


def _chosen(choose: Element, name: str, found: Evaluation) -> Iterator[Element]:
    for branch in choose:
        if local(branch) == "Otherwise" or (local(branch) == "When" and _applies(branch, found)):
            yield from _blocks(branch, name, found)
            return


def _applies(element: Element, found: Evaluation) -> bool:
    condition = element.get("Condition", "")
    met = is_met(condition, found.expand)
    if met is None:
        found.undecided[condition.strip()] = None
    return met is not False


def _take(found: Evaluation, element: Element) -> None:
    items = found.items.setdefault(local(element), [])
    metadata = {name.lower(): found.expand(value).strip() for name, value in element.attrib.items()}
    for part in element:
        if _applies(part, found):
            metadata[local(part).lower()] = found.expand(part.text or "").strip()
    removed = _names(metadata.pop("remove", ""))
    if removed:
        items[:] = [one for one in items if one.include.lower() not in removed]
    for name in _names(metadata.pop("update", "")):
        for one in items:
            if one.include.lower() == name:
                one.metadata.update(metadata)
    included = found.expand(element.get("Include", ""))
    metadata.pop("include", None)
    items.extend(Item(name.strip(), dict(metadata)) for name in included.split(";") if name.strip())


def _names(text: str) -> set[str]:
    return {part.strip().lower() for part in text.split(";") if part.strip()}
