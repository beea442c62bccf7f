"""What the log tells an operator to do about an upstream that cannot be used."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from nugetproxy.errors import Reason
from nugetproxy.upstream.failures import PROXIES, remedy
from nugetproxy.upstream.settings import UpstreamSettings
from tests.fakes.origin import Origin, Script
from tests.upstream.conftest import MakeClient

PLAIN = UpstreamSettings(name="feed", index_url="https://feed.example/")
NAMED = UpstreamSettings(name="feed", index_url="https://feed.example/", headers={"Authorization": "Basic eDp5"})


@pytest.mark.parametrize(
    ("reason", "detail", "settings", "word"),
    [
        (Reason.TLS, "its certificate is not valid: self-signed certificate", PLAIN, "ca_file"),
        (Reason.TLS, "its certificate is not valid: unable to get local issuer certificate", PLAIN, "ca_file"),
        (Reason.TLS, "its certificate is not valid: certificate has expired", PLAIN, "clock"),
        (Reason.AUTH, "", PLAIN, "are missing; set username and password"),
        (Reason.AUTH, "", NAMED, "were refused; has the token expired? Look at username and password"),
        (Reason.DNS, "the name cannot be looked up", PLAIN, "host name"),
    ],
)
def test_each_trouble_has_its_own(
    monkeypatch: pytest.MonkeyPatch, reason: Reason, detail: str, settings: UpstreamSettings, word: str
) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    assert word in remedy(reason, detail, settings)


@pytest.mark.parametrize("reason", [Reason.REFUSED, Reason.DNS, Reason.CONNECT_TIMEOUT])
def test_an_egress_proxy_of_the_environment_is_named(monkeypatch: pytest.MonkeyPatch, reason: Reason) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    assert "[network]" not in remedy(reason, "", PLAIN)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    assert "[network]" in remedy(reason, "", PLAIN)


def test_where_only_waiting_helps_nothing_is_said() -> None:
    assert remedy(Reason.SERVER_ERROR, "status 503", PLAIN) == ""


async def test_an_index_that_is_refused_is_one_line_until_it_is_not(origin: Origin, make_client: MakeClient) -> None:
    client = make_client()
    index = f"{origin.url}/v3/index.json"
    no, yes = Script(status=401), Script(body=b"{}")
    origin.routes["/v3/index.json"] = [no, no, yes, no]
    with capture_logs() as logs:
        for _ in range(4):
            await client.get(index)
    assert [(line["event"], line["reason"]) for line in logs] == [("upstream.unusable", "auth")] * 2
    assert "username" in logs[0]["remedy"]
