"""Subscribes every handler of the process to the events of sessions and probes, in one function.

Sessions and probes do not know their subscribers. An exception of a handler is logged, and the other handlers still
run.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Protocol, TypeVar

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.beliefs.events import ComputerResumed, NetworkLeft
from proxy.detect.verdict.site_status import status_of
from proxy.extend.dispatch import Addons
from proxy.model import Cause, Change, Destination, Inbound, NetworkId, NetworkState, Request, Route, State
from proxy.model.feature import Feature, Role, usable
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.remembered import forget_remembered
from proxy.net.tasks import spawn
from proxy.net.uplink.network_watch import NetworkChange, NetworkWatch
from proxy.net.uplink.sleep_watch import Resumed, SleepWatch, reset_stale_connections
from proxy.session.events import (
    Delivered,
    Doubted,
    Ended,
    Event,
    Events,
    HostsForgotten,
    Learned,
    Rescued,
    SignalWaits,
    TransferSlow,
    TunnelEnded,
    Unserved,
)
from proxy.session.plan import plan_for
from proxy.session.services import Services
from proxy.session.setup import Setup
from proxy.store.list_copies import ListCopies
from proxy.store.store import Store

if TYPE_CHECKING:
    from proxy.probe.connectivity_check import ConnectivityCheck
    from proxy.probe.dns_check import DnsCheck
    from proxy.probe.interception_check import InterceptionCheck
    from proxy.probe.ladder_search import LadderSearch
    from proxy.probe.list_refresh import Fetched, ListRefresh
    from proxy.probe.page_check import PageCheck
    from proxy.probe.retest import DirectRetest
    from proxy.probe.silence_check import SilenceCheck
    from proxy.probe.speed_check import SpeedCheck
    from proxy.setup.desktop.notification import Show

log = logging.getLogger("proxy")

E = TypeVar("E", bound=Event)


def subscribe(services: Services, to: Subscribers) -> None:
    """Subscribes the probes, the log, the addons and the warnings to `services.events`, in the order of the calls."""
    on_trouble = _OnTrouble(services, to.features, to.show, ephemeral=to.ephemeral)

    events = services.events
    _from_the_first(events, Delivered, lambda: on_trouble.interception.on_delivered)
    _from_the_first(events, Rescued, lambda: on_trouble.retest.on_rescued)
    _from_the_first(events, Rescued, lambda: on_trouble.dns_check.on_rescued)
    _from_the_first(events, Rescued, lambda: on_trouble.ladder_search.on_rescued)
    _from_the_first(events, Rescued, lambda: on_trouble.silence_check.on_rescued)
    _from_the_first(events, Unserved, lambda: on_trouble.ladder_search.on_unserved)
    _from_the_first(events, Doubted, lambda: on_trouble.page_check.on_doubted)
    _from_the_first(events, TransferSlow, lambda: on_trouble.speed_check.on_slow)
    _from_the_first(events, TunnelEnded, lambda: on_trouble.interception.on_tunnel_ended)
    events.on(Ended, to.store_outcome)
    to.addons.on_change(partial(_subscribe_addons, events, to))
    _subscribe_addons(events, to)
    if to.verbose:
        events.on(Ended, to.log_outcome)
    events.on(Learned, to.store_beliefs, to.warn_of_changes, to.clear_relay_faults, to.notify_addons_of_changes)
    events.on(SignalWaits, to.warn_of_network, to.clear_relay_faults)
    events.on(SignalWaits, lambda it: on_trouble.connectivity.on_signal_waits(it))
    events.on(HostsForgotten, lambda it: forget_remembered(), lambda it: on_trouble.interception.on_hosts_forgotten(it))
    events.on(HostsForgotten, lambda it: forget_findings(services), lambda it: services.flows.forget_hosts())
    events.on(HostsForgotten, lambda it: services.setup().resolver.forget_hosts())
    events.on(HostsForgotten, lambda it: services.tcp_info.split_tcp.forget_hosts())
    events.on(HostsForgotten, lambda it: services.kept_hellos.forget_hosts())
    if to.show is not None:
        events.on(Rescued, on_trouble.notify_of_rescue)
        events.on(SignalWaits, on_trouble.notify_of_signal)


def _subscribe_addons(events: Events, to: Subscribers) -> None:
    """Subscribes addons to outcomes while one has a hook for them: a handler for each connection costs time."""
    events.off(Ended, to.notify_addons_of_outcome)
    if to.addons.wants_outcomes:
        events.on(Ended, to.notify_addons_of_outcome)


class ListFetching:
    """Fetches lists beside visits, while one may become due. Belongs to one loop."""

    def __init__(
        self,
        services: Services,
        copies: ListCopies,
        lists: Sequence[Fetched],
        apply: Callable[[], Awaitable[object]],
    ) -> None:
        """`lists` are those in use. `apply` reloads the configuration after a fetch."""
        self._services = services
        self._copies = copies
        self._apply = apply
        self._follows = False
        self.follow(lists)

    @cached_property
    def refresh(self) -> ListRefresh:
        from proxy.probe.list_refresh import ListRefresh, RefreshContext  # needed only for fetched lists

        services = self._services
        context = RefreshContext(
            setup=services.setup,
            may_go_direct=services.may_go_direct,
            only_relays=self._only_relays,
            order=lambda names: services.health.order(names, services.now()),
            is_private=services.is_private,
            apply=self._apply,
            now=services.now,
        )
        return ListRefresh(context, self._copies)

    async def _only_relays(self, setup: Setup, destination: Destination) -> Sequence[Route] | None:
        from proxy.probe.list_refresh import relays_left_by

        request = Request(next(self._services.request_ids), destination, Inbound.RETEST, client="")
        return relays_left_by(await plan_for(request, self._services, setup))

    def follow(self, lists: Sequence[Fetched]) -> None:
        """Subscribes to visits while one of `lists`, those now in use, may become due: a handler for each visit costs
        time."""
        may_be_due = any(item.refresh_s for item in lists)
        self._follows |= may_be_due
        if not self._follows:
            return
        refresh, events = self.refresh, self._services.events
        refresh.on_configuration()
        for kind in (Delivered, Rescued):
            events.off(kind, refresh.on_delivered)
            if may_be_due:
                events.on(kind, refresh.on_delivered)


def _from_the_first(events: Events, kind: type[E], handler: Callable[[], Callable[[E], None]]) -> None:
    """Subscribes the handler that `handler` returns, at the first event. The many later events cost no extra call. When
    `handler` raises, for example without a free descriptor to import a module, the next event calls it again."""

    def first(event: E) -> None:
        handle = handler()
        events.off(kind, first)
        events.off(kind, handle)  # it is subscribed already when the event is of a copy: see `Events.without`
        events.on(kind, handle)
        handle(event)

    events.on(kind, first)


class Notifications(Protocol):
    """Notifies the user on the desktop."""

    def on_rescued(self, rescued: Rescued) -> None: ...
    def on_signal_waits(self, waits: SignalWaits) -> None: ...


class _OnTrouble:
    """The probes and notifications that handle events of visits, most of them about blocked sites or network problems.
    Each is imported and made at its first event."""

    def __init__(self, services: Services, features: Sequence[Feature], show: Show | None, *, ephemeral: bool) -> None:
        self._features = features
        self._services = services
        self._show = show
        self._ephemeral = ephemeral

    @cached_property
    def connectivity(self) -> ConnectivityCheck:
        from proxy.probe.connectivity_check import ConnectivityCheck

        return ConnectivityCheck(self._services)

    @cached_property
    def interception(self) -> InterceptionCheck:
        from proxy.probe.interception_check import InterceptionCheck

        return InterceptionCheck(self._services, lambda setup: self.connectivity.check_one(setup))

    @cached_property
    def retest(self) -> DirectRetest:
        from proxy.probe.retest import DirectRetest

        return DirectRetest(self._services)

    @cached_property
    def dns_check(self) -> DnsCheck:
        from proxy.probe.dns_check import DnsCheck

        return DnsCheck(self._services)

    @cached_property
    def ladder_search(self) -> LadderSearch:
        from proxy.probe.ladder_search import LadderSearch

        return LadderSearch(self._services)

    @cached_property
    def page_check(self) -> PageCheck:
        from proxy.probe.page_check import PageCheck

        return PageCheck(self._services)

    @cached_property
    def silence_check(self) -> SilenceCheck:
        from proxy.probe.silence_check import SilenceCheck

        return SilenceCheck(self._services)

    @cached_property
    def speed_check(self) -> SpeedCheck:
        from proxy.probe.speed_check import SpeedCheck

        return SpeedCheck(self._services)

    @cached_property
    def notifications(self) -> Notifications | None:
        make = usable(self._features, Role.NOTIFICATIONS)
        return None if make is None else make(self._services, self._show, ephemeral=self._ephemeral)

    def notify_of_rescue(self, rescued: Rescued) -> None:
        if self.notifications is not None:
            self.notifications.on_rescued(rescued)

    def notify_of_signal(self, waits: SignalWaits) -> None:
        if self.notifications is not None:
            self.notifications.on_signal_waits(waits)


@frozen_dataclass
class Subscribers:
    """Handlers that pass events to parts that do not know events."""

    services: Services
    features: Sequence[Feature]
    store: Store
    addons: Addons
    warnings: NetworkWarnings
    show: Show | None
    """Shows a notification; None when there is no desktop."""
    ephemeral: bool
    verbose: bool
    """Whether the log may name destinations."""

    def store_outcome(self, ended: Ended) -> None:
        routine = ended.routine
        if routine is None or not self.store.count_direct(
            ended.network, routine.request.id, routine.at, routine.bytes_up, routine.bytes_down
        ):
            self.store.record(ended.outcome, network=ended.network)

    def notify_addons_of_outcome(self, ended: Ended) -> None:
        """Notifies addons, except of hosts of `[log] never`, and of clients that are kept out: none may learn there."""
        if not (ended.outcome.plan.kept_out or self.store.is_private(ended.outcome.host)):
            self.addons.notify_outcome(ended.outcome)

    def log_outcome(self, ended: Ended) -> None:
        outcome, route = ended.outcome, ended.outcome.winner or "none"
        log.info("%s via %s: %s", outcome.request.destination, route, outcome.error or outcome.plan.why)

    def store_beliefs(self, learned: Learned) -> None:
        self.store.believe(learned.changes)

    def warn_of_changes(self, learned: Learned) -> None:
        self.warnings.report(learned.changes)

    def notify_addons_of_changes(self, learned: Learned) -> None:
        if self.addons.wants_changes:
            self.addons.notify_changes(
                [change for change in learned.changes if not self.store.is_private(change.scope)]
            )

    def warn_of_network(self, _: SignalWaits) -> None:
        self.warnings.check_network()

    def clear_relay_faults(self, _: Learned | SignalWaits) -> None:
        """Clears the faults of relays when the network is offline or behind a captive portal: then neither the present
        failures nor those shortly before are the relays' fault."""
        if not self.services.beliefs.may_blame_relays(self.services.network(), time.time()):
            self.services.health.clear_faults()


# -- warnings ----------------------------------------------------------------------------------------------------------

AGAIN_S = 3600.0
"""Seconds before the same warning is logged again."""

WARNED_MAX = 64
"""The most networks and states whose last warning is remembered."""


class NetworkWarnings:
    """Logs a warning when the whole network has a problem, or TLS is intercepted; `byway status` shows everything else.
    There is at most one warning an hour for each network and state, however often the state changes. Belongs to one
    loop."""

    def __init__(
        self, beliefs: Beliefs, network: Callable[[], NetworkId], now: Callable[[], float], *, names: bool
    ) -> None:
        """`names`: whether the log may contain the names of sites."""
        self._beliefs = beliefs
        self._network = network
        self._now = now
        self._names = names
        self._warned_at: dict[tuple[NetworkId, NetworkState], float] = {}

    def check_network(self) -> None:
        """Warns when the network has a problem. Called when its state may have changed."""
        network = self._network()
        state = self._beliefs.network_state(network)
        if state is NetworkState.OK:
            return
        from proxy.detect.verdict.labels import network_in_words  # needed with the first problem

        warning = network_in_words(state, self._beliefs.portal_page(network))
        if warning is None or 0 <= self._now() - self._warned_at.get((network, state), float("-inf")) < AGAIN_S:
            return
        if len(self._warned_at) >= WARNED_MAX:
            self._warned_at.clear()
        self._warned_at[network, state] = self._now()
        text, advice = warning
        log.warning("%s → %s", text, advice)

    def report(self, changes: Sequence[Change]) -> None:
        """Warns of TLS interception, and logs every change of state with -v."""
        for change in changes:
            if change.before is change.after:
                continue
            name = change.scope if self._names else "a site"
            before, after = status_of(change.before), status_of(change.after, change.cause)
            log.info("%s: %s → %s%s", name, before, after, f" ({change.cause})" if change.cause else "")
            if change.after is State.BLOCKED and change.cause == Cause.INTERCEPTION:
                log.warning("TLS interception detected for %s; using relays only", name)
        self.check_network()


# -- after a change of the network, a sleep or a change of the clock ---------------------------------------------------


def watch_network(services: Services, network: NetworkWatch, detect: DetectTuning) -> SleepWatch:
    """Subscribes `on_network_change` and `on_resumed`. Returns the watch for sleeps, which the caller starts."""
    network.on_change(partial(on_network_change, services))
    resumed = partial(on_resumed, services, network)
    return SleepWatch(resumed, asleep_s=detect.asleep_s, jump_s=detect.clock_jump_s)


def on_network_change(services: Services, change: NetworkChange) -> None:
    """Closes the tunnels whose local address was lost, so that their clients reconnect instead of waiting for a
    timeout. On another network, also discards measurements of the last one."""
    why = "its network is gone"
    lost = services.pump.abort_where(lambda upstream: change.orphans(upstream.lowest_socket), why)
    services.setup().registry.shared.network_changed(change.orphans)
    if change.is_elsewhere:
        services.learn(NetworkLeft(change.before), services.network())
        services.health.clear_faults()
        services.kept_hellos.forget_hosts()
        forget_findings(services)
        services.flows.reset()
        services.tcp_info.split_tcp.reset()
        log.info("Network changed; closed %d connections", lost)


def forget_findings(services: Services) -> None:
    """Forgets what races have found out about hosts, except whether this network counts ClientHellos."""
    services.findings.clear_all()
    services.findings.may_be_counted = services.beliefs.hellos_are_counted(services.network(), services.now())


def on_resumed(services: Services, network: NetworkWatch, resumed: Resumed) -> None:
    """Discards state that a sleep, or a change of the clock, has made invalid."""
    log.info("Resumed after %.0f s of sleep; the clock moved by %+.0f s", resumed.slept_s, resumed.jumped_s)
    services.beliefs.note(ComputerResumed(), network=services.network(), now=services.now())
    services.health.clear_faults()
    services.flows.reset()
    network.read_now()
    if resumed.slept_s >= services.setup().settings.detect.wake_stale_s:
        services.setup().registry.shared.retire_all()
        upstreams = dict.fromkeys(upstream.lowest_socket for upstream in services.pump.upstreams)
        spawn(reset_stale_connections(upstreams), name="reset tunnels that did not outlive the sleep")
