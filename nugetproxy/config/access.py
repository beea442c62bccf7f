"""Access is the table of who may come in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from nugetproxy.admin.tokens import SHORTEST, Scope
from nugetproxy.config.fields import Expiry, FilePath, Names, TokenName
from nugetproxy.config.secrets import Secret
from nugetproxy.config.section import Section
from nugetproxy.config.tables import SOME, Parsed


def _reference(value: Any) -> Any:
    if isinstance(value, Secret):
        return value
    return Secret.parse(value if isinstance(value, str) else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessToken(Section):
    """One token that is kept outside; ``expires`` in seconds since the epoch."""

    name: TokenName
    token: Annotated[Secret, Parsed(_reference)] = field(repr=False)
    scopes: Annotated[tuple[Scope, ...], SOME]
    feeds: Names = ()
    expires: Expiry = None

    def reveal(self, environ: Mapping[str, str] = os.environ) -> str:
        """The token as its reference reads now; raises ValueError where there is none that may be one."""
        value = self.token.reveal(environ)
        if len(value) < SHORTEST:
            reference = self.token.reference
            raise ValueError(f"{reference} is shorter than {SHORTEST} characters; it could be guessed")
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Access(Section):
    """Who may come in."""

    tokens_file: FilePath = ""
    tokens: tuple[AccessToken, ...] = ()

    @property
    def file(self) -> Path | None:
        """Where tokens are kept that several processes share; None for this one's own ledger."""
        return Path(self.tokens_file).expanduser().absolute() if self.tokens_file else None
