"""The page of the log: connections that have ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from aiohttp import web

from proxy.control.access import Refused
from proxy.control.answers.connections import ConnectionJson
from proxy.control.dashboard.page_names import PAGE_NAMES
from proxy.control.dashboard.visit import Route, Visit
from proxy.control.document import to_json
from proxy.control.log_cells import to_csv
from proxy.control.log_filter import parse_filter
from proxy.control.request_parsing import parse_field, parse_number
from proxy.control.site import scope
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _, ngettext, pgettext, sentences
from proxy.store.queries import OUTCOMES

OUTCOME_NAMES: Mapping[str, str] = {
    "direct": pgettext("outcome", "direct"),
    "relay": pgettext("outcome", "by a relay"),
    "rescued": pgettext("outcome", "rescued"),
    "failed": pgettext("outcome", "failed"),
}
"""Of `store.queries.OUTCOMES`."""

ROWS = 200
"""Connections on the page: the newest that match."""

CSV_ROWS = 10_000
"""Connections in a CSV file, at most."""

_HOURS_MAX = 366 * 24

LENGTHS: Mapping[str, str] = {
    "1": _("1 hour"),
    "24": _("1 day"),
    "168": _("1 week"),
    "": _("all that is kept"),
}
"""How far back, by the hours that the form sends."""


@frozen_dataclass
class LogFilterForm:
    """Which connections are asked for, as `store.queries.LogFilter` has it."""

    site: str = ""
    route: str = ""
    outcome: str = ""
    hours: str = "24"
    words: str = ""
    """The filter in one line, whose words win over the fields."""

    def query(self) -> str:
        """Returns the query of the same rows."""
        given = {"filter": self.words, "site": self.site, "route": self.route, "outcome": self.outcome}
        return urlencode({**{name: value for name, value in given.items() if value}, "hours": self.hours})


@frozen_dataclass
class LogView:
    """What the page shows."""

    sentence: str
    asked: LogFilterForm
    outcomes: Mapping[str, str]
    lengths: Mapping[str, str]
    rows: Sequence[ConnectionJson]
    empty: str


def log_view(rows: Sequence[ConnectionJson], asked: LogFilterForm, hosts: str) -> LogView:
    """Returns the page. `hosts` is the setting `[log] hosts`."""
    failed = sum(row.winner is None for row in rows)
    many = (
        ngettext("The newest {count} connection.", "The newest {count} connections.", ROWS)
        if len(rows) == ROWS
        else ngettext("{count} connection.", "{count} connections.", len(rows))
    )
    kept = {
        "off": _("Nothing is logged by name: `[log] hosts` is off."),
        "decisions": _("No matching connections. Those that simply worked are counted, not logged by name."),
    }
    return LogView(
        sentence=sentences([many, ngettext("{count} of them failed.", "{count} of them failed.", failed)]),
        asked=asked,
        outcomes={name: OUTCOME_NAMES.get(name, name) for name in OUTCOMES},
        lengths=LENGTHS,
        rows=rows,
        empty=kept.get(hosts, _("No matching connections.")),
    )


async def _log(visit: Visit) -> web.Response:
    chosen = _chosen(visit)
    rows = await _rows(visit, chosen, ROWS)
    view = log_view(rows, chosen, visit.parts.setup().settings.log.hosts)
    return await visit.page("log.html", title=PAGE_NAMES["log"], here="log", view=view)


async def _csv(visit: Visit) -> web.Response:
    """Sends the connections that are asked for as a file, many more than the page shows."""
    rows = await _rows(visit, _chosen(visit), CSV_ROWS)
    return visit.file(await asyncio.to_thread(lambda: to_csv(to_json(rows))), "byway-log.csv", "text/csv")


def _chosen(visit: Visit) -> LogFilterForm:
    asked = visit.query("site", "route", "outcome", "hours", "filter")
    return LogFilterForm(
        asked.get("site", "").strip(),
        asked.get("route", "").strip(),
        asked.get("outcome", ""),
        asked.get("hours", "24"),
        asked.get("filter", "").strip(),
    )


async def _rows(visit: Visit, chosen: LogFilterForm, limit: int) -> Sequence[ConnectionJson]:
    """Returns the rows that are asked for, the newest first. Raises Refused."""
    now = time.time()
    hours = parse_field(lambda text: parse_number(text, least=1, most=_HOURS_MAX), chosen.hours) if chosen.hours else 0
    words = parse_field(lambda text: parse_filter(text, now=now), chosen.words)
    since = now - hours * 3600 if hours else 0.0
    try:
        return await visit.subjects.sites.sites.rows(
            since=since if words.since is None else words.since,
            site=words.site or (parse_field(scope, chosen.site) if chosen.site else None),
            route=words.route or chosen.route or None,
            outcome=words.outcome or chosen.outcome or None,
            limit=limit,
        )
    except ValueError as error:
        raise Refused(400, str(error)) from None


ROUTES = (Route("GET", "log", _log), Route("GET", "log.csv", _csv))
