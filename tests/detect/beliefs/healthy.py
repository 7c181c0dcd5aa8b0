"""A state machine over `Beliefs` on a network on which nothing is blocked.

Sites are slow, refuse, are down or reset a connection now and then, relays fail, and the computer sleeps. Nothing is
ever blocked, and a day later nothing is left.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.beliefs.counting import waits
from proxy.detect.beliefs.events import (
    Carried,
    CertificateAccepted,
    ComputerResumed,
    ControlAnswered,
    DirectDelivered,
    NetworkLeft,
    Retested,
)
from proxy.detect.scopes import registrable
from proxy.model import (
    DIRECT,
    TROUBLED,
    Attempt,
    ConnectivityResult,
    NetworkId,
    NetworkState,
    Protocol,
    Stage,
    State,
    Symptom,
    as_evidence,
)
from tests.detect.beliefs.machine import Machine
from tests.detect.beliefs.told import DAY, HOSTS, KNOWN, PAGES, SYMPTOMS, UPLINK, Call, addresses_of, empty, learn, note
from tests.support.outcomes import HOME, TOR, delivered, failed, outcome, pending

FEW = (HOSTS[0], HOSTS[1], HOSTS[3])
QUIET = 20
"""Connections of a host that direct opens, between two that are reset."""


class Healthy(Machine):
    """A network on which nothing is blocked. A visit goes by what is believed, as a session would plan it."""

    def __init__(self) -> None:
        super().__init__()
        self.quiet: dict[str, int] = {}  # by host: connections that direct opened since one was reset

    def is_troubled(self, host: str, network: NetworkId = HOME) -> bool:
        return self.beliefs.lookup(host, network=network, now=self.now).state in TROUBLED

    def seen(self, *attempts: Attempt, host: str, ago: float = 0.1, protocol: Protocol = Protocol.TLS) -> None:
        at = [replace(attempt, address=f"{addresses_of(host)[0]}:443") for attempt in attempts]
        self.learn(outcome(*at, host=host, at=self.now - ago, protocol=protocol), HOME)
        if any(attempt.route.is_direct and attempt.delivered for attempt in attempts):
            self.quiet[host] = self.quiet.get(host, QUIET) + 1

    def retest(self, host: str, *, reports: bool) -> None:
        if self.told(Call("retest_due", (host,), {"network": HOME, "now": self.now})) and reports:
            self.learn(Retested(host, direct_ok=True, other_ok=True), HOME)

    @rule(
        host=st.sampled_from(FEW),
        times=st.sampled_from((1, 2, QUIET)),
        apart=st.sampled_from((0.1, 30.0)),
        reports=st.booleans(),
    )
    def visit(self, host: str, times: int, apart: float, reports: bool = True) -> None:
        for _ in range(times):
            self.now += apart
            if self.is_troubled(host):
                self.seen(delivered(TOR), host=host)
                self.retest(host, reports=reports)
            else:
                self.seen(delivered(), host=host)

    @rule(host=st.sampled_from(FEW), late_s=st.sampled_from((1.0, 6.0)))
    def slow(self, host: str, late_s: float) -> None:
        """Direct is overtaken and answers later."""
        if self.is_troubled(host):
            return
        begun = self.now
        made = outcome(pending(), delivered(TOR), host=host, at=begun)
        self.now += 0.8
        self.learn(made, HOME)
        self.now += late_s
        self.learn(made.with_attempt(replace(delivered(elapsed=late_s), address=f"{addresses_of(host)[0]}:443")), HOME)

    @rule(host=st.sampled_from(FEW), opens=st.booleans())
    def reset(self, host: str, opens: bool = True) -> None:
        """One connection in many is reset, and a relay opens the site."""
        domain = registrable(host)
        alike = [other for other in HOSTS if registrable(other) == domain] if "L17" in KNOWN else [host]
        if self.quiet.get(host, QUIET) < QUIET or any(map(self.is_troubled, alike)):
            return
        if opens:
            self.learn(UPLINK, HOME)
        self.seen(failed(), delivered(TOR), host=host)
        self.quiet[host] = 0

    @rule(
        host=st.sampled_from(FEW),
        times=st.integers(1, 5),
        apart=st.sampled_from((10.0, 130.0)),
        reports=st.booleans(),
    )
    def resets_now_and_then(self, host: str, times: int, apart: float, reports: bool) -> None:
        for _ in range(times):
            self.reset(host)
            self.now += 130.0
            self.visit(host, QUIET + 1, apart, reports)

    @rule(host=st.sampled_from(FEW), by_relay=st.sampled_from((200, 403, 429)), direct=st.sampled_from((200, 403, 451)))
    def refuses(self, host: str, by_relay: int, direct: int) -> None:
        attempts = [
            replace(delivered(route), evidence=as_evidence({"status": status}))
            for route, status in ((DIRECT, direct), (TOR, by_relay))
        ]
        self.seen(*attempts, host=host, protocol=Protocol.HTTP)

    @rule(
        host=st.sampled_from(FEW),
        fault=st.sampled_from(SYMPTOMS[:7]),
        times=st.sampled_from((1, 3)),
        apart=st.sampled_from((1.0, 20.0, 61.0)),
    )
    def dead_site(self, host: str, fault: tuple[Symptom, Stage], times: int, apart: float) -> None:
        """Every route fails, while other sites open."""
        for _ in range(times):
            self.seen(failed(*fault), failed(fault[0], Stage.FIRST_BYTE, TOR), host=host)
            self.learn(UPLINK, HOME)
            self.now += apart

    @rule(host=st.sampled_from(FEW), symptom=st.sampled_from((Symptom.RELAY_DOWN, Symptom.RELAY_AUTH, Symptom.SILENT)))
    def dead_relay(self, host: str, symptom: Symptom) -> None:
        self.seen(failed(symptom, Stage.RELAY, TOR), delivered(), host=host)

    @rule(page=st.sampled_from(PAGES))
    def control(self, page: str) -> None:
        if self.told(Call("control_wanted", (HOME, self.now))):
            self.learn(ControlAnswered(page, ConnectivityResult.WELL, self.now, page.startswith("domestic")), HOME)

    @rule(host=st.sampled_from(FEW))
    def tunnel_receives(self, host: str) -> None:
        self.learn(DirectDelivered(host), HOME)

    @rule()
    def certificate(self) -> None:
        self.told(note(CertificateAccepted(), HOME, self.now))

    @rule(host=st.sampled_from(FEW))
    def carried(self, host: str) -> None:
        self.learn(Carried(host, DIRECT, 10**6), HOME)

    @rule(seconds=st.sampled_from((1.0, 12.0, 61.0, 130.0, 3_700.0, 22_000.0)))
    def sleep(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def resume(self) -> None:
        self.told(note(ComputerResumed(), HOME, self.now))

    @rule()
    def another_network(self) -> None:
        self.told(learn(NetworkLeft(), HOME, self.now))

    @rule()
    def a_day_without_a_visit(self) -> None:
        """I2."""
        self.now += DAY + 1
        empty(remains(self.beliefs, self.now))

    @invariant()
    def nothing_is_blocked(self) -> None:
        """I1."""
        empty([belief for belief in self.beliefs.all(now=self.now) if belief.state is State.BLOCKED])

    def teardown(self) -> None:
        self.a_day_without_a_visit()


def remains(beliefs: Beliefs, now: float) -> list[object]:
    """What is still said of sites and of the network, though nothing has happened for a day."""
    found: list[object] = [belief for belief in beliefs.all(now=now) if belief.state is not State.WORKS]
    for host in HOSTS:
        state = beliefs.lookup(host, network=HOME, now=now, addresses=addresses_of(host)).state
        found += [(host, state)] if state not in (State.UNKNOWN, State.WORKS) else []
        found += [(host, "compare")] if beliefs.comparison_due(host, network=HOME, now=now) else []
        found += [(host, "result")] if beliefs.last_result(host, network=HOME, now=now) is not None else []
        found += [(host, "may be no control")] if not beliefs.may_be_control(host, network=HOME, now=now) else []
    found += [state for state in [beliefs.network_state(HOME)] if state is not NetworkState.OK]
    found += ["a signal waits"] if waits(beliefs._state, HOME, now) else []
    found += ["a claim"] if any(until > now for until in beliefs._state.claims.values()) else []
    found += [page for page in [beliefs.portal_page(HOME)] if page]
    return found
