"""What expires is collected here from what the configuration names: certificates, tokens."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

from nugetproxy.admin.tokens import Tokens
from nugetproxy.config import Config
from nugetproxy.engine.expiry import Ending, Look
from nugetproxy.store.certificates import end_of


def looking(config: Config, tokens: Tokens) -> Look:
    """Looks at everything that ends, as it is when somebody looks."""

    async def look() -> Sequence[Ending]:
        files = await asyncio.to_thread(lambda: list(_files(config)))
        own = (Ending(one.expires, "token", one.name) for one, _ in tokens.all() if one.expires is not None)
        return (*files, *own)

    return look


def _files(config: Config) -> Iterator[Ending]:
    named = [("ca_file", name, one.ca_file) for name, one in config.upstreams.items() if one.ca_file]
    if config.server.certificate is not None:
        named.append(("certificate", "", str(config.server.certificate[0])))
    for what, name, place in named:
        try:
            yield Ending(end_of(Path(place).expanduser()), what, name)
        except (OSError, ValueError):  # whoever uses the file says so
            continue
