"""The page of the open connections: their routes and the reasons, a button that closes one, and overrides and rules for
the site of one.

An override has one of two actions here. A rule is made of a chosen host or program and a chosen action; the page takes
no text of a rule. Both are checked as in commands.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from aiohttp import web

from proxy.config.suggestions import one_of, quoted
from proxy.control.access import Refused
from proxy.control.dashboard.override_forms import (
    NO_OVERRIDE,
    Undo,
    action_names,
    change_override,
    undo_of,
    undo_override,
)
from proxy.control.dashboard.visit import Route, Visit
from proxy.control.request_parsing import parse_field
from proxy.detect.scopes import registrable
from proxy.features.traffic.answers import OpenConnectionJson, OpenConnectionsAnswer
from proxy.features.traffic.connection_endpoints import ConnectionEndpoints, OpenConnectionsQuery, connection_id
from proxy.model import literal
from proxy.model.errors import BywayError, ConfigError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _, ngettext, semicolons, sentences
from proxy.net.client_programs import unsupported
from proxy.probe.site_name import scope
from proxy.routing.router import covering
from proxy.routing.rule import RuleType
from proxy.routing.rule_parser import parse_action
from proxy.session.open_connections import ConnectionState

ROWS = 100
"""The most connections on the page: the newest that match. A tab requests it again every second or two."""

_FILTER = ("site", "route", "program", "paused")
_PROGRAM = re.compile(r"[\w.+][\w.+ -]{0,63}")
"""A program that a PROCESS-NAME rule of this page may name: without the signs of a comment or of another part of the
rule."""

_STATES = {
    ConnectionState.CONNECTING: ("warn", "◔", _("connecting")),
    ConnectionState.OPEN: ("good", "✓", _("open")),
    ConnectionState.HALF_CLOSED: ("quiet", "·", _("half-closed")),
}
"""For each state, its class in the style sheet, its sign, and its words."""


@frozen_dataclass
class LiveFilter:
    """The filter of the page. `paused`: the page does not change by itself."""

    site: str = ""
    route: str = ""
    program: str = ""
    paused: bool = False

    @classmethod
    def of(cls, given: Mapping[str, str]) -> LiveFilter:
        """Makes a filter of the fields of a query or of a form."""
        site, route, program = (given.get(name, "").strip() for name in ("site", "route", "program"))
        return cls(site, route, program, paused=bool(given.get("paused")))

    @property
    def path(self) -> str:
        """The path of the page with this filter."""
        return self.with_pause(paused=self.paused)

    def with_pause(self, *, paused: bool) -> str:
        """Returns the path of the same page, paused or not."""
        given = {"site": self.site, "route": self.route, "program": self.program, "paused": "1" if paused else ""}
        query = urlencode({name: value for name, value in given.items() if value})
        return f"live?{query}" if query else "live"


@frozen_dataclass
class LiveRow:
    """An open connection, with its state in words. `rule` is the path of the page that makes a rule for it."""

    connection: OpenConnectionJson
    age_s: float
    kind: str
    glyph: str
    words: str
    rule: str


@frozen_dataclass
class LiveView:
    """The values for the template of the page. `undo` is the last change of an override from this page, if it can be
    undone."""

    sentence: str
    asked: LiveFilter
    rows: Sequence[LiveRow]
    has_relays: bool
    undo: Undo | None
    empty: str


def live_view(
    answer: OpenConnectionsAnswer,
    asked: LiveFilter,
    *,
    relays: Sequence[str],
    undo: Undo | None,
    now: float,
) -> LiveView:
    """Returns the page. `relays` are the relays that an override may name, `undo` is the last change of one."""
    count = ngettext("{count} connection is open", "{count} connections are open", answer.open)
    parts = [count]
    if answer.matching != answer.open:
        parts.append(ngettext("{count} matches", "{count} match", answer.matching))
    if len(answer.connections) < answer.matching:
        parts.append(ngettext("the newest is shown", "the newest {count} are shown", len(answer.connections)))
    return LiveView(
        sentence=_("{facts}.", facts=semicolons(parts)),
        asked=asked,
        rows=[
            LiveRow(
                each,
                max(0.0, now - each.opened_at),
                *_STATES[each.state],
                rule=f"live/rule?{urlencode({'host': each.host, 'program': each.program or ''})}",
            )
            for each in answer.connections
        ],
        has_relays=bool(relays),
        undo=undo,
        empty=(
            _("No open connection matches.")
            if answer.open
            else _("Nothing is open. Open a site through Byway, and it appears here.")
        ),
    )


@frozen_dataclass
class RuleView:
    """The values for the template of the page that makes a rule: its possible subjects and actions, by their values in
    the form."""

    host: str
    program: str
    subjects: Mapping[str, str]
    actions: Mapping[str, str]


def rule_view(host: str, program: str, relays: Sequence[str]) -> RuleView:
    """Returns the page for a connection to `host` of a `program`; empty: unknown."""
    subjects = {word: text for word, (_type, _value, text) in _subjects(host, program).items()}
    actions = {word: text for word, text in action_names(relays).items() if word not in (NO_OVERRIDE, "auto")}
    actions["auto"] = _("direct first, another route if it is blocked")
    return RuleView(host, program, subjects, actions)


def _subjects(host: str, program: str) -> Mapping[str, tuple[RuleType, str, str]]:
    """Returns the possible subjects of a rule by their values in the form: type, value, and meaning in words."""
    address, domain = literal(host), registrable(host)
    subjects: dict[str, tuple[RuleType, str, str]] = {}
    if address is not None:
        prefix = f"{address}/{address.max_prefixlen}"
        subjects["address"] = (RuleType.IP_CIDR, prefix, _("the address {host}", host=host))
    else:
        subjects["site"] = (RuleType.DOMAIN_SUFFIX, host, _("{host} and its subdomains", host=host))
        subjects["host"] = (RuleType.DOMAIN, host, _("{host} alone", host=host))
        if domain != host:
            subjects["domain"] = (RuleType.DOMAIN_SUFFIX, domain, _("{host} and its subdomains", host=domain))
    if _PROGRAM.fullmatch(program) and not unsupported():
        text = _("everything that the program {program} opens", program=program)
        subjects["program"] = (RuleType.PROCESS_NAME, program, text)
    return subjects


async def _live(visit: Visit) -> web.Response:
    chosen = LiveFilter.of(visit.query(*_FILTER))
    query = OpenConnectionsQuery(chosen.site or None, chosen.route or None, chosen.program or None, ROWS)
    answer = await visit.frame.one(ConnectionEndpoints).list_open(query)
    relays = visit.frame.relays.usable_names()
    view = live_view(answer, chosen, relays=relays, undo=undo_of(visit), now=time.time())
    return await visit.page("live.html", title=_("Live"), here="live", view=view)


async def _close(visit: Visit) -> web.Response:
    form = await visit.form("close", *_FILTER)
    closed = visit.parts.services.open_connections.close(parse_field(connection_id, form.get("close", "")))
    notice = _("That connection had ended already.") if closed is None else _("Closed: {host}.", host=closed.host)
    return visit.see_other(LiveFilter.of(form).path, notice)


async def _override(visit: Visit) -> web.Response:
    form = await visit.form("direct", "relay", "undo", *_FILTER)
    words = [word for word in ("direct", "relay", "undo") if word in form]
    if len(words) != 1:
        raise Refused(400, _("One of `direct`, `relay` and `undo` is needed."))
    if (word := words[0]) == "undo":
        notice = await undo_override(visit, form[word])
    else:
        notice = await change_override(visit, parse_field(scope, form[word]), word)
    notice = sentences([notice, _("Open connections keep their route.")])
    return visit.see_other(LiveFilter.of(form).path, notice)


async def _rule(visit: Visit) -> web.Response:
    query = visit.query("host", "program")
    host = parse_field(scope, query.get("host", ""))
    view = rule_view(host, query.get("program", ""), visit.frame.relays.usable_names())
    return await visit.page("live_rule.html", title=_("New rule"), here="live", view=view)


async def _add_rule(visit: Visit) -> web.Response:
    form = await visit.form("host", "program", "subject", "action")
    host, program = parse_field(scope, form.get("host", "")), form.get("program", "")
    subjects = _subjects(host, program)
    subject = subjects.get(form.get("subject", ""))
    if subject is None:
        word, words = quoted(form.get("subject", "")), one_of(list(subjects))
        raise Refused(400, _("unknown subject {word}; it can be {words}", word=word, words=words))
    usable = visit.frame.relays.usable_names()
    action, relay = parse_field(lambda text: parse_action(text, relays=usable), form.get("action", ""))
    type_, value, _text = subject
    try:
        added = await visit.parts.rules_file.add(f"{type_},{value},{action}{f':{relay}' if relay else ''}")
    except ConfigError as error:
        return visit.see_other("live", sentences([_("No rule was added."), *error.problems]))
    except BywayError as error:
        return visit.see_other("live", sentences([_("No rule was added."), str(error)]))
    notices = [_("Added: {rule}.", rule=added.rule.why), *added.notices()]
    if deciding := covering(host, visit.parts.overrides):
        notices.append(_("The override of {site} still decides about {host}.", site=deciding[0], host=host))
    elif added.covered_by is None:
        notices.append(_("New connections follow it, open ones keep their route."))
    return visit.see_other("live", sentences(notices))


ROUTES = (
    Route("GET", "live", _live),
    Route("POST", "live/close", _close),
    Route("POST", "live/override", _override),
    Route("GET", "live/rule", _rule),
    Route("POST", "live/rule", _add_rule),
)
