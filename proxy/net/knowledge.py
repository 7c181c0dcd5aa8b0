"""What `net` asks of the layers above it, and reports to them: one object, made once, for the whole run of Byway.

`net` looks names up, opens paths and sees what comes back. What is believed of a name, a relay or an address, which
route may help after a failure, and what a page is, is the business of `detect`, `routing` and addons, which `net` does
not import. `setup/knowledge.py` answers.

Three things are asked elsewhere, since they live otherwise. What the resolver found out about a name is asked of the
resolver that a race dials with: a reload makes a new one, which has found nothing yet. Which addresses are bogus says
the guard of a Setup (`BogonCheck`). And the ways to relays (`WayBeliefs`) are asked for by one kind of dialer alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from proxy.model import (
    NO_EVIDENCE,
    UNKNOWN_NETWORK,
    Attempt,
    Destination,
    DnsFinding,
    Evidence,
    IPAddress,
    NetworkId,
    Route,
    Symptom,
)
from proxy.model import Protocol as FlightProtocol
from proxy.net.dialers.road import NO_WAY_BELIEFS, WayBeliefs
from proxy.net.stream import Stream
from proxy.wire.tls import Verdict


class ClassifiedAnswer(NamedTuple):
    """What the first bytes of an HTTP answer are."""

    verdict: Verdict  # MORE: too few bytes to tell; VALID: deliver it; GARBAGE: `symptom` says what is wrong
    symptom: Symptom = Symptom.NONE
    evidence: Evidence = NO_EVIDENCE
    answer_fingerprint: str = ""
    """Two routes whose answers have the same fingerprint, not empty, were answered by the same site."""


VALID = ClassifiedAnswer(Verdict.VALID)


class Knowledge(Protocol):
    """What is known above. No method raises, and all answer at once, but for `dial_by_addon`."""

    @property
    def ways(self) -> WayBeliefs:
        """What is believed of the ways to relays."""
        ...

    def network(self) -> NetworkId:
        """The current network."""
        ...

    def has_ipv6(self) -> bool:
        """Whether this machine has an IPv6 address that is good beyond its link."""
        ...

    def is_suspect(self, host: str) -> bool:
        """Whether `host` must not be resolved in plain text; asked for `EncryptedFor.SUSPECTS` alone."""
        ...

    def is_portal(self) -> bool:
        """Whether a captive portal is known to answer in place of every site: its answers are no findings, and a
        redirect leads to its login page."""
        ...

    def is_failing(self, route: Route) -> bool:
        """Whether the relay or the chain of `route` is known to fail, so that no other route waits for it."""
        ...

    def in_residual_window(self, address: IPAddress) -> bool:
        """Whether a flight to `address` was reset so recently that a filter may still drop everything sent there."""
        ...

    def report_broken_flight(self, address: str, host: str) -> None:
        """Begins the residual window of `address`: a flight that names `host` was reset there, or looks dropped."""
        ...

    def report_answered_flight(self, address: str, host: str) -> None:
        """Ends it again: the flight that looked dropped was answered after all."""
        ...

    def on_forged(self, host: str, finding: DnsFinding) -> None:
        """Called for a forged answer that came in addition to the one in use."""
        ...

    def may_help(
        self, route: Route, attempts: Sequence[Attempt], *, protocol: FlightProtocol, ech: bool, last_resort: bool
    ) -> bool:
        """Whether `route` may deliver after what happened to `attempts`. `ech`: the ClientHello is an encrypted one
        that names another host; `last_resort`: no route is left that answers the symptoms, and no relay may serve."""
        ...

    def classify(self, answer: bytes, host: str, *, complete: bool) -> ClassifiedAnswer:
        """What `answer`, as far as it has come, is for `host`: a block page, a redirect to another site, or the site's.
        `complete`: no more of it will be read, so the result is never MORE."""
        ...

    async def dial_by_addon(self, addon: str, route: Route, destination: Destination) -> Stream | None:
        """Opens a path with an addon's `dial` hook; None when there is no such addon, or it failed. The caller closes
        the stream. Raises DialError and OSError."""
        ...


class NothingKnown:
    """Knows the network at most: nothing is suspect or fails, every route may help, every answer is the site's, and no
    addon runs. For commands, which run without the rest of Byway."""

    def __init__(self, network: Callable[[], NetworkId] = lambda: UNKNOWN_NETWORK) -> None:
        self._network = network

    @property
    def ways(self) -> WayBeliefs:
        return NO_WAY_BELIEFS

    def network(self) -> NetworkId:
        return self._network()

    def has_ipv6(self) -> bool:
        return True  # not known

    def is_suspect(self, host: str) -> bool:
        return False

    def is_portal(self) -> bool:
        return False

    def is_failing(self, route: Route) -> bool:
        return False

    def in_residual_window(self, address: IPAddress) -> bool:
        return False

    def report_broken_flight(self, address: str, host: str) -> None:
        pass

    def report_answered_flight(self, address: str, host: str) -> None:
        pass

    def on_forged(self, host: str, finding: DnsFinding) -> None:
        pass

    def may_help(
        self, route: Route, attempts: Sequence[Attempt], *, protocol: FlightProtocol, ech: bool, last_resort: bool
    ) -> bool:
        return True

    def classify(self, answer: bytes, host: str, *, complete: bool) -> ClassifiedAnswer:
        return VALID

    async def dial_by_addon(self, addon: str, route: Route, destination: Destination) -> Stream | None:
        return None


NOTHING_KNOWN: Knowledge = NothingKnown()
