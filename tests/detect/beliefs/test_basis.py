"""What was made from the beliefs about a host may be kept while its basis has not changed and is not over.

Random histories of everything that Beliefs is told, with small and large steps of time and a clock that is set. After
each step the answers about every host are those that were kept, wherever they may still be used.
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs.basis import BASES_MAX, Bases, Basis
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.beliefs.clock import CLOCK_AHEAD_S
from proxy.detect.beliefs.events import (
    Carried,
    CertificateAccepted,
    ComputerResumed,
    ControlAnswered,
    DirectDelivered,
    Intercepted,
    NetworkLeft,
    PortalSuspected,
    Retested,
    StrategyTried,
)
from proxy.detect.beliefs.outcomes import disturb
from proxy.detect.beliefs.transitions import RENEW_S
from proxy.detect.verdict.site_status import LastResult, SiteStatus, Source
from proxy.model import (
    DIRECT,
    NO_EVIDENCE,
    UNKNOWN_NETWORK,
    Attempt,
    Belief,
    ConnectivityResult,
    HttpRequest,
    Inbound,
    IPAddress,
    NetworkId,
    NetworkState,
    Outcome,
    Protocol,
    Route,
    Stage,
    State,
    Symptom,
    as_evidence,
)
from tests.support.outcomes import (
    AWAY,
    HOME,
    HOST,
    TOR,
    VPS,
    delivered,
    failed,
    open_uplink,
    outcome,
    pending,
    rescued,
    restrict,
    works,
)

T0 = 1_700_000_000.0
NEAR = "192.168.1.10"
HOSTS = ("a.example.org", "b.example.org", "c.example.org", "www.news.example", "mail.post.example", NEAR)
MANY = (*HOSTS, *(f"www.site{number}.example" for number in range(8)))
NETWORKS = (HOME, HOME, HOME, AWAY, UNKNOWN_NETWORK)
ADDRESSES = tuple(ipaddress.ip_address(f"192.0.2.{number}") for number in (1, 2, 3))
STEPS_S = (0.0, 0.01, 0.5, 1.0, 3.0, 5.0, 11.0, 29.0, 40.0, 61.0, 125.0, 700.0, 3700.0)
RARE_STEPS_S = (22_000.0, 86_400.0, 90_000.0, 900_000.0, 40 * 86_400.0)
BACK_S = (-0.5, -5.0, -50.0, -3600.0)

Answers = tuple[Belief, NetworkState, bool]
"""Of `lookup`, `network_state_for` and `comparison_due`."""


@dataclass(frozen=True, slots=True)
class Kept:
    answers: Answers
    basis: Basis


class History:
    """One random history. It looks at the hosts in the order in which a connection does."""

    hosts: Sequence[str] = MANY
    networks: Sequence[NetworkId] = NETWORKS

    def __init__(self, seed: int, settings: DetectTuning) -> None:
        self.rng = random.Random(seed)
        self.now = self.latest = T0
        self.beliefs = Beliefs(
            settings,
            rng=random.Random(seed),
            near=frozenset({NEAR}).__contains__,
            addresses=lambda host: self.addresses,
        )
        self.addresses: tuple[IPAddress, ...] = ()
        self.told: list[Outcome] = []
        self.kept: dict[tuple[NetworkId, str], Kept] = {}
        self.found: set[object] = set()
        self.used = self.changed = 0

    def attempt(self, route: Route, *, well: bool) -> Attempt:
        rng = self.rng
        if well:
            status = rng.choice((None, None, None, 200, 403, 451))
            evidence = NO_EVIDENCE if status is None else as_evidence({"status": status})
            return replace(delivered(route, elapsed=rng.choice((0.1, 3.0))), evidence=evidence)
        symptom, stage = rng.choice(
            (
                (Symptom.RESET, Stage.FIRST_BYTE),
                (Symptom.DROPPED, Stage.FIRST_BYTE),
                (Symptom.SILENT, Stage.FIRST_BYTE),
                (Symptom.TIMEOUT, Stage.CONNECT),
                (Symptom.BLOCK_PAGE, Stage.FIRST_BYTE),
                (Symptom.REDIRECTED, Stage.FIRST_BYTE),
                (Symptom.RESOLVE_FAILED, Stage.RESOLVE),
                (Symptom.OFFLINE, Stage.CONNECT),
            )
            if route.is_direct
            else ((Symptom.RELAY_REFUSED, Stage.RELAY), (Symptom.SILENT, Stage.FIRST_BYTE))
        )
        address = f"{rng.choice(ADDRESSES)}:443" if stage is not Stage.RESOLVE else ""
        return replace(failed(symptom, stage, route), address=address)

    def connection(self, host: str) -> Outcome:
        rng = self.rng
        kind = rng.choices(("works", "rescued", "down", "late", "relay", "spoiled", "rung"), (6, 5, 2, 1, 2, 1, 1))[0]
        ours = {
            "works": [self.attempt(DIRECT, well=True)],
            "rescued": [self.attempt(DIRECT, well=False), self.attempt(rng.choice((TOR, VPS)), well=True)],
            "down": [self.attempt(DIRECT, well=False), *[self.attempt(TOR, well=False)][: rng.randint(0, 1)]],
            "late": [pending(), self.attempt(TOR, well=True)],
            "relay": [self.attempt(TOR, well=rng.random() < 0.8)],
            "spoiled": [replace(delivered(), symptom=rng.choice((Symptom.FROZEN, Symptom.THROTTLED, Symptom.RESET)))],
            "rung": [
                self.attempt(DIRECT, well=False),
                failed(Symptom.RESET, Stage.FIRST_BYTE, Route((), ("tlsrec",))),
                self.attempt(TOR, well=True),
            ],
        }[kind]
        made = outcome(
            *ours,
            host=host,
            at=self.now - rng.choice((0.1, 5.0, 20.0)),
            protocol=rng.choice((Protocol.TLS, Protocol.HTTP)),
            winner=DIRECT if kind == "spoiled" else None,
            bytes_down=rng.choice((0, 0, 100_000)),
        )
        if kind == "down" and rng.random() < 0.5:
            request = replace(made.request, inbound=Inbound.HTTP, http=HttpRequest("POST", "/"))
            made = replace(made, request=request, protocol=Protocol.HTTP)
        return made

    def tell(self) -> None:
        """Something happens."""
        rng, beliefs, now = self.rng, self.beliefs, self.now
        host, network, ok = rng.choice(self.hosts), rng.choice(self.networks), rng.random() < 0.5
        connection = self.connection(host)
        measured = LastResult(SiteStatus.SITE_DOWN, now, Source.MEASUREMENT)

        def learn() -> None:
            self.told.append(connection)
            self.addresses = rng.choice(((), ADDRESSES))
            beliefs.learn(connection, network=network, now=now)

        def learn_again() -> None:
            seen = rng.choice(self.told or [connection])
            beliefs.learn(seen.with_attempt(self.attempt(DIRECT, well=ok)), network=network, now=now)

        def work_often() -> None:
            for _ in range(3):
                beliefs.learn(outcome(delivered(), host=host, at=now), network=network, now=now)

        def control() -> None:
            result = rng.choice(list(ConnectivityResult))
            for page in ("one.control.test", "two.control.test", "three.control.test"):
                answered = ControlAnswered(page, result, now - 0.5, domestic=ok and page[0] == "o", issuer="ca")
                beliefs.learn(answered, network=network, now=now)

        def restrict() -> None:
            """Foreign sites fail and a domestic one answers."""
            for number in range(6):
                seen = outcome(failed(), delivered(TOR), host=f"www.site{number}.example", at=now)
                beliefs.learn(seen, network=network, now=now)
            beliefs.learn(DirectDelivered("domestic.test"), network=network, now=now)
            for page in ("one.control.test", "two.control.test"):
                beliefs.learn(ControlAnswered(page, ConnectivityResult.FAILED, started=now), network=network, now=now)

        def inspect() -> None:
            for number in range(4):
                beliefs.learn(
                    Intercepted(f"www.site{number}.example", known=False, fingerprint="ca", trusted=True),
                    network=network,
                    now=now,
                )
            beliefs.learn(
                ControlAnswered("one.control.test", ConnectivityResult.RESIGNED, started=now, issuer="ca"),
                network=network,
                now=now,
            )

        def relays_in_vain() -> None:
            for _ in range(rng.randint(1, 12)):
                beliefs.learn(outcome(self.attempt(TOR, well=False), host=host, at=now), network=network, now=now)

        what: list[tuple[int, Callable[[], object]]] = [
            (30, learn),
            (5, learn_again),
            (8, work_often),
            (4, lambda: beliefs.learn(DirectDelivered(host, since=now - 1), network=network, now=now)),
            (3, control),
            (1, restrict),
            (1, relays_in_vain),
            (1, inspect),
            (1, lambda: beliefs.learn(NetworkLeft(), network=network, now=now)),
            (1, lambda: beliefs.note(ComputerResumed(), network=network, now=now)),
            (1, lambda: beliefs.forget(rng.choice((host, None)), rng.choice((network, None)))),
            (2, lambda: beliefs.measured(host, measured, network=network)),
            (2, lambda: beliefs.note(CertificateAccepted(), network=network, now=now)),
            (1, lambda: beliefs.note(PortalSuspected(), network=network, now=now)),
            (2, lambda: beliefs.control_wanted(network, now)),
            (3, lambda: beliefs.learn(Carried(host, rng.choice((DIRECT, TOR)), 10**6), network=network, now=now)),
            (1, lambda: beliefs.learn(Intercepted(host, "f", known=ok, trusted=not ok), network=network, now=now)),
            (2, lambda: beliefs.retest_due(host, network=network, now=now)),
            (3, lambda: beliefs.learn(Retested(host, direct_ok=ok, other_ok=True), network=network, now=now)),
            (1, lambda: beliefs.strategies_due(host, network=network, now=now)),
            (1, lambda: beliefs.learn(StrategyTried(host, Route((), ("split",)), ok=ok), network=network, now=now)),
        ]  # fmt: skip
        rng.choices([act for _, act in what], [weight for weight, _ in what])[0]()
        beliefs.all(now=now)  # as most of these do, so that each time is told
        self.latest = now

    def ask(self, host: str, network: NetworkId) -> Answers:
        beliefs, now = self.beliefs, self.now
        return (
            beliefs.lookup(host, network=network, now=now, addresses=self.rng.choice(((), ADDRESSES[:1], ADDRESSES))),
            beliefs.network_state_for(host, network=network, now=now),
            beliefs.comparison_due(host, network=network, now=now),
        )

    def compare(self, *, changes_count: bool = True, ends_count: bool = True) -> None:
        """Raises AssertionError where what was kept is used and is wrong. Some hosts are looked at again, and what was
        made then is kept."""
        for host in self.rng.sample(HOSTS, 3):
            network = self.rng.choice(NETWORKS)
            kept = self.kept.get((network, host))
            was_changed = kept is not None and kept.basis.changed
            answers = self.ask(host, network)
            if kept is not None:
                in_time = self.latest <= self.now < kept.basis.until
                if not (was_changed and changes_count) and (in_time or not ends_count):
                    self.used += 1
                    assert answers == kept.answers, (host, network, self.now)
                self.changed += answers != kept.answers
            basis = self.beliefs.basis(host, network=network, now=self.now)
            assert basis.until >= self.now
            assert not basis.changed
            self.latest = self.now
            self.kept[network, host] = Kept(answers, basis)
            self.found |= {
                answers[0].state,
                answers[1],
                answers[2],
                answers[0].scope[:2] == "*.",
                "/" in answers[0].scope,
            }

    def pass_time(self) -> None:
        rng = self.rng
        kind = rng.choices((STEPS_S, RARE_STEPS_S, BACK_S), (94, 3, 3))[0]
        self.now += rng.choice(kind) * rng.choice((1.0, rng.random()))

    def run(self, steps: int, *, changes_count: bool = True, ends_count: bool = True) -> History:
        for _ in range(steps):
            if self.rng.random() < 0.5:
                self.tell()
            if self.rng.random() < 0.6:
                self.pass_time()
            self.compare(changes_count=changes_count, ends_count=ends_count)
        return self


class RelayedHistory(History):
    """One in which hosts are visited by a relay again and again. `reads_all`: each visit is read as a whole. No status
    is seen with an even `seed`: one that is a refusal has each later visit read as a whole."""

    hosts = HOSTS[:2]
    networks = (HOME,)

    def __init__(self, seed: int, settings: DetectTuning, *, reads_all: bool) -> None:
        super().__init__(seed, settings)
        self._reads_all = reads_all
        self._sees_statuses = bool(seed % 2)
        self.saved = 0  # visits that were not read as a whole
        results = self.beliefs._state.results
        learning = results.learn

        def learn(*given: Any, **named: Any) -> None:
            self.saved -= 1
            learning(*given, **named)

        results.learn = learn  # type: ignore[method-assign]

    def attempt(self, route: Route, *, well: bool) -> Attempt:
        made = super().attempt(route, well=well)
        return made if self._sees_statuses else replace(made, evidence=NO_EVIDENCE)

    def tell(self) -> None:
        if self.rng.random() < 0.5:
            super().tell()
            return
        host, route = self.rng.choice(self.hosts), self.rng.choice((TOR, TOR, TOR, VPS))
        statuses = [{"opened_s": 0.1, "status": 451}] if self._sees_statuses else []
        evidence = as_evidence(self.rng.choice(({}, *[{"opened_s": 0.1}] * 8, *statuses)))
        seen = outcome(
            replace(delivered(route), evidence=evidence),
            host=host,
            at=self.now - 0.2,
            protocol=self.rng.choice((Protocol.TLS, Protocol.TLS, Protocol.HTTP)),
            bytes_down=self.rng.choice((0, 0, 0, 0, 0, 100_000)),
        )
        for _ in range(4):
            self.visit(seen)

    def visit(self, seen: Outcome) -> None:
        if self._reads_all:
            disturb(self.beliefs._state)
        self.saved += 1
        self.beliefs.learn(seen, network=HOME, now=self.now)
        self.beliefs.basis(seen.host, network=HOME, now=self.now)  # as for the plan of the next visit
        self.latest = self.now

    @property
    def all_known(self) -> list[object]:
        """All that is believed, but for the date of the last visit to a site in trouble: it is renewed once an hour,
        or a minute later."""
        beliefs, known = self.beliefs, list[object]()
        for host in self.hosts:
            held = beliefs.lookup(host, network=HOME, now=self.now)
            known.append(replace(held, last_good_at=0.0, until=0.0))
            known.append(beliefs.last_result(host, network=HOME, now=self.now))
            known.append(beliefs.visited(host, network=HOME))
        return known


TUNINGS = {
    "default": DetectTuning(),
    "short": DetectTuning(known_s=20.0, restricted_known_s=30.0, down_s=9.0, last_good_s=100.0, rescue_suspect_s=15.0),
    "eager": DetectTuning(suspect_score=0.4, prefix_hosts=2, lift_apart_s=0.5, restricted_domains=3, refused_s=50.0),
}


@pytest.mark.parametrize("tuning", TUNINGS)
@pytest.mark.parametrize("seed", range(6))
def test_what_was_kept_is_what_is_true(seed: int, tuning: str) -> None:
    history = History(seed, TUNINGS[tuning]).run(1200)

    assert history.used > 500, "the histories keep nothing for long enough"
    assert history.changed > 100, "nothing happens in the histories"


@pytest.mark.parametrize("tuning", TUNINGS)
@pytest.mark.parametrize("seed", range(4))
def test_a_visit_that_is_not_read_as_a_whole_would_have_taught_nothing(seed: int, tuning: str) -> None:
    one = RelayedHistory(seed, TUNINGS[tuning], reads_all=False)
    other = RelayedHistory(seed, TUNINGS[tuning], reads_all=True)
    for step in range(500):
        one.run(1)
        other.run(1)
        assert one.all_known == other.all_known, (step, one.now)
    assert one.saved - other.saved > (0 if seed % 2 else 20)


def test_the_histories_meet_every_state() -> None:
    found: set[object] = set()
    for seed in range(6):
        found |= History(seed, TUNINGS["eager"]).run(600).found
    assert found >= {*State, *NetworkState, True, False}


@pytest.mark.parametrize("left_out", ["changed", "until"])
def test_neither_alone_suffices(left_out: str) -> None:
    """The control: a cache that looks at one of both only is found out."""
    history = History(0, DetectTuning())
    with pytest.raises(AssertionError):
        history.run(1200, changes_count=left_out != "changed", ends_count=left_out != "until")


# -- what random histories seldom meet ---------------------------------------------------------------------------------


def basis_of(beliefs: Beliefs, host: str = HOST, *, now: float = T0, network: NetworkId = HOME) -> Basis:
    return beliefs.basis(host, network=network, now=now)


def test_a_clock_that_goes_back_changes_every_basis_until_it_has_caught_up() -> None:
    beliefs = Beliefs(DetectTuning())
    basis = basis_of(beliefs)
    assert basis.until == T0 + CLOCK_AHEAD_S
    assert basis_of(beliefs) is basis

    for now in (T0 - 5, T0 - 1):
        assert basis_of(beliefs, now=now).until == now
        assert basis.changed
    later = basis_of(beliefs)
    assert later.until > T0
    assert basis_of(beliefs) is later


def test_a_success_of_a_host_that_works_changes_nothing() -> None:
    beliefs = Beliefs(DetectTuning())
    beliefs.learn(works(), network=HOME, now=T0)
    basis, other = basis_of(beliefs), basis_of(beliefs, "other.example")

    beliefs.learn(works(), network=HOME, now=T0 + 50)

    assert not basis.changed
    assert basis_of(beliefs, now=T0 + 50) is basis
    assert basis.until == T0 + RENEW_S
    assert basis_of(beliefs, now=T0 + RENEW_S).until == T0 + RENEW_S, "the next success renews it"
    beliefs.learn(works(), network=HOME, now=T0 + 70)
    assert basis_of(beliefs, now=T0 + 71).until == T0 + 70 + RENEW_S
    assert not other.changed


def test_on_a_restricted_network_a_host_is_known_for_a_shorter_time() -> None:
    beliefs = Beliefs(DetectTuning(restricted_known_s=7))
    beliefs.learn(works(), network=HOME, now=T0)
    restrict(beliefs, now=T0)

    assert basis_of(beliefs, now=T0 + 1).until == T0 + 7
    assert basis_of(beliefs, now=T0 + 8).until == T0 + 8, "its next success ends that"


# -- whose basis changes -----------------------------------------------------------------------------------------------

BESIDE, STRANGER = "beside.example.org", "www.stranger.example"
"""Of the same domain as HOST, and of another one."""


def block(beliefs: Beliefs, host: str, *, now: float = T0) -> None:
    beliefs.learn(Intercepted(host, known=True, fingerprint="f"), network=HOME, now=now)


def block_domain(beliefs: Beliefs) -> None:
    """Two hosts of one domain fail in the same way, 100 s apart."""
    for number, host in enumerate(("one.example.org", "two.example.org")):
        at = T0 + 100 * number
        open_uplink(beliefs, now=at)
        beliefs.learn(rescued(host=host, at=at), network=HOME, now=at)
    assert beliefs.lookup("three.example.org", network=HOME, now=T0 + 100).scope == "*.example.org"


def block_prefix(beliefs: Beliefs) -> None:
    """Hosts of one prefix do not answer a SYN, and a relay reaches them."""
    for number in range(3):
        direct = replace(failed(Symptom.TIMEOUT, Stage.CONNECT), address=f"{ADDRESSES[0]}:443")
        seen = outcome(direct, delivered(TOR), host=f"www.cdn{number}.example", at=T0)
        open_uplink(beliefs, now=T0)
        beliefs.learn(seen, network=HOME, now=T0)
    assert "/" in beliefs.lookup("new.test", network=HOME, now=T0, addresses=ADDRESSES).scope


def lose_post(beliefs: Beliefs) -> None:
    lost = outcome(failed(), host=HOST, at=T0, protocol=Protocol.HTTP, inbound=Inbound.HTTP)
    beliefs.learn(replace(lost, request=replace(lost.request, http=HttpRequest("POST", "/"))), network=HOME, now=T0)
    assert beliefs.comparison_due(HOST, network=HOME, now=T0)


ALL = frozenset({HOST, BESIDE, STRANGER})
CHANGES: dict[str, tuple[Callable[[Beliefs], object], frozenset[str]]] = {
    "it answers for the first time": (lambda b: b.learn(works(HOST, at=T0), network=HOME, now=T0), frozenset({HOST})),
    "another one does": (lambda b: b.learn(works("new.test", at=T0), network=HOME, now=T0), frozenset()),
    "one of its domain does": (lambda b: b.learn(works("c.example.org", at=T0), network=HOME, now=T0), frozenset()),
    "it is blocked": (lambda b: block(b, HOST), frozenset({HOST})),
    "no route reaches it": (lambda b: b.learn(outcome(failed(), host=HOST), network=HOME, now=T0), frozenset({HOST})),
    "a POST to it is lost": (lose_post, frozenset({HOST})),
    "its domain is blocked": (block_domain, frozenset({HOST, BESIDE})),
    "a prefix is suspect": (block_prefix, ALL),
    "it is blocked on another network": (
        lambda b: b.learn(Intercepted(HOST, known=True, fingerprint="f"), network=AWAY, now=T0), frozenset()
    ),
    "the network is restricted": (lambda beliefs: restrict(beliefs, now=T0), ALL),
    "this computer is offline": (
        lambda b: b.learn(outcome(failed(Symptom.OFFLINE, Stage.CONNECT), host="new.test"), network=HOME, now=T0), ALL
    ),
    "the clock is set": (lambda b: b.all(now=T0 - 3600), ALL),
    "this computer was suspended": (
        lambda b: b.note(ComputerResumed(), network=HOME, now=T0), frozenset()
    ),
    "a measurement of it ends": (
        lambda b: b.measured(HOST, LastResult(SiteStatus.SITE_DOWN, T0, Source.MEASUREMENT), network=HOME), frozenset()
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_changes_the_bases_that_rest_on_it(what: str) -> None:
    happen, expected = CHANGES[what]
    beliefs = Beliefs(DetectTuning())
    open_uplink(beliefs, now=T0)
    bases = {host: basis_of(beliefs, host) for host in ALL}

    happen(beliefs)

    assert {host for host, basis in bases.items() if basis.changed} == expected


FORGOTTEN = {"its own": (HOST, {HOST}), "of its domain": ("example.org", {HOST}), "all": (None, {HOST, STRANGER})}


@pytest.mark.parametrize("what", FORGOTTEN)
def test_what_is_forgotten_changes_the_bases_that_rested_on_it(what: str) -> None:
    scope, expected = FORGOTTEN[what]
    beliefs = Beliefs(DetectTuning())
    for host in (HOST, STRANGER):
        block(beliefs, host)
    bases = {host: basis_of(beliefs, host) for host in (HOST, STRANGER)}

    beliefs.forget(scope, HOME)

    assert {host for host, basis in bases.items() if basis.changed} == expected


def test_a_thousand_first_visits_leave_the_basis_of_another_host() -> None:
    beliefs = Beliefs(DetectTuning())
    beliefs.learn(works(), network=HOME, now=T0)
    basis = basis_of(beliefs)
    for number in range(1000):
        host = f"www.fresh{number}.test" if number % 10 else f"fresh{number}.example.org"
        basis_of(beliefs, host)
        beliefs.learn(works(host, at=T0), network=HOME, now=T0)
    assert not basis.changed
    assert basis_of(beliefs) is basis


def test_a_basis_that_nothing_will_tell_of_changes_has_changed() -> None:
    bases = Bases()
    first = bases.add(HOME, "0.test", T0)
    again = bases.add(HOME, "0.test", T0)
    assert (first.changed, again.changed) == (True, False)
    held = [again, *(bases.add(HOME, f"{number}.test", T0) for number in range(1, BASES_MAX))]
    assert not any(basis.changed for basis in held)
    held.append(bases.add(HOME, "one more.test", T0))
    assert [basis for basis in held if basis.changed] == [again]


def test_of_bases_that_have_changed_nothing_is_kept() -> None:
    """Else a page with ever new hosts would fill the memory."""
    bases = Bases()
    for number in range(100):
        bases.add(HOME, f"{number}.example.org", T0)
        bases.on_scope_changed((HOME, f"{number}.example.org"))
    bases.add(AWAY, "a.example.org", T0)
    bases.add(AWAY, "example.org", T0)
    bases.on_scope_changed((AWAY, "*.example.org"))
    assert (len(bases._bases), len(bases._hosts)) == (0, 0)
