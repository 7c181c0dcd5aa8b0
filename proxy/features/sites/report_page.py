"""The report about one site, as a file for others."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

from aiohttp import web

from proxy.control.access import Refused
from proxy.control.dashboard.visit import Route, Visit
from proxy.control.request_parsing import parse_field
from proxy.features.sites.endpoints import SiteEndpoints
from proxy.features.sites.measurement_endpoints import MeasurementEndpoints
from proxy.features.sites.report_formats import Writer, to_csv, to_markdown, to_ooni
from proxy.features.sites.report_redact import Redact, private_values, redacted
from proxy.features.sites.report_rounding import rounded
from proxy.features.sites.report_sites import ROWS as REPORT_ROWS
from proxy.features.sites.report_sites import site_of
from proxy.features.sites.report_vantage import Vantage
from proxy.model.document import to_json
from proxy.model.phrase import _
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


async def _report(visit: Visit) -> web.Response:
    """Sends the report about a site as a file."""
    query = visit.query("format", "redact", "provider", "country", "exact")
    host = parse_field(scope, visit.fields["host"])
    shape, level = EXPORTS.get(query.get("format", "ooni")), query.get("redact", Redact.FULL)
    if shape is None or level not in LEVELS:
        raise Refused(400, _("Unknown format, or unknown redaction."))
    try:
        vantage = Vantage.parse(query.get("provider", ""), query.get("country", ""))
    except ValueError as error:
        raise Refused(400, error.args[0]) from None
    frame = visit.frame
    answer = await frame.one(SiteEndpoints).show_site(host)
    measured = await frame.one(MeasurementEndpoints).measurements(host)
    rows = await frame.sites.rows(site=host, limit=REPORT_ROWS)
    relays = [{"name": relay.name, "url": redact(relay.url)} for relay in visit.parts.settings.relay]
    settings = visit.parts.setup().loaded.settings

    def write() -> str | None:
        site = site_of(to_json(answer), to_json(measured.measurements), to_json(rows))
        if not site.is_known:
            return None
        reported = site if query.get("exact") else rounded(site)
        return shape.write(redacted([reported], relays, Redact(level), private_values(settings)), vantage)

    text = await asyncio.to_thread(write)
    if text is None:
        raise Refused(404, _("Nothing is known about {host} yet. Measure it first.", host=host))
    return visit.file(text, f"byway-{host.replace(':', '-')}.{shape.suffix}", shape.content_type)


ROUTES = (Route("GET", "sites/{host}/report", _report),)
