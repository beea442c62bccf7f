"""What is kept of upstreams is settled at the start: which feed it is of, which of it nobody needs any more."""

from __future__ import annotations

import asyncio
import shlex
from contextlib import suppress

import structlog

from nugetproxy.config import Config, feed_of
from nugetproxy.config.units import about_size
from nugetproxy.errors import StoreUnusable
from nugetproxy.store.ledger.ledger import Ledger, LedgerUnavailable
from nugetproxy.store.lock import remedy_of
from nugetproxy.store.upstream_folders import leftovers, origin_of, settle

log = structlog.get_logger(__name__)


async def settle_folders(config: Config) -> None:
    """No upstream serves the packages of the feed that another one of its name was; raises StoreUnusable."""
    for name, upstream in config.upstreams.items():
        if upstream.folder is not None:
            continue
        root, feed = config.cache.path / name, feed_of(upstream.url)
        try:
            replaced = await asyncio.to_thread(settle, root, feed)
        except OSError as error:
            before = ""
            with suppress(OSError):  # nothing says whose they are
                before = await asyncio.to_thread(origin_of, root)
            if before not in {"", feed}:
                why = f"it has packages of {before}, which cannot be put aside for those of {feed} ({error.strerror})"
                raise StoreUnusable(str(root), why, remedy_of(error.errno)) from error
            # A disk that takes no writes: what it holds is still served.
            log.warning("upstream.unsettled", upstream=name, detail=error.strerror)
            continue
        if replaced is not None:
            told = (
                f"its packages came from {replaced.feed} and lie in {replaced.path}; they are not served, stored "
                "documents of then are out of reach. If it is the same feed, stop the proxy and move them to packages"
            )
            log.warning("upstream.url_changed", upstream=name, detail=told)


async def settle_ledger(config: Config, ledger: Ledger) -> None:
    """No pin of that other feed holds for the one that the upstream is now."""
    for name, upstream in config.upstreams.items():
        if upstream.folder is None:
            with suppress(LedgerUnavailable):  # logged; until the next start pins refuse too much, not too little
                await ledger.settle_origin(name, feed_of(upstream.url))


async def name_leftovers(config: Config) -> None:
    """Tell which folders belong to upstreams that are no longer configured."""
    for one in await asyncio.to_thread(leftovers, config.cache.path, frozenset(config.upstreams)):
        told = f"no upstream has this name any more; remove it with: rm -r {shlex.quote(str(one.path))}"
        log.warning("upstream.leftover", upstream=one.path.name, size=about_size(one.size), detail=told)
