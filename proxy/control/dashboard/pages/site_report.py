"""What is known about one site, as a file for others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from aiohttp import web

from proxy.control.access import Refused
from proxy.control.dashboard.visit import Route, Visit
from proxy.control.document import to_json
from proxy.control.report.formats import to_csv, to_markdown, to_ooni
from proxy.control.report.redact import Redact, redacted
from proxy.control.report.sites import ROWS as REPORT_ROWS
from proxy.control.report.sites import Site, site_of
from proxy.control.request_parsing import parse_field
from proxy.control.site import scope
from proxy.model.phrase import _


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


ROUTES = (Route("GET", "sites/{host}/report", _report),)
