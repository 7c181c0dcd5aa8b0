"""Chooses the next route of a race, and holds its candidates.

Routes come in the order of the plan. A route that cannot help after the failures so far is passed over; a local
strategy that was skipped in favour of a relay is tried once no relay may deliver; a relay that failed before it opened
a path is retried when its time has come. This module starts nothing and waits for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property

from proxy.model import DIRECT, DOH, Attempt, CutHellos, Destination, Protocol, Route, Stage, Symptom
from proxy.net.knowledge import NOTHING_KNOWN
from proxy.net.notify import Notify
from proxy.net.race.candidate import Candidate, Pause, Phase
from proxy.net.race.retries import Retries
from proxy.net.race.terms import RaceTerms
from proxy.wire.flight import Flight
from proxy.wire.fragmentation import is_cut

AS_GOOD_AS_VALID = (Symptom.REDIRECTED, Symptom.ALERT)
"""Failures whose answer is delivered when no route has another one: the site itself may have sent it."""

DENIALS = (Symptom.NO_NAME, Symptom.FORGED, Symptom.FORBIDDEN)
"""Failures of direct after which the name may be one that no relay knows."""


class Tries:
    """The routes of one race, and its candidates in the order in which they began. All times are the loop's."""

    def __init__(
        self,
        destination: Destination,
        routes: tuple[Route, ...],
        terms: RaceTerms,
        notify: Notify,
        now: float,
        *,
        direct_waits: bool = False,
    ) -> None:
        """`notify` is set when a relay that failed works again. `direct_waits`: direct would bring a first byte and
        then stop, so that no route without a relay overtakes one through a relay that is being opened."""
        self.destination = destination
        self.notify = notify
        self.terms = terms
        self.began_at = now
        self.pause: Pause = (now, now)
        self.candidates: list[Candidate] = []
        self.routes, self.has_many = routes, False
        if len([route for route in routes if route.relays]) > terms.detect.relay_openings_max:
            self._arrange()
        self.direct_waits = direct_waits
        self.is_plain = routes == (DIRECT,)
        """Direct is the only route."""
        self.knowledge = terms.knowledge if len(routes) > 1 else NOTHING_KNOWN
        self.resolver = terms.resolver if len(routes) > 1 else None

    def restrict_to(self, routes: Sequence[Route], *, direct_waits: bool = False) -> None:
        """Takes other routes; there may be new ones. All candidates must be of these routes."""
        self.routes, self.has_many = tuple(routes), False
        if len([route for route in routes if route.relays]) > self.terms.detect.relay_openings_max:
            self._arrange()
        self.direct_waits = direct_waits
        self.is_plain = self.routes == (DIRECT,)
        self.knowledge = self.terms.knowledge if len(self.routes) > 1 else NOTHING_KNOWN
        self.resolver = self.terms.resolver if len(self.routes) > 1 else None
        self.candidates.sort(key=lambda candidate: self.routes.index(candidate.route))

    def _arrange(self) -> None:
        """A race that has more relays than it opens at once takes them in the order of the schedule."""
        self.routes, self.has_many = self.terms.schedule.arranged(self.routes), True

    def next_route(self, flight: Flight | None, now: float) -> Route | None:
        """Returns the first route that was not started and may help after the failures so far; else a route to be
        retried, or None. At the start that is the first route of the plan, as long as there is no flight, or the route
        does not change the flight, or no route fits the flight's protocol."""
        routes = self.routes
        if not self.candidates and (flight is None or not routes or not routes[0].wrap):
            return routes[0] if routes else None
        latest = self._latest()
        served = self._relay_may_serve(latest)
        route = self._untried(flight, [route for route in routes if route not in latest], now, served=served)
        if route is not None:
            return route
        if not served:
            for route, candidate in latest.items():
                is_skipped = candidate.avoids_residual and candidate.symptom is Symptom.SKIPPED
                if is_skipped and candidate.stage is not Stage.RESOLVE:  # RESOLVE: encrypted DNS did not answer
                    return route
        if self.has_many and now > self._search_ends_at:
            return None
        due = [candidate for at, candidate in self._retriable(latest) if at <= now]
        return min(due, key=lambda c: c.started_at).route if due else None

    def note_start(self, candidate: Candidate, now: float) -> None:
        """Marks a new candidate as a retry, or as one that avoids residual blocking. The caller calls this before it
        appends the candidate, unless it is the first and has no strategy."""
        route, latest = candidate.route, self._latest()
        if not route.relays:
            candidate.avoids_residual = bool(route.wrap) and self._relay_may_serve(latest)
            candidate.is_retry = candidate.direct and route in latest
        elif route in latest:
            candidate.is_retry = True
            self.retries.started(route.relays, now)

    def next_retry_at(self, now: float) -> float:
        """The time after `now` at which the next relay may be retried; infinite: none."""
        return min([math.inf, *[at for at, _ in self._retriable(self._latest()) if now < at]])

    def direct_due_at(self, now: float) -> float:
        """The time after `now` at which a route without a relay may start beside relays that are being opened, or that
        restart, with `direct_waits`; infinite: none waits for that."""
        waits_until = max(self.relays_may_open_until, self._relays_may_return_until(now))
        return waits_until if waits_until > now else math.inf

    @property
    def relays_may_open_until(self) -> float:
        """The time until which relays that are being opened may only be slow; minus infinite: there is none, or all are
        known to fail. A slow relay answers later than `hedge_relay_s`, and a lost packet of its handshake costs it
        several round trips. It has half of `give_up_s`, which is as long as a handshake may take; the other half is for
        what starts then. A retry counts as well, as if it had begun after `relay_silent_s` at the latest, if the last
        path of its relay took as long: any other relay that is silent may be dead."""
        half_s = self.terms.detect.give_up_s / 2
        latest_start = self._waits_since + self.terms.detect.relay_silent_s
        return max(
            (
                (min(candidate.started_at, latest_start) if candidate.is_retry else candidate.started_at) + half_s
                for candidate in self.candidates
                if candidate.route.relays
                and candidate.phase is Phase.DIALING
                and (not candidate.is_retry or self.terms.schedule.is_slow(candidate.route.relays))
                and not self.knowledge.is_failing(candidate.route)
            ),
            default=-math.inf,
        )

    def _relays_may_return_until(self, now: float) -> float:
        """The time until which a relay that failed on its way, or whose path broke off, is waited for: `hedge_relay_s`
        after this race tried it first, while its outage is recent. One that restarts is back after a second or two.
        Minus infinite: there is none."""
        latest, tried_at = self._latest(), dict[Route, float]()
        for candidate in self.candidates:
            tried_at.setdefault(candidate.route, candidate.started_at)
        retriable = [candidate for _, candidate in self._retriable(latest)]
        returning = {candidate.route for candidate in retriable if candidate.failed_on_its_way or candidate.broke_off}
        returning |= {c.route for c in latest.values() if c.route.relays and c.is_retry and c.phase is Phase.DIALING}
        wait_s, is_recent = self.terms.detect.hedge_relay_s, self.terms.schedule.is_recent
        return max((tried_at[r] + wait_s for r in returning if is_recent(r.relays, now)), default=-math.inf)

    @property
    def is_in_vain(self) -> bool:
        """Whether the race is over: no path is open and both resolvers deny the name, or the name is of the local
        network and no route without a relay is under way. Not where the plan begins with a relay, which may know names
        of its own network."""
        if not self.candidates or self.candidates[0].route.relays:
            return False
        if self.is_in_local_zone:
            return not any(candidate.active for candidate in self.candidates if not candidate.route.relays)
        if self._denials(relays=False) < 2:
            return False
        return not any(candidate.phase in (Phase.OPEN, Phase.AWAITING_ANSWER) for candidate in self.candidates)

    @property
    def is_in_local_zone(self) -> bool:
        """Whether lookups have shown that the name leads into the local network. No relay is then tried: it would open
        a host of its own network. Never true where the plan begins with a relay."""
        if self.resolver is None or not self.routes or self.routes[0].relays:
            return False
        return self.resolver.is_local_zone(self.destination.host)

    def _may_be_in_local_zone(self) -> bool:
        """Whether the local network's resolver has not answered yet, and encrypted DNS has no address for the name, or
        gets no query for it."""
        is_asked = any(
            candidate.route == DIRECT and candidate.phase is Phase.DIALING and candidate.stage is Stage.RESOLVE
            for candidate in self.candidates
        )
        if not is_asked:
            return False
        return self._denials(relays=False) > 0 or self._may_be_local_zone()

    def _may_be_local_zone(self) -> bool:
        return self.resolver is not None and self.resolver.may_be_local_zone(self.destination.host)

    def _denials(self, *, relays: bool) -> int:
        """The number of sources that deny the name: direct, `direct|doh`, and with `relays`, all relays as one."""
        denying = {
            candidate.route
            for candidate in self.candidates
            if candidate.symptom is Symptom.NO_NAME
            and candidate.stage is Stage.RESOLVE
            and candidate.route in (DIRECT, DOH)
        }
        by_relay = relays and any(
            candidate.symptom is Symptom.RELAY_REFUSED and candidate.evidence.get("relay") != Symptom.EOF
            for candidate in self.candidates
        )
        return len(denying) + (bool(denying) and by_relay)

    def have_failed(self, now: float, gives_up_at: float) -> bool:
        """Whether nothing is under way and no retry is worth waiting for."""
        if any(candidate.active for candidate in self.candidates):
            return False
        if now >= gives_up_at or any(candidate.symptom in AS_GOOD_AS_VALID for candidate in self.candidates):
            return True
        retriable = self._retriable(self._latest())
        return not any(self.terms.schedule.is_recent(candidate.route.relays, now) for _, candidate in retriable)

    def add_evidence(self, direct: Candidate, flight: Flight | None) -> None:
        """Adds facts about the resolver, the flight and the network to the evidence of a direct attempt."""
        finding = None if self.resolver is None else self.resolver.finding(self.destination.host)
        if finding is not None:
            direct.evidence.update({"dns": finding.signal, "dns_detail": finding.detail})
        if self._is_ech(flight):
            direct.evidence["ech"] = 1
        if self.terms.tcp_info.split_tcp.detected:
            direct.evidence["middlebox"] = 1

    def _is_ech(self, flight: Flight | None) -> bool:
        """Whether the ClientHello is encrypted (ECH). Browsers always send an extension that looks like ECH (GREASE);
        it is real when the SNI names another host."""
        named = self.destination.address is None
        return flight is not None and flight.ech and named and flight.server_name != self.destination.host

    @cached_property
    def retries(self) -> Retries:
        """The retries of this race. They are made at the first use, since most races need none."""
        return Retries(self.terms.schedule, self.terms.detect, self.notify)

    def _untried(self, flight: Flight | None, left: list[Route], now: float, *, served: bool) -> Route | None:
        if any(route.relays for route in left):
            if self.is_in_local_zone or self._may_be_in_local_zone():
                left = [route for route in left if not route.relays]
            elif DOH in left and self._may_be_local_zone():
                return DOH  # its lookup shows whether the name is local
        if self.direct_waits and self.direct_due_at(now) < math.inf:
            left = [route for route in left if route.relays]
        if self.has_many:
            left = self._without_held_back(left, now)
        if not left:
            return None
        for candidate in self.candidates:
            if candidate.direct:
                self.add_evidence(candidate, flight)
        attempts = tuple(c.presumed_attempt(self.began_at, self.pause, now) for c in self.candidates)
        protocol = flight.protocol if flight is not None else Protocol.NONE
        may_help, ech = self.knowledge.may_help, self._is_ech(flight)
        cut_hellos: CutHellos | None = None  # asked for at most once
        for last_resort in (False,) if served else (False, True):
            for route in left:
                if not may_help(route, attempts, protocol=protocol, ech=ech, last_resort=last_resort):
                    continue
                if protocol is not Protocol.TLS or route.relays or not is_cut(route.wrap):
                    return route
                if cut_hellos is None:
                    cut_hellos = self._cut_hellos(flight, attempts)
                if cut_hellos is CutHellos.ALLOWED:
                    return route
            if cut_hellos is CutHellos.LAST and not served and DIRECT in self.routes:
                return DIRECT
        return None if self.candidates else left[0]

    def _without_held_back(self, left: list[Route], now: float) -> list[Route]:
        """Returns the routes without relays that may not be tried now: a race with many relays opens no two of one
        server at once, and its search has an end."""
        detect, server_of = self.terms.detect, self.terms.schedule.server_of
        tried = [candidate for candidate in self.candidates if candidate.route.relays]
        if len(tried) >= detect.relay_search_max or now > self._search_ends_at:
            return [route for route in left if not route.relays]
        busy = {server_of(candidate.route.relays) for candidate in tried if candidate.phase is Phase.DIALING}
        return [route for route in left if not route.relays or server_of(route.relays) not in busy]

    def give_up_oldest(self, now: float) -> None:
        """Gives up the relay that has been opened for longest, if a race with many relays opens as many as it may. All
        of them look dropped then."""
        opening = [each for each in self.candidates if each.route.relays and each.phase is Phase.DIALING]
        if len(opening) >= self.terms.detect.relay_openings_max:
            min(opening, key=lambda candidate: candidate.started_at).drop(now)

    @property
    def _waits_since(self) -> float:
        """When the race began, moved by its pause, which does not count."""
        return self.began_at + self.pause[1] - self.pause[0]

    @property
    def _search_ends_at(self) -> float:
        """Until when a race with many relays begins with further ones: `hedge_relay_s` before it has tried them for
        `relay_search_s`, and half of that time at least."""
        most = self.terms.detect.relay_search_s
        return self._waits_since + max(most - self.terms.detect.hedge_relay_s, most / 2)

    def _cut_hellos(self, flight: Flight | None, attempts: Sequence[Attempt]) -> CutHellos:
        """Whether a cut ClientHello may be sent now. In place of the first one that comes last, the whole hello is sent
        once more."""
        host = self.destination.host
        if self.destination.address is not None and flight is not None:
            host = flight.server_name or host
        whole = [attempt for attempt in attempts if attempt.route == DIRECT]
        cut_hellos = self.knowledge.cut_hellos(host, [attempt.address for attempt in whole])
        return CutHellos.ALLOWED if cut_hellos is CutHellos.LAST and len(whole) > 1 else cut_hellos

    def _relay_may_serve(self, latest: Mapping[Route, Candidate]) -> bool:
        """Whether a relay of this race may deliver: it has an open path, may have one soon, or was not tried yet and
        does not fail at present."""
        for route in self.routes:
            if route.relays:
                candidate = latest.get(route)
                if candidate is None:
                    if not self.knowledge.is_failing(route):
                        return True
                elif candidate.active and (candidate.phase is not Phase.DIALING or not candidate.hedged):
                    return True
        return False

    def _retriable(self, latest: Mapping[Route, Candidate]) -> list[tuple[float, Candidate]]:
        """The relays that may be retried: each with its time, and its latest try. None when two sources deny the name:
        the system's resolver and encrypted DNS, or one of them and a relay that refused it."""
        relayed = [
            candidate
            for route, candidate in latest.items()
            if route.relays and (self.direct_waits or not candidate.broke_off)  # else the site may have ended it
        ]
        if not relayed or self._denials(relays=True) > 1 or self.is_in_local_zone:
            return []
        return [(at, candidate) for candidate in relayed if (at := self.retries.due_at(candidate)) is not None]

    def _latest(self) -> dict[Route, Candidate]:
        """The latest candidate of each route that was started."""
        return {candidate.route: candidate for candidate in self.candidates}
