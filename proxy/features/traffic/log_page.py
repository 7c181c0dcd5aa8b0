"""The page of the log: connections that have ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from urllib.parse import urlencode

from aiohttp import web

from proxy.control.access import Refused
from proxy.control.dashboard.visit import Route, Visit
from proxy.control.request_parsing import parse_field, parse_number
from proxy.features.traffic.cells import to_csv
from proxy.features.traffic.connection_endpoints import connection_id
from proxy.features.traffic.empty_log import why_empty
from proxy.features.traffic.filter import parse_filter
from proxy.features.traffic.reader import network_id
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _, ngettext, pgettext, sentences
from proxy.probe.site_name import scope
from proxy.store.logged import LoggedConnection
from proxy.store.queries import OUTCOMES

OUTCOME_NAMES: Mapping[str, str] = {
    "direct": pgettext("outcome", "direct"),
    "relay": pgettext("outcome", "by a relay"),
    "rescued": pgettext("outcome", "rescued"),
    "failed": pgettext("outcome", "failed"),
}
"""The words for `store.queries.OUTCOMES`."""

ROWS = 200
"""The most connections on a page. Older ones are on the next page."""

_CSV_ROWS = 2000
"""Rows of a CSV file that are read and written at once, in 0.2 s."""

_HOURS_MAX = 366 * 24

LENGTHS: Mapping[str, str] = {
    "1": _("1 hour"),
    "24": _("1 day"),
    "168": _("1 week"),
    "": _("all that is kept"),
}
"""The periods of the filter, by the hours in the form."""


@frozen_dataclass
class LogFilterForm:
    """The filter of the page, for `store.queries.LogFilter`."""

    site: str = ""
    route: str = ""
    outcome: str = ""
    hours: str = "24"
    words: str = ""
    """The filter in one line, whose words win over the fields."""

    before: str = ""
    """The id of a connection: only older ones match."""

    def query(self, before: object = "") -> str:
        """Returns the query of the same rows from the newest on, or only of those older than connection `before`."""
        given = {
            "filter": self.words,
            "site": self.site,
            "route": self.route,
            "outcome": self.outcome,
            "before": str(before),
        }
        return urlencode({**{name: value for name, value in given.items() if value}, "hours": self.hours})


@frozen_dataclass
class LogView:
    """The values for the template of the page. `older` is the query of the next page; empty: there is none. `errors`
    are those of the filter."""

    sentence: str
    errors: Sequence[str]
    asked: LogFilterForm
    outcomes: Mapping[str, str]
    lengths: Mapping[str, str]
    rows: Sequence[LoggedConnection]
    older: str
    empty: str


def log_view(rows: Sequence[LoggedConnection], asked: LogFilterForm, hosts: str, *, error: str = "") -> LogView:
    """Returns the page. `rows` has one more than the page if there are older ones. `hosts` is the setting
    `[log] hosts`, `error` is a sentence about the filter."""
    older = asked.query(rows[ROWS - 1].id) if len(rows) > ROWS else ""
    rows = rows[:ROWS]
    failed = sum(row.winner is None for row in rows)
    if asked.before:
        many = ngettext("{count} older connection.", "{count} older connections.", len(rows))
    elif older:
        many = ngettext("The newest {count} connection.", "The newest {count} connections.", ROWS)
    else:
        many = ngettext("{count} connection.", "{count} connections.", len(rows))
    is_filtered = bool(asked.words or asked.site or asked.route or asked.outcome or asked.before)
    return LogView(
        sentence=""
        if error
        else sentences([many, ngettext("{count} of them failed.", "{count} of them failed.", failed)]),
        errors=[error] if error else [],
        asked=asked,
        outcomes={name: OUTCOME_NAMES.get(name, name) for name in OUTCOMES},
        lengths=LENGTHS,
        rows=rows,
        older=older,
        empty="" if error else why_empty(hosts, is_filtered=is_filtered),
    )


async def _log(visit: Visit) -> web.Response:
    chosen, hosts = _chosen(visit), visit.parts.settings.log.hosts
    try:
        rows = await _rows(visit, chosen, ROWS + 1)
    except Refused as refused:  # the typed filter stays
        view, status = log_view([], chosen, hosts, error=refused.text), refused.status
    else:
        view, status = log_view(rows, chosen, hosts), 200
    return await visit.page("log.html", here="log", view=view, status=status)


async def _csv(visit: Visit) -> web.StreamResponse:
    """Sends all connections that match as a file."""
    chosen = _chosen(visit)
    first = await _rows(visit, chosen, _CSV_ROWS)  # an invalid filter is refused before the file begins

    async def parts() -> AsyncGenerator[str, None]:
        rows, has_heading = first, True
        while rows or has_heading:
            yield await asyncio.to_thread(partial(to_csv, rows, has_heading=has_heading))
            has_heading = False
            rows = await _rows(visit, replace(chosen, before=str(rows[-1].id)), _CSV_ROWS) if rows else []

    return await visit.stream_file(parts(), "byway-log.csv", "text/csv")


def _chosen(visit: Visit) -> LogFilterForm:
    query = visit.query("site", "route", "outcome", "hours", "filter", "before")
    return LogFilterForm(
        query.get("site", "").strip(),
        query.get("route", "").strip(),
        query.get("outcome", ""),
        query.get("hours", "24"),
        query.get("filter", "").strip(),
        query.get("before", ""),
    )


async def _rows(visit: Visit, chosen: LogFilterForm, limit: int) -> Sequence[LoggedConnection]:
    """Returns the rows that match, the newest first. Raises Refused."""
    now = time.time()
    hours = parse_field(lambda text: parse_number(text, least=1, most=_HOURS_MAX), chosen.hours) if chosen.hours else 0
    words = parse_field(lambda text: parse_filter(text, now=now), chosen.words)
    before = parse_field(connection_id, chosen.before) if chosen.before else None
    since = now - hours * 3600 if hours else 0.0
    try:
        return await visit.frame.sites.rows(
            since=since if words.since is None else words.since,
            until=words.until,
            before=before,
            site=words.site or (parse_field(scope, chosen.site) if chosen.site else None),
            route=words.route or chosen.route or None,
            outcome=words.outcome or chosen.outcome or None,
            network=None if words.network is None else network_id(visit.parts.settings, words.network),
            limit=limit,
        )
    except ValueError as error:
        raise Refused(400, str(error)) from None


ROUTES = (Route("GET", "log", _log), Route("GET", "log.csv", _csv))
