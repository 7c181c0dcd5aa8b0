"""Reads ended connections for answers of the API."""

from __future__ import annotations

from typing import Unpack

from proxy.control.site_reader import ReadableParts, SiteReader
from proxy.features.traffic.answers import LogAnswer
from proxy.probe.site_name import scope
from proxy.store.queries import LogFilter


async def read_log(parts: ReadableParts, **selected: Unpack[LogFilter]) -> LogAnswer:
    """Returns rows of the log. Raises ValueError for an unknown outcome, and for an invalid `site`."""
    if (site := selected.get("site")) is not None:
        selected["site"] = scope(site)
    return LogAnswer(tuple(await SiteReader(parts).rows(**selected)), parts.settings.log.hosts)
