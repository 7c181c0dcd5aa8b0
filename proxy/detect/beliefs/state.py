"""Everything that is believed, as one state: each table with its limit.

The state decides nothing. The functions of `transitions`, `network_health`, `cut_hellos`, `aggregation`, `counting`,
`hello_bursts`, `retests`, `rungs`, `clock`, `page_doubts`, `after_delivery`, `outcomes` and `learning` read and write
it. Each calls only modules before its own here.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs.generations import Generations
from proxy.detect.beliefs.tables import (
    AddressTable,
    DomainCounter,
    HostLru,
    HostTable,
    Key,
    KeyTable,
    NameCounter,
    PageTable,
)
from proxy.detect.scopes import registrable
from proxy.detect.signals import Observed
from proxy.detect.verdict.results import NO_RESULT_STORE, Results, ResultStore
from proxy.model import (
    TROUBLED,
    Belief,
    Cause,
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

CUTS_MAX = 64
"""Addresses at which a cut ClientHello went unanswered: visits to them within three minutes are compared."""

COUNTED_MAX = 8192
"""Connections of which the counted signals are remembered; a late judgement comes within 7 s."""

SHARED_PLACES_MAX = 256
SHARED_DOMAINS_MAX = 16
"""Redirect targets and addresses that unrelated sites may share, and domains remembered of each."""

BURSTS_MAX = 64
"""Hosts on one network whose bursts of ClientHellos went unanswered."""

PUNISHED_MAX = 16
"""Domains remembered on one network for the same punishment: two suffice."""

PROOFS_MAX = 1024
"""Hosts of which the last experiment about a silence is remembered, for a day: 144 on one network at most."""

PAGES_MAX = 512
"""Small pages over plain HTTP whose domains are remembered, and hosts with a page of their own that others show as
well."""

COMPARED_PAGES_MAX = 1024
"""Hosts of which the last comparison of pages, or the wish for one, is remembered."""

SPEEDS_MAX = 1024
"""Hosts whose speed was compared, as many as experiments: they share their budget."""

ALIKE_MAX = 8
"""Routes remembered of one host that were not much faster than direct."""

RESIDUE_MAX = 2
"""Protocols in which strategies are searched for: TLS and plain HTTP."""

CAUSES_MAX = 8
"""Causes of blocks for which the local strategy that passes is remembered on one network: those by name."""

UNSERVED_MAX = 1024
"""Hosts that nothing delivered, of which it is remembered what was tried."""

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
class Cut:
    """Direct connections of a host were cut `after_s` after their handshakes, last at `at`."""

    at: float
    after_s: float


class Speeds(NamedTuple):
    """Comparisons of the speed of direct to one host with that of another route, and when the latest began."""

    times: tuple[float, ...] = ()
    faster: Route | None = None
    """The route that was much faster in the last one, at `faster_at`; None: it was not."""
    faster_at: float = NEVER
    alike: tuple[Route, ...] = ()
    """Those that were not, since another was last."""
    not_shown_at: float = NEVER
    """When its first page was found to show no speed."""


@frozen_dataclass
class KnownRungs:
    """What is known on one network of local strategies, as routes, against one cause. It names no host."""

    passes: Route | None = None
    """The simplest one that passed for some host."""
    passed_at: float = NEVER  # when it last did
    failures: int = 0  # of it since then, each for another host
    failed: Mapping[Route, float] = field(default_factory=dict)  # when each other one last failed
    simpler_at: float = NEVER  # when one before it in the order was last tried again


@frozen_dataclass
class Unserved:
    """A host that no route delivered, of which direct failed as where a name is blocked. It may be down as well, so
    this is no belief."""

    observed: Observed  # the heaviest signal of the last such visit
    since: float  # the first visit
    seen_at: float  # the last one
    episodes: int = 1  # visits that lie far enough apart
    failed: Mapping[Route, float] = field(default_factory=dict)  # when searches tried each local strategy in vain


class Frozen(NamedTuple):
    """Where transfers of a host froze."""

    addresses: frozenset[IPAddress]
    other_at: float = NEVER
    """When direct has since last carried enough of another host at one of them: the host froze by its name."""


@frozen_dataclass
class Fares:
    """How long the answers to a host's hellos took: through a relay, and in the last visits over a local strategy."""

    relay_s: float = 0.0  # 0: not known
    rung: Route | None = None
    rung_s: tuple[float, ...] = ()


class Residue(NamedTuple):
    """Whether a network breaks what follows a broken flight, in one protocol."""

    asked_at: float = NEVER  # when an address at which one was just broken was last to be sent another name
    free_at: float = NEVER  # when it answered that


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
    request and before this one."""

    result: ConnectivityResult
    at: float
    requested_at: float
    is_domestic: bool
    is_repeated: bool = False

    @property
    def has_failed(self) -> bool:
        return self.result is ConnectivityResult.FAILED


class Burst(NamedTuple):
    """ClientHellos of one name that left at once, and went unanswered. `is_well`: another site delivered meanwhile."""

    at: float
    prefix: str
    is_well: bool
    answered_at: float = NEVER  # when a hello that was in no burst was answered


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
    failed_relay_count: int = 0  # connections in a row for which no relay got through
    relays_tried_at: float = NEVER  # when relays were last tried
    control_at: float = NEVER
    delivered_before_control: float = NEVER  # when a host had last delivered direct, at `control_at`
    asked_all: bool = False  # whether all control pages were requested then, and not one alone
    is_undecided: bool = False  # foreign ones failed, which is a restriction or an outage
    plain_works: bool = False  # a foreign page came over plain http, when they last failed over https
    stalls: Bounded[str, float] = field(default_factory=lambda: Bounded(FAILING_MAX))
    """Domains of flows that stalled without a witness, and when each was last seen unanswered."""
    portal_page: str = ""  # URL of the login page, while a captive portal is there; empty: not known
    portal_suspected: bool = False  # something else answered in place of a site
    bursts: Bounded[str, Burst] = field(default_factory=lambda: Bounded(BURSTS_MAX))  # by host
    counted: Bounded[str, Burst] = field(default_factory=lambda: Bounded(PUNISHED_MAX))
    """By domain: those after which a hello that was in no burst was answered."""
    hellos_counted_at: float = NEVER  # when bursts of ClientHellos were last known to be punished here
    punished_cuts: Bounded[str, float] = field(default_factory=lambda: Bounded(PUNISHED_MAX))
    """Domains at which a cut ClientHello was punished, and when."""
    cuts_punished_at: float = NEVER  # when cut ClientHellos were last known to be punished here
    cut_answered_at: float = NEVER  # when one was last answered
    rungs: Bounded[Cause, KnownRungs] = field(default_factory=lambda: Bounded(CAUSES_MAX))
    residue: Bounded[Protocol, Residue] = field(default_factory=lambda: Bounded(RESIDUE_MAX))
    trusted_at: float = NEVER  # when a client last accepted a certificate over direct, or a control page was well
    resigned: dict[str, Bounded[str, bool]] = field(default_factory=dict)  # issuer → domain → was it a control

    @property
    def dated_tables(self) -> tuple[Bounded[str, Any], ...]:
        """The tables whose dates are void once the clock is set."""
        return self.failing, self.control_results, self.stalls, self.punished_cuts, self.bursts, self.counted

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
        self.worked_at: HostLru[float] = HostLru(total=total, per_domain=per_domain)
        """When direct last delivered hosts that have been in trouble since."""
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
        self.unproven: HostLru[Waiting] = HostLru(generations, total=total, per_domain=per_domain)
        """Flows that froze, were throttled or cut, which wait for a relay to carry more. Those over local strategies
        are left out of plans meanwhile."""
        self.at_control: KeyTable[Waiting] = KeyTable(WAITING_MAX)
        """Signals that wait for another host to deliver direct."""
        self.counted: Bounded[int, Counter[SignalId]] = Bounded(COUNTED_MAX)
        """The signals of a connection that have counted, by its request's id."""
        self.shared = DomainCounter(places=SHARED_PLACES_MAX, names=SHARED_DOMAINS_MAX)
        """Domains that lead to one place."""
        self.pages = PageTable(PAGES_MAX)
        """Small pages that direct brought over plain HTTP."""
        self.own_pages: KeyTable[int] = KeyTable(PAGES_MAX)
        """The mark of a page that another route shows as well: it is the site's own."""
        self.unlike_pages: KeyTable[float] = KeyTable(COMPARED_PAGES_MAX)
        """When a measurement found that a relay shows another page than direct."""
        self.compared_pages: KeyTable[float] = KeyTable(COMPARED_PAGES_MAX)
        """When the last comparison of pages began."""
        self.page_checks: Bounded[NetworkId, deque[float]] = Bounded(NETWORKS_MAX)
        """The same for those of the last hour, by network."""
        self.residual = AddressTable(ADDRESSES_MAX)
        """Addresses in a residual window, with its beginning and the host that began it."""
        self.cut_unanswered = AddressTable(CUTS_MAX)
        """Addresses at which a cut ClientHello went unanswered, since when, and the host that it named."""
        self.cut_silenced = AddressTable(CUTS_MAX)
        """Those of them that had just answered a whole one."""
        self.whole_unanswered = AddressTable(CUTS_MAX)
        """Those of these at which a whole one then went unanswered, when it last did, and the host."""
        self.early_resets: HostLru[float] = HostLru(total=total, per_domain=per_domain)
        self.cuts: HostLru[Cut] = HostLru(total=total, per_domain=per_domain)
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
        self.froze_at: HostLru[Frozen] = HostLru(generations, total=total, per_domain=per_domain)
        self.slow_in = NameCounter(places=PREFIXES_MAX, names=PREFIX_HOSTS_MAX)
        """Hosts that were throttled in a prefix."""
        self.worked_in: KeyTable[float] = KeyTable(PREFIXES_MAX)
        """When a prefix last answered direct."""
        self.worked_around: KeyTable[float] = KeyTable(PREFIXES_MAX)
        """The same of wide prefixes: a household meets fewer of them than the table holds."""

        # -- networks
        self.networks: Bounded[NetworkId, NetworkRecord] = Bounded(NETWORKS_MAX)
        self.unresolved: Bounded[NetworkId, frozenset[str]] = Bounded(NETWORKS_MAX)
        """Domains whose names the system's resolver did not answer for, since it last resolved any: a few."""

        # -- re-tests
        self.claims: KeyTable[float] = KeyTable(settings.retest_per_hour * NETWORKS_MAX)
        """Re-tests under way, and when each claim ends."""
        self.spent: Bounded[NetworkId, deque[float]] = Bounded(NETWORKS_MAX)
        """When the re-tests and experiments of the last hour began."""
        self.proofs: KeyTable[float] = KeyTable(PROOFS_MAX)
        """When the last experiment about a silence began."""
        self.other_hellos: KeyTable[float] = KeyTable(PROOFS_MAX)
        """When one showed that a host answers the ClientHello of another program."""
        self.speeds: KeyTable[Speeds] = KeyTable(SPEEDS_MAX)
        self.speed_checks: Bounded[NetworkId, deque[float]] = Bounded(NETWORKS_MAX)
        """When those of the last hour began, without second ones of a host."""

        # -- local strategies
        self.searches: KeyTable[tuple[float, ...]] = KeyTable(settings.search_per_hour * NETWORKS_MAX)
        """When the searches for a strategy of the last hour began, by host."""
        self.searched: Bounded[NetworkId, deque[float]] = Bounded(NETWORKS_MAX)
        """The same, by network."""
        self.fares: HostLru[Fares] = HostLru(total=total, per_domain=per_domain)
        self.unserved: HostLru[Unserved] = HostLru(generations, total=UNSERVED_MAX, per_domain=per_domain)

        # -- visits
        self.results = Results(settings, results, store, generations)
        self.settled: KeyTable[SettledVisit] = KeyTable(SETTLED_MAX)
        self.ignored: list[Collection[int]] = []
        """Ids of requests from whose connections nothing is learned."""

    @property
    def dated_tables(self) -> tuple[HostTable, ...]:
        """The tables of hosts whose dates are void once the clock is set, so that it clears them."""
        return (
            *(self.transient, self.early_resets, self.cuts, self.statuses, self.residual, self.shared),
            *(self.claims, self.settled, self.searches),
            *(self.unexplained, self.unproven, self.at_control, self.unserved),
            *(self.failing_in, self.frozen_in, self.froze_at, self.slow_in, self.worked_in, self.worked_around),
            *(self.proofs, self.other_hellos, self.speeds),
            *(self.worked_at, self.cut_unanswered, self.cut_silenced, self.whole_unanswered),
            *(self.pages, self.own_pages, self.unlike_pages, self.compared_pages),
        )

    @property
    def host_tables(self) -> tuple[HostTable, ...]:
        """All tables that forget hosts as a user or a network that was left requires. `stored` is not among them: what
        it forgets is told (`transitions.forget_stored`)."""
        return *self.dated_tables, self.works, self.priors, self.failed_under, self.fares

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
