"""Proxy commands are about the running proxy as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nugetproxy.admin.desk import Desk
from nugetproxy.errors import BadRequest


async def reload(desk: Desk) -> Mapping[str, Any]:
    """Follow the configuration as it is now; what was changed, what needs a restart, what there is to know."""
    if desk.switch.reload is None:
        raise BadRequest("No proxy runs with this cache directory; the next start reads the configuration.")
    return await desk.switch.reload()
