"""Operations are what may be done through the write resources."""

from __future__ import annotations

import re
from enum import StrEnum
from urllib.parse import unquote

from msgspec import Struct

from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.resources import VERIFY_KEY
from nugetproxy.nuget.routes import Route


class Permission(StrEnum):
    """Which of an operator's permissions an operation needs."""

    PUSH = "push"
    DELETE = "delete"
    READ = "read"
    """None: it changes nothing."""


class Operation(Struct, frozen=True, kw_only=True):
    """One row of the table: a method on the paths of one write resource."""

    name: str
    resource: str
    methods: tuple[str, ...]
    path: re.Pattern[str]
    """What ``Route.rest`` looks like."""
    permission: Permission
    changes: bool = True
    """Whether what is stored of the package may be outdated by it."""

    @property
    def brings_symbols(self) -> bool:
        """Whether a symbol server may have files afterwards that it did not have before."""
        return self.name in {"push_symbols", "stage_symbols"}

    @property
    def about_package(self) -> bool:
        """Whether its path names a package."""
        return self.resource in {"package", VERIFY_KEY} and self.path.pattern != ""


_ID = r"[^/]+"
_PACKAGE = rf"{_ID}/{_ID}"


def _row(
    name: str, resource: str, method: str, path: str, permission: Permission, *, changes: bool = True
) -> Operation:
    return Operation(
        name=name,
        resource=resource,
        methods=tuple(method.split()),
        path=re.compile(path),
        permission=permission,
        changes=changes,
    )


# The paths are those of NuGet.Client's PackageUpdateResource and of the gallery (App_Start/Routes.cs); where two rows
# fit, the first one counts.
OPERATIONS: tuple[Operation, ...] = (
    _row("push", "package", "PUT", "", Permission.PUSH),
    _row("deprecate", "package", "PUT", f"{_ID}/deprecations", Permission.PUSH),
    _row(
        "create_verification_key",
        "package",
        "POST",
        f"create-verification-key/{_ID}(?:/{_ID})?",
        Permission.PUSH,
        changes=False,
    ),
    _row("unlist", "package", "DELETE", _PACKAGE, Permission.DELETE),
    _row("relist", "package", "POST", _PACKAGE, Permission.DELETE),
    _row("download", "package", "GET HEAD", rf"{_ID}(?:/{_ID})?", Permission.READ, changes=False),
    _row("verify_key", VERIFY_KEY, "GET", rf"{_ID}(?:/{_ID})?", Permission.PUSH, changes=False),
    _row("push_symbols", "symbolpackage", "PUT", "", Permission.PUSH, changes=False),
    _row("stage", "staging", "PUT", "package", Permission.PUSH),
    _row("stage_symbols", "staging", "PUT", "symbols", Permission.PUSH, changes=False),
)


def operation(method: str, route: Route) -> Operation | None:
    """What ``method`` does at ``route`` (of a write resource); None where that is nothing."""
    return next((row for row in _at(route) if method in row.methods), None)


def allowed_methods(route: Route) -> tuple[str, ...]:
    """The methods that do something at ``route``; empty where there is nothing at all."""
    return tuple(dict.fromkeys(method for row in _at(route) for method in row.methods))


def named_in_answer(location: str, text: str) -> PackageIdentity | None:
    """The package that a feed names in its answer to a push: where it is now, or in a sentence as of nuget.org."""
    place = location.partition("?")[0].rstrip("/").split("/")
    if len(place) > 2 and (identity := PackageIdentity.parse(unquote(place[-2]), unquote(place[-1]))) is not None:
        return identity
    said = _SENTENCE.search(text)
    return PackageIdentity.parse(said["id"], said["version"]) if said is not None else None


_SENTENCE = re.compile(r"'(?P<id>[^'\s]{1,100})' (?:and|with|in) version '(?P<version>[^'\s]{1,100})'")


def _at(route: Route) -> list[Operation]:
    return [row for row in OPERATIONS if row.resource == route.resource and row.path.fullmatch(route.rest)]
