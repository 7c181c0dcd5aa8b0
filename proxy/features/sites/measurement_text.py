"""The steps and routes of a measurement in words, the same in the terminal and on pages.

Both come in the form of the API (`measurement_answers`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from proxy.detect.signals import REFUSALS
from proxy.detect.verdict.site_status import SiteStatus
from proxy.languages.amounts import span
from proxy.model.phrase import Phrase, _, commas, ngettext, pgettext

Document = Mapping[str, Any]

_GLYPHS = {"ok": "✓", "failed": "✗", "not_tested": "·"}
RESULTS: Mapping[str, str] = {
    "ok": pgettext("result", "ok"),
    "failed": pgettext("result", "failed"),
    "not_tested": pgettext("result", "not tested"),
}
PARTS: Mapping[str, str] = {
    "resolve": _("DNS (system)"),
    "secure": _("DNS (encrypted)"),
    "connect": _("TCP connect"),
    "relay": _("relay handshake"),
    "neutral": _("TLS handshake, other SNI"),
    "hello": _("TLS handshake, site's SNI"),
    "shape": _("TLS handshake, recorded ClientHello"),
    "certificate": _("certificate"),
    "answer": _("HTTP response"),
    "transfer": _("transfer"),
    "pause": _("long connection"),
    "control": _("control site"),
}
"""The words for the steps of a measurement."""


def glyph(row: Document) -> str:
    """Returns the sign of a route's result. An answer that refuses the visitor is no success."""
    if row["result"] == "ok" and row["status"] in REFUSALS:
        return SiteStatus.REFUSES_THIS_ROUTE.glyph
    return _GLYPHS[row["result"]]


def step_cells(step: Document) -> tuple[str, str, str]:
    """Returns the route of a step after the glyph of its result, the step in words, and its result with address and
    time."""
    result = RESULTS[step["result"]]
    ended = step["text"] or result
    if step["text"] and step["result"] != "ok":
        ended = _("{result}: {reason}", result=result, reason=step["text"])
    where = [_("address {address}", address=step["address"])] if step["address"] else []
    # The time of a step that could not be tested means nothing.
    took = [span(step["elapsed_s"])] if step["elapsed_s"] and step["result"] != "not_tested" else []
    route = f"{_GLYPHS[step['result']]} {step['route']}"
    return route, PARTS.get(step["part"], str(step["part"])), commas([ended, *where, *took])


def grouped_routes(routes: Sequence[Document]) -> list[Document]:
    """Returns the tested routes, then the others; those that were skipped for the same reason share a row."""
    left_out: dict[str, list[Document]] = {}
    for row in routes:
        if row["result"] == "not_tested":
            left_out.setdefault(row["text"], []).append(row)
    tested = [row for row in routes if row["result"] != "not_tested"]
    grouped = [
        {
            **rows[0],
            "route": rows[0]["route"] if len(rows) == 1 else ngettext("{count} route", "{count} routes", len(rows)),
        }
        for rows in left_out.values()
    ]
    return [*tested, *grouped]


def route_result(row: Document) -> str:
    """Returns the result of one route in words."""
    if row["result"] == "ok":
        if not row["status"]:
            return _("✓ delivered")
        result = _("{glyph} HTTP {status}", glyph=glyph(row), status=str(row["status"]))
        if row.get("secure_dns") and row.get("address"):
            return _("{result} from {address} (by encrypted DNS)", result=result, address=row["address"])
        return result
    if row["result"] == "not_tested":
        skipped = f"{row['route']} skipped: "
        reason = row["text"] if isinstance(row["text"], Phrase) else row["text"].removeprefix(skipped)
        return _("· not tested: {reason}", reason=reason)
    stage = _("TLS handshake") if row["stage"] in ("hello", "neutral") else PARTS.get(row["stage"], row["stage"])
    return _("✗ {stage}: {reason}", stage=stage, reason=row["text"])
