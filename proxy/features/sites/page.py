"""The page of one site: its status in a sentence, how it is blocked, what opens it, what decides, its days, its failed
visits, a measurement, the way to a proof, and forgetting it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from aiohttp import web
from markupsafe import Markup

from proxy.control.answers.plans import PlanJson
from proxy.control.dashboard.charts import Period, Series, timeline
from proxy.control.dashboard.moments import moment
from proxy.control.dashboard.override_forms import (
    LENGTHS,
    NO_OVERRIDE,
    Undo,
    action_names,
    action_value,
    change_override,
    override_mark,
    override_text,
    undo_of,
    undo_override,
)
from proxy.control.dashboard.rendering import STREAM
from proxy.control.dashboard.visit import Route, Visit
from proxy.control.request_parsing import parse_field
from proxy.detect.scopes import scopes_of
from proxy.detect.verdict.labels import cause_in_words
from proxy.features.sites.answers import SiteAnswer, SiteJson
from proxy.features.sites.calendar import NetworkDays, calendar_of, read_calendar
from proxy.features.sites.deciding import DecidingRule, deciding_rule
from proxy.features.sites.drawing import Station, described, drawing
from proxy.features.sites.endpoints import SiteEndpoints
from proxy.features.sites.evidence import Evidence, evidence_of
from proxy.features.sites.failed_visits import FailedVisits, failed_visits
from proxy.features.sites.measurement_answers import MeasurementJson
from proxy.features.sites.measurement_endpoints import MeasurementEndpoints
from proxy.features.sites.measuring import stream_measurement
from proxy.features.sites.opened_by import OpenedBy, opened_by
from proxy.languages.dates import day_in_words
from proxy.languages.language import Language
from proxy.model import Cause, Destination, Override
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _, ngettext, pgettext
from proxy.probe.site_name import scope
from proxy.probe.target import names_port
from proxy.store import site_queries
from proxy.store.forgetting import Forgotten
from proxy.store.logged import LoggedConnection
from proxy.store.site_queries import RouteTime

_CONNECTIONS = 50
"""The most connections on the card of a site."""

_CONNECTIONS_S = 2 * 86_400.0
"""The age of the oldest connection on the card."""

_FAILED_S = 14 * 86_400.0
"""The age of the oldest failed visit, and of the oldest visit that counts for what opens the site."""

_FAILED_MAX = 200

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
"""The pattern of each cause in the picture; causes of one mechanism share one."""

_LEGEND: Mapping[str, str] = {
    "dns": _("DNS"),
    "address": _("IP address"),
    "sni": _("SNI filtering"),
    "page": _("block page or HTTP filtering"),
    "interception": _("TLS interception"),
    "slow": pgettext("status", "slow"),
    "other": _("other or unknown cause"),
}


@frozen_dataclass
class SiteView:
    """The values for the template of a site's card."""

    host: str
    site: SiteJson
    network: str
    hosts: Sequence[SiteJson]
    elsewhere: Sequence[tuple[str, SiteJson]]
    """The same site on other networks, with the names of these."""
    typical_s: float | None
    stations: Sequence[Station]
    described: str
    opened: OpenedBy | None
    rule: DecidingRule | None
    plan: PlanJson
    advice: str
    is_retest_due: bool
    has_override: bool
    override_sentence: str
    actions: Mapping[str, str]
    action: str
    was: str
    lengths: Mapping[str, str]
    undo: Undo | None
    calendar: Sequence[NetworkDays]
    failed: Sequence[FailedVisits]
    spells: Sequence[Sequence[str]]
    """The rows of the table of the history."""
    start: float
    """The beginning of the picture."""
    picture: Markup
    conclusion: str
    legend: Sequence[Series]
    connections: Sequence[LoggedConnection]
    no_connections: str
    no_history: str
    days_note: str
    measured_name: str
    """The name, with a port if the page is that of one port, that is measured."""
    evidence: Evidence | None
    stream: str = ""
    """The place of the steps of a measurement that is going on; empty: there is none."""


@frozen_dataclass
class SeenOfSite:
    """What the log has of a site: the last connections, those that failed, the times of routes, and its days."""

    connections: Sequence[LoggedConnection]
    failed: Sequence[LoggedConnection]
    times: Sequence[RouteTime]
    calendar: Sequence[NetworkDays]


def site_view(
    answer: SiteAnswer,
    plan: PlanJson,
    remedy: str,
    seen: SeenOfSite,
    measured: Sequence[MeasurementJson],
    *,
    measured_name: str,
    logs_all: bool,
    rule: DecidingRule | None,
    relays: Sequence[str],
    undo: Undo | None,
    override: Override | None,
    now: float,
    networks: Mapping[str, str],
    language: Language,
) -> SiteView:
    """Returns the page. `logs_all`: whether the log has each visit by name. `rule` is the first rule that matches,
    `relays` are the relays that an override may name, `undo` is the last change of the override if it can be undone,
    and `override` that of this very host. `networks` are the names of networks by id. `language` decides about the
    calendar."""
    covering_override = answer.override
    spells = [spell for spell in answer.timeline if spell.since <= now]
    start = min((spell.since for spell in spells), default=now)
    kinds = {_KINDS.get(spell.cause, "other") for spell in spells}
    actions = action_names(relays)
    site = answer.belief
    stations = drawing(site.words, site.cause, site.works_by)
    opened = opened_by(seen.times)
    bars = {} if opened is None else {bar.route: bar for bar in opened.bars}
    return SiteView(
        host=answer.host,
        site=site,
        network=networks.get(site.network, ""),
        hosts=answer.hosts,
        elsewhere=[(networks.get(other.network, ""), other) for other in answer.elsewhere],
        typical_s=bars[site.works_by].median_s if site.works_by in bars else None,
        stations=stations,
        described=described(stations) if stations else "",
        opened=opened,
        rule=rule,
        plan=plan,
        advice=remedy,
        is_retest_due=(answer.belief.retest_at or now) <= now,
        has_override=covering_override is not None,
        override_sentence=(
            pgettext("override", "none")
            if covering_override is None
            else _("{site}: {override}.", site=covering_override.scope, override=override_text(covering_override))
        ),
        actions=actions,
        action=NO_OVERRIDE
        if covering_override is None or covering_override.scope != answer.host
        else action_value(covering_override),
        was=override_mark(override),
        lengths=LENGTHS,
        undo=undo,
        calendar=seen.calendar,
        failed=failed_visits(seen.failed),
        spells=[
            (
                moment(spell.since, now=now, language=language),
                moment(spell.until, now=now, language=language) if spell.until else pgettext("moment", "now"),
                spell.words.in_words,
                cause_in_words(spell.cause),
                Markup("<bdi>{}</bdi>").format(networks.get(spell.network, spell.network)),
                _stored(spell.began),
                _stored(spell.ended),
            )
            for spell in spells
        ],
        start=start,
        picture=timeline(
            [Period(spell.since, spell.until or now, _KINDS.get(spell.cause, "other")) for spell in spells], start, now
        ),
        conclusion=_history(
            len(spells),
            is_blocked=any(spell.until is None for spell in spells),
            start=start,
            now=now,
            language=language,
        ),
        legend=[Series(name, kind, ()) for kind, name in _LEGEND.items() if kind in kinds],
        connections=seen.connections,
        no_connections=_("None are logged."),
        no_history=_("No block of this site is recorded."),
        days_note=""
        if logs_all
        else _("A day on which the site simply opened direct is not recorded: `[log] hosts` is not `all`."),
        measured_name=measured_name,
        evidence=evidence_of(measured),
    )


def _stored(text: str) -> Markup:
    """Marks a sentence of the log as English."""
    return Markup('<span lang="en" dir="ltr">{}</span>').format(text)


def _history(count: int, *, is_blocked: bool, start: float, now: float, language: Language) -> str:
    since = day_in_words(start, now=now, language=language)
    if is_blocked:
        return ngettext(
            "Blocked once since {date}; blocked now.",
            "Blocked {count} times since {date}; blocked now.",
            count,
            date=since,
        )
    return ngettext(
        "Blocked once since {date}; free now.", "Blocked {count} times since {date}; free now.", count, date=since
    )


async def _site(visit: Visit) -> web.Response:
    visit.query()
    host = parse_field(scope, visit.fields["host"])
    return await visit.page("site.html", title=host, here="sites", view=await _view_of(visit, host))


async def _view_of(visit: Visit, host: str) -> SiteView:
    now, frame, measurements = time.time(), visit.frame, visit.frame.one(MeasurementEndpoints)
    parts = visit.parts
    measured_name = visit.fields["host"] if names_port(visit.fields["host"]) else host
    answer = await frame.one(SiteEndpoints).show_site(host)
    meant = host if answer.belief.port else answer.belief.site
    plan, remedy = await measurements.planned(Destination(meant, 443))
    networks = {id_: name for name, id_ in parts.settings.networks.items()}
    relays, last = frame.relays.usable_names(), undo_of(visit)
    return site_view(
        answer,
        plan,
        remedy,
        await _seen(visit, [*dict.fromkeys((host, meant))], now, networks),
        (await measurements.measurements(meant)).measurements,
        measured_name=measured_name,
        logs_all=parts.settings.log.hosts == "all",
        rule=await deciding_rule(parts, Destination(meant, 443)),
        relays=relays,
        undo=last if last is not None and last.host == host else None,
        override=parts.overrides.get(host),
        now=now,
        networks=networks,
        language=visit.language,
    )


async def _seen(visit: Visit, hosts: Sequence[str], now: float, networks: Mapping[str, str]) -> SeenOfSite:
    """Reads what the log has of a site. `hosts` are its name, and the same with or without `www.`."""
    reader, parts = visit.frame.sites, visit.parts
    here = parts.network()
    recorded = await parts.read(lambda db: read_calendar(db, hosts, now))
    held = parts.beliefs.held(frozenset(it for host in hosts for it in scopes_of(host)), now=time.time())
    return SeenOfSite(
        await reader.rows(site=hosts[0], since=now - _CONNECTIONS_S, limit=_CONNECTIONS),
        await reader.rows(site=hosts[0], since=now - _FAILED_S, outcome="failed", limit=_FAILED_MAX),
        await parts.read(lambda db: site_queries.route_times(db, hosts, now - _FAILED_S, here)),
        calendar_of(recorded, held, here, networks),
    )


async def _measure(visit: Visit) -> web.StreamResponse:
    """Measures a site, and sends its page with the steps as they are done."""
    form = await visit.form("fresh")
    host = parse_field(scope, visit.fields["host"])
    view = replace(await _view_of(visit, host), stream=STREAM)
    page = await asyncio.to_thread(visit.render, "site.html", title=host, here="sites", view=view)
    return await stream_measurement(visit, view.measured_name, fresh="fresh" in form, page=page)


async def _set_override(visit: Visit) -> web.Response:
    form = await visit.form("action", "hours", "was", "undo")
    host = parse_field(scope, visit.fields["host"])
    if "undo" in form:
        notice = await undo_override(visit, form["undo"])
    else:
        notice = await change_override(visit, host, form.get("action", ""), form.get("hours", ""), form.get("was"))
    return visit.see_other(f"sites/{visit.fields['host']}", notice)


async def _forget(visit: Visit) -> web.Response:
    """Deletes all that is stored about a site and its subdomains, but for overrides and rules, if its name was typed to
    confirm it."""
    form = await visit.form("confirm")
    host = parse_field(scope, visit.fields["host"])
    try:
        confirmed = scope(form.get("confirm", ""))
    except ValueError:
        confirmed = ""
    if confirmed != host:
        notice = _("Nothing was forgotten: the typed name is not {host}.", host=host)
        return visit.see_other(f"sites/{visit.fields['host']}", notice)
    what = Forgotten(host)
    visit.frame.forget(what)
    await visit.parts.forget(what)
    return visit.see_other(
        "sites", _("{host} is forgotten: deleted from the log, the stored status and the caches.", host=host)
    )


ROUTES = (
    Route("GET", "sites/{host}", _site),
    Route("POST", "sites/{host}/forget", _forget),
    Route("POST", "sites/{host}/override", _set_override),
    Route("POST", "sites/{host}/measure", _measure),
)
