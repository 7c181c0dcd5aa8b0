"""Judges the trials of a scenario: counts and measures them, and compares them with its row of the table. Pure.

A trial is some visits of one site. Nothing here depends on how they were made, so tests can check a summary on
invented trials.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from proxy.model import NetworkState, State
from tests.lab.scenarios import Kind, Scenario, Way

FIRST_SHARE = 0.95
"""At least this share of the first decisions of blocking rows must name the right cause; after the last visit all
must."""
SLACK_S = 0.2
"""The time that Byway, the router and all servers on two shared cores may add to a bound of the table."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One visit, and the belief when its evidence was complete."""

    genuine: bool
    way: Way
    added_s: float  # over what the winning route itself needs; may be below 0
    state: State
    cause: str
    network: NetworkState = NetworkState.OK  # what the network was called
    said: str = ""  # status or error, for a person
    why: str = ""  # the sentence of the belief


@dataclass(frozen=True, slots=True)
class Trial:
    """The visits of one site in one scenario."""

    scenario: str
    seed: int
    seen: tuple[Seen, ...]
    lasting: State = State.UNKNOWN  # what was still believed long after …
    a_day_later: State = State.UNKNOWN  # … and after a day
    told: int = 0  # queries in clear for its name, after it had become suspect


@dataclass(frozen=True, slots=True)
class Summary:
    """One scenario over all its trials."""

    scenario: Scenario
    trials: tuple[Trial, ...]

    @property
    def firsts(self) -> int:
        """The number of trials whose first decision was right."""
        return sum(_right(self.scenario, trial.seen[self._named], self._states) for trial in self.trials)

    @property
    def thirds(self) -> int:
        """The number of trials in which the decision after the last visit was right."""
        return sum(_right(self.scenario, trial.seen[-1], self.scenario.third) for trial in self.trials)

    @property
    def days(self) -> int:
        """The number of trials in which the belief a day later was right."""
        wanted = self.scenario.a_day_later
        return sum(not wanted or trial.a_day_later in wanted for trial in self.trials)

    @property
    def shown(self) -> int:
        """The number of trials in which every page came from the site itself, if it could come."""
        return sum(_came(trial.seen[self.scenario.spoiled :]) for trial in self.trials)

    @property
    def ways(self) -> int:
        """The number of trials in which every page came by a way that the row allows."""
        return len(self.trials) - len(self._by_others)

    @property
    def _by_others(self) -> list[Seen]:
        """The first visit of each of the other trials that came by a way that the row does not allow."""
        spoiled, ways, last = self.scenario.spoiled, self.scenario.ways, self.scenario.last
        found = []
        for trial in self.trials:
            wrong = [seen for seen in trial.seen[spoiled:] if seen.way not in ways]
            wrong += [seen for seen in trial.seen[-1:] if last and seen.way not in last]
            found += wrong[:1]
        return found

    @property
    def false_beliefs(self) -> int:
        return sum(trial.lasting in self.scenario.must_not_learn for trial in self.trials)

    def added(self, visit: int) -> list[float]:
        """Returns the added waits of that visit, the shortest first, for the pages that came."""
        return sorted(max(0.0, trial.seen[visit].added_s) for trial in self.trials if trial.seen[visit].genuine)

    def broken(self, *, waits: bool = True, fair: bool = True) -> list[str]:
        """Returns the bounds that were not kept, each as a sentence; without `waits`, only those of pages and beliefs.
        Not `fair`: under conditions in which Byway may decide later and by another way, but not falsely."""
        number = len(self.trials)
        found = []
        if fair and self._must_be_named and self.firsts < FIRST_SHARE * number:
            found.append(f"first decision right in {self.firsts} of {number}: {_common(self._visits(self._named))}")
        if fair and self._must_be_named and self.thirds < number:
            found.append(f"after the last visit right in {self.thirds} of {number}: {_common(self._visits(-1))}")
        if self.false_beliefs:
            found.append(f"{self.false_beliefs} lasting false beliefs")
        if (fair or self.scenario.kind is Kind.INNOCENT) and self.days < number:
            states = Counter(trial.a_day_later for trial in self.trials).most_common()
            found.append(
                f"a day later right in {self.days} of {number}: {', '.join(f'{s} ×{times}' for s, times in states)}"
            )
        if self.shown < number:
            tried = [trial.seen[self.scenario.spoiled :] for trial in self.trials]
            lost = [next(seen for seen in visits if not seen.genuine) for visits in tried if not _came(visits)]
            found.append(f"pages came in {self.shown} of {number}: {_common(lost, said=True)}")
        if fair and self.ways < number and self.shown == number:
            found.append(f"by a way of the table in {self.ways} of {number}: {_common(self._by_others)}")
        if told := sum(bool(trial.told) for trial in self.trials):
            found.append(f"{told} of {number} names were asked for in clear when they were suspect already")
        return [*found, *self._late()] if waits and fair else found

    def _late(self) -> list[str]:
        row, found = self.scenario, []
        if (late := percentile(self.added(0), 0.95)) > row.wait_s + SLACK_S:
            found.append(f"added wait p95 {late:.2f} s, bound {row.wait_s:.2f} s and {SLACK_S} s of slack")
        later = (percentile(self.added(visit), 0.95) for visit in range(1, row.visits))
        if (late := max(later)) > row.again_s + SLACK_S:
            found.append(f"later visits' p95 {late:.2f} s, bound {row.again_s:.2f} s and {SLACK_S} s of slack")
        return found

    def _visits(self, number: int) -> list[Seen]:
        return [trial.seen[number] for trial in self.trials]

    @property
    def _named(self) -> int:
        """The number of the visit that shows the first decision."""
        return self.scenario.named_by - 1

    @property
    def _states(self) -> frozenset[State]:
        return self.scenario.first if self._named == 0 else self.scenario.third

    @property
    def _must_be_named(self) -> bool:
        return self.scenario.kind is Kind.BLOCKING or self.scenario.network is not NetworkState.OK


def summaries(rows: Iterable[Scenario], trials: Sequence[Trial]) -> list[Summary]:
    """Returns the summaries in the table's order; rows without trials are left out."""
    by_name: dict[str, list[Trial]] = {}
    for trial in trials:
        by_name.setdefault(trial.scenario, []).append(trial)
    return [Summary(row, tuple(by_name[row.name])) for row in rows if row.name in by_name]


def told_in_clear(asked: Iterable[float], suspected: Sequence[float], delivered: Sequence[float]) -> int:
    """Returns how many of the times at which a name was `asked` for in clear lie between one at which it was
    `suspected` and the next one at which direct `delivered`."""

    def latest(times: Iterable[float], before: float) -> float:
        return max((at for at in times if at <= before), default=-math.inf)

    return sum(latest(suspected, at) > latest(delivered, at) for at in asked)


def percentile(values: Sequence[float], share: float) -> float:
    """Returns the smallest of the sorted values that is no less than `share` of them; 0 for none."""
    return values[max(0, math.ceil(share * len(values)) - 1)] if values else 0.0


def table(found: Sequence[Summary], *, waits: bool = True, fair: bool = True) -> str:
    """Returns the table for a person: one line for each scenario, the broken bounds below it, and the sums. `waits`
    and `fair`: see `Summary.broken`; a wait that is not judged has no bound."""
    counts, seconds = ("first", "last", "day", "pages"), ("p50 s", "p95 s", "2nd s", "last s", "bound")
    head = " ".join([f"{'scenario':<26}", *(f"{n:>7}" for n in counts), *(f"{n:>6}" for n in seconds), " false"])
    lines = [head, "-" * len(head)]
    for summary in found:
        number, first = len(summary.trials), summary.added(0)
        bound = _bound(summary.scenario.wait_s) if waits and fair else "-"
        second, last = (percentile(summary.added(visit), 0.95) for visit in (1, -1))
        lines.append(
            f"{summary.scenario.name:<26} {_of(summary.firsts, number)} {_of(summary.thirds, number)} "
            f"{_of(summary.days, number)} {_of(summary.shown, number)} {percentile(first, 0.5):>6.2f} "
            f"{percentile(first, 0.95):>6.2f} {second:>6.2f} {last:>6.2f} {bound:>6}  "
            f"{summary.false_beliefs}"
        )
        lines += [f"    {sentence}" for sentence in summary.broken(waits=waits, fair=fair)]
    return "\n".join([*lines, "", *totals(found, waits=waits, fair=fair)])


def totals(found: Sequence[Summary], *, waits: bool = True, fair: bool = True) -> list[str]:
    """Returns the figures of the whole table. `waits` and `fair`: see `Summary.broken`."""
    lines = []
    for kind in Kind:
        rows = [summary for summary in found if summary.scenario.kind is kind]
        number = sum(len(summary.trials) for summary in rows)
        if not number:
            continue
        added = sorted(wait for summary in rows for wait in summary.added(0))
        firsts, thirds = sum(s.firsts for s in rows), sum(s.thirds for s in rows)
        lines.append(
            f"{kind}: {len(rows)} scenarios, first decision right in {firsts} of {number}, after the last visit in "
            f"{thirds} of {number}; added wait median {statistics.median(added or [0]):.2f} s, "
            f"p95 {percentile(added, 0.95):.2f} s; lasting false beliefs {sum(s.false_beliefs for s in rows)}"
        )
    broken = sum(bool(summary.broken(waits=waits, fair=fair)) for summary in found)
    lines.append(f"{len(found) - broken} of {len(found)} scenarios keep their bounds")
    return lines


def _right(row: Scenario, seen: Seen, states: frozenset[State]) -> bool:
    """Returns whether the belief is right: a blocking row demands its cause by name; an innocent one demands a state
    that its site may be in. Either may demand a state of the network."""
    named = row.kind is Kind.INNOCENT or row.network is not NetworkState.OK or seen.cause == row.cause
    return seen.state in states and named and seen.network is row.network


def _came(visits: Sequence[Seen]) -> bool:
    return all(seen.genuine for seen in visits)


def _common(visits: Sequence[Seen], *, said: bool = False) -> str:
    """Returns what was observed, the most frequent first."""
    counted = Counter(_told(seen, said=said) for seen in visits)
    common = ", ".join(f"{what} ×{times}" for what, times in counted.most_common(4))
    why = next((seen.why for seen in visits if seen.why), "")
    return f"{common}, such as {why!r}" if why else common


def _told(seen: Seen, *, said: bool) -> str:
    words = [f"{seen.state}/{seen.cause}" if seen.cause else str(seen.state), f"by {seen.way}"]
    if seen.network is not NetworkState.OK:
        words.append(f"on {seen.network}")
    if said:
        words.append(f"({seen.said[:150]})")
    return " ".join(words)


def _of(part: int, whole: int) -> str:
    return f"{part:>3}/{whole:<3}"


def _bound(wait_s: float) -> str:
    return f"{wait_s:.2f}" if wait_s < 1e6 else "-"
