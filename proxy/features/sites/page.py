"""The card of one site: its status and plan, its history and connections, and a measurement of it."""

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
    override_text,
    undo_of,
    undo_override,
)
from proxy.control.dashboard.rendering import STREAM
from proxy.control.dashboard.visit import Route, Visit
from proxy.control.request_parsing import parse_field
from proxy.detect.verdict.labels import cause_in_words
from proxy.features.sites.answers import SiteAnswer, SiteJson
from proxy.features.sites.endpoints import SiteEndpoints
from proxy.features.sites.evidence import Evidence, evidence_of
from proxy.features.sites.measurement_answers import KnownSiteAnswer, MeasurementJson
from proxy.features.sites.measurement_endpoints import MeasurementEndpoints
from proxy.features.sites.report_page import EXPORTS, LEVELS
from proxy.features.sites.why_page import stream_measurement
from proxy.languages.dates import day_in_words
from proxy.languages.language import Language
from proxy.model import Cause, Destination
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _, ngettext, pgettext
from proxy.probe.site_name import scope
from proxy.store.logged import LoggedConnection

_CONNECTIONS = 50
"""The most connections on the card of a site."""

_CONNECTIONS_S = 2 * 86_400.0
"""The oldest connection on the card, so that "yesterday evening" is on it."""

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
    hosts: Sequence[SiteJson]
    plan: PlanJson
    advice: str
    is_retest_due: bool
    override_sentence: str
    actions: Mapping[str, str]
    action: str
    lengths: Mapping[str, str]
    undo: Undo | None
    spells: Sequence[Sequence[str]]
    """The rows of the table of the history."""
    picture: Markup
    conclusion: str
    legend: Sequence[Series]
    connections: Sequence[LoggedConnection]
    no_connections: str
    no_history: str
    evidence: Evidence | None
    formats: Mapping[str, str]
    levels: Mapping[str, str]
    stream: str = ""
    """The place of the steps of a measurement that is going on; empty: there is none."""


def site_view(
    answer: SiteAnswer,
    known: KnownSiteAnswer,
    connections: Sequence[LoggedConnection],
    measured: Sequence[MeasurementJson],
    *,
    relays: Sequence[str],
    undo: Undo | None,
    now: float,
    networks: Mapping[str, str],
    language: Language,
) -> SiteView:
    """Returns the card. `relays` are the relays that an override may name, `undo` is the last change of the override if
    it can be undone, and `networks` are the names of networks by id. `language` decides about the calendar."""
    covering = answer.override
    spells = [spell for spell in answer.timeline if spell.since <= now]
    start = min((spell.since for spell in spells), default=now)
    kinds = {_KINDS.get(spell.cause, "other") for spell in spells}
    actions = action_names(relays)
    return SiteView(
        host=answer.host,
        site=answer.belief,
        hosts=answer.hosts,
        plan=known.plan,
        advice=known.advice,
        is_retest_due=(answer.belief.retest_at or now) <= now,
        override_sentence=(
            _("None: rules, or what was learned, decide.")
            if covering is None
            else _("{site}: {override}.", site=covering.scope, override=override_text(covering))
        ),
        actions=actions,
        action=NO_OVERRIDE if covering is None or covering.scope != answer.host else action_value(covering),
        lengths=LENGTHS,
        undo=undo,
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
        connections=connections,
        no_connections=_("None are logged."),
        no_history=_("No block of this site is recorded."),
        evidence=evidence_of(measured),
        formats={name: shape.name for name, shape in EXPORTS.items()},
        levels=LEVELS,
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
    answer = await frame.one(SiteEndpoints).show_site(host)
    meant = host if answer.belief.port else answer.belief.site
    known = await measurements.known(Destination(meant, 443))
    rows = await frame.sites.rows(site=host, since=now - _CONNECTIONS_S, limit=_CONNECTIONS)
    networks = {id_: name for name, id_ in visit.parts.settings.networks.items()}
    relays, last = frame.relays.usable_names(), undo_of(visit)
    undo = last if last is not None and last.host == host else None
    measured = (await measurements.measurements(meant)).measurements
    return site_view(
        answer, known, rows, measured, relays=relays, undo=undo, now=now, networks=networks, language=visit.language
    )


async def _measure(visit: Visit) -> web.StreamResponse:
    """Measures a site, and sends its page with the steps as they are done."""
    form = await visit.form("fresh")
    host = parse_field(scope, visit.fields["host"])
    view = replace(await _view_of(visit, host), stream=STREAM)
    page = await asyncio.to_thread(visit.render, "site.html", title=host, here="sites", view=view)
    return await stream_measurement(visit, host, fresh="fresh" in form, page=page)


async def _set_override(visit: Visit) -> web.Response:
    form = await visit.form("action", "hours", "undo")
    host = parse_field(scope, visit.fields["host"])
    if "undo" in form:
        notice = await undo_override(visit, form["undo"])
    else:
        notice = await change_override(visit, host, form.get("action", ""), form.get("hours", ""))
    return visit.see_other(f"sites/{visit.fields['host']}", notice)


ROUTES = (
    Route("GET", "sites/{host}", _site),
    Route("POST", "sites/{host}/override", _set_override),
    Route("POST", "sites/{host}/measure", _measure),
)
