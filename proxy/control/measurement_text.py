"""The steps and routes of a measurement as people read them, the same in the terminal and on pages.

Both are taken as the API writes them (`answers.measurements`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from proxy.control.amounts import span

Document = Mapping[str, Any]

_GLYPHS = {"ok": "✓", "failed": "✗", "not_tested": "·"}
_RESULTS = {"ok": "ok", "failed": "failed", "not_tested": "not tested"}
PARTS = {
    "resolve": "DNS (system)",
    "secure": "DNS (encrypted)",
    "connect": "TCP connect",
    "relay": "relay handshake",
    "neutral": "TLS handshake, other SNI",
    "hello": "TLS handshake, site's SNI",
    "certificate": "certificate",
    "answer": "HTTP response",
    "control": "control site",
}
"""The steps of a measurement."""


def step_cells(step: Document) -> tuple[str, str, str]:
    """The route of a step with how it ended as a glyph, what it did, and its result with address and time."""
    took = f", {span(step['elapsed_s'])}" if step["elapsed_s"] else ""
    where = f", address {step['address']}" if step["address"] else ""
    what = PARTS.get(step["part"], str(step["part"]))
    ended = step["text"] or _RESULTS[step["result"]]
    if step["text"] and step["result"] != "ok":
        ended = f"{_RESULTS[step['result']]}: {step['text']}"
    return f"{_GLYPHS[step['result']]} {step['route']}", what, f"{ended}{where}{took}"


def grouped_routes(routes: Sequence[Document]) -> list[Document]:
    """The tested routes, then the others; several that were skipped for the same reason share a row."""
    left_out: dict[str, list[Document]] = {}
    for row in routes:
        if row["result"] == "not_tested":
            left_out.setdefault(row["text"], []).append(row)
    tested = [row for row in routes if row["result"] != "not_tested"]
    grouped = [
        {**rows[0], "route": rows[0]["route"] if len(rows) == 1 else f"{len(rows)} routes"}
        for rows in left_out.values()
    ]
    return [*tested, *grouped]


def route_result(row: Document) -> str:
    """How one route ended."""
    if row["result"] == "ok":
        return f"✓ HTTP {row['status']}" if row["status"] else "✓ delivered"
    if row["result"] == "not_tested":
        skipped = f"{row['route']} skipped: "
        return f"· not tested: {row['text'].removeprefix(skipped)}"
    stage = "TLS handshake" if row["stage"] in ("hello", "neutral") else PARTS.get(row["stage"], row["stage"])
    return f"✗ {stage}: {row['text']}"
