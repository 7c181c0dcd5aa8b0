"""A relay on its card: whether it works, in a sentence that agrees with its visits, and a strip of the last 48 hours.

A half-hour without a visit is left grey: nothing is known of it. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial

from proxy.features.relays.answers import RelayJson, RelayState
from proxy.languages.amounts import span
from proxy.languages.dates import moment_in_words, time_of_day
from proxy.languages.language import Language
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _, ngettext, pgettext, sentences
from proxy.store.route_queries import RelayHalf
from proxy.store.rows import HALF_S

HALVES = 96
"""The half-hours of a strip, with the present one: 48 hours."""

CELL, HEIGHT = 3, 20
"""The size of a half-hour in SVG units."""

_GOOD, _USABLE = 0.9, 0.5
"""Shares of delivered visits from which on a relay is good, and from which on it is of some use."""

_TICK_HOURS = 12
_TICK_ROOM = 20
"""SVG units between two labels at least."""


@frozen_dataclass
class Cell:
    """A part of a strip, in SVG units: its left edge and width, the height of the visits that failed, and its text.
    `is_empty`: nothing is known of it."""

    x: int
    width: int
    failed: int
    text: str
    is_empty: bool


@frozen_dataclass
class Strip:
    """The last 48 hours of a relay, in words as well. `ticks` are positions with the hours that stand there."""

    cells: Sequence[Cell]
    ticks: Sequence[tuple[int, str]]
    words: str

    @property
    def width(self) -> int:
        return HALVES * CELL


@frozen_dataclass
class Verdict:
    """Whether a relay works. `kind` is "good", "bad", "warn" or "quiet". `words` is the state in a word or two, `text`
    says why. `since`: when it began to fail, in seconds since the epoch; 0: it does not fail, or that is not known."""

    kind: str
    words: str
    text: str
    since: float = 0.0

    @property
    def glyph(self) -> str:
        """The sign of the state, so that colour is never the only difference."""
        return {"good": "✓", "bad": "✗", "warn": "◔", "quiet": "·"}[self.kind]


def first_half(now: float) -> int:
    """Returns the beginning of a strip, in seconds since the epoch."""
    return (int(now) // HALF_S - HALVES + 1) * HALF_S


def by_relay(halves: Sequence[RelayHalf]) -> Mapping[str, Sequence[RelayHalf]]:
    """Returns the half-hours of each relay, in their order."""
    found: dict[str, list[RelayHalf]] = {}
    for half in halves:
        found.setdefault(half.relay, []).append(half)
    return found


def strip_of(halves: Sequence[RelayHalf], now: float, language: Language) -> Strip:
    """Returns the strip of one relay. `halves` are its half-hours, the oldest first."""
    when = partial(moment_in_words, now=now, language=language)
    first = first_half(now)
    known = {(half.at - first) // HALF_S: half for half in halves if half.delivered + half.failed}
    cells, empty_from = list[Cell](), 0
    for number in range(HALVES + 1):
        if number < HALVES and number not in known:
            continue
        if empty_from < number:
            cells.append(_cell(empty_from, number, first, None, when))
        if number < HALVES:
            cells.append(_cell(number, number + 1, first, known[number], when))
        empty_from = number + 1
    shown = [half for number, half in known.items() if 0 <= number < HALVES]
    delivered, failed = sum(half.delivered for half in shown), sum(half.failed for half in shown)
    words = (
        _("Last 48 hours: {delivered} of {all} visits worked.", delivered=delivered, all=delivered + failed)
        if shown
        else _("Last 48 hours: not used, or not recorded.")
    )
    return Strip(cells, _ticks(first), words)


def _cell(start: int, end: int, first: int, half: RelayHalf | None, when: Callable[[float], str]) -> Cell:
    begins_at, ends_at = (float(first + number * HALF_S) for number in (start, end))
    x, width = start * CELL, (end - start) * CELL
    if half is None:
        text = _("{begins} to {ends}: not used, or not recorded", begins=when(begins_at), ends=when(ends_at))
        return Cell(x, width, 0, text, True)
    count = half.delivered + half.failed
    failed = 0 if not half.failed else max(4, round(HEIGHT * half.failed / count)) if half.delivered else HEIGHT
    text = _(
        "{begins} to {ends}: {delivered} of {all} visits worked",
        begins=when(begins_at),
        ends=time_of_day(ends_at),
        delivered=half.delivered,
        all=count,
    )
    return Cell(x, width, failed, text, False)


def _ticks(first: int) -> Sequence[tuple[int, str]]:
    """Returns the labels of the axis: midnights and noons of local time, and now."""
    ticks, end = list[tuple[int, str]](), HALVES * CELL
    for number in range(HALVES):
        at = datetime.fromtimestamp(first + number * HALF_S)  # noqa: DTZ006 - local time
        if (
            at.hour % _TICK_HOURS == 0
            and at.minute < HALF_S // 60
            and _TICK_ROOM // 2 < number * CELL < end - _TICK_ROOM
        ):
            ticks.append((number * CELL, time_of_day(at.timestamp())))
    return [*ticks, (end, pgettext("axis", "now"))]


def verdict_of(relay: RelayJson, halves: Sequence[RelayHalf], now: float, language: Language) -> Verdict:
    """Returns whether a relay works, by its faults, its visits of the last 24 hours, and its last test. `halves` are
    its half-hours, the oldest first."""
    visits = relay.visits
    count = visits.delivered + visits.failed
    if not relay.enabled:
        return Verdict("quiet", pgettext("relay", "disabled"), _("It is not used."))
    if relay.obstacle is not None:
        return Verdict("bad", _("blocked on the way"), relay.obstacle.text, relay.obstacle.at)
    if relay.fault is not None:
        text = sentences([_("Fails: {fault}.", fault=relay.fault.text), _failed_visits(visits.failed, count)])
        return Verdict("bad", pgettext("relay", "fails"), text, relay.fault.since)
    if relay.test is not None and not relay.test.ok and relay.found_at == relay.test.at:
        text = sentences([_("Fails: {fault}.", fault=relay.test.fault), _failed_visits(visits.failed, count)])
        return Verdict("bad", pgettext("relay", "fails"), text, relay.test.at)
    if count and not visits.delivered:
        last = relay.last_fault
        text = sentences([_("Fails: {fault}.", fault=last.text) if last else "", _failed_visits(visits.failed, count)])
        return Verdict("bad", pgettext("relay", "fails"), text, _failing_since(halves))
    if not count:
        return _unused(relay, partial(moment_in_words, now=now, language=language))
    return _used(relay, count)


def _used(relay: RelayJson, count: int) -> Verdict:
    """Returns the verdict on a relay that brought something in the last 24 hours."""
    visits = relay.visits
    share = visits.delivered / count
    values = {
        "share": min(round(100 * share), 99) if visits.failed else 100,
        "visits": ngettext("{count} visit", "{count} visits", count),
    }
    if visits.handshake_s is None:
        facts = _("{share} % of {visits}", **values)
    else:
        facts = _("{share} % of {visits}, {time}", **values, time=span(visits.handshake_s))
    last = (
        _("The last one failed: {error}", error=relay.error)
        if relay.error and relay.state in (RelayState.FAILED, RelayState.FAILING)
        else ""
    )
    if share < _USABLE:
        return Verdict("bad", pgettext("relay", "mostly fails"), sentences([_("Bad: {facts}.", facts=facts), last]))
    if share < _GOOD:
        text = sentences([_("Unreliable: {facts}.", facts=facts), last])
        return Verdict("warn", pgettext("relay", "unreliable"), text)
    if relay.words == "slow":
        return Verdict("warn", pgettext("relay", "slow"), sentences([_("Slow: {facts}.", facts=facts), last]))
    return Verdict("good", pgettext("relay", "works"), sentences([_("Good: {facts}.", facts=facts), last]))


def _unused(relay: RelayJson, when: Callable[[float], str]) -> Verdict:
    """Returns the verdict on a relay without a visit in the last 24 hours."""
    if relay.test is not None and relay.test.ok:
        text = _(
            "Not used in the last 24 hours. Tested {time}: it opened a page in {length}.",
            time=when(relay.test.at),
            length=span(relay.test.elapsed_s),
        )
        return Verdict("good", pgettext("relay", "works"), text)
    if relay.state is RelayState.WORKS:
        text = _("Not used in the last 24 hours. It worked {time}.", time=when(relay.worked_at or 0.0))
        return Verdict("good", pgettext("relay", "works"), text)
    if relay.state in (RelayState.FAILED, RelayState.FAILING):
        text = _("The last visit failed: {error}", error=relay.error)
        return Verdict("bad", pgettext("relay", "fails"), text, relay.failed_at or 0.0)
    return Verdict("quiet", pgettext("relay", "not tested"), _("Not used in the last 24 hours, and never tested."))


def _failed_visits(failed: int, count: int) -> str:
    if not failed:
        return ""
    return ngettext(
        "{failed} of {count} visit failed in 24 hours.",
        "{failed} of {count} visits failed in 24 hours.",
        count,
        failed=failed,
    )


def _failing_since(halves: Sequence[RelayHalf]) -> float:
    """Returns the beginning of the half-hour since which all visits failed; 0: not known."""
    since = 0.0
    for half in reversed(halves):
        if half.delivered:
            break
        if half.failed:
            since = float(half.at)
    return since
