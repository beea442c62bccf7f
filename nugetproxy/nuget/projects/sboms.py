"""Bills of materials (CycloneDX, SPDX) name what a product is made of, by package URL."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from xml.etree.ElementTree import Element

from nugetproxy.nuget.documents.exact_json import objects
from nugetproxy.nuget.projects.needs import Needs, UnreadableFile, json_object, local, read_xml, table
from nugetproxy.nuget.projects.purls import read_purl

_TAG = re.compile(r"^ExternalRef:\s*PACKAGE[-_]MANAGER\s+purl\s+(\S+)", re.MULTILINE)


def is_bill(document: Any) -> bool:
    """Whether a JSON document is a bill of materials."""
    found = table(document)
    return found.get("bomFormat") == "CycloneDX" or "spdxVersion" in found or {"@graph", "@context"} <= found.keys()


def read_json_bill(body: bytes, file: str) -> Needs:
    """CycloneDX, or SPDX 2 or 3, in JSON; what is not of NuGet is left out. Raises UnreadableFile."""
    document = json_object(body, file)
    if not is_bill(document):
        raise UnreadableFile(file, "it is neither CycloneDX nor SPDX")
    if document.get("bomFormat") == "CycloneDX":
        found = list(_components(document))
    elif "spdxVersion" in document:
        found = list(_packages(document))
    else:
        found = list(_elements(document))
    return _needs(found, file)


def read_xml_bill(body: bytes, file: str) -> Needs:
    """CycloneDX in XML; raises UnreadableFile."""
    root = read_xml(body, file)
    if local(root) != "bom":
        raise UnreadableFile(file, "its root is not <bom>")
    return _needs([text for part in root if local(part) == "components" for text in _purls(part)], file)


def read_tag_value_bill(body: bytes, file: str) -> Needs:
    """SPDX in its tag:value form; raises UnreadableFile."""
    text = body.decode("utf-8-sig", errors="replace")
    if not text.lstrip().startswith("SPDXVersion:"):
        raise UnreadableFile(file, "it is not SPDX")
    return _needs(_TAG.findall(text), file)


def _needs(purls: list[str], file: str) -> Needs:
    found = [named for text in purls if (named := read_purl(text)) is not None]
    remarks = () if found else (f"{file} names no package of NuGet.",)
    return Needs.of(found, file, remarks)


def _components(parent: Mapping[str, Any]) -> Iterator[str]:
    """Of the components at every depth; the product itself (``metadata``) is no part of it."""
    for one in objects(parent.get("components")):
        if isinstance(one.get("purl"), str):
            yield one["purl"]
        yield from _components(one)


def _packages(document: Mapping[str, Any]) -> Iterator[str]:
    """Of SPDX 2, without what the document describes: the product."""
    products = _texts(document.get("documentDescribes"))
    products |= {
        str(one.get("relatedSpdxElement"))
        for one in objects(document.get("relationships"))
        if one.get("relationshipType") == "DESCRIBES"
    }
    for package in objects(document.get("packages")):
        if str(package.get("SPDXID")) not in products:
            for reference in objects(package.get("externalRefs")):
                if str(reference.get("referenceType", "")).rpartition("/")[2] == "purl":
                    yield str(reference.get("referenceLocator", ""))


def _elements(document: Mapping[str, Any]) -> Iterator[str]:
    """Of SPDX 3, without its root elements."""
    elements = list(objects(document.get("@graph")))
    roots = {id_ for one in elements for id_ in _texts(one.get("rootElement")) if one.get("type") != "SpdxDocument"}
    for one in elements:
        if one.get("type") == "software_Package" and str(one.get("spdxId")) not in roots:
            stated = one.get("software_packageUrl")
            if isinstance(stated, str):
                yield stated
            for other in objects(one.get("externalIdentifier")):
                if str(other.get("externalIdentifierType", "")).lower() in {"packageurl", "purl"}:
                    yield str(other.get("identifier", ""))


def _texts(value: Any) -> set[str]:
    return set(map(str, value)) if isinstance(value, list) else set()


def _purls(components: Element) -> Iterator[str]:
    for one in components:
        if local(one) == "component":
            for part in one:
                if local(part) == "purl":
                    yield (part.text or "").strip()
                elif local(part) == "components":
                    yield from _purls(part)
