"""Remedies say what an operator can do about an upstream that cannot be used."""

from __future__ import annotations

import os

from nugetproxy.errors import Reason
from nugetproxy.upstream.settings import UpstreamSettings

NO_WAY = frozenset({Reason.REFUSED, Reason.CONNECT_TIMEOUT, Reason.DNS, Reason.DNS_TIMEOUT})
ISSUER = ("self-signed", "self signed", "issuer", "verify the first certificate")
"""How OpenSSL says that nobody here trusts who signed a certificate."""
PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")


def remedy(reason: Reason, detail: str, settings: UpstreamSettings) -> str:
    """One sentence about the failure ``reason`` (``detail`` as the failure has it); empty where there is nothing to do
    but wait.
    """
    if reason is Reason.TLS and any(word in detail for word in ISSUER):
        return "If you trust who signed its certificate, name that authority's PEM file in ca_file of this upstream."
    if reason is Reason.TLS:
        return "Look at its certificate, at the host name in its URL, and at the clock of this machine."
    if reason is Reason.AUTH:
        wrong = "were refused; look at" if settings.headers else "are missing; set"
        return f"Credentials {wrong} username and password of this upstream."
    if reason in NO_WAY and not settings.egress.ways and any(os.environ.get(name) for name in PROXIES):
        return "The environment names an HTTP proxy; if this upstream is behind it, set proxy in [network]."
    if reason in {Reason.DNS, Reason.DNS_TIMEOUT}:
        return "Look at the host name in its URL, and at the name service of this machine."
    return ""
