"""What a race is told by those who know more than sockets: which route may help now, and what an answer means.

`net` opens paths and sees what comes; that a route cannot help against a lying resolver, or that a page is a known
block page, is the business of `routing` and `detect`. They come in as functions, handed down by the setup.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from proxy.model import NO_EVIDENCE, Attempt, Destination, Protocol, Route, Symptom
from proxy.wire.tls import Verdict


class PageKind(typing.NamedTuple):
    """What the first bytes of an HTTP answer are."""

    verdict: Verdict  # MORE: not enough has come; VALID: it shall be delivered; GARBAGE: it has `symptom`
    symptom: Symptom = Symptom.NONE
    evidence: Mapping[str, str | int | float] = NO_EVIDENCE
    answer_fingerprint: str = ""
    """Two routes that were answered with the same text here, not empty, were answered by the same site."""


VALID = PageKind(Verdict.VALID)


class Fits(typing.Protocol):
    """Says whether a route may help after what the race has seen."""

    def __call__(
        self, route: Route, attempts: Sequence[Attempt], *, protocol: Protocol, ech: bool, last_resort: bool
    ) -> bool:
        """`ech`: the hello is an encrypted one that names somebody else; `last_resort`: no other route is left that
        answers what was seen, and the plan has no relay."""
        ...


def _anything(route: Route, attempts: Sequence[Attempt], *, protocol: Protocol, ech: bool, last_resort: bool) -> bool:
    return True


LookAt = Callable[[bytes, str, bool], PageKind]
"""What an answer is, for which host; True: no more will come."""


@dataclass(frozen=True, slots=True)
class RacePolicy:
    """All of it. The defaults know nothing."""

    fits: Fits = _anything
    look_at: LookAt = lambda answer, host, ended: VALID
    noticed: Callable[[str], Mapping[str, str | int | float]] = lambda host: NO_EVIDENCE
    """Evidence against what the resolver said of a host, for direct attempts that fail or look so."""
    is_resolving: Callable[[str], bool] = lambda host: False
    """Whether the resolver still has to answer for a host."""
    trying: Callable[[Destination], str] = lambda destination: ""
    """The addresses, with spaces between, to which a direct route tries to connect."""
    connecting_since: Callable[[Destination], float] = lambda destination: 0.0
    """When, by the loop's clock, a direct route began to connect; 0 while the name is still being resolved."""
    is_portal: Callable[[], bool] = lambda: False
    """Whether a login page is known to come in the place of every site here, so that a redirect leads to it."""
    is_failing: Callable[[Route], bool] = lambda route: False
    """Whether the relay of a route is known to fail, so that no route waits for it."""
    troubled: Callable[[str, str], None] = lambda address, host: None
    """Told the address at which a flight that names the host was broken off or dropped on a direct route."""


NO_POLICY = RacePolicy()
