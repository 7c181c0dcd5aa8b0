"""The report about one site: a proof to read and to print, and files for others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urlencode

from aiohttp import web

from proxy import __version__
from proxy.control.access import Refused
from proxy.control.attempts import result
from proxy.control.dashboard.visit import Route, Visit
from proxy.control.request_parsing import parse_field
from proxy.detect.verdict.labels import cause_in_words
from proxy.detect.verdict.site_status import SiteStatus, status_in_words
from proxy.features.sites.endpoints import SiteEndpoints
from proxy.features.sites.measurement_endpoints import MeasurementEndpoints
from proxy.features.sites.measurement_text import RESULTS
from proxy.features.sites.report_formats import Writer, to_csv, to_markdown, to_ooni
from proxy.features.sites.report_redact import Redact, private_values, redacted
from proxy.features.sites.report_rounding import rounded
from proxy.features.sites.report_sites import ROWS as REPORT_ROWS
from proxy.features.sites.report_sites import Examination, Site, site_of
from proxy.features.sites.report_vantage import UNTOLD, Vantage
from proxy.model.document import fields_of, to_json
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _, semicolons
from proxy.probe.site_name import scope
from proxy.wire.relay_url import redact


class Export(NamedTuple):
    """A format of a report: its name, the suffix and content type of its file, and its writer."""

    name: str
    suffix: str
    content_type: str
    write: Writer


EXPORTS: Mapping[str, Export] = {
    "md": Export("Markdown", "md", "text/markdown", to_markdown),
    "csv": Export("CSV", "csv", "text/csv", to_csv),
    "ooni": Export("OONI (JSON)", "jsonl", "application/x-ndjson", to_ooni),
}
"""The formats of a report by their values in the form; the first is for people."""

LEVELS: Mapping[str, str] = {
    Redact.FULL: _("without relays, networks and private addresses"),
    Redact.RELAY: _("without relays"),
    Redact.NONE: _("everything"),
}
"""The levels of redaction by their values in the form."""


_PREVIEWED = 40
"""Connections in the preview; the files have all."""

LEFT_OUT: Mapping[str, Sequence[str]] = {
    Redact.FULL: (
        _("names and addresses of your relays: they are called relay-1, relay-2"),
        _("names of your networks, and addresses in them"),
        _("your rules, lists and overrides"),
    ),
    Redact.RELAY: (_("names and addresses of your relays: they are called relay-1, relay-2"),),
    Redact.NONE: (),
}
"""What each level of redaction leaves out."""

_ROUNDED = _("the minute and second of each visit, by which your provider could find you in its log")


@frozen_dataclass
class ProofAsked:
    """The form of a proof as it was sent. `exact` is "1" for exact times."""

    provider: str = ""
    country: str = ""
    redact: str = Redact.FULL
    exact: str = ""

    def query(self, shape: str) -> str:
        """Returns the query of the same proof as a file."""
        fields = {"format": shape, **fields_of(self)}
        return urlencode({name: value for name, value in fields.items() if value})


@frozen_dataclass
class ProofRow:
    """A connection of a proof: its day or moment, whether a route delivered, that route, and what failed before."""

    at: str
    is_open: bool
    by: str
    failed: str


@frozen_dataclass
class ProofView:
    """The values for the template of a proof, as people read it. Moments are in UTC. `site` is None when nothing is
    known; `error` is what is wrong with the form."""

    host: str
    asked: ProofAsked
    error: str
    formats: Mapping[str, str]
    levels: Mapping[str, str]
    left_out: Sequence[str]
    facts: Sequence[tuple[str, str]]
    site: Site | None
    words: SiteStatus
    because: str
    spells: Sequence[tuple[str, str, str]]
    measurements: Sequence[tuple[str, str, Examination]]
    results: Mapping[str, str]
    """The results of routes in words."""
    connections: Sequence[ProofRow]
    more: int
    """Connections that only the files have."""


def proof_view(
    host: str, asked: ProofAsked, vantage: Vantage, site: Site | None, now: float, error: str = ""
) -> ProofView:
    """Returns the preview of a proof about `site`, which is without what is left out."""
    examined = () if site is None else site.examinations
    connections = [one for one in examined if one.source == "connection"][::-1]
    network = "" if site is None else str(site.belief["network"])
    facts = [
        (_("Made"), moment_utc(now)),
        (_("By"), f"Byway {__version__}"),
        (_("Network"), network),
        (_("Provider"), str(vantage)),
        (_("Country"), vantage.country),
    ]
    return ProofView(
        host=host,
        asked=asked,
        error=error,
        formats={name: shape.name for name, shape in EXPORTS.items()},
        levels=LEVELS,
        left_out=[*LEFT_OUT[asked.redact], *([] if asked.exact else [_ROUNDED])],
        facts=[(name, value) for name, value in facts if value],
        site=site,
        words=SiteStatus.NOT_TESTED if site is None else SiteStatus(site.belief["words"]),
        because="" if site is None or not site.belief["cause"] else cause_in_words(site.belief["cause"]),
        spells=[
            (
                moment_utc(spell["since"]),
                moment_utc(spell["until"]) if spell["until"] else "",
                status_in_words(spell["words"]),
            )
            for spell in (() if site is None else site.timeline)
        ],
        measurements=[
            (moment_utc(one.at), status_in_words(one.words), one) for one in examined if one.source == "measurement"
        ],
        results=RESULTS,
        connections=[_proof_row(one, exact=bool(asked.exact)) for one in connections[:_PREVIEWED]],
        more=max(0, len(connections) - _PREVIEWED),
    )


def _proof_row(one: Examination, *, exact: bool) -> ProofRow:
    by = next((route["route"] for route in one.routes if route["result"] == "ok"), "")
    protocol = "http" if one.url.startswith("http:") else "tls"
    failed = [
        _("{route}: {what}", route=it["route"], what=result(it["stage"], it["symptom"], protocol))
        for it in one.routes
        if it["result"] == "failed"
    ]
    at = moment_utc(one.at)
    return ProofRow(at if exact else at.partition(" ")[0], bool(by), by, semicolons(failed))


def moment_utc(at: float) -> str:
    """Returns a moment in UTC, to the minute: a proof does not show the user's time zone."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))


async def _site_of(visit: Visit, host: str, asked: ProofAsked) -> Site | None:
    """Returns the site without what is left out; None when nothing is known of it."""
    frame = visit.frame
    answer = await frame.one(SiteEndpoints).show_site(host)
    measured = await frame.one(MeasurementEndpoints).measurements(host)
    rows = await frame.sites.rows(site=host, limit=REPORT_ROWS)
    relays = [{"name": relay.name, "url": redact(relay.url)} for relay in visit.parts.settings.relay]
    settings = visit.parts.setup().loaded.settings

    def make() -> Site | None:
        site = site_of(to_json(answer), to_json(measured.measurements), to_json(rows))
        if not site.is_known:
            return None
        reported = site if asked.exact else rounded(site)
        return redacted([reported], relays, Redact(asked.redact), private_values(settings))[0]

    return await asyncio.to_thread(make)


def _asked(query: Mapping[str, str]) -> ProofAsked:
    asked = ProofAsked(**{name: query[name] for name in ("provider", "country", "redact", "exact") if name in query})
    if asked.redact not in LEVELS:
        raise Refused(400, _("Unknown format, or unknown redaction."))
    return asked


async def _proof(visit: Visit) -> web.Response:
    """Shows a proof about a site, as it will be in the file."""
    asked = _asked(visit.query("redact", "provider", "country", "exact"))
    host = parse_field(scope, visit.fields["host"])
    error, vantage = "", UNTOLD
    try:
        vantage = Vantage.parse(asked.provider, asked.country)
    except ValueError as fault:
        error = fault.args[0]
    view = proof_view(host, asked, vantage, await _site_of(visit, host, asked), time.time(), error)
    return await visit.page("proof.html", title=_("Proof: {site}", site=host), here="sites", view=view)


async def _report(visit: Visit) -> web.Response:
    """Sends the report about a site as a file."""
    query = visit.query("format", "redact", "provider", "country", "exact")
    host, asked = parse_field(scope, visit.fields["host"]), _asked(query)
    shape = EXPORTS.get(query.get("format", "ooni"))
    if shape is None:
        raise Refused(400, _("Unknown format, or unknown redaction."))
    try:
        vantage = Vantage.parse(asked.provider, asked.country)
    except ValueError as error:
        raise Refused(400, error.args[0]) from None
    site = await _site_of(visit, host, asked)
    if site is None:
        raise Refused(404, _("Nothing is known about {host} yet. Measure it first.", host=host))
    text = await asyncio.to_thread(shape.write, [site], vantage)
    return visit.file(text, f"byway-{host.replace(':', '-')}.{shape.suffix}", shape.content_type)


ROUTES = (Route("GET", "sites/{host}/report", _report), Route("GET", "sites/{host}/proof", _proof))
