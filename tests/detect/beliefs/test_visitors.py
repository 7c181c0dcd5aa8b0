"""Months of visits in a table: who visits what how often, over which uplink, and what comes of it.

Each history is run under a virtual clock with several seeds. What a visitor had to wait over what the winning route
needs, how often the ledger flipped, and how often a site was held to be blocked that was not, are printed (`pytest -s`)
and bounded. The control is the same detection with its gate held open.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.beliefs.events import ControlAnswered, DirectDelivered, Retested
from proxy.model import Attempt, Change, ConnectivityResult, Outcome, Stage, State, Symptom
from tests.support.outcomes import HOME, TOR, delivered, down, failed, outcome, pending, works
from tests.support.rows import each_row

pytestmark = pytest.mark.slow

T0 = 1_700_000_000.0
MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0

SITE = "blog.example.org"
OTHERS = ("www.news.example", "mail.post.example", "maps.example.net")
HEDGE_S = {Symptom.RESET: 0.1, Symptom.DROPPED: 0.8, Symptom.TIMEOUT: 1.5, Symptom.SILENT: 3.0}
"""What a visitor waits before another route is taken, by what direct runs into (docs/detection.md, "Two clocks")."""

JUDGED_LATE = {Symptom.DROPPED: 3.0, Symptom.TIMEOUT: 5.0, Symptom.SILENT: 7.0}
"""How long an attempt that was overtaken is kept before it is judged (section 2)."""

When = Callable[[float, random.Random], bool]


def always(_now: float, _rng: random.Random) -> bool:
    return True


def never(_now: float, _rng: random.Random) -> bool:
    return False


def between(start: float, end: float) -> When:
    return lambda now, _rng: start <= now < end


def before(end: float) -> When:
    return between(0, end)


def toggling(period_s: float) -> When:
    return lambda now, _rng: now % (2 * period_s) < period_s


def share(part: float) -> When:
    return lambda _now, rng: rng.random() < part


@dataclass(frozen=True, slots=True)
class History:
    """One visitor. Times are seconds from the start; `blocked`, `uplink_gone` and `site_gone` say what the world is
    like at one, and are asked for each connection."""

    name: str
    lasts_s: float
    every_s: float
    blocked: When = never
    symptom: Symptom = Symptom.RESET
    stage: Stage = Stage.FIRST_BYTE
    uplink_gone: When = never  # nothing goes out direct
    relay_gone: When = never
    site_gone: When = never  # nor does the site answer a relay
    truth: When | None = None  # whether direct is blocked, where that is not what a connection shows
    others: float = 0.7  # chance that another site is visited with this one
    connections: int = 3
    # bounds
    wait_s: float = 0.0
    flips: int = 0
    false_visits: int = 0  # visits that took a detour though direct would have worked
    false_blocks: int = 0  # times that a site was held blocked that never was
    back_within_s: float = 0.0  # after the block ended for good; 0: not asked
    ends_s: float = 0.0


@dataclass(slots=True)
class Visitor:
    history: History
    seed: int
    settings: DetectTuning = field(default_factory=DetectTuning)
    now: float = 0.0
    wait_s: float = 0.0
    visits: int = 0
    detours: int = 0
    false_visits: int = 0
    back_s: float = -1.0
    is_gullible: bool = False
    changes: list[Change] = field(default_factory=list)
    beliefs: Beliefs = field(init=False)
    rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.beliefs = Beliefs(self.settings, rng=self.rng)

    def run(self) -> Visitor:
        while self.now < self.history.lasts_s:
            self.visit()
            self.now += self.history.every_s * self.rng.uniform(0.5, 1.5)
        return self

    def __str__(self) -> str:
        back = f"  back after {self.back_s / HOUR:.1f} h" if self.history.back_within_s else ""
        return (
            f"{self.history.name:37} visits {self.visits:5}  waited {self.wait_s:6.1f} s  flips {self.flips:3}"
            f"  detours {self.detours:5} (needless {self.false_visits:4})  false blocks {self.false_blocks()}{back}"
        )

    def visit(self) -> None:
        self.visits += 1
        if self.rng.random() < self.history.others:
            self.connect(self.rng.choice(OTHERS))
        waits = []
        for _ in range(self.history.connections):
            waits.append(self.connect(SITE))
            self.now += self.rng.uniform(0.02, 0.3)
        self.wait_s += max(waits)
        if self.rng.random() < self.history.others:
            self.connect(self.rng.choice(OTHERS))
        self.now += 1.0
        self.ask_a_control()

    def connect(self, host: str) -> float:
        """One connection, by what is believed. Returns the wait that was added."""
        held = self.beliefs.lookup(host, network=HOME, now=self.at)
        direct = self.direct_works(host)
        relay = not self.history.relay_gone(self.now, self.rng) and not (host == SITE and self.site_is_gone)
        if held.state in (State.SUSPECT, State.BLOCKED) and relay:
            self.detours += host == SITE
            self.false_visits += host == SITE and not self.is_blocked(self.now)
            self.learn(outcome(delivered(TOR), host=host, at=self.at))
            self.retest(host)
            return 0.0
        if direct:
            self.learn(works(host, at=self.at))
            if host == SITE and self.back_s < 0 and 0 < self.history.ends_s <= self.now:
                self.back_s = self.now - self.history.ends_s
            return 0.0
        waited = HEDGE_S[self.history.symptom]
        begun, self.now = self.at, self.now + waited
        if not relay:
            self.learn(replace(down(self.history.symptom, self.history.stage, host=host), at=begun))
            return 0.0  # there is no winning route to compare with
        if self.history.symptom in JUDGED_LATE:
            seen = outcome(pending(elapsed=waited), delivered(TOR), host=host, at=begun)
            self.learn(seen)
            self.learn(seen.with_attempt(self.judged(host, begun)))
        else:
            attempt = failed(self.history.symptom, self.history.stage, elapsed=waited)
            self.learn(outcome(attempt, delivered(TOR), host=host, at=begun))
        return waited

    def judged(self, host: str, begun: float) -> Attempt:
        """What becomes of an attempt that was overtaken and kept: segments are sent again, and one may come through."""
        last = begun - T0 + JUDGED_LATE[self.history.symptom]
        while self.now < last:
            self.now += 0.5
            if self.direct_works(host):
                return delivered(elapsed=self.at - begun)
        return failed(self.history.symptom, self.history.stage, elapsed=self.at - begun)

    def retest(self, host: str) -> None:
        if self.beliefs.retest_due(host, network=HOME, now=self.at):
            ok = self.direct_works(host)
            other = not self.history.relay_gone(self.now, self.rng)
            self.changes += self.beliefs.learn(Retested(host, direct_ok=ok, other_ok=other), network=HOME, now=self.at)

    def ask_a_control(self) -> None:
        if self.beliefs.control_wanted(HOME, self.at):
            well = not self.history.uplink_gone(self.now, self.rng)
            what = ConnectivityResult.WELL if well else ConnectivityResult.FAILED
            self.changes += self.beliefs.learn(
                ControlAnswered("control.example.com", what, started=self.at), network=HOME, now=self.at
            )

    def learn(self, seen: Outcome) -> None:
        if self.is_gullible:
            self.beliefs.learn(DirectDelivered("somebody.example.edu"), network=HOME, now=self.at)
        self.changes += self.beliefs.learn(seen, network=HOME, now=self.at)

    @property
    def at(self) -> float:
        return T0 + self.now

    def is_blocked(self, at: float) -> bool:
        return (self.history.truth or self.history.blocked)(at, self.rng)

    @property
    def site_is_gone(self) -> bool:
        return self.history.site_gone(self.now, self.rng)

    def direct_works(self, host: str) -> bool:
        if self.history.uplink_gone(self.now, self.rng):
            return False
        return host != SITE or not (self.history.blocked(self.now, self.rng) or self.site_is_gone)

    @property
    def flips(self) -> int:
        return sum(change.before is not change.after for change in self.changes)

    def false_blocks(self) -> int:
        """Sites that were held to be blocked at a time at which they were not."""
        return sum(
            change.after is State.BLOCKED
            and change.before is not State.BLOCKED
            and (change.scope != SITE or not self.is_blocked(change.at - T0))
            for change in self.changes
        )


def in_tunnels(now: float, _rng: random.Random) -> bool:
    """A train ride: of every two minutes, cut into pieces of 7 s, more than half are dead."""
    return (now // 7) * 2654435761 % 97 < 55


HISTORIES = [
    History("hourly, reset, a month", 30 * DAY, HOUR, always, wait_s=0.2, flips=4),
    History("hourly, dropped, a month", 30 * DAY, HOUR, always, Symptom.DROPPED, wait_s=1.6, flips=4),
    History("hourly, SYN dropped, a month", 30 * DAY, HOUR, always, Symptom.TIMEOUT, Stage.CONNECT, wait_s=3, flips=6),
    History("hourly, nothing else open", 30 * DAY, HOUR, always, others=0.0, wait_s=0.2, flips=4),
    History("hourly, silent, a month", 30 * DAY, HOUR, always, Symptom.SILENT, wait_s=150, flips=60),
    History("daily, dropped, three months", 90 * DAY, DAY, always, Symptom.DROPPED, wait_s=4, flips=8),
    History("every six days, a year", 365 * DAY, 6 * DAY, always, wait_s=0.6, flips=8),
    History("a train ride of two hours", 2 * HOUR, 20, uplink_gone=in_tunnels, relay_gone=in_tunnels),
    History(
        "a train ride, the relay hangs on", 2 * HOUR, 20, uplink_gone=in_tunnels, symptom=Symptom.DROPPED,
        wait_s=60, flips=260, false_visits=1000,
    ),
    History(
        "direct is out for 30 min", 6 * HOUR, 120, uplink_gone=between(HOUR, 1.5 * HOUR), symptom=Symptom.DROPPED,
        wait_s=13, flips=40, false_visits=60,
    ),
    History(
        "all is out for 30 min", 6 * HOUR, 120, uplink_gone=between(HOUR, 1.5 * HOUR),
        relay_gone=between(HOUR, 1.5 * HOUR),
    ),
    History("the site is down for a day", 3 * DAY, 600, site_gone=between(DAY, 2 * DAY)),
    History("a provider toggles each minute", DAY, 30, toggling(60), wait_s=2, flips=20, false_visits=4500),
    History("a provider toggles each hour", 5 * DAY, 300, toggling(HOUR), wait_s=1, flips=20, false_visits=2500),
    History("30 % of connections, a month", 30 * DAY, HOUR, share(0.3), truth=always, wait_s=10, flips=200),
    History(
        "lifts after 72 h, hourly", 6 * DAY, HOUR, before(3 * DAY), Symptom.DROPPED, wait_s=1.6, flips=5,
        false_visits=150, back_within_s=38 * HOUR, ends_s=3 * DAY,
    ),
    History(
        "lifts after 72 h, every five minutes", 6 * DAY, 300, before(3 * DAY), Symptom.DROPPED, wait_s=1.6, flips=5,
        false_visits=1400, back_within_s=38 * HOUR, ends_s=3 * DAY,
    ),
    History(
        "works, one reset in fifty, a month", 30 * DAY, 600, share(0.02), truth=never, wait_s=25, flips=450,
        false_visits=6500, false_blocks=8,
    ),
    History("works, one reset in a thousand", 30 * DAY, 600, share(0.001), truth=never, wait_s=3, flips=50,
            false_visits=300),
]  # fmt: skip

SEEDS = range(5)


def reports(history: History) -> Iterator[Visitor]:
    for seed in SEEDS:
        yield Visitor(history, seed).run()


@each_row("history", HISTORIES, ids=lambda history: history.name)
def test_what_comes_of_a_history(history: History) -> None:
    for visitor in reports(history):
        print(f"\n{visitor}")
        assert visitor.visits > 30
        assert visitor.wait_s <= history.wait_s + 1e-6
        assert visitor.flips <= history.flips
        assert visitor.false_visits <= history.false_visits
        assert visitor.false_blocks() <= history.false_blocks
        if history.back_within_s:
            assert 0 <= visitor.back_s <= history.back_within_s


def test_the_control_without_its_gates_the_same_detection_fails() -> None:
    """Every rescue counts at once when somebody is said to have been heard: the train then blocks what works."""
    history = next(history for history in HISTORIES if history.name == "direct is out for 30 min")
    blocks = 0
    for seed in SEEDS:
        visitor = Visitor(history, seed)
        visitor.is_gullible = True
        blocks += visitor.run().false_blocks()

    assert blocks > 0
