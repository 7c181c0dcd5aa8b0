"""The health of a network: the control gate, and the states in which nothing is learned.

A signal counts only when, after its flight was sent, another host delivered direct on the same network: in the user's
own traffic first, and when there is none, a control page, at most one a minute and only beside a visit. Nothing is
learned while the computer is offline, behind a captive portal, on a restricted network, or in the first seconds after
resume. Relays are no control: they may work while direct is cut, and the reverse.
"""

from __future__ import annotations

from proxy.detect.beliefs.state import (
    FAILING_MAX,
    NETWORKS_MAX,
    NEVER,
    NO_DELIVERY,
    BeliefState,
    ControlResult,
    Delivery,
    DirectDelivery,
    NetworkRecord,
)
from proxy.detect.beliefs.tables import Key, Meant, on_network, with_domains
from proxy.detect.beliefs.transitions import remove
from proxy.detect.scopes import registrable
from proxy.detect.signals import NOT_JUDGED, redirected_only_direct
from proxy.model import (
    DOH,
    TROUBLED,
    Attempt,
    Change,
    ConnectivityResult,
    NetworkId,
    NetworkState,
    Outcome,
    Stage,
    Symptom,
    literal,
)
from proxy.model.bounded import Bounded

_UNTRIED = (Symptom.SKIPPED, Symptom.LOCAL)

UNRESOLVED_DOMAINS = 2
"""So many unrelated domains in a row that the system's resolver does not answer for are its own failure."""

_NEEDS_CONTROL = frozenset({NetworkState.RESTRICTED, NetworkState.PORTAL})
"""States in which control pages are requested beside visits until they show that the state is over."""

_CLOCK_S = 3600.0
"""A valid certificate within this time shows that the clock is right."""

STALL_S = 3.0
"""Seconds for which a stalled flow waits for a witness since it was last seen unanswered: it is looked at every second,
by a process that may be late."""

_UNSEEN = NetworkRecord()
"""The record of a network about which nothing is known; only read."""

_PROOFS = 2
"""Intervals between two control pages for which an accepted certificate outweighs a page that a portal replaced."""


# -- what a visit shows of its network ---------------------------------------------------------------------------------


def learn_network(state: BeliefState, outcome: Outcome, key: Key, now: float) -> None:
    """Learns about the network, whatever the outcome says about the host."""
    network, winner, direct = key[0], outcome.winner, outcome.direct_attempt
    is_doubted = direct is not None and "doubt" in direct.evidence
    if winner is not None and not winner.relays and not is_doubted:
        on_host_delivery(state, key, now)
    elif winner is not None:
        online(state, network)
    if (by_relay := _got_through(outcome)) is not None:
        relayed(state, network, now, delivered=by_relay)
    # A computer without IPv6 has no route to an IPv6 literal, and is online.
    if winner is None and outcome.request.destination.address is None and _has_no_way_out(outcome, direct):
        offline(state, network)
        drop_waiting(state)
    if direct is not None and "elsewhere" in direct.evidence and redirected_only_direct(outcome, direct):
        suspect_portal(state, network)
    if winner is None and direct is not None and direct.symptom is Symptom.FORGED:
        suspect_portal(state, network)  # one that leads all names to itself does so, too


def note_resolver(state: BeliefState, outcome: Outcome, key: Key) -> None:
    """Notes whether the system's resolver answered. Of a name that is hidden from it, plain direct asks encrypted DNS,
    and there is no other route that does."""
    direct, (network, host) = outcome.direct_attempt, key
    if direct is None or direct.symptom in NOT_JUDGED:
        return
    if direct.stage is Stage.RESOLVE:
        is_silent = direct.symptom in (Symptom.RESOLVE_FAILED, Symptom.TIMEOUT)
        if is_silent and any(attempt.route == DOH for attempt in outcome.attempts):
            on_unresolved(state, network, registrable(host))
        return
    belief = state.stored.get(key)
    if direct.address and literal(host) is None and not (belief is not None and belief.hide_name_from_dns):
        on_resolved(state, network)


def _got_through(outcome: Outcome) -> bool | None:
    """Whether a relay delivered, of those that were tried to the end; None: none was."""
    relayed = [attempt for attempt in outcome.attempts if attempt.route.relays]
    if not relayed:
        return None  # most
    if any(attempt.delivered for attempt in relayed):
        return True
    left = outcome.winner is None
    tried = [
        a for a in relayed if a.symptom not in _UNTRIED and not (left and (a.pending or a.symptom is Symptom.ABANDONED))
    ]
    return False if tried else None


def _has_no_way_out(outcome: Outcome, direct: Attempt | None) -> bool:
    """Whether this computer has no route to the site. Where the resolver runs on this computer and only says that it
    failed, other attempts show it."""
    if direct is None or direct.symptom is Symptom.OFFLINE:
        return direct is not None
    is_unresolved = direct.stage is Stage.RESOLVE and direct.symptom is Symptom.RESOLVE_FAILED
    return is_unresolved and any(attempt.symptom is Symptom.OFFLINE for attempt in outcome.attempts)


def drop_waiting(state: BeliefState) -> None:
    """Drops all signals that wait: another network, a resume, or a clock that was set."""
    state.at_control.clear()
    state.unexplained.clear()
    state.unproven.clear()


# -- control gate ------------------------------------------------------------------------------------------------------


def on_host_delivery(state: BeliefState, key: Key, now: float) -> None:
    """A host delivered direct just now; one on the own network says nothing about internet access."""
    network, host = key
    if not state.is_near(host):
        on_direct_delivery(state, network, Delivery(registrable(host), now))
        if state.results.waiting:
            state.results.on_direct_delivery(network, registrable(host), now)


def on_direct_delivery(state: BeliefState, network: NetworkId, by: DirectDelivery) -> None:
    """Notes that a host delivered direct."""
    record = state.networks.get(network) or record_of(state, network)
    if by.at < record.last.at:  # reported late
        if by.domain != record.last.domain:
            record.before_at = max(record.before_at, by.at)
    else:
        if by.domain != record.last.domain:
            record.before_at = record.last.at
        record.last = by
    if record.failing and record.failing.pop(by.domain, None) is not None:
        _passed(state, record)  # it had failed, so it is foreign
        _on_failing_changed(state, record)
    if record.state is NetworkState.OFFLINE:
        _enter(state, record, NetworkState.OK)


def on_certificate_accepted(state: BeliefState, network: NetworkId, now: float) -> None:
    """A client accepted a certificate over direct, so no portal answered in place of that site."""
    record = state.networks.get(network) or record_of(state, network)
    record.trusted_at = now
    state.clock_ahead = (0.0, NEVER)
    if record.state is NetworkState.PORTAL:
        _enter(state, record, NetworkState.OK)


def on_plain_page(state: BeliefState, network: NetworkId, *, came: bool) -> None:
    """Foreign control pages failed over https; `came`: one did over plain http. Anybody on the path may send such a
    page, so it decides nothing but what a restriction is called."""
    record = record_of(state, network)
    is_news = came is not record.plain_works
    record.plain_works = came
    if is_news and record.state is NetworkState.RESTRICTED:
        state.generations.on_all_changed()


def well_since(state: BeliefState, network: NetworkId, domain: str, sent: float) -> bool:
    """Whether a host of another domain than `domain` delivered direct after `sent`."""
    record = state.networks.get(network, _UNSEEN)
    return (record.last.at if record.last.domain != domain else record.before_at) >= sent


def suspect_portal(state: BeliefState, network: NetworkId) -> None:
    """Something else answered in place of a site: a control page must show whether a portal replaces all."""
    record_of(state, network).portal_suspected = True


def on_unwitnessed_stall(state: BeliefState, network: NetworkId, domain: str, now: float) -> None:
    """A flow of `domain` stalled, and no other one shows that the network is there."""
    record_of(state, network).stalls[domain] = now


def stall_waits(state: BeliefState, network: NetworkId, now: float, *, domain: str = "") -> bool:
    """Whether a flow waits for a witness; with a `domain`, one of that domain."""
    record = state.networks.get(network, _UNSEEN)
    waiting = record.stalls.values() if not domain else (record.stalls.get(domain, NEVER),)
    return any(0 <= now - at <= STALL_S for at in waiting)


def needs_control(state: BeliefState, network: NetworkId) -> bool:
    """Whether to request control pages beside visits though no signal waits: a restriction or portal may have ended,
    or one is suspected."""
    record = state.networks.get(network, _UNSEEN)
    return record.portal_suspected or record.is_undecided or record.state in _NEEDS_CONTROL


def control_wanted(state: BeliefState, network: NetworkId, now: float, *, waits: bool) -> bool:
    """Whether to request a control page now; True claims it. `waits`: a signal waits at the control gate."""
    record = record_of(state, network)
    seems = _seems_restricted(state, record, now)
    record.is_undecided = record.is_undecided and seems
    is_soon = 0 <= now - record.control_at < state.settings.control_interval_s
    if is_soon and not (seems and _may_ask_again(state, record, now)):
        return False
    if (
        not waits
        and not stall_waits(state, network, now)
        and not record.portal_suspected
        and record.state not in _NEEDS_CONTROL
        and not seems
    ):
        return False
    record.control_at, record.delivered_before_control = now, record.last.at
    record.asked_all = seems
    record.portal_suspected = record.is_undecided = False
    return True


def _may_ask_again(state: BeliefState, record: NetworkRecord, now: float) -> bool:
    """Whether a network that seems restricted is asked for control pages before the minute is over: for all of them,
    where one alone was requested, and once more where they failed and a host has delivered direct since."""
    foreign = [result for result in record.control_results.values() if not result.is_domestic]
    requested = sum(result.at >= record.control_at for result in foreign)
    if not record.asked_all and requested < state.settings.restricted_controls:
        return True
    failed_at = max((result.at for result in foreign if result.has_failed), default=now)
    is_over = record.last.at > failed_at and now - failed_at >= state.settings.control_again_s
    return record.is_undecided and is_over and _two_deliver(record, min(_failing(state, record, now)))


def seems_restricted(state: BeliefState, network: NetworkId, now: float) -> bool:
    """Whether so many domains have failed since a foreign one last worked that only the control pages have yet to
    show a restriction."""
    record = state.networks.get(network)
    return record is not None and _seems_restricted(state, record, now)


def _seems_restricted(state: BeliefState, record: NetworkRecord, now: float) -> bool:
    """As above. One domain less is enough while two others deliver direct, as the domestic ones do."""
    if record.state is not NetworkState.OK or not (failing := _failing(state, record, now)):
        return False
    enough = state.settings.restricted_domains
    return len(failing) >= enough or (len(failing) == enough - 1 and _two_deliver(record, min(failing)))


def _two_deliver(record: NetworkRecord, since: float) -> bool:
    """Whether hosts of two domains delivered direct after `since`."""
    return min(record.last.at, record.before_at) > since


# -- the system's resolver ---------------------------------------------------------------------------------------------


def resolver_fails(state: BeliefState, network: NetworkId) -> bool:
    """Whether the system's resolver fails for unrelated names, and has resolved none since, as far as visits and
    measurements showed: that says nothing of one site."""
    return len(state.unresolved.get(network, ())) >= UNRESOLVED_DOMAINS


def on_unresolved(state: BeliefState, network: NetworkId, *domains: str) -> None:
    """The system's resolver was silent, or failed, when it was asked for names of these domains."""
    known = state.unresolved.get(network, frozenset())
    if len(known) < UNRESOLVED_DOMAINS:
        state.unresolved[network] = known | {*domains}


def on_resolved(state: BeliefState, network: NetworkId) -> None:
    """The system's resolver has resolved a name."""
    state.unresolved.pop(network, None)


# -- states ------------------------------------------------------------------------------------------------------------


def network_state(state: BeliefState, network: NetworkId) -> NetworkState:
    """The state of a network as a whole."""
    record = state.networks.get(network, _UNSEEN)
    if record.state is not NetworkState.RESTRICTED:
        return record.state
    if record.plain_works:
        return NetworkState.NO_HTTPS
    is_shut = record.failed_relay_count >= state.settings.restricted_in_vain
    return NetworkState.SHUT if is_shut else NetworkState.RESTRICTED


def portal_page(state: BeliefState, network: NetworkId) -> str:
    """The URL of the login page of the captive portal that is there; empty: there is none, or it is not known."""
    return state.networks.get(network, _UNSEEN).portal_page


def may_learn(state: BeliefState, network: NetworkId, now: float) -> bool:
    """Whether a failure on `network` may be evidence about a site."""
    return now >= state.quiet_until and network_state(state, network) in (NetworkState.OK, NetworkState.INSPECTED)


def worked_at(state: BeliefState, network: NetworkId) -> float:
    """When a site last delivered direct on `network`, in seconds since the epoch; NEVER: none did."""
    return state.networks.get(network, _UNSEEN).last.at


def may_blame_relays(state: BeliefState, network: NetworkId, now: float) -> bool:
    """Whether a failure of a relay may be its own fault: not while the computer is offline, behind a portal, or has
    just resumed."""
    return now >= state.quiet_until and network_state(state, network) not in (NetworkState.OFFLINE, NetworkState.PORTAL)


def certificates_are_valid(state: BeliefState, network: NetworkId, now: float) -> bool:
    """Whether a certificate was valid on `network` within the hour, which shows that the clock is right."""
    return 0 <= now - state.networks.get(network, _UNSEEN).trusted_at <= _CLOCK_S


def clock_ahead(state: BeliefState, now: float) -> float:
    """Seconds by which this computer's clock is ahead, negative when it is behind; infinite: it is wrong by an
    unknown time. 0: nothing has shown within the hour that it is wrong."""
    ahead, seen_at = state.clock_ahead
    return ahead if 0 <= now - seen_at <= _CLOCK_S else 0.0


def on_resume(state: BeliefState, now: float) -> None:
    """The computer resumed, or its clock was set: signals that wait are dropped, and for `wake_s` nothing is
    learned."""
    drop_waiting(state)
    state.quiet_until = now + state.settings.wake_s
    state.clock_ahead = (0.0, NEVER)
    for record in state.networks.values():
        for table in record.dated_tables:
            table.clear()
        _on_failing_changed(state, record)
        record.last, record.before_at = NO_DELIVERY, NEVER
        record.control_at = record.trusted_at = NEVER
        record.portal_suspected = record.is_undecided = False
        record.plain_works = record.plain_works and record.state is NetworkState.RESTRICTED


def on_clock_set(state: BeliefState, now: float) -> None:
    """As `on_resume`; what was learned about the hellos of networks is void, too: it lasts a day, by its date."""
    on_resume(state, now)
    for record in state.networks.values():
        record.cuts_punished_at = record.cut_answered_at = record.hellos_counted_at = NEVER
        record.residue.clear()
        record.rungs.clear()


def offline(state: BeliefState, network: NetworkId) -> bool:
    """This computer has no route to anywhere. Returns whether that is new."""
    record = record_of(state, network)
    news = record.state is not NetworkState.OFFLINE
    if news:
        _enter(state, record, NetworkState.OFFLINE)
    return news


def online(state: BeliefState, network: NetworkId) -> bool:
    """Any route delivered, or the network was left. Returns whether that is new."""
    record = state.networks.get(network)
    if record is None or record.state is not NetworkState.OFFLINE:
        return False
    _enter(state, record, NetworkState.OK)
    return True


def relayed(state: BeliefState, network: NetworkId, now: float, *, delivered: bool) -> None:
    """Relays were tried for a connection. `delivered`: one of them delivered."""
    if delivered and network not in state.networks:
        return
    record = record_of(state, network)
    if record.state is not NetworkState.RESTRICTED:
        _drop_old_failures(state, record, now)
    record.relays_tried_at = now
    before, in_vain = record.failed_relay_count, state.settings.restricted_in_vain
    record.failed_relay_count = 0 if delivered else before + 1
    is_other = (record.failed_relay_count >= in_vain) is not (before >= in_vain)
    if is_other and record.state is NetworkState.RESTRICTED:
        state.generations.on_all_changed()


def _drop_old_failures(state: BeliefState, record: NetworkRecord, now: float) -> None:
    """Other relays may be in use since, so failures that ended before `restricted_window_s` say nothing of them."""
    if not 0 <= now - record.relays_tried_at <= state.settings.restricted_window_s:
        record.failed_relay_count = 0


def failed(state: BeliefState, network: NetworkId, domain: str, now: float) -> bool:
    """Direct failed for a host of `domain`. Returns whether that makes the network `restricted`."""
    record = record_of(state, network)
    is_news = domain not in record.failing
    record.failing[domain] = now
    if is_news:
        _on_failing_changed(state, record)
    return _restrict(state, record, now)


def suspect_network(state: BeliefState, key: Key, now: float) -> list[Change]:
    """Direct failed for one more host, which may show that the network as a whole is at fault."""
    network, host = key
    return forget_recent(state, network, now) if failed(state, network, registrable(host), now) else []


def forget_recent(state: BeliefState, network: NetworkId, now: float) -> list[Change]:
    """Forgets the suspicions and blocks since the network as a whole went wrong: they were not about the sites."""
    since = now - state.settings.restricted_window_s
    why = f"the network is {network_state(state, network)}; not the site's fault"
    changes: list[Change] = []
    for key, belief in state.stored.items():
        if key[0] == network and belief.state in TROUBLED and belief.since >= since:
            changes += remove(state, key, now, why)
    state.failing_in.forget(on_network(network, None))
    return changes


def failed_at(state: BeliefState, network: NetworkId, domain: str) -> float:
    """When direct last failed for a host of `domain`, if none has delivered since; else NEVER."""
    return state.networks.get(network, _UNSEEN).failing.get(domain, NEVER)


def on_control_answer(
    state: BeliefState,
    network: NetworkId,
    host: str,
    result: ConnectivityResult,
    now: float,
    *,
    domestic: bool,
    portal_page: str = "",
    requested_at: float | None = None,
) -> bool:
    """Takes the result of a control page; `portal_page` is the URL of the login page that came in its place, if
    that is known; it was requested at `requested_at` (None: now). Returns whether the network has just become
    `restricted` or `portal`."""
    record = record_of(state, network)
    before = record.control_results.get(host)
    is_repeated = before is not None and before.has_failed and record.delivered_before_control > before.requested_at
    requested_at = now if requested_at is None else min(now, requested_at)
    record.control_results[host] = ControlResult(result, now, requested_at, domestic, is_repeated)
    if result is ConnectivityResult.PORTAL:
        if 0 <= now - record.trusted_at < _PROOFS * state.settings.control_interval_s:
            record.portal_suspected = True
            return False  # a client accepted another site's certificate: this page alone was replaced
        news = record.state is not NetworkState.PORTAL
        if news:
            _enter(state, record, NetworkState.PORTAL)
        record.portal_page = portal_page or record.portal_page
        return news
    if result is ConnectivityResult.FAILED:
        record.passes = record.passes if domestic else 0
        news = _restrict(state, record, now)
        if not domestic and not is_repeated:
            record.is_undecided = _seems_restricted(state, record, now)
        return news
    if not domestic:
        record.is_undecided = False
        record.plain_works = record.plain_works and record.state is NetworkState.RESTRICTED
        record.failing.clear()
        _on_failing_changed(state, record)
        _passed(state, record)
    on_direct_delivery(state, network, Delivery(registrable(host), now))
    on_certificate_accepted(state, network, now)
    if result is ConnectivityResult.WELL:
        _not_resigned(state, record, registrable(host))
    return domestic and _restrict(state, record, now)


def resigned(state: BeliefState, network: NetworkId, host: str, issuer: str, *, control: bool) -> bool:
    """A trusted certificate of an issuer in no public log came for `host`. Returns whether that makes the network
    `inspected`."""
    record = record_of(state, network)
    if issuer not in record.resigned and len(record.resigned) >= NETWORKS_MAX:
        return False
    domains = record.resigned.setdefault(issuer, Bounded(FAILING_MAX))
    domain = registrable(host)
    domains[domain] = control or domains.get(domain, False)
    enough = len(domains) >= state.settings.inspected_domains and any(domains.values())
    news = enough and record.state is NetworkState.OK
    if news:
        _enter(state, record, NetworkState.INSPECTED)
    return news


def _not_resigned(state: BeliefState, record: NetworkRecord, domain: str) -> None:
    """A control page has its own certificate. When all that were re-signed have, TLS is not intercepted any
    more."""
    for domains in record.resigned.values():
        domains.pop(domain, None)
    controls = any(was_control for domains in record.resigned.values() for was_control in domains.values())
    if record.state is NetworkState.INSPECTED and not controls:
        _enter(state, record, NetworkState.OK)


def forget_hosts(state: BeliefState, meant: Meant) -> None:
    """Forgets the hosts and domains that are meant, and no state that they have led to."""

    is_meant = with_domains(meant)
    for network, record in state.networks.items():
        for table in record.host_tables:
            for name in [name for name in table if is_meant((network, name))]:
                del table[name]
        if record.last.domain and is_meant((network, record.last.domain)):
            record.last = Delivery("", record.before_at)
    for network, domains in [*state.unresolved.items()]:
        state.unresolved[network] = frozenset(name for name in domains if not is_meant((network, name)))


def forget(state: BeliefState, network: NetworkId | None = None) -> None:
    """Forgets one network, or all."""
    if network is None:
        state.networks.clear()
        state.unresolved.clear()
    else:
        state.networks.pop(network, None)
        state.unresolved.pop(network, None)
    state.generations.on_all_changed()


def _passed(state: BeliefState, record: NetworkRecord) -> None:
    """A foreign host delivered: after `restricted_passes` in a row the network is not restricted any more."""
    record.passes += 1
    if record.state is NetworkState.RESTRICTED and record.passes >= state.settings.restricted_passes:
        _enter(state, record, NetworkState.OK)
        record.failing.clear()


def _restrict(state: BeliefState, record: NetworkRecord, now: float) -> bool:
    """Finds a restriction: unrelated domains (see `_seems_restricted`) and both foreign control pages fail while a
    domestic host answers. Without a domestic answer it is an outage. Returns whether the network has just become
    restricted.

    The domestic control page may be of another country than this network, so its failure alone shows no outage.
    Then the visited hosts that deliver direct are the domestic answer, and one outage after the other must not look
    like it: each foreign page must fail twice, with a delivery in between."""
    if not _seems_restricted(state, record, now):
        return False
    since = now - state.settings.restricted_window_s
    recent = [control for control in record.control_results.values() if control.at >= since]
    is_domestic_down = any(control.is_domestic and control.has_failed for control in recent)
    foreign = [control for control in recent if not control.is_domestic]
    telling = [control for control in foreign if control.has_failed and (control.is_repeated or not is_domestic_down)]
    if (
        len(telling) < state.settings.restricted_controls
        or len(foreign) > len(telling)
        or record.last.at < min(_failing(state, record, now))
    ):
        return False
    _drop_old_failures(state, record, now)
    _enter(state, record, NetworkState.RESTRICTED)
    record.passes = 0
    return True


def _failing(state: BeliefState, record: NetworkRecord, now: float) -> list[float]:
    """When each domain failed that has not delivered since, within `restricted_window_s`."""
    return [at for at in record.failing.values() if at >= now - state.settings.restricted_window_s]


def record_of(state: BeliefState, network: NetworkId) -> NetworkRecord:
    """The record of a network, a new one if nothing was known about it."""
    record = state.networks.get(network)
    if record is None:
        record = state.networks[network] = NetworkRecord()
        state.generations.on_all_changed()  # another one may have been dropped
    return record


def _on_failing_changed(state: BeliefState, record: NetworkRecord) -> None:
    if record.state is NetworkState.RESTRICTED:
        state.generations.on_all_changed()


def _enter(state: BeliefState, record: NetworkRecord, entered: NetworkState) -> None:
    record.state, record.portal_page = entered, ""
    if entered is not NetworkState.OK:  # what failed before may have been its fault
        state.unserved.clear()
    record.plain_works = record.plain_works and entered is NetworkState.RESTRICTED
    state.generations.on_all_changed()
