"""Audits show what is held, or was got, that should not be used any more; nobody is asked for that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from nugetproxy.admin.audit import audit
from nugetproxy.admin.desk import Desk
from nugetproxy.admin.page.viewer import Viewer

SHOWN: Final = 200


async def shown(desk: Desk, viewer: Viewer) -> Mapping[str, Any]:
    """The gravest findings of the feeds that somebody may read; administrators see who has got what."""
    said = await audit(desk, feeds=[name for name in desk.feeds if name in viewer.feeds], most=SHOWN)
    findings = said["findings"]
    rows = [one if viewer.admin else {**one, "users": []} for one in findings]
    clients = [len({use["token"] or use["client"] for use in one["users"]}) for one in findings]
    return {**said, "findings": [{**one, "clients": count} for one, count in zip(rows, clients, strict=True)]}
