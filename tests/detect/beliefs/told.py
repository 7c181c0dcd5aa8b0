"""What Beliefs can be told, as values that the state machines draw; and beliefs with all that they were told.

`KNOWN` names what the code of today does not keep of what `machine` and `healthy` check; each has a test of its own in
`test_machine`, which states what happens instead.
"""

from __future__ import annotations

import functools
import ipaddress
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import strategies as st

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.beliefs.events import (
    BlockMeasured,
    Carried,
    Circumstance,
    DirectDelivered,
    Event,
    EventBeside,
    Intercepted,
    OpenMeasured,
    PageCompared,
    Retested,
    RungResult,
    RungTried,
    SilenceExplained,
    SpeedsCompared,
    StrategyBroke,
    StrategyTried,
)
from proxy.detect.beliefs.state import BeliefState
from proxy.detect.beliefs.tables import Key
from proxy.detect.beliefs.transitions import current
from proxy.detect.scopes import registrable
from proxy.model import (
    DIRECT,
    DOH,
    UNKNOWN_NETWORK,
    Attempt,
    Belief,
    Cause,
    Change,
    HttpRequest,
    Inbound,
    IPAddress,
    NetworkId,
    Outcome,
    PageDoubt,
    Protocol,
    Route,
    Signal,
    SignalId,
    Stage,
    Symptom,
    as_evidence,
)
from tests.detect.world import T0, NoJitter
from tests.support.outcomes import AWAY, HOME, TOR, VPS, delivered, failed, outcome, pending

KNOWN = {
    "L4": "what lapses is told with the next event alone",
    "L7": "a date of a re-test is corrected without a Change",
    "L12": "whether what waits at the control gate counts first, or what its host shows at the instant of the release",
    "L17": "two hosts of a domain that are each reset once block the domain",
    "L19": "certificates of a stranger make a domain suspect only if they waited at the control gate",
    "L20": "a network becomes restricted by a failure or a control page, and not by the delivery that was missing",
    "I7": "reading drops what has lapsed, and corrects it",
}
"""What the code of today does not keep; the machine leaves these out. Take a line away with its mend."""

DAY = 86_400.0
NEAR = "192.168.1.10"
LITERAL = "198.51.100.7"
HOSTS = (
    "alpha.example.org",
    "beta.example.org",
    "listed.example.org",
    "www.news.test",
    "mail.news.test",
    "post.news.test",
)
ALL_HOSTS = (*HOSTS, NEAR, LITERAL)
NETWORKS = (HOME, AWAY, UNKNOWN_NETWORK)
PAGES = ("one.control.test", "two.control.test", "domestic.control.test")
SHARED = "192.0.2.77"
"""An address that all sites may have in common, as those of a CDN."""

SMALL = DetectTuning(hosts_max=20, hosts_per_domain_max=4)
TUNINGS = {"default": DetectTuning(), "small": SMALL}
SYMPTOMS = (
    (Symptom.RESET, Stage.FIRST_BYTE),
    (Symptom.DROPPED, Stage.FIRST_BYTE),
    (Symptom.SILENT, Stage.FIRST_BYTE),
    (Symptom.EOF, Stage.FIRST_BYTE),
    (Symptom.TIMEOUT, Stage.CONNECT),
    (Symptom.REFUSED, Stage.CONNECT),
    (Symptom.RESOLVE_FAILED, Stage.RESOLVE),
    (Symptom.BLOCK_PAGE, Stage.FIRST_BYTE),
    (Symptom.REDIRECTED, Stage.FIRST_BYTE),
    (Symptom.CERTIFICATE, Stage.FIRST_BYTE),
    (Symptom.FORGED, Stage.FIRST_BYTE),
    (Symptom.OFFLINE, Stage.CONNECT),
)
SPOILED = (Symptom.FROZEN, Symptom.THROTTLED, Symptom.RESET)
SPLIT, TLSREC, HOSTCASE = (Route((), (word,)) for word in ("split", "tlsrec", "hostcase"))
SLEEPS = (0.01, 1.0, 4.0, 12.0, 31.0, 61.0, 130.0, 700.0, 3_700.0, 22_000.0, DAY, 5 * DAY, 11 * DAY, 40 * DAY)
BACK = (-0.5, -5.0, -50.0, -3600.0)


def is_near(host: str) -> bool:
    return host == NEAR


def is_listed(host: str) -> bool:
    return host.startswith("listed.")


@functools.cache
def addresses_of(host: str) -> tuple[IPAddress, ...]:
    """Each domain has its own addresses, of a prefix of its own."""
    number = sum(registrable(host).encode()) % 200
    return tuple(ipaddress.ip_address(f"203.{number}.113.{end}") for end in (1, 2))


def new_beliefs(tuning: DetectTuning, known: Iterable[Belief] = ()) -> Beliefs:
    return Beliefs(tuning, known, rng=NoJitter(), near=is_near, listed=is_listed, addresses=addresses_of)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a method of Beliefs. The same calls lead to the same beliefs, so that they are a copy of them."""

    method: str
    given: tuple[Any, ...] = ()
    named: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, beliefs: Beliefs) -> Any:
        return getattr(beliefs, self.method)(*self.given, **self.named)


@dataclass(frozen=True, slots=True)
class Visit:
    """What is drawn of a visit. `kind` is one of KINDS: direct works, a relay rescues, both are down, direct fails
    alone, it is late, a relay goes alone, direct is spoiled after its first byte, or cut by time, a local strategy
    fails as well, or the site refuses direct, or all."""

    kind: str
    host: str
    fault: tuple[Symptom, Stage] = SYMPTOMS[0]
    relay: Route = TOR
    ago: float = 0.1
    protocol: Protocol = Protocol.TLS
    port: int = 443
    is_large: bool = False
    is_shared: bool = False  # at an address that other sites have as well
    is_post: bool = False
    hellos: int = 0  # that left at once on direct, if more than one did lately

    @property
    def opens_direct(self) -> bool:
        return self.kind in ("works", "spoiled", "cut", "refused", "refused by all")

    def outcome(self, now: float) -> Outcome:
        address = f"{SHARED if self.is_shared else addresses_of(self.host)[0]}:{self.port}"
        works = replace(delivered(), address=address)
        symptom, stage = self.fault
        fault = replace(failed(symptom, stage), address=address if stage is not Stage.RESOLVE else "")
        if self.hellos:
            works, fault = (replace(each, evidence=as_evidence({"hellos": self.hellos})) for each in (works, fault))
        if symptom is Symptom.REDIRECTED:
            fault = replace(fault, evidence=as_evidence({"elsewhere": "warning.censor.test"}))
        if symptom is Symptom.FORGED:
            fault = replace(fault, evidence=as_evidence({"dns": "dns_bogon"}))
        relayed = delivered(self.relay)
        refusal = as_evidence({"status": 403})
        attempts: dict[str, list[Attempt]] = {
            "works": [works],
            "rescued": [fault, relayed],
            "down": [fault, failed(Symptom.RESOLVE_FAILED, Stage.RESOLVE, DOH), failed(Symptom.SILENT, route=TOR)],
            "alone": [fault],
            "late": [pending(), relayed],
            "relay": [relayed],
            "spoiled": [replace(works, symptom=SPOILED[SYMPTOMS.index(self.fault) % len(SPOILED)])],
            "cut": [replace(works, symptom=Symptom.RESET, evidence=as_evidence({"cut_s": 5.0}))],
            "rung": [fault, replace(failed(Symptom.DROPPED, route=TLSREC), address=address), relayed],
            "refused": [replace(works, evidence=refusal), relayed],
            "refused by all": [replace(works, evidence=refusal), replace(relayed, evidence=refusal)],
        }
        made = outcome(
            *attempts[self.kind],
            host=self.host,
            at=now - self.ago,
            protocol=self.protocol,
            winner=DIRECT if self.kind in ("spoiled", "cut") else None,
            bytes_down=100_000 if self.is_large else 0,
            port=self.port,
        )
        if self.is_post:
            request = replace(made.request, inbound=Inbound.HTTP, http=HttpRequest("POST", "/"))
            made = replace(made, request=request, protocol=Protocol.HTTP)
        return made

    def call(self, network: NetworkId, now: float) -> Call:
        return learn(self.outcome(now), network, now)


def learn(event: Event, network: NetworkId, now: float) -> Call:
    return Call("learn", (event,), {"network": network, "now": now})


def note(event: Circumstance, network: NetworkId, now: float) -> Call:
    return Call("note", (event,), {"network": network, "now": now})


@dataclass(frozen=True, slots=True)
class Beside:
    """What is found out about a host beside its connections."""

    event: EventBeside

    @property
    def host(self) -> str:
        return self.event.host

    @property
    def opens_direct(self) -> bool:
        match self.event:
            case DirectDelivered() | OpenMeasured() | Retested(direct_ok=True):
                return True
            case Carried(route=route):
                return route.is_direct
        return False

    @property
    def is_of_a_stranger(self) -> bool:
        """Whether a certificate of an unknown issuer came."""
        return isinstance(self.event, Intercepted) and not self.event.known

    def call(self, network: NetworkId, now: float) -> Call:
        return learn(self.event, network, now)


def about_host(method: str, host: str, network: NetworkId, now: float) -> Call:
    """Returns a call of a method about a host."""
    given: dict[str, tuple[Any, ...]] = {
        "search_due": ((TLSREC, SPLIT), [*map(str, addresses_of(host))], Protocol.TLS),
        "next_rung": ((TLSREC, SPLIT),),
    }
    return Call(method, (host, *given.get(method, ())), {"network": network, "now": now})


UNRESOLVED = ((), ("example.org",), ("news.test", "one.test"), ("two.test", "three.test"))
KINDS = ("works", "rescued", "down", "alone", "late", "relay", "spoiled", "cut", "rung", "refused", "refused by all")
OFTEN = (HOSTS[0], HOSTS[0], HOSTS[0], HOSTS[3], HOSTS[3], *ALL_HOSTS)
hosts = st.sampled_from(OFTEN)
networks = st.sampled_from((HOME, HOME, HOME, HOME, AWAY, UNKNOWN_NETWORK))


def visits(
    among: Sequence[str] = OFTEN,
    *,
    kinds: Sequence[str] = KINDS,
    faults: Sequence[tuple[Symptom, Stage]] = SYMPTOMS,
    shares: bool = True,
) -> st.SearchStrategy[Visit]:
    """What is drawn most often stands in `among`, `kinds` and `faults` more than once."""
    return st.builds(
        Visit,
        kind=st.sampled_from(kinds),
        host=st.sampled_from(among),
        fault=st.sampled_from(faults),
        relay=st.sampled_from((TOR, VPS)),
        ago=st.sampled_from((0.1, 0.1, 5.0, 20.0)),
        protocol=st.sampled_from((Protocol.TLS, Protocol.TLS, Protocol.HTTP, Protocol.NONE)),
        port=st.sampled_from((443, 443, 80, 22)),
        is_large=st.booleans(),
        is_shared=st.booleans() if shares else st.just(False),
        is_post=st.sampled_from((False, False, False, True)),
        hellos=st.sampled_from((0, 0, 0, 0, 0, 0, 1, 6)),
    )


def events_beside(host: str) -> st.SearchStrategy[Beside]:
    at = f"{addresses_of(host)[0]}:443"
    was_reset = Signal(SignalId.TLS_RESET, 2.0, Cause.SNI_RESET, T0)
    froze = Signal(SignalId.FROZEN, 2.0, Cause.FROZEN, T0)
    return st.sampled_from(
        [
            Beside(event)
            for event in (
                DirectDelivered(host),
                Carried(host, DIRECT, 10**6),
                Carried(host, DIRECT, 10**6, address=at),
                Carried(host, TOR, 10**6),
                Carried(host, TOR, 100, lasted_s=30.0),
                Carried(host, TOR, 40_000, bytes_s=0.0, is_whole=True),
                Carried(host, DIRECT, 10**6, lasted_s=30.0),
                Retested(host, direct_ok=True, other_ok=True),
                Retested(host, direct_ok=False, other_ok=True),
                Retested(host, direct_ok=False, other_ok=False),
                StrategyTried(host, SPLIT, ok=True),
                StrategyTried(host, SPLIT, ok=False),
                StrategyBroke(host, failed(Symptom.FROZEN, Stage.DONE, route=SPLIT), (TLSREC,)),
                RungTried(host, SPLIT, RungResult.PASSED),
                RungTried(host, SPLIT, RungResult.FAILED),
                RungTried(host, TLSREC, RungResult.REJECTED),
                Intercepted(host, "state root", known=True),
                Intercepted(host, "stranger", known=False),
                BlockMeasured(host, was_reset, TOR, Protocol.TLS, at, "reset"),
                BlockMeasured(host, froze, TOR, Protocol.TLS, at, "it froze"),
                SilenceExplained(host, T0, TOR, 3.1, 0.1, 0.1, math.inf),
                SilenceExplained(host, T0, TOR, 3.1, 0.1, 0.1, 0.1),
                SilenceExplained(host, T0, TOR, 3.1, 0.1, math.inf, math.inf, 0.1),
                PageCompared(host, 7, at, T0, PageDoubt.SHARED, TOR, is_unlike=True),
                PageCompared(host, 7, at, T0, PageDoubt.UNLIKE, HOSTCASE, is_unlike=True),
                PageCompared(host, 7, at, T0, PageDoubt.SHARED, TOR, is_unlike=False),
                SpeedsCompared(host, at, Protocol.TLS, 130_000.0, TOR, 900_000.0),
                SpeedsCompared(host, at, Protocol.TLS, 130_000.0, TOR, 130_000.0),
                OpenMeasured(host, Protocol.TLS, at),
            )
        ]
    )


_TELLING = (*("rescued", "works") * 3, *KINDS)
_OF_ONE_SITE = [
    *SYMPTOMS[:1] * 4,
    *(fault for fault in SYMPTOMS if fault[0] not in (Symptom.OFFLINE, Symptom.REDIRECTED)),
]

of_one_instant = st.tuples(
    *(
        st.one_of(
            visits(among, kinds=_TELLING, faults=_OF_ONE_SITE, shares=False),
            st.sampled_from(among).flatmap(events_beside),
        )
        for among in (HOSTS[:3], HOSTS[3:])
    )
)
"""Two events about hosts of different domains, which have no address and no place of a redirect in common."""


def as_of(belief: Belief | None, now: float, tuning: DetectTuning) -> Belief | None:
    """A stored belief as a Byway that starts now would see it."""
    if belief is None:
        return None
    key = (belief.network, belief.scope)
    return current(BeliefState(tuning, [belief], rng=NoJitter()), key, now)


def reads(beliefs: Beliefs, now: float, order: Iterable[str] = ALL_HOSTS) -> list[object]:
    """The answers of all reads about all hosts."""
    found: list[object] = [beliefs.all(now=now), beliefs.held(ALL_HOSTS, now=now)]
    for network in NETWORKS:
        for host in order:
            found += [
                beliefs.lookup(host, network=network, now=now, addresses=addresses_of(host)),
                beliefs.about(host, network=network, now=now).network_state,
                beliefs.comparison_due(host, network=network, now=now),
            ]
    return found


def empty(found: Collection[object]) -> None:
    """Raises AssertionError with what was found, where pytest does not show it: in a run by hand."""
    assert not found, found


UPLINK = DirectDelivered("www.uplink.test")
"""Opens the control gate for all but its own domain."""


class Told:
    """Beliefs with all that they were told, and what they told of it."""

    def __init__(self, tuning: DetectTuning) -> None:
        self.tuning = tuning
        self.beliefs = new_beliefs(tuning)
        self.calls: list[Call] = []
        self.stored: dict[Key, Belief] = {}
        """What a store that was told of the Changes has."""

    def __call__(self, call: Call) -> Any:
        answer = call(self.beliefs)
        self.calls.append(call)
        if isinstance(answer, list):
            keep(self.stored, [change for change in answer if isinstance(change, Change)])
        return answer

    def copy(self, *more: Call) -> Beliefs:
        """Other beliefs that were told the same, and more."""
        made = new_beliefs(self.tuning)
        for call in (*self.calls, *more):
            call(made)
        return made


def keep(stored: dict[Key, Belief], changes: Iterable[Change]) -> None:
    for change in changes:
        assert isinstance(change, Change)
        if change.belief is None:
            stored.pop((change.network, change.scope), None)
        else:
            stored[change.network, change.scope] = change.belief
