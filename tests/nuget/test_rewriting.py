"""Rewriting changes the URLs that it should change, and nothing else, in whatever document."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nugetproxy.nuget.documents.render import Link, View, render
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.kinds import Kind
from tests.nuget.indexes import nuget_org

SERVICES = nuget_org()
URL = "https://api.nuget.org/v3/registration5-gz-semver2/foo/index.json"
BASE = "https://proxy.example.com/feed/v3/"

MAPPED = {
    "https://api.nuget.org/v3/registration5-semver1/": "registration/semver1/",
    "https://api.nuget.org/v3/registration5-gz-semver1/": "registration/gz-semver1/",
    "HTTP://api.nuget.org/v3/registration5-gz-semver2/": "registration/gz-semver2/",
}
FLAT = "https://api.nuget.org/v3-flatcontainer/"
CATALOG = "https://api.nuget.org/v3/catalog0/"
VULNERABILITIES = "https://api.nuget.org/v3/vulnerabilities/"

Pair = tuple[Any, Any]
"""A value before and after."""
Pairs = st.SearchStrategy[Pair]

ids = st.from_regex(r"[a-z][a-z0-9_]{0,5}(\.[a-z0-9]{1,4})?", fullmatch=True).filter(
    lambda text: text not in ("con", "prn", "aux", "nul") and not text.startswith(("com", "lpt"))
)
versions = st.builds(
    lambda numbers, tag: ".".join(map(str, numbers)) + tag,
    st.tuples(*[st.integers(0, 20)] * 3),
    st.sampled_from(["", "-rc.1", "-alpha"]),
)
fragments = st.sampled_from(["", "", "#page/1.0.0/2.0.0", "#"])
foreign = st.sampled_from(
    [
        "https://cdn.example.com/a/b.json",
        "https://api.nuget.org/v3/other/index.json?sig=%2F",
        "https://api.nuget.org.evil.example/v3-flatcontainer/a/index.json",
        "https://api.nuget.org/v3-flatcontainer/%2e%2e/index.json",
        "http://169.254.169.254/x",
    ]
)
odd = st.sampled_from([None, True, 7, 1.5, "", "urn:uuid:1", [], {}, [[]], ["x"], {"@id": 3}, 2**63 - 1])
texts = st.one_of(
    st.text(max_size=8), st.sampled_from([URL, FLAT, f"see {URL} or {FLAT}foo/index.json", '","@id":"https://h/'])
)
unknown: st.SearchStrategy[Any] = st.recursive(
    texts
    | st.integers(-(2**63), 2**64 - 1)
    | st.booleans()
    | st.none()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["@id", "url", "items", "é"]), inner),
    max_leaves=4,
)


def same(values: st.SearchStrategy[Any]) -> Pairs:
    """Values that must not change."""
    return values.map(lambda value: (value, value))


@st.composite
def followed(draw: st.DrawFn, kind: Kind, local: st.SearchStrategy[tuple[str, str]]) -> Pair:
    """A URL that clients fetch: mapped, or foreign and therefore opaque, or no URL at all."""
    choice = draw(st.integers(0, 9))
    fragment = draw(fragments)
    if choice == 0:
        return draw(same(odd))
    if choice < 3:
        url = draw(foreign)
        return url + fragment, f"{BASE}x/{Link.to(kind, url).token}{fragment}"
    before, after = draw(local)
    return before + fragment, BASE + after + fragment


def shown(local: st.SearchStrategy[tuple[str, str]]) -> Pairs:
    """A URL that is only shown."""
    return st.one_of(same(odd), same(foreign), local.map(lambda pair: (pair[0], BASE + pair[1])))


def below(bases: dict[str, str], rests: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[str, str]]:
    return st.builds(lambda base, rest: (base[0] + rest, base[1] + rest), st.sampled_from(sorted(bases.items())), rests)


index_urls = below(MAPPED, ids.map(lambda id_: f"{id_}/index.json"))
leaf_urls = below(MAPPED, st.builds("{}/{}.json".format, ids, versions))
page_urls = below(MAPPED, st.builds("{}/page/{}/{}.json".format, ids, versions, versions))
catalog_leaf_urls = below({CATALOG: "catalog/"}, st.builds("data/2020.01.02/{}.{}.json".format, ids, versions))
catalog_page_urls = below({CATALOG: "catalog/"}, st.integers(0, 99).map("page{}.json".format))
icon_urls = below({FLAT: "content/"}, st.builds("{}/{}/icon".format, ids, versions))
bases = st.one_of(
    same(odd.filter(lambda value: value != {})),
    same(foreign),
    st.sampled_from([(base, BASE + local) for base, local in MAPPED.items()]),
)


@st.composite
def objects(
    draw: st.DrawFn, fields: dict[str, Pairs], after: Callable[[dict[str, Any]], dict[str, Any]] | None = None
) -> Pair:
    """An object with some of ``fields`` among unknown ones, in any order; ``after`` has a last word on the outcome."""
    known = draw(st.lists(st.sampled_from(sorted(fields)), unique=True))
    others = draw(st.lists(st.sampled_from(["description", "summary", "url", "$new", "listed", "count"]), unique=True))
    names = draw(st.permutations([*known, *others]))
    pairs = {name: draw(fields[name] if name in fields else same(unknown)) for name in names}
    before = {name: pair[0] for name, pair in pairs.items()}
    changed = {name: pair[1] for name, pair in pairs.items()}
    return before, {**changed, **(after(before) if after else {})}


def arrays(items: Pairs) -> Pairs:
    return st.lists(st.one_of(items, same(odd.filter(lambda value: not isinstance(value, dict)))), max_size=3).map(
        lambda pairs: ([pair[0] for pair in pairs], [pair[1] for pair in pairs])
    )


def content_of(node: dict[str, Any]) -> dict[str, Any]:
    """What ``packageContent`` must become, given the object that has it (none of the URLs here names a package)."""
    entry = node.get("catalogEntry")
    named = entry if isinstance(entry, dict) else node
    url = node.get("packageContent")
    if not isinstance(url, str) or not url.startswith("http"):
        return {}
    identity = (
        PackageIdentity.parse(str(named.get("id")), str(named.get("version")))
        if "id" in named and "version" in named
        else None
    )
    if identity is None:
        return {"packageContent": f"{BASE}x/{Link.to(Kind.PACKAGE, url).token}"}
    return {"packageContent": f"{BASE}content/{identity.id}/{identity.version}/{identity.nupkg_name}"}


packages = same(st.one_of(foreign, odd))
context = st.one_of(same(odd), objects({"@base": bases, "@vocab": same(st.just("http://schema.nuget.org/schema#"))}))
dependency = objects(
    {"@id": shown(catalog_leaf_urls), "id": same(ids), "registration": followed(Kind.REGISTRATION, index_urls)}
)
groups = arrays(objects({"@id": shown(catalog_leaf_urls), "dependencies": arrays(dependency)}))
entry = objects(
    {
        "@id": shown(catalog_leaf_urls),
        "id": same(ids),
        "version": same(versions),
        "packageContent": packages,
        "iconUrl": shown(icon_urls),
        "projectUrl": same(icon_urls.map(lambda pair: pair[0])),
        "dependencyGroups": groups,
        "deprecation": objects({"@id": shown(catalog_leaf_urls)}),
    },
    content_of,
)
# The leaf's own URL could tell the identity; test_documents.py has these cases.
leaf = objects(
    {
        "catalogEntry": st.one_of(entry, followed(Kind.REGISTRATION_LEAF, catalog_leaf_urls | leaf_urls)),
        "registration": followed(Kind.REGISTRATION, index_urls),
        "packageContent": packages,
        "@context": context,
    },
    content_of,
)
bare_leaf = objects({"@id": followed(Kind.REGISTRATION_LEAF, leaf_urls), "catalogEntry": entry})
page = objects(
    {
        "@id": followed(Kind.REGISTRATION_PAGE, page_urls | index_urls),
        "parent": followed(Kind.REGISTRATION, index_urls),
        "items": arrays(leaf | bare_leaf),
    }
)


def page_id_of(page: dict[str, Any]) -> dict[str, Any]:
    """What the opaque ``@id`` of a page in an index must become: one that is inlined may name the index."""
    url, parent = page.get("@id"), page.get("parent")
    if not isinstance(url, str) or not url.startswith("http") or not isinstance(page.get("items"), list):
        return {}
    target, hash_, fragment = url.partition("#")
    here = bool(fragment) or (isinstance(parent, str) and target == parent.partition("#")[0])
    foreign = any(link in target for link in ("cdn.example", "/other/", "evil.example", "%2e", "169.254"))
    if not (here and foreign):
        return {}
    return {"@id": f"{BASE}x/{Link.to(Kind.REGISTRATION, target).token}{hash_}{fragment}"}


inlined = objects(
    {
        "@id": followed(Kind.REGISTRATION_PAGE, page_urls | index_urls),
        "parent": followed(Kind.REGISTRATION, index_urls),
        "items": arrays(leaf | bare_leaf),
    },
    page_id_of,
)
index = objects({"@id": followed(Kind.REGISTRATION, index_urls), "items": arrays(inlined), "@context": context})
search = objects(
    {
        "@context": context,
        "totalHits": same(st.integers()),
        "data": arrays(
            objects(
                {
                    "@id": followed(Kind.REGISTRATION, index_urls),
                    "registration": followed(Kind.REGISTRATION, index_urls),
                    "iconUrl": shown(icon_urls),
                    "versions": arrays(objects({"@id": followed(Kind.REGISTRATION_LEAF, leaf_urls)})),
                }
            )
        ),
    }
)
vulnerabilities = arrays(
    objects(
        {
            "@name": same(texts),
            "@id": followed(
                Kind.VULNERABILITY_PAGE,
                below({VULNERABILITIES: "vulnerabilities/pages/"}, st.integers(0, 9).map("{}/base.json".format)),
            ),
        }
    )
)
catalog = objects(
    {
        "@id": st.just((f"{CATALOG}index.json", f"{BASE}catalog/index.json")),
        "items": arrays(objects({"@id": followed(Kind.CATALOG_PAGE, catalog_page_urls)})),
    }
)
catalog_page = st.builds(
    lambda pair, items: ({**pair[0], "items": items[0]}, {**pair[1], "items": items[1]}),
    objects({"@id": followed(Kind.CATALOG_PAGE, catalog_page_urls)}),
    arrays(objects({"@id": followed(Kind.CATALOG_LEAF, catalog_leaf_urls)})),
)
catalog_leaf = objects(
    {
        "@id": followed(Kind.CATALOG_LEAF, catalog_leaf_urls),
        "packageEntries": arrays(objects({"@id": shown(catalog_leaf_urls)})),
        "dependencyGroups": groups,
        "iconUrl": shown(icon_urls),
    }
)


def documents() -> st.SearchStrategy[tuple[Kind, Pair]]:
    kinds: dict[Kind, Pairs] = {
        Kind.REGISTRATION: index,
        Kind.REGISTRATION_PAGE: page,
        Kind.REGISTRATION_LEAF: leaf,
        Kind.SEARCH: search,
        Kind.VULNERABILITIES: vulnerabilities,
        Kind.CATALOG: catalog,
        Kind.CATALOG_PAGE: catalog_page,
        Kind.CATALOG_LEAF: catalog_leaf,
    }
    return st.one_of([pairs.map(lambda pair, kind=kind: (kind, pair)) for kind, pairs in kinds.items()])


def ordered(text: bytes) -> Any:
    """A JSON value in which the order of keys and the spelling of numbers count."""
    return json.loads(
        text, object_pairs_hook=list, parse_float=lambda n: ("number", n), parse_int=lambda n: ("number", n)
    )


@settings(
    max_examples=4 * settings.default.max_examples,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(documents())
def test_only_urls_change(document: tuple[Kind, Pair]) -> None:
    kind, (before, after) = document
    found = render(kind, json.dumps(before).encode(), View(SERVICES, BASE, ""))
    assert ordered(found.body) == ordered(json.dumps(after).encode())
    for link in found.links:
        assert f"{BASE}x/{link.token}".encode() in found.body
        assert "#" not in link.url


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(documents())
def test_what_was_rewritten_once_differs_between_hosts_only_in_the_base(document: tuple[Kind, Pair]) -> None:
    """Edge case 13."""
    kind, (before, _) = document
    body = json.dumps(before).encode()
    one = render(kind, body, View(SERVICES, BASE, ""))
    two = render(kind, body, View(SERVICES, "http://[::1]:5555/v3/", ""))
    assert two.body.replace(b"http://[::1]:5555/v3/", BASE.encode()) == one.body
    assert one.links == two.links
