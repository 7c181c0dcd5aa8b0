"""Answers the questions of `net` (`net.knowledge`) about the network, names, relays, pages and addons.

The answers change with every connection, while a Setup is frozen and is replaced by each reload. So this object is made
before any Setup and is given to each. It reads rules and lists from the Setup in use.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from operator import attrgetter

from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.beliefs.events import FlightAnswered, FlightBroken
from proxy.detect.relay_health import Health, relay_name
from proxy.detect.relay_ways import RelayWays
from proxy.extend.dispatch import Addons
from proxy.model import (
    CutHellos,
    Destination,
    DnsFinding,
    IPAddress,
    NetworkId,
    NetworkState,
    PageDoubt,
    Route,
    State,
    Symptom,
)
from proxy.model.evidence import frozen_evidence
from proxy.net.dialers.road import WayBeliefs
from proxy.net.knowledge import ClassifiedAnswer
from proxy.net.race.shared_findings import SharedFindings
from proxy.net.stream import Stream
from proxy.net.uplink.network_watch import NetworkWatch
from proxy.routing.strategies import fits
from proxy.session.setup import Setup
from proxy.wire.tls import Verdict

_MORE = ClassifiedAnswer(Verdict.MORE)


@lru_cache(maxsize=1024)
def _valid(status: int, mark: int) -> ClassifiedAnswer:
    return ClassifiedAnswer(Verdict.VALID, evidence=frozen_evidence({"status": status}), page_mark=mark)


class SetupInUse:
    """A reference to the Setup in use. It exists before the first Setup; `ActiveSetup` sets it."""

    setup: Setup

    def __init__(self) -> None:
        self.get: Callable[[], Setup] = partial(attrgetter("setup"), self)
        """Returns the Setup. It is called several times for each connection, so it is not a Python function."""

    def is_near(self, host: str) -> bool:
        """Whether a host is in this computer's own network."""
        return self.setup.guard.is_near(host)

    def known_addresses(self, host: str) -> Sequence[IPAddress]:
        """Returns the cached addresses of a name, without a query."""
        return self.setup.resolver.known(host)

    def is_listed(self, host: str) -> bool:
        """Whether an imported list names a host as likely blocked."""
        return self.setup.router.rules.is_listed(host)


class BywayKnows:
    """The Knowledge of a running Byway."""

    def __init__(
        self,
        in_use: SetupInUse,
        network: NetworkWatch,
        beliefs: Beliefs,
        findings: SharedFindings,
        health: Health,
        relay_ways: RelayWays,
        addons: Addons,
        is_private: Callable[[str], bool],
    ) -> None:
        """`is_private`: see `Services`."""
        self._in_use = in_use
        self._is_private = is_private
        self.network: Callable[[], NetworkId] = network.current  # called a dozen times for each lookup
        self._network_watch = network
        self._beliefs = beliefs
        self._findings = findings
        self._health = health
        self._addons = addons
        self.ways: WayBeliefs = relay_ways
        self.may_help = fits

    def has_ipv6(self) -> bool:
        return self._network_watch.has_ipv6

    def is_suspect(self, host: str) -> bool:
        router, network, now = self._in_use.setup.router, self.network(), time.time()
        if router.rules.is_listed(host) or not router.may_go_direct(Destination(host, 443), network, now):
            return True
        belief = self._beliefs.lookup(host, network=network, now=now)
        if belief.has_lapsed_unproven:
            # Where encrypted DNS is blocked and no relay can ask it, one stall of a Wi-Fi would close a site for a day.
            return self._health.has_delivered(self._in_use.setup.registry.relay_names, now)
        return belief.hide_name_from_dns

    def wants_second_opinion(self, host: str) -> bool:
        network = self.network()
        return (
            self._beliefs.lookup(host, network=network, now=time.time()).state is not State.WORKS
            and not self.is_portal()
            and not self._is_private(host)
        )

    def is_portal(self) -> bool:
        return self._beliefs.network_state(self.network()) is NetworkState.PORTAL

    def may_be_portal(self) -> bool:
        return not self._beliefs.certificates_are_valid(self.network(), time.time())

    def is_failing(self, route: Route) -> bool:
        return self._health.is_open(relay_name(route), time.time())

    def in_residual_window(self, address: IPAddress) -> bool:
        return self._beliefs.in_residual_window(address, self.network(), time.time())

    def hellos_are_counted(self) -> bool:
        return self._beliefs.hellos_are_counted(self.network(), time.time())

    def cuts_are_punished(self) -> bool:
        return self._beliefs.cuts_are_punished(self.network(), time.time())

    def cut_hellos(self, host: str, addresses: Sequence[str]) -> CutHellos:
        return self._beliefs.cut_hellos(host, addresses, network=self.network(), now=time.time())

    def report_broken_flight(self, address: str, host: str) -> None:
        self._beliefs.note(FlightBroken(address, host), network=self.network(), now=time.time())

    def report_answered_flight(self, address: str, host: str) -> None:
        self._beliefs.note(FlightAnswered(address, host), network=self.network(), now=time.time())

    def on_forged(self, host: str, finding: DnsFinding) -> None:
        """Marks direct routes to `host` as failed: a race that waits for one starts the next route."""
        self._findings.mark_down(host)

    def classify(self, answer: bytes, host: str, *, complete: bool) -> ClassifiedAnswer:
        from proxy.detect.pages.page_classifier import PageKind, classify_page  # needed only for plain HTTP

        by_addons = self._addons.classify if self._addons.classifies else None
        page = classify_page(answer, host, ended=complete, pages=self._in_use.setup.pages(), classify=by_addons)
        match page.kind:
            case PageKind.MORE:
                return _MORE
            case PageKind.BLOCK_PAGE:
                return ClassifiedAnswer(
                    Verdict.GARBAGE, Symptom.BLOCK_PAGE, {"page": page.detail, "status": page.status}
                )
            case PageKind.REDIRECTED:
                return ClassifiedAnswer(
                    Verdict.GARBAGE,
                    Symptom.REDIRECTED,
                    {"elsewhere": page.detail, "status": page.status},
                    answer_fingerprint=f"elsewhere {page.detail}",
                )
        return _valid(page.status, page.mark)

    def page_doubt(self, host: str, mark: int, address: str) -> PageDoubt | None:
        return self._beliefs.page_doubt(host, mark, address, network=self.network(), now=time.time())

    async def dial_by_addon(self, addon: str, route: Route, destination: Destination) -> Stream | None:
        return await self._addons.dial(addon, route, destination)
