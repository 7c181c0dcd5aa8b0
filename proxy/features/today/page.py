"""The home page: one sentence first, then problems, the mode, the routes of the last day, and changed sites."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from aiohttp import web
from markupsafe import Markup

from proxy.config.suggestions import one_of, quoted
from proxy.control.access import Refused
from proxy.control.answers.mode import ModeJson
from proxy.control.answers.problems import ProblemJson
from proxy.control.dashboard.charts import HOURS, Series, first_hour, stacked_bars
from proxy.control.dashboard.kinds import route_kind
from proxy.control.dashboard.visit import Route, Visit
from proxy.control.frame import Moment
from proxy.control.request_parsing import parse_field, parse_number
from proxy.control.site_states import KnownSite
from proxy.detect.verdict.labels import cause_in_words
from proxy.detect.verdict.site_status import BLOCKS, OF_NETWORKS
from proxy.features.today.answers import StatusAnswer
from proxy.features.today.endpoints import StatusEndpoints
from proxy.features.today.relay_rows import relay_rows
from proxy.languages.amounts import share
from proxy.languages.dates import time_of_day
from proxy.model import TROUBLED, AutoMode, State
from proxy.model.errors import BywayError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _, commas, ngettext, pgettext, sentences
from proxy.probe.site_name import names_of
from proxy.store import queries
from proxy.store.logged import StatusChange
from proxy.store.route_queries import RouteHour
from proxy.store.rows import HOUR_S

_DAY_S = 86_400.0
_NAMED = 3
"""The most routes in the sentence."""

MODES: Mapping[AutoMode, str] = {
    AutoMode.AUTO: _("direct first, another route if a site is blocked"),
    AutoMode.DIRECT: _("direct only"),
    AutoMode.RELAY: _("relays only"),
}
_MEANINGS: Mapping[AutoMode, str] = {
    AutoMode.AUTO: _("Sites go direct first, and another route if they are blocked."),
    AutoMode.DIRECT: _("Sites go direct only, and blocked ones do not open. Nothing is learned."),
    AutoMode.RELAY: _("Sites go through relays only. Nothing is learned."),
}

_PAUSED = _("Byway is paused until {time}: sites go direct, and blocked ones do not open.")
_REPLACED: Mapping[AutoMode, str] = {
    AutoMode.DIRECT: _("All sites go direct, and blocked ones do not open: the mode is direct only."),
    AutoMode.RELAY: _("All sites go through relays: the mode is relays only."),
}
"""The first sentence while a pause or a mode replaces AUTO: then the routes that open sites are not used."""


@frozen_dataclass
class NewStatus:
    """A site whose status changed."""

    scope: str
    because: str
    at: float


@frozen_dataclass
class HomeView:
    """The values for the template of the page."""

    sentence: str
    problems: Sequence[ProblemJson]
    mode: ModeJson
    mode_sentence: str
    modes: Mapping[AutoMode, str]
    has_visits: bool
    picture: Markup
    conclusion: str
    series: Sequence[Series]
    hours: Sequence[Sequence[str | int]]
    blocked: Sequence[NewStatus]
    free: Sequence[NewStatus]
    relays: Sequence[Any] | None
    """The relays of the status, those of a subscription as one; None: there is no page of relays."""
    known: Sequence[str]
    """Names of sites, to complete the input."""


def home_view(
    status: StatusAnswer,
    sites: Sequence[KnownSite],
    hours: Sequence[RouteHour],
    changes: Sequence[StatusChange],
    *,
    has_relays: bool,
) -> HomeView:
    """Returns the page. `sites` are those in trouble on this network, `hours` are those since `first_hour`, and
    `changes` are the changes of status in the last day, on any network, in the form of the store. `has_relays`: whether
    there is a page of relays."""
    series = _series(hours, status.now)
    here = sorted((change for change in changes if change.network == status.network), key=lambda change: change.at)
    newest = {change.scope: change for change in here}
    troubled = {site.stored.scope for site in sites}
    paused = status.mode.paused_until
    return HomeView(
        sentence=_PAUSED.given(time=time_of_day(paused))
        if paused
        else _REPLACED.get(AutoMode(status.mode.mode))
        or (status.traffic.text if status.traffic else sentence(sites, status.network_name)),
        problems=status.problems,
        mode=status.mode,
        mode_sentence=sentences(
            [
                _("Paused until {time}.", time=time_of_day(paused)) if paused else "",
                _MEANINGS[AutoMode.DIRECT if paused else AutoMode(status.mode.mode)],
                _("Rules and overrides hold."),
            ]
        ),
        modes=MODES,
        has_visits=any(map(sum, (each.values for each in series))),
        picture=stacked_bars(series),
        conclusion=_conclusion(series),
        series=series,
        hours=_table(series, status.now),
        blocked=_latest_first(
            NewStatus(site.name_and_port, cause_in_words(site.state.cause), site.state.since)
            for site in sites
            if site.state.status in BLOCKS and site.state.since >= status.now - _DAY_S
        ),
        free=_latest_first(
            NewStatus(change.scope, "", change.at)
            for change in newest.values()
            if change.before in TROUBLED and change.after == State.WORKS and change.scope not in troubled
        ),
        relays=relay_rows(status.relays, status.groups, lambda each: str(each.name)) if has_relays else None,
        known=names_of(site.stored.scope for site in sites),
    )


def sentence(sites: Sequence[KnownSite], network_name: str) -> str:
    """Returns a sentence with the number of blocked sites and the routes that open them."""
    here = _("on {network}", network=network_name) if network_name else _("on this network")
    blocked = [site for site in sites if BLOCKS & site.called]
    if not blocked:
        return _("No blocked sites are known {here}.", here=here)
    routes = Counter(_route_name(_works_by(site)) for site in blocked)
    failed = sum(_has_failed(site) for site in blocked)
    unknown = routes.pop("", 0) - failed
    working: list[str] = [
        ngettext("{count} works through {route}", "{count} work through {route}", count, route=route)
        for route, count in routes.most_common(_NAMED)
    ]
    if rest := routes.total() - sum(count for _, count in routes.most_common(_NAMED)):
        working.append(ngettext("{count} through other routes", "{count} through other routes", rest))
    if failed:
        working.append(
            ngettext("{count} does not open", "{count} do not open", failed)
            if working or unknown
            else pgettext("blocked sites", "none opens")
        )
    if unknown:
        working.append(
            ngettext("no route is known for {count} of them", "no routes are known for {count} of them", unknown)
        )
    return ngettext(
        "{count} site is blocked {here}: {details}.",
        "{count} sites are blocked {here}: {details}.",
        len(blocked),
        here=here,
        details=commas(working),
    )


def _series(hours: Sequence[RouteHour], now: float) -> Sequence[Series]:
    first = first_hour(now)
    sums = {kind: [0] * HOURS for kind in ("direct", "strategy", "relay", "failed")}
    for each in hours:
        place = (each.at - first) // HOUR_S
        if 0 <= place < HOURS:
            sums[route_kind(each.route)][place] += each.delivered
            sums["failed"][place] += each.failed
    names = {
        "direct": pgettext("route", "Direct"),
        "strategy": _("Local strategy"),
        "relay": _("Relay"),
        "failed": _("Failed attempts"),
    }
    return [Series(name, kind, tuple(sums[kind])) for kind, name in names.items()]


def _conclusion(series: Sequence[Series]) -> str:
    direct, strategy, relay, failed = (sum(each.values) for each in series)
    delivered = direct + strategy + relay
    shares = (
        (direct, _("{share} direct")),
        (strategy, _("{share} by a local strategy")),
        (relay, _("{share} through a relay")),
    )
    parts = [text.given(share=share(count, delivered)) for count, text in shares if count]
    visits = ngettext("{count} connection was delivered", "{count} connections were delivered", delivered)
    return sentences(
        [
            _("{visits}: {shares}.", visits=visits, shares=commas(parts)) if parts else _("{visits}.", visits=visits),
            ngettext("{count} attempt failed.", "{count} attempts failed.", failed),
        ]
    )


def _table(series: Sequence[Series], now: float) -> Sequence[Sequence[str | int]]:
    first = first_hour(now)
    rows: list[tuple[str | int, ...]] = []
    for place in reversed(range(HOURS)):
        counts = [each.values[place] for each in series]
        if any(counts):
            rows.append((time_of_day(first + place * HOUR_S), *counts))
    return rows


def _route_name(route: str) -> str:
    return _("a local strategy") if route.startswith("direct|") else route


def _works_by(site: KnownSite) -> str:
    """Returns the route that opens a blocked site; behind a portal, the one that opened it last."""
    return site.stored.last_good if site.state.status in OF_NETWORKS else site.state.works_by


def _has_failed(site: KnownSite) -> bool:
    """Whether a blocked site last opened on no route."""
    return site.state.status not in BLOCKS and not _works_by(site) and site.state.status not in OF_NETWORKS


def _latest_first(sites: Iterable[NewStatus]) -> list[NewStatus]:
    return sorted(sites, key=lambda site: -site.at)


async def _home(visit: Visit) -> web.Response:
    visit.query()
    moment = Moment(visit.frame, time.time())
    status = await visit.frame.one(StatusEndpoints).of(moment)
    rows = await asyncio.to_thread(visit.parts.store.route_hours, first_hour(status.now))
    await visit.parts.flush()
    changes = [change for change in await visit.parts.read(queries.changes) if change.at >= status.now - _DAY_S]
    has_relays = "relays" in visit.frame.pages
    view = home_view(status, await moment.troubled(), rows, changes, has_relays=has_relays)
    return await visit.page("home.html", here="", view=view)


async def _set_mode(visit: Visit) -> web.Response:
    form = await visit.form("mode")
    name, settable = form.get("mode", ""), [mode for mode in AutoMode if mode is not AutoMode.PAUSED]
    if name not in settable:
        raise Refused(400, _("unknown mode {name}; it can be {modes}", name=quoted(name), modes=one_of(settable)))
    return _switched(
        visit, lambda: visit.parts.modes.set_mode(AutoMode(name)), _("Mode: {mode}.", mode=MODES[AutoMode(name)])
    )


async def _set_pause(visit: Visit) -> web.Response:
    form = await visit.form("minutes")
    minutes = parse_field(lambda text: parse_number(text, least=0, most=24 * 60), form.get("minutes", ""))
    modes = visit.parts.modes
    if not minutes:
        return _switched(visit, modes.resume, _("Resumed."))
    return _switched(
        visit,
        lambda: modes.pause(minutes * 60),
        ngettext(
            "Paused for {minutes:g} minute.", "Paused for {minutes:g} minutes.", math.ceil(minutes), minutes=minutes
        ),
    )


def _switched(visit: Visit, switch: Callable[[], None], notice: str) -> web.Response:
    try:
        switch()
    except BywayError as error:  # the change is in effect, but not stored
        notice = sentences([notice, str(error)])
    return visit.see_other("", notice)


ROUTES = (Route("GET", "", _home), Route("POST", "mode", _set_mode), Route("POST", "pause", _set_pause))
