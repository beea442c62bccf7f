"""What is about to end is said two weeks before: certificates, tokens."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from structlog.testing import capture_logs

from nugetproxy.caching.policy import DAY
from nugetproxy.store.certificates import end_of
from tests.conftest import StartProxy
from tests.fakes.asking import ask
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.proxy import Proxy


def certificate(folder: Path, ends: datetime, name: str = "own") -> tuple[Path, Path]:
    """Files of a certificate that ends then, and of its key."""
    issued = trustme.CA().issue_cert("127.0.0.1", not_before=ends - timedelta(days=90), not_after=ends)
    files = folder / f"{name}.pem", folder / f"{name}.key"
    files[0].write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(files[1])
    return files


@pytest.mark.parametrize("year", [2031, 2049, 2055])
def test_when_a_certificate_ends_is_read(tmp_path: Path, year: int) -> None:
    ends = datetime(year, 3, 4, 5, 6, 7, tzinfo=UTC)
    assert end_of(certificate(tmp_path, ends)[0]) == ends.timestamp()


def test_the_first_of_several_counts(tmp_path: Path) -> None:
    first, second = (
        certificate(tmp_path, datetime(year, 1, 1, tzinfo=UTC), str(year))[0].read_text() for year in (2040, 2035)
    )
    both = tmp_path / "both.pem"
    both.write_text(f"# two authorities\n{first}\n{second}")
    assert end_of(both) == datetime(2035, 1, 1, tzinfo=UTC).timestamp()


@pytest.mark.parametrize("text", ["", "nothing", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----",
                                  "-----BEGIN CERTIFICATE-----\nMIIBIjAN\n-----END CERTIFICATE-----"])  # fmt: skip
def test_what_is_no_certificate_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.pem").write_text(text)
    with pytest.raises(ValueError, match="certificate"):
        end_of(tmp_path / "x.pem")


async def problems(proxy: Proxy) -> list[str]:
    found: list[str] = json.loads((await ask(proxy, "/health/ready")).body)["problems"]
    return found


def shown(proxy: Proxy, what: str, name: str) -> float | None:
    """The metric."""
    labels = {"what": what, "name": name}
    return proxy.app.metrics.registry.get_sample_value("nugetproxy_expires_timestamp_seconds", labels)


async def test_an_operator_is_told_two_weeks_before(
    start_proxy: StartProxy, feed: FakeFeed, clock: FakeClock, tmp_path: Path
) -> None:
    ends = datetime.fromtimestamp(clock.now(), UTC).replace(microsecond=0) + timedelta(days=20, hours=12)
    file, key = certificate(tmp_path, ends)
    proxy = await start_proxy(
        feed.index_url,
        upstream={"ca_file": str(file)},
        server={"tls_certificate": str(file), "tls_key": str(key)},
    )
    _, secret = await proxy.app.tokens.add("boss", ["admin"], (), 30 * DAY)
    expiry = proxy.app.shared.expiry
    await expiry.round()
    assert await problems(proxy) == []
    for what, name in (("certificate", ""), ("ca_file", "up")):
        assert shown(proxy, what, name) == ends.timestamp()
    assert shown(proxy, "token", "boss") == clock.now() + 30 * DAY
    clock.advance(7 * DAY)
    with capture_logs() as logs:
        await expiry.round()
        await expiry.round()
    told = [(one["what"], one["name"]) for one in logs if one["event"] == "expiry.near"]
    assert sorted(told) == [("ca_file", "up"), ("certificate", "")], "once a day"
    (problem,) = await problems(proxy)
    day = ends.strftime("%Y-%m-%d")
    assert f"The proxy's own certificate expires on {day}, in 13 days; renew the file" in problem
    assert f"A certificate in ca_file of upstream 'up' expires on {day}" in problem
    assert "token" not in problem.replace("tokens", "")
    clock.advance(14 * DAY)
    with capture_logs() as logs:
        await expiry.round()
    assert len([one for one in logs if one["event"] == "expiry.near"]) == 3
    (problem,) = await problems(proxy)
    assert f"expired on {day}" in problem
    assert "The token 'boss' expires on" in problem
    got = await ask(proxy, "/-/stats", headers={"Authorization": f"Bearer {secret}"})
    said = json.loads(got.body)
    assert [one["what"] for one in said["ends"]] == ["ca_file", "certificate", "token"]
    assert problem in said["problems"]
    await proxy.app.tokens.revoke("boss")
    file, _ = certificate(tmp_path, ends + timedelta(days=90))
    await expiry.round()
    assert await problems(proxy) == []
    assert shown(proxy, "token", "boss") is None
