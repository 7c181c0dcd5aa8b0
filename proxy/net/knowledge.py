"""The questions of `net` to the layers above it, and its reports to them: a Protocol, with one object for a run.

`net` resolves names, opens paths and reads answers. It does not import `detect`, `routing` or addons, which have the
beliefs about names, relays and addresses, choose the routes that may help after a failure, and classify pages.
`setup/knowledge.py` implements the Protocol.

Three questions go to other objects, which have another lifetime or user: DNS findings to the resolver of a race, which
a reload replaces; bogus addresses to the guard of a Setup (`BogonCheck`); the order of ways to a relay to `WayBeliefs`,
which only one kind of dialer uses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from proxy.model import (
    NO_EVIDENCE,
    UNKNOWN_NETWORK,
    Attempt,
    CutHellos,
    Destination,
    DnsFinding,
    Evidence,
    IPAddress,
    NetworkId,
    PageDoubt,
    Route,
    Symptom,
)
from proxy.model import Protocol as FlightProtocol
from proxy.net.dialers.road import NO_WAY_BELIEFS, WayBeliefs
from proxy.net.stream import Stream
from proxy.wire.tls import Verdict


class ClassifiedAnswer(NamedTuple):
    """The class of an HTTP answer, by its first bytes."""

    verdict: Verdict  # MORE: too few bytes; VALID: deliver it; GARBAGE: do not, because of `symptom`
    symptom: Symptom = Symptom.NONE
    evidence: Evidence = NO_EVIDENCE
    answer_fingerprint: str = ""
    """Two routes whose answers have the same fingerprint, not empty, were answered by the same site."""
    page_mark: int = 0
    """Equal for small pages of the same length and title; 0: it is none."""


VALID = ClassifiedAnswer(Verdict.VALID)


class Knowledge(Protocol):
    """The knowledge of the layers above. Except `dial_by_addon`, no method waits or raises. Here nothing is known: no
    name is suspect, no relay fails, every route may help, every answer is the site's, and there are no addons."""

    @property
    def ways(self) -> WayBeliefs:
        """The beliefs about the ways to relays."""
        return NO_WAY_BELIEFS

    def network(self) -> NetworkId:
        """Returns the current network."""
        return UNKNOWN_NETWORK

    def has_ipv6(self) -> bool:
        """Whether this machine has an IPv6 address that is good beyond its link."""
        return True  # not known

    def is_suspect(self, host: str) -> bool:
        """Whether `host` must not be resolved in plain text. Called only with `EncryptedFor.SUSPECTS`."""
        return False

    def wants_second_opinion(self, host: str) -> bool:
        """Whether encrypted DNS shall be asked about `host` while direct is only silent. Not when direct delivered it
        before, a captive portal answers, or the user keeps it out of the log."""
        return True

    def is_portal(self) -> bool:
        """Whether a captive portal is known to answer in place of every site: its answers are no findings, and a
        redirect leads to its login page."""
        return False

    def may_be_portal(self) -> bool:
        """Whether a captive portal may answer in place of every site: nothing has shown lately that none does."""
        return False

    def is_failing(self, route: Route) -> bool:
        """Whether the relay or the chain of `route` is known to fail, so that no other route waits for it."""
        return False

    def in_residual_window(self, address: IPAddress) -> bool:
        """Whether a flight to `address` was reset so recently that a filter may still drop everything sent there."""
        return False

    def report_broken_flight(self, address: str, host: str) -> None:
        """Begins the residual window of `address`: a flight for `host` was reset there, or looks dropped."""
        return

    def report_answered_flight(self, address: str, host: str) -> None:
        """Ends the residual window of `address`: the flight that looked dropped was answered."""
        return

    def on_forged(self, host: str, finding: DnsFinding) -> None:
        """Called for a forged answer that came in addition to the one in use."""
        return

    def hellos_are_counted(self) -> bool:
        """Whether this network is known to punish bursts of ClientHellos, so that those of clients are kept apart."""
        return False

    def cuts_are_punished(self) -> bool:
        """Whether this network is known to punish a ClientHello in pieces."""
        return False

    def cut_hellos(self, host: str, addresses: Sequence[str]) -> CutHellos:
        """Whether the ClientHello for `host` may be sent in pieces, after a whole one failed at these addresses."""
        return CutHellos.ALLOWED

    def may_help(
        self, route: Route, attempts: Sequence[Attempt], *, protocol: FlightProtocol, ech: bool, last_resort: bool
    ) -> bool:
        """Whether `route` may deliver after the failures of `attempts`. `ech`: the ClientHello is an encrypted one that
        names another host. `last_resort`: no other route fits the symptoms, and no relay may be used."""
        return True

    def classify(self, answer: bytes, host: str, *, complete: bool) -> ClassifiedAnswer:
        """Classifies the bytes of an answer for `host` so far: a block page, a redirect to another site, or the site's
        answer. `complete`: no more bytes will come, so the result is never MORE."""
        return VALID

    def page_doubt(self, host: str, mark: int, address: str) -> PageDoubt | None:
        """Returns why a page that direct brought for `host` from `address` ("address:port") may not be the site's
        own; None: it is not doubted. `mark`: the `page_mark` of its answer, which is remembered."""
        return None

    async def dial_by_addon(self, addon: str, route: Route, destination: Destination) -> Stream | None:
        """Opens a path with an addon's `dial` hook; None when there is no such addon, or it failed. The caller closes
        the stream. Raises DialError and OSError."""
        return None


class NothingKnown(Knowledge):
    """Knows at most the network. For commands, which run without the rest of Byway."""

    def __init__(self, network: Callable[[], NetworkId] = lambda: UNKNOWN_NETWORK) -> None:
        self._network = network

    def network(self) -> NetworkId:
        return self._network()


NOTHING_KNOWN: Knowledge = NothingKnown()
