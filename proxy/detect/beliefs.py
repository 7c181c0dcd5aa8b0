"""What we hold about each host on each network, and what an outcome changes about it.

Evidence before belief, a control before blame: a host becomes suspect only when another route delivered what direct did
not (gate G2 of detection.md), and what was seen adds to its score only when another host delivered direct meanwhile
(gate G1). When nothing delivers it is `down` for a minute and nothing is learned. Every belief has an age, a cause and
a way back. Outcomes go in, changes come out for the store to keep; time and network are arguments, and nothing is ever
done by itself.

This module reads outcomes. What waits is in `gates`, the state of the network in `uplink`, the states of a belief in
`book`, the way back in `recovery`, and what hosts have in common in `lifts`.
"""

from __future__ import annotations

import random
from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import replace

from proxy.config.schema import Detect
from proxy.detect.book import TROUBLED, Book, on_network, unknown
from proxy.detect.gates import Gates, Waiting
from proxy.detect.lifts import Lifts
from proxy.detect.recovery import Recovery
from proxy.detect.refusals import REFUSALS, Refusals
from proxy.detect.residual import Residual
from proxy.detect.scopes import address_of, registrable
from proxy.detect.score import NEGLIGIBLE, aged, counted, score_now
from proxy.detect.shared_place import SharedPlaces
from proxy.detect.signals import ECHOING, NEUTRAL, PROVEN_BY_BYTES, Observed, observe, same_for_all
from proxy.detect.table import HostTable, Key
from proxy.detect.uplink import Uplink
from proxy.model import (
    DIRECT,
    Attempt,
    Belief,
    Change,
    Inbound,
    IPAddress,
    NetworkId,
    NetworkState,
    Outcome,
    Protocol,
    Route,
    Signal,
    Sounding,
    Stage,
    State,
    Symptom,
)

VISIT_S = 3600.0
"""A visit to a blocked host extends its belief, and is saved, at most so often."""

COUNTED_MAX = 8192
"""Connections for which we remember which of their signals have counted; a late judgement comes within 7 s."""


class Beliefs:
    """All beliefs. Belongs to one thread."""

    def __init__(self, settings: Detect, known: Iterable[Belief] = (), *, rng: random.Random | None = None) -> None:
        """`known` is what the store kept. `rng` draws the jitter of re-tests."""
        self._settings = settings
        self._book = Book(settings, known, rng if rng is not None else random.SystemRandom())
        self._works = self._book.works
        self._gates = Gates(settings)
        self._uplink = Uplink(settings)
        self._lifts = Lifts(settings, self._book)
        self._recovery = Recovery(settings, self._book)
        self._refusals = Refusals(settings)
        self._shared = SharedPlaces(settings.shared_window_s)
        self._early: HostTable[float] = HostTable(total=settings.hosts_max, per_domain=settings.hosts_per_domain_max)
        self._counted: OrderedDict[int, Counter[str]] = OrderedDict()  # request id → its signals that have counted
        self.residual = Residual(settings.residual_s)
        """Addresses at which names were just broken off: what is tried there now fails for no reason of its own."""

    # -- asking ----------------------------------------------------------------------------------------------------

    def lookup(self, host: str, *, network: NetworkId, now: float, addresses: Iterable[IPAddress] = ()) -> Belief:
        """What we hold about `host`: itself, else the domain that speaks for it, else the prefix that holds all of its
        `addresses`. Its state is `unknown` when nothing is held."""
        self._tell_time(now)
        key = (network, host)
        held = self._book.current(key, now)
        if held is not None and held.state in TROUBLED:
            return held
        above = self._lifts.domain_over(key, now)
        if above is not None and self._lifts.speaks_for(above[1], key):
            return above[1]
        passing = self._book.passing_now(key, now)
        if passing is not None:
            return passing
        if held is not None and held.state is State.WORKS:
            return held
        working = self._book.working(key, now)
        if working is not None:
            return working.belief
        prefix = self._lifts.prefix_over(network, addresses, now)
        if prefix is not None:
            return prefix
        return held if held is not None else Belief(host, network)

    def all(self, *, now: float) -> list[Belief]:
        """Every belief but those of hosts that simply work."""
        self._tell_time(now)
        current = [belief for key in self._book.held if (belief := self._book.current(key, now)) is not None]
        passing = [belief for belief in self._book.passing.values() if now < belief.until]
        return [belief for belief in current if belief.state is not State.UNKNOWN] + passing

    def network_state(self, network: NetworkId) -> NetworkState:
        """What is held about a network as a whole."""
        return self._uplink.state(network)

    def worked_within(self, host: str, seconds: float, *, network: NetworkId, now: float) -> bool:
        """Whether a host delivered direct so lately: on a restricted network those go direct first."""
        working = self._works.get((network, host))
        return working is not None and 0 <= now - working.at <= seconds

    # -- learning --------------------------------------------------------------------------------------------------

    def learn(
        self, outcome: Outcome, *, network: NetworkId, now: float, addresses: Iterable[IPAddress] = ()
    ) -> list[Change]:
        """Takes what one connection showed; `addresses` are what its name resolved to, where that is known. To be
        called when its race is decided, and again when an overtaken direct attempt has been judged
        (`Outcome.with_attempt`) or more was found out about it: what counted before does not count again.

        A Change whose `before` equals its `after` carries new numbers for the same state: to be kept, not told.
        """
        self._tell_time(now)
        key = (network, outcome.host or outcome.request.destination.host)
        winner = outcome.winner
        if winner is not None and not winner.relays and not winner.wrap and len(outcome.attempts) < 2:
            # the hot path: a host that works, once more
            working = self._works.get(key)
            if working is not None and now < working.renew_at and outcome.attempts and _is_plain(outcome.attempts[0]):
                working.at = now
                self._uplink.heard(network, working.domain, now, proven=outcome.protocol is Protocol.TLS)
                return self._opened(working.domain, network, now) if self._gates.is_waiting else []
        if outcome.request.inbound is Inbound.RETEST:  # `retested` learns from the pair
            return self._book.paid([])
        return self._book.paid(self._learn(outcome, key, now, tuple(addresses)))

    def _learn(self, outcome: Outcome, key: Key, now: float, addresses: tuple[IPAddress, ...]) -> list[Change]:
        winner = outcome.winner
        direct = next((a for a in reversed(outcome.attempts) if a.route == DIRECT), None)
        fresh = self._fresh(outcome, key, now)
        if winner is not None and winner.is_direct:
            self._heard(outcome, key, now)
        elif winner is not None:
            self._uplink.online(key[0])
        if direct is not None and direct.symptom is Symptom.OFFLINE and winner is None:
            self._uplink.offline(key[0])
            self._gates.void()
        changes = self._of_rungs(outcome, key, now)
        if (direct.delivered if direct is not None else winner == DIRECT) or self._is_sites_own(outcome, direct):
            if direct is not None and (fresh or direct.symptom):
                return changes + self._spoiled(key, fresh, direct, now) + self._waited(key, now)
            late = direct is not None and winner != DIRECT
            if late:
                self._heard(outcome, key, now)
            changes += self._direct_delivered(key, late=late, now=now)
            changes += self._lifts.note_success(key[0], address_of(direct.address) if direct is not None else None, now)
            return changes + self._refused(outcome, key, now) + self._waited(key, now)
        if winner is None or winner == DIRECT:  # the latter: the least bad answer, or one not waited for
            return changes + self._nothing_delivered(key, outcome, fresh, now)
        if direct is not None and direct.symptom not in NEUTRAL:
            changes += self._rescued(key, winner, fresh, _story(direct, winner), now)
            changes += self._prefix_failed(key, winner, fresh, addresses, now)
        else:
            changes += self._other_delivered(key, winner, now)
        changes += self._refused(outcome, key, now) + self._waited(key, now)
        if outcome.bytes_down >= self._settings.proof_bytes:
            changes += self._carried(key, winner, now)
        return changes

    def _direct_delivered(self, key: Key, *, late: bool, now: float) -> list[Change]:
        self._book.passing.pop(key)
        self._gates.annul(key)
        held = self._book.current(key, now)
        if late and held is not None:
            return self._slow(key, held, now)
        self._book.mark_working(key, now)
        if held is None or (held.state is State.WORKS and held.score < NEGLIGIBLE):
            return []
        if now - held.scored_at < self._settings.signal_interval_s:  # the minute saw a failure, or has been rewarded
            return [] if held.state is not State.UNKNOWN else self._book.settle(key, held, held, now, "direct answered")
        if held.state is State.BLOCKED:
            return self._recovery.succeeded(key, held, now, "a visit of the user's went through direct")
        score = score_now(held, now, self._settings) / self._settings.whole_page_divisor
        better = replace(held, score=score, scored_at=now)
        if held.state is State.SUSPECT and score >= self._settings.suspect_score:
            return self._book.hold(key, held, replace(better, until=self._book.suspect_until(better, now)), now)
        return self._book.settle(key, held, better, now, "direct answered")

    def _slow(self, key: Key, held: Belief, now: float) -> list[Change]:
        """An overtaken direct attempt has answered after all: a slow host is not a suspect one."""
        if held.state is State.BLOCKED or (held.signal_at and now - held.signal_at < self._settings.signal_interval_s):
            return []
        if held.state is State.SUSPECT and score_now(held, now, self._settings) >= self._settings.suspect_score:
            return []
        self._book.mark_working(key, now)
        return self._book.settle(key, held, held, now, "direct was slow, and answered after another route had")

    def _nothing_delivered(self, key: Key, outcome: Outcome, fresh: list[Observed], now: float) -> list[Change]:
        """No control, no blame: what direct showed waits for half a minute, in case another route delivers yet."""
        if not fresh:
            return []
        self._gates.explain_later(key, fresh, now)
        if (working := self._works.get(key)) is not None:
            working.renew_at = now  # its next success shall not take the short way
        changes = self._network_suspected(key, now)
        undecided = any(a.pending or a.symptom is Symptom.ABANDONED for a in outcome.attempts)
        if undecided or self._book.troubled(self._governing(key, now), now) is not None:
            return changes
        others = sum(not a.route.is_direct for a in outcome.attempts)
        kind = fresh[-1].signal.id
        why = f"no route delivered: direct failed ({kind}), and so did {others} more" if others else (
            f"direct failed ({kind}), and there was no other route to compare it with"
        )  # fmt: skip
        self._book.mark_passing(key, State.DOWN, "down", why, lasts_s=self._settings.down_s, now=now)
        return changes

    def _other_delivered(self, host: Key, winner: Route, now: float) -> list[Change]:
        """Another route delivered and direct was not tried, or had no say."""
        self._book.passing.pop(host)
        waiting = self._gates.explained(host, now)
        if waiting is not None:
            kind = waiting.observed[-1].signal.id
            why = f"direct had failed ({kind}) when {winner} delivered {now - waiting.since:.0f} s later"
            return self._rescued(host, winner, list(waiting.observed), why, now)
        key = self._governing(host, now)
        held = self._book.troubled(key, now)
        if held is None:
            return []
        renewed = replace(held, last_good=str(winner), last_good_at=now)
        if held.state is State.BLOCKED:
            renewed = replace(renewed, until=now + self._settings.unvisited_s)
        if renewed.last_good == held.last_good and now - held.last_good_at < VISIT_S:
            return []
        return self._book.hold(key, held, renewed, now)

    def _rescued(self, host: Key, winner: Route, fresh: list[Observed], story: str, now: float) -> list[Change]:
        """Another route delivered what direct did not."""
        self._book.passing.pop(host)
        waiting = self._gates.explained(host, now)
        if waiting is not None:
            fresh = [*waiting.observed, *fresh]
        changes = self._network_suspected(host, now) if fresh else []
        if not self._uplink.may_learn(host[0], now):
            return changes
        self._works.pop(host)
        counting, waiting_for_uplink, echoes = self._gated(host, fresh, now)
        if waiting_for_uplink:
            self._gates.wait(host, waiting_for_uplink, story, now)
        uncounted = _uncounted(waiting_for_uplink, echoes) if not counting else ""
        hint = next((o.signal.cause for o in (*waiting_for_uplink, *echoes) if o.signal.cause), "")
        changes += self._count(host, counting, f"{story}{uncounted}", now, winner=winner, hint=hint)
        return changes + self._lifts.consider(host, now)

    def _gated(
        self, host: Key, fresh: list[Observed], now: float
    ) -> tuple[list[Observed], list[Observed], list[Observed]]:
        """What counts now, what waits for a sign that the uplink is well, what may be the echo of another name."""
        network, name = host
        domain = registrable(name)
        counting: list[Observed] = []
        waiting: list[Observed] = []
        echoes: list[Observed] = []
        for observed in fresh:
            address = observed.attempt.address
            if address and self.residual.tainted(address, network, now, host=name):
                echoes.append(observed)
                continue
            if address and observed.signal.id in ECHOING:
                self.residual.note(address, network, now, host=name)
            well = self._uplink.well_since(network, domain, observed.sent)
            (counting if well else waiting).append(observed)
        return counting, waiting, echoes

    def _count(
        self, host: Key, counting: list[Observed], story: str, now: float, *, winner: Route | None, hint: str = ""
    ) -> list[Change]:
        """Adds the heaviest of what counts to the belief that governs a host; without any it is suspect for 2 min."""
        key = self._governing(host, now)
        before = self._book.current(key, now) or unknown(key, now)
        heaviest = max((o.signal for o in counting), key=lambda signal: signal.weight, default=None)
        if heaviest is None:
            after = aged(before, now, self._settings)
            if before.state in TROUBLED:
                story = before.why
            else:
                after = replace(after, cause=hint or after.cause)
        else:
            after = counted(before, heaviest, now, self._settings)
            story = f"{story} ({heaviest.id}, weight {heaviest.weight:g})"
            if after.cause == "ip":
                after = replace(after, family=_family(counting))
        after = replace(after, why=story)
        if winner is not None:
            after = replace(after, last_good=str(winner), last_good_at=now)
        return self._book.condemn(key, before, after, heaviest, now)

    # -- the uplink ------------------------------------------------------------------------------------------------

    def delivered_direct(self, host: str, *, network: NetworkId, now: float) -> list[Change]:
        """A direct connection to `host` brings bytes: of a tunnel that was opened long ago, say. It is no visit, and
        proves that the uplink is well."""
        self._tell_time(now)
        domain = registrable(host)
        self._uplink.heard(network, domain, now)
        return self._book.paid(self._opened(domain, network, now))

    def control_wanted(self, network: NetworkId, now: float) -> bool:
        """Whether to ask a control page now, beside a visit: a signal has waited a second for the user's own traffic to
        show that the uplink is well. True claims it, for a minute; the caller reports with `sounded`."""
        self._tell_time(now)
        return self._uplink.control_wanted(network, now, waiting_since=self._gates.waiting_since(network, now))

    def sounded(
        self,
        host: str,
        sounding: Sounding,
        *,
        network: NetworkId,
        started: float,
        now: float,
        domestic: bool = False,
        issuer: str = "",
    ) -> list[Change]:
        """Takes what asking the control page of `host` showed, asked at `started`. `domestic`: its host is in the
        country itself; `issuer`: the fingerprint of who re-signed its certificate."""
        self._tell_time(now)
        news = self._uplink.sounded(network, host, sounding, now, domestic=domestic)
        if sounding is Sounding.RESIGNED and issuer:
            return self._book.paid(self._resigned(host, issuer, network, now, control=True))
        if sounding is Sounding.PORTAL:
            self._gates.void()
        if news:
            return self._book.paid(self._forget_recent(network, now))
        if sounding in (Sounding.WELL, Sounding.RESIGNED) and started <= now:
            return self._book.paid(self._opened(registrable(host), network, now))
        return self._book.paid([])

    def network_changed(self, now: float) -> None:
        """Another uplink: what waits for a control can have none any more."""
        self._tell_time(now)
        self._gates.void()

    def woke(self, now: float) -> None:
        """The machine slept: what waits is void, and for a moment nothing is learned."""
        self._tell_time(now)
        self._gates.void()
        self._uplink.woke(now)

    def _heard(self, outcome: Outcome, key: Key, now: float) -> None:
        self._uplink.heard(key[0], registrable(key[1]), now, proven=outcome.protocol is Protocol.TLS)

    def _waited(self, key: Key, now: float) -> list[Change]:
        """What waited for a host of another domain to deliver direct, when this one may just have."""
        if not self._gates.is_waiting or not self._uplink.well_since(key[0], "", now):
            return []
        return self._opened(registrable(key[1]), key[0], now)

    def _opened(self, domain: str, network: NetworkId, now: float) -> list[Change]:
        """A host of `domain` delivered direct: what waited for that counts."""
        changes: list[Change] = []
        for host, waiting in self._gates.opened(network, domain, now):
            if not self._uplink.may_learn(network, now):
                continue
            changes += self._count(host, list(waiting.observed), waiting.story, now, winner=None)
            changes += self._lifts.consider(host, now)
        return changes

    def _network_suspected(self, key: Key, now: float) -> list[Change]:
        """Direct failed for one host more: is it the network as a whole?"""
        network, host = key
        return self._forget_recent(network, now) if self._uplink.failed(network, registrable(host), now) else []

    def _forget_recent(self, network: NetworkId, now: float) -> list[Change]:
        """What was believed of hosts since the network as a whole went wrong was never about them."""
        since = now - self._settings.restricted_window_s
        changes: list[Change] = []
        for key, held in self._book.held.items():
            if key[0] == network and held.state in TROUBLED and held.since >= since:
                changes += self._book.drop(key, now, f"the network is {self._uplink.state(network)}, not the site")
        return changes

    # -- flows, refusals, certificates -----------------------------------------------------------------------------

    def carried(self, host: str, route: Route, *, bytes_down: int, network: NetworkId, now: float) -> list[Change]:
        """A relay has carried `bytes_down` of a host so far, on one connection: enough proves that a direct flow was
        frozen or throttled by the network."""
        self._tell_time(now)
        if route.is_direct or bytes_down < self._settings.proof_bytes:
            return self._book.paid([])
        return self._book.paid(self._carried((network, host), route, now))

    def _carried(self, key: Key, route: Route, now: float) -> list[Change]:
        waiting = self._gates.proven(key, now)
        if waiting is None or not self._uplink.may_learn(key[0], now):
            return []
        changes = self._count(key, list(waiting.observed), waiting.story, now, winner=route)
        return changes + self._lifts.consider(key, now)

    def _spoiled(self, key: Key, fresh: list[Observed], direct: Attempt, now: float) -> list[Change]:
        """Direct delivered, and then, or so far, something was wrong all the same: suspect at once, and counted when
        another route does better."""
        if direct.symptom is Symptom.RESET and not self._early_again(key, now):
            return []
        if not fresh or not self._uplink.may_learn(key[0], now):
            return []
        self._works.pop(key)
        proofs = [observed for observed in fresh if observed.signal.id in PROVEN_BY_BYTES]
        others = [observed for observed in fresh if observed.signal.id not in PROVEN_BY_BYTES]
        ids = ", ".join(observed.signal.id for observed in fresh)
        story = f"direct answered, and yet: {ids}{f' ({direct.error})' if direct.error else ''}"
        if proofs:
            self._gates.prove_later(key, Waiting(tuple(proofs), now, story))
        if others:
            self._gates.explain_later(key, others, now)
        return self._count(key, [], story, now, winner=None, hint=fresh[-1].signal.cause)

    def _early_again(self, key: Key, now: float) -> bool:
        """Whether a reset early in the answer is the second within the hour: many programs end that way once."""
        before = self._early.get(key)
        self._early.put(key, now)
        return before is not None and 0 <= now - before <= VISIT_S

    def _refused(self, outcome: Outcome, key: Key, now: float) -> list[Change]:
        """A site that answers 403, 429 or 451 on one route and not on another is taken by the other for two hours."""
        preferred = self._refusals.note(key, outcome, now)
        if preferred is None:
            return []
        lasts_s = self._settings.refused_s
        if preferred.all_refuse:
            why = f"every route that was tried is refused ({preferred.status})"
            self._book.mark_passing(key, State.REFUSED, "refused", why, lasts_s=lasts_s, now=now)
            return []
        held = self._book.current(key, now)
        if preferred.route.is_direct or (held is not None and held.state in TROUBLED):
            return []
        self._works.pop(key)
        before = held or unknown(key, now)
        why = f"the site refuses direct ({preferred.status}), and not {preferred.route}"
        after = replace(before, state=State.SUSPECT, cause="refused", since=now, until=now + lasts_s, why=why)
        after = replace(after, last_good=str(preferred.route), last_good_at=now)
        return self._book.hold(key, before, after, now)

    def intercepted(
        self,
        host: str,
        *,
        known: bool,
        fingerprint: str,
        network: NetworkId,
        now: float,
        trusted: bool = False,
    ) -> list[Change]:
        """Takes what a probe saw: a certificate of `host` that is not the site's, while a relay's was. `known`: signed
        by a root that is known to intercept, found anywhere in the chain; else `trusted` says whether the system trusts
        it, as it does an office's or an antivirus's. `fingerprint` is the root's, or the issuer's."""
        self._tell_time(now)
        key = (network, host)
        if known:
            before = self._book.current(key, now) or unknown(key, now)
            after = replace(
                before, cause="interception", why=f"a known interception root ({fingerprint[:16]}) signs it"
            )
            if before.state is State.BLOCKED:
                kept = replace(after, until=now + self._settings.unvisited_s)
                return self._book.paid(self._book.hold(key, before, kept, now))
            self._works.pop(key)
            return self._book.paid(self._book.block(key, before, after, now))
        if trusted:
            return self._book.paid(self._resigned(host, fingerprint, network, now, control=False))
        if self._uplink.state(network) is NetworkState.INSPECTED or not self._uplink.may_learn(network, now):
            return self._book.paid([])
        self._works.pop(key)
        signal = Signal("tls_bad_cert", self._settings.weights.tls_bad_cert, "interception", now)
        seen = Observed(signal, Attempt(DIRECT, Stage.DONE), now - self._settings.uplink_window_s)
        story = f"a certificate of an unknown issuer ({fingerprint[:16]}) comes in place of the site's"
        counting, waiting, _ = self._gated(key, [seen], now)
        if waiting:
            self._gates.wait(key, waiting, story, now)
        return self._book.paid(self._count(key, counting, story, now, winner=None, hint="interception"))

    def _resigned(self, host: str, issuer: str, network: NetworkId, now: float, *, control: bool) -> list[Change]:
        if not self._uplink.resigned(network, host, issuer, control=control):
            return []
        changes: list[Change] = []
        for key, held in self._book.held.items():
            if key[0] == network and held.state in TROUBLED and held.cause == "interception":
                changes += self._book.drop(key, now, "the network re-signs everything, and this computer trusts it")
        return changes

    # -- the way back ----------------------------------------------------------------------------------------------

    def retest_due(self, host: str, *, network: NetworkId, now: float) -> bool:
        """Whether direct shall be tried beside this visit. True claims the re-test: the caller runs it and reports
        with `retested`; what success means, `recovery.retest_needs` says. Whether re-tests are wanted for this host at
        all is for the caller to know."""
        self._tell_time(now)
        return self._recovery.due(self._governing((network, host), now), now)

    def retested(self, host: str, *, network: NetworkId, now: float, direct_ok: bool, other_ok: bool) -> list[Change]:
        """Takes what a pair of direct and another route showed. When both failed nothing changes."""
        self._tell_time(now)
        key = self._governing((network, host), now)
        if direct_ok and key == (network, host) and self._book.troubled(key, now) is not None:
            self._book.mark_working(key, now)
        sent = now - self._settings.retest_pair_s
        well = self._uplink.well_since(network, registrable(host), sent) and self._uplink.may_learn(network, now)
        changes = self._recovery.retested(key, now, direct_ok=direct_ok, other_ok=other_ok, uplink_well=well)
        if direct_ok:
            self._uplink.heard(network, registrable(host), now)
            changes += self._opened(registrable(host), network, now)
        return self._book.paid(changes)

    def rung_due(self, host: str, *, network: NetworkId, now: float) -> bool:
        """Whether the local means shall be tried beside this visit of a host that a relay carries. True claims it: the
        caller tries them and reports each with `rung_result`."""
        self._tell_time(now)
        return self._recovery.rung_due(self._governing((network, host), now), now)

    def rung_result(self, host: str, route: Route, *, ok: bool, network: NetworkId, now: float) -> list[Change]:
        """Takes whether a local means passed, tried beside a visit or in a race that found no echo of a name."""
        self._tell_time(now)
        key = self._governing((network, host), now)
        return self._book.paid(self._recovery.rung_result(key, route, now, ok=ok))

    def _of_rungs(self, outcome: Outcome, host: Key, now: float) -> list[Change]:
        """What a race shows of local means that failed where another route delivered."""
        if outcome.winner is None or not any(a.route.wrap and a.symptom for a in outcome.attempts):
            return []
        key = self._governing(host, now)
        changes: list[Change] = []
        for attempt in outcome.attempts:
            if attempt.route.is_direct and attempt.route.wrap and self._condemns(attempt, outcome, host, now):
                changes += self._recovery.rung_result(key, attempt.route, now, ok=False)
        return changes

    def _condemns(self, rung: Attempt, outcome: Outcome, host: Key, now: float) -> bool:
        """Whether a failed rung is of no use here. An alert or an end at once is the server's, which takes no cut
        hello; else it may be the echo of the plain hello that this same race sent just before."""
        if rung.symptom in NEUTRAL or rung.symptom is Symptom.ABANDONED or rung.stage is not Stage.FIRST_BYTE:
            return False
        if rung.symptom in (Symptom.ALERT, Symptom.EOF):
            return True
        plain = any(a.route == DIRECT and a.stage is Stage.FIRST_BYTE for a in outcome.attempts)
        return not plain and not self.residual.tainted(rung.address, host[0], now)

    # -- forgetting ------------------------------------------------------------------------------------------------

    def forget(self, scope: str | None = None, network: NetworkId | None = None) -> list[Change]:
        """Forgets a host and all below it, with the domain that speaks for it, or all hosts; on one network, or on
        all."""
        meant = on_network(network, scope)
        for key in self._gates.hosts():
            if meant(key):
                self._gates.forget(key)
        if scope is None:
            self._uplink.forget(network)
        return self._book.forget(meant)

    # -- below -----------------------------------------------------------------------------------------------------

    def _governing(self, key: Key, now: float) -> Key:
        """Under which scope a host's trouble is kept: its own when it has some, else its troubled domain's."""
        above = self._lifts.domain_over(key, now)
        if above is None or self._book.troubled(key, now) is not None or not self._lifts.speaks_for(above[1], key):
            return key
        return above[0]

    def _fresh(self, outcome: Outcome, key: Key, now: float) -> list[Observed]:
        """What was observed and has not counted yet; what leads many unrelated sites to one place weighs more."""
        found = observe(outcome, self._settings.weights, gave_up_s=self._settings.gave_up_s)
        if not found:
            return []
        before = self._counted.get(outcome.request.id, Counter())
        self._counted[outcome.request.id] = Counter(observed.signal.id for observed in found)
        if len(self._counted) > COUNTED_MAX:
            self._counted.popitem(last=False)
        left = Counter(before)
        fresh = []
        for observed in found:
            if left[observed.signal.id] > 0:
                left[observed.signal.id] -= 1
            else:
                fresh.append(self._shared_place(observed, key, now))
        return fresh

    def _shared_place(self, observed: Observed, key: Key, now: float) -> Observed:
        place = observed.leads_to
        if not place:
            return observed
        domains = self._shared.note(key[0], place, registrable(key[1]), now)
        if domains < self._settings.shared_domains:
            return observed
        kind = "http_redirects" if observed.signal.id == "http_redirect" else "dns_same_ip"
        weight = max(observed.signal.weight, getattr(self._settings.weights, kind))
        return replace(observed, signal=replace(observed.signal, id=kind, weight=weight))

    def _prefix_failed(
        self, key: Key, winner: Route, fresh: list[Observed], addresses: tuple[IPAddress, ...], now: float
    ) -> list[Change]:
        if not any(observed.signal.cause == "ip" for observed in fresh) or not self._uplink.may_learn(key[0], now):
            return []
        tried = {address for observed in fresh for address in _addresses(observed)} or set(addresses)
        return self._lifts.note_failure(key, tried, str(winner), now)

    def _is_sites_own(self, outcome: Outcome, direct: Attempt | None) -> bool:
        """Whether what stopped direct is what another route got too: then direct reaches the site."""
        return direct is not None and direct.symptom is Symptom.ELSEWHERE and same_for_all(outcome, direct)

    def _tell_time(self, now: float) -> None:
        if self._book.tell_time(now):
            self._gates.void()
            self._recovery.forget_claims()
            self._lifts.clear()
            self._shared.clear()
            self._refusals.clear()
            self.residual.clear()
            self._uplink.woke(now)


def _is_plain(attempt: Attempt) -> bool:
    """Whether an attempt delivered and there is nothing more to say of it."""
    evidence = attempt.evidence
    return attempt.stage is Stage.DONE and not attempt.symptom and not (
        evidence and ("dns" in evidence or evidence.get("status") in REFUSALS)
    )  # fmt: skip


def _addresses(observed: Observed) -> list[IPAddress]:
    """Where an attempt tried to connect: `evidence["addresses"]`, separated by spaces, else the one it reached."""
    said = str(observed.attempt.evidence.get("addresses", "")).split() or [observed.attempt.address]
    return [address for text in said if (address := address_of(text)) is not None]


def _family(counting: list[Observed]) -> int:
    """The one address family in which connecting failed; 0 when it is both, or not known."""
    families = {address.version for observed in counting for address in _addresses(observed)}
    return families.pop() if len(families) == 1 else 0


def _uncounted(waiting: list[Observed], echoes: list[Observed]) -> str:
    """Why what was seen does not count, or not yet."""
    if waiting:
        return f" ({waiting[-1].signal.id}, which counts once another site is seen to work)"
    if echoes:
        return f" ({echoes[-1].signal.id}, which may be the echo of another name at that address)"
    return ""


def _story(direct: Attempt, winner: Route) -> str:
    """What happened, in half a sentence."""
    if direct.pending or direct.symptom is Symptom.ABANDONED:
        return f"direct had not answered after {direct.elapsed:.1f} s ({direct.stage}) when {winner} delivered"
    said = direct.error or str(direct.symptom)
    where = "" if direct.stage is Stage.FIRST_BYTE else f" ({direct.stage})"
    return f"direct failed after {direct.elapsed:.1f} s{where}: {said}; {winner} delivered"
