"""Who may read, push, administer: tokens, addresses, what is open by itself."""

from __future__ import annotations

import base64
import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict
from structlog.testing import capture_logs

from nugetproxy import log
from nugetproxy.store.token_file import TokenFileUnusable
from nugetproxy.web.attempts import BURST
from tests.conftest import StartProxy
from tests.fakes import logs as fake_logs
from tests.fakes.asking import MEDIUM, PACKAGE, REGISTRATION, SEARCH, SMALL, UP_PUSH, VERSIONS, Got, ask
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.halted import halting
from tests.fakes.origin import Script
from tests.fakes.proxy import Proxy

CHALLENGE = 'Basic realm="nugetproxy"'
INDEX = "/v3/index.json"
CREDENTIALS = {"headers": {"X-Api-Token": "env:NUGETPROXY_TEST_SECRET"}}
PUSHED = {"data": b"--b\r\n\r\n--b--\r\n", "headers": {"Content-Type": 'multipart/form-data; boundary="b"'}}


def basic(secret: str, user: str = "anybody") -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{secret}'.encode()).decode()}"}


async def token(proxy: Proxy, scopes: str, *feeds: str, name: str = "one", seconds: float | None = None) -> str:
    """A new token; every proxy of these tests is on loopback, so this is what closes a feed."""
    _, secret = await proxy.app.tokens.add(name, scopes.split(","), feeds, seconds)
    return secret


async def push(proxy: Proxy, path: str = "/v3/package", **headers: str) -> Got:
    return await ask(proxy, path, "PUT", data=PUSHED["data"], headers={**PUSHED["headers"], **headers})  # type: ignore[dict-item]


async def test_a_revoked_token_does_not_come_back_with_a_list_that_was_read_before(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = await token(proxy, "read")
    tokens = proxy.app.tokens
    async with halting(monkeypatch, proxy.app.ledger, "tokens", tokens.load):
        await tokens.revoke("one")

    assert tokens.of(secret) is None
    assert not tokens.all()


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("NUGETPROXY_TEST_SECRET", "what the upstream wants")
    return "what the upstream wants"


@pytest.fixture
def events() -> Iterator[list[Any]]:
    with capture_logs() as logs:
        yield logs


@pytest.mark.parametrize("path", [INDEX, VERSIONS, REGISTRATION, SEARCH, PACKAGE, "/v3/no/such/thing", "/up/v3/query"])
async def test_who_shows_nothing_is_asked_who_it_is_and_costs_nothing(
    proxy: Proxy, feed: FakeFeed, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await token(proxy, "read")
    for part in (proxy.app.documents, proxy.app.ledger, proxy.app.feeds["up"], proxy.app.sources["up"], proxy.held):
        for name, value in vars(type(part)).items():
            if inspect.isfunction(value) and not name.startswith("__"):
                monkeypatch.setattr(part, name, None)  # whoever calls one of these crashes
    got = await ask(proxy, path)
    assert (got.status, got.headers.getall("WWW-Authenticate")) == (401, [CHALLENGE])
    assert got.headers["Cache-Control"] == "no-store"
    assert b"packageSourceCredentials" in got.body
    assert feed.requests == []


async def test_a_token_is_the_password_of_any_user_or_a_bearer(proxy: Proxy, feed: FakeFeed) -> None:
    feed.add(SMALL)
    secret = await token(proxy, "read")
    for headers in (
        basic(secret),
        basic(secret, ""),
        basic(secret, "üser"),
        {"Authorization": f"Bearer {secret}"},
        {"Authorization": f"bearer  {secret}"},
    ):
        assert (await ask(proxy, PACKAGE, headers=headers)).status == 200, headers


@pytest.mark.parametrize(
    "authorization",
    [
        "Basic " + base64.b64encode(b"user:wrong").decode(),
        "Basic " + base64.b64encode(b"\xff\xfe:\xff").decode(),
        "Bearer wrong",
        "Bearer {secret}x",
        "Bearer " + "x" * 4000,
    ],
)
async def test_what_is_no_token_is_refused(proxy: Proxy, feed: FakeFeed, authorization: str) -> None:
    secret = await token(proxy, "read")
    got = await ask(proxy, INDEX, headers={"Authorization": authorization.format(secret=secret)})
    assert (got.status, got.headers["WWW-Authenticate"]) == (401, CHALLENGE)
    assert feed.requests == []
    assert proxy.metric("rejected_total", reason="token_wrong") == 1
    assert "no token of this proxy" in got.body.decode()


@pytest.mark.parametrize(
    "authorization",
    [
        "Basic Og==",
        "Basic " + base64.b64encode(b"user:").decode(),
        "Basic",
        "Basic !!!",
        "Basic " + base64.b64encode(b"no colon").decode(),
        "Bearer",
        "Negotiate {secret}",
        "{secret}",
    ],
)
async def test_who_shows_no_secret_is_told_to_and_has_guessed_none(proxy: Proxy, authorization: str) -> None:
    """NuGet clients without credentials say "Basic Og==", six times a restore."""
    secret = await token(proxy, "read")
    for _ in range(BURST + 1):
        got = await ask(proxy, INDEX, headers={"Authorization": authorization.format(secret=secret)})
        assert (got.status, got.headers["WWW-Authenticate"]) == (401, CHALLENGE)
        assert "packageSourceCredentials" in got.body.decode()
    assert (await ask(proxy, INDEX, headers=basic(secret))).status == 200
    assert proxy.metric("rejected_total", reason="token_wrong") == 0


async def test_an_api_key_is_no_token_for_reading(proxy: Proxy) -> None:
    secret = await token(proxy, "read,push,admin")
    assert (await ask(proxy, INDEX, headers={"X-NuGet-ApiKey": secret})).status == 401


async def test_only_a_hash_is_kept(proxy: Proxy) -> None:
    secret = await token(proxy, "read")
    assert len(secret) > 40
    await proxy.stop()
    everything = b"".join(path.read_bytes() for path in proxy.directory.rglob("*") if path.is_file())
    assert secret.encode() not in everything
    assert secret.removeprefix("nupx_").encode() not in everything


async def test_a_token_outlives_a_restart_and_is_revoked_at_once(proxy: Proxy, feed: FakeFeed) -> None:
    secret = await token(proxy, "read", name="going")
    await token(proxy, "read", name="staying")
    await proxy.restart()
    assert (await ask(proxy, INDEX, headers=basic(secret))).status == 200
    await proxy.app.tokens.revoke("going")
    assert (await ask(proxy, INDEX, headers=basic(secret))).status == 401
    await proxy.restart()
    assert (await ask(proxy, INDEX, headers=basic(secret))).status == 401


async def test_a_token_expires_and_opens_nothing_by_that(proxy: Proxy, clock: FakeClock) -> None:
    secret = await token(proxy, "read", seconds=3600)
    clock.advance(3599)
    assert (await ask(proxy, INDEX, headers=basic(secret))).status == 200
    clock.advance(1)
    assert (await ask(proxy, INDEX, headers=basic(secret))).status == 401
    assert (await ask(proxy, INDEX)).status == 401


async def test_a_token_is_for_its_feeds_and_scopes(start_proxy: StartProxy, feed: FakeFeed) -> None:
    proxy = await start_proxy(feed.index_url, upstreams={"other": {"url": feed.index_url}})
    mine = await token(proxy, "read", "up", name="mine")
    pushes = await token(proxy, "push,admin", name="pushes")
    assert (await ask(proxy, "/up/v3/index.json", headers=basic(mine))).status == 200
    assert (await ask(proxy, "/other/v3/index.json")).status == 200, "no token may read it: it stays open"
    await token(proxy, "read", "other", name="theirs")
    for headers in (basic(mine), basic(pushes)):
        got = await ask(proxy, "/other/v3/index.json", headers=headers)
        assert (got.status, b"scope read for this feed" in got.body) == (403, True)
    assert (await ask(proxy, "/v3/index.json", headers=basic(mine))).status == 200, "the first feed at the root"


async def test_what_only_some_may_read_is_private(proxy: Proxy, feed: FakeFeed) -> None:
    feed.add(MEDIUM)
    before = {path: (await ask(proxy, path)).headers["Cache-Control"] for path in (INDEX, VERSIONS, PACKAGE)}
    assert before == {INDEX: "no-cache", VERSIONS: "no-cache", PACKAGE: "public, max-age=31536000, immutable"}
    secret = await token(proxy, "read")
    for path, words in before.items():
        got = await ask(proxy, path, headers=basic(secret))
        assert got.headers["Cache-Control"] == f"private, {words.removeprefix('public, ')}"
        etag = {"If-None-Match": got.headers["ETag"]}
        assert (
            (await ask(proxy, path, headers={**basic(secret), **etag})).headers["Cache-Control"].startswith("private")
        )
        assert (await ask(proxy, path, headers=etag)).status == 401, "a validator is no token"


@pytest.mark.parametrize(
    ("server", "upstream", "local", "status"),
    [
        ({}, {}, False, 200),
        ({}, CREDENTIALS, True, 200),
        ({}, CREDENTIALS, False, 401),
        ({"allow_anonymous": True}, CREDENTIALS, False, 200),
        ({"allow_anonymous": True}, {**CREDENTIALS, "anonymous": False}, True, 401),
        ({}, {**CREDENTIALS, "anonymous": True}, False, 200),
        ({}, {"anonymous": False}, True, 401),
    ],
)
async def test_who_may_read_without_a_token(
    start_proxy: StartProxy, feed: FakeFeed, secret: str, server: Any, upstream: Any, local: bool, status: int
) -> None:
    proxy = await start_proxy(feed.index_url, server=server, upstream=upstream)
    proxy.listens(local=local)
    assert (await ask(proxy, INDEX)).status == status
    refused = not local and upstream == CREDENTIALS and not server
    assert [line.partition(":")[0] for line in proxy.app.admission.refusals()] == ["upstreams.up.anonymous"] * refused


async def test_what_the_operator_says_counts_more_than_that_there_is_a_token(
    start_proxy: StartProxy, feed: FakeFeed
) -> None:
    proxy = await start_proxy(feed.index_url, upstream={"anonymous": True})
    await token(proxy, "read")
    assert (await ask(proxy, INDEX)).status == 200
    proxy = await start_proxy(feed.index_url, directory=proxy.directory.parent / "b", server={"allow_anonymous": True})
    await token(proxy, "read")
    assert (await ask(proxy, INDEX)).status == 200


async def test_a_start_with_a_token_opens_nothing(start_proxy: StartProxy, feed: FakeFeed, secret: str) -> None:
    proxy = await start_proxy(feed.index_url, upstream=CREDENTIALS)
    await token(proxy, "read")
    await proxy.restart()
    proxy.listens(local=False)
    assert list(proxy.app.admission.refusals()) == []
    assert (await ask(proxy, INDEX)).status == 401


WRITTEN = {"name": "a", "sha256": "0" * 64, "scopes": ["read"], "feeds": []}


@pytest.mark.parametrize(
    "text",
    [
        "not what the proxy writes",
        "{}",
        "[1]",
        json.dumps({"tokens": [WRITTEN]})[:-2],
        json.dumps({"tokens": [{**WRITTEN, "feeds": "up"}]}),
        json.dumps({"tokens": [{**WRITTEN, "scopes": "read"}]}),
    ],
)
async def test_while_tokens_cannot_be_read_nobody_comes_in(
    start_proxy: StartProxy, feed: FakeFeed, tmp_path: Path, text: str
) -> None:
    file = tmp_path / "tokens"
    file.write_text(text)
    proxy = await start_proxy(feed.index_url, access={"tokens_file": str(file)})
    assert (await ask(proxy, INDEX)).status == 401
    file.unlink()
    await proxy.app.watch.look()
    assert (await ask(proxy, INDEX)).status == 200


@pytest.mark.parametrize(
    ("forwarded", "trusted", "status"),
    [
        ("10.20.3.4", True, 200),
        ("::ffff:10.20.3.4", True, 200),
        ("10.21.3.4", True, 401),
        ("10.20.3.4, 10.21.3.4", True, 401),
        ("10.21.3.4, 10.20.0.1, 127.0.0.1", True, 401),
        ("10.21.3.4, ::ffff:10.20.0.1", True, 401),
        ("rubbish", True, 401),
        ("10.20.3.4", False, 401),
    ],
)
async def test_a_farm_may_come_in_by_its_addresses(
    start_proxy: StartProxy, feed: FakeFeed, forwarded: str, trusted: bool, status: int
) -> None:
    proxy = await start_proxy(
        feed.index_url,
        server={"trusted_proxies": ["127.0.0.0/8", "10.20.0.1"] if trusted else []},
        upstream={"anonymous": False, "anonymous_from": ["10.20.0.0/16", *([] if trusted else ["127.0.0.0/8"])]},
    )
    got = await ask(proxy, INDEX, headers={"X-Forwarded-For": forwarded})
    assert got.status == status
    if not trusted:
        assert (await ask(proxy, INDEX)).status == 200, "directly, this machine is in the range"
        return
    if status == 200:
        assert got.headers["Cache-Control"] == "private, no-cache"


@pytest.mark.parametrize(
    ("lines", "status"), [(("10.20.3.4", "10.21.3.4"), 401), (("10.21.3.4", "10.20.3.4"), 200)], ids=str
)
async def test_a_front_end_that_adds_a_line_of_its_own_is_believed_before_the_client(
    start_proxy: StartProxy, feed: FakeFeed, lines: tuple[str, ...], status: int
) -> None:
    """What RFC 9110 section 5.2 says of fields on several lines: the first one is what the client made up."""
    proxy = await start_proxy(
        feed.index_url,
        server={"trusted_proxies": ["127.0.0.0/8"]},
        upstream={"anonymous": False, "anonymous_from": ["10.20.0.0/16"]},
    )
    headers = CIMultiDict([("Accept-Encoding", "identity"), *(("X-Forwarded-For", line) for line in lines)])
    async with proxy.client.get(INDEX, headers=headers) as got:
        assert got.status == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Forwarded": "for=203.0.113.9"}, 401),
        ({"X-Real-IP": "203.0.113.9"}, 401),
        ({"X-Forwarded-For": ""}, 401),
        ({"X-Forwarded-For": "127.0.0.1"}, 200),
        ({"X-Forwarded-For": "10.20.0.1, 127.0.0.2"}, 401),
    ],
    ids=str,
)
async def test_the_address_of_a_front_end_is_nobodys_behind_it(
    start_proxy: StartProxy, feed: FakeFeed, headers: dict[str, str], status: int
) -> None:
    proxy = await start_proxy(
        feed.index_url,
        server={"trusted_proxies": ["127.0.0.0/8", "10.20.0.1"]},
        upstream={"anonymous": False, "anonymous_from": ["127.0.0.0/8"]},
    )
    for _ in range(2):
        assert (await ask(proxy, INDEX, headers=headers)).status == status


async def test_wrong_credentials_are_slowed_per_address(
    start_proxy: StartProxy, feed: FakeFeed, clock: FakeClock
) -> None:
    proxy = await start_proxy(feed.index_url, server={"trusted_proxies": ["127.0.0.0/8"]})
    good, later, last = [await token(proxy, "read", name=name) for name in ("good", "later", "last")]

    async def asked(secret: str, address: str = "203.0.113.1") -> Got:
        return await ask(proxy, INDEX, headers={**basic(secret), "X-Forwarded-For": address})

    assert (await asked(good)).status == 200
    statuses = [(await asked(f"wrong {number}")).status for number in range(1000)]
    assert statuses == [401] * BURST + [429] * (1000 - BURST)
    slowed = await asked(later)
    assert (slowed.status, slowed.headers["Retry-After"]) == (429, "1"), "not even looked at"
    assert (await asked(good)).status == 200, "who was right before is not shut out"
    assert (await asked(later, "203.0.113.2")).status == 200
    assert proxy.metric("rejected_total", reason="token_wrong") == BURST
    assert proxy.metric("rejected_total", reason="token_slowed") == 1000 - BURST + 1
    clock.advance(1)
    assert (await asked("wrong again")).status == 401
    assert (await asked(last)).status == 429
    clock.advance(1)
    assert (await asked(last)).status == 200


async def test_neighbours_in_one_ipv6_network_share_what_they_may_get_wrong(
    start_proxy: StartProxy, feed: FakeFeed
) -> None:
    proxy = await start_proxy(feed.index_url, server={"trusted_proxies": ["127.0.0.0/8"]})
    await token(proxy, "read")
    statuses = [
        (await ask(proxy, INDEX, headers={**basic("wrong"), "X-Forwarded-For": f"2001:db8::{number:x}"})).status
        for number in range(1, BURST + 2)
    ]
    assert statuses[-1] == 429


# --- writes ---


LENDING = {**CREDENTIALS, "push_credentials": "proxy"}


@pytest.mark.parametrize("how", ["key", "basic"])
async def test_a_push_with_the_proxys_credentials_wants_a_token(
    start_proxy: StartProxy, feed: FakeFeed, secret: str, events: list[Any], how: str
) -> None:
    proxy = await start_proxy(feed.index_url, upstream=LENDING)
    proxy.listens(local=False)
    reads, pushes = await token(proxy, "read"), await token(proxy, "push", name="pushes")

    def shown(text: str) -> dict[str, str]:
        return {"X-NuGet-ApiKey": text} if how == "key" else basic(text)

    assert (await push(proxy)).status == 401
    assert (await push(proxy, **shown("wrong"))).status == 401
    assert (await push(proxy, **shown(reads))).status == 403
    assert [seen for seen in feed.requests if seen.method == "PUT"] == []
    await push(proxy, **shown(pushes))
    (sent,) = [seen for seen in feed.requests if seen.path.startswith(UP_PUSH)]
    assert sent.headers["X-Api-Token"] == secret
    assert "Authorization" not in sent.headers
    assert "X-NuGet-ApiKey" not in sent.headers
    audits = [event for event in events if event["event"] == "write.audit"]
    assert [event["by"] for event in audits][-1] == "token pushes"


async def test_the_log_says_whose_token_wrote(start_proxy: StartProxy, feed: FakeFeed, secret: str) -> None:
    """As it is written: a field called ``token`` would be hidden there."""
    proxy = await start_proxy(feed.index_url, upstream=LENDING)
    pushes = await token(proxy, "push", name="release")
    with fake_logs.written() as stream:
        await push(proxy, **basic(pushes))
        log.shutdown()
        lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    (audit,) = [line for line in lines if line["event"] == "write.audit"]
    assert audit["by"] == "token release"
    assert pushes not in str(lines)


async def test_a_client_is_not_asked_for_what_the_proxy_has_lent(
    start_proxy: StartProxy, feed: FakeFeed, secret: str
) -> None:
    """As with reads: a 401 would have it show its token again, which is good."""
    proxy = await start_proxy(feed.index_url, upstream=LENDING)
    shown = basic(await token(proxy, "push"))
    challenge = ("WWW-Authenticate", 'Basic realm="https://inner.example/"')
    refused = Script(status=401, headers=[challenge])
    feed.origin.routes |= {f"{UP_PUSH}/": refused, f"{UP_PUSH}/acme.a/1.0.0": refused}
    for got in (await push(proxy, **shown), await ask(proxy, "/v3/package/acme.a/1.0.0", "DELETE", headers=shown)):
        assert (got.status, "WWW-Authenticate" in got.headers) == (403, False)
        assert b"the credentials that this proxy has for it" in got.body


async def test_on_this_machine_a_lent_push_wants_no_token_until_there_is_one(
    start_proxy: StartProxy, feed: FakeFeed, secret: str
) -> None:
    proxy = await start_proxy(feed.index_url, upstream=LENDING)
    await push(proxy, **{"X-NuGet-ApiKey": "anything"})
    assert len([seen for seen in feed.requests if seen.method == "PUT"]) == 1
    await token(proxy, "push")
    assert (await push(proxy, **{"X-NuGet-ApiKey": "anything"})).status == 401
    assert len([seen for seen in feed.requests if seen.method == "PUT"]) == 1


@pytest.mark.parametrize("closed", ["by a token", "by configuration"])
async def test_who_may_not_even_read_is_lent_nothing(
    start_proxy: StartProxy, feed: FakeFeed, secret: str, closed: str
) -> None:
    """On this machine, too: a front end may be what connects."""
    upstream = LENDING if closed == "by a token" else {**LENDING, "anonymous": False}
    proxy = await start_proxy(feed.index_url, upstream=upstream)
    reads = await token(proxy, "read") if closed == "by a token" else "none"
    assert (await ask(proxy, INDEX)).status == 401
    assert (await push(proxy)).status == 401
    assert (await push(proxy, **basic(reads))).status in {401, 403}
    assert [seen for seen in feed.requests if seen.method == "PUT"] == []
    assert [one for one in proxy.app.admission.concerns() if "nobody can push" in one]


async def test_our_token_never_goes_upstream(proxy: Proxy, feed: FakeFeed) -> None:
    secret = await token(proxy, "push,read")
    await push(proxy, **basic(secret), **{"X-NuGet-ApiKey": "the client's own key"})
    await push(proxy, **basic(secret), **{"X-NuGet-ApiKey": secret})
    first, second = [seen.headers for seen in feed.requests if seen.method == "PUT"]
    assert first["X-NuGet-ApiKey"] == "the client's own key"
    assert not {"Authorization"} & set(first)
    assert not {"Authorization", "X-NuGet-ApiKey"} & set(second)


async def test_nor_does_one_that_has_expired(start_proxy: StartProxy, feed: FakeFeed, clock: FakeClock) -> None:
    proxy = await start_proxy(feed.index_url, upstream={"anonymous": True})
    secret = await token(proxy, "push,read", seconds=60)
    clock.advance(61)
    await push(proxy, **basic(secret), **{"X-NuGet-ApiKey": secret})
    (sent,) = [seen.headers for seen in feed.requests if seen.method == "PUT"]
    assert not {"Authorization", "X-NuGet-ApiKey"} & set(sent)


async def test_a_feed_that_only_some_may_read_takes_writes_of_pushers_only(proxy: Proxy, feed: FakeFeed) -> None:
    reads = await token(proxy, "read")
    assert (await push(proxy, **{"X-NuGet-ApiKey": "key"})).status == 401
    assert (await push(proxy, **basic(reads), **{"X-NuGet-ApiKey": "key"})).status == 403
    got = await ask(proxy, "/v3/package/acme.a/1.0.0", "DELETE", headers={"X-NuGet-ApiKey": "key"})
    assert got.status == 401
    assert [seen.method for seen in feed.requests if seen.method != "GET"] == []


async def test_an_open_feed_passes_on_what_a_client_shows_unless_it_is_ours(proxy: Proxy, feed: FakeFeed) -> None:
    ours = await token(proxy, "push")
    await push(proxy, **basic("the upstream's"))
    for shown in (basic(ours)["Authorization"], basic("", user=ours)["Authorization"], f"token {ours}", ours):
        await push(proxy, Authorization=shown)
    first, *others = [seen.headers for seen in feed.requests if seen.method == "PUT"]
    assert first["Authorization"] == basic("the upstream's")["Authorization"]
    assert len(others) == 4
    assert not [seen for seen in others if "Authorization" in seen], "one that counts for nothing is a secret, too"


# --- files ---


async def test_tokens_of_a_shared_file_are_the_same_for_all(
    start_proxy: StartProxy, feed: FakeFeed, tmp_path: Path
) -> None:
    access = {"tokens_file": str(tmp_path / "tokens")}
    first = await start_proxy(feed.index_url, directory=tmp_path / "a", access=access)
    second = await start_proxy(feed.index_url, directory=tmp_path / "b", access=access)
    secret = await token(first, "read")
    assert ((tmp_path / "tokens").stat().st_mode & 0o777, secret in (tmp_path / "tokens").read_text()) == (0o600, False)
    await second.app.watch.look()
    assert (await ask(second, INDEX)).status == 401
    assert (await ask(second, INDEX, headers=basic(secret))).status == 200
    await token(second, "read", name="another")
    await first.app.tokens.revoke("one")
    await second.app.watch.look()
    assert (await ask(second, INDEX, headers=basic(secret))).status == 401
    assert [one.name for one, _ in second.app.tokens.all()] == ["another"]


@pytest.mark.parametrize("gone", ["unlinked", "emptied"])
async def test_a_shared_file_that_goes_opens_nothing(
    start_proxy: StartProxy, feed: FakeFeed, tmp_path: Path, gone: str
) -> None:
    """A share is unmounted, a disk was full as somebody wrote there: nobody has revoked a token."""
    file = tmp_path / "tokens"
    file.touch()
    proxy = await start_proxy(feed.index_url, access={"tokens_file": str(file)})
    secret = await token(proxy, "read")
    before = file.read_bytes()
    file.unlink() if gone == "unlinked" else file.write_bytes(b"")
    await proxy.app.watch.look()
    assert (await ask(proxy, INDEX)).status == 401
    assert (await ask(proxy, INDEX, headers=basic(secret))).status == 200
    with pytest.raises(TokenFileUnusable, match="it is gone, or empty"):
        await proxy.app.tokens.add("two", ["read"], (), None)
    assert not file.exists() or not file.read_bytes()
    file.write_bytes(before)
    await proxy.app.tokens.revoke("one")
    assert (await ask(proxy, INDEX)).status == 200, "as its operator says so"


async def test_a_token_of_the_configuration_follows_its_file(
    start_proxy: StartProxy, feed: FakeFeed, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("the first of the farm's tokens\n")
    given = {"name": "farm", "token": f"file:{file}", "scopes": ["read"]}
    proxy = await start_proxy(feed.index_url, access={"tokens": [given]})
    assert (await ask(proxy, INDEX)).status == 401
    first, second = basic("the first of the farm's tokens"), basic("the second of the farm's tokens")
    assert (await ask(proxy, INDEX, headers=first)).status == 200
    file.write_text("the second of the farm's tokens\n")
    await proxy.app.watch.look()
    assert [(await ask(proxy, INDEX, headers=one)).status for one in (first, second)] == [401, 200]
    for no_token in ("", "fifteen letters"):
        file.write_text(no_token)
        await proxy.app.watch.look()
        assert (await ask(proxy, INDEX, headers=second)).status == 200, "what is no token takes nothing away"
    assert (await ask(proxy, INDEX, headers=basic("fifteen letters"))).status == 401, "it could be guessed"


async def test_upstream_credentials_follow_their_file(
    start_proxy: StartProxy, feed: FakeFeed, tmp_path: Path, clock: FakeClock
) -> None:
    file = tmp_path / "secret"
    file.write_text("first-secret\n")
    proxy = await start_proxy(feed.index_url, upstream={"headers": {"X-Api-Token": f"file:{file}"}})
    await ask(proxy, VERSIONS)
    assert feed.requests[-1].headers["X-Api-Token"] == "first-secret"
    file.write_text("second-secret\n")
    clock.advance(5)
    await proxy.app.watch.look()
    feed.add(SMALL)
    assert (await ask(proxy, VERSIONS)).status == 200, "other credentials may see what the first ones did not"
    assert feed.requests[-1].headers["X-Api-Token"] == "second-secret"
    clock.advance(3600)
    file.unlink()
    await proxy.app.watch.look()
    await ask(proxy, VERSIONS)
    assert feed.requests[-1].headers["X-Api-Token"] == "second-secret"
