"""The frame of each probe beside a visit: which visits allow one, and how long its results say anything.

A probe is for the network and the configuration of its visit. When one of them changes while it is under way, it sends
nothing more, and nothing is learned from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from proxy.detect.beliefs.events import Circumstance, EventBeside
from proxy.detect.beliefs.retests import Claim
from proxy.model import Action, Belief, NetworkId, Outcome, Protocol
from proxy.session.services import Services
from proxy.session.setup import Setup


def beside(
    services: Services, setup: Setup, network: NetworkId, visit: Outcome, *, by_its_routes: bool = False
) -> BesideVisit | None:
    """Returns the frame of a probe beside a visit, or None: the user lets Byway send no requests of its own to its
    host, or the network or the configuration (`setup`) has changed since. `by_its_routes`: they go only by direct and
    by the route of the visit, so that they may go to a host of `[auto] never_relay`."""
    host = visit.host
    may_probe = (
        visit.plan.action is Action.AUTO
        and not visit.plan.is_home
        and visit.protocol in (Protocol.TLS, Protocol.HTTP)
        and setup.settings.auto.retest
        and (by_its_routes or setup.router.may_relay(host))
        and not services.is_private(host)
        and not services.beliefs.is_near(host)
    )
    if not may_probe:
        return None
    made = BesideVisit(services, setup, network, host)
    return made if made.is_same() else None


class BesideVisit:
    """A probe beside a visit to `host`."""

    __slots__ = ("host", "network", "services", "setup")

    def __init__(self, services: Services, setup: Setup, network: NetworkId, host: str) -> None:
        self.services = services
        self.setup = setup
        self.network = network
        self.host = host

    def is_same(self) -> bool:
        """Whether the network and the configuration are still those of the visit."""
        return self.services.network() == self.network and self.services.setup() is self.setup

    def belief(self) -> Belief:
        """Returns what is believed about the host now."""
        return self.services.beliefs.lookup(self.host, network=self.network, now=self.services.now())

    def report(self, event: EventBeside) -> bool:
        """Lets the beliefs learn from a result, and returns whether they did: it may come too late."""
        is_same = self.is_same()
        if is_same:
            self.services.learn(event, self.network)
        return is_same

    def note(self, event: Circumstance) -> None:
        """The same for a circumstance."""
        if self.is_same():
            self.services.beliefs.note(event, network=self.network, now=self.services.now())

    def claim(self) -> Claim | None:
        """Returns the claim that was just taken for the host."""
        return self.services.beliefs.claim_of(self.host, network=self.network, now=self.services.now())

    @contextmanager
    def releasing(self, claim: Claim | None) -> Iterator[None]:
        """Releases a claim at the end, reported or not: the next one is due by its date."""
        try:
            yield
        finally:
            self.services.beliefs.release(claim)
