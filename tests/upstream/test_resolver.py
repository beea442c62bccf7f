"""Names are looked up in time, to addresses that are allowed."""

from __future__ import annotations

import asyncio
import socket

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from structlog.testing import capture_logs

from nugetproxy.upstream.addresses import AddressRule
from nugetproxy.upstream.resolver import AddressDenied, GuardedResolver, LookupTimeout, ThreadResolver
from tests.fakes.names import Names

PUBLIC_ONLY = AddressRule(anywhere=False, hosts=frozenset({"listed.example"}))


def guarded(names: AbstractResolver, timeout: float = 1.0) -> GuardedResolver:
    return GuardedResolver(names, PUBLIC_ONLY, timeout)


async def addresses(resolver: AbstractResolver, host: str) -> list[str]:
    return [found["host"] for found in await resolver.resolve(host, 443)]


async def test_public_addresses_pass_and_others_are_left_out() -> None:
    names = Names({"mixed.example": ["10.0.0.1", "8.8.8.8", "::1"]})
    assert await addresses(guarded(names), "mixed.example") == ["8.8.8.8"]


@pytest.mark.parametrize("host", ["evil.example", "EVIL.example.", "0x7f000001"])
async def test_a_name_with_private_addresses_only_is_denied(host: str) -> None:
    with pytest.raises(AddressDenied):
        await addresses(guarded(Names({host: ["127.0.0.1", "::ffff:10.0.0.1"]})), host)


async def test_a_listed_name_may_be_anywhere() -> None:
    assert await addresses(guarded(Names({"listed.example": ["10.0.0.1"]})), "listed.example") == ["10.0.0.1"]


async def test_rebinding_gains_nothing() -> None:
    names = Names({"evil.example": ["8.8.8.8"]})
    resolver = guarded(names)
    assert await addresses(resolver, "evil.example") == ["8.8.8.8"]
    names.known["evil.example"] = ["169.254.169.254"]
    with pytest.raises(AddressDenied):
        await addresses(resolver, "evil.example")


class TestIndex:
    """The index's own name: what it is at a start it stays."""

    REACH = AddressRule(anywhere=False, hosts=frozenset(), index="feed.example")

    async def test_a_public_one_stays_public(self) -> None:
        names = Names({"feed.example": ["8.8.8.8", "10.0.0.1"]})
        resolver = GuardedResolver(names, self.REACH, 1.0)
        with capture_logs() as logs:
            await resolver.settle()
        assert [(line["event"], line["host"], line["public"]) for line in logs] == [
            ("upstream.address", "feed.example", True)
        ]
        assert await addresses(resolver, "feed.example") == ["8.8.8.8"]
        names.known["Feed.Example."] = ["10.0.0.1"]
        with pytest.raises(AddressDenied, match="internal = true"):
            await addresses(resolver, "Feed.Example.")
        names.known["feed.example"] = ["9.9.9.9"]
        assert await addresses(resolver, "feed.example") == ["9.9.9.9"]

    async def test_a_private_one_may_be(self) -> None:
        names = Names({"feed.example": ["10.0.0.1"], "other.example": ["10.0.0.2"]})
        resolver = GuardedResolver(names, self.REACH, 1.0)
        with capture_logs() as logs:
            await resolver.settle()
        assert [line["public"] for line in logs] == [False]
        assert await addresses(resolver, "feed.example") == ["10.0.0.1"]
        with pytest.raises(AddressDenied):
            await addresses(resolver, "other.example")

    async def test_what_cannot_be_looked_up_at_the_start_is_decided_later(self) -> None:
        names = Names({})
        resolver = GuardedResolver(names, self.REACH, 1.0)
        await resolver.settle()
        names.known["feed.example"] = ["8.8.8.8"]
        assert await addresses(resolver, "feed.example") == ["8.8.8.8"]
        names.known["feed.example"] = ["127.0.0.1"]
        with pytest.raises(AddressDenied):
            await addresses(resolver, "feed.example")


async def test_a_look_up_that_hangs_is_given_up() -> None:
    class Hanging(Names):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
        ) -> list[ResolveResult]:
            await asyncio.Event().wait()
            raise AssertionError

    with pytest.raises(LookupTimeout):
        await addresses(guarded(Hanging({}), timeout=0.01), "slow.example")


async def test_the_system_knows_localhost_without_the_default_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*args: object) -> None:
        raise AssertionError("the default executor is shared with everything that blocks")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", never)
    resolver = ThreadResolver()
    try:
        assert "127.0.0.1" in await addresses(resolver, "localhost")
    finally:
        await resolver.close()
