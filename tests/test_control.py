"""Commands reach a running proxy by its socket, work on a stopped one by themselves."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from typer.testing import CliRunner

from nugetproxy.cli.commands import app
from nugetproxy.cli.control import Connection
from tests.conftest import StartProxy
from tests.fakes.asking import ask
from tests.fakes.feed import FakeFeed
from tests.fakes.process import ProxyProcess
from tests.fakes.proxy import Proxy
from tests.test_serve import refused
from tests.web.test_tokens import basic, token

INDEX = "/v3/index.json"


async def cli(*words: object) -> tuple[int, str, str]:
    """Exit code, stdout, stderr of a command."""
    done = await asyncio.to_thread(CliRunner().invoke, app, [str(word) for word in words])
    return done.exit_code, done.stdout, done.stderr


async def status(url: str, secret: str = "") -> int:
    async with aiohttp.ClientSession() as session, session.get(url, headers=basic(secret) if secret else {}) as answer:
        return answer.status


@pytest.fixture(params=["a short path", "a long path"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """One whose socket fits into a socket address, one whose does not."""
    return tmp_path / "cache" if request.param == "a short path" else tmp_path / ("long" * 30) / "cache"


async def test_a_running_proxy_obeys_at_once(feed: FakeFeed, cache: Path) -> None:
    async with ProxyProcess("--upstream", feed.index_url, "--cache-dir", cache) as proxy:
        assert await status(proxy.url + INDEX) == 200
        wanted = ("--scope", "read,push", "--expires", "90d", "--cache-dir", cache)
        code, secret, told = await cli("token", "add", "ci", *wanted)
        assert (code, "shown this once" in told, "everybody needs a token for" in told) == (0, True, True)
        assert await status(proxy.url + INDEX) == 401
        assert await status(proxy.url + INDEX, secret.strip()) == 200
        code, listed, _ = await cli("token", "list", "--cache-dir", cache)
        assert (code, listed.split("\t")[:3]) == (0, ["ci", "read,push", "*"])
        assert secret.strip() not in listed
        code, _, told = await cli("token", "add", "ci", "--scope", "read", "--cache-dir", cache)
        assert (code, "There is a token 'ci' already" in told) == (1, True)
        code, _, told = await cli("token", "revoke", "ci", "--cache-dir", cache)
        assert (code, "everybody may now; nobody where the proxy has credentials for the feed" in told) == (0, True)
        assert await status(proxy.url + INDEX, secret.strip()) == 200, "none is left: it is open again"
        event = await proxy.logged("admin.audit", command="token/revoke", arguments={"name": "ci"}, result="done")
        assert event["by"].startswith(f"uid {os.getuid()} (process ")
        again = "There is a token 'ci' already; revoke it first, or take another name."
        refusal = await proxy.logged("admin.audit", command="token/add", result=again)
        assert refusal["arguments"]["scopes"] == "['read']"
        assert secret.strip() not in "\n".join(proxy.output)
        modes = [path.stat().st_mode & 0o777 for path in (cache / "run", cache / "run" / "control.sock")]
        assert modes == [0o700, 0o600]


@pytest.mark.slow
async def test_a_stopped_proxy_is_changed_all_the_same(feed: FakeFeed, cache: Path) -> None:
    common = ("--cache-dir", cache)
    code, secret, _ = await cli("token", "add", "ci", "--scope", "read", *common)
    assert code == 0
    async with ProxyProcess("--upstream", feed.index_url, "--cache-dir", cache) as proxy:
        assert await status(proxy.url + INDEX) == 401
        assert await status(proxy.url + INDEX, secret.strip()) == 200
        await proxy.kill()
    code, listed, _ = await cli("token", "list", *common)
    assert (code, listed) == (0, "ci\tread\t*\t-\n"), "the socket that a killed process left is nobody's"
    assert (await cli("token", "revoke", "ci", *common))[0] == 0
    code, _, told = await cli("token", "revoke", "ci", *common)
    assert (code, told) == (1, "There is no token 'ci'.\n")


@pytest.mark.parametrize(("closed", "beside"), [("own", "farm"), ("farm", "own")])
async def test_a_token_of_one_feed_tells_which_others_give_away_what_it_has(
    feed: FakeFeed, tmp_path: Path, closed: str, beside: str
) -> None:
    config = tmp_path / "proxy.toml"
    tables = "".join(f'[upstreams.{name}]\nurl = "{feed.index_url}"\n' for name in ("own", "other"))
    config.write_text(f'{tables}[feeds.farm]\nsources = ["own"]\n')
    common = ("--config", config, "--cache-dir", tmp_path / "cache")
    _, _, told = await cli("token", "add", "ci", "--scope", "read", "--feed", closed, *common)
    assert f"everybody needs a token for {closed}, unless" in told
    assert f"No token may read {beside}, where packages of the same sources are." in told
    _, _, told = await cli("token", "add", "all", "--scope", "read", *common)
    assert "No token may read" not in told


@pytest.mark.parametrize("words", [("stats",), ("mirror", "Acme.A"), ("reload",)])
async def test_who_may_not_open_the_socket_is_told_whose_it_is(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Connection, "connect", closed)
    code, _, told = await cli(*words, "--cache-dir", tmp_path)
    assert (code, "closed to this user: run the command as the user" in told) == (1, True), told


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (("x/y", "--scope", "read"), 1, "A token's name is"),
        (("x", "--scope", "write"), 1, "The scopes of a token are one or more of read, push, admin."),
        (("x", "--scope", ","), 1, "The scopes of a token are"),
        (("x", "--scope", "read", "--feed", "nobody"), 1, "There is no feed 'nobody'; there are nuget.org."),
        (("x", "--scope", "admin", "--feed", "nuget.org"), 1, "for the whole proxy"),
        (("x", "--scope", "read", "--expires", "soon"), 64, "--expires: 'soon' is not a span of time"),
        (("x", "--scope", "read", "--expires", "0"), 1, "lasts for more than no time"),
        (("x", "--scope", "read", "--expires", "200000d"), 1, "for less than 300 years"),
    ],
)
async def test_what_is_wrong_with_a_token_is_said(
    words: tuple[str, ...], code: int, expected: str, tmp_path: Path
) -> None:
    ended, out, told = await cli("token", "add", *words, "--cache-dir", tmp_path / "cache")
    assert (ended, out, expected in told) == (code, "", True), told


@pytest.mark.slow
async def test_a_start_that_would_lend_credentials_to_all_is_refused(feed: FakeFeed, tmp_path: Path) -> None:
    file, cache = tmp_path / "proxy.toml", tmp_path / "cache"
    upstream = f'[upstreams.company]\nurl = "{feed.index_url}"\nheaders = {{ "X-Api-Token" = "env:SECRET" }}\n'
    file.write_text(upstream)
    words = ("--config", file, "--cache-dir", cache, "--listen", "0.0.0.0:0")
    result = await asyncio.to_thread(refused, *words, SECRET="secret")
    assert (result.returncode, result.stderr.startswith("upstreams.company.anonymous: is not set")) == (78, True)
    file.write_text(f"{upstream}anonymous = false\n")
    async with ProxyProcess(*words[:-2], listen="0.0.0.0:0", environ={"SECRET": "secret"}) as proxy:
        assert await status(f"http://127.0.0.1:{proxy.port}{INDEX}") == 401


# --- over HTTP ---


@pytest.fixture
async def admin(proxy: Proxy) -> dict[str, str]:
    """The headers of an administrator."""
    return basic(await token(proxy, "admin", name="root"))


async def tell(proxy: Proxy, name: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    if body is None:
        got = await ask(proxy, f"/-/{name}", headers=headers)
    else:
        headers = {"Content-Type": "application/json", **headers}
        got = await ask(proxy, f"/-/{name}", "POST", data=json.dumps(body), headers=headers)
    return got.status, json.loads(got.body)


async def test_an_argument_that_is_nested_deeply_is_refused(proxy: Proxy, admin: dict[str, str]) -> None:
    """It is told of in the log as far as it can be."""
    body = b'{"id": %b%b}' % (b"[" * 1000, b"]" * 1000)
    headers = {"Content-Type": "application/json", **admin}
    assert (await ask(proxy, "/-/purge", "POST", data=body, headers=headers)).status == 400


async def test_commands_over_http_want_an_administrator(proxy: Proxy, admin: dict[str, str]) -> None:
    reads = basic(await token(proxy, "read,push"))
    for name, body in (("token/list", None), ("token/add", {"name": "x", "scopes": ["read"]}), ("nothing", None)):
        assert (await tell(proxy, name, body))[0] == 401, "also on this machine"
        assert (await tell(proxy, name, body, **reads))[0] == 403
    status, made = await tell(proxy, "token/add", {"name": "x", "scopes": ["read"], "expires_in": 60}, **admin)
    assert (status, made["name"], made["scopes"]) == (200, "x", ["read"])
    assert (await ask(proxy, INDEX, headers=basic(made["secret"]))).status == 200
    status, listed = await tell(proxy, "token/list", **admin)
    assert (status, [one["name"] for one in listed["tokens"]]) == (200, ["one", "root", "x"])
    assert made["secret"] not in json.dumps(listed)


@pytest.mark.parametrize(
    ("name", "body", "status", "expected"),
    [
        ("nothing", None, 404, "There is no such command"),
        ("token/add", None, 405, "use POST"),
        ("token/list", {}, 405, "use GET"),
        ("token/add", {"name": "x"}, 400, "The argument 'scopes' is missing."),
        ("token/add", {"name": "x", "scopes": ["read"], "until": 1}, 400, "There is no argument 'until'"),
        ("token/add", {"name": 1, "scopes": ["read"]}, 400, "The argument 'name' must be text."),
        ("token/add", {"name": "x", "scopes": [1]}, 400, "The argument 'scopes' must be a list of texts."),
        ("token/add", {"name": "x", "scopes": ["read"], "expires_in": "soon"}, 400, "must be a number"),
        ("token/add", {"name": "x", "scopes": ["read"], "expires_in": True}, 400, "must be a number"),
        *(
            (f"{asked}={number}", None, 400, "must be a number")
            for asked in ("restore?number", "ls?most", "provenance/lines?after")
            for number in ("nan", "inf", "-inf", "1e30")
        ),
        ("audit?ask=maybe", None, 400, "The argument 'ask' must be true or false."),
        ("evict", {"simulate": "yes"}, 400, "must be true or false"),
        ("token/add", ["x"], 400, "must be a JSON object"),
        ("token/list?x=1", None, 400, "There is no argument 'x'; there are none."),
        ("token/revoke", {"name": "nobody"}, 404, "There is no token 'nobody'."),
    ],
)
async def test_what_is_wrong_with_a_command_is_said(
    proxy: Proxy, admin: dict[str, str], name: str, body: Any, status: int, expected: str
) -> None:
    got, said = await tell(proxy, name, body, **admin)
    assert (got, expected in said["error"]) == (status, True), said


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "{own}"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "{own}.evil.example"}, 403),
        ({"Origin": "http://localhost"}, 403),
    ],
)
async def test_a_page_of_another_site_changes_nothing(
    proxy: Proxy, admin: dict[str, str], headers: dict[str, str], expected: int
) -> None:
    headers = {name: value.format(own=proxy.url) for name, value in headers.items()}
    body = {"name": "x", "scopes": ["push"]}
    assert (await tell(proxy, "token/add", body, **admin, **headers))[0] == expected
    assert ("x" in [one.name for one, _ in proxy.app.tokens.all()]) == (expected == 200)


async def test_a_form_of_a_page_is_no_command(proxy: Proxy, admin: dict[str, str]) -> None:
    headers = {**admin, "Content-Type": "text/plain"}
    got = await ask(proxy, "/-/token/add", "POST", data=b'{"name": "x", "scopes": ["push"]}', headers=headers)
    assert got.status == 400


async def test_metrics_are_for_administrators_from_anywhere(start_proxy: StartProxy, feed: FakeFeed) -> None:
    proxy = await start_proxy(feed.index_url, server={"metrics_from": ["192.0.2.0/24"]})
    assert (await ask(proxy, "/metrics")).status == 404
    secret = await token(proxy, "admin")
    assert (await ask(proxy, "/metrics")).status == 404
    assert (await ask(proxy, "/metrics", headers=basic("wrong"))).status == 401
    assert (await ask(proxy, "/metrics", headers=basic(await token(proxy, "read", name="reads")))).status == 403
    assert b"nugetproxy_requests" in (await ask(proxy, "/metrics", headers=basic(secret))).body
    for path in ("/health/live", "/health/ready"):
        assert (await ask(proxy, path)).status == 200, "machines ask for health without a token"


# --- doors of their own ---


@pytest.fixture
async def two_doors(feed: FakeFeed, tmp_path: Path) -> AsyncIterator[tuple[ProxyProcess, str, Path]]:
    """A proxy with an address for operators, one with a path for them: the port, the path."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    path = tmp_path / "admin.sock"
    async with (
        ProxyProcess(
            "--upstream", feed.index_url, "--cache-dir", tmp_path / "a",
            environ={"NUGETPROXY_SERVER__ADMIN_LISTEN": f"127.0.0.1:{port}"},
        ) as first,
        ProxyProcess(
            "--upstream", feed.index_url, "--cache-dir", tmp_path / "b",
            environ={"NUGETPROXY_SERVER__ADMIN_LISTEN": str(path)},
        ),
    ):  # fmt: skip
        yield first, f"http://127.0.0.1:{port}", path


async def test_operators_come_in_by_doors_of_their_own(two_doors: tuple[ProxyProcess, str, Path]) -> None:
    first, address, path = two_doors
    assert await status(f"{first.url}/-/token/list") == 401
    assert await status(f"{address}/-/token/list") == 200
    assert await status(f"{address}/metrics") == 200
    assert await status(f"{address}{INDEX}") == 404, "no feed there"
    by_path = aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path)))
    async with by_path, by_path.get("http://localhost/-/token/list") as answer:
        assert (answer.status, await answer.json()) == (200, {"tokens": []})
    async with aiohttp.ClientSession() as session:
        body = {"name": "x", "scopes": ["admin"]}
        for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            async with session.post(f"{address}/-/token/add", json=body, headers=headers) as answer:
                assert answer.status == 403
        rebound = {"Host": "evil.example", "Origin": "http://evil.example"}
        for method, name in (("GET", "token/list"), ("POST", "token/add")):
            async with session.request(method, f"{address}/-/{name}", json=body, headers=rebound) as answer:
                assert answer.status == 421, "a page that gave its own name our address"
