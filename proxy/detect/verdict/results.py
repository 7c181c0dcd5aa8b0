"""The last result of each site, so that a site that has just failed is not "not tested"; and the last visit.

A connection that a route delivered needs no result: the stored status says that the site works. For one that failed on
every route, the result is found here: the name does not exist, the relays themselves fail, or the site is down. A
measurement has its verdict. Results are in memory only, limited like the beliefs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs.host_lru import HostLru, Key
from proxy.detect.relay_faults import relay_fault
from proxy.detect.signals import NOT_JUDGED
from proxy.detect.verdict.labels import DOES_NOT_RESOLVE, symptom_in_words
from proxy.detect.verdict.missing_name import Lookup, NameAnswers, lookup_result
from proxy.detect.verdict.site_status import LastResult, SiteStatus, Source
from proxy.model import DIRECT, DOH, Attempt, Cause, ClosedBy, NetworkId, Outcome, Protocol, Stage, Symptom
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _, semicolons


@frozen_dataclass
class Visited:
    """The protocol and port of the last visit to a host."""

    protocol: Protocol
    port: int


class Results:
    """The last results, by network and host. Belongs to one thread."""

    def __init__(self, settings: DetectTuning) -> None:
        bounds = {"total": settings.hosts_max, "per_domain": settings.hosts_per_domain_max}
        self._settings = settings
        self._results: HostLru[LastResult] = HostLru(**bounds)
        self._visited: HostLru[Visited] = HostLru(**bounds)

    def learn(self, outcome: Outcome, key: Key, now: float, *, direct_works: bool) -> None:
        """Learns from a client's connection. `direct_works`: another site was reached direct lately."""
        port = outcome.request.destination.port
        if (protocol := visited_protocol(outcome.protocol, port)) is not Protocol.NONE:
            self._visited.put(key, Visited(protocol, port))
        if outcome.winner is not None:
            before = self._results.get(key)
            if before is not None and not _is_lasting(before, outcome):
                self._results.pop(key)
        elif (result := result_of(outcome, now, direct_works=direct_works)) is not None:
            self._results.put(key, result)

    def note(self, key: Key, result: LastResult) -> None:
        """Stores the result of a measurement."""
        self._results.put(key, result)

    def knows(self, key: Key) -> bool:
        """Whether a host has a result, however old."""
        return key in self._results

    def of(self, key: Key, now: float) -> LastResult | None:
        """The last result of a host; None when there is none, or it is older than `known_s`."""
        result = self._results.get(key)
        return result if result is not None and 0 <= now - result.at <= self._settings.known_s else None

    def visited(self, key: Key) -> Visited | None:
        """The last visit to a host; None: there was none."""
        return self._visited.get(key)

    def recent(self, network: NetworkId, now: float, within_s: float) -> list[tuple[str, LastResult]]:
        """The hosts with a result of the last `within_s` on a network, the latest first."""
        found = [
            (host, result)
            for (where, host), result in self._results.items()
            if where == network and 0 <= now - result.at <= within_s
        ]
        return sorted(found, key=lambda pair: pair[1].at, reverse=True)

    def forget(self, key: Key) -> None:
        """Forgets one host."""
        self._results.pop(key)
        self._visited.pop(key)

    def known(self) -> set[Key]:
        """All hosts with a result or a visit."""
        return {*self._results, *self._visited}

    def on_clock_set(self) -> None:
        """Drops all results, whose dates are void."""
        self._results.clear()


def visited_protocol(protocol: Protocol, port: int) -> Protocol:
    """The protocol of a page that was visited: TLS or HTTP, by what the client sent, or by the port where the visit
    failed before it sent anything; NONE for what is no page."""
    if protocol is Protocol.NONE:
        return _USUAL.get(port, Protocol.NONE)
    return protocol if protocol in (Protocol.TLS, Protocol.HTTP) else Protocol.NONE


_USUAL = MappingProxyType({80: Protocol.HTTP, 8080: Protocol.HTTP, 443: Protocol.TLS, 8443: Protocol.TLS})
"""What pages are requested by at these ports."""


def result_of(outcome: Outcome, now: float, *, direct_works: bool) -> LastResult | None:
    """The result of a connection that no route delivered; None when it is not known: the client left before every
    route was judged, or nothing was tried."""
    tried = [attempt for attempt in outcome.attempts if attempt.symptom not in NOT_JUDGED]
    undecided = any(attempt.pending or attempt.symptom is Symptom.ABANDONED for attempt in tried)
    if not tried or undecided or outcome.closed_by in (ClosedBy.CLIENT, ClosedBy.USER):
        return None
    relayed = [attempt for attempt in tried if attempt.route.relays]
    failing = [attempt for attempt in relayed if relay_fault(attempt) is not None]
    unanswered = [attempt for attempt in relayed if _is_unanswered(attempt)]
    compared = [attempt for attempt in relayed if attempt not in failing and attempt not in unanswered]
    text = semicolons(
        [_sentence(attempt, outcome.protocol) for attempt in {attempt.route: attempt for attempt in tried}.values()]
    )
    result = LastResult(SiteStatus.NOT_TESTED, now, Source.CONNECTION, text=text)
    answers = _name_answers(outcome.attempts, compared, has_relays=bool(relayed))
    if answers.status is SiteStatus.NO_SUCH_NAME:
        return replace(result, status=SiteStatus.NO_SUCH_NAME, cause=Cause.NO_SUCH_NAME)
    # Where nothing works and no resolver answers, it may be the network.
    if answers.status is SiteStatus.DOES_NOT_RESOLVE and (direct_works or answers.system is not Lookup.FAILED):
        return replace(result, status=SiteStatus.DOES_NOT_RESOLVE, cause=Cause.UNRESOLVED, text=DOES_NOT_RESOLVE)
    if compared:
        return replace(result, status=SiteStatus.SITE_DOWN, cause=Cause.DOWN)
    if unanswered:
        relays = tuple(dict.fromkeys(">".join(attempt.route.relays) for attempt in unanswered))
        return replace(result, status=SiteStatus.SITE_DOWN, cause=Cause.DOWN, relays=relays)
    if failing:
        return replace(result, status=SiteStatus.RELAYS_FAIL, cause=Cause.RELAYS_FAIL)
    return replace(result, status=SiteStatus.SITE_DOWN, cause=Cause.DOWN) if direct_works else result


def _name_answers(attempts: Sequence[Attempt], compared: Sequence[Attempt], *, has_relays: bool) -> NameAnswers:
    """What resolvers and relays said of the name."""
    direct = [attempt for attempt in attempts if attempt.route == DIRECT]
    by_doh = [attempt for attempt in attempts if attempt.route == DOH]
    return NameAnswers(
        _lookup(direct),
        _lookup(by_doh),
        by_relays=sum(attempt.symptom is Symptom.RELAY_REFUSED for attempt in compared),
        has_relays=has_relays,
    )


def _lookup(attempts: Sequence[Attempt]) -> Lookup:
    """What the lookup of the last of these attempts came to. It is found when the attempt came further."""
    if not attempts:
        return Lookup.NOT_ASKED
    last = attempts[-1]
    return lookup_result(last.symptom, last.evidence) if last.stage is Stage.RESOLVE else Lookup.FOUND


def _is_unanswered(attempt: Attempt) -> bool:
    """Whether a relay took the request and did not answer: it waits for the site, or is dead itself."""
    return attempt.stage is Stage.RELAY and attempt.symptom is Symptom.TIMEOUT


def _is_lasting(result: LastResult, outcome: Outcome) -> bool:
    """Whether a delivered connection does not contradict a result: a tunnel delivers a bad certificate like a good
    one."""
    return result.status is SiteStatus.BAD_CERTIFICATE and outcome.protocol is Protocol.TLS


def _sentence(attempt: Attempt, protocol: Protocol) -> str:
    fault = relay_fault(attempt)
    reason = fault.text if fault is not None else symptom_in_words(attempt.symptom, attempt.stage, protocol)
    return _("{route}: {reason}", route=str(attempt.route), reason=reason)
