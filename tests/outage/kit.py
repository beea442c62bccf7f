"""An upstream with a name of its own that can be down in every way, a proxy that has seen all of it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import orjson

from nugetproxy.nuget.documents.render import check
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.routes import LINK, parse_route
from tests.fakes.asking import Got, ask
from tests.fakes.feed import FakeFeed
from tests.fakes.names import Names
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy

Down = Literal["refused", "hang", "clogged", "dns", "5xx", "html", "429"]
DOWN: tuple[Down, ...] = ("refused", "hang", "clogged", "dns", "5xx", "html", "429")
"""Every kind of outage."""
HOST = "feed.test"
MANY = 130
"""Versions from which on a registration has pages of its own."""
PICTURE = b"\x89PNG\r\n\x1a\n not really"
INDEX = "/v3/index.json"
HIVES = ("semver1", "gz-semver1", "gz-semver2")

RICH = make_nupkg(
    "Acme.A",
    "1.0.0",
    readme="# Read me",
    icon=PICTURE,
    license_file="MIT",
    description="Tools of all sorts",
    tags="x y",
)
COLD = make_nupkg("Acme.Cold", "1.0.0", readme="# Cold", icon=PICTURE, license_file="MIT")


class NamedFeed(FakeFeed):
    """A whole feed whose documents name ``feed.test``, so that a name service can fail as well."""

    def __init__(self) -> None:
        super().__init__()
        self.names = Names({HOST: ["127.0.0.1"]})

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.origin.port}"

    async def fail(self, how: Down, proxy: Proxy) -> None:
        """Begin an outage. Where names fail, the proxy has just been started: what was looked up is remembered."""
        if how == "dns":
            self.names.known.clear()
            await proxy.restart()
        else:
            await self.set_mode(how)

    async def recover(self) -> None:
        """End it."""
        self.names.known[HOST] = ["127.0.0.1"]
        await self.set_mode("up")


WAITED_FOR: dict[Down, dict[str, str]] = {
    "hang": {"read_timeout": "150ms"},
    "clogged": {"connect_timeout": "150ms"},
}
"""What a proxy waits for in vain in an outage. Nothing else has a limit that a busy machine comes near."""


def upstream(how: Down, **more: Any) -> dict[str, Any]:
    """The settings of a proxy of ``NamedFeed`` that does not wait for long in an outage of that kind."""
    return {"internal": True, "hosts": [HOST, "127.0.0.1"], **WAITED_FOR.get(how, {}), **more}


def package_url(package_id: str, version: str = "1.0.0", *, file: str = "") -> str:
    """A file of a package below our flat container."""
    return f"/v3/content/{package_id}/{version}/{file or f'{package_id}.{version}.nupkg'}"


def routes_of(package_id: str) -> list[str]:
    """Every read route that is about one package."""
    files = ("", f"{package_id}.nuspec", "readme", "icon", "license")
    routes = [f"/v3/content/{package_id}/index.json", *(package_url(package_id, file=file) for file in files)]
    for hive in HIVES:
        routes += [
            f"/v3/registration/{hive}/{package_id}/index.json",
            f"/v3/registration/{hive}/{package_id}/1.0.0.json",
        ]
    return [*routes, f"/v3/query?q=packageid:{package_id}", f"/v3/autocomplete?id={package_id}"]


COMMON = [INDEX, "/v3/query?q=acme&prerelease=true", "/v3/autocomplete?q=acme", "/v3/vulnerabilities/index.json"]
CATALOG = "/v3/catalog/index.json"


def lay_down(packages: Path, package_id: str, version: str, nupkg: bytes) -> None:
    """Put a package into a folder as NuGet would: the proxy finds it there."""
    folder = packages / package_id / version
    folder.mkdir(parents=True)
    name = f"{package_id}.{version}.nupkg"
    with zipfile.ZipFile(io.BytesIO(nupkg)) as archive:
        nuspec = next(entry for entry in archive.namelist() if entry.endswith(".nuspec"))
        (folder / f"{package_id}.nuspec").write_bytes(archive.read(nuspec))
    (folder / name).write_bytes(nupkg)
    (folder / f"{name}.sha512").write_bytes(base64.b64encode(hashlib.sha512(nupkg).digest()))


async def links_of(proxy: Proxy) -> list[str]:
    """Documents that others name: registration pages, vulnerability pages, catalog pages with their leaves."""
    found: list[str] = []
    index = await read(proxy, "/v3/registration/gz-semver2/many/index.json")
    found += [page["@id"] for page in index["items"]]
    found += [page["@id"] for page in await read(proxy, "/v3/vulnerabilities/index.json")]
    pages = [page["@id"] for page in (await read(proxy, CATALOG))["items"]]
    leaf = (await read(proxy, pages[0]))["items"][0]["@id"]
    return [link.removeprefix(proxy.url) for link in (*found, *pages, leaf)]


async def read(proxy: Proxy, path: str) -> Any:
    """The JSON document at ``path`` (or at a link of ours)."""
    got = await ask(proxy, path.removeprefix(proxy.url))
    assert got.status == 200, (path, got.body)
    return json.loads(got.body)


def is_acceptable(path: str, got: Got) -> None:
    """A 200 must be a whole document of its kind, whoever made it."""
    route = parse_route(path.partition("?")[0].removeprefix("/v3/"))
    assert route is not None
    assert route.kind is not None
    if route.resource != LINK and route.kind is not Kind.PACKAGE:
        check(route.kind, got.body, id=route.id)


def names_nothing(body: bytes) -> bool:
    """Whether a body is a list of nothing: what a client takes for "there is no such package"."""
    try:
        value = orjson.loads(body)
    except ValueError:
        return False
    if isinstance(value, Mapping):
        lists = [value.get(name) for name in ("versions", "items", "data") if name in value]
        return bool(lists) and not any(lists)
    return value == []
