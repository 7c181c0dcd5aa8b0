"""Reads what the API says of sites: their status, and their history."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from proxy.control.dependencies import Dependencies
from proxy.control.site_reader import FLUSH_S, in_blocks
from proxy.control.site_states import KnownSite
from proxy.features.sites.answers import SiteJson, SpellJson
from proxy.features.sites.timeline import scopes, spells
from proxy.store.logged import StatusChange


async def said(sites: Iterable[KnownSite]) -> tuple[SiteJson, ...]:
    """Returns what is said of sites. Connections go on meanwhile."""
    return tuple(await in_blocks(SiteJson.of_known, sites))


async def history(parts: Dependencies, host: str, now: float) -> tuple[tuple[StatusChange, ...], tuple[SpellJson, ...]]:
    """Returns the changes of status of a host and of the domains above it, the newest first, and the spells that they
    make."""

    def read() -> list[StatusChange]:
        parts.store.flush(FLUSH_S)
        changes = [change for scope in scopes(host) for change in parts.store.changes(scope)]
        return sorted(changes, key=lambda change: change.at, reverse=True)

    changes = await asyncio.to_thread(read)
    return tuple(changes), spells(changes, parts.beliefs.held(scopes(host), now=now))
