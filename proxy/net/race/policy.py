"""What a race asks of the layers above it: which route may help now, and what an HTTP answer is.

`net` opens paths and sees what comes back. That a route cannot help against a lying resolver, or that a page is a known
block page, is the business of `routing` and `detect`, which `net` does not import: `setup/setup_policy.py` answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from proxy.model import NO_EVIDENCE, Attempt, Evidence, Route, Symptom
from proxy.model import Protocol as FlightProtocol
from proxy.wire.tls import Verdict


class ClassifiedAnswer(NamedTuple):
    """What the first bytes of an HTTP answer are."""

    verdict: Verdict  # MORE: too few bytes to tell; VALID: deliver it; GARBAGE: `symptom` says what is wrong
    symptom: Symptom = Symptom.NONE
    evidence: Evidence = NO_EVIDENCE
    answer_fingerprint: str = ""
    """Two routes whose answers have the same fingerprint, not empty, were answered by the same site."""


VALID = ClassifiedAnswer(Verdict.VALID)


class AnswerClassifier(Protocol):
    """Knows block pages, and redirects to another site."""

    def classify(self, answer: bytes, host: str, *, complete: bool) -> ClassifiedAnswer:
        """What `answer`, as far as it has come, is for `host`. `complete`: no more of it will be read, so the result is
        never MORE."""
        ...


class RacePolicy(AnswerClassifier, Protocol):
    """What a race asks of the layers above it. No method may block or raise."""

    def may_help(
        self, route: Route, attempts: Sequence[Attempt], *, protocol: FlightProtocol, ech: bool, last_resort: bool
    ) -> bool:
        """Whether `route` may deliver after what happened to `attempts`. `ech`: the ClientHello is an encrypted one
        that names another host; `last_resort`: no route is left that answers the symptoms, and no relay may serve."""
        ...

    def dns_evidence(self, host: str) -> Evidence:
        """Evidence against the resolver's answer for `host`; empty when there is none."""
        ...

    def is_local_zone(self, host: str) -> bool:
        """Whether `host` was found to be a name of the local network: its resolver alone knows it, with a private
        address, or it has one everywhere."""
        ...

    def may_be_local_zone(self, host: str) -> bool:
        """Whether `host` may turn out to be such a name, by what the resolvers have said so far."""
        ...

    def is_portal(self) -> bool:
        """Whether a login page is known to replace every site on this network, so that a redirect leads to it."""
        ...

    def is_failing(self, route: Route) -> bool:
        """Whether the relay of `route` is known to fail, so that no other route waits for it."""
        ...

    def report_broken_flight(self, address: str, host: str) -> None:
        """A flight that names `host` was reset or looks dropped on a direct route to `address`."""
        ...

    def report_answered_flight(self, address: str, host: str) -> None:
        """One that looked dropped was answered after all."""
        ...


class NoPolicy:
    """Knows nothing: every route may help, and every answer is the site's."""

    __slots__ = ()

    def classify(self, answer: bytes, host: str, *, complete: bool) -> ClassifiedAnswer:
        return VALID

    def may_help(
        self, route: Route, attempts: Sequence[Attempt], *, protocol: FlightProtocol, ech: bool, last_resort: bool
    ) -> bool:
        return True

    def dns_evidence(self, host: str) -> Evidence:
        return NO_EVIDENCE

    def is_local_zone(self, host: str) -> bool:
        return False

    def may_be_local_zone(self, host: str) -> bool:
        return False

    def is_portal(self) -> bool:
        return False

    def is_failing(self, route: Route) -> bool:
        return False

    def report_broken_flight(self, address: str, host: str) -> None:
        pass

    def report_answered_flight(self, address: str, host: str) -> None:
        pass


NO_POLICY: RacePolicy = NoPolicy()
