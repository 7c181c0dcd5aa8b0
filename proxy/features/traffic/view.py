"""What the page Traffic shows: its fields, and the rows, chips, strip and sentences made of what the log has."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from proxy.config.schema import Settings
from proxy.config.suggestions import one_of, quoted
from proxy.control.attempts import failures
from proxy.control.dashboard.charts import Series
from proxy.control.dashboard.override_forms import Undo
from proxy.features.traffic.answers import OpenConnectionJson, OpenConnectionsAnswer
from proxy.features.traffic.empty_log import why_empty
from proxy.features.traffic.filter import OUTCOMES, LogSelection, parse_filter
from proxy.features.traffic.reader import network_id
from proxy.features.traffic.strip import Period, Strip, strip
from proxy.features.traffic.waterfall import LEGEND, Waterfall, waterfall
from proxy.languages.language import Language
from proxy.languages.time_words import parse_period
from proxy.model import Action
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _, commas, ngettext, pgettext, semicolons, sentences
from proxy.probe.site_name import scope
from proxy.session.open_connections import ConnectionState
from proxy.store.logged import LoggedConnection
from proxy.store.queries import LogFilter, Place
from proxy.store.route_queries import Visits

ROWS = 50
"""The most ended connections on a page; older ones are on the next page."""

USUAL = "24h"
"""The period of a page for which none was asked."""

_TROUBLES_MAX = 5
"""The most sites with visits that did not open on the page."""

RESULTS: Mapping[str, str] = {
    "direct": pgettext("outcome", "direct"),
    "relay": pgettext("outcome", "by a relay"),
    "rescued": pgettext("outcome", "rescued"),
    "failed": pgettext("outcome", "failed"),
}
"""The words for `filter.OUTCOMES`."""

PERIODS: Mapping[str, str] = {
    "1h": _("1 hour"),
    USUAL: _("24 hours"),
    "7d": _("7 days"),
    "all": _("all that is kept"),
}

_CHIPS: Mapping[str, str] = {
    "site": pgettext("filter", "Site"),
    "route": pgettext("filter", "Route"),
    "result": pgettext("filter", "Result"),
    "network": pgettext("filter", "Network"),
    "program": pgettext("filter", "Program"),
}

FIELDS = (*_CHIPS, "when", "filter", "older", "newer", "paused", "open")
_PLACE = re.compile(r"(\d{1,11}(?:\.\d{1,17})?)~(\d{1,18})")

_STATES = {
    ConnectionState.CONNECTING: ("warn", "◔", _("connecting")),
    ConnectionState.OPEN: ("good", "✓", _("open")),
    ConnectionState.HALF_CLOSED: ("quiet", "·", _("half-closed")),
}
"""For each state, its class in the style sheet, its sign, and its words."""


@frozen_dataclass
class Asked:
    """The fields of the page's address, without mistakes but in `filter` and `when`, which are as typed. `older` and
    `newer` are places in the log, `open` asks for all open connections, and a `paused` page does not change by
    itself."""

    site: str = ""
    route: str = ""
    result: str = ""
    network: str = ""
    program: str = ""
    when: str = ""
    filter: str = ""
    older: str = ""
    newer: str = ""
    paused: str = ""
    open: str = ""

    def path(self, page: str = "traffic", **changes: str) -> str:
        """Returns the path of a page with these fields and changes."""
        given = {name: getattr(self, name) for name in FIELDS} | changes
        query = urlencode({name: value for name, value in given.items() if value})
        return f"{page}?{query}" if query else page

    def first(self, **changes: str) -> str:
        """Returns the path of the newest connections with these fields and changes, without what has a mistake."""
        return self.path(**{"older": "", "newer": "", "filter": "", **changes})


@frozen_dataclass
class Chosen:
    """What the fields select. `errors` are the sentences about mistakes, by field."""

    asked: Asked
    period: Period
    errors: Mapping[str, str]

    def log_filter(self, settings: Settings) -> LogFilter:
        """Returns the filter for the log, without places."""
        asked = self.asked
        return LogFilter(
            since=self.period.since,
            until=self.period.until,
            site=asked.site or None,
            route=asked.route or None,
            outcome=asked.result or None,
            network=network_id(settings, asked.network) if asked.network else None,
        )


def choose(given: Mapping[str, str], *, now: float, day_words: Mapping[str, int]) -> Chosen:
    """Reads the fields of the page. Words of the filter win over chips. What has a mistake selects nothing."""
    fields = {name: given.get(name, "").strip() for name in FIELDS}
    typed, errors = fields["filter"].split(), dict[str, str]()
    programs = [word for word in typed if word.lower().startswith("program:")]
    moments = [word for word in typed if word.lower().startswith(("since:", "until:"))]
    if moments:
        fields["when"] = " ".join(moments)
    words, site = LogSelection(), ""
    try:
        site = scope(fields["site"]) if fields["site"] else ""
        words = parse_filter(" ".join(word for word in typed if word not in (*programs, *moments)), now=now)
    except ValueError as error:
        errors["filter"] = _sentence(error)
    if fields["result"] and fields["result"] not in OUTCOMES:
        word, known = quoted(fields["result"]), one_of(OUTCOMES)
        errors["filter"], fields["result"] = _("unknown result {word}; it can be {words}", word=word, words=known), ""
    try:
        since, until = parse_period(fields["when"] or USUAL, now=now, day_words=day_words)
        if " - " in fields["when"]:
            fields["when"] = Period(since, until).text
        elif fields["when"] == USUAL:
            fields["when"] = ""
    except ValueError as error:
        errors["when"] = _sentence(error)
        since, until = parse_period(USUAL, now=now)
    asked = Asked(
        **fields
        | {
            "site": words.site or site,
            "route": words.route or fields["route"],
            "result": words.outcome or fields["result"],
            "network": words.network or fields["network"],
            "program": programs[-1].partition(":")[2] if programs else fields["program"],
            "filter": fields["filter"] if "filter" in errors else "",
        }
    )
    return Chosen(asked, Period(since, until), errors)


def _sentence(error: ValueError) -> str:
    return error.args[0] if error.args else ""


@frozen_dataclass
class Link:
    """A link: its words, its path, and whether it is what the page shows now. `value` follows the words of a chip."""

    words: str
    path: str
    is_here: bool = False
    value: str = ""


@frozen_dataclass
class OpenRow:
    """An open connection, with its state in words. `rule` is the path of the page that makes a rule for it."""

    connection: OpenConnectionJson
    age_s: float
    kind: str
    glyph: str
    words: str
    rule: str


@frozen_dataclass
class Row:
    """An ended connection. `failed` has its failed attempts in a few words, `network` the name of its network, empty
    if it is the present one, and `rule` the path of the page that makes a rule for it."""

    connection: LoggedConnection
    failed: str
    waterfall: Waterfall
    network: str
    rule: str


@frozen_dataclass
class Trouble:
    """Visits to one site that did not open: how many, the first and the last, and why, in a few words."""

    host: str
    count: int
    first_at: float
    last_at: float
    because: str
    path: str


@frozen_dataclass
class Found:
    """What the log has for the page. `rows` are one more than the page shows if there are more in the direction asked
    for; `places` are the edges of the strip."""

    rows: Sequence[LoggedConnection]
    troubles: Sequence[LoggedConnection]
    places: Sequence[int]
    visits: Sequence[Visits]


@frozen_dataclass
class TrafficView:
    """The values for the template of the page."""

    asked: Asked
    when: str
    errors: Mapping[str, str]
    chips: Sequence[Link]
    options: Sequence[str]
    results: Sequence[Link]
    periods: Sequence[Link]
    follows: bool
    """Whether the page shows what is open now, and changes by itself."""
    pause: str
    open_sentence: str
    open_rows: Sequence[OpenRow]
    open_empty: str
    all_open: str
    undo: Undo | None
    has_relays: bool
    strip: Strip
    bars: Sequence[str]
    """The paths of the page for each bar of the strip."""
    troubles: Sequence[Trouble]
    all_troubles: str
    sentence: str
    rows: Sequence[Row]
    legend: Sequence[Series]
    newest: str
    newer: str
    older: str
    csv: str
    empty: str
    note: str


def traffic_view(
    chosen: Chosen,
    found: Found,
    opened: OpenConnectionsAnswer | None,
    settings: Settings,
    *,
    here: str,
    relays: Sequence[str],
    undo: Undo | None,
    now: float,
    language: Language,
) -> TrafficView:
    """Returns the page. `opened` are the open connections, None on a page without them; `here` is the present network;
    `relays` are the relays that an override may name, `undo` is the last change of one."""
    asked = chosen.asked
    has_more = len(found.rows) > ROWS
    rows = found.rows[-ROWS:] if asked.newer else found.rows[:ROWS]
    names = {id_: name for name, id_ in settings.networks.items()}
    troubles = _troubles(found.troubles, asked)
    connections = [] if opened is None else opened.connections
    return TrafficView(
        asked=asked,
        when=asked.when or USUAL,
        errors=chosen.errors,
        chips=[
            Link(label, asked.first(**{name: ""}), value=RESULTS.get(value, value) if name == "result" else value)
            for name, label in _CHIPS.items()
            if (value := getattr(asked, name))
        ],
        options=_options(found.rows, connections, relays, settings),
        results=[
            Link(words, asked.first(result=name), is_here=asked.result == name)
            for name, words in {"": pgettext("filter", "all"), **RESULTS}.items()
        ],
        periods=[
            Link(words, asked.first(when=text), is_here=(asked.when or USUAL) == text)
            for text, words in PERIODS.items()
        ],
        follows=opened is not None and not asked.paused,
        pause=asked.path(paused="" if asked.paused else "1"),
        open_sentence="" if opened is None else _open_sentence(opened),
        open_rows=[_open_row(each, now) for each in connections],
        open_empty=""
        if opened is None or connections
        else _("No open connection matches.")
        if opened.open
        else _("Nothing is open. Open a site through Byway, and it appears here."),
        all_open=asked.path(open="all") if opened is not None and len(connections) < opened.matching else "",
        undo=undo,
        has_relays=bool(relays),
        strip=(shown := strip(found.visits, found.places, chosen.period, now=now, language=language)),
        bars=[asked.first(when=each.text) for each in shown.periods],
        troubles=troubles[:_TROUBLES_MAX],
        all_troubles=asked.first(result="failed"),
        sentence=_rows_sentence(rows, asked, has_more=has_more),
        rows=[_row(each, names, here, language) for each in rows],
        legend=LEGEND,
        newest=asked.first() if asked.older or asked.newer else "",
        newer=asked.path(newer=_mark(rows[0]), older="")
        if rows and (asked.older or (asked.newer and has_more))
        else "",
        older=asked.path(older=_mark(rows[-1]), newer="") if rows and (asked.newer or has_more) else "",
        csv=asked.path("traffic.csv", older="", newer="", paused="", open="", program="", filter=""),
        empty=_empty(asked, settings.log.hosts) if not rows else "",
        note=_("Visits that simply opened direct are counted above, and not listed by name.")
        if rows and settings.log.hosts == "decisions"
        else "",
    )


def _empty(asked: Asked, hosts: str) -> str:
    if asked.program:
        return _("The log does not have programs. Only open connections can be filtered by them.")
    is_filtered = any(getattr(asked, name) for name in (*_CHIPS, "when", "older", "newer"))
    return why_empty(hosts, is_filtered=is_filtered)


def _open_sentence(opened: OpenConnectionsAnswer) -> str:
    parts = [ngettext("{count} connection is open", "{count} connections are open", opened.open)]
    if opened.matching != opened.open:
        parts.append(ngettext("{count} matches", "{count} match", opened.matching))
    if len(opened.connections) < opened.matching:
        parts.append(ngettext("the newest is shown", "the newest {count} are shown", len(opened.connections)))
    return _("{facts}.", facts=semicolons(parts))


def _open_row(connection: OpenConnectionJson, now: float) -> OpenRow:
    return OpenRow(
        connection,
        max(0.0, now - connection.opened_at),
        *_STATES[connection.state],
        rule=_rule_path(connection.host, connection.program or ""),
    )


def _rule_path(host: str, program: str = "") -> str:
    return f"traffic/rule?{urlencode({'host': host, **({'program': program} if program else {})})}"


def _row(connection: LoggedConnection, names: Mapping[str, str], here: str, language: Language) -> Row:
    network = connection.network
    return Row(
        connection,
        commas(failures(connection)[:3]) if connection.winner is None else "",
        waterfall(connection, language),
        "" if network == here else names.get(network, network),
        _rule_path(connection.host),
    )


def _rows_sentence(rows: Sequence[LoggedConnection], asked: Asked, *, has_more: bool) -> str:
    if not rows:
        return ""
    if asked.older or asked.newer:
        many = ngettext("{count} older connection.", "{count} older connections.", len(rows))
    elif has_more:
        many = ngettext("The newest {count} connection.", "The newest {count} connections.", len(rows))
    else:
        many = ngettext("{count} connection.", "{count} connections.", len(rows))
    failed = sum(row.winner is None for row in rows)
    return sentences([many, ngettext("{count} of them failed.", "{count} of them failed.", failed)])


def _troubles(rows: Sequence[LoggedConnection], asked: Asked) -> list[Trouble]:
    """Returns the visits that did not open, the newest first, by site. What a rule blocked was not to open."""
    by_host: dict[str, list[LoggedConnection]] = {}
    for row in rows:
        if row.winner is None and row.action != Action.BLOCK:
            by_host.setdefault(row.host, []).append(row)
    return [
        Trouble(
            host,
            len(visits),
            visits[-1].at,
            visits[0].at,
            commas(list(dict.fromkeys(what for visit in visits for what in failures(visit)))[:3]) or visits[0].error,
            asked.first(site=host, result="failed"),
        )
        for host, visits in by_host.items()
    ]


def _options(
    rows: Sequence[LoggedConnection],
    connections: Sequence[OpenConnectionJson],
    relays: Sequence[str],
    settings: Settings,
) -> list[str]:
    """Returns the words by which the field of the filter completes itself."""
    routes = ["direct", *relays, *(attempt.route for row in rows for attempt in row.attempts)]
    hosts = [each.host for each in connections] + [row.host for row in rows]
    return [
        *(f"result:{name}" for name in OUTCOMES),
        *(f"route:{route}" for route in dict.fromkeys(routes)),
        *(f"network:{name}" for name in settings.networks if " " not in name),
        *(f"site:{host}" for host in dict.fromkeys(hosts)),
    ]


def _mark(row: LoggedConnection) -> str:
    return f"{row.at!r}~{row.id}"


def place(text: str) -> Place | None:
    """Reads a place in the log. Raises ValueError."""
    if not text:
        return None
    found = _PLACE.fullmatch(text)
    if found is None:
        raise ValueError(f"{quoted(text)} is not a place in the log")
    return Place(float(found[1]), int(found[2]))
