"""Selects the lists to fetch, describes lists, and compares one with the visits on this network."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import cast

from proxy.config.schema import ListConfig, ListFormatName
from proxy.config.suggestions import quoted, suggestion
from proxy.control.site_states import KnownSite
from proxy.detect.verdict.site_status import SiteStatus
from proxy.features.rules.list_answers import FreeHostJson, ListDiffJson, ListJson
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.routing.lists.changes import write_diff
from proxy.routing.lists.domain_list import DomainList
from proxy.store.list_copies import ListCopies

_BLOCKED = (SiteStatus.BLOCKED, SiteStatus.LIKELY_BLOCKED, SiteStatus.SLOW, SiteStatus.INTERCEPTED)


def wanted_lists(configured: Sequence[ListConfig], names: Sequence[str]) -> list[ListConfig]:
    """Returns the lists to fetch: the named ones, or all whose source is a URL. Raises ValueError with a sentence."""
    by_name = {item.name: item for item in configured}
    for name in names:
        if name not in by_name:
            raise ValueError(f"unknown list {quoted(name)}{suggestion(name, by_name)}")
        if not by_name[name].url:
            raise ValueError(f"list {name} is a file: it is read again whenever it changes, and never fetched")
    lists = [by_name[name] for name in dict.fromkeys(names)] if names else [item for item in configured if item.url]
    if not lists:
        raise ValueError("no list has an https:// source, so there is nothing to fetch")
    return lists


async def describe(
    configured: Sequence[ListConfig], in_use: Mapping[str, DomainList], copies: ListCopies, now: float
) -> tuple[ListJson, ...]:
    """Returns each configured list, in order, also those that are not in use yet."""
    infos = await asyncio.to_thread(lambda: [copies.info(item.url) if item.url else None for item in configured])
    return tuple(
        ListJson.of(item, in_use.get(item.name), info, now) for item, info in zip(configured, infos, strict=True)
    )


@frozen_dataclass
class Compared:
    """A list beside the user's own visits on one network."""

    free: tuple[FreeHostJson, ...]
    """Hosts that are listed and worked direct, the latest first."""
    blocked: tuple[KnownSite, ...]
    """Sites that are blocked and in no list."""
    remove: tuple[str, ...]
    """Domains of the list that cover only hosts of `free`."""
    add: tuple[str, ...]
    """The certainly blocked sites among `blocked`."""


def compare(
    name: str, in_use: Mapping[str, DomainList], open_hosts: Mapping[str, float], sites: Sequence[KnownSite]
) -> Compared:
    """Compares list `name` with the results on one network. `open_hosts` worked direct, at these times, and are not in
    trouble; `sites` are those with a status. Hosts are in canonical spelling."""
    listed = in_use[name]
    free = [
        FreeHostJson(host, entry, at)
        for host, at in sorted(open_hosts.items(), key=lambda item: -item[1])
        if (entry := listed.covering(host)) is not None
    ]
    blocked = [site for site in sites if site.state.status in _BLOCKED and "/" not in site.stored.scope]
    needed = {listed.covering(site.stored.scope) for site in blocked}
    unlisted = [site for site in blocked if all(it.covering(site.stored.scope) is None for it in in_use.values())]
    return Compared(
        tuple(free),
        tuple(unlisted),
        tuple(sorted({it.entry for it in free} - needed)),
        tuple(sorted(site.stored.scope for site in unlisted if site.state.status is SiteStatus.BLOCKED)),
    )


def diff(name: str, text: str, listed: DomainList, compared: Compared) -> ListDiffJson:
    """Returns the diff of a list's text, and the entries that it leaves out."""
    made = write_diff(name, text, cast(ListFormatName, listed.format), remove=compared.remove, add=compared.add)
    return ListDiffJson(made.text, tuple(made.unwritten))
