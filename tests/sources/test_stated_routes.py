"""Where what is said of a package is stored is where clients ask for it."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.resources import HIVES
from nugetproxy.nuget.routes import index_route, leaf_route, package_route, parse_route, version_list_route

IDENTITIES = [
    PackageIdentity("newtonsoft.json", "13.0.3"),
    PackageIdentity("acme", "1.0.0-rc.1"),
    PackageIdentity("größe", "2.0.0"),
]


@pytest.mark.parametrize("identity", IDENTITIES, ids=str)
@pytest.mark.parametrize("hive", HIVES)
def test_it_is_the_route_of_the_path(hive: str, identity: PackageIdentity) -> None:
    id = quote(identity.id)
    assert leaf_route(hive, identity) == parse_route(f"{hive}/{id}/{identity.version}.json")
    assert index_route(hive, identity.id) == parse_route(f"{hive}/{id}/index.json")
    assert version_list_route(identity.id) == parse_route(f"content/{id}/index.json")
    path = f"content/{id}/{identity.version}/{id}.{identity.version}.nupkg"
    assert package_route(identity) == parse_route(path)
