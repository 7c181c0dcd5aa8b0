"""The health of a network: the control gate, and the states in which nothing is learned.

A signal counts only when, after its flight was sent, another host delivered direct on the same network: in the user's
own traffic first, and when there is none, a control page, at most one a minute and only beside a visit. Nothing is
learned while the computer is offline, behind a captive portal, on a restricted network, or in the first seconds after
resume. Relays are no control: they may work while direct is cut, and the reverse.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs.basis import Bases
from proxy.detect.beliefs.host_lru import Key
from proxy.detect.scopes import registrable
from proxy.model import ConnectivityResult, NetworkId, NetworkState
from proxy.model.bounded import Bounded
from proxy.model.frozen_dataclass import frozen_dataclass

NETWORKS_MAX = 64
FAILING_MAX = 512
"""Failing domains remembered on one network: five make it restricted, and there relays go first for each."""


UNRESOLVED_DOMAINS = 2
"""So many unrelated domains in a row that the system's resolver does not answer for are its own failure."""

NEVER = float("-inf")

_NEEDS_CONTROL = frozenset({NetworkState.RESTRICTED, NetworkState.PORTAL})
"""States in which control pages are requested beside visits until they show that the state is over."""

_CLOCK_S = 3600.0
"""A valid certificate within this time shows that the clock is right."""

STALL_S = 3.0
"""Seconds for which a stalled flow waits for a witness since it was last seen unanswered: it is looked at every second,
by a process that may be late."""

_PROOFS = 2
"""Intervals between two control pages for which an accepted certificate outweighs a page that a portal replaced."""


class DirectDelivery(Protocol):
    """A host's domain, and when it last delivered direct. The owner may move the date on."""

    @property
    def domain(self) -> str: ...

    @property
    def at(self) -> float: ...


@frozen_dataclass
class Delivery:
    """One direct delivery, at a fixed time."""

    domain: str
    at: float


_NO_DELIVERY = Delivery("", NEVER)


@frozen_dataclass
class _ControlResult:
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

    last: DirectDelivery = _NO_DELIVERY
    before_at: float = NEVER
    state: NetworkState = NetworkState.OK
    failing: Bounded[str, float] = field(default_factory=lambda: Bounded(FAILING_MAX))
    control_results: dict[str, _ControlResult] = field(default_factory=dict)  # by host
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


class NetworkHealth:
    """All networks. Belongs to one thread."""

    def __init__(self, settings: DetectTuning, bases: Bases | None = None) -> None:
        """`bases` are told of each change of a state."""
        self._settings = settings
        self._bases = bases if bases is not None else Bases()
        self.records: Bounded[NetworkId, NetworkRecord] = Bounded(NETWORKS_MAX)
        self.unresolved: Bounded[NetworkId, frozenset[str]] = Bounded(NETWORKS_MAX)
        """Domains whose names the system's resolver did not answer for, since it last resolved any: a few."""
        self._quiet_until = NEVER
        self._clock = (0.0, NEVER)  # how far this computer's clock is ahead, and when that was seen

    # -- control gate ---------------------------------------------------------------------------------------------

    def on_direct_delivery(self, network: NetworkId, by: DirectDelivery) -> None:
        """Notes that a host delivered direct."""
        record = self.records.get(network) or self._record(network)
        if by.at < record.last.at:  # reported late
            if by.domain != record.last.domain:
                record.before_at = max(record.before_at, by.at)
        else:
            if by.domain != record.last.domain:
                record.before_at = record.last.at
            record.last = by
        if record.failing and record.failing.pop(by.domain, None) is not None:
            self._passed(record)  # it had failed, so it is foreign
            self._on_failing_changed(record)
        if record.state is NetworkState.OFFLINE:
            self._enter(record, NetworkState.OK)

    def on_certificate_accepted(self, network: NetworkId, now: float) -> None:
        """A client accepted a certificate over direct, so no portal answered in place of that site."""
        record = self.records.get(network) or self._record(network)
        record.trusted_at = now
        self._clock = (0.0, NEVER)
        if record.state is NetworkState.PORTAL:
            self._enter(record, NetworkState.OK)

    def well_since(self, network: NetworkId, domain: str, sent: float) -> bool:
        """Whether a host of another domain than `domain` delivered direct after `sent`."""
        record = self.records.get(network)
        if record is None:
            return False
        return (record.last.at if record.last.domain != domain else record.before_at) >= sent

    def suspect_portal(self, network: NetworkId) -> None:
        """Something else answered in place of a site: a control page must show whether a portal replaces all."""
        self._record(network).portal_suspected = True

    def on_unwitnessed_stall(self, network: NetworkId, domain: str, now: float) -> None:
        """A flow of `domain` stalled, and no other one shows that the network is there."""
        self._record(network).stalls[domain] = now

    def stall_waits(self, network: NetworkId, now: float, *, domain: str = "") -> bool:
        """Whether a flow waits for a witness; with a `domain`, one of that domain."""
        record = self.records.get(network)
        if record is None:
            return False
        waiting = record.stalls.values() if not domain else (record.stalls.get(domain, NEVER),)
        return any(0 <= now - at <= STALL_S for at in waiting)

    def needs_control(self, network: NetworkId) -> bool:
        """Whether a control page is due, or will be, though no signal waits."""
        record = self.records.get(network)
        return record is not None and (record.portal_suspected or record.state in _NEEDS_CONTROL)

    def control_wanted(self, network: NetworkId, now: float, *, waits: bool) -> bool:
        """Whether to request a control page now; True claims it. `waits`: a signal waits at the control gate."""
        record = self._record(network)
        if 0 <= now - record.control_at < self._settings.control_interval_s:
            return False
        if (
            not waits
            and not self.stall_waits(network, now)
            and not record.portal_suspected
            and record.state not in _NEEDS_CONTROL
            and not self.seems_restricted(network, now)
        ):
            return False
        record.control_at, record.delivered_before_control = now, record.last.at
        record.portal_suspected = False
        return True

    def seems_restricted(self, network: NetworkId, now: float) -> bool:
        """Whether so many domains have failed since a foreign one last worked that only the control pages have yet to
        show a restriction."""
        record = self.records.get(network)
        if record is None or record.state is not NetworkState.OK:
            return False
        return len(self._failing(record, now)) >= self._settings.restricted_domains

    # -- the system's resolver -------------------------------------------------------------------------------------

    def resolver_fails(self, network: NetworkId) -> bool:
        """Whether the system's resolver fails for unrelated names, and has resolved none since: that says nothing of
        one site."""
        return len(self.unresolved.get(network, ())) >= UNRESOLVED_DOMAINS

    def on_unresolved(self, network: NetworkId, *domains: str) -> None:
        """The system's resolver was silent, or failed, when it was asked for names of these domains."""
        known = self.unresolved.get(network, frozenset())
        if len(known) < UNRESOLVED_DOMAINS:
            self.unresolved[network] = known | {*domains}

    def on_resolved(self, network: NetworkId) -> None:
        """The system's resolver has resolved a name."""
        self.unresolved.pop(network, None)

    # -- states ----------------------------------------------------------------------------------------------------

    def state(self, network: NetworkId) -> NetworkState:
        """The state of a network as a whole."""
        record = self.records.get(network)
        if record is None:
            return NetworkState.OK
        is_shut = (
            record.state is NetworkState.RESTRICTED and record.failed_relay_count >= self._settings.restricted_in_vain
        )
        return NetworkState.SHUT if is_shut else record.state

    def portal_page(self, network: NetworkId) -> str:
        """The URL of the login page of the captive portal that is there; empty: there is none, or it is not known."""
        record = self.records.get(network)
        return record.portal_page if record is not None else ""

    def may_learn(self, network: NetworkId, now: float) -> bool:
        """Whether a failure on `network` may be evidence about a site."""
        return now >= self._quiet_until and self.state(network) in (NetworkState.OK, NetworkState.INSPECTED)

    def worked_at(self, network: NetworkId) -> float:
        """When a site last delivered direct on `network`."""
        record = self.records.get(network)
        return record.last.at if record is not None else NEVER

    def may_blame_relays(self, network: NetworkId, now: float) -> bool:
        """Whether a failure of a relay may be its own fault: not while the computer is offline, behind a portal, or has
        just resumed."""
        return now >= self._quiet_until and self.state(network) not in (NetworkState.OFFLINE, NetworkState.PORTAL)

    def certificates_are_valid(self, network: NetworkId, now: float) -> bool:
        """Whether a certificate was valid on `network` within the hour, which shows that the clock is right."""
        record = self.records.get(network)
        return record is not None and 0 <= now - record.trusted_at <= _CLOCK_S

    def clock_ahead(self, now: float) -> float:
        """Seconds by which this computer's clock is ahead, negative when it is behind; infinite: it is wrong by an
        unknown time. 0: nothing has shown within the hour that it is wrong."""
        ahead, seen_at = self._clock
        return ahead if 0 <= now - seen_at <= _CLOCK_S else 0.0

    def on_wrong_clock(self, ahead: float, now: float) -> None:
        """Certificates of unrelated sites are not valid by this computer's clock."""
        self._clock = (ahead, now)

    def on_resume(self, now: float) -> None:
        """The computer resumed, or its clock was set: nothing is learned for `wake_s`."""
        self._quiet_until = now + self._settings.wake_s
        self._clock = (0.0, NEVER)
        for record in self.records.values():
            record.failing.clear()
            record.last, record.before_at = _NO_DELIVERY, NEVER
            record.control_at = record.trusted_at = NEVER
            record.portal_suspected = False
            record.control_results.clear()
            record.stalls.clear()

    def offline(self, network: NetworkId) -> bool:
        """This computer has no route to anywhere. Returns whether that is new."""
        record = self._record(network)
        news = record.state is not NetworkState.OFFLINE
        if news:
            self._enter(record, NetworkState.OFFLINE)
        return news

    def online(self, network: NetworkId) -> None:
        """Any route delivered."""
        record = self.records.get(network)
        if record is not None and record.state is NetworkState.OFFLINE:
            self._enter(record, NetworkState.OK)

    def relayed(self, network: NetworkId, *, delivered: bool) -> None:
        """Relays were tried for a connection. `delivered`: one of them delivered."""
        record = self.records.get(network)
        if record is not None and record.state is NetworkState.RESTRICTED:
            before, in_vain = record.failed_relay_count, self._settings.restricted_in_vain
            record.failed_relay_count = 0 if delivered else before + 1
            if (record.failed_relay_count >= in_vain) is not (before >= in_vain):
                self._bases.on_all_changed()

    def failed(self, network: NetworkId, domain: str, now: float) -> bool:
        """Direct failed for a host of `domain`. Returns whether that makes the network `restricted`."""
        record = self._record(network)
        is_news = domain not in record.failing
        record.failing[domain] = now
        if is_news:
            self._on_failing_changed(record)
        return self._restrict(record, now)

    def failed_at(self, network: NetworkId, domain: str) -> float:
        """When direct last failed for a host of `domain`, if none has delivered since; else NEVER."""
        record = self.records.get(network)
        return record.failing.get(domain, NEVER) if record is not None else NEVER

    def on_control_answer(
        self,
        network: NetworkId,
        host: str,
        result: ConnectivityResult,
        now: float,
        *,
        domestic: bool,
        portal_page: str = "",
    ) -> bool:
        """Takes the result of a control page; `portal_page` is the URL of the login page that came in its place, if
        that is known. Returns whether the network has just become `restricted` or `portal`."""
        record = self._record(network)
        before = record.control_results.get(host)
        is_repeated = before is not None and before.has_failed and record.delivered_before_control > before.at
        record.control_results[host] = _ControlResult(result, now, domestic, is_repeated)
        if result is ConnectivityResult.PORTAL:
            if 0 <= now - record.trusted_at < _PROOFS * self._settings.control_interval_s:
                record.portal_suspected = True
                return False  # a client accepted another site's certificate: this page alone was replaced
            news = record.state is not NetworkState.PORTAL
            if news:
                self._enter(record, NetworkState.PORTAL)
            record.portal_page = portal_page or record.portal_page
            return news
        if result is ConnectivityResult.FAILED:
            record.passes = record.passes if domestic else 0
            return self._restrict(record, now)
        if not domestic:
            record.failing.clear()
            self._on_failing_changed(record)
            self._passed(record)
        self.on_direct_delivery(network, Delivery(registrable(host), now))
        self.on_certificate_accepted(network, now)
        if result is ConnectivityResult.WELL:
            self._not_resigned(record, registrable(host))
        return domestic and self._restrict(record, now)

    def resigned(self, network: NetworkId, host: str, issuer: str, *, control: bool) -> bool:
        """A trusted certificate of an issuer in no public log came for `host`. Returns whether that makes the network
        `inspected`."""
        record = self._record(network)
        if issuer not in record.resigned and len(record.resigned) >= NETWORKS_MAX:
            return False
        domains = record.resigned.setdefault(issuer, Bounded(FAILING_MAX))
        domain = registrable(host)
        domains[domain] = control or domains.get(domain, False)
        enough = len(domains) >= self._settings.inspected_domains and any(domains.values())
        news = enough and record.state is NetworkState.OK
        if news:
            self._enter(record, NetworkState.INSPECTED)
        return news

    def _not_resigned(self, record: NetworkRecord, domain: str) -> None:
        """A control page has its own certificate. When all that were re-signed have, TLS is not intercepted any
        more."""
        for domains in record.resigned.values():
            domains.pop(domain, None)
        controls = any(was_control for domains in record.resigned.values() for was_control in domains.values())
        if record.state is NetworkState.INSPECTED and not controls:
            self._enter(record, NetworkState.OK)

    def forget_hosts(self, meant: Callable[[Key], bool]) -> None:
        """Forgets the hosts and domains that are meant, and no state that they have led to."""

        def is_meant(network: NetworkId, domain: str) -> bool:
            return meant((network, domain)) or meant((network, f"*.{domain}"))

        for network, record in self.records.items():
            tables: list[Bounded[str, float] | Bounded[str, bool]] = [record.failing, record.stalls]
            for table in (*tables, *record.resigned.values()):
                for domain in [domain for domain in table if is_meant(network, domain)]:
                    del table[domain]
            for host in [host for host in record.control_results if meant((network, host))]:
                del record.control_results[host]
            if record.last.domain and is_meant(network, record.last.domain):
                record.last = Delivery("", record.before_at)
            self._on_failing_changed(record)
        for network, domains in [*self.unresolved.items()]:
            self.unresolved[network] = frozenset(name for name in domains if not is_meant(network, name))

    def forget(self, network: NetworkId | None = None) -> None:
        """Forgets one network, or all."""
        if network is None:
            self.records.clear()
            self.unresolved.clear()
        else:
            self.records.pop(network, None)
            self.unresolved.pop(network, None)
        self._bases.on_all_changed()

    def _passed(self, record: NetworkRecord) -> None:
        """A foreign host delivered: after `restricted_passes` in a row the network is not restricted any more."""
        record.passes += 1
        if record.state is NetworkState.RESTRICTED and record.passes >= self._settings.restricted_passes:
            self._enter(record, NetworkState.OK)
            record.failing.clear()

    def _restrict(self, record: NetworkRecord, now: float) -> bool:
        """Finds a restriction: five unrelated domains and both foreign control pages fail while a domestic host
        answers. Without a domestic answer it is an outage. Returns whether the network has just become restricted.

        The domestic control page may be of another country than this network, so its failure alone shows no outage.
        Then the visited hosts that deliver direct are the domestic answer, and one outage after the other must not look
        like it: each foreign page must fail twice, with a delivery in between."""
        if record.state is not NetworkState.OK:
            return False
        since = now - self._settings.restricted_window_s
        recent = [control for control in record.control_results.values() if control.at >= since]
        is_domestic_down = any(control.is_domestic and control.has_failed for control in recent)
        foreign = [control for control in recent if not control.is_domestic]
        telling = [
            control for control in foreign if control.has_failed and (control.is_repeated or not is_domestic_down)
        ]
        failing = self._failing(record, now)
        if (
            len(failing) < self._settings.restricted_domains
            or len(telling) < self._settings.restricted_controls
            or len(foreign) > len(telling)
            or record.last.at < min(failing)
        ):
            return False
        self._enter(record, NetworkState.RESTRICTED)
        record.passes = record.failed_relay_count = 0
        return True

    def _failing(self, record: NetworkRecord, now: float) -> list[float]:
        """When each domain failed that has not delivered since, within `restricted_window_s`."""
        return [at for at in record.failing.values() if at >= now - self._settings.restricted_window_s]

    def _record(self, network: NetworkId) -> NetworkRecord:
        record = self.records.get(network)
        if record is None:
            record = self.records[network] = NetworkRecord()
            self._bases.on_all_changed()  # another one may have been dropped
        return record

    def _on_failing_changed(self, record: NetworkRecord) -> None:
        if record.state is NetworkState.RESTRICTED:
            self._bases.on_all_changed()

    def _enter(self, record: NetworkRecord, state: NetworkState) -> None:
        record.state, record.portal_page = state, ""
        self._bases.on_all_changed()
