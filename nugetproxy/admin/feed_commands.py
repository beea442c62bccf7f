"""Feed commands tell where packages come from, and end claims."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from nugetproxy.admin import claims
from nugetproxy.admin.desk import Desk
from nugetproxy.admin.explain import explain as explained
from nugetproxy.errors import BadRequest


async def explain(desk: Desk, *, id: str, version: str = "", feed: str = "") -> Mapping[str, Any]:
    """Which source serves an id or a version in a feed (the first, where none is named), and why; nobody is asked."""
    found = await explained(desk.feeds, desk.clock.now(), id_=id, version=version, feed=feed)
    return {**asdict(found), "lines": list(found.lines())}


async def listed(desk: Desk, *, id: str = "") -> Mapping[str, Any]:
    """The claims of private sources, to all ids or to one."""
    return {"claims": [asdict(one) for one in await claims.claims(desk.ledger, id)]}


async def release(desk: Desk, *, id: str = "", upstream: str = "") -> Mapping[str, Any]:
    """End the claims to an id, those of an upstream, or the one of both."""
    if not id and not upstream:
        raise BadRequest("Name an id, or the upstream whose claims are to end.")
    ended = await claims.release(desk.ledger, desk.feeds, id_=id, source=upstream, truth=desk.truth)
    return {"released": [asdict(one) for one in ended]}
