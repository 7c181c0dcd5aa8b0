"""The attempts of a connection as bars over time, each with its stages: until its path was open, and the wait for the
first byte. Pure.

The bars stand in the rows of a table that says the same in words and numbers, so they are hidden from screen readers.
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape

from proxy.control.attempts import result
from proxy.control.dashboard.charts import LANE, WIDTH, Series
from proxy.control.dashboard.kinds import route_kind
from proxy.languages.amounts import span
from proxy.languages.catalogue import catalogue
from proxy.languages.language import Language
from proxy.model import Stage, Symptom
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _, pgettext
from proxy.store.logged import LoggedAttempt, LoggedConnection

LEGEND = (
    Series(pgettext("attempt", "opening the path"), "other", ()),
    Series(pgettext("attempt", "direct, until the answer"), "direct", ()),
    Series(pgettext("attempt", "a local strategy, until the answer"), "strategy", ()),
    Series(pgettext("attempt", "a relay, until the answer"), "relay", ()),
    Series(pgettext("attempt", "failed"), "failed", ()),
    Series(pgettext("attempt", "not needed any more"), "axis", ()),
)
"""The parts of bars."""

_NARROWEST = 4.0
"""The width of the narrowest part of a bar."""

_NO_FAILURE = (Symptom.NONE, Symptom.ABANDONED, Symptom.SKIPPED)


@frozen_dataclass
class Step:
    """An attempt: its bar, its result in words, and its beginning and its length in words."""

    attempt: LoggedAttempt
    picture: Markup
    result: str
    began: str
    took: str


@frozen_dataclass
class Waterfall:
    """The attempts of a connection. `total` is the length of the axis in words, from 0."""

    steps: Sequence[Step]
    total: str


def waterfall(row: LoggedConnection, language: Language) -> Waterfall:
    """Returns the attempts in the order in which they began."""
    attempts = sorted(row.attempts, key=lambda each: each.started_s)
    total_s = max((each.started_s + each.elapsed_s for each in attempts), default=0.0)
    return Waterfall([_step(each, row.protocol, total_s, language) for each in attempts], span(total_s))


def _step(attempt: LoggedAttempt, protocol: str, total_s: float, language: Language) -> Step:
    what = result(attempt.stage, attempt.symptom, protocol)
    title = _(
        "{route}: {what}, from {begin} to {end}",
        route=attempt.route,
        what=what,
        begin=span(attempt.started_s),
        end=span(attempt.started_s + attempt.elapsed_s),
    )
    return Step(
        attempt,
        _picture(parts(attempt, total_s), catalogue(language).say(title)),
        what,
        _("after {time}", time=span(attempt.started_s)) if attempt.started_s else _("at once"),
        span(attempt.elapsed_s),
    )


def parts(attempt: LoggedAttempt, total_s: float) -> list[tuple[str, float, float]]:
    """Returns the parts of a bar: the kind, the left edge and the width on WIDTH."""
    if total_s <= 0:
        return []
    begin, end = attempt.started_s, attempt.started_s + attempt.elapsed_s
    opened = attempt.evidence.get("opened_s")
    if attempt.stage in (Stage.RESOLVE, Stage.CONNECT, Stage.RELAY):
        is_open = end  # it never was
    elif isinstance(opened, int | float):  # a damaged log may have any type
        is_open = min(begin + max(opened, 0.0), end)
    else:
        is_open = begin
    if attempt.stage == Stage.DONE:
        kind = route_kind(attempt.route)
    else:
        kind = "axis" if attempt.symptom in _NO_FAILURE else "failed"
    if is_open == end and kind != "axis" and attempt.stage != Stage.DONE:
        found = [("failed", begin, end)]
    else:
        found = [("other", begin, is_open), (kind, is_open, end)]
    scale = WIDTH / total_s
    drawn = [(kind, at * scale, (until - at) * scale) for kind, at, until in found if until > at or len(found) == 1]
    return [(kind, min(at, WIDTH - _NARROWEST), max(width, _NARROWEST)) for kind, at, width in drawn]


def _picture(found: Sequence[tuple[str, float, float]], title: str) -> Markup:
    bars = "".join(
        f'<rect fill="url(#{kind})" x="{left:.1f}" y="4" width="{width:.1f}" height="12"/>'
        for kind, left, width in found
    )
    return Markup(  # noqa: S704  # numbers, our own names, and the title, which is escaped
        f'<svg class="chart" viewBox="0 0 {WIDTH} {LANE}" preserveAspectRatio="none" aria-hidden="true"'
        f' focusable="false"><title>{escape(title)}</title><path class="axis" d="M0 0V20M300 0V20M600 0V20"/>'
        f"<g>{bars}</g></svg>"
    )
