"""Which addresses count as public, who may have which."""

from __future__ import annotations

import pytest

from nugetproxy.upstream.addresses import AddressRule, is_literal, is_public
from nugetproxy.upstream.settings import UpstreamSettings


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "172.15.255.255",
        "172.32.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "192.167.1.1",
        "2606:4700::1111",
        "64:ff9b::808:808",
        "::ffff:8.8.8.8",
        "2002:808:808::1",
        "2a00:1450:4001::1",
    ],
)
def test_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.255.254",
        "10.1.2.3",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "100.127.255.255",
        "0.0.0.0",
        "0.1.2.3",
        "224.0.0.1",
        "239.255.255.255",
        "255.255.255.255",
        "240.0.0.1",
        "192.0.0.8",
        "192.0.2.1",
        "198.18.0.1",
        "198.51.100.7",
        "203.0.113.9",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd12::1",
        "fec0::1",
        "ff02::1",
        "2001:db8::1",
        "100::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a00:1",
        "64:ff9b:1::808:808",
        "2002:7f00:1::1",
        "2002:a9fe:a9fe::",
        "2001::1",
        "",
        "localhost",
        "0x7f000001",
        "2130706433",
        "127.1",
        "8.8.8.8 ",
        "fd00:ec2::254",
    ],
)
def test_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    ("host", "literal"),
    [
        ("1.2.3.4", True),
        ("::1", True),
        ("2130706433", True),
        ("127.1", True),
        ("0177.0.0.1", True),
        ("0x7f000001", True),
        ("0x7f.0x1", True),
        ("a.example", False),
        ("1.example", False),
        ("0x7f.example", False),
        ("3com", False),
    ],
)
def test_literal(host: str, literal: bool) -> None:
    assert is_literal(host) == literal


def rule(index_url: str, **settings: object) -> AddressRule:
    return AddressRule.of(UpstreamSettings(name="feed", index_url=index_url, **settings))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "index_url",
    [
        "http://127.0.0.1:5000/i",
        "http://localhost/i",
        "https://10.0.0.5/i",
        "http://[::1]:80/i",
        "http://x.localhost/i",
    ],
)
def test_an_index_at_a_private_address_makes_all_of_the_upstream_internal(index_url: str) -> None:
    assert rule(index_url).allows("other.example", "192.168.1.1")


def test_a_public_index_allows_private_addresses_to_listed_hosts_only() -> None:
    it = rule("https://Feed.Example/v3/index.json", hosts=frozenset({"cdn.example"}))
    assert it.index == "feed.example"
    assert not it.allows("feed.example", "10.0.0.1")
    assert it.allows("cdn.example", "10.0.0.1")
    assert not it.allows("evil.example", "10.0.0.1")
    assert it.allows("evil.example", "8.8.8.8")


def test_internal_by_configuration() -> None:
    assert rule("https://feed.example/i", internal=True).allows("blob.example", "10.0.0.1")


@pytest.mark.parametrize(
    ("index_url", "settings", "settled"),
    [
        ("https://feed.example/i", {}, False),
        ("https://feed.example/i", {"internal": True}, True),
        ("https://feed.example/i", {"hosts": frozenset({"feed.example"})}, True),
        ("https://8.8.8.8/i", {}, True),
        ("http://localhost/i", {}, True),
    ],
)
def test_only_a_name_that_may_be_public_has_to_be_looked_up(
    index_url: str, settings: dict[str, object], settled: bool
) -> None:
    assert rule(index_url, **settings).is_settled == settled
