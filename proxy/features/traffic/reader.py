"""Reads ended connections for answers of the API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from proxy.control.site_reader import ReadableParts, SiteReader
from proxy.features.traffic.answers import LogAnswer
from proxy.probe.site_name import scope
from proxy.store.queries import LogFilter

if TYPE_CHECKING:
    from proxy.config.schema import Settings


async def read_log(parts: ReadableParts, **selected: Unpack[LogFilter]) -> LogAnswer:
    """Returns rows of the log. `network` may be a name of the configuration. Raises ValueError for an unknown outcome,
    and for an invalid `site`."""
    if (site := selected.get("site")) is not None:
        selected["site"] = scope(site)
    if (network := selected.get("network")) is not None:
        selected["network"] = network_id(parts.settings, network)
    return LogAnswer(tuple(await SiteReader(parts).rows(**selected)), parts.settings.log.hosts)


def network_id(settings: Settings, network: str) -> str:
    """Returns the id of a network by its name in the configuration; any other text counts as an id."""
    return settings.networks.get(network, network)
