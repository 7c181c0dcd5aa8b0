"""The evidence of a measurement, by route and step, so that routes can be compared. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.detect.signals import REFUSALS
from proxy.detect.verdict.site_status import SiteStatus
from proxy.features.sites.measurement_answers import MeasurementJson, StepJson, VerdictJson
from proxy.features.sites.measurement_text import PARTS, RESULTS, step_cells
from proxy.languages.amounts import span
from proxy.model import StepKind, StepResult
from proxy.model.document import to_json
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _, commas, ngettext


@frozen_dataclass
class Seen:
    """The result of a step of a route: its class in the style sheet, its sign, and its text. `kind` is empty for a step
    that the route does not have."""

    kind: str
    glyph: str
    text: str


@frozen_dataclass
class RouteSeen:
    """The steps of a route, one for each column."""

    route: str
    seen: Sequence[Seen]


@frozen_dataclass
class Evidence:
    """The last measurement of a site, on the routes that were tested. `steps` has every step as route, step, result."""

    url: str
    at: float
    verdict: VerdictJson
    columns: Sequence[str]
    rows: Sequence[RouteSeen]
    untested: str
    steps: Sequence[tuple[str, str, str]]


_NOT_THERE = Seen("", "", "")
_COLUMNS = tuple(kind for kind in StepKind if kind is not StepKind.CONTROL)
"""The steps with a column. A control site is another site: it is only in the list of steps."""


def evidence_of(measurements: Sequence[MeasurementJson]) -> Evidence | None:
    """Returns the evidence of the latest measurement; None without one."""
    latest = max(measurements, key=lambda each: each.measured_at, default=None)
    if latest is None:
        return None
    tested = {step.route for step in latest.steps if step.result is not StepResult.NOT_TESTED}
    by_route = {
        route: [step for step in latest.steps if step.route == route]
        for route in dict.fromkeys(step.route for step in latest.steps)
        if route in tested
    }
    columns = [part for part in _COLUMNS if any(step.part == part for steps in by_route.values() for step in steps)]
    skipped = sum(row.route not in tested for row in latest.routes)
    return Evidence(
        latest.url,
        latest.measured_at,
        latest.verdict,
        [PARTS[part] for part in columns],
        [RouteSeen(route, [_seen(steps, part) for part in columns]) for route, steps in by_route.items()],
        ngettext("{count} more route was not tested.", "{count} more routes were not tested.", skipped)
        if skipped
        else "",
        [step_cells(to_json(step)) for step in latest.steps],
    )


def _seen(steps: Sequence[StepJson], part: StepKind) -> Seen:
    """Returns the result of a step that was done once or several times: good, if it was good once."""
    done = [step for step in steps if step.part == part]
    if not done:
        return _NOT_THERE
    good = next((step for step in done if step.result is StepResult.OK), None)
    if good is not None:
        status = good.evidence.get("status") if part is StepKind.ANSWER else None
        took = [span(good.elapsed_s)] if good.elapsed_s else []
        result = _("HTTP {status}", status=str(status)) if status else RESULTS[StepResult.OK]
        if status in REFUSALS:
            return Seen("warn", SiteStatus.REFUSES_THIS_ROUTE.glyph, commas([result, *took]))
        return Seen("good", "✓", commas([result, *took]))
    failed = next((step for step in done if step.result is StepResult.FAILED), None)
    if failed is not None:
        result, reason = RESULTS[StepResult.FAILED], failed.text or failed.symptom
        return Seen("bad", "✗", _("{result}: {reason}", result=result, reason=reason))
    return Seen("quiet", "·", RESULTS[StepResult.NOT_TESTED])
