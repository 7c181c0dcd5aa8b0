"""Random histories of everything that Beliefs is told, with small and large steps of time and a clock that is set."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Callable
from dataclasses import replace

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.beliefs.events import (
    Carried,
    CertificateAccepted,
    ComputerResumed,
    ControlAnswered,
    DirectDelivered,
    Intercepted,
    NetworkLeft,
    PlainPageRequested,
    PortalSuspected,
    Retested,
    RungResult,
    RungTried,
    StrategyTried,
)
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
    Symptom,
    as_evidence,
)
from tests.support.outcomes import AWAY, HOME, TOR, VPS, delivered, failed, outcome, pending

T0 = 1_700_000_000.0
NEAR = "192.168.1.10"
HOSTS = ("a.example.org", "b.example.org", "c.example.org", "www.news.example", "mail.post.example", NEAR)
MANY = (*HOSTS, *(f"www.site{number}.example" for number in range(8)))
NETWORKS = (HOME, HOME, HOME, AWAY, UNKNOWN_NETWORK)
ADDRESSES = tuple(ipaddress.ip_address(f"192.0.2.{number}") for number in (1, 2, 3))
TLSREC, SPLIT = Route((), ("tlsrec",)), Route((), ("split",))
STEPS_S = (0.0, 0.01, 0.5, 1.0, 3.0, 5.0, 11.0, 29.0, 40.0, 61.0, 125.0, 700.0, 3700.0)
RARE_STEPS_S = (22_000.0, 86_400.0, 90_000.0, 900_000.0, 40 * 86_400.0)
BACK_S = (-0.5, -5.0, -50.0, -3600.0)

Answers = tuple[Belief, NetworkState, bool]
"""Of `lookup` and `comparison_due`, and between them the state of the network for the host."""


TUNINGS = {
    "default": DetectTuning(),
    "short": DetectTuning(known_s=20.0, restricted_known_s=30.0, down_s=9.0, last_good_s=100.0, rescue_suspect_s=15.0),
    "eager": DetectTuning(suspect_score=0.4, prefix_hosts=2, lift_apart_s=0.5, restricted_domains=3, refused_s=50.0),
}


class History:
    """One random history. It looks at the hosts in the order in which a connection does."""

    def __init__(self, seed: int, settings: DetectTuning) -> None:
        self.rng = random.Random(seed)
        self.now = T0
        self.beliefs = Beliefs(
            settings,
            rng=random.Random(seed),
            near=frozenset({NEAR}).__contains__,
            addresses=lambda host: self.addresses,
        )
        self.addresses: tuple[IPAddress, ...] = ()
        self.told: list[Outcome] = []
        self.found: set[object] = set()
        """The states that were met."""

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
        host, network, ok = rng.choice(MANY), rng.choice(NETWORKS), rng.random() < 0.5
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
            """Foreign sites fail and a domestic one answers; now and then a foreign one does over plain HTTP."""
            for number in range(6):
                seen = outcome(failed(), delivered(TOR), host=f"www.site{number}.example", at=now)
                beliefs.learn(seen, network=network, now=now)
            beliefs.learn(DirectDelivered("domestic.test"), network=network, now=now)
            for page in ("one.control.test", "two.control.test"):
                beliefs.learn(ControlAnswered(page, ConnectivityResult.FAILED, started=now), network=network, now=now)
            beliefs.note(PlainPageRequested(came=int(now) % 3 == 0), network=network, now=now)

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
            (1, lambda: beliefs.search_due(
                host, (TLSREC, SPLIT), [str(ADDRESSES[0])], Protocol.TLS, network=network, now=now)),
            (1, lambda: beliefs.learn(StrategyTried(host, SPLIT, ok=ok), network=network, now=now)),
            (1, lambda: beliefs.learn(RungTried(host, SPLIT, rng.choice([*RungResult])), network=network, now=now)),
        ]  # fmt: skip
        rng.choices([act for _, act in what], [weight for weight, _ in what])[0]()
        beliefs.all(now=now)  # as most of these do, so that each time is told

    def ask(self, host: str, network: NetworkId) -> Answers:
        beliefs, now = self.beliefs, self.now
        return (
            beliefs.lookup(host, network=network, now=now, addresses=self.rng.choice(((), ADDRESSES[:1], ADDRESSES))),
            beliefs.about(host, network=network, now=now).network_state,
            beliefs.comparison_due(host, network=network, now=now),
        )

    def pass_time(self) -> None:
        rng = self.rng
        kind = rng.choices((STEPS_S, RARE_STEPS_S, BACK_S), (94, 3, 3))[0]
        self.now += rng.choice(kind) * rng.choice((1.0, rng.random()))

    def run(self, steps: int) -> History:
        for _ in range(steps):
            if self.rng.random() < 0.5:
                self.tell()
            if self.rng.random() < 0.6:
                self.pass_time()
            for host in self.rng.sample(HOSTS, 3):
                belief, network_state, is_due = self.ask(host, self.rng.choice(NETWORKS))
                self.found |= {belief.state, network_state, is_due}
        return self
