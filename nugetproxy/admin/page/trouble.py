"""Trouble is what failed lately, with what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from nugetproxy.admin.desk import Desk
from nugetproxy.admin.page.viewer import Viewer
from nugetproxy.errors import Reason
from nugetproxy.sources.inspection import Condition, health_of

LATELY: Final = 7 * 86400.0
MOST: Final = 50
WAIT: Final = "Nothing: it is tried again by itself. Where it stays so, look at the upstream or at the way to it."
HIDDEN: Final = "This proxy has a problem of its own; administrators see which."
OPERATOR: Final = "Look at the log of this proxy, and at its machine."
TODO: Final[Mapping[str, str]] = MappingProxyType(
    {
        Reason.REFUSED: "See whether the upstream runs, and whether a firewall is between it and this proxy.",
        Reason.CONNECT_TIMEOUT: "See whether the upstream can be reached from this machine; a firewall may drop it.",
        Reason.READ_TIMEOUT: WAIT,
        Reason.DNS: "Look at the host name in the upstream's url, and at the name service of this machine.",
        Reason.DNS_TIMEOUT: "Look at the name service of this machine.",
        Reason.TLS: "Look at the upstream's certificate, at ca_file of the upstream, at the clock of this machine.",
        Reason.RESET: WAIT,
        Reason.TRUNCATED: WAIT,
        Reason.EXTRA_BYTES: WAIT,
        Reason.STALL: WAIT,
        Reason.SLOW: WAIT,
        Reason.PROTOCOL: WAIT,
        Reason.SERVER_ERROR: WAIT,
        Reason.RATE_LIMITED: "The upstream asks for fewer requests; lower upstreams.NAME.connections if it stays so.",
        Reason.AUTH: "Renew the credentials of the upstream (username, password, headers): they were refused.",
        Reason.STATUS: "The upstream refuses this; its own words are in the message.",
        Reason.BREAKER_OPEN: "The upstream is lost; see its health above for the cause.",
        Reason.REDIRECT_DENIED: "If that host is the upstream's own, name it in upstreams.NAME.hosts.",
        Reason.ID_DENIED: "If that host is the upstream's own, name it in upstreams.NAME.hosts.",
        Reason.TOO_LARGE: "Raise the limit that the message names, if it is meant to be that large.",
        Reason.INVALID_CONTENT: "Something between here and the upstream answers in its place, such as a log-in page.",
        Reason.SHRUNK_INDEX: WAIT,
        Reason.GONE: "The upstream took the package away; ask its owner.",
        Reason.IDENTITY: "The upstream sent another package than it was asked for; tell its operator.",
        Reason.ZIP: "The upstream's package is damaged; tell its operator.",
        Reason.HASH: "Find out why the upstream's package is not the one that its metadata states.",
        Reason.PIN: "Find out why the upstream has other bytes than before; then: nugetproxy purge ID VERSION.",
        Reason.OFFLINE: "It is not stored, and the upstream is offline by configuration.",
        Reason.DISK: "Look at the disk that the message is about: is it full, read-only, failing, not mounted?",
        Reason.STOPPING: "Nothing: the proxy was stopping.",
        Reason.EXHAUSTED: "Raise this proxy's limit of open files, or give it more memory.",
        "": OPERATOR,
    }
)
"""By the reason of the failure: what a person can do."""
BAD: Final = frozenset({Condition.LOST, Condition.UNUSABLE, Condition.UNREADABLE})
assert TODO.keys() == {*Reason, ""}


async def troubles(desk: Desk, viewer: Viewer) -> Mapping[str, Any]:
    """What is wrong now, then what failed lately, the last one first."""
    now = [_of_now(one.problem if viewer.admin else HIDDEN) for one in desk.watched if one.problem] + [
        {
            **_of_now(f"{health.sentence} {health.failure}".strip()),
            "about": health.name,
            "todo": health.todo or WAIT,
        }
        for source in viewer.sources(desk).values()
        if (health := health_of(source)).condition in BAD
    ]
    found = await desk.history.troubles(desk.clock.now() - LATELY, viewer.feeds)
    past = [
        {
            "now": False,
            "at": one.last,
            "since": one.first,
            "times": one.times,
            "feed": one.feed,
            "about": f"{one.id} {one.version}".strip() or one.kind,
            "what": one.detail,
            "todo": TODO.get(one.reason, OPERATOR),
        }
        for one in found[:MOST]
    ]
    return {"troubles": now + past}


def _of_now(what: str) -> dict[str, Any]:
    return {"now": True, "what": what, "todo": OPERATOR}
