"""A proxy that wants signatures, to which everything happens that changes whose count: it serves what counts now."""

from __future__ import annotations

import base64
import hashlib
import io
import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientPayloadError

from nugetproxy.admin.commands import carry_out
from nugetproxy.admin.explain import explain
from nugetproxy.config.roots import read_roots
from nugetproxy.engine.signatures import LOOKED_AT_SECONDS, REFUSED_SECONDS
from nugetproxy.errors import ProxyError
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.signatures.roots import NO_ROOTS
from nugetproxy.nuget.signatures.verdict import Trust
from tests.engine.test_scrub import flip
from tests.engine.test_signatures import AUTHOR, OTHER, REPOSITORY, ROOT, STRANGER, list_certificates, wanted
from tests.fakes.asking import Got, ask, until
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import FOREGROUND
from tests.fakes.signing import Seal, signed
from tests.rules.conftest import ago
from tests.rules.test_lane_truth import House

FEEDS = ("", "/ruled", "/farm")
IDENTITIES = tuple(PackageIdentity("acme.a", f"{number}.0.0") for number in (1, 2, 3))
PLAIN = tuple(f"/v3/content/acme.a/{one.version}/{one.nupkg_name}" for one in IDENTITIES)
PATHS = (*PLAIN, *PLAIN, "/v3/content/acme.a/1.0.0/acme.a.nuspec", "/v3/content/acme.a/index.json")
FRESH = 60.0
"""Seconds that the list of certificates is."""
KINDS = "publish publish pass pass lists lists trust trust trust purge evict restart lose bring damage scrub verify"
RULES: tuple[list[dict[str, Any]], ...] = (
    [],
    [{"name": "no", "action": "deny", "versions": "[2.0.0]"}],
    [{"name": "yes", "action": "allow"}],
)


def seals(clock: FakeClock) -> tuple[Callable[[bytes], bytes], ...]:
    """Ways to sign a package."""
    soon = ROOT.issue("Ends Soon", end=datetime.fromtimestamp(clock.now() + 86_400, UTC))
    own = Seal(by=REPOSITORY, kind="repository", owners=("contoso",))
    by = (Seal(by=AUTHOR), Seal(by=STRANGER), Seal(by=soon), own, Seal(by=STRANGER, counter=own))
    other = Seal(by=AUTHOR, statement=b"Version:1\r\n\r\n2.16.840.1.101.3.4.2.1-Hash:AAAA\r\n\r\n")
    return (lambda package: package, *((lambda package, seal=seal: signed(package, seal)) for seal in (*by, other)))


class Vault(House):
    """A house whose upstream is believed by signatures; judging its bytes by the trust of now says what counts."""

    def __init__(self, folder: Path, up: FakeFeed, second: FakeFeed) -> None:
        for name, root in (("root", ROOT), ("other", OTHER)):
            (folder / f"{name}.pem").write_bytes(root.pem)
        self.folder = folder
        self.wanted = wanted("require", folder / "root.pem")
        self.rules: list[dict[str, Any]] = []
        self.ours: set[bytes] = set()
        self.listed_since: list[frozenset[str]] = [frozenset()]
        """What the feed has listed since the proxy has looked for sure."""
        self.refused: dict[PackageIdentity, float] = {}
        super().__init__(folder / "cache", up, second, FakeClock())
        self.seals = seals(self.clock)

    def tables(self, *, unlisted: bool) -> dict[str, Any]:
        tables = super().tables(unlisted=unlisted)
        tables["upstream"] |= self.wanted
        tables["feeds"]["ruled"]["rules"] = self.rules
        return tables | {"policy": {**FOREGROUND, "signatures": {"fresh": f"{FRESH:g}s", "refresh": "0s"}}}

    def make(self, chance: random.Random, identity: PackageIdentity) -> bytes:
        """Other bytes each time, some too large to be judged before the answer begins."""
        size = chance.choice((0, 0, 3000, 1_300_000 if chance.random() < 0.2 else 100_000))
        self.number += 1
        package = make_nupkg("Acme.A", identity.version, description=f"{self.number}", size=size)
        package = chance.choice(self.seals)(package)
        self.ours.add(package)
        return package

    def counts(self, package: bytes) -> set[bool]:
        """What may be thought of it now."""
        paths = self.wanted["signature_roots"]
        roots = read_roots(paths) if paths else NO_ROOTS
        owners = frozenset(self.wanted.get("signature_owners", ()))
        trusts = [Trust(roots=roots, owners=owners, listed=listed) for listed in self.listed_since]
        return {one.judge(io.BytesIO(package), self.clock.now()).counts for one in trusts}

    def file(self, identity: PackageIdentity) -> Path:
        return self.proxy.packages / identity.id / identity.version / identity.nupkg_name

    def judge(self, path: str, got: Got) -> None:
        assert got.status < 500 or got.status in {502, 503}, (path, got.status, got.body)
        if not path.endswith(".nupkg"):
            return
        mode, says = self.wanted["signatures"], "no signature that counts" in got.headers.get("X-NuGet-Warning", "")
        self.seen[f"{mode} {got.status}"] += 1
        if got.status == 200 and got.body in self.ours:
            counts = self.counts(got.body)
            assert mode != "require" or True in counts, path
            assert not says or (mode == "warn" and False in counts), path
            assert says or mode != "warn" or True in counts or len(got.body) > 50_000, path
        elif got.status == 403 and b"its signature does not count" in got.body:
            self.refuse(next(one for one in IDENTITIES if path.endswith(one.nupkg_name)))

    def refuse(self, identity: PackageIdentity) -> None:
        """It was, so it is nothing that counts: what is held, else what upstream has, or had a moment ago."""
        assert self.wanted["signatures"] == "require"
        held, there = self.file(identity), self.up.shelf.exact(identity.id, identity.version)
        package = held.read_bytes() if held.exists() else there.content if there is not None else b""
        if held.exists() or self.clock.now() - self.refused.get(identity, 0.0) > REFUSED_SECONDS + 2:
            assert False in self.counts(package), identity
            self.refused[identity] = self.clock.now()

    async def explained(self, path: str, identity: PackageIdentity) -> None:
        """What is told fits what is done."""
        with suppress(ClientPayloadError):  # one that is streamed is cut where it is refused
            got = await ask(self.proxy, path)
            self.judge(path, got)
            found = await explain(
                self.proxy.app.desk.feed(""), self.clock.now(), id_=identity.id, version=identity.version
            )
            told = found.sources[0].signature
            counts = bool(told) and "no signature that counts" not in told and "Nobody" not in told
            if got.status == 403 and b"its signature does not count" in got.body:
                assert not counts, told
            elif got.status == 200 and self.wanted["signatures"] == "require":
                assert counts, told

    async def change(self, chance: random.Random) -> None:
        """Something happens; what the feed lists is known then, where it can be."""
        kind = chance.choice(KINDS.split())
        self.seen[kind] += 1
        await until(lambda: not self.proxy.app.tasks.running())
        await getattr(self, f"do_{kind}")(chance)
        self.clock.advance(2)
        if self.up.mode == "up" and self.wanted["signatures"] != "off" and len(self.listed_since) > 1:
            self.clock.advance(LOOKED_AT_SECONDS + FRESH)
            if (await self.proxy.app.sources["up"].signatures._current())[1] is None:
                del self.listed_since[:-1]

    async def do_publish(self, chance: random.Random) -> None:
        identity = chance.choice(IDENTITIES)
        self.up.add(self.make(chance, identity), at=ago(self.clock, chance.choice((1, 30))))

    async def do_pass(self, chance: random.Random) -> None:
        self.clock.advance(chance.choice((1, 31, 301, 3601, 43_200)))

    async def do_lists(self, chance: random.Random) -> None:
        known = [one for one in (REPOSITORY, AUTHOR) if chance.random() < 0.5]
        list_certificates(self.up, *known)
        self.listed_since.append(frozenset(one.fingerprint for one in known))

    async def do_trust(self, chance: random.Random) -> None:
        """Reload, with other roots, owners, rules."""
        mode = chance.choice(("require", "require", "warn", "off"))
        names = () if mode == "off" else chance.choice(((), ("root",), ("other",), ("root", "other")))
        roots = [str(self.folder / f"{name}.pem") for name in names]
        owners = chance.choice(([], ["contoso"])) if mode != "off" else []
        self.wanted = {"signatures": mode, "signature_roots": roots, "signature_owners": owners}
        self.rules = chance.choice(RULES)
        self.refused.clear()
        await self.proxy.reload(**self.tables(unlisted=True))

    async def command(self, name: str, **arguments: Any) -> Any:
        return await carry_out(self.proxy.app.desk, name, arguments, by="test")

    async def do_purge(self, _: random.Random) -> None:
        await self.command("purge", id="acme.a")
        self.refused.clear()

    async def do_evict(self, chance: random.Random) -> None:
        await self.command("evict", to=chance.choice((0, 5000)))

    async def do_restart(self, _: random.Random) -> None:
        await self.proxy.restart()
        self.refused.clear()

    async def do_lose(self, chance: random.Random) -> None:
        await self.up.set_mode(chance.choice(("up", "up", "refused")))

    async def do_bring(self, chance: random.Random) -> None:
        """Import."""
        place = self.proxy.directory / "run" / "transfer-0123456789abcdef"
        place.mkdir(parents=True, exist_ok=True)
        identity = chance.choice(IDENTITIES)
        package = self.make(chance, identity)
        (place / str(identity)).write_bytes(package)
        what = {"package": f"acme.a/{identity.version}", "sha512": base64.b64encode(hashlib.sha512(package).digest())}
        with suppress(ProxyError):
            await self.command("transfer/take", upstream="up", place=place.name, **_text(what))

    async def do_damage(self, _: random.Random) -> None:
        for held in self.proxy.packages.glob("acme.a/*/*.nupkg"):
            held.write_bytes(b"x" * held.stat().st_size)

    async def do_scrub(self, _: random.Random) -> None:
        for held in self.proxy.packages.glob("acme.a/*/*.nupkg"):
            flip(held)
        for _round in range(2):  # a pass begins once a day
            self.clock.advance(86_400)
            await self.proxy.app.scrub.round()

    async def do_verify(self, _: random.Random) -> None:
        flawed = {one["version"] for one in (await self.command("verify"))["flawed"]}
        if self.wanted["signatures"] != "off":
            for identity in IDENTITIES:
                if self.file(identity).exists() and self.counts(self.file(identity).read_bytes()) == {False}:
                    assert identity.version in flawed, identity


def _text(what: dict[str, Any]) -> dict[str, str]:
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in what.items()}


async def live(folder: Path, seed: int, steps: int) -> Counter[str]:
    """A life of so many steps; how much of what happened."""
    async with FakeFeed() as up, FakeFeed() as second:
        vault, chance = Vault(folder, up, second), random.Random(seed)
        for _ in range(3):
            await vault.do_publish(chance)
        second.add(make_nupkg("Acme.C", "1.0.0"), at=ago(vault.clock, 30))
        await vault.proxy.start()
        try:
            for _ in range(steps):
                await vault.change(chance)
                for _ in range(3):
                    path = chance.choice(PATHS)
                    with suppress(ClientPayloadError):
                        await vault.look(chance.choice(FEEDS) + path, {})
                    if path in PLAIN:
                        await vault.explained(path, IDENTITIES[PLAIN.index(path)])
            return vault.seen
        finally:
            await vault.proxy.stop()


async def test_what_is_served_counts_by_the_trust_of_now(tmp_path: Path) -> None:
    seen = await live(tmp_path, 19, 25)
    assert seen["laned"] > 0


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(10, 13))
async def test_whatever_happens_what_is_served_counts(tmp_path: Path, seed: int) -> None:
    seen = await live(tmp_path, seed, 120)
    assert seen["laned"] > 50
    assert min(seen["require 200"], seen["require 403"], seen["warn 200"]) > 10, seen
