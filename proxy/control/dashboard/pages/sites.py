"""The list of sites, and the card of one site with its history and its override."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple
from urllib.parse import quote, urlencode

from aiohttp import web
from markupsafe import Markup

from proxy.config.suggestions import quoted
from proxy.control.access import Refused
from proxy.control.amounts import ago, clock
from proxy.control.answers.connections import ConnectionJson, PlanJson
from proxy.control.answers.measurements import KnownSiteAnswer, MeasurementJson
from proxy.control.answers.sites import OverrideJson, SiteAnswer, SiteJson
from proxy.control.dashboard.charts import Period, Series, timeline
from proxy.control.dashboard.pages.why import stream_measurement
from proxy.control.dashboard.rendering import STREAM, render
from proxy.control.dashboard.route_matrix import RouteMatrix, route_matrix
from proxy.control.dashboard.site_evidence import Evidence, evidence_of
from proxy.control.dashboard.visit import Route, Visit
from proxy.control.document import to_json
from proxy.control.report.formats import to_csv, to_markdown, to_ooni
from proxy.control.report.redact import Redact, redacted
from proxy.control.report.sites import ROWS as REPORT_ROWS
from proxy.control.report.sites import Site, site_of
from proxy.control.request_parsing import parse_field, parse_number
from proxy.control.site import scope
from proxy.control.site_reader import KnownSite
from proxy.detect.beliefs.belief_table import TROUBLED
from proxy.detect.verdict.labels import cause_in_words
from proxy.detect.verdict.site_status import SiteStatus, status_of
from proxy.model import Cause, Destination, NetworkId, Override, State
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _, commas, ngettext, pgettext
from proxy.routing.rule_parser import parse_action
from proxy.store.route_queries import SiteRoute

_MATRIX_S = 7 * 86_400.0
_CONNECTIONS = 50
"""On the card of a site, at most."""

_CONNECTIONS_S = 2 * 86_400.0
"""How far back: "yesterday evening" is on the card."""

ROWS = 200
"""Sites on a page."""

NO_OVERRIDE = "none"
"""What the form posts to remove an override."""

LENGTHS: Mapping[str, str] = {
    "": _("until I change it"),
    "1": _("1 hour"),
    "24": _("1 day"),
    "168": _("1 week"),
}
"""How long an override can last, by the hours that the form posts."""

_KINDS: Mapping[str, str] = {
    Cause.DNS: "dns",
    Cause.IP: "address",
    Cause.SNI_RESET: "sni",
    Cause.SNI_DROP: "sni",
    Cause.HTTP_HOST: "page",
    Cause.BLOCK_PAGE: "page",
    Cause.INTERCEPTION: "interception",
    Cause.FROZEN: "slow",
    Cause.THROTTLED: "slow",
}
"""The pattern of each cause; those of one mechanism share one."""

_LEGEND: Mapping[str, str] = {
    "dns": _("DNS"),
    "address": _("IP address"),
    "sni": _("SNI filtering"),
    "page": _("block page or HTTP filtering"),
    "interception": _("TLS interception"),
    "slow": pgettext("status", "slow"),
    "other": _("other or unknown cause"),
}


class Export(NamedTuple):
    """A format of a report: its name, what its file is called and is, and what writes it."""

    name: str
    suffix: str
    content_type: str
    write: Callable[[Sequence[Site]], str]


EXPORTS: Mapping[str, Export] = {
    "md": Export("Markdown", "md", "text/markdown", to_markdown),
    "csv": Export("CSV", "csv", "text/csv", to_csv),
    "ooni": Export("OONI (JSON)", "jsonl", "application/x-ndjson", to_ooni),
}
"""The formats of a report, as the form asks for them: first the one that people read."""

LEVELS: Mapping[str, str] = {
    Redact.FULL: _("without relays, networks and private addresses"),
    Redact.RELAY: _("without relays"),
    Redact.NONE: _("everything"),
}
"""What a report leaves out, as the form asks for it."""


@frozen_dataclass
class SitesFilter:
    """Which sites are asked for."""

    status: str = ""
    cause: str = ""
    network: str = ""
    name: str = ""
    page: int = 1

    def query(self, page: int) -> str:
        """Returns the query of another page of the same list."""
        given = {"status": self.status, "cause": self.cause, "network": self.network, "name": self.name, "page": page}
        return urlencode({name: value for name, value in given.items() if value})

    def admits(self, site: KnownSite, network: str) -> bool:
        """Whether a site is asked for, on the present `network`."""
        return (
            (self.network == "all" or site.stored.network == network)
            and self.status in ("", site.state.status)
            and self.cause in ("", site.state.cause)
            and self.name.lower() in site.stored.scope
        )


@frozen_dataclass
class SiteRow:
    """A line of the list. `override` says what is set for it; empty: nothing."""

    site: SiteJson
    override: str


@frozen_dataclass
class SitesView:
    """What the list shows."""

    sentence: str
    asked: SitesFilter
    rows: Sequence[SiteRow]
    pages: int
    statuses: Mapping[SiteStatus, str]
    causes: Mapping[str, str]
    empty: str
    matrix: RouteMatrix | None

    def query(self, page: int) -> str:
        return self.asked.query(page)


def sites_view(
    sites: Sequence[KnownSite],
    network: NetworkId,
    overrides: Mapping[str, Override],
    asked: SitesFilter,
    seen: Sequence[SiteRoute],
) -> SitesView:
    """Returns the page of the list that is asked for: problem sites first, the latest of them first. `network` is the
    present one; `seen` is what routes did there."""
    found = sorted(
        (site for site in sites if asked.admits(site, network)),
        key=lambda site: (not site.is_trouble, -site.found_at, site.stored.scope),
    )
    pages = max(1, -(-len(found) // ROWS))
    page = min(asked.page, pages)
    shown = found[(page - 1) * ROWS : page * ROWS]
    trouble = sum(site.is_trouble for site in found)
    is_filtered = bool(asked.status or asked.cause or asked.name)
    names = {site.stored.scope for site in found}
    nothing = _("Nothing is stored about any site. Sites that simply work are not listed.")
    return SitesView(
        sentence=(
            _(
                "{troubled} with a problem, {others} without.",
                troubled=_count(trouble),
                others=_count(len(found) - trouble),
            )
            if found
            else _("No such sites.")
        ),
        asked=SitesFilter(asked.status, asked.cause, asked.network, asked.name, page),
        rows=[SiteRow(site.answer(), _override_of(site.stored.scope, overrides)) for site in shown],
        pages=pages,
        statuses={status: status.in_words for status in SiteStatus},
        causes={id_: cause_in_words(id_) for id_ in sorted({str(site.state.cause) for site in sites} - {""})},
        empty=_("No site matches. Clear the filter to see all.") if sites else nothing,
        matrix=route_matrix([each for each in seen if not is_filtered or each.host in names]),
    )


def _override_of(scope: str, overrides: Mapping[str, Override]) -> str:
    return override_text(OverrideJson.of(scope, overrides[scope])) if scope in overrides else ""


def override_text(override: OverrideJson) -> str:
    """Returns what an override does, and when it ends: `relay tor, ends in 3 h`."""
    action = str(override.action).lower()
    what = f"{action} {override.relay}" if override.relay else action
    return commas([what, _("ends {when}", when=ago(override.until))]) if override.until else what


@frozen_dataclass
class SiteView:
    """What the card of a site shows."""

    host: str
    site: SiteJson
    plan: PlanJson
    advice: str
    override_sentence: str
    actions: Mapping[str, str]
    action: str
    lengths: Mapping[str, str]
    undo: str | None
    undo_text: str
    spells: Sequence[Sequence[str]]
    picture: Markup
    conclusion: str
    legend: Sequence[Series]
    connections: Sequence[ConnectionJson]
    no_connections: str
    no_history: str
    evidence: Evidence | None
    formats: Mapping[str, str]
    levels: Mapping[str, str]
    stream: str = ""
    """Stands for the steps of a measurement that is going on; empty: there is none."""


def site_view(
    answer: SiteAnswer,
    known: KnownSiteAnswer,
    connections: Sequence[ConnectionJson],
    measured: Sequence[MeasurementJson],
    *,
    relays: Sequence[str],
    undo: str | None,
    now: float,
    networks: Mapping[str, str],
) -> SiteView:
    """Returns the card. `relays` are the names that an override may have, `undo` the action that was set before the
    last change (None: nothing to undo), `networks` the names of networks by id."""
    covering = answer.override
    spells = [spell for spell in answer.timeline if spell.since <= now]
    start = min((spell.since for spell in spells), default=now)
    kinds = {_KINDS.get(spell.cause, "other") for spell in spells}
    actions = action_names(relays)
    return SiteView(
        host=answer.host,
        site=answer.belief,
        plan=known.plan,
        advice=known.advice,
        override_sentence=(
            _("None: rules, or what was learned, decide.")
            if covering is None
            else _("{site}: {override}.", site=covering.scope, override=override_text(covering))
        ),
        actions=actions,
        action=NO_OVERRIDE if covering is None or covering.scope != answer.host else action_value(covering),
        lengths=LENGTHS,
        undo=undo,
        undo_text=actions.get(undo or "", ""),
        spells=[
            (
                clock(spell.since)[:16].replace("T", " "),
                clock(spell.until)[:16].replace("T", " ") if spell.until else pgettext("moment", "now"),
                status_of(State(spell.state), spell.cause).in_words,
                cause_in_words(spell.cause),
                Markup("<bdi>{}</bdi>").format(networks.get(spell.network, spell.network)),
                _stored(spell.began),
                _stored(spell.ended),
            )
            for spell in spells
        ],
        picture=timeline(
            [Period(spell.since, spell.until or now, _KINDS.get(spell.cause, "other")) for spell in spells], start, now
        ),
        conclusion=_history(len(spells), is_blocked=any(spell.until is None for spell in spells), start=start, now=now),
        legend=[Series(name, kind, ()) for kind, name in _LEGEND.items() if kind in kinds],
        connections=connections,
        no_connections=_("None are logged."),
        no_history=(
            _("Blocked now; when that began is not in the log any more.")
            if answer.belief.state in TROUBLED
            else _("No block of this site is recorded.")
        ),
        evidence=evidence_of(measured),
        formats={name: shape.name for name, shape in EXPORTS.items()},
        levels=LEVELS,
    )


def action_names(relays: Sequence[str]) -> Mapping[str, str]:
    """Returns what can be set for a site, as the form posts it (`routing.rules.parse_action`), with its name."""
    return {
        NO_OVERRIDE: _("no override: rules decide"),
        "auto": _("auto, whatever the rules say"),
        "direct": pgettext("override", "direct"),
        "relay": _("a relay, never direct"),
        **{f"relay:{name}": _("{relay}, never direct", relay=name) for name in relays},
        "prefer-relay": _("a relay first, then direct"),
        "block": pgettext("override", "block"),
    }


def action_value(override: OverrideJson) -> str:
    """Returns an override as the form posts it."""
    word = str(override.action).lower()
    return f"{word}:{override.relay}" if override.relay else word


def _stored(text: str) -> Markup:
    """A sentence as the log has it, which is English."""
    return Markup('<span lang="en" dir="ltr">{}</span>').format(text)


def _count(count: int) -> str:
    return ngettext("{count} site", "{count} sites", count)


def _history(count: int, *, is_blocked: bool, start: float, now: float) -> str:
    values = {"date": clock(start)[:10], "ago": ago(start, now=now)}
    if is_blocked:
        return ngettext(
            "Blocked once since {date} ({ago}); blocked now.",
            "Blocked {count} times since {date} ({ago}); blocked now.",
            count,
            **values,
        )
    return ngettext(
        "Blocked once since {date} ({ago}); free now.",
        "Blocked {count} times since {date} ({ago}); free now.",
        count,
        **values,
    )


async def _list(visit: Visit) -> web.Response:
    asked = visit.query("status", "cause", "network", "name", "page")
    page = parse_field(lambda text: int(parse_number(text, least=1, most=1e6)), asked.get("page", "1"))
    chosen = SitesFilter(
        asked.get("status", ""), asked.get("cause", ""), asked.get("network", ""), asked.get("name", ""), page
    )
    overrides, network = visit.parts.setup().router.overrides, visit.parts.network()
    known = await visit.subjects.sites.sites.known(time.time())
    rows = await asyncio.to_thread(visit.parts.store.site_routes, time.time() - _MATRIX_S, network)
    # In a thread: to sort 10,000 sites takes 20 ms.
    view = await asyncio.to_thread(sites_view, known, network, overrides, chosen, rows)
    return await visit.page("sites.html", title=_("Sites"), here="sites", view=view)


async def _chosen_site(visit: Visit) -> web.Response:
    """Leads from a typed host to its page."""
    host = parse_field(scope, visit.query("host").get("host", "").strip())
    return visit.see_other(f"sites/{quote(host, safe='')}")


async def _site(visit: Visit) -> web.Response:
    visit.query()
    host = parse_field(scope, visit.fields["host"])
    return await visit.page("site.html", title=host, here="sites", view=await _view_of(visit, host))


async def _view_of(visit: Visit, host: str) -> SiteView:
    now, subjects = time.time(), visit.subjects
    answer = await subjects.sites.show_site(host)
    known = await subjects.measurements.known(Destination(host, 443))
    rows = await subjects.sites.sites.rows(site=host, since=now - _CONNECTIONS_S, limit=_CONNECTIONS)
    undo = visit.session.undo[1] if visit.session.undo is not None and visit.session.undo[0] == host else None
    networks = {id_: name for name, id_ in visit.parts.setup().settings.networks.items()}
    relays = subjects.relays.relays.usable_names()
    measured = (await subjects.measurements.measurements(host)).measurements
    return site_view(answer, known, rows, measured, relays=relays, undo=undo, now=now, networks=networks)


async def _measure(visit: Visit) -> web.StreamResponse:
    """Measures a site, and sends its page with the steps as they are done."""
    form = await visit.form("fresh")
    host = parse_field(scope, visit.fields["host"])
    view = replace(await _view_of(visit, host), stream=STREAM)
    page = await asyncio.to_thread(render, "site.html", visit.session, title=host, here="sites", view=view)
    return await stream_measurement(visit, host, fresh="fresh" in form, page=page)


async def _report(visit: Visit) -> web.Response:
    """Sends what is known about a site as a file for others."""
    asked = visit.query("format", "redact")
    host = parse_field(scope, visit.fields["host"])
    shape, level = EXPORTS.get(asked.get("format", "ooni")), asked.get("redact", Redact.FULL)
    if shape is None or level not in LEVELS:
        raise Refused(400, _("Unknown format, or unknown redaction."))
    subjects = visit.subjects
    shown = await subjects.sites.show_site(host)
    measured = await subjects.measurements.measurements(host)
    rows = await subjects.sites.sites.rows(site=host, limit=REPORT_ROWS)
    relays = (await subjects.relays.list_relays()).relays

    def write() -> str | None:
        site = site_of(to_json(shown), to_json(measured.measurements), to_json(rows))
        return shape.write(redacted([site], to_json(relays), Redact(level))) if site.is_known else None

    text = await asyncio.to_thread(write)
    if text is None:
        raise Refused(404, _("Nothing is known about {host} yet. Measure it first.", host=host))
    return visit.file(text, f"byway-{host.replace(':', '-')}.{shape.suffix}", shape.content_type)


async def _set_override(visit: Visit) -> web.Response:
    form = await visit.form("action", "hours")
    host = parse_field(scope, visit.fields["host"])
    notice = await change_override(visit, host, form.get("action", ""), form.get("hours", ""))
    return visit.see_other(f"sites/{visit.fields['host']}", notice)


async def change_override(visit: Visit, host: str, word: str, hours: str = "") -> str:
    """Sets the override of a host as a form posts it, an action or NO_OVERRIDE, for one of LENGTHS. The session can
    undo it. Returns what was done, in a sentence. Raises Refused."""
    if hours not in LENGTHS:
        raise Refused(400, _("unknown length {hours}", hours=quoted(hours)))
    before = visit.parts.setup().router.overrides.get(host)
    override = None
    if word != NO_OVERRIDE:
        usable = visit.subjects.relays.relays.usable_names()
        action, relay = parse_field(lambda text: parse_action(text, relays=usable), word)
        override = Override(action, relay, time.time() + float(hours) * 3600 if hours else 0.0)
    await visit.subjects.sites.set_override(host, override)
    visit.session.undo = (host, NO_OVERRIDE if before is None else action_value(OverrideJson.of(host, before)))
    what = _("no override") if override is None else override_text(OverrideJson.of(host, override))
    return _("{host} and its subdomains: {what}.", host=host, what=what)


ROUTES = (
    Route("GET", "sites", _list),
    Route("GET", "sites/", _chosen_site),
    Route("GET", "sites/{host}", _site),
    Route("POST", "sites/{host}/override", _set_override),
    Route("POST", "sites/{host}/measure", _measure),
    Route("GET", "sites/{host}/report", _report),
)
