"""The page Today: a sentence first, then four facts, the visits of the last day, the blocked sites, what to do and what
changed."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Container, Mapping, Sequence

from aiohttp import web

from proxy.config.suggestions import one_of, quoted
from proxy.control.access import Refused
from proxy.control.answers.mode import ModeJson
from proxy.control.answers.problems import Button, Problem
from proxy.control.dashboard.charts import HOURS, Bars, Series, first_hour, stacked_bars
from proxy.control.dashboard.kinds import route_kind
from proxy.control.dashboard.visit import Route, Visit
from proxy.control.frame import Moment
from proxy.control.request_parsing import parse_field, parse_number
from proxy.control.site_days import SiteDays, site_days
from proxy.control.site_states import KnownSite
from proxy.detect.scopes import registrable
from proxy.detect.verdict.labels import network_in_words
from proxy.detect.verdict.site_status import BLOCKS, OF_NETWORKS
from proxy.features.today.answers import StatusAnswer
from proxy.features.today.endpoints import StatusEndpoints
from proxy.languages.amounts import share
from proxy.languages.dates import time_of_day
from proxy.model import TROUBLED, AutoMode, Cause, NetworkState, State
from proxy.model.errors import BywayError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _, commas, ngettext, pgettext, sentences
from proxy.store import queries
from proxy.store.logged import StatusChange
from proxy.store.route_queries import RouteHour
from proxy.store.rows import HOUR_S, NO_ROUTE

_DAY_S = 86_400.0

NETWORKS: Mapping[NetworkState, str] = {
    NetworkState.OFFLINE: _("No internet"),
    NetworkState.PORTAL: _("Login page of the network"),
    NetworkState.RESTRICTED: _("Only some sites open here"),
    NetworkState.NO_HTTPS: _("HTTPS is blocked here"),
    NetworkState.SHUT: _("Only some sites open here"),
    NetworkState.INSPECTED: _("TLS is intercepted here"),
}
"""The faults of a network as a whole, in a few words."""

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


ROWS_MAX = 25
"""The most blocked sites on the page, and NEWS_MAX the most changes; the page of sites has all."""
NEWS_MAX = 20


@frozen_dataclass
class Tile:
    """One fact: its kind in the style sheet ("good", "warn", "bad" or "quiet"), a few words, more words, and the path
    of the page about it, which may be empty."""

    kind: str
    words: str
    more: str
    path: str = ""


@frozen_dataclass
class BlockedSite:
    """A blocked site: the name that stands for it, how many more names of it are blocked alike, and what is known of
    it. `works_by` is the route that opens it; empty: none, or none is known."""

    name: str
    more: int
    since: float
    cause: str
    works_by: str
    days: SiteDays


@frozen_dataclass
class News:
    """A site whose status changed; `cause` is empty when it became free."""

    scope: str
    cause: str
    at: float
    is_blocked: bool


@frozen_dataclass
class Step:
    """A step of the first run: whether it is done, a few words, more words, and buttons. `asks`: it has the field for a
    site."""

    is_done: bool
    words: str
    more: str
    buttons: Sequence[Button] = ()
    asks: bool = False


@frozen_dataclass
class TodayView:
    """The values for the template of the page."""

    sentence: str
    steps: Sequence[Step]
    """Of the first run; empty once connections came through Byway."""
    tiles: Sequence[Tile]
    problems: Sequence[Problem]
    closed: Sequence[str]
    """The blocked sites that no route opened, to measure."""
    mode: ModeJson
    mode_sentence: str
    modes: Mapping[AutoMode, str]
    has_visits: bool
    plot: Bars
    conclusion: str
    series: Sequence[Series]
    hours: Sequence[Sequence[str | int]]
    blocked: Sequence[BlockedSite]
    others: int
    """The number of blocked sites that are not on the page."""
    network_name: str
    news: Sequence[News]


def today_view(
    status: StatusAnswer,
    problems: Sequence[Problem],
    sites: Sequence[KnownSite],
    blocked: Sequence[Sequence[KnownSite]],
    days: Mapping[str, SiteDays],
    hours: Sequence[RouteHour],
    changes: Sequence[StatusChange],
    *,
    resolver_fails: bool,
    browser_seen: bool,
    pages: Container[str],
) -> TodayView:
    """Returns the page. `sites` are those in trouble on this network, `blocked` those of `blocked_alike`, with the
    `days` of the first of each on the page, `hours` are those since `first_hour`, and
    `changes` are the changes of status in the last day, on any network, in the form of the store. `browser_seen`:
    whether this browser has just used the proxy. `pages` are the names of those that there are."""
    series = _series(hours, status.now)
    paused = status.mode.paused_until
    has_visits = any(map(sum, (each.values for each in series)))
    return TodayView(
        steps=() if has_visits else _steps(status, sites, browser_seen, pages),
        sentence=_PAUSED.given(time=time_of_day(paused))
        if paused
        else _REPLACED.get(AutoMode(status.mode.mode)) or (status.traffic.text if status.traffic else sentence(sites)),
        tiles=[
            _internet(status),
            _dns(sites, resolver_fails=resolver_fails),
            *([_relays(status)] if "relays" in pages else []),
            _browser(browser_seen, "setup" if "setup" in pages else ""),
        ],
        problems=problems,
        closed=[site.name for site in sites if BLOCKS & site.called and _has_failed(site)][:NEWS_MAX],
        mode=status.mode,
        mode_sentence=sentences(
            [
                _("Paused until {time}.", time=time_of_day(paused)) if paused else "",
                _MEANINGS[AutoMode.DIRECT if paused else AutoMode(status.mode.mode)],
                _("Rules and overrides hold."),
            ]
        ),
        modes=MODES,
        has_visits=has_visits,
        plot=_plot(series, status.now),
        conclusion=_conclusion(series),
        series=series,
        hours=_table(series, status.now),
        blocked=[_row(names, days) for names in blocked[:ROWS_MAX]],
        others=len(blocked[ROWS_MAX:]),
        network_name=status.network_name,
        news=_news(status, sites, changes),
    )


def _steps(
    status: StatusAnswer, sites: Sequence[KnownSite], browser_seen: bool, pages: Container[str]
) -> Sequence[Step]:
    steps = []
    if "setup" in pages:
        use = (
            Button(_("Turn on for this computer"), "setup/system", {"do": "on"}),
            Button(_("Set up this browser"), "setup", leads=True),
        )
        more = (
            _("it sent a request a moment ago") if browser_seen else _("a step for this browser, or for all programs")
        )
        steps.append(Step(browser_seen, _("This browser uses Byway"), more, () if browser_seen else use))
    if "relays" in pages:
        relays = [str(relay.name) for relay in status.relays if relay.enabled]
        find = (
            Button(_("Add relays"), "relays", leads=True),
            Button(_("Find proxies on this computer"), "relays/scan"),
        )
        without = _("Or go on without: then sites that only a relay opens stay closed.")
        steps.append(
            Step(bool(relays), _("A relay"), commas(relays[:_NAMED]) if relays else without, () if relays else find)
        )
    if "sites" in pages:
        blocked = [site.name_and_port for site in sites if BLOCKS & site.called]
        known = commas(blocked[:_NAMED]) if blocked else _("Byway measures each route to it, and says what it found.")
        steps.append(Step(bool(blocked), _("Try a site that is blocked here"), known, asks=not blocked))
    return steps


def _internet(status: StatusAnswer) -> Tile:
    problem = network_in_words(status.network_state)
    if problem is not None:
        kind = "bad" if status.network_state is NetworkState.OFFLINE else "warn"
        return Tile(kind, NETWORKS[status.network_state], problem[0])
    if status.traffic is not None:
        return Tile("bad", _("Nothing opens"), status.traffic.text)
    return Tile("good", _("Internet works"), _("no fault of this network is known"))


def _dns(sites: Sequence[KnownSite], *, resolver_fails: bool) -> Tile:
    lies = sum(site.state.cause is Cause.DNS for site in sites)
    if resolver_fails:
        return Tile("bad", _("DNS does not answer"), _("the network's name server fails"))
    if lies:
        words = ngettext("DNS lies for {count} name", "DNS lies for {count} names", lies)
        return Tile("warn", words, _("encrypted DNS is used for them"))
    return Tile("good", _("DNS answers"), _("no false answer is known"))


_WORKS, _FAILING = "works", "failing"
"""States of relays in an answer."""
_NAMED = 2
"""The most relays that a fact names."""


def _relays(status: StatusAnswer) -> Tile:
    """Says how many relays work. Those of a subscription, which may be hundreds, are one, which works if one of them
    does."""
    subscribed = {str(group.name) for group in status.groups}
    states = dict[str, set[str]]()
    for relay in status.relays:
        first, slash, _rest = str(relay.name).partition("/")
        if relay.enabled:
            states.setdefault(first if slash and first in subscribed else str(relay.name), set()).add(str(relay.state))
    if not states:
        return Tile("warn", _("No relay"), _("a site that only a relay opens stays closed"), "relays")
    works = [name for name, found in states.items() if _WORKS in found]
    failing = [name for name, found in states.items() if found == {_FAILING}]
    words = ngettext("{works} of {count} relay works", "{works} of {count} relays work", len(states), works=len(works))
    if failing:
        more = _("{name} fails") if not failing[1:] else ngettext("{count} fails", "{count} fail", len(failing))
        return Tile("bad" if not works else "warn", words, more.given(name=failing[0]), "relays")
    if works:
        return Tile("good", words, commas(works[:_NAMED]), "relays")
    return Tile("quiet", words, _("the others are not tested"), "relays")


def _browser(seen: bool, path: str) -> Tile:
    if seen:
        return Tile("good", _("This browser uses Byway"), _("it sent a request a moment ago"), path)
    return Tile("quiet", _("This browser was not seen"), _("open any site, or set it up"), path)


def blocked_alike(sites: Sequence[KnownSite]) -> list[list[KnownSite]]:
    """Returns the blocked sites, the latest first. Names of one registrable domain that are blocked alike, with one way
    that opens them, are together, the shortest first."""
    alike: dict[tuple[str, Cause | str, str], list[KnownSite]] = {}
    for site in sorted(sites, key=lambda site: (-site.state.since, len(site.name), site.name)):
        if BLOCKS & site.called:
            key = (registrable(site.name.removeprefix("*.")), site.state.cause, _works_by(site))
            alike.setdefault(key, []).append(site)
    return [sorted(names, key=lambda site: (len(site.name_and_port), site.name_and_port)) for names in alike.values()]


def _row(names: Sequence[KnownSite], days: Mapping[str, SiteDays]) -> BlockedSite:
    first = names[0]
    return BlockedSite(
        first.name_and_port, len(names) - 1, first.state.since, first.state.cause, _works_by(first), days[first.name]
    )


def _news(status: StatusAnswer, sites: Sequence[KnownSite], changes: Sequence[StatusChange]) -> list[News]:
    here = sorted((change for change in changes if change.network == status.network), key=lambda change: change.at)
    newest = {change.scope: change for change in here}
    troubled = {site.stored.scope for site in sites}
    news = [
        News(site.name_and_port, site.state.cause, site.state.since, is_blocked=True)
        for site in sites
        if site.state.status in BLOCKS and site.state.since >= status.now - _DAY_S
    ]
    news += [
        News(change.scope, "", change.at, is_blocked=False)
        for change in newest.values()
        if change.before in TROUBLED and change.after == State.WORKS and change.scope not in troubled
    ]
    return sorted(news, key=lambda site: -site.at)[:NEWS_MAX]


def sentence(sites: Sequence[KnownSite]) -> str:
    """Returns a sentence with the number of blocked sites, and how many of them open."""
    blocked = [site for site in sites if BLOCKS & site.called]
    if not blocked:
        return _("No blocked sites are known here.")
    closed = sum(_has_failed(site) for site in blocked)
    unknown = sum(not _works_by(site) for site in blocked) - closed
    opened = len(blocked) - closed - unknown
    many = len(blocked) > 1
    parts = [
        ngettext("{count} site is blocked here.", "{count} sites are blocked here.", len(blocked)),
        _OPENS.given(count=opened) if opened and not many else "",
        ngettext("{count} opens anyway.", "{count} open anyway.", opened) if opened and many else "",
        _("It does not open.") if closed and not many else "",
        ngettext("{count} does not open.", "{count} do not open.", closed) if closed and many else "",
        ngettext("For {count} no way is known yet.", "For {count} no ways are known yet.", unknown)
        if unknown and many
        else "",
        _("No way to open it is known yet.") if unknown and not many else "",
    ]
    return sentences(parts)


_OPENS = _("It opens anyway.")


def _series(hours: Sequence[RouteHour], now: float) -> Sequence[Series]:
    first = first_hour(now)
    sums = {kind: [0] * HOURS for kind in ("direct", "strategy", "relay", "failed")}
    for each in hours:
        place = (each.at - first) // HOUR_S
        if 0 <= place < HOURS:
            if each.route == NO_ROUTE:
                sums["failed"][place] += each.failed
            else:
                sums[route_kind(each.route)][place] += each.delivered
    return [Series(name, kind, tuple(sums[kind])) for kind, name in SERIES.items()]


SERIES: Mapping[str, str] = {
    "direct": pgettext("route", "Direct"),
    "strategy": _("Local strategy"),
    "relay": _("Relay"),
    "failed": _("Did not open"),
}


def _plot(series: Sequence[Series], now: float) -> Bars:
    first = first_hour(now)
    titles = []
    for place in range(HOURS):
        at = first + place * HOUR_S
        counts = [
            _("{name}: {count}", name=each.name, count=each.values[place]) for each in series if each.values[place]
        ]
        hour = _("{start} to {end}", start=time_of_day(at), end=time_of_day(at + HOUR_S))
        titles.append(_("{hour}: {counts}", hour=hour, counts=commas(counts)) if counts else hour)
    along = [time_of_day(first + place * HOUR_S) for place in range(0, HOURS, HOURS // 4)]
    return stacked_bars(series, titles, [*along, pgettext("time", "now")])


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
            ngettext("{count} did not open.", "{count} did not open.", failed) if failed else "",
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


def _works_by(site: KnownSite) -> str:
    """Returns the route that opens a blocked site; behind a portal, the one that opened it last."""
    return site.stored.last_good if site.state.status in OF_NETWORKS else site.state.works_by


def _has_failed(site: KnownSite) -> bool:
    """Whether a blocked site last opened on no route."""
    return site.state.status not in BLOCKS and not _works_by(site) and site.state.status not in OF_NETWORKS


async def _today(visit: Visit) -> web.Response:
    visit.query()
    moment, parts = Moment(visit.frame, time.time()), visit.parts
    status = await visit.frame.one(StatusEndpoints).of(moment)
    rows = await asyncio.to_thread(parts.store.route_hours, first_hour(status.now))
    await parts.flush()
    changes = [change for change in await parts.read(queries.changes) if change.at >= status.now - _DAY_S]
    sites = await moment.troubled()
    blocked = blocked_alike(sites)
    view = today_view(
        status,
        await visit.frame.problems(moment),
        sites,
        blocked,
        await site_days(parts, [names[0] for names in blocked[:ROWS_MAX]], status.now),
        rows,
        changes,
        resolver_fails=parts.beliefs.resolver_fails(parts.network()),
        browser_seen=parts.recent_clients.has_used(visit.request.headers.get("User-Agent", "")),
        pages=visit.frame.pages,
    )
    return await visit.page("today.html", here="", view=view)


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


ROUTES = (Route("GET", "", _today), Route("POST", "mode", _set_mode), Route("POST", "pause", _set_pause))
