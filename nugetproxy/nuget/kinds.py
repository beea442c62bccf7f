"""The kinds of things that routes return, each with its caching policy."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from nugetproxy.caching.policy import DAY, FOREVER, HOUR, MINUTE, SECOND, Policy


class Kind(StrEnum):
    """What sort of thing a route returns; the key of the policy table and of ``[policy.*]`` in the configuration."""

    INDEX = "index"
    VERSIONS = "versions"
    PACKAGE = "package"
    NUSPEC = "nuspec"
    README = "readme"
    ICON = "icon"
    LICENSE = "license"
    REGISTRATION = "registration"
    REGISTRATION_PAGE = "registration_page"
    REGISTRATION_LEAF = "registration_leaf"
    SEARCH = "search"
    AUTOCOMPLETE = "autocomplete"
    SIGNATURES = "signatures"
    VULNERABILITIES = "vulnerabilities"
    VULNERABILITY_PAGE = "vulnerability_page"
    CATALOG = "catalog"
    CATALOG_PAGE = "catalog_page"
    CATALOG_LEAF = "catalog_leaf"
    SYMBOL = "symbol"
    TOOLS = "tools"
    TOOL = "tool"
    TOOL_LATEST = "tool_latest"


_METADATA = Policy(fresh=5 * MINUTE, refresh=HOUR, on_error=FOREVER, absent=30 * SECOND)
_IMMUTABLE = Policy(fresh=FOREVER, on_error=FOREVER, absent=30 * SECOND)

POLICIES: Mapping[Kind, Policy] = MappingProxyType(
    {
        Kind.INDEX: Policy(fresh=HOUR, refresh=DAY, on_error=FOREVER),
        Kind.VERSIONS: _METADATA,
        Kind.PACKAGE: _IMMUTABLE,
        Kind.NUSPEC: _IMMUTABLE,
        Kind.README: _IMMUTABLE,
        Kind.ICON: _IMMUTABLE,
        Kind.LICENSE: _IMMUTABLE,
        Kind.REGISTRATION: _METADATA,
        Kind.REGISTRATION_PAGE: _METADATA,
        Kind.REGISTRATION_LEAF: Policy(fresh=HOUR, refresh=HOUR, on_error=FOREVER, absent=30 * SECOND),
        Kind.SEARCH: Policy(fresh=2 * MINUTE, on_error=7 * DAY),
        Kind.AUTOCOMPLETE: Policy(fresh=2 * MINUTE, on_error=7 * DAY),
        Kind.SIGNATURES: Policy(fresh=DAY, refresh=DAY, on_error=FOREVER),
        Kind.VULNERABILITIES: Policy(fresh=HOUR, refresh=HOUR, on_error=FOREVER),
        Kind.VULNERABILITY_PAGE: Policy(fresh=HOUR, on_error=FOREVER, absent=30 * SECOND),
        Kind.CATALOG: Policy(fresh=2 * MINUTE, on_error=FOREVER),
        Kind.CATALOG_PAGE: Policy(fresh=2 * MINUTE, on_error=FOREVER, absent=30 * SECOND),
        Kind.CATALOG_LEAF: _IMMUTABLE,
        # Debuggers ask for thousands of files that do not exist; what was pushed is indexed within minutes.
        Kind.SYMBOL: Policy(fresh=FOREVER, on_error=FOREVER, absent=15 * MINUTE),
        Kind.TOOLS: Policy(fresh=HOUR, refresh=DAY, on_error=FOREVER),
        Kind.TOOL: _IMMUTABLE,
        Kind.TOOL_LATEST: Policy(fresh=HOUR, on_error=FOREVER, absent=30 * SECOND),
    }
)

if POLICIES.keys() != set(Kind):  # pragma: no cover - a programming error, found at import
    raise AssertionError("every Kind needs a policy")
