"""The configuration: what is read, what is refused, with which words."""

from __future__ import annotations

import math
import re
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from typer.testing import CliRunner

from nugetproxy.app.descriptors import share_out
from nugetproxy.app.shared import Hot, hot_bytes
from nugetproxy.caching.policy import FOREVER
from nugetproxy.cli.commands import app
from nugetproxy.config import Address, Config, Secret, conditions, derive_name, load, safe_url, warnings
from nugetproxy.config.places import RESERVED_NAMES, parse_address, parse_origin, parse_public_url
from nugetproxy.config.problems import TABLES
from nugetproxy.config.section import keys_of
from nugetproxy.config.units import GIB, parse_size, parse_span, size_text
from nugetproxy.config.upstream import Upstream
from nugetproxy.errors import ConfigError
from nugetproxy.nuget.kinds import Kind
from tests.fakes.spans import span_text

ROOT = Path(__file__).parent.parent
FEED = "https://feed.example.com/v3/index.json"
CANARY = "hunter2-canary-value"


def from_text(text: str, tmp_path: Path, environ: dict[str, str] | None = None, **flags: Any) -> Config:
    file = tmp_path / "proxy.toml"
    file.write_text(text, encoding="utf-8")
    return load(file, environ=environ or {}, **flags)


def problems_of(text: str, tmp_path: Path, environ: dict[str, str] | None = None, **flags: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        from_text(text, tmp_path, environ, **flags)
    where = str(tmp_path / "proxy.toml")
    return [line.removeprefix(f"{where}: ") for line in caught.value.problems]


# --- spans and sizes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30.0),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("1h 30m", 5400.0),
        ("1.5h", 5400.0),
        ("250ms", 0.25),
        (" 7 Days ", 604800.0),
        ("1 minute", 60.0),
        ("2w", 1209600.0),
        ("0", 0.0),
        ("0s", 0.0),
        ("forever", math.inf),
        ("FOREVER", math.inf),
    ],
)
def test_a_span_is_read_as_seconds(text: str, seconds: float) -> None:
    assert parse_span(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "30", "s", "-5s", "5x", "1h30", "1e3s", "٣s", "5s!", "1.s", "inf", "nan", "5 m s"]
)
def test_what_is_no_span_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match='such as "30s"'):
        parse_span(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("50 GiB", 50 * 1024**3),
        ("50GiB", 50 * 1024**3),
        ("1.5 GB", 1_500_000_000),
        ("512 kib", 524288),
        ("4096 bytes", 4096),
        ("1 B", 1),
        ("1TiB", 1024**4),
        ("0", 0),
    ],
)
def test_a_size_is_read_as_bytes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "50", "GiB", "-1 GiB", "5 GiBs", "1 GiB 2 MiB", "1,5 GB", "0x10 B", "forever"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match='such as "512 MiB"'):
        parse_size(text)


@pytest.mark.parametrize("seconds", [0.0, 0.25, 1.0, 90.0, 3600.0, 86400.0, 93784.5, FOREVER])
def test_a_span_survives_being_written_and_read(seconds: float) -> None:
    assert parse_span(span_text(seconds)) == seconds


@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 1536, 50 * 1024**3, 3 * 1024**4])
def test_a_size_survives_being_written_and_read(size: int) -> None:
    assert parse_size(size_text(size)) == size


# --- addresses and names ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "address", "loopback"),
    [
        ("127.0.0.1:5555", Address("127.0.0.1", 5555), True),
        ("[::1]:5555", Address("::1", 5555), True),
        ("localhost:0", Address("localhost", 0), True),
        ("0.0.0.0:80", Address("0.0.0.0", 80), False),
        ("[::]:80", Address("::", 80), False),
        ("build-server:8080", Address("build-server", 8080), False),
    ],
)
def test_an_address_to_listen_on(text: str, address: Address, loopback: bool) -> None:
    assert parse_address(text) == address
    assert str(address) == text
    assert address.is_loopback is loopback


@pytest.mark.parametrize(
    "text", ["", "5555", ":5555", "*:5555", "127.0.0.1", "::1:5555", "h:65536", "h:-1", "h:x", "http://h:1", "a b:1"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_address(text)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://api.nuget.org/v3/index.json", "nuget.org"),
        ("http://127.0.0.1:5000/v3/index.json", "127.0.0.1-5000"),
        ("https://feed.example.com/v3/index.json", "feed.example.com"),
        ("https://feed.example.com:443/v3/index.json", "feed.example.com"),
        ("https://feed.example.com/index.json", "feed.example.com"),
        ("https://feed.example.com/nuget/team/v3/index.json", "feed.example.com-nuget-team"),
    ],
)
def test_an_upstream_given_as_url_gets_a_readable_name(url: str, name: str) -> None:
    assert derive_name(url) == name


def test_urls_that_would_share_a_name_get_different_ones() -> None:
    urls = [
        "https://h.example/a/b/v3/index.json",
        "https://h.example/a-b/v3/index.json",
        "https://h.example/A/b/v3/index.json",
        "https://h.example/a/b/v3/index.json?x=1",
        "https://h.example/a//b/v3/index.json",
        "https://h.example/a_b/v3/index.json",
        "https://h.example/" + "x" * 80 + "/v3/index.json",
        "https://h.example/" + "x" * 81 + "/v3/index.json",
        "https://[::1]/v3/index.json",
        "https://api.nuget.org:8443/v3/index.json",
        "https://api.nuget.org/mirror/v3/index.json",
        *(f"http://{name}/v3/index.json" for name in sorted(RESERVED_NAMES)),
    ]
    names = {derive_name(url) for url in urls}
    assert len(names) == len(urls)
    assert not names & RESERVED_NAMES
    for name, url in ((derive_name(url), url) for url in urls):
        assert load(environ={}, upstreams=[url]).upstreams[name].url == url


@pytest.mark.parametrize(
    ("given", "origin"),
    [
        ("https://a.example", "https://a.example:443"),
        ("http://a.example:8080/", "http://a.example:8080"),
        ("https://[::1]", "https://[::1]:443"),
        ("https://A.Example", "https://a.example:443"),
    ],
)
def test_an_origin_always_names_its_port(given: str, origin: str) -> None:
    assert parse_origin(given) == origin


def test_a_public_url_loses_the_slash_at_its_end() -> None:
    assert parse_public_url("https://nuget.example.com/sub/") == "https://nuget.example.com/sub"


@pytest.mark.parametrize("url", ["https://x/v3/index.json", "https://x/?a=1", "x", "//x", "https://u:p@x"])
def test_what_is_no_public_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_public_url(url)


def test_a_url_is_shown_without_user_and_query() -> None:
    assert safe_url("https://u:p@h.example:1/a/index.json?sig=1#x") == "https://h.example:1/a/index.json"


# --- defaults and files ----------------------------------------------------------------------------------------------


def test_no_configuration_at_all_is_a_proxy_of_nuget_org() -> None:
    config = load(environ={})
    assert str(config.server.listen) == "127.0.0.1:5555"
    assert {name: upstream.url for name, upstream in config.upstreams.items()} == {
        "nuget.org": "https://api.nuget.org/v3/index.json"
    }
    assert config.policies() == {kind: kind.row.policy for kind in Kind}
    assert config.cache.path.is_absolute()
    assert warnings(config) == ()


def test_the_configuration_file_that_we_ship_says_exactly_the_defaults() -> None:
    shipped = load(ROOT / "config" / "nugetproxy.toml", environ={})
    default = load(environ={})
    for part in ("server", "cache", "log", "limits", "network", "upstreams", "mirror", "symbols", "tools", "history"):
        assert getattr(shipped, part) == getattr(default, part), part
    assert shipped.policies() == default.policies()


def test_the_configuration_file_that_we_ship_holds_every_key() -> None:
    written = tomllib.loads((ROOT / "config" / "nugetproxy.toml").read_text(encoding="utf-8"))
    for path, model in TABLES.items():
        for table in tables_at(written, path):
            assert set(table) == set(keys_of(model)), path
    assert list(written["policy"]) == [kind.value for kind in Kind]


def tables_at(tree: dict[str, Any], path: tuple[str, ...]) -> list[dict[str, Any]]:
    found = [tree]
    for part in path:
        found = [table for tree in found for table in (tree.values() if part == "*" else [tree[part]])]
    assert found, path
    return found


def test_every_key_in_the_shipped_file_has_its_line_of_meaning() -> None:
    lines = (ROOT / "config" / "nugetproxy.toml").read_text(encoding="utf-8").splitlines()
    policy = next(number for number, line in enumerate(lines) if line.startswith("[policy."))
    for number, line in enumerate(lines[:policy]):
        if line and line[0].isalpha():
            above = lines[number - 1]
            assert above.startswith("# ") and len(above) > 12, f"line {number + 1} has no explanation: {line}"


@pytest.mark.parametrize("example", sorted((ROOT / "config" / "examples").glob("*.toml")), ids=lambda path: path.name)
def test_the_examples_can_be_run(example: Path, tmp_path: Path) -> None:
    environ = dict.fromkeys(("COMPANY_FEED_TOKEN", "STORE_KEY", "STORE_SECRET"), CANARY)
    issued, file = trustme.CA().issue_cert("nuget.example.com"), tmp_path / example.name
    issued.private_key_pem.write_to_path(tmp_path / "privkey.pem")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "fullchain.pem")
    file.write_text(example.read_text().replace("/etc/nugetproxy/tls", str(tmp_path)))
    config = load(file, environ=environ)
    assert config.upstreams
    assert "COMPANY_FEED_TOKEN" not in repr(warnings(config))
    done = CliRunner().invoke(app, ["check-config", str(file)], env=environ)
    assert done.exit_code == 0, done.output


def test_a_byte_order_mark_is_tolerated(tmp_path: Path) -> None:
    assert from_text('\ufeff[log]\nlevel = "debug"', tmp_path).log.level == "debug"


def test_the_first_upstream_is_the_first_in_the_file(tmp_path: Path) -> None:
    text = f'[upstreams.zeta]\nurl = "{FEED}"\n[upstreams.alpha]\nurl = "{FEED}"\n'
    environ = {"NUGETPROXY_UPSTREAMS__ALPHA__TRIES": "5", "NUGETPROXY_UPSTREAMS__BETA__URL": FEED}
    config = from_text(text, tmp_path, environ)
    assert list(config.upstreams) == ["zeta", "alpha", "beta"]
    assert config.upstreams["alpha"].tries == 5


def test_policy_cells_replace_only_what_they_name(tmp_path: Path) -> None:
    config = from_text('[policy.versions]\nfresh = "1m"\nabsent = "forever"\n', tmp_path)
    policies = config.policies()
    assert (policies[Kind.VERSIONS].fresh, policies[Kind.VERSIONS].absent) == (60.0, FOREVER)
    assert policies[Kind.VERSIONS].on_error == Kind.VERSIONS.row.policy.on_error
    assert {kind: policy for kind, policy in policies.items() if kind is not Kind.VERSIONS} == {
        kind: kind.row.policy for kind in Kind if kind is not Kind.VERSIONS
    }


# --- precedence ------------------------------------------------------------------------------------------------------


def test_flags_beat_the_environment_which_beats_the_file(tmp_path: Path) -> None:
    text = '[server]\nlisten = "127.0.0.1:1"\ndrain = "1s"\n[cache]\ndirectory = "/file"\n'
    environ = {"NUGETPROXY_SERVER__LISTEN": "127.0.0.1:2", "NUGETPROXY_CACHE__DIRECTORY": "/environment"}
    config = from_text(text, tmp_path, environ, listen="127.0.0.1:3")
    assert (config.server.listen.port, config.cache.directory, config.server.drain) == (3, "/environment", 1.0)


def test_upstreams_given_as_flags_replace_all_others(tmp_path: Path) -> None:
    text = f'[upstreams.old]\nurl = "{FEED}"\n'
    environ = {"NUGETPROXY_UPSTREAMS__OTHER__URL": FEED}
    config = from_text(text, tmp_path, environ, upstreams=["http://127.0.0.1:9/v3/index.json", FEED])
    assert list(config.upstreams) == ["127.0.0.1-9", "feed.example.com"]


def test_the_environment_can_hold_lists_tables_and_odd_names() -> None:
    environ = {
        "NUGETPROXY_SERVER__ALLOWED_HOSTS": "one.example, two.example",
        "NUGETPROXY_SERVER__TRUSTED_PROXIES": '["10.0.0.0/8"]',
        "NUGETPROXY_SERVER__LISTEN": "[::1]:80",
        "NUGETPROXY_SERVER__ALLOW_ANONYMOUS": "true",
        "NUGETPROXY_MIRROR__IDS": "Acme.*, Contoso.App",
        "NUGETPROXY_UPSTREAMS": '{"nuget.org": {"url": "https://api.nuget.org/v3/index.json", "offline": true}}',
        "nugetproxy_cache__max_size": "1 GiB",
    }
    config = load(environ=environ)
    assert config.server.allowed_hosts == ("one.example", "two.example")
    assert [str(network) for network in config.server.trusted_proxies] == ["10.0.0.0/8"]
    assert config.server.listen == Address("::1", 80)
    assert config.server.allow_anonymous is True
    assert config.mirror.ids == ("Acme.*", "Contoso.App")
    assert config.upstreams["nuget.org"].offline is True
    assert config.cache.max_size == 1024**3


def test_variables_of_the_test_suite_and_of_others_are_no_configuration() -> None:
    assert load(environ={"NUGETPROXY_TEST_DOTNET": "/usr/bin/dotnet", "NUGET_PACKAGES": "x"}) == load(environ={})


@pytest.mark.parametrize("service", ["NUGETPROXY", "NUGETPROXY_SITE_2"])
def test_what_kubernetes_sets_for_a_service_of_our_name_is_no_configuration(service: str) -> None:
    port = f"{service}_PORT_5555_TCP"
    environ = {
        f"{service}_SERVICE_HOST": "10.96.0.7",
        f"{service}_SERVICE_PORT": "5555",
        f"{service}_SERVICE_PORT_HTTP": "5555",
        f"{service}_PORT": "tcp://10.96.0.7:5555",
        port: "tcp://10.96.0.7:5555",
        f"{port}_PROTO": "tcp",
        f"{port}_PORT": "5555",
        f"{port}_ADDR": "10.96.0.7",
    }
    assert load(environ=environ) == load(environ={})


@pytest.mark.parametrize("variable", ["NUGETPROXY_PORT", "NUGETPROXY_SERVER__PORT", "NUGETPROXY_SERVER__SERVICE_HOST"])
def test_a_variable_that_only_looks_like_those_is_an_error(variable: str) -> None:
    with pytest.raises(ConfigError, match="is unknown"):
        load(environ={variable: "5555"})


# --- what is wrong ---------------------------------------------------------------------------------------------------

WRONG = {
    "a key with a typing mistake": (
        '[server]\nlisen = "x"',
        "server.lisen: is unknown; did you mean server.listen?",
    ),
    "a table with a typing mistake": ("[sever]\n", "sever: is unknown; did you mean server?"),
    "a key outside its table": ('listen = "x"', "listen: is unknown; did you mean server.listen?"),
    "a key in the wrong table": (
        '[server]\nmax_size = "1 GiB"',
        "server.max_size: is unknown; did you mean cache.max_size",
    ),
    "a key like no other": ("[log]\nqqqq = 1", "log.qqqq: is unknown; known here: level, format"),
    "an upstream's key": (
        f'[upstreams.a]\nurl = "{FEED}"\ntrys = 1',
        "upstreams.a.trys: is unknown; did you mean upstreams.a.tries?",
    ),
    "an upstream's name with a dot, unquoted": (
        f'[upstreams.nuget.org]\nurl = "{FEED}"',
        'upstreams.nuget.org: is unknown; a name with a dot needs quotes: [upstreams."nuget.org"]',
    ),
    "a kind with a typing mistake": (
        '[policy.version]\nfresh = "1s"',
        "policy.version: is no kind of document; did you mean policy.versions?",
    ),
    "a cell with a typing mistake": (
        '[policy.versions]\nfrsh = "1s"',
        "policy.versions.frsh: is unknown; did you mean policy.versions.fresh?",
    ),
    "a span without a unit": ('[server]\ndrain = "30"', "server.drain: '30' is not a span of time"),
    "a span as a number": ("[server]\ndrain = 30", "server.drain: must be text in quotes with a unit"),
    "a wait for ever": ('[server]\nbody_timeout = "forever"', 'server.body_timeout: "forever" is not possible here'),
    "a wait of nothing": ('[server]\nbody_timeout = "0s"', "server.body_timeout: must be longer than zero"),
    "a span in a policy": ('[policy.search]\nfresh = "often"', "policy.search.fresh: 'often' is not a span of time"),
    "a size in words": ('[cache]\nmax_size = "lots"', "cache.max_size: 'lots' is not a size"),
    "a size as a number": ("[cache]\nmax_size = 5", "cache.max_size: must be text in quotes with a unit"),
    "a size of nothing": ('[limits]\npush = "0"', "limits.push: must be more than zero"),
    "an address without a port": ('[server]\nlisten = "127.0.0.1"', "server.listen: '127.0.0.1' is not an address"),
    "an address without a host": ('[server]\nlisten = ":80"', 'write "127.0.0.1:80" for this machine'),
    "a network with host bits": ('[server]\ntrusted_proxies = ["10.0.0.1/8"]', "server.trusted_proxies: not a network"),
    "a host with a scheme": (
        '[server]\nallowed_hosts = ["https://x"]',
        "server.allowed_hosts: 'https://x' is not a host name",
    ),
    "a number for a list": ("[server]\nallowed_hosts = 1", "server.allowed_hosts: must be a list of texts"),
    "text for a truth": ('[server]\nallow_anonymous = "perhaps"', "server.allow_anonymous: must be true or false"),
    "a negative number": ("[server]\nmax_connections = -1", "server.max_connections: must be at least 0"),
    "too many tries": (f'[upstreams.a]\nurl = "{FEED}"\ntries = 99', "upstreams.a.tries: must be at most 10"),
    "a fraction for a number": ("[server]\nmax_connections = 1.5", "server.max_connections: must be a whole number"),
    "a truth for a number": ("[server]\nmax_connections = true", "server.max_connections: must be a whole number"),
    "a number of thousands of digits": (
        f'[server]\nmax_connections = "{"9" * 5000}"',
        "server.max_connections: must be a whole number",
    ),
    "a number that no JSON has": (
        "[mirror]\nlatest = 99999999999999999999",
        "mirror.latest: must be at most 9007199254740992",
    ),
    "a number for a truth": ("[server]\nallow_anonymous = 2", "server.allow_anonymous: must be true or false"),
    "a number for text": ("[cache]\ndirectory = 5", "cache.directory: must be text in quotes"),
    "a number for a network": ("[server]\nmetrics_from = [1]", "server.metrics_from.0: must be text in quotes"),
    "a number for a date": ("[feeds.a]\nsources = ['b']\nasof = true", "feeds.a.asof: is not a date"),
    "a year for a date": ("[feeds.a]\nsources = ['b']\nasof = 2031", "feeds.a.asof: is not a date"),
    "no number for a date": ("[feeds.a]\nsources = ['b']\nasof = inf", "feeds.a.asof: is not a date"),
    "a date that no calendar has": (
        "[feeds.a]\nsources = ['b']\nasof = 9999-12-31T23:59:59-01:00",
        "feeds.a.asof: is not a date",
    ),
    "a mistyped key of what is mirrored": (
        "[mirror]\nlast = 3",
        "mirror.last: is unknown; did you mean mirror.latest?",
    ),
    "a port that is none": (
        '[cluster]\ncoordination = "redis://h:abc"',
        "cluster.coordination: not a URL; its host or port is malformed",
    ),
    "a port that nobody has": ('[cluster]\nendpoint = "http://h:0"', "cluster.endpoint: must be a URL such as"),
    "a feed to mirror that there is not": (
        '[mirror]\nids = ["a"]\nfeed = "nuget.ogr"',
        "mirror.feed: there is no feed 'nuget.ogr'; did you mean 'nuget.org'?",
    ),
    "a feed to mirror that has no catalog": (
        '[mirror]\nids = ["a"]\n[upstreams.a]\nurl = "https://a.example/v3/index.json"\nprivate = true\n'
        '[upstreams."nuget.org"]\nurl = "https://api.nuget.org/v3/index.json"\n'
        '[feeds.all]\nsources = ["a", "nuget.org"]',
        "mirror.feed: the feed all is made of several upstreams, so it has no catalog to be kept current by",
    ),
    "a folder to mirror": (
        '[mirror]\nids = ["a"]\n[upstreams.shelf]\nurl = "/"',
        "mirror.feed: the feed shelf is a folder of packages, so it has no catalog to be kept current by",
    ),
    "text for a list of tables": ('[access]\ntokens = "x"', "access.tokens: must be a list"),
    "neither text nor table": ("[feeds.a]\nsources = ['b']\npush = 5", "feeds.a.push: must be text in quotes"),
    "a wrong name in what may be text or a table": (
        '[feeds.a]\nsources = [\'b\']\npush = { "x" = "B" }',
        "feeds.a.push.x: a name is 1 to 64 of a-z",
    ),
    "a level that is none": (
        '[log]\nlevel = "loud"',
        'log.level: must be one of "debug", "info", "warning" or "error"',
    ),
    "text for a table": ('server = "x"', "server: must be a table"),
    "no upstreams": ("[upstreams]\n", "upstreams: must have at least one entry"),
    "an upstream without url": ("[upstreams.a]\ntries = 1", "upstreams.a.url: is missing"),
    "an upstream's name in capitals": (f'[upstreams.A]\nurl = "{FEED}"', "upstreams.A: a name is 1 to 64 of a-z"),
    "an upstream's name with a slash": (f'[upstreams."a/b"]\nurl = "{FEED}"', 'upstreams."a/b": a name is 1 to 64'),
    "an upstream's name with control characters": (
        f'[upstreams."a\\u001b[31m"]\nurl = "{FEED}"',
        'upstreams."a\\u001b[31m": a name is',
    ),
    "a reserved name": (f'[upstreams.v3]\nurl = "{FEED}"', "upstreams.v3: the name is taken by the proxy itself"),
    "a url without a scheme": ('[upstreams.a]\nurl = "feed.example.com"', "upstreams.a.url: not an absolute URL"),
    "a url with another scheme": ('[upstreams.a]\nurl = "ftp://x/"', "upstreams.a.url: not an absolute URL"),
    "a url with a bad port": ('[upstreams.a]\nurl = "http://x:99999/"', "upstreams.a.url: not a URL"),
    "a url with blanks": ('[upstreams.a]\nurl = "http://x/a b"', "upstreams.a.url: the URL holds"),
    "an origin with a path": (
        f'[upstreams.a]\nurl = "{FEED}"\ncredential_origins = ["https://x/y"]',
        "upstreams.a.credential_origins: an origin is scheme and host only",
    ),
    "a proxy that is none": (
        '[network]\nproxy = "socks5://x"',
        "network.proxy: not an HTTP proxy; write its address as",
    ),
    "a proxy with credentials in it": (
        f'[network]\nproxy = "http://u:{CANARY}@proxy:3128"',
        "network.proxy: a URL must not hold credentials; put it into a variable",
    ),
    "a proxy that is not set": (
        '[network]\nproxy = "env:NOT_SET"',
        "network.proxy: env:NOT_SET: the environment variable",
    ),
    "a URL among names": ('[network]\nno_proxy = ["http://x"]', "network.no_proxy"),
    "credentials to lend, but none": (
        f'[upstreams.a]\nurl = "{FEED}"\npush_credentials = "proxy"',
        'upstreams.a.push_credentials: "proxy" has no effect without credentials',
    ),
    "credentials for nothing": (
        f'[upstreams.a]\nurl = "{FEED}"\ncredential_origins = ["https://x"]',
        "upstreams.a.credential_origins: has no effect without credentials",
    ),
    "a name without a password": (
        f'[upstreams.a]\nurl = "{FEED}"\nusername = "u"',
        "upstreams.a.username: has no effect",
    ),
    "a header that is not theirs to set": (
        f'[upstreams.a]\nurl = "{FEED}"\nheaders = {{ Host = "x" }}',
        "upstreams.a.headers: 'Host' is not a header that can be set",
    ),
    "a header with a line break": (
        f'[upstreams.a]\nurl = "{FEED}"\nheaders = {{ "X-Team" = "a\\r\\nb" }}',
        "upstreams.a.headers: X-Team: the value holds control characters",
    ),
    "breaker spans the wrong way round": (
        f'[upstreams.a]\nurl = "{FEED}"\nbreaker_open = "2m"',
        "upstreams.a.breaker_max: must not be shorter than breaker_open",
    ),
    "a missing certificate file": (
        f'[upstreams.a]\nurl = "{FEED}"\nca_file = "/nowhere/ca.pem"',
        "upstreams.a.ca_file: /nowhere/ca.pem cannot be read",
    ),
    **{
        f"no such home: {key}": (text, f"{key}: there is no such home directory; write a path that begins with /")
        for key, text in {
            "cache.directory": '[cache]\ndirectory = "~nobody-known/x"',
            "server.tls_certificate": '[server]\ntls_certificate = "~nobody-known/x"\ntls_key = "/x"',
            "access.tokens_file": '[access]\ntokens_file = "~nobody-known/x"',
            "upstreams.a.ca_file": f'[upstreams.a]\nurl = "{FEED}"\nca_file = "~nobody-known/x"',
            "upstreams.a.signature_roots": f'[upstreams.a]\nurl = "{FEED}"\nsignature_roots = ["~nobody-known/x"]',
            "upstreams.a.password": f'[upstreams.a]\nurl = "{FEED}"\nusername = "u"\npassword = "file:~nobody-known/x"',
        }.items()
    },
    "a zero byte in a path": ('[access]\ntokens_file = "/x\\u0000"', "access.tokens_file: a path holds no zero byte"),
    "no TOML": ("server = [", "is not valid TOML"),
    "a number that is too long for TOML": (f"[mirror]\nlatest = {'9' * 5000}", "has a number that is too long"),
    "too deep": (f"x = {'[' * 5000}{']' * 5000}", "has lists or tables within each other too deep"),
}


@pytest.mark.parametrize(("text", "expected"), WRONG.values(), ids=WRONG)
def test_a_mistake_is_told_by_its_full_key(text: str, expected: str, tmp_path: Path) -> None:
    lines = problems_of(text, tmp_path)
    assert any(expected in line for line in lines), lines
    assert all("\n" not in line and line.isprintable() for line in lines)


def test_who_has_no_home_says_where_the_cache_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(_: str) -> Path:
        raise RuntimeError("could not determine the home directory")

    monkeypatch.setattr("platformdirs.user_cache_path", homeless)
    with pytest.raises(ConfigError, match=r"^cache\.directory: this user has no home directory"):
        _ = from_text("", tmp_path).cache.path


def test_every_mistake_is_told_at_once_with_the_file(tmp_path: Path) -> None:
    rule = '[feeds.a]\nsources = ["b"]\n[[feeds.a.rules]]\nnam = "x"\n'
    with pytest.raises(ConfigError) as caught:
        from_text(f'[server]\ndrain = "x"\n[cache]\nmax_size = "y"\nfoo = 1\n{rule}', tmp_path)
    assert len(caught.value.problems) == 5
    assert all(line.startswith(f"{tmp_path / 'proxy.toml'}: ") for line in caught.value.problems)


def test_every_mistake_in_a_table_of_tables_is_told(tmp_path: Path) -> None:
    text = '[upstreams.A]\ntries = 0\n[upstreams.b]\nurl = "x"\nconnections = "many"\nlist = []\n'
    assert [line.partition(": ")[0] for line in problems_of(text, tmp_path)] == [
        "upstreams.A",
        "upstreams.A.url",
        "upstreams.A.tries",
        "upstreams.b.url",
        "upstreams.b.connections",
        "upstreams.b.list",
    ]


@pytest.mark.parametrize(("text", "number"), [("7", 7), (" 12 ", 12), ("+3", 3), ("1_000", 1000), ("12.0", 12)])
def test_a_whole_number_in_a_variable(text: str, number: int) -> None:
    config = load(environ={"NUGETPROXY_SERVER__MAX_CONNECTIONS": text})
    assert config.server.max_connections == number


@pytest.mark.parametrize(("text", "truth"), [("1", True), ("Yes", True), ("on", True), ("0", False), (" OFF ", False)])
def test_a_truth_in_a_variable(text: str, truth: bool) -> None:
    config = load(environ={"NUGETPROXY_UPSTREAMS": f'{{"a": {{"url": "{FEED}", "push": "{text}"}}}}'})
    assert config.upstreams["a"].push is truth


def test_a_file_that_is_not_there_or_not_text_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load(tmp_path / "none.toml", environ={})
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not text in UTF-8"):
        load(tmp_path / "binary.toml", environ={})


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        (
            {"NUGETPROXY_SERVER__LISEN": "x"},
            "NUGETPROXY_SERVER__LISEN: server.lisen: is unknown; did you mean server.listen",
        ),
        ({"NUGETPROXY_LISTEN": "x"}, "NUGETPROXY_LISTEN: listen: is unknown; did you mean server.listen?"),
        ({"NUGETPROXY_SERVER__DRAIN": "x"}, "NUGETPROXY_SERVER__DRAIN: server.drain: 'x' is not a span"),
        ({"NUGETPROXY_SERVER__MAX_CONNECTIONS": "many"}, "server.max_connections: must be a whole number"),
        ({"NUGETPROXY_SERVER": "x"}, "NUGETPROXY_SERVER: server: must be a table"),
        ({"NUGETPROXY_SERVER": "x", "NUGETPROXY_SERVER__DRAIN": "1s"}, "NUGETPROXY_SERVER__DRAIN: contradicts"),
        ({"NUGETPROXY_": "x"}, "NUGETPROXY_"),
        (
            {"NUGETPROXY_SERVER": "x"},
            'must be a table; in a variable that is JSON, such as {"listen": "127.0.0.1:5555"}',
        ),
        (
            {"NUGETPROXY_UPSTREAMS": "nuget.org"},
            'NUGETPROXY_UPSTREAMS: upstreams: must be a table; in a variable that is JSON, such as {"nuget.org": ',
        ),
        (
            {"NUGETPROXY_UPSTREAMS": '{"a": {"url": "https://a.example/v3/index.json"'},
            "NUGETPROXY_UPSTREAMS: begins as JSON does, but is not valid JSON: Expecting ',' delimiter (at its end)",
        ),
        (
            {"NUGETPROXY_SERVER__ALLOWED_HOSTS": '["a", b]'},
            "NUGETPROXY_SERVER__ALLOWED_HOSTS: begins as JSON does, but is not valid JSON: "
            "Expecting value (character 7 of 8)",
        ),
        (
            {"NUGETPROXY_UPSTREAMS__NUGET_ORG__PUSH": "false"},
            "NUGETPROXY_UPSTREAMS__NUGET_ORG__PUSH: upstreams.nuget_org.url: is missing; no variable can have the name "
            """of upstream "nuget.org"; write NUGETPROXY_UPSTREAMS='{"nuget.org": {"url": """,
        ),
        (
            {"NUGETPROXY_UPSTREAMS__NUGET__ORG__PUSH": "false"},
            'upstreams.nuget.org: is unknown; no variable can have the name of upstream "nuget.org"',
        ),
        ({"NUGETPROXY_UPSTREAMS__OTHER__PUSH": "false"}, "UPSTREAMS__OTHER__PUSH: upstreams.other.url: is missing"),
        ({"NUGETPROXY_MIRROR__IDS": f"[{'9' * 5000}]"}, "NUGETPROXY_MIRROR__IDS: has a number that is too long"),
        ({"NUGETPROXY_MIRROR__IDS": "[" * 100_000}, "MIRROR__IDS: has lists or tables within each other too deep"),
    ],
)
def test_a_wrong_variable_is_told_by_its_name(environ: dict[str, str], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(environ=environ)
    assert any(expected in line for line in caught.value.problems), caught.value.problems


def test_an_odd_name_of_the_file_is_written_as_json_in_the_environment(tmp_path: Path) -> None:
    text = '[upstreams."feed.example.com"]\nurl = "https://feed.example.com/v3/index.json"\n'
    problems = problems_of(text, tmp_path, {"NUGETPROXY_UPSTREAMS__FEED_EXAMPLE_COM__PUSH": "false"})
    advice = next(line for line in problems if "write NUGETPROXY_UPSTREAMS=" in line)
    value = advice.partition("NUGETPROXY_UPSTREAMS='")[2].partition("'")[0]
    config = from_text(text, tmp_path, {"NUGETPROXY_UPSTREAMS": value})
    assert config.upstreams["feed.example.com"].push is False


def test_a_wrong_flag_is_told_by_its_name() -> None:
    for flags, expected in (
        ({"listen": "x"}, "--listen: server.listen: 'x' is not an address"),
        ({"upstreams": ["ftp://x"]}, "--upstream: not an absolute URL"),
        ({"upstreams": [""]}, "--upstream: is empty"),
        ({"cache_dir": ""}, "--cache-dir: is empty"),
    ):
        with pytest.raises(ConfigError) as caught:
            load(environ={}, **flags)
        assert caught.value.problems[0].startswith(expected)


# --- secrets ---------------------------------------------------------------------------------------------------------


def test_secrets_come_from_the_environment_and_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text(f"{CANARY}-file\n", encoding="utf-8")
    monkeypatch.setenv("THE_PASSWORD", f"{CANARY}-env")
    text = (
        f'[upstreams.a]\nurl = "{FEED}"\nusername = "me"\npassword = "env:THE_PASSWORD"\n'
        f'headers = {{ "X-Token" = "file:{tmp_path / "token"}", "X-Team" = "build" }}\n'
    )
    upstream = from_text(text, tmp_path, {"THE_PASSWORD": "x"}).upstreams["a"]
    basic = "Basic bWU6aHVudGVyMi1jYW5hcnktdmFsdWUtZW52"
    assert upstream.request_headers() == {
        "X-Token": f"{CANARY}-file",
        "X-Team": "build",
        "Authorization": basic,
    }
    assert set(upstream.secret_values()) == {f"{CANARY}-env", f"{CANARY}-file", basic.removeprefix("Basic ")}
    assert upstream.has_credentials
    assert CANARY not in repr(upstream) + str(upstream) + repr(Secret("env:THE_PASSWORD"))


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (
            f'password = "{CANARY}"',
            'upstreams.a.password: secrets are not written into the configuration; write "env:NAME"',
        ),
        (f'password = "plain:{CANARY}"', "upstreams.a.password: secrets are not written"),
        (
            f'headers = {{ "X-Api-Token" = "{CANARY}" }}',
            "upstreams.a.headers: X-Api-Token: a literal value is not allowed",
        ),
        (f'headers = {{ "Authorization" = "Bearer {CANARY}" }}', "a literal value is not allowed"),
        (f'headers = {{ "X-Team" = ["{CANARY}"] }}', "must be a table of texts"),
        (f'headers = "{CANARY}"', "must be a table of texts"),
        (f'url = "https://me:{CANARY}@feed.example.com/"', "a URL must not hold credentials"),
        (f'pasword = "{CANARY}"', "did you mean upstreams.a.password?"),
        (f'tries = "{CANARY}"', "must be a whole number"),
    ],
)
def test_a_literal_secret_is_refused_without_being_repeated(key: str, expected: str, tmp_path: Path) -> None:
    url = "" if key.startswith("url") else f'url = "{FEED}"\n'
    lines = problems_of(f"[upstreams.a]\n{url}{key}\n", tmp_path)
    assert any(expected in line for line in lines), lines
    assert CANARY not in "".join(lines)


@pytest.mark.parametrize(
    ("reference", "content", "expected"),
    [
        ("env:NOT_SET", None, "the environment variable NOT_SET is not set or empty"),
        ("file:{dir}/none", None, "cannot be read (No such file or directory)"),
        ("file:{dir}/secret", b"", "is not set or empty"),
        ("file:{dir}/secret", b"\xff\xfe", "is not text in UTF-8"),
        ("file:{dir}/secret", b"one\ntwo", "holds control characters or line breaks"),
    ],
)
def test_a_secret_that_is_not_there_is_told(
    reference: str, content: bytes | None, expected: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    text = f'[upstreams.a]\nurl = "{FEED}"\nusername = "u"\npassword = "{reference.format(dir=tmp_path)}"\n'
    with pytest.raises(ConfigError) as caught:
        from_text(text, tmp_path)
    assert caught.value.problems[0].startswith("upstreams.a.password: ")
    assert expected in caught.value.problems[0]


CREDENTIALS = f'[upstreams.a]\nurl = "{FEED}"\nusername = "u"\npassword = "env:P"\n'


@pytest.mark.parametrize(
    ("more", "listen", "told"),
    [
        ("", "0.0.0.0:1", True),
        ("", "127.0.0.1:1", False),
        ("anonymous = false\n", "0.0.0.0:1", False),
        ("anonymous = true\n", "0.0.0.0:1", False),
        ('anonymous = "auto"\n', "0.0.0.0:1", True),
        ("[server]\nallow_anonymous = true\n", "0.0.0.0:1", False),
        ('[[access.tokens]]\nname = "t"\ntoken = "env:T"\nscopes = ["read"]\n', "0.0.0.0:1", False),
        ('[[access.tokens]]\nname = "t"\ntoken = "env:T"\nscopes = ["push"]\n', "0.0.0.0:1", True),
    ],
)
def test_credentials_at_an_address_for_all_want_a_token(more: str, listen: str, told: bool, tmp_path: Path) -> None:
    environ = {"P": "p", "T": "a token that is long enough"}
    found = conditions(from_text(CREDENTIALS + more, tmp_path, environ, listen=listen))
    assert [line.partition(":")[0] for line in found] == ["upstreams.a.anonymous"] * told


TOKEN = '[[access.tokens]]\nname = "t"\ntoken = "env:T"\nscopes = ["read"]\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            TOKEN.replace('"env:T"', '"literal"'),
            "access.tokens.0.token: secrets are not written into the configuration",
        ),
        (TOKEN.replace("env:T", "env:NONE"), "access.tokens.0.token: the environment variable NONE is not set"),
        (TOKEN.replace("env:T", "env:SHORT"), "access.tokens.0.token: env:SHORT is shorter than 16 characters"),
        (TOKEN.replace('"read"', '"write"'), "access.tokens.0.scopes.0"),
        (TOKEN.replace('["read"]', "[]"), "access.tokens.0.scopes: must have at least one entry"),
        (TOKEN + TOKEN, "access.tokens.1.name: 't' is the name of another token too"),
        (TOKEN + 'feeds = ["b"]\n', "access.tokens.0.feeds: there is no feed 'b'"),
        (TOKEN.replace("read", "admin") + 'feeds = ["a"]\n', "the scope admin is for the whole proxy"),
        (TOKEN + 'expires = "soon"\n', "access.tokens.0.expires: is not a date"),
        (TOKEN + 'scope = "read"\n', "access.tokens.0.scope: is unknown; did you mean access.tokens.0.scopes?"),
        ('[access]\ntokens_file = "/nowhere/tokens"\n', "access.tokens_file: /nowhere is not a directory"),
        ('[server]\ntls_certificate = "/nowhere"\n', "server.tls_key: is missing"),
        ('[server]\ntls_certificate = "/nowhere"\ntls_key = "/nowhere"\n', "No such file or directory"),
        ('[server]\nadmin_listen = "run/admin"\n', "server.admin_listen: 'run/admin' is not an address to listen on"),
        ('[upstreams.a]\nanonymous = "perhaps"\n', "upstreams.a.anonymous: must be true or false"),
    ],
)
def test_what_is_wrong_with_access_is_named(text: str, expected: str, tmp_path: Path) -> None:
    whole = text if "[upstreams.a]" in text else f'[upstreams.a]\nurl = "{FEED}"\n{text}'
    lines = problems_of(whole, tmp_path, {"T": "a token that is long enough", "SHORT": "fifteen letters"})
    assert any(expected in line for line in lines), lines


def test_what_is_wrong_with_a_certificate_is_said(tmp_path: Path) -> None:
    key = generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    (tmp_path / "locked").write_bytes(pem)
    trustme.CA().issue_cert("a").cert_chain_pems[0].write_to_path(tmp_path / "cert")
    (tmp_path / "empty").touch()
    for cert, used, expected in (
        ("cert", "locked", "the key wants a password"),
        ("empty", "locked", "both are to be PEM"),
        ("cert", "empty", "both are to be PEM"),
    ):
        files = f'tls_certificate = "{tmp_path / cert}"\ntls_key = "{tmp_path / used}"'
        (line,) = problems_of(f"[server]\n{files}\n", tmp_path)
        assert line.startswith("server.tls_certificate: "), line
        assert expected in line, line


def test_a_token_of_the_configuration_has_a_date(tmp_path: Path) -> None:
    for date in ('"2031-12-31"', "2031-12-31", "2031-12-31T00:00:00Z"):
        text = f'[upstreams.a]\nurl = "{FEED}"\n{TOKEN}expires = {date}\n'
        (token,) = from_text(text, tmp_path, {"T": "a token that is long enough"}).access.tokens
        assert token.expires == datetime(2031, 12, 31, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("", True),
        ('push_credentials = "client"\n', False),
        ("push = false\ndelete = false\n", False),
        ("offline = true\n", False),
    ],
)
def test_who_relied_on_lent_credentials_is_told_that_they_are_not(more: str, told: bool, tmp_path: Path) -> None:
    found = warnings(from_text(CREDENTIALS + more, tmp_path, {"P": "p"}))
    assert [line.partition(":")[0] for line in found] == ["upstreams.a.push_credentials"] * told


def test_two_kinds_of_credentials_contradict_each_other(tmp_path: Path) -> None:
    text = f'{CREDENTIALS}headers = {{ authorization = "env:P" }}\n'
    assert "contradicts username and password" in problems_of(text, tmp_path, {"P": "p"})[0]


@pytest.mark.parametrize(
    ("text", "listen", "expected"),
    [
        ('[upstreams.a]\nurl = "http://feed.example.com/v3/index.json"', None, "is plain http"),
        ('[upstreams.a]\nurl = "http://127.0.0.1:5/v3/index.json"', None, None),
        ('[upstreams.a]\nurl = "http://[::1]:5/v3/index.json"', None, None),
        ("", "0.0.0.0:1", "is reached over plain http"),
        ('[server]\npublic_url = "https://nuget.example.com"', "0.0.0.0:1", None),
        ('[server]\npublic_url = "https://nuget.example.com"', None, None),
        (f'{CREDENTIALS}[server]\npublic_url = "https://nuget.example.com"', None, "let the front proxy ask"),
        (
            f'{CREDENTIALS}push_credentials = "proxy"\n[server]\npublic_url = "https://x"\nallow_anonymous = true',
            None,
            "everybody who gets through to https://x pushes with your credentials",
        ),
    ],
)
def test_what_works_but_should_be_known_is_a_warning(
    text: str, listen: str | None, expected: str | None, tmp_path: Path
) -> None:
    found = warnings(from_text(text, tmp_path, {"P": "p"}, listen=listen))
    if expected is None:
        assert found == ()
    else:
        assert any(expected in line for line in found), found


def test_open_files_are_shared_out_between_clients_downloads_and_held_files(monkeypatch: pytest.MonkeyPatch) -> None:
    for soft, clients, held, share in ((1024, 522, 58, 0.85), (100_000, 4000, 512, 1.0), (-1, 4000, 512, 1.0)):
        monkeypatch.setattr("resource.getrlimit", lambda _, soft=soft: (soft, soft))
        shared = share_out(load(environ={}))
        assert (shared.clients, shared.held, round(shared.upstream_share, 2)) == (clients, held, share)
    assert share_out(load(environ={"NUGETPROXY_SERVER__MAX_CONNECTIONS": "7"})).clients == 7


def test_what_is_hot_takes_the_configured_memory_all_in_all() -> None:
    config = load(environ={"NUGETPROXY_CACHE__HOT_MEMORY": "8 MiB"})
    assert sum(hot_bytes(config, what) for what in Hot) == config.cache.hot_memory


@pytest.mark.parametrize("limit", [64, 200, 256, 512, 1024, 4096, 65536])
@pytest.mark.parametrize("upstreams", [1, 2, 9])
def test_what_is_shared_out_is_there(limit: int, upstreams: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything at its bound at once still leaves descriptors, from 200 on for ordinary configurations."""
    monkeypatch.setattr("resource.getrlimit", lambda _: (limit, limit))
    one = Upstream(url="https://feed.example/v3/index.json")
    config = Config(upstreams={f"u{number}": one for number in range(upstreams)})
    shared = share_out(config)
    lanes = sum(int(one.connections * shared.upstream_share) for one in config.upstreams.values())
    spent = shared.clients + shared.held * upstreams + lanes * 4
    assert shared.clients >= 8
    assert shared.held >= 8
    assert spent < limit or limit == 64 or upstreams == 9 > limit // 100


class TestFolders:
    """An upstream may be a folder of packages."""

    def test_a_relative_folder_on_the_command_line(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "My Packages").mkdir()
        monkeypatch.chdir(tmp_path)

        config = load(upstreams=["My Packages"], cache_dir=str(tmp_path / "cache"), environ={})

        ((name, upstream),) = config.upstreams.items()
        assert upstream.folder == tmp_path / "My Packages"
        assert re.fullmatch(r"my-packages-[0-9a-f]{8}", name)

    @pytest.mark.parametrize("written", ["{}", "file://{}", "FILE://localhost{}"])
    def test_in_a_file(self, tmp_path: Path, written: str) -> None:
        folder = tmp_path / "a b"
        folder.mkdir()
        place = written.format(str(folder).replace(" ", "%20") if ":" in written else folder)
        file = tmp_path / "config.toml"
        file.write_text(f'[upstreams.shelf]\nurl = "{place}"\n')

        config = load(file, cache_dir=str(tmp_path / "cache"), environ={})

        assert config.upstreams["shelf"].folder == folder
        assert safe_url(place) == str(folder)

    def test_different_folders_have_different_names(self) -> None:
        assert derive_name("/one/packages") != derive_name("/two/packages")
        assert derive_name("/one/packages") == derive_name("file:///one/packages")

    @pytest.mark.parametrize(
        ("table", "problem"),
        [
            ({"url": "{root}.toml"}, "upstreams.shelf.url: {root}.toml is not a folder"),
            ({"url": "file://host/share"}, "upstreams.shelf.url: the URL of a folder is written as file:///path"),
            ({"url": "{root}", "hosts": "x.example"}, "upstreams.shelf.hosts: has no effect on a folder of packages"),
            (
                {"url": "{root}", "follow_catalog": "true"},
                "upstreams.shelf.follow_catalog: has no effect on a folder of packages",
            ),
            ({"url": "packages"}, "upstreams.shelf.url: not an absolute URL"),
        ],
    )
    def test_what_is_wrong_with_one(self, tmp_path: Path, table: dict[str, str], problem: str) -> None:
        root = tmp_path / "root"
        root.mkdir()
        lines = "".join(f'{key} = "{value.format(root=root)}"\n' for key, value in table.items())
        file = tmp_path / "root.toml"
        file.write_text(f"[upstreams.shelf]\n{lines}")

        with pytest.raises(ConfigError) as caught:
            load(file, cache_dir=str(tmp_path / "cache"), environ={})

        assert problem.format(root=root) in str(caught.value)

    def test_one_that_is_away_is_only_warned_of(self, tmp_path: Path) -> None:
        file = tmp_path / "config.toml"
        file.write_text(f"[upstreams.shelf]\nurl = '{tmp_path / 'share'}'\n")

        config = load(file, cache_dir=str(tmp_path / "cache"), environ={})

        (said,) = warnings(config)
        assert said.startswith(f"upstreams.shelf.url: {tmp_path / 'share'} cannot be read now")
        (tmp_path / "share").mkdir()
        assert warnings(config) == ()

    def test_the_cache_does_not_lie_in_it(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="never written to"):
            load(upstreams=[str(tmp_path)], cache_dir=str(tmp_path / "cache"), environ={})

    def test_one_that_does_not_exist(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"--upstream: neither an absolute URL.* nor a folder that exists"):
            load(upstreams=[str(tmp_path / "none")], environ={})


@pytest.mark.parametrize(
    ("text", "capacity", "free"),
    [
        ("auto", 100 * GIB, 5 * GIB),
        ("auto", 10_000 * GIB, 10 * GIB),
        ("20 GiB", 100 * GIB, 20 * GIB),
        ("10 %", 10_000 * GIB, 1_000 * GIB),
        ("2.5%", 1000, 25),
        ("0", 100 * GIB, 0),
    ],
)
def test_what_is_left_free_on_the_disk(text: str, capacity: int, free: int, tmp_path: Path) -> None:
    assert from_text(f'[cache]\nmin_free = "{text}"\n', tmp_path).cache.min_free.of(capacity) == free


@pytest.mark.parametrize("text", ["much", "100 %", "-1 %", "5", "%"])
def test_what_cannot_be_left_free_is_told(text: str, tmp_path: Path) -> None:
    (line,) = problems_of(f'[cache]\nmin_free = "{text}"\n', tmp_path)
    assert line.startswith(f"cache.min_free: '{text}' is neither a size nor a part; write \"auto\"")
