"""The page Traffic: the open connections, a strip of time, and the connections that have ended, all by one filter. The
old pages `live` and `log` lead here.

A filter is typed in words, as with `byway log --filter`, and stays as chips. A period is typed, or dragged over the
strip, which fills the same field. A mistake is marked in its field, and the rest of the page holds.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from functools import partial
from typing import Any

from aiohttp import web

from proxy.control.access import Refused
from proxy.control.dashboard.override_forms import change_override, undo_of, undo_override
from proxy.control.dashboard.visit import Route, Visit
from proxy.control.request_parsing import parse_field
from proxy.features.traffic.cells import to_csv
from proxy.features.traffic.connection_endpoints import ConnectionEndpoints, OpenConnectionsQuery, connection_id
from proxy.features.traffic.strip import Period, edges
from proxy.features.traffic.view import FIELDS, ROWS, Asked, Found, choose, place, traffic_view
from proxy.languages.catalogue import catalogue
from proxy.languages.language import Language
from proxy.model.phrase import _, sentences
from proxy.probe.site_name import scope
from proxy.store import queries, route_queries
from proxy.store.logged import LoggedConnection
from proxy.store.queries import LogFilter, Place

OPEN_ROWS, OPEN_ROWS_MAX = 10, 100
"""The most open connections on the page at first, and on demand: the newest that match."""

_TROUBLES_READ = 50
"""The newest visits that did not open, which are put together by site."""

_CSV_ROWS = 2000
"""Rows of a CSV file that are read and written at once, in 0.2 s."""


def _read(
    db: sqlite3.Connection, period: Period, now: float, *, rows: LogFilter | None, troubles: LogFilter | None
) -> Found:
    """Reads what the page shows. `rows` and `troubles` select connections; None: none. Where all connections are on the
    page, they have the troubles as well."""
    places = edges(period, oldest=route_queries.first_hour(db) or now, now=now)
    shown = [] if rows is None else queries.log(db, **rows)
    failed = shown if len(shown) <= ROWS or troubles is None else queries.log(db, **troubles)
    return Found(shown, [] if troubles is None else failed, places, route_queries.visits(db, places))


async def _traffic(visit: Visit) -> web.Response:
    now, parts = time.time(), visit.parts
    chosen = choose(visit.query(*FIELDS), now=now, day_words=_day_words(visit.language))
    asked, period = chosen.asked, chosen.period
    older, newer = parse_field(place, asked.older), parse_field(place, asked.newer)
    selected = chosen.log_filter(parts.settings)
    is_newest = older is None and newer is None
    await parts.flush()

    def read(db: sqlite3.Connection) -> Found:
        rows: LogFilter | None = {**selected, "older": older, "newer": newer, "limit": ROWS + 1}
        troubles: LogFilter | None = {**selected, "outcome": "failed", "limit": _TROUBLES_READ}
        return _read(
            db,
            period,
            now,
            rows=None if asked.program else rows,
            troubles=troubles if is_newest and not asked.result and not asked.program else None,
        )

    found = await parts.read(read)
    if newer is not None and len(found.rows) <= ROWS:  # the newest page again
        return visit.see_other(asked.first())
    opened = None
    if is_newest and not asked.result and (period.until is None or period.until > now):
        query = OpenConnectionsQuery(
            asked.site or None, asked.route or None, asked.program or None, OPEN_ROWS_MAX if asked.open else OPEN_ROWS
        )
        opened = await visit.frame.one(ConnectionEndpoints).list_open(query)
    view = await asyncio.to_thread(
        partial(
            traffic_view,
            chosen,
            found,
            opened,
            parts.settings,
            here=parts.network(),
            relays=visit.frame.relays.usable_names(),
            undo=undo_of(visit),
            now=now,
            language=visit.language,
        )
    )
    return await visit.page("traffic.html", here="traffic", view=view)


def _day_words(language: Language) -> Mapping[str, int]:
    """Returns the words for days that a period may have, in English and in the language of the page."""
    say = catalogue(language).say
    return {"today": 0, "yesterday": 1, say(_("today")).lower(): 0, say(_("yesterday")).lower(): 1}


async def _csv(visit: Visit) -> web.StreamResponse:
    """Sends all connections that match as a file."""
    chosen = choose(visit.query(*FIELDS), now=time.time(), day_words=_day_words(visit.language))
    if chosen.errors:  # it would be another file than the one asked for
        raise Refused(400, next(iter(chosen.errors.values())))
    selected = chosen.log_filter(visit.parts.settings)

    async def rows(older: Place | None) -> Sequence[LoggedConnection]:
        some: LogFilter = {**selected, "older": older, "limit": _CSV_ROWS}
        return await visit.frame.sites.rows(**some)

    async def parts() -> AsyncGenerator[str, None]:
        some, has_heading = await rows(None), True
        while some or has_heading:
            yield await asyncio.to_thread(partial(to_csv, some, has_heading=has_heading))
            has_heading = False
            some = await rows(Place.of(some[-1])) if some else []

    return await visit.stream_file(parts(), "byway-log.csv", "text/csv")


async def _close(visit: Visit) -> web.Response:
    form = await visit.form("close", *FIELDS)
    closed = visit.parts.services.open_connections.close(parse_field(connection_id, form.get("close", "")))
    notice = _("That connection had ended already.") if closed is None else _("Closed: {host}.", host=closed.host)
    return visit.see_other(_back(form), notice)


async def _override(visit: Visit) -> web.Response:
    form = await visit.form("direct", "relay", "undo", *FIELDS)
    words = [word for word in ("direct", "relay", "undo") if word in form]
    if len(words) != 1:
        raise Refused(400, _("One of `direct`, `relay` and `undo` is needed."))
    if (word := words[0]) == "undo":
        notice = await undo_override(visit, form[word])
    else:
        notice = await change_override(visit, parse_field(scope, form[word]), word)
    return visit.see_other(_back(form), sentences([notice, _("Open connections keep their route.")]))


def _back(form: Mapping[str, str]) -> str:
    """Returns the path of the page on which a form was."""
    return Asked(**{name: form.get(name, "") for name in FIELDS}).path()


async def _live(visit: Visit) -> web.Response:
    """Leads to the page with the filter of the old page Live."""
    query = visit.query("site", "route", "program", "paused")
    return visit.see_other(Asked(**query).path())


_HOURS: Mapping[str, str] = {"24": "", "168": "7d", "": "all"}


async def _log(visit: Visit) -> web.Response:
    """Leads to the page with the filter of the old page Log."""
    return visit.see_other(_of_log(visit).path())


async def _log_csv(visit: Visit) -> web.Response:
    """Leads to the CSV file of the same connections."""
    return visit.see_other(_of_log(visit).path("traffic.csv"))


def _of_log(visit: Visit) -> Asked:
    query = visit.query("site", "route", "outcome", "hours", "filter", "before")
    hours = query.get("hours", "24")
    when = _HOURS.get(hours, f"{hours}h")
    given: dict[str, Any] = {name: query.get(name, "") for name in ("site", "route", "filter")}
    return Asked(**given, result=query.get("outcome", ""), when=when)


ROUTES = (
    Route("GET", "traffic", _traffic),
    Route("GET", "traffic.csv", _csv),
    Route("POST", "traffic/close", _close),
    Route("POST", "traffic/override", _override),
    Route("GET", "live", _live),
    Route("GET", "log", _log),
    Route("GET", "log.csv", _log_csv),
)
