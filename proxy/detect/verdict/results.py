"""The last result of each site, so that a site that has just failed is not "not tested"; and the last visit.

A connection that a route delivered needs no result: the stored status says that the site works. For one that failed on
every route, `failed_visit` finds it. A measurement has its verdict. A port of a site has its own results: that nothing
listens on one says nothing of the others. Results are limited like the beliefs; a `ResultStore` keeps them, so that
they are known after a restart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Protocol as Interface

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs.generations import Generations
from proxy.detect.beliefs.tables import HostLru, Key, Meant
from proxy.detect.scopes import registrable
from proxy.detect.signals import NOT_JUDGED, REFUSALS
from proxy.detect.verdict.site_status import (
    BLOCKS,
    HTTP,
    HTTPS,
    PORTS,
    LastResult,
    SiteStatus,
    Source,
    says_the_same,
    usual_ports_first,
)
from proxy.model import DIRECT, Cause, NetworkId, Outcome, Protocol, ResultKey, Stage, StoredResult, Symptom
from proxy.model.bounded import Bounded
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.wire.relay_url import redact

PAGES: Mapping[Protocol | int, Protocol] = {
    Protocol.TLS: Protocol.TLS,
    Protocol.HTTP: Protocol.HTTP,
    HTTPS: Protocol.TLS,
    8443: Protocol.TLS,
    HTTP: Protocol.HTTP,
    8080: Protocol.HTTP,
}
"""The protocol of a page that was visited: by what the client sent, or by the port where the visit failed before it
sent anything. Other visits are to no page."""

PORTS_MAX = 4
"""Ports of one host that have a result, the latest."""

DIRECT_WORKS_S = 60.0
"""Another site that delivers direct within this time of a failure shows that direct works."""

WAITING_MAX = 256
"""Failures that wait for another site to show that direct works."""


@frozen_dataclass
class Visited:
    """The protocol and port of a visit to a host."""

    protocol: Protocol
    port: int


class ResultStore(Interface):
    """Keeps results over a restart, as far as the user's settings allow. Returns at once and never raises."""

    def keep_result(self, result: StoredResult, *, is_troubled: bool = False) -> None:
        """Keeps a result in place of an earlier one of the same port. `is_troubled`: a block of the site is stored."""
        ...

    def drop_result(self, key: ResultKey) -> None:
        """Drops the result of a port."""
        ...


class NoResultStore:
    """Keeps nothing."""

    def keep_result(self, result: StoredResult, *, is_troubled: bool = False) -> None:
        pass

    def drop_result(self, key: ResultKey) -> None:
        pass


NO_RESULT_STORE: ResultStore = NoResultStore()


class Results:
    """The last results, by network, host and port. Belongs to one thread."""

    def __init__(
        self,
        settings: DetectTuning,
        known: Iterable[StoredResult] = (),
        store: ResultStore = NO_RESULT_STORE,
        generations: Generations | None = None,
    ) -> None:
        """`known` comes from the store. Each change raises the generation of its host in `generations`."""
        bounds = {"total": settings.hosts_max, "per_domain": settings.hosts_per_domain_max}
        self._settings = settings
        self._results: HostLru[tuple[LastResult, ...]] = HostLru(generations, **bounds)
        self._visited: HostLru[Visited] = HostLru(generations, **bounds)
        self.waiting: Bounded[tuple[Key, int], LastResult] = Bounded(WAITING_MAX)
        """By host and port, the result of a failure if another site works direct at that time."""
        self._store = store
        for stored in sorted(known, key=lambda stored: stored.at):
            if (result := _from_store(stored)) is not None:
                key = (stored.network, stored.host)
                self._results.put(key, _with(self._results.get(key), result))

    def learn(self, outcome: Outcome, key: Key, now: float, *, direct_works: bool) -> None:
        """Learns from a client's connection. `direct_works`: another site was reached direct lately."""
        port = outcome.request.destination.port
        if (protocol := PAGES.get(outcome.protocol or port)) is not None and (
            port in PORTS or (last := self._visited.get(key)) is None or last.port not in PORTS
        ):
            visited = Visited(protocol, port)
            self._visited.put(key, visited, is_change=self._visited.get(key) != visited)
        if outcome.winner is not None:
            if (results := self._results.get(key)) is None:
                return  # the usual case
            before = self.of_port(key, port, now)
            is_over = before is None or not _is_lasting(before, outcome)
            if is_over and any(result.port == port for result in results):
                self._replace(key, port, None)
            return
        from proxy.detect.verdict.failed_visit import result_of  # most visits do not fail

        result = result_of(outcome, now, gave_up_s=self._settings.gave_up_s)
        if result is None:
            return
        if result.status in _NEED_A_ROUTE and result.otherwise is SiteStatus.NOT_TESTED:
            certain = replace(result, relays=())
            if direct_works:
                result = certain
            else:
                self.waiting[key, port] = certain
                result = result if result.relays else replace(result, status=result.otherwise, cause=Cause.NONE)
        self.note(key, result)

    def on_direct_delivery(self, network: NetworkId, domain: str, now: float) -> None:
        """Learns that a host of `domain` delivered direct: failures of other sites within DIRECT_WORKS_S were not the
        network's."""
        for (key, port), result in list(self.waiting.items()):
            is_old = not 0 <= now - result.at <= DIRECT_WORKS_S
            if is_old or (key[0] == network and registrable(key[1]) != domain):
                del self.waiting[key, port]
                shown = self.of_port(key, port, now)
                if not is_old and shown is not None and shown.at == result.at:
                    self.note(key, result)

    def note(self, key: Key, result: LastResult, *, is_troubled: bool = False) -> None:
        """Stores the result of a measurement, or of a connection. `is_troubled`: a block of the site is stored."""
        before = self.of_port(key, result.port, result.at)
        if before is not None and says_the_same(before.status, result.status):
            result = replace(result, since=before.began)
        self._replace(key, result.port, result, is_troubled=is_troubled)

    def forget_recent(self, network: NetworkId, since: float) -> None:
        """Forgets the results on a network since then: the network was at fault, and not the sites."""
        for key, results in self._results.items():
            for result in results if key[0] == network else ():
                if result.at >= since:
                    self._replace(key, result.port, None)
        for waiting in [waiting for waiting in self.waiting if waiting[0][0] == network]:
            del self.waiting[waiting]

    def knows(self, key: Key) -> bool:
        """Whether a host has a result, however old."""
        return key in self._results

    def of(self, key: Key, now: float) -> LastResult | None:
        """The last result of a host: that of https, else that of http, else that of the latest other port. None when
        there is none, or it is older than `known_s`."""
        return min(
            self.by_port(key, now), key=lambda result: (usual_ports_first(result.port), -result.at), default=None
        )

    def of_port(self, key: Key, port: int, now: float) -> LastResult | None:
        """The last result of one port of a host; None when there is none, or it is older than `known_s`."""
        return next((result for result in self.by_port(key, now) if result.port == port), None)

    def by_port(self, key: Key, now: float) -> tuple[LastResult, ...]:
        """The last result of each port of a host, as far as they are not older than `known_s`."""
        return self._holding(self._results.get(key) or (), now)

    def visited(self, key: Key) -> Visited | None:
        """The last visit to a host, to one of the usual ports if there was one; None: there was none."""
        return self._visited.get(key)

    def recent(self, network: NetworkId, now: float) -> list[tuple[str, LastResult]]:
        """The results on a network that are not older than `known_s`, with their hosts, the latest first; a host stands
        there once for each of its ports."""
        found = [
            (host, result)
            for (where, host), results in self._results.items()
            if where == network
            for result in self._holding(results, now)
        ]
        return sorted(found, key=lambda pair: pair[1].at, reverse=True)

    def domains(self) -> list[Key]:
        """The registrable domains of hosts with a result, each with its network."""
        return self._results.domains()

    def under(self, domain: Key, now: float) -> Mapping[str, tuple[LastResult, ...]]:
        """The hosts under a registrable domain that have results, each with those that `by_port` returns."""
        found = {key[1]: self.by_port(key, now) for key in self._results.under(domain)}
        return {host: results for host, results in found.items() if results}

    def since(self, at: float) -> set[str]:
        """The hosts with a result that came then or later, on any network."""
        return {host for (_, host), results in self._results.items() if any(result.at >= at for result in results)}

    def forget(self, key: Key) -> None:
        for result in self._results.get(key) or ():
            self._replace(key, result.port, None)
        self._visited.pop(key)
        for waiting in [waiting for waiting in self.waiting if waiting[0] == key]:
            del self.waiting[waiting]

    def own_port(self, key: Key) -> int:
        """The port that people mean when they name the host: that of https, or of http if they visited that last."""
        visited = self._visited.get(key)
        return HTTP if visited is not None and visited.port == HTTP else HTTPS

    def forget_all(self, meant: Meant) -> None:
        for key in filter(meant, {*self.known(), *(key for key, _ in self.waiting)}):
            self.forget(key)

    def known(self) -> set[Key]:
        return {*self._results, *self._visited}

    def on_clock_set(self) -> None:
        """Drops all results, whose dates are void."""
        for key in self._results:
            self.forget(key)
        self.waiting.clear()

    def _holding(self, results: Iterable[LastResult], now: float) -> tuple[LastResult, ...]:
        return tuple(result for result in results if 0 <= now - result.at <= self._settings.known_s)

    def _replace(self, key: Key, port: int, result: LastResult | None, *, is_troubled: bool = False) -> None:
        before = self._results.get(key) or ()
        if result is not None:
            self._results.put(key, _with(before, result))
            self._store.keep_result(_to_store(key, result), is_troubled=is_troubled)
            return
        if others := tuple(other for other in before if other.port != port):
            self._results.put(key, others)
        else:
            self._results.pop(key)
        self._store.drop_result((*key, port))


def _with(results: Sequence[LastResult] | None, result: LastResult) -> tuple[LastResult, ...]:
    """The results of the ports of a host, with the latest of one of them."""
    return (*(other for other in results or () if other.port != result.port), result)[-PORTS_MAX:]


_KEPT = tuple(kept.name for kept in fields(LastResult))


def _to_store(key: Key, result: LastResult) -> StoredResult:
    kept = {name: getattr(result, name) for name in _KEPT}
    return StoredResult(*key, **kept | {"text": redact(result.text)[:_STORED_TEXT]})


def _from_store(stored: StoredResult) -> LastResult | None:
    """None for one that another version of Byway has stored, in words that this one does not know."""
    kept = {name: getattr(stored, name) for name in _KEPT}
    try:
        kept |= {name: SiteStatus(kept[name]) for name in ("status", "otherwise")}
        return LastResult(**kept | {"source": Source(stored.source)})
    except ValueError:
        return None


_STORED_TEXT = 2_000
"""Characters of a sentence that are stored."""

_NEED_A_ROUTE = (SiteStatus.SITE_DOWN, SiteStatus.DOES_NOT_OPEN, SiteStatus.DOES_NOT_RESOLVE)
"""The statuses that need a route which works for other sites: direct, or a relay that was tried for this site."""


def _is_lasting(result: LastResult, outcome: Outcome) -> bool:
    """Whether a result stays valid after a delivered connection. A tunnel delivers a bad certificate or a refusal like
    a page, and a TLS alert is no page. A block is not over when another route than direct delivers. A visit does not
    resolve a measurement's doubt about a page that opens."""
    if result.status is SiteStatus.WORKS:
        return outcome.winner == DIRECT or not _failed_direct(outcome)
    won = [attempt for attempt in outcome.attempts if attempt.route == outcome.winner]
    is_tunnel = outcome.protocol is Protocol.TLS
    if result.status in BLOCKS:
        return not any(attempt.route == DIRECT and attempt.stage is Stage.DONE for attempt in outcome.attempts)
    if result.status is SiteStatus.REFUSES_THIS_ROUTE:
        refuses = any(attempt.evidence.get("status") in REFUSALS for attempt in won)
        return refuses or is_tunnel or outcome.winner != DIRECT
    if result.status is SiteStatus.SITE_DOWN:
        return any(attempt.evidence.get("alert") for attempt in won)
    return result.status is SiteStatus.BAD_CERTIFICATE and is_tunnel


def _failed_direct(outcome: Outcome) -> bool:
    """Whether direct was tried and did not deliver. An attempt that was overtaken is judged later."""
    tried = [attempt for attempt in outcome.attempts if attempt.route == DIRECT and attempt.symptom not in NOT_JUDGED]
    return any(attempt.symptom not in (Symptom.NONE, Symptom.ABANDONED) for attempt in tried)
