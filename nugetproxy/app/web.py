"""The web side is built here: who may come in, what is answered where."""

from __future__ import annotations

from collections.abc import Mapping

from nugetproxy.admin.desk import Desk
from nugetproxy.admin.tokens import Tokens
from nugetproxy.app.access import rules
from nugetproxy.app.shared import Hot, Shared, hot_bytes
from nugetproxy.config import Config
from nugetproxy.config.upstream import Upstream
from nugetproxy.feeds.files import Site
from nugetproxy.upstream.addresses import is_private
from nugetproxy.upstream.urls import host_of, parse_url
from nugetproxy.web.admin import Admin
from nugetproxy.web.admission import Admission
from nugetproxy.web.edge import Edge
from nugetproxy.web.hosts import PublicAddresses
from nugetproxy.web.lane import Lane
from nugetproxy.web.ops import Ops
from nugetproxy.web.page.page import Page
from nugetproxy.web.sending import Sender
from nugetproxy.web.writes import Writes


def admission_of(tokens: Tokens, shared: Shared, before: Admission | None = None) -> Admission:
    """Who may come in; what the one ``before`` learned of callers stays known."""
    config = shared.config
    return Admission(
        rules(config),
        tokens,
        _addresses(config),
        clock=shared.clock,
        metrics=shared.metrics,
        local=config.server.listen.is_loopback,
        before=before,
    )


def edge_of(
    sites: Mapping[str, Site], desk: Desk, shared: Shared, *, ops: Ops, admission: Admission, lane: Lane
) -> Edge:
    """The server side; the first feed is published at the root too."""
    config, feeds = shared.config, desk.feeds
    addresses = admission.addresses
    return Edge(
        {"/": next(iter(feeds.values())), **{f"/{name}/": feed for name, feed in feeds.items()}},
        addresses=addresses,
        sender=Sender(
            shared.metrics,
            hot_bytes=hot_bytes(config, Hot.PACKAGES),
        ),
        writes=Writes(addresses, admission, body_timeout=config.server.body_timeout),
        ops=ops,
        admission=admission,
        admin=Admin(desk, admission, addresses),
        page=Page(desk, admission, addresses),
        metrics=shared.metrics,
        lane=lane,
        history=shared.history,
        tracer=shared.tracer,
        sites=sites,
        for_pages=frozenset(
            name
            for name, table in config.published.items()
            if all(_for_pages(config.upstreams[source], config.server.cors) for source in table.sources)
        ),
    )


def lane_of(ops: Ops, admission: Admission, shared: Shared) -> Lane:
    """Where hits are answered before a request is parsed."""
    return Lane(
        hot_bytes(shared.config, Hot.LANE),
        admission=admission,
        metrics=shared.metrics,
        history=shared.history,
        clock=shared.clock,
        stopping=ops,
    )


def _for_pages(upstream: Upstream, cors: str) -> bool:
    """Whether any web page may read it, which it does from the machine of whoever looks at the page."""
    if cors != "public":
        return cors == "all"
    if upstream.role or upstream.folder is not None or upstream.has_credentials or upstream.internal:
        return False
    return not is_private(host_of(parse_url(upstream.url)))


def _addresses(config: Config) -> PublicAddresses:
    server = config.server
    return PublicAddresses(
        public_url=server.public_url, allowed_hosts=server.allowed_hosts, trusted_proxies=server.trusted_proxies
    )
