"""The page of the log: connections that have ended."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from aiohttp import web

from proxy.control.access import Refused
from proxy.control.answers.connections import ConnectionJson
from proxy.control.dashboard.page_names import PAGE_NAMES
from proxy.control.dashboard.visit import Route, Visit
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
    asked = visit.query("site", "route", "outcome", "hours")
    chosen = LogFilterForm(
        asked.get("site", "").strip(),
        asked.get("route", "").strip(),
        asked.get("outcome", ""),
        asked.get("hours", "24"),
    )
    hours = parse_field(lambda text: parse_number(text, least=1, most=_HOURS_MAX), chosen.hours) if chosen.hours else 0
    try:
        rows = await visit.subjects.sites.sites.rows(
            since=time.time() - hours * 3600 if hours else 0.0,
            site=parse_field(scope, chosen.site) if chosen.site else None,
            route=chosen.route or None,
            outcome=chosen.outcome or None,
            limit=ROWS,
        )
    except ValueError as error:
        raise Refused(400, str(error)) from None
    view = log_view(rows, chosen, visit.parts.setup().settings.log.hosts)
    return await visit.page("log.html", title=PAGE_NAMES["log"], here="log", view=view)


ROUTES = (Route("GET", "log", _log),)
