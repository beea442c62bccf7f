"""Explain says which source serves an id or a version, by which rule, from which stored copy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct

from nugetproxy.errors import NotFound
from nugetproxy.feeds.feed import Feed
from nugetproxy.feeds.guard import Candidates
from nugetproxy.feeds.held_licenses import with_held_licenses
from nugetproxy.feeds.versions import list_route, nobody
from nugetproxy.nuget.documents.version_list import listed_versions
from nugetproxy.nuget.identity import PackageId, PackageIdentity
from nugetproxy.nuget.rules import Verdict, dated
from nugetproxy.nuget.version import Version
from nugetproxy.sources.source import Source
from nugetproxy.store.ledger.ledger import Owner

MOST_DENIED: Final = 20
"""Versions of an id that are told of."""
_LOOKED_AT: Final = "it is looked at when a client asks for the package, and may change this"
_UNITS: Final = (("day", 86400.0), ("hour", 3600.0), ("minute", 60.0), ("second", 1.0))


class SourceView(Struct, frozen=True, kw_only=True):
    """What is known of one source, without a word to it."""

    name: str
    role: str
    """``private`` or ``public``."""
    asked: bool
    why: str
    """Why it is asked, or not."""
    stored: str
    """The stored copy of its version list."""
    knows: bool
    """Whether what is stored, or held, names the id (or the version that was asked for)."""
    signature: str = ""
    """What is thought of the signature of the version that was asked for; empty where nobody looks."""


class Explanation(Struct, frozen=True, kw_only=True):
    """How a feed comes to what it answers."""

    feed: str
    id: str
    version: str
    served_by: str
    """A source; empty where none serves it, or where none is known yet."""
    sentence: str
    sources: tuple[SourceView, ...]
    rules: tuple[str, ...] = ()
    """What the rules of the feed say."""

    def lines(self) -> Iterator[str]:
        """The explanation as a terminal shows it, without line ends."""
        yield self.sentence
        for one in self.sources:
            yield f"  {one.name} ({one.role}): {one.why}; {one.stored}"
            if one.signature:
                yield f"  {one.name}: {one.signature}"
        yield from (f"  rules: {line}" for line in self.rules)


async def explain(feed: Feed, now: float, *, id_: str, version: str = "") -> Explanation:
    """Of an id, or one version of it, in a feed; ``now`` is wall time. Raises NotFound for no id, LedgerUnavailable."""
    package = PackageId.parse(id_)
    identity = PackageIdentity.parse(id_, version or "1.0.0")
    if package is None or identity is None:
        raise NotFound(f"{id_} {version}".rstrip() + " is not a package id with a version.")
    return await _Explaining(feed, package.lower, identity.version if version else "", now).run()


class _Explaining:
    """One question."""

    def __init__(self, feed: Feed, id_: str, version: str, now: float) -> None:
        self._feed = feed
        self._id = id_
        self._version = version
        self._now = now

    async def run(self) -> Explanation:
        merged, candidates = self._feed.merged, None
        # First, as the rules may have to learn what the rest is told by.
        ruled, denied = await self._ruled() if self._feed.judge is not None else ([], False)
        owners: Mapping[str, Owner] = {}
        if merged is not None:
            await merged.guard.claims.ready()
            candidates, owners = merged.guard.candidates(self._id), await merged.owners.of(self._id)
        views = tuple([await self._view(source, candidates) for source in self._feed.sources])
        served_by, sentence = self._conclude(views, candidates, owners)
        if denied:
            served_by, sentence = "", f"{sentence} The rules of the feed deny it."
        return Explanation(
            feed=self._feed.name,
            id=self._id,
            version=self._version,
            served_by=served_by,
            sentence=sentence,
            sources=views,
            rules=tuple(ruled),
        )

    async def _ruled(self) -> tuple[list[str], bool]:
        """What the rules say, with the date that they go by; of an id, of all that they deny. Whether they deny the
        version that was asked for.
        """
        judge = self._feed.judge
        assert judge is not None, "asked for a feed with rules"
        wanted = Version.parse(self._version) if self._version else None
        named = () if wanted is None else (wanted,)
        ruling = await judge.ruling(self._id, named=named, because=("explain", self._version))
        ruling = await with_held_licenses(judge, self._feed.sources, ruling)
        if wanted is not None:
            verdict = ruling.of(wanted)
            lines = list(_verdict(self._feed.name, f"{self._id} {self._version}", verdict))
            if judge.wants_license(ruling, wanted):
                lines.append(f"its licence is not known yet: {_LOOKED_AT}")
            return lines, not verdict.visible
        hidden = [version for version, one in ruling.verdicts.items() if not one.visible]
        lines = [ruling.of(one).sentence(self._feed.name, f"{self._id} {one}") for one in hidden[-MOST_DENIED:]]
        more = [f"and {len(hidden) - len(lines)} older ones"] if len(hidden) > len(lines) else []
        if unknown := sum(judge.wants_license(ruling, version) for version in ruling.verdicts):
            more.append(f"the licence of {unknown} of its versions is not known yet: {_LOOKED_AT}")
        about = ", ".join(rule.name for rule in ruling.rules) or "none"
        return [f"about {self._id}: {about}", *lines, *more], False

    def _conclude(
        self, views: tuple[SourceView, ...], candidates: Candidates | None, owners: Mapping[str, Owner]
    ) -> tuple[str, str]:
        what = f"{self._id} {self._version}".rstrip()
        if candidates is None:
            name = self._feed.sources[0].name
            comes = "comes" if views[0].knows else "could only come"
            return name, f"{what} in the feed {self._feed.name!r} {comes} from {name}, its only source."
        if not candidates.asked:
            return "", nobody(self._feed.name, self._id, candidates)
        rule = _rule(candidates)
        owner = owners.get(self._version)
        if owner is not None and owner.source in candidates.names():
            return owner.source, f"{what} belongs to {owner.source}, which listed it first; {rule}."
        private = [one for one in views if one.asked and one.knows and one.role == "private"]
        knowing = [one.name for one in (private or [one for one in views if one.asked and one.knows])]
        if self._version:
            first = knowing[0] if knowing else ""
            told = f"would be taken from {first}, the first that lists it" if first else "is listed by no stored copy"
            return first, f"{what} {told}; {rule}."
        told = f"comes from {', '.join(knowing)}" if knowing else "is in no stored list"
        return (knowing[0] if knowing else ""), f"{what} {told}; {rule}."

    async def _view(self, source: Source, candidates: Candidates | None) -> SourceView:
        merged = self._feed.merged
        private = merged is not None and merged.guard.is_private(source)
        stored, knows = await self._stored(source)
        asked = candidates is None or source in candidates.asked
        identity = PackageIdentity(self._id, self._version)
        return SourceView(
            name=source.name,
            role="private" if private else "public",
            asked=asked,
            why=why_asked(source, candidates),
            stored=stored,
            knows=knows,
            signature=await source.signatures.told(identity) if self._version else "",
        )

    async def _stored(self, source: Source) -> tuple[str, bool]:
        found = await source.stored(list_route(self._id)) if source.changing is None else None
        if found is None:
            return await self._held(source)
        age = _age(self._now - found.entry.stored_at)
        if found.entry.absent:
            return f"it said {age} ago that it has no such package", False
        count, named, knows = self._named([version for _, version in listed_versions(found.body)])
        return f"its list of {count} was stored {age} ago{named}", knows

    async def _held(self, source: Source) -> tuple[str, bool]:
        """Of a folder, of a source that is offline, or of whose list nothing is stored: by what is at hand."""
        versions = await source.versions_without_upstream(self._id)
        offline = "offline: " if source.offline else ""
        if not versions:
            return f"{offline}nothing of it is stored" if source.immutable else "the folder has no such package", False
        count, named, knows = self._named(versions)
        return f"{offline}{'what is held here' if source.immutable else 'the folder'} has {count}{named}", knows

    def _named(self, versions: Sequence[Version]) -> tuple[str, str, bool]:
        """How many they are, that the one that is asked for is among them, or not; whether it is."""
        count = f"{len(versions)} version{'' if len(versions) == 1 else 's'}"
        if not self._version:
            return count, "", bool(versions)
        knows = self._version in {version.url for version in versions}
        return count, f", {'with' if knows else 'without'} {self._version}", knows


def _verdict(feed: str, what: str, verdict: Verdict) -> Iterator[str]:
    """Of one version."""
    date = dated(verdict.date, sighted=verdict.sighted) if verdict.date is not None else "its date is not known"
    said = verdict.sentence(feed, what)
    passes = f"{what} passes" if verdict.rule is None else f"{what} passes by the rule {verdict.rule.name!r}"
    yield said or f"{passes} ({date})"
    yield from (f"on trial, {rule.name!r} would {rule.action} it: {why}" for rule, why in verdict.tried)


def _rule(candidates: Candidates) -> str:
    """By which rule those are asked who are."""
    if candidates.claimed:
        return f"the id is claimed by {', '.join(sorted(candidates.claimed))}"
    if candidates.rule is not None:
        union = ", all together" if candidates.rule.union else ""
        return f"the mapping {candidates.rule.pattern} leads to {', '.join(candidates.rule.sources)}{union}"
    return "no mapping is configured"


def why_asked(source: Source, candidates: Candidates | None) -> str:
    """Why a source is asked for an id, or not."""
    if candidates is None:
        return "asked as the only source"
    if source in candidates.private:
        return "asked; if it knows the id, no public source serves it"
    if source in candidates.asked:
        return "asked" if not candidates.private else "asked; counts where no private source knows the id"
    if source not in candidates.mapped:
        rule = candidates.rule
        return "not asked: " + ("no pattern matches" if rule is None else f"{rule.pattern} is mapped to others")
    return f"not asked: the id is claimed by {', '.join(sorted(candidates.claimed))}"


def _age(seconds: float) -> str:
    for word, size in _UNITS:
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {word}{'s' if count > 1 else ''}"
    return "0 seconds"
