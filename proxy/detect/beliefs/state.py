"""Everything that is believed, as one state: each table with its limit.

The state decides nothing. The functions of `transitions`, `network_health`, `aggregation`, `counting`, `retests`,
`clock`, `after_delivery`, `outcomes` and `learning` read and write it. Each calls only modules before its own here.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs.generations import Generations
from proxy.detect.beliefs.tables import AddressTable, DomainCounter, HostLru, HostTable, Key, KeyTable, NameCounter
from proxy.detect.scopes import registrable
from proxy.detect.signals import Observed
from proxy.detect.verdict.results import NO_RESULT_STORE, Results, ResultStore
from proxy.model import (
    TROUBLED,
    Belief,
    Change,
    ConnectivityResult,
    IPAddress,
    NetworkId,
    NetworkState,
    Outcome,
    Protocol,
    Route,
    Signal,
    SignalId,
    StoredResult,
)
from proxy.model.bounded import Bounded
from proxy.model.frozen_dataclass import frozen_dataclass

NEVER = float("-inf")

NETWORKS_MAX = 64
FAILING_MAX = 512
"""Failing domains remembered on one network: five make it restricted, and there relays go first for each."""

CONTROLS_MAX = 64
"""Control pages whose last result on one network is remembered: a configuration that changes may name ever more."""

PREFIXES_MAX = 1024
"""Prefixes that are suspect, and those that are on the way to it."""
PREFIX_HOSTS_MAX = 8
"""Failing hosts remembered of one prefix."""

DOMAINS_MAX = 1024
FAILED_MAX = 64
"""Hosts remembered of one troubled domain for having failed."""

WAITING_MAX = 256
"""Hosts that wait at the control gate at once: many times those of one page."""

ADDRESSES_MAX = 4096
"""Addresses in a residual window."""

COUNTED_MAX = 8192
"""Connections of which the counted signals are remembered; a late judgement comes within 7 s."""

SHARED_PLACES_MAX = 256
SHARED_DOMAINS_MAX = 16
"""Redirect targets and addresses that unrelated sites may share, and domains remembered of each."""

SETTLED_MAX = 4096
"""Hosts of which a settled visit is remembered."""

Refine = Callable[[Outcome, Signal], Signal]
"""An addon's change of a signal before it counts; a weight of 0 removes it."""


def unrefined(_outcome: Outcome, signal: Signal) -> Signal:
    """Returns the signal as it is: no addon refines signals."""
    return signal


class Working:
    """A host that direct delivered."""

    __slots__ = ("at", "belief", "domain", "is_near", "is_undisturbed", "renew_at")

    def __init__(self, belief: Belief, at: float, renew_at: float, *, is_near: bool) -> None:
        self.belief = belief
        self.domain = registrable(belief.scope)
        self.is_near = is_near  # its delivery is no control
        self.at = at
        self.renew_at = renew_at
        self.is_undisturbed = True  # nothing else was learned since: another success only moves `at`


@frozen_dataclass
class Waiting:
    """Signals of a host that wait at a gate, and since when."""

    observed: tuple[Observed, ...]
    since: float
    story: str = ""
    compared: bool = True  # other routes were tried with the same request, or could have been


class SettledVisit(NamedTuple):
    """A visit that a relay delivered and that taught nothing. The next one like it teaches nothing either."""

    route: Route
    protocol: Protocol
    port: int
    until: float
    generation: int
    """That of the host."""


@frozen_dataclass
class Delivery:
    """One direct delivery, at a fixed time."""

    domain: str
    at: float


DirectDelivery = Delivery | Working
"""A host's domain, and when it last delivered direct. The date of a `Working` moves on."""

NO_DELIVERY = Delivery("", NEVER)


@frozen_dataclass
class ControlResult:
    """The last result of a control page. `is_repeated`: it had failed before, and some host delivered direct after that
    and before this request."""

    result: ConnectivityResult
    at: float
    is_domestic: bool
    is_repeated: bool = False

    @property
    def has_failed(self) -> bool:
        return self.result is ConnectivityResult.FAILED


@dataclass(slots=True)
class NetworkRecord:
    """One network. `last` delivered last, and `before_at` is when any other domain last did: both together tell when a
    domain other than a given one delivered."""

    last: DirectDelivery = NO_DELIVERY
    before_at: float = NEVER
    state: NetworkState = NetworkState.OK
    failing: Bounded[str, float] = field(default_factory=lambda: Bounded(FAILING_MAX))
    control_results: Bounded[str, ControlResult] = field(default_factory=lambda: Bounded(CONTROLS_MAX))  # by host
    passes: int = 0  # foreign controls that passed in a row
    failed_relay_count: int = 0  # while restricted: connections in a row for which no relay got through
    control_at: float = NEVER
    delivered_before_control: float = NEVER  # when a host had last delivered direct, at `control_at`
    stalls: Bounded[str, float] = field(default_factory=lambda: Bounded(FAILING_MAX))
    """Domains of flows that stalled without a witness, and when each was last seen unanswered."""
    portal_page: str = ""  # URL of the login page, while a captive portal is there; empty: not known
    portal_suspected: bool = False  # something else answered in place of a site
    trusted_at: float = NEVER  # when a client last accepted a certificate over direct, or a control page was well
    resigned: dict[str, Bounded[str, bool]] = field(default_factory=dict)  # issuer → domain → was it a control

    @property
    def dated_tables(self) -> tuple[Bounded[str, Any], ...]:
        """The tables whose dates are void once the clock is set."""
        return self.failing, self.control_results, self.stalls

    @property
    def host_tables(self) -> tuple[Bounded[str, Any], ...]:
        """All tables that are kept by host or domain."""
        return *self.dated_tables, *self.resigned.values()


class BeliefState:
    """All that is believed. Belongs to one thread. A key is a network and a scope on it; a place is a network and a
    scope or an address on it."""

    def __init__(
        self,
        settings: DetectTuning,
        known: Iterable[Belief] = (),
        *,
        rng: random.Random,
        listed: Callable[[str], bool] = lambda host: False,
        is_near: Callable[[str], bool] = lambda host: False,
        addresses: Callable[[str], Iterable[IPAddress]] = lambda host: (),
        refine: Refine = unrefined,
        results: Iterable[StoredResult] = (),
        store: ResultStore = NO_RESULT_STORE,
    ) -> None:
        """See `Beliefs`."""
        total, per_domain = settings.hosts_max, settings.hosts_per_domain_max
        self.settings = settings
        self.rng = rng
        self.listed = listed
        self.is_near = is_near
        self.addresses = addresses
        self.refine = refine

        # -- how long what is kept stays true: until a generation is raised, and until a date
        self.generations = generations = Generations()
        self.holds_until = NEVER
        """The earliest date that was read since `begin_reading`."""

        # -- the clock: the time of the last call, the latest of all, and until when nothing is learned
        self.now = self.latest = NEVER
        self.quiet_until = NEVER
        self.clock_ahead = (0.0, NEVER)  # how far this computer's clock is ahead, and when that was seen

        # -- what is believed: what lasts, hosts that simply work direct, and those that no route reached or that refuse
        # every route. The last two are in memory only.
        self.stored: HostLru[Belief] = HostLru(generations, total=total, per_domain=per_domain)
        self.works: HostLru[Working] = HostLru(generations, total=total, per_domain=per_domain)
        self.transient: HostLru[Belief] = HostLru(generations, total=total, per_domain=per_domain)
        self.priors: HostLru[float] = HostLru(total=total, per_domain=per_domain)
        """The first trouble of a listed host, from which its prior decays."""
        self.untold: list[Change] = []
        """Changes by a clock jump or by time alone: the next call returns them."""
        for belief in sorted(known, key=lambda b: b.last_good_at):
            self.stored.put((belief.network, belief.scope), belief)

        # -- signals that have not passed both gates
        self.unexplained: HostLru[Waiting] = HostLru(total=total, per_domain=per_domain)
        """Signals that wait for another route to deliver."""
        self.unproven: HostLru[Waiting] = HostLru(total=total, per_domain=per_domain)
        """Frozen and throttled flows, which wait for a relay to carry more."""
        self.at_control: KeyTable[Waiting] = KeyTable(WAITING_MAX)
        """Signals that wait for another host to deliver direct."""
        self.counted: Bounded[int, Counter[SignalId]] = Bounded(COUNTED_MAX)
        """The signals of a connection that have counted, by its request's id."""
        self.shared = DomainCounter(places=SHARED_PLACES_MAX, names=SHARED_DOMAINS_MAX)
        """Domains that lead to one place."""
        self.residual = AddressTable(ADDRESSES_MAX)
        """Addresses in a residual window, with its beginning and the host that began it."""
        self.early_resets: HostLru[float] = HostLru(total=total, per_domain=per_domain)
        self.statuses: HostLru[Mapping[Route, tuple[float, int]]] = HostLru(total=total, per_domain=per_domain)
        """When each route got which HTTP status of a host, where a route was refused."""

        # -- domains and prefixes
        self.domains = {key for key in self.stored if key[1].startswith("*.")}
        """The domains of which anything is stored."""
        suspect = [
            (belief.until, key) for key, belief in self.stored.items() if "/" in key[1] and belief.state in TROUBLED
        ]
        self.prefixes: dict[Key, None] = dict.fromkeys(key for _, key in sorted(suspect))
        """The suspect prefixes, in the order in which they end: all are suspect for the same time."""
        self.failed_under = NameCounter(places=DOMAINS_MAX, names=FAILED_MAX)
        """Hosts that failed in a troubled domain."""
        self.failing_in = NameCounter(places=PREFIXES_MAX, names=PREFIX_HOSTS_MAX)
        """Hosts that failed at the SYN in a prefix."""
        self.frozen_in = NameCounter(places=PREFIXES_MAX, names=PREFIX_HOSTS_MAX)
        """Hosts whose transfers froze in a prefix."""
        self.worked_in: KeyTable[float] = KeyTable(PREFIXES_MAX)
        """When a prefix last answered direct."""

        # -- networks
        self.networks: Bounded[NetworkId, NetworkRecord] = Bounded(NETWORKS_MAX)
        self.unresolved: Bounded[NetworkId, frozenset[str]] = Bounded(NETWORKS_MAX)
        """Domains whose names the system's resolver did not answer for, since it last resolved any: a few."""

        # -- re-tests
        self.claims: KeyTable[float] = KeyTable(settings.retest_per_hour * NETWORKS_MAX)
        """Re-tests under way, and when each claim ends."""
        self.spent: Bounded[NetworkId, deque[float]] = Bounded(NETWORKS_MAX)
        """When the re-tests of the last hour began."""

        # -- visits
        self.results = Results(settings, results, store)
        self.settled: KeyTable[SettledVisit] = KeyTable(SETTLED_MAX)
        self.ignored: list[Collection[int]] = []
        """Ids of requests from whose connections nothing is learned."""

    @property
    def dated_tables(self) -> tuple[HostTable, ...]:
        """The tables of hosts whose dates are void once the clock is set, so that it clears them."""
        return (
            *(self.transient, self.early_resets, self.statuses, self.residual, self.shared, self.claims, self.settled),
            *(self.unexplained, self.unproven, self.at_control),
            *(self.failing_in, self.frozen_in, self.worked_in),
        )

    @property
    def host_tables(self) -> tuple[HostTable, ...]:
        """All tables that forget hosts as a user or a network that was left requires. `stored` is not among them: what
        it forgets is told (`transitions.forget_stored`)."""
        return *self.dated_tables, self.works, self.priors, self.failed_under

    def begin_reading(self, now: float, longest_s: float) -> None:
        """Sets `holds_until` anew: what is read from now on holds for `longest_s` at most. While the clock is behind an
        earlier call, it does not hold at all."""
        self.holds_until = now + longest_s if now >= self.latest else now

    def lasts(self, until: float, now: float) -> bool:
        """Whether something that ends at `until` lasts at `now`. What is read holds until then at most; and not at all
        if it has ended, since whoever renews it need not raise a generation."""
        if until < self.holds_until:
            self.holds_until = until
        return now < until
