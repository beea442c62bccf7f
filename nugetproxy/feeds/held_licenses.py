"""Held licences are those that held packages state, for whoever asks what rules say before a client does."""

from __future__ import annotations

from collections.abc import Iterable

from nugetproxy.feeds.judge import Judge, Ruling
from nugetproxy.nuget.version import Version
from nugetproxy.sources.inspection import facts_of
from nugetproxy.sources.source import Source
from nugetproxy.store.holdings.database import HoldingsUnavailable


async def with_held_licenses(judge: Judge, sources: Iterable[Source], ruling: Ruling) -> Ruling:
    """``ruling`` with what held packages state where nobody has looked at a licence yet; each version's is that of the
    source that it comes from.
    """
    traits = ruling.dossier.traits if ruling.minds_licenses and ruling.dossier is not None else {}
    wanted = {version: one.source for version, one in traits.items() if judge.wants_license(ruling, version)}
    learnt = False
    for source in sources if wanted else ():
        try:
            held = await facts_of(source, ruling.id)
        except HoldingsUnavailable:  # logged; what is not known stays so
            continue
        for one in held:
            version = Version.parse(one.identity.version)
            if version is not None and wanted.get(version) == source.name:
                judge.learn_license(ruling.id, version, one.license_expression)
                learnt = True
    return await judge.ruling(ruling.id) if learnt else ruling
