"""Packages without a signature that counts are warned of or refused, whichever way they come."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientPayloadError
from structlog.testing import capture_logs

from nugetproxy.admin.commands import carry_out
from nugetproxy.admin.explain import explain
from nugetproxy.admin.held_commands import verify
from nugetproxy.admin.page.packages import package
from nugetproxy.admin.page.viewer import Viewer
from nugetproxy.cli.doctor.checks import check_configuration
from nugetproxy.config import Config
from nugetproxy.config.checks import contradictions
from nugetproxy.config.tables import read
from nugetproxy.engine.signatures import LOOKED_AT_SECONDS, REFUSED_SECONDS
from nugetproxy.errors import SignatureRefused
from nugetproxy.nuget.identity import PackageIdentity
from tests.conftest import StartProxy
from tests.fakes.asking import LARGE, PACKAGE, SMALL, UP_PACKAGE, ask, ask_only, held, until
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.halted import halting
from tests.fakes.origin import Script
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy
from tests.fakes.signing import Identity, Seal, authority, signature, signed, with_signature

IDENTITY = PackageIdentity("acme.a", "1.0.0")
NUSPEC = "/v3/content/acme.a/1.0.0/acme.a.nuspec"
ROOT, OTHER = authority("Root"), authority("Other Root")
AUTHOR, STRANGER, REPOSITORY = ROOT.issue("Author"), OTHER.issue("Stranger"), OTHER.issue("Repository")
GOOD, BAD = signed(SMALL, Seal(by=AUTHOR)), signed(SMALL, Seal(by=STRANGER))
OWNED = signed(SMALL, Seal(by=REPOSITORY, kind="repository", owners=("contoso",)))
JSON = (("Content-Type", "application/json"),)


def changed(before: bytes, after: bytes) -> bytes:
    """Signed, then something changed in the signature."""
    made = signature(SMALL, Seal(by=STRANGER))
    assert before in made
    return with_signature(SMALL, made.replace(before, after))


LISTS = tuple(f"/v3-index/repository-signatures/{version}/index.json" for version in ("4.7.0", "5.0.0"))


def certificates(*identities: Identity) -> bytes:
    rows = [{"fingerprints": {"2.16.840.1.101.3.4.2.1": one.fingerprint.upper()}} for one in identities]
    return json.dumps({"allRepositorySigned": False, "signingCertificates": rows}).encode()


def list_certificates(feed: FakeFeed, *identities: Identity) -> None:
    """The feed signs with these."""
    for path in LISTS:
        feed.origin.routes[path] = Script(
            body=certificates(*identities), headers=(("Content-Type", "application/json"),)
        )


@pytest.fixture
def roots(tmp_path: Path) -> Path:
    path = tmp_path / "roots.pem"
    path.write_bytes(ROOT.pem)
    return path


def wanted(mode: str, roots: Path | None = None, **more: Any) -> dict[str, Any]:
    """The upstream's table."""
    return {"signatures": mode, "signature_roots": [str(roots)] if roots else [], **more}


def asked(feed: FakeFeed) -> int:
    return feed.count(UP_PACKAGE)


def verdicts(proxy: Proxy, verdict: str) -> float:
    return proxy.metric("signatures_total", upstream="up", verdict=verdict)


class TestRequire:
    async def test_what_somebody_trusted_has_signed_is_served_byte_for_byte(
        self, start_proxy: StartProxy, feed: FakeFeed, roots: Path
    ) -> None:
        feed.add(GOOD)
        proxy = await start_proxy(feed.index_url, upstream=wanted("require", roots))
        got = await ask(proxy, PACKAGE)
        assert (got.status, got.body) == (200, GOOD)
        assert "X-NuGet-Warning" not in got.headers
        assert (await ask(proxy, PACKAGE)).body == GOOD
        assert verdicts(proxy, "counts") == 1
        assert asked(feed) == 1

    @pytest.mark.parametrize(
        ("package", "flaw", "says"),
        [
            (BAD, "signer", "CN=Stranger"),
            (SMALL, "unsigned", "it is not signed"),
            (
                signed(make_nupkg("Acme.A", "1.0.0", files={"x": b"x"}), Seal(by=AUTHOR, statement=b"")),
                "damaged",
                "read",
            ),
            (changed(b"Stranger", b"Str\xffnger"), "damaged", "the signature"),
            (changed(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x0c"), "certificate", "cannot be read"),
        ],
        ids=["stranger", "unsigned", "damaged", "a name that is no text", "a certificate of another version"],
    )
    async def test_anything_else_is_refused_with_a_sentence(
        self, start_proxy: StartProxy, feed: FakeFeed, roots: Path, package: bytes, flaw: str, says: str
    ) -> None:
        feed.add(package)
        proxy = await start_proxy(feed.index_url, upstream=wanted("require", roots))
        with capture_logs() as logs:
            got = await ask(proxy, PACKAGE)
        assert got.status == 403
        assert f"acme.a 1.0.0 is refused, its signature does not count ({flaw})" in got.reason
        assert says in json.loads(got.body)["error"]
        assert got.headers["X-NuGet-Warning"] == got.reason
        assert held(proxy) == set(), "nothing of it is kept as good"
        assert [(one["flaw"], one["refused"]) for one in logs if one["event"] == "package.signature_flawed"] == [
            (flaw, True)
        ]
        assert verdicts(proxy, flaw) == 1
        assert proxy.metric("upstream_failures_total", upstream="up", reason="disk") == 0

    async def test_the_end_of_a_large_one_is_held_back_until_it_is_judged(
        self, start_proxy: StartProxy, feed: FakeFeed, roots: Path
    ) -> None:
        package = signed(LARGE, Seal(by=STRANGER))
        feed.add(package)
        proxy = await start_proxy(feed.index_url, upstream=wanted("require", roots))
        try:
            got = await ask_only(proxy, PACKAGE)
        except (OSError, ClientPayloadError):
            pass
        else:
            assert got.status == 403, "all of it was here before the answer began"
        await until(lambda: proxy.metric("flights") == 0)
        assert held(proxy) == set()
        assert (await ask(proxy, PACKAGE)).status == 403
        assert asked(feed) == 1, "it is remembered"

    async def test_a_refusal_is_forgotten_after_a_while_and_by_a_purge(
        self, start_proxy: StartProxy, feed: FakeFeed, roots: Path, clock: FakeClock
    ) -> None:
        feed.origin.routes[UP_PACKAGE] = [Script(body=BAD), Script(body=SMALL), Script(body=GOOD)]
        proxy = await start_proxy(feed.index_url, upstream=wanted("require", roots))
        assert [(await ask(proxy, PACKAGE)).status for _ in range(2)] == [403, 403]
        assert (await ask(proxy, PACKAGE, "HEAD")).status == 403
        clock.advance(REFUSED_SECONDS + 1)
        assert "unsigned" in (await ask(proxy, PACKAGE)).reason
        await proxy.held.purge(IDENTITY)
        assert (await ask(proxy, PACKAGE)).body == GOOD

    async def test_the_feeds_own_certificates_are_known(self, start_proxy: StartProxy, feed: FakeFeed) -> None:
        list_certificates(feed, REPOSITORY)
        feed.add(OWNED)
        proxy = await start_proxy(feed.index_url, upstream=wanted("require"))
        assert (await ask(proxy, PACKAGE)).body == OWNED

    async def test_a_certificate_that_is_listed_no_more_is_not_known(
        self, start_proxy: StartProxy, feed: FakeFeed, clock: FakeClock
    ) -> None:
        list_certificates(feed, REPOSITORY)
        feed.add(OWNED)
        feed.add(signed(make_nupkg("Acme.B", "1.0.0"), Seal(by=REPOSITORY, kind="repository")))
        proxy = await start_proxy(feed.index_url, upstream=wanted("require"), policy={"signatures": {"refresh": "0s"}})
        assert (await ask(proxy, PACKAGE)).status == 200
        list_certificates(feed, STRANGER)
        clock.advance(2 * 86400)
        assert (await ask(proxy, "/v3/content/acme.b/1.0.0/acme.b.1.0.0.nupkg")).status == 403
        assert (await ask(proxy, PACKAGE)).status == 403, "what is held is judged anew"

    @pytest.mark.parametrize("headers", [{}, {"X-Unknown": "1"}], ids=["in the lane", "on the ordinary path"])
    async def test_it_is_not_known_either_where_nothing_new_is_asked_for(
        self, start_proxy: StartProxy, feed: FakeFeed, clock: FakeClock, headers: dict[str, str]
    ) -> None:
        list_certificates(feed, REPOSITORY)
        feed.add(OWNED)
        proxy = await start_proxy(feed.index_url, upstream=wanted("require"), policy={"signatures": {"refresh": "0s"}})
        for _ in range(3):
            assert (await ask(proxy, PACKAGE, headers=headers)).status == 200
        list_certificates(feed, STRANGER)
        clock.advance(86400 + LOOKED_AT_SECONDS)
        for path in (PACKAGE, NUSPEC):
            assert (await ask(proxy, path, headers=headers)).status == 403

    async def test_who_is_judged_while_the_list_changes_is_judged_by_the_new_one(
        self, start_proxy: StartProxy, feed: FakeFeed, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        list_certificates(feed, REPOSITORY)
        feed.add(OWNED)
        feed.add(make_nupkg("Acme.B", "1.0.0"))
        proxy = await start_proxy(feed.index_url)
        assert (await ask(proxy, PACKAGE)).status == 200
        policy = {"signatures": {"fresh": "10s", "refresh": "0s"}}
        await proxy.reload(upstream=wanted("require"), policy=policy)
        kept = proxy.held.folder.kept
        async with halting(monkeypatch, kept, "judge", lambda: ask(proxy, PACKAGE)) as first:
            list_certificates(feed, STRANGER)
            clock.advance(20)
            assert (await ask(proxy, "/v3/content/acme.b/1.0.0/acme.b.1.0.0.nupkg")).status == 403
        assert (await first).status == 403
        assert (await first).status == 403
        assert [(await ask(proxy, PACKAGE)).status for _ in range(3)] == [403] * 3

    async def test_a_certificate_that_is_listed_now_is_known_at_once(
        self, start_proxy: StartProxy, feed: FakeFeed, clock: FakeClock
    ) -> None:
        list_certificates(feed, STRANGER)
        feed.add(OWNED)
        feed.add(signed(make_nupkg("Acme.B", "1.0.0"), Seal(by=REPOSITORY, kind="repository")))
        policy = {"signatures": {"fresh": "10s", "refresh": "0s"}}
        proxy = await start_proxy(feed.index_url, upstream=wanted("require"), policy=policy)
        assert (await ask(proxy, PACKAGE)).status == 403
        list_certificates(feed, REPOSITORY)
        clock.advance(20)
        assert (await ask(proxy, "/v3/content/acme.b/1.0.0/acme.b.1.0.0.nupkg")).status == 200
        assert (await ask(proxy, PACKAGE)).body == OWNED

    async def test_what_an_import_brings_says_nothing_of_what_upstream_has(
        self, start_proxy: StartProxy, feed: FakeFeed, roots: Path, tmp_path: Path
    ) -> None:
        feed.add(GOOD)
        proxy = await start_proxy(feed.index_url, upstream=wanted("require", roots))
        brought = tmp_path / "brought.nupkg"
        brought.write_bytes(BAD)
        with pytest.raises(SignatureRefused):
            await proxy.held.take(IDENTITY, brought, base64.b64encode(hashlib.sha512(BAD).digest()).decode())
        assert (await ask(proxy, PACKAGE)).body == GOOD

    async def test_owners_are_wanted(self, start_proxy: StartProxy, feed: FakeFeed) -> None:
        list_certificates(feed, REPOSITORY)
        feed.add(OWNED)
        proxy = await start_proxy(feed.index_url, upstream=wanted("require", signature_owners=["fabrikam"]))
        got = await ask(proxy, PACKAGE)
        assert got.status == 403
        assert "it belongs to contoso; signature_owners wants one of fabrikam" in got.reason

    async def test_a_list_that_cannot_be_had_is_no_verdict(
        self, start_proxy: StartProxy, feed: FakeFeed, clock: FakeClock
    ) -> None:
        for path in LISTS:
            feed.origin.routes[path] = Script(status=500)
        feed.add(OWNED)
        proxy = await start_proxy(feed.index_url, upstream=wanted("require"))
        assert (await ask(proxy, PACKAGE)).status in {502, 503}
        assert held(proxy) == set()
        list_certificates(feed, REPOSITORY)
        clock.advance(3600)
        assert (await ask(proxy, PACKAGE)).body == OWNED

    @pytest.mark.parametrize("documents", [True, False], ids=["list stored", "list lost"])
    async def test_what_was_found_good_is_served_while_upstream_is_gone(
        self, start_proxy: StartProxy, feed: FakeFeed, documents: bool
    ) -> None:
        list_certificates(feed, REPOSITORY)
        feed.add(OWNED)
        proxy = await start_proxy(feed.index_url, upstream=wanted("require"))
        assert (await ask(proxy, PACKAGE)).status == 200
        await proxy.stop()
        await feed.set_mode("refused")
        if not documents:
            shutil.rmtree(proxy.directory / "documents")
        await proxy.start()
        assert (await ask(proxy, PACKAGE)).body == OWNED

    async def test_what_the_disk_cannot_take_is_not_passed_on_unseen(
        self, start_proxy: StartProxy, feed: FakeFeed, roots: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        feed.add(signed(LARGE, Seal(by=AUTHOR)))
        proxy = await start_proxy(feed.index_url, upstream=wanted("require", roots))

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.pwrite", full)
        got = await ask_only(proxy, PACKAGE)
        assert got.status == 503
        assert "signature" in json.loads(got.body)["error"]


class TestWhatIsHeldAlready:
    async def test_it_is_judged_when_the_setting_changes(
        self, start_proxy: StartProxy, feed: FakeFeed, roots: Path
    ) -> None:
        feed.add(BAD)
        proxy = await start_proxy(feed.index_url)
        for _ in range(3):  # the last ones in the lane
            assert (await ask(proxy, PACKAGE)).status == 200
        assert (await ask(proxy, NUSPEC)).status == 200
        await proxy.reload(upstream=wanted("require", roots))
        assert (await ask(proxy, PACKAGE)).status == 403
        assert (await ask(proxy, PACKAGE, "HEAD")).status == 403
        assert (await ask(proxy, PACKAGE, headers={"Range": "bytes=0-9"})).status == 403
        assert (await ask(proxy, NUSPEC)).status == 403
        await proxy.reload(upstream=wanted("warn", roots))
        got = await ask(proxy, PACKAGE)
        assert (got.status, got.body) == (200, BAD)
        assert "acme.a 1.0.0 has no signature that counts" in got.headers["X-NuGet-Warning"]
        await proxy.reload()
        assert "X-NuGet-Warning" not in (await ask(proxy, PACKAGE)).headers
        assert asked(feed) == 1

    async def test_a_verdict_outlives_a_restart(self, start_proxy: StartProxy, feed: FakeFeed, roots: Path) -> None:
        feed.add(GOOD)
        proxy = await start_proxy(feed.index_url, upstream=wanted("require", roots))
        await ask(proxy, PACKAGE)
        assert verdicts(proxy, "counts") == 1
        await proxy.restart()
        assert (await ask(proxy, PACKAGE)).body == GOOD
        assert verdicts(proxy, "counts") == 0, "nobody had to look again"

    async def test_a_verdict_ends_with_the_certificate_that_no_timestamp_helps(
        self, start_proxy: StartProxy, feed: FakeFeed, roots: Path, clock: FakeClock
    ) -> None:
        end = datetime.fromtimestamp(clock.now() + 86400, UTC)
        feed.add(signed(SMALL, Seal(by=ROOT.issue("Ends Soon", end=end))))
        proxy = await start_proxy(feed.index_url, upstream=wanted("require", roots))
        assert (await ask(proxy, PACKAGE)).status == 200
        clock.advance(2 * 86400)
        await proxy.restart()
        assert "(time)" in (await ask(proxy, PACKAGE)).reason

    @pytest.mark.parametrize("path", [PACKAGE, NUSPEC])
    @pytest.mark.parametrize("headers", [{}, {"X-Unknown": "1"}], ids=["in the lane", "on the ordinary path"])
    async def test_what_is_in_memory_ends_with_that_certificate_too(
        self, start_proxy: StartProxy, feed: FakeFeed, roots: Path, clock: FakeClock, path: str, headers: dict[str, str]
    ) -> None:
        end = datetime.fromtimestamp(clock.now() + 86400, UTC)
        feed.add(signed(SMALL, Seal(by=ROOT.issue("Ends Soon", end=end))))
        proxy = await start_proxy(feed.index_url, upstream=wanted("require", roots))
        assert (await ask(proxy, PACKAGE)).status == 200
        for _ in range(3):
            assert (await ask(proxy, path, headers=headers)).status == 200
        assert (proxy.app.lane.answered >= 1) is not bool(headers)
        clock.advance(2 * 86400)
        for _ in range(3):
            assert "(time)" in (await ask(proxy, path, headers=headers)).reason

    async def test_a_warning_begins_with_the_end_of_that_certificate(
        self, start_proxy: StartProxy, feed: FakeFeed, roots: Path, clock: FakeClock
    ) -> None:
        end = datetime.fromtimestamp(clock.now() + 86400, UTC)
        feed.add(signed(SMALL, Seal(by=ROOT.issue("Ends Soon", end=end))))
        proxy = await start_proxy(feed.index_url, upstream=wanted("warn", roots))
        for _ in range(3):
            assert "X-NuGet-Warning" not in (await ask(proxy, PACKAGE)).headers
        clock.advance(2 * 86400)
        answered = proxy.app.lane.answered
        for _ in range(3):
            assert "has no signature that counts" in (await ask(proxy, PACKAGE)).headers["X-NuGet-Warning"]
        assert proxy.app.lane.answered >= answered + 1

    async def test_a_hit_costs_no_look(self, start_proxy: StartProxy, feed: FakeFeed, roots: Path) -> None:
        feed.add(GOOD)
        proxy = await start_proxy(feed.index_url, upstream=wanted("require", roots))
        for _ in range(4):
            assert (await ask(proxy, PACKAGE)).status == 200
        assert verdicts(proxy, "counts") == 1
        assert proxy.app.lane.answered >= 1, "nor the ordinary path"


async def test_a_warning_goes_with_the_answer_from_the_first_time_on(
    start_proxy: StartProxy, feed: FakeFeed, roots: Path
) -> None:
    feed.add(BAD)
    proxy = await start_proxy(feed.index_url, upstream=wanted("warn", roots))
    with capture_logs() as logs:
        for _ in range(3):
            got = await ask(proxy, PACKAGE)
            assert (got.status, got.body) == (200, BAD)
            assert (
                "acme.a 1.0.0 has no signature that counts: it is signed by author CN=Stranger"
                in (got.headers["X-NuGet-Warning"])
            )
    assert [one["refused"] for one in logs if one["event"] == "package.signature_flawed"] == [False]
    assert verdicts(proxy, "signer") == 1


async def test_of_a_large_one_the_first_answer_has_begun_before_anybody_can_warn(
    start_proxy: StartProxy, feed: FakeFeed, roots: Path
) -> None:
    package = signed(LARGE, Seal(by=STRANGER))
    more = asyncio.Event()
    feed.origin.routes[UP_PACKAGE] = Script(body=package, gate=more, gate_at=len(package) - 100)
    proxy = await start_proxy(feed.index_url, upstream=wanted("warn", roots))
    with capture_logs() as logs:
        async with proxy.client.get(PACKAGE) as first:
            assert "X-NuGet-Warning" not in first.headers
            more.set()
            assert await first.read() == package
    assert [one["refused"] for one in logs if one["event"] == "package.signature_flawed"] == [False]
    assert verdicts(proxy, "signer") == 1
    for _ in range(3):
        got = await ask(proxy, PACKAGE)
        assert got.body == package
        assert "CN=Stranger" in got.headers["X-NuGet-Warning"]


async def test_nobody_looks_unless_it_is_wanted(proxy: Proxy, feed: FakeFeed, monkeypatch: pytest.MonkeyPatch) -> None:
    def looked(*_: object) -> None:
        raise AssertionError("somebody has looked")

    monkeypatch.setattr("nugetproxy.nuget.signatures.judge.judge", looked)
    feed.add(BAD)
    assert (await ask(proxy, PACKAGE)).status == 200
    assert all(feed.count(path) == 0 for path in LISTS)


@pytest.mark.parametrize(
    ("mode", "package", "status"), [("require", GOOD, 200), ("require", BAD, 403), ("warn", BAD, 200)]
)
async def test_a_folder_of_packages_is_judged_too(
    start_proxy: StartProxy, tmp_path: Path, roots: Path, mode: str, package: bytes, status: int
) -> None:
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    (shelf / "acme.a.1.0.0.nupkg").write_bytes(package)
    proxy = await start_proxy(shelf.as_uri(), upstream=wanted(mode, roots))
    got = await ask(proxy, PACKAGE)
    assert got.status == status
    assert ("X-NuGet-Warning" in got.headers) is (package is BAD)
    assert (await ask(proxy, NUSPEC)).status == status
    assert (await ask(proxy, PACKAGE)).status == status
    assert verdicts(proxy, "counts" if package is GOOD else "signer") == 1


async def test_one_source_of_an_aggregated_feed_may_want_more_than_another(
    start_proxy: StartProxy, feed: FakeFeed, tmp_path: Path, roots: Path
) -> None:
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    (shelf / "acme.b.1.0.0.nupkg").write_bytes(make_nupkg("Acme.B", "1.0.0"))
    feed.add(BAD)
    proxy = await start_proxy(
        feed.index_url,
        upstream=wanted("require", roots),
        upstreams={"shelf": {"url": shelf.as_uri()}},
        feeds={"all": {"sources": ["up", "shelf"], "default": True}},
    )
    assert (await ask(proxy, PACKAGE)).status == 403
    assert (await ask(proxy, "/v3/content/acme.b/1.0.0/acme.b.1.0.0.nupkg")).status == 200


async def test_everybody_who_asks_is_told(start_proxy: StartProxy, feed: FakeFeed, roots: Path) -> None:
    feed.add(GOOD)
    feed.add(make_nupkg("Acme.B", "1.0.0"))
    proxy = await start_proxy(feed.index_url, upstream=wanted("warn", roots))
    app = proxy.app

    async def told(id: str) -> list[str]:
        found = await explain(app.desk.feed(""), app.clock.now(), id_=id, version="1.0.0")
        return [line.removeprefix("  up: ") for line in found.lines() if line.startswith("  up: ")]

    assert await told("acme.a") == ["Nobody has looked at the signature of acme.a 1.0.0 by what counts now."]
    await ask(proxy, PACKAGE)
    await ask(proxy, "/v3/content/acme.b/1.0.0/acme.b.1.0.0.nupkg")
    assert await told("acme.a") == [f"acme.a 1.0.0 is signed by CN=Author (SHA-256 {AUTHOR.fingerprint})."]
    assert await told("acme.b") == ["acme.b 1.0.0 has no signature that counts: it is not signed."]
    done = await verify(app.desk)
    assert (done["checked"], done["damaged"]) == (2, [])
    assert [(one["id"], one["says"]) for one in done["flawed"]] == [
        ("acme.b", "acme.b 1.0.0 has no signature that counts: it is not signed")
    ]
    shown = await package(app.desk, Viewer(admin=True, feeds=frozenset(app.feeds)), id="Acme.A")
    assert shown["signature"] == f"acme.a 1.0.0 is signed by CN=Author (SHA-256 {AUTHOR.fingerprint})."


async def test_nobody_is_told_what_another_trust_thought(
    start_proxy: StartProxy, feed: FakeFeed, roots: Path, clock: FakeClock
) -> None:
    """Nor what was right until a certificate ended."""
    end = datetime.fromtimestamp(clock.now() + 86400, UTC)
    feed.add(signed(SMALL, Seal(by=ROOT.issue("Ends Soon", end=end))))
    proxy = await start_proxy(feed.index_url, upstream=wanted("require", roots))
    assert (await ask(proxy, PACKAGE)).status == 200
    signatures = proxy.app.sources["up"].signatures
    assert "is signed by CN=Ends Soon" in await signatures.told(IDENTITY)
    await proxy.restart()
    signatures = proxy.app.sources["up"].signatures
    assert "is signed by CN=Ends Soon" in await signatures.told(IDENTITY), "by the same trust, as far as that is known"
    other = roots.with_name("other.pem")
    other.write_bytes(OTHER.pem)
    await proxy.reload(upstream=wanted("require", other))
    assert await signatures.told(IDENTITY) == "Nobody has looked at the signature of acme.a 1.0.0 by what counts now."
    assert (await ask(proxy, PACKAGE)).status == 403
    assert "has no signature that counts" in await signatures.told(IDENTITY)
    await proxy.reload(upstream=wanted("require", roots))
    assert (await ask(proxy, PACKAGE)).status == 200
    clock.advance(2 * 86400)
    assert "is signed by" not in await signatures.told(IDENTITY)


async def test_who_is_refused_is_told_of_that_not_of_what_was_here_before(
    start_proxy: StartProxy, feed: FakeFeed, roots: Path, tmp_path: Path
) -> None:
    feed.add(BAD)
    proxy = await start_proxy(feed.index_url, upstream=wanted("require", roots))
    assert (await ask(proxy, PACKAGE)).status == 403
    signatures = proxy.app.sources["up"].signatures
    brought = tmp_path / "brought.nupkg"
    brought.write_bytes(GOOD)
    assert await proxy.held.take(IDENTITY, brought, base64.b64encode(hashlib.sha512(GOOD).digest()).decode())
    await until(lambda: proxy.metric("pending_commits") == 0)
    assert (await ask(proxy, PACKAGE)).body == GOOD
    assert "is signed by CN=Author" in await signatures.told(IDENTITY)


@pytest.mark.parametrize("where", ["of a feed", "in a folder"])
async def test_what_would_be_refused_cannot_be_restored_without_upstream(
    start_proxy: StartProxy, feed: FakeFeed, tmp_path: Path, roots: Path, where: str
) -> None:
    """``warm --check`` asks that."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    (shelf / "acme.a.1.0.0.nupkg").write_bytes(BAD)
    feed.add(BAD)
    proxy = await start_proxy(shelf.as_uri() if where == "in a folder" else feed.index_url)
    assert (await ask(proxy, PACKAGE)).status == 200

    async def left() -> Any:
        told = await carry_out(proxy.app.desk, "left/packages", {"packages": ["acme.a/1.0.0"]}, by="test")
        return told["packages"]["acme.a/1.0.0"]

    assert await left() == []
    await proxy.reload(upstream=wanted("require", roots))
    assert await left() is None
    await proxy.reload(upstream=wanted("warn", roots))
    assert await left() == []


def test_a_configuration_that_trusts_nobody_is_refused(tmp_path: Path, roots: Path) -> None:
    def lines(**upstream: Any) -> list[str]:
        table = {"url": "https://feed.example/v3/index.json", **upstream}
        return [one.partition(": ")[0] for one in contradictions(read(Config, {"upstreams": {"up": table}}))]

    shelf = tmp_path.as_uri()
    (tmp_path / "none.pem").write_text("nothing")
    assert (
        lines(**wanted("require", roots))
        == lines(**wanted("require"))
        == lines(url=shelf, **wanted("warn", roots))
        == []
    )
    assert lines(url=shelf, **wanted("require")) == ["upstreams.up.signature_roots"]
    assert lines(**wanted("require", tmp_path / "missing.pem")) == ["upstreams.up.signature_roots"]
    assert lines(**wanted("require", tmp_path / "none.pem")) == ["upstreams.up.signature_roots"]
    assert lines(**wanted("off", roots)) == ["upstreams.up.signature_roots"]
    assert lines(signature_owners=["contoso"]) == ["upstreams.up.signature_owners"]


def test_doctor_says_what_is_wanted(roots: Path) -> None:
    table = {"url": "https://feed.example/v3/index.json", **wanted("require", roots, signature_owners=["contoso"])}
    said = [one.text for one in check_configuration(read(Config, {"upstreams": {"up": table}}))]
    assert said[1] == (
        "upstream up: what has no signature that counts is refused; trusted: 1 root certificates, the feed's own list, "
        "owners contoso"
    )


async def test_what_is_signed_is_entered_with_its_signer(start_proxy: StartProxy, feed: FakeFeed, roots: Path) -> None:
    feed.add(GOOD)
    proxy = await start_proxy(feed.index_url, upstream=wanted("require", roots))
    await ask(proxy, PACKAGE)
    await proxy.stop()
    lines = [json.loads(line) for line in (proxy.directory / "provenance.log").read_text().splitlines()]
    assert [one["signer"] for one in lines if one.get("id") == "acme.a"] == [f"{AUTHOR.fingerprint} CN=Author"]
