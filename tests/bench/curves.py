"""Cost against load: 1 to 5,000 tunnels, 1 to 1,000,000 rules, 0 to 10 relays.

Each curve starts its proxies anew at each point, in a shuffled order, and is one or two plots.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.bench.load import Load, Measured, Mode
from tests.bench.metrics import CONNECT
from tests.bench.peers import PEERS, Kind, Peer, Prepare, Setting, byway_with, chain, configured, mihomo, sing_box
from tests.bench.svg import Axis, Chart, Line

RULES_MAX, CHAIN_MAX = 100_000, 8
"""More do not fit into Byway's rules.txt, which has 16 MiB at most, and into one chain of its relays."""


@dataclass(frozen=True, slots=True)
class Point:
    """One proxy under one load."""

    line: str
    x: int
    cpu_us: float  # for each message or tunnel
    memory_mib: float
    start_s: float
    wrong: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """What is to be measured for one point."""

    line: str
    x: int
    peer: Peer
    load: Load


@dataclass(frozen=True, slots=True)
class Curve:
    """A name, its cases, and the plots that are made of the points."""

    name: str
    what: str  # on the x axis
    each: str  # what CPU time is counted for
    cases: Callable[[], Sequence[Case]]
    log: bool = True

    def charts(self, points: Sequence[Point]) -> dict[str, Chart]:
        """By the name of the file."""
        wanted: dict[str, tuple[str, Callable[[Point], float]]] = {
            "cpu": (f"CPU µs for each {self.each}", lambda point: point.cpu_us),
            "memory": ("memory, MiB", lambda point: point.memory_mib),
        }
        lines = dict.fromkeys(case.line for case in self.cases())
        names = [name for name in lines if any(point.line == name for point in points)]
        return {
            f"{self.name}-{key}": Chart(
                f"{label[0].upper()}{label[1:]}, by {self.what}",
                Axis(self.what, log=self.log),
                Axis(label, log=self.log),
                [
                    Line(name, sorted((p.x, value(p)) for p in points if p.line == name and not p.wrong))
                    for name in names
                ],
            )
            for key, (label, value) in wanted.items()
        }


def point(case: Case, measured: Measured, start_s: float) -> Point:
    """Memory is that of the loaded proxy, where tunnels are held, else of the fresh one with its rules."""
    cpu_us = 1e6 * measured.cpu_s / max(1, measured.result.whole_ever)
    return Point(case.line, case.x, cpu_us, measured.held_mib or measured.base_mib, start_s, measured.wrong)


def table(curve: Curve, points: Sequence[Point]) -> str:
    """The numbers of both plots."""
    xs = sorted({point.x for point in points})
    lines = [f"| {curve.what} | {' | '.join(f'{x:,}' for x in xs)} |", f"|---|{'---:|' * len(xs)}"]
    for name in dict.fromkeys(case.line for case in curve.cases()):
        of_line = {point.x: point for point in points if point.line == name}
        cells = [
            "–" if x not in of_line else "failed" if of_line[x].wrong else _cell(of_line[x]) for x in xs if of_line
        ]
        if cells:
            lines.append(f"| {name} | {' | '.join(cells)} |")
    wrong = [f"- {point.line}, {point.x:,}: {point.wrong}" for point in points if point.wrong]
    title = f"CPU µs for each {curve.each}, and MiB, by {curve.what}"
    return "\n".join([f"\n### {title}\n", *lines, *(["", *wrong] if wrong else []), ""])


def _cell(point: Point) -> str:
    return f"{point.cpu_us:,.0f}; {point.memory_mib:,.0f}"


def shuffled(curve: Curve) -> list[Case]:
    """What can be measured here."""
    cases = [case for case in curve.cases() if not case.peer.why_not()]
    random.shuffle(cases)
    return cases


def _tunnels() -> list[Case]:
    peers = [peer for peer in PEERS if peer.setting is Setting.ALONE]
    return [
        Case(peer.name, count, peer, Load(Mode.MESSAGES, count)) for peer in peers for count in (1, 10, 100, 1000, 5000)
    ]


def _rules() -> list[Case]:
    makers: dict[str, Callable[[int], Prepare]] = {
        "byway, rules": lambda count: byway_with(rules=count),
        "byway, a list": lambda count: byway_with(rules=0, listed=count),
        "sing-box": lambda count: sing_box(rules=count),
        "mihomo": lambda count: mihomo(rules=count),
    }
    return [
        _case(name, count, make(count))
        for name, make in makers.items()
        for count in (1, 100, 10_000, 100_000, 1_000_000)
        if name != "byway, rules" or count <= RULES_MAX
    ]


def _relays() -> list[Case]:
    counts = (0, 1, 2, 4, 8, 10)
    used = "MATCH,RELAY"
    return [
        *(_case("byway, none used", n, byway_with(relays=configured(n))) for n in counts),
        *(_case("byway, the first used", n, byway_with(last=used, relays=configured(n))) for n in counts if n),
        *(_case("byway, a chain", n, byway_with(last=used, relays=chain(n))) for n in counts if 0 < n <= CHAIN_MAX),
        *(_case("sing-box, a chain", n, sing_box(hops=n)) for n in counts),
    ]


def _case(line: str, x: int, prepare: Prepare) -> Case:
    program = line.partition(",")[0]
    needs = () if program == "byway" else (program,)
    return Case(line, x, Peer(line, prepare, (Kind.CONNECT,), needs=needs), CONNECT.load)


CURVES = (
    Curve("tunnels", "open tunnels", "message", _tunnels),
    Curve("rules", "rules", "tunnel", _rules),
    Curve("relays", "relays", "tunnel", _relays, log=False),
)
