"""Packages for tests: small, deterministic, and good enough for real NuGet clients."""

from __future__ import annotations

import io
import random
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from xml.sax.saxutils import escape, quoteattr

Dependencies = Sequence[tuple[str, str]] | Mapping[str, Sequence[tuple[str, str]]]
"""Pairs of (id, range) for all frameworks, or such pairs by target framework ("" for all of them)."""

NAMESPACE = "http://schemas.microsoft.com/packaging/2013/05/nuspec.xsd"
README, ICON, LICENSE = "docs/README.md", "images/icon.png", "LICENSE.txt"
"""Where ``make_nupkg`` puts these three files."""

_RELATIONSHIPS = "http://schemas.openxmlformats.org/package/2006"


def make_nupkg(
    id: str,
    version: str,
    *,
    dependencies: Dependencies = (),
    files: Mapping[str, bytes | str] | None = None,
    description: str = "",
    readme: bytes | str | None = None,
    icon: bytes | str | None = None,
    license_file: bytes | str | None = None,
    tags: str = "",
    authors: str = "Tests",
    title: str = "",
    package_types: Iterable[str | tuple[str, str]] = (),
    size: int = 0,
    signature: bool = False,
    nuspec: bytes | str | None = None,
) -> bytes:
    """The bytes of a package; equal arguments make equal bytes.

    ``readme``, ``icon`` and ``license_file`` are contents, put into the package and named in the nuspec. ``files``
    are further entries by path, ``size`` is a number of incompressible bytes to add. ``signature`` adds an entry
    where a signature would be (not a valid one). ``nuspec`` replaces the generated nuspec.
    """
    extras = {README: readme, ICON: icon, LICENSE: license_file}
    held = {path: content for path, content in extras.items() if content is not None}
    if nuspec is None:
        fields = {"title": title, "tags": tags, "description": description or f"{id} for tests"}
        nuspec = make_nuspec(
            id, version, authors=authors, fields=fields, held=held, types=package_types, dependencies=dependencies
        )
    entries: dict[str, bytes | str] = {
        "_rels/.rels": _rels(id),
        f"{id}.nuspec": nuspec,
        "lib/netstandard2.0/_._": b"",
        **held,
        **(files or {}),
    }
    if size:
        padding, most = random.Random(f"{id} {version}"), 2**27  # it gives no more at once
        entries["padding.bin"] = b"".join(padding.randbytes(min(most, size - at)) for at in range(0, size, most))
    entries["[Content_Types].xml"] = _content_types(entries)
    if signature:
        entries[".signature.p7s"] = b"not a signature"
    return make_zip(entries)


def make_zip(entries: Mapping[str, bytes | str]) -> bytes:
    """A ZIP archive of ``entries`` in their order, without anything that changes from run to run."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, content in entries.items():
            info = zipfile.ZipInfo(path, date_time=(2024, 1, 1, 0, 0, 0))
            raw = path.endswith((".bin", ".p7s", ".png"))
            info.compress_type = zipfile.ZIP_STORED if raw else zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, content)
    return buffer.getvalue()


def make_nuspec(
    id: str,
    version: str,
    *,
    authors: str = "Tests",
    fields: Mapping[str, str] | None = None,
    held: Iterable[str] = (),
    types: Iterable[str | tuple[str, str]] = (),
    dependencies: Dependencies = (),
    namespace: str = NAMESPACE,
) -> str:
    """A nuspec; empty ``fields`` are left out, ``held`` says which of README, ICON and LICENSE to name."""
    texts = {"id": id, "version": version, "authors": authors, **(fields or {})}
    parts = [f"    <{name}>{escape(text)}</{name}>" for name, text in texts.items() if text]
    markup = {
        README: f"    <readme>{README}</readme>",
        ICON: f"    <icon>{ICON}</icon>",
        LICENSE: f'    <license type="file">{LICENSE}</license>',
    }
    parts += [markup[path] for path in held]
    parts += _package_types(types)
    parts += _dependencies(dependencies)
    body = "\n".join(parts)
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f"<package xmlns={quoteattr(namespace)}>\n  <metadata>\n{body}\n  </metadata>\n</package>\n"
    )


def _package_types(types: Iterable[str | tuple[str, str]]) -> list[str]:
    pairs = [(item, "") if isinstance(item, str) else item for item in types]
    items = [
        f"      <packageType name={quoteattr(name)}" + (f" version={quoteattr(version)}" if version else "") + " />"
        for name, version in pairs
    ]
    return ["    <packageTypes>", *items, "    </packageTypes>"] if items else []


def _dependencies(dependencies: Dependencies) -> list[str]:
    if isinstance(dependencies, Mapping):
        groups = [_group(framework, needs) for framework, needs in dependencies.items()]
    else:
        groups = [_needs(dependencies)]
    inside = [line for group in groups for line in group]
    return ["    <dependencies>", *inside, "    </dependencies>"] if inside else []


def _group(framework: str, needs: Sequence[tuple[str, str]]) -> list[str]:
    attribute = f" targetFramework={quoteattr(framework)}" if framework else ""
    return [f"      <group{attribute}>", *_needs(needs), "      </group>"]


def _needs(needs: Sequence[tuple[str, str]]) -> list[str]:
    return [f"        <dependency id={quoteattr(id)} version={quoteattr(range)} />" for id, range in needs]


def _rels(id: str) -> str:
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f'<Relationships xmlns="{_RELATIONSHIPS}/relationships">'
        '<Relationship Type="http://schemas.microsoft.com/packaging/2010/07/manifest" '
        f'Target={quoteattr(f"/{id}.nuspec")} Id="R1" /></Relationships>\n'
    )


def _content_types(paths: Iterable[str]) -> str:
    known = {"rels": "application/vnd.openxmlformats-package.relationships+xml"}
    names = sorted({path.rpartition("/")[2].rpartition(".")[2] for path in paths} - {"", "_"})
    items = "".join(
        f"<Default Extension={quoteattr(name)} ContentType={quoteattr(known.get(name, 'application/octet'))} />"
        for name in names
    )
    return f'<?xml version="1.0" encoding="utf-8"?>\n<Types xmlns="{_RELATIONSHIPS}/content-types">{items}</Types>\n'
