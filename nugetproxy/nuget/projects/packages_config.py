"""packages.config lists what a project of the older kind takes, flat."""

from __future__ import annotations

from msgspec.structs import replace

from nugetproxy.nuget.projects.needs import Needs, UnreadableFile, local, read_xml


def read_packages_config(body: bytes, file: str) -> Needs:
    """All of its packages, those for development only too; raises UnreadableFile."""
    root = read_xml(body, file)
    if local(root) != "packages":
        raise UnreadableFile(file, "its root is not <packages>")
    found = [(one.get("id", ""), one.get("version", "")) for one in root if local(one) == "package"]
    needs = Needs.of(found, file)
    return replace(needs, exact=(), direct=needs.exact)
