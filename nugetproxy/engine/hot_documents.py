"""HotDocuments is where one upstream's documents are stored: on disk, with what was used last in memory."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from weakref import WeakValueDictionary

from cachetools import TTLCache

from nugetproxy.caching.entry import Answer, Entry
from nugetproxy.caching.policy import FOREVER, Policy
from nugetproxy.clock import Clock
from nugetproxy.engine.standing import DocumentStanding
from nugetproxy.engine.target import Target
from nugetproxy.engine.tasks import Tasks
from nugetproxy.nuget.kinds import Kind
from nugetproxy.off_loop import LARGE, off_loop
from nugetproxy.store.documents.batches import STORE_SECONDS
from nugetproxy.store.documents.documents import Documents, Stored, never_trimmed, of_id, of_kind
from nugetproxy.store.ledger.ledger import Writes

HOT_SECONDS = 300.0
"""How long what is stored is remembered in memory: as long as a version list is usually fresh."""
SHARED_SECONDS = 2.0
"""The same where replicas share it: what one of them can miss of another's write."""

OVERHEAD_BYTES = 1024
"""What a document costs besides its body: its key, what is known of it, its places in four tables; 0.9 KiB measured."""


class HotDocuments:
    """Reads and writes stored documents; whether they may be served is not decided here."""

    def __init__(
        self,
        documents: Documents,
        tasks: Tasks,
        *,
        policies: Mapping[Kind, Policy],
        clock: Clock,
        hot_bytes: int,
        seconds: float,
    ) -> None:
        self._documents = documents
        self._tasks = tasks
        self._overdue: set[asyncio.Future[Any]] = set()
        """Writes that take long: while there are any, nobody waits for another one."""
        self._policies = policies
        self._clock = clock
        self._seconds = seconds
        self._hot: TTLCache[str, Stored] = TTLCache(hot_bytes, seconds, clock.monotonic, _weight)
        self._reads: dict[str, asyncio.Future[Stored | None]] = {}
        """Looks at the disk that are under way, which whoever wants the same waits for."""
        self._standings: WeakValueDictionary[str, DocumentStanding] = WeakValueDictionary()

    def lacks(self, target: Target) -> bool:
        """Whether it is known without a look that nothing is stored."""
        return self._documents.lacks(target.key)

    async def get(self, target: Target) -> Stored | None:
        """What is stored for ``target``, however old."""
        return None if self.lacks(target) else await self.read(target)

    async def read(self, target: Target) -> Stored | None:
        """As ``get``, for whoever knows that ``lacks`` says no."""
        try:
            stored: Stored | None = self._hot[target.key]
        except KeyError:
            read = await self._look(target.key)
            # Something newer may have been stored while we read, or the same be remembered by who read with us.
            stored = self._hot.get(target.key)
            if stored is None and read is not None:
                self._remember(target.key, read)
                stored = read
        return stored

    async def _look(self, key: str) -> Stored | None:
        """What the disk has; of those who ask at the same time one looks: a large document is in memory once."""
        while (known := self._reads.get(key)) is not None:
            await asyncio.wait({known})
            if not known.cancelled():
                return known.result()
        look: asyncio.Future[Stored | None] = asyncio.get_running_loop().create_future()
        self._reads[key] = look
        try:
            look.set_result(await self._documents.get(key))
        finally:
            look.cancel()  # where it has no result: another one looks
            if self._reads.get(key) is look:
                del self._reads[key]
        return look.result()

    async def get_all(self, targets: Sequence[Target]) -> list[Stored | None]:
        """As ``get``, of several at once."""
        hot, lacks = self._hot, self._documents.lacks
        known: dict[str, Stored | None] = {target.key: hot.get(target.key) for target in targets}
        unknown = [key for key, stored in known.items() if stored is None and not lacks(key)]
        read = dict(zip(unknown, await self._documents.get_all(unknown) if unknown else (), strict=True))
        known |= {key: hot.get(key) or stored for key, stored in known.items()}  # something newer, stored while we read
        for key, stored in read.items():
            if stored is not None and known[key] is None:
                known[key] = stored
                self._remember(key, stored)  # for which others may have to go, that were known before
        return [known[target.key] for target in targets]

    async def put(self, target: Target, entry: Entry, body: bytes) -> bool:
        """Store ``body`` (nothing, for an absent entry) for as long as the policy has a use for it.

        It can be had from memory at once. False where it is not known to be stored: it was dropped, or it takes long,
        as while somebody holds the lock of the database; then it is stored behind whoever waits for it.
        """
        policy = self._policies[target.kind]
        body = b"" if entry.absent else body
        self._remember(target.key, Stored(entry, body))
        keep = policy.fresh + max(policy.refresh, policy.on_error)
        if entry.absent:
            keep = policy.absent + policy.absent_on_error
        expire = None if keep == FOREVER else max(keep, 1.0)
        write = self._documents.store(target.key, entry, body, tag=_tag(target), expire=expire)
        if not self._overdue:
            told = await write.told
            if told is not None:
                return told
            self._is_overdue(write.end)
        self._tasks.start(_end_of(write.end), name=f"store {target.path}")
        return False

    async def keep_named(self, index: Target, pages: Collection[Target]) -> None:
        """What ``index`` names now; for documents that are kept as long as something names them."""
        if index.kind.row.spared:
            keep = self._documents.keep_named(_tag(index), [one.key for one in (index, *pages)])
            write = self._tasks.start(keep, name=f"names {index.path}")
            if not self._overdue:
                done, _ = await asyncio.wait({write}, timeout=STORE_SECONDS)
                if not done:
                    self._is_overdue(write)

    def _is_overdue(self, write: asyncio.Future[Any]) -> None:
        """It goes on alone."""
        self._overdue.add(write)
        write.add_done_callback(self._overdue.discard)

    async def entry(self, answer: Answer) -> Entry:
        """The record of what upstream says now."""
        absent = answer.status != 200
        body = b"" if absent else answer.body
        digest = hashlib.sha256(body) if len(body) <= LARGE else await off_loop(len(body), hashlib.sha256, body)
        return Entry(
            status=404 if absent else 200,
            stored_at=self._clock.now(),
            digest=digest.hexdigest(),
            validators=answer.validators,
            content_type=answer.content_type,
            url=answer.url,
            warnings=answer.warnings,
        )

    def standing(self, key: str, entry: Entry, *, left: float, least: float, writes: Writes) -> DocumentStanding | None:
        """Of the document of ``key`` with ``left`` seconds of freshness, if ``entry`` is still what is stored."""
        stored = self._hot.get(key)
        if stored is None or stored.entry is not entry:
            return None
        now, monotonic = self._clock.now(), self._clock.monotonic()
        known = self._standings.get(key)
        if known is not None and known.ttl(now) is not None:
            return known
        if writes.last > now:
            return None  # a write in the future (the clock was set back) will count once its time has come
        made = self._standings[key] = DocumentStanding(
            stored_at=entry.stored_at,
            left=left,
            at=now,
            least=least,
            until=monotonic + self._seconds,
            writes=writes,
            number=writes.number,
            clock=self._clock,
        )
        return made

    def clear(self) -> None:
        """Remember nothing of what is stored."""
        for standing in list(self._standings.values()):
            standing.replaced = True
        self._standings.clear()
        self._hot.clear()
        self._reads.clear()

    def _remember(self, key: str, stored: Stored) -> None:
        self._reads.pop(key, None)  # what it finds may be older
        outdated = self._standings.pop(key, None)
        if outdated is not None:
            outdated.replaced = True
        if _weight(stored) < self._hot.maxsize // 2:
            self._hot[key] = stored
        else:
            self._hot.pop(key, None)  # what was stored before it


async def _end_of(write: asyncio.Future[Any]) -> None:
    await asyncio.wait({write})


def _tag(target: Target) -> str:
    if target.kind.row.spared:
        scope = hashlib.blake2b(target.scope.encode(), digest_size=16).hexdigest()
        return never_trimmed(f"{target.kind.row.family}:{scope}")
    return of_id(target.id) if target.id else of_kind(target.kind)


def _weight(stored: Stored) -> int:
    return len(stored.body) + OVERHEAD_BYTES
