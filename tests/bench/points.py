"""Points are the hits that are measured, each with what it may cost."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from urllib.parse import urlsplit

from tests.bench.material import MIDDLING, PAGED, SMALL, SMALLISH, Package
from tests.bench.servers import Server

CONNECTIONS = 16
"""For small hits: enough to keep a server busy, few enough for one that restores."""
MANY = 128


class What(Enum):
    """What is asked for."""

    INDEX = "service index"
    LIST = "version list"
    REGISTRATION = "registration"
    SMALL = "1 kB package"
    SMALLISH = "20 kB package"
    MIDDLING = "1 MB package"
    NUSPEC = "nuspec"
    PAGED = "registration with pages of its own"
    PAGE = "page of a registration"
    SEARCH = "search"


_PACKAGES = {What.SMALL: SMALL, What.SMALLISH: SMALLISH, What.MIDDLING: MIDDLING}


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One sort of hit; ``limit`` is how many times nginx's CPU it may cost."""

    what: What
    limit: float
    connections: int = CONNECTIONS
    method: str = "GET"
    header: str = ""
    """One more field; ``{etag}`` in it is the entity tag that the server gave."""
    note: str = ""

    @property
    def name(self) -> str:
        """What the table calls it."""
        more = [self.note, f"{self.connections} connections" if self.connections != CONNECTIONS else ""]
        return ", ".join(filter(None, (self.what.value, *more)))

    def path(self, server: Server) -> str:
        """Where ``server`` has it."""
        match self.what:
            case What.INDEX:
                return "/v3/index.json"
            case What.LIST:
                return f"{server.flat}/{SMALL}/index.json"
            case What.REGISTRATION:
                return f"{server.registration}/{SMALL}/index.json"
            case What.PAGED:
                return f"{server.registration}/{PAGED}/index.json"
            case What.PAGE:
                index = json.loads(server.get(f"{server.registration}/{PAGED}/index.json"))
                return urlsplit(index["items"][0]["@id"]).path
            case What.SEARCH:
                return f"{server.search}?q=bench"
            case What.NUSPEC:
                return f"{server.flat}/{Package(SMALL).nuspec}"
            case package:
                return f"{server.flat}/{Package(_PACKAGES[package]).path}"

    def headers(self, server: Server) -> tuple[str, ...]:
        """The fields that the request has besides."""
        if "{etag}" not in self.header:
            return (self.header,) if self.header else ()
        with server.open(self.path(server), {"Accept-Encoding": "gzip"}) as answer:
            return (self.header.format(etag=answer.headers["ETag"]),)

    def digest(self, server: Server) -> str:
        """The SHA-256 of what the server answers; documents differ in their addresses."""
        return sha256(server.get(self.path(server))).hexdigest()


LANE = (
    Hit(what=What.INDEX, limit=1.0),
    Hit(what=What.LIST, limit=1.0),
    Hit(what=What.LIST, limit=1.0, connections=MANY),
    Hit(what=What.REGISTRATION, limit=1.0),
    Hit(what=What.SMALL, limit=1.0),
    Hit(what=What.SMALLISH, limit=1.5),
    Hit(what=What.NUSPEC, limit=1.0),
)
"""Goals 1 and 4: hits that are answered before the parser."""
UNKNOWN = "X-Unknown: 1"
"""A field that the lane does not know, so that the request takes the ordinary path."""
FORMS = (
    Hit(what=What.LIST, limit=6.0, header="If-None-Match: {etag}", note="If-None-Match"),
    Hit(what=What.SMALLISH, limit=6.0, header="Range: bytes=100-299", note="Range"),
    Hit(what=What.SMALLISH, limit=6.0, method="HEAD", note="HEAD"),
    Hit(what=What.MIDDLING, limit=1.0),
    Hit(what=What.LIST, limit=6.0, header=UNKNOWN, note="ordinary path"),
    Hit(what=What.SMALLISH, limit=6.0, header=UNKNOWN, note="ordinary path"),
)
"""Goals 3 and 4: other forms of an answer, files, what is not answered before the parser."""
TLS = (
    Hit(what=What.LIST, limit=1.3, note="TLS"),
    Hit(what=What.SMALL, limit=1.3, note="TLS"),
    Hit(what=What.SMALLISH, limit=1.3, note="TLS"),
)
"""Goal 2."""
AGGREGATED = (
    Hit(what=What.LIST, limit=1.0, note="aggregated"),
    Hit(what=What.LIST, limit=1.3, header="If-None-Match: {etag}", note="aggregated, If-None-Match"),
    Hit(what=What.SMALL, limit=1.0, note="aggregated"),
)
"""Goal 12, against a feed of one source."""
RULED = (
    Hit(what=What.LIST, limit=1.1, note="rules"),
    Hit(what=What.LIST, limit=1.1, header="If-None-Match: {etag}", note="rules, If-None-Match"),
    Hit(what=What.REGISTRATION, limit=1.1, note="rules"),
    Hit(what=What.PAGED, limit=1.1, note="rules"),
    Hit(what=What.PAGE, limit=1.1, note="rules"),
    Hit(what=What.SEARCH, limit=1.1, note="rules"),
    Hit(what=What.SMALL, limit=1.1, note="rules"),
    Hit(what=What.SMALL, limit=1.1, header="Range: bytes=100-299", note="rules, Range"),
)
"""Against the same feed without rules."""
