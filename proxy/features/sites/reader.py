"""Reads the status of sites and their history for answers of the API."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable

from proxy.control.answers.overrides import OverrideJson, overrides_json
from proxy.control.site_reader import ReadableParts, SiteReader, in_blocks
from proxy.control.site_states import KnownSite
from proxy.detect.scopes import scopes_of
from proxy.features.sites.answers import SiteAnswer, SiteJson, SitesAnswer, SpellJson
from proxy.features.sites.measurement_answers import MeasurementsAnswer
from proxy.features.sites.timeline import spells
from proxy.routing.router import covering
from proxy.store import queries
from proxy.store.logged import StatusChange


async def said(sites: Iterable[KnownSite]) -> tuple[SiteJson, ...]:
    """Returns the status of sites for an answer. Yields to the event loop meanwhile."""
    return tuple(await in_blocks(SiteJson.of_known, sites))


async def list_sites(parts: ReadableParts, reader: SiteReader | None = None) -> SitesAnswer:
    """Returns the sites with a stored status or a recent failure, and the overrides. `reader`: one that keeps what it
    reads."""
    sites = await said(await (reader or SiteReader(parts)).known(time.time()))
    return SitesAnswer(parts.network(), sites, overrides_json(parts.overrides))


async def show_site(parts: ReadableParts, host: str, reader: SiteReader | None = None) -> SiteAnswer:
    """Returns the status, the override and the history of a site. `reader`: one that keeps what it reads."""
    reader = reader or SiteReader(parts)
    meant = reader.states(time.time()).meant(host)
    override = covering(host, parts.overrides)
    changes, timeline = await history(parts, meant)
    related = await reader.of_same_site(meant, time.time())
    states = reader.states(time.time())  # the present moment, after the log was read: see `SiteReader.kept`
    return SiteAnswer(
        host=host,
        belief=SiteJson.of_known(states.host(meant)),
        ports=tuple(map(SiteJson.of_known, states.ports(meant))),
        hosts=tuple(map(SiteJson.of_known, related)),
        elsewhere=tuple(map(SiteJson.of_known, states.elsewhere(host, meant))),
        override=None if override is None else OverrideJson.of(*override),
        timeline=timeline,
        changes=changes,
    )


async def no_measurements(_parts: ReadableParts, host: str) -> MeasurementsAnswer:
    """Returns no measurement: only a running Byway has those of the last minutes."""
    return MeasurementsAnswer(host, ())


async def history(parts: ReadableParts, host: str) -> tuple[tuple[StatusChange, ...], tuple[SpellJson, ...]]:
    """Returns the changes of status of a host and of the domains above it, the newest first, and their spells."""

    def read(db: sqlite3.Connection) -> list[StatusChange]:
        changes = [change for scope in scopes_of(host) for change in queries.changes(db, scope)]
        return sorted(changes, key=lambda change: change.at, reverse=True)

    await parts.flush()
    changes = await parts.read(read)
    return tuple(changes), spells(changes, parts.beliefs.held(frozenset(scopes_of(host)), now=time.time()))
