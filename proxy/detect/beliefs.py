"""What we hold about each host on each network, and what an outcome changes about it.

Evidence before belief, a control before blame: a host becomes suspect only when another route delivered what direct did
not (gate G2 of detection.md), and what was seen adds to its score only when another host delivered direct meanwhile
(gate G1). When nothing delivers it is `down` for a minute and nothing is learned. Every belief has an age, a cause and
a way back. Outcomes go in, changes come out for the store to keep; time and network are arguments, and nothing is ever
done by itself.

This module reads outcomes. Which evidence counts is decided in `judging`, what a belief becomes in `book`; the way back
is in `recovery`, and what is seen apart from failing attempts in `findings`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from dataclasses import replace

from proxy.config.schema import Detect
from proxy.detect.book import TROUBLED, Book, Working, on_network
from proxy.detect.findings import Findings
from proxy.detect.judging import Judge, Refine, unrefined
from proxy.detect.recovery import Recovery
from proxy.detect.refusals import REFUSALS
from proxy.detect.scopes import address_of, registrable
from proxy.detect.score import NEGLIGIBLE, score_now
from proxy.detect.signals import (
    NEUTRAL,
    NOT_BY_A_BYTE,
    PROVEN_BY_BYTES,
    Observed,
    concerns,
    leads_elsewhere_alone,
    same_for_all,
)
from proxy.detect.table import Key
from proxy.detect.uplink import Moment
from proxy.model import (
    DIRECT,
    NO_EVIDENCE,
    UNKNOWN_NETWORK,
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
    Sounding,
    Stage,
    State,
    Symptom,
)

_UNTRIED = (Symptom.SKIPPED, Symptom.LOCAL)

VISIT_S = 3600.0
"""A visit to a blocked host extends its belief, and is saved, at most so often."""


class Beliefs:
    """All beliefs. Belongs to one thread."""

    def __init__(
        self,
        settings: Detect,
        known: Iterable[Belief] = (),
        *,
        rng: random.Random | None = None,
        listed: Callable[[str], bool] = lambda host: False,
        near: Callable[[str], bool] = lambda host: False,
        refine: Refine = unrefined,
    ) -> None:
        """`known` is what the store kept. `rng` draws the jitter of re-tests. `listed` says whether an imported list
        names a host: a prior for when something is seen of it, and no reason to doubt it before. `near` says whether a
        host is this computer or on its own network: that it delivers says nothing of the uplink. `refine` weighs each
        signal before it counts."""
        self._settings = settings
        self._book = Book(settings, known, rng if rng is not None else random.SystemRandom(), listed, near)
        self._works = self._book.works
        self._judge = Judge(settings, self._book, refine)
        self._findings = Findings(settings, self._judge)
        self._recovery = Recovery(settings, self._book)
        registrable("example.org")  # reads the suffix list now, and not while a first visitor waits
        self._last: Working | None = None  # who was heard last: while nobody else is, its date alone moves on
        self.residual = self._judge.residual
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
        above = self._judge.lifts.domain_over(key, now)
        if above is not None and self._judge.lifts.speaks_for(above[1], key):
            return above[1]
        passing = self._book.passing_now(key, now)
        if passing is not None:
            return passing
        if held is not None and held.state is State.WORKS:
            return held
        working = self._book.working(key, now)
        if working is not None:
            return working.belief
        prefix = self._judge.lifts.prefix_over(network, addresses, now)
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
        return self._judge.uplink.state(network)

    def network_state_for(self, host: str, *, network: NetworkId, now: float) -> NetworkState:
        """The same as far as it concerns one host: a restricted network does not keep from it what delivered direct
        within the hour."""
        state = self._judge.uplink.state(network)
        if state is NetworkState.RESTRICTED:
            working = self._works.get((network, host))
            if working is not None and 0 <= now - working.at <= self._settings.restricted_known_s:
                return NetworkState.OK
        return state

    def is_near(self, host: str) -> bool:
        """Whether a host is this computer or on its own network, and no uplink leads there."""
        return self._book.is_near(host)

    def is_uneasy(self, network: NetworkId) -> bool:
        """Whether a control is to be asked beside visits though no signal waits: the network is in trouble that may
        end, or what came in the place of one site may come in the place of all."""
        return self._judge.uplink.is_uneasy(network)

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
                if working is not self._last:
                    self._hear(network, working)
                return self._judge.opened(working.domain, network, now) if self._judge.gates.is_waiting else []
        if outcome.request.inbound is Inbound.RETEST:  # `retested` learns from the pair
            return self._book.paid([])
        return self._book.paid(self._learn(outcome, key, now, tuple(addresses)))

    def _learn(self, outcome: Outcome, key: Key, now: float, addresses: tuple[IPAddress, ...]) -> list[Change]:
        winner = outcome.winner
        direct = next((a for a in reversed(outcome.attempts) if a.route == DIRECT), None)
        fresh = self._judge.fresh(outcome, key, now)
        if winner is not None and winner.is_direct:
            self._heard(key, now)
        elif winner is not None:
            self._judge.uplink.online(key[0])
        if (by_relay := _got_through(outcome)) is not None:
            self._judge.uplink.relayed(key[0], delivered=by_relay)
        if winner is None and _is_name(outcome) and _has_no_way_out(outcome, direct):
            self._judge.uplink.offline(key[0])
            self._judge.gates.void()
            self._last = None
        changes: list[Change] = []
        is_sites_own = _is_sites_own(outcome, direct)
        if direct is not None and leads_elsewhere_alone(outcome, direct):
            self._judge.uplink.doubt(key[0])
        if is_sites_own or (direct.delivered if direct is not None else winner == DIRECT):
            if direct is not None and not is_sites_own and (fresh or direct.symptom):
                return changes + self._findings.spoiled(key, fresh, direct, now) + self._judge.waited(key, now)
            late = direct is not None and winner != DIRECT
            if late:
                self._heard(key, now)
            changes += self._direct_delivered(key, outcome.protocol, late=late, now=now)
            address = address_of(direct.address) if direct is not None else None
            changes += self._judge.lifts.note_success(key[0], address, now)
            return changes + self._findings.refused(outcome, key, now) + self._judge.waited(key, now)
        if winner is None or winner == DIRECT:  # the latter: the least bad answer, or one not waited for
            return changes + self._nothing_delivered(key, outcome, fresh, now)
        if direct is not None and direct.symptom not in NEUTRAL:
            changes += self._judge.rescued(key, winner, outcome.protocol, fresh, _story(direct, winner), now)
            changes += self._judge.prefix_failed(key, winner, fresh, addresses, now)
        else:
            changes += self._other_delivered(key, winner, outcome.protocol, now)
        changes += self._of_rungs(outcome, key, now)
        changes += self._findings.refused(outcome, key, now) + self._judge.waited(key, now)
        if outcome.bytes_down >= self._settings.proof_bytes:
            changes += self._findings.carried(key, winner, now)
        return changes

    def _direct_delivered(self, key: Key, protocol: Protocol, *, late: bool, now: float) -> list[Change]:
        self._book.passing.pop(key)
        held = self._book.current(key, now)
        if held is not None and held.state in TROUBLED and not concerns(held.cause, protocol):
            return []
        self._judge.gates.annul(key)
        if late and held is not None:
            return self._slow(key, held, now)
        self._book.mark_working(key, now)
        if held is None or (held.state is State.WORKS and held.score < NEGLIGIBLE):
            return []
        if held.state in TROUBLED and held.cause in NOT_BY_A_BYTE:
            return []  # that much it always let through
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
        self._judge.gates.explain_later(key, fresh, now)
        if (working := self._works.get(key)) is not None:
            working.renew_at = now  # its next success shall not take the short way
        changes = self._judge.suspect_network(key, now)
        undecided = any(a.pending or a.symptom is Symptom.ABANDONED for a in outcome.attempts)
        if undecided or self._book.troubled(self._judge.governing(key, now), now) is not None:
            return changes
        others = sum(not a.route.is_direct for a in outcome.attempts)
        kind = fresh[-1].signal.id
        why = f"no route delivered: direct failed ({kind}), and so did {others} more" if others else (
            f"direct failed ({kind}), and there was no other route to compare it with"
        )  # fmt: skip
        self._book.mark_passing(key, State.DOWN, "down", why, lasts_s=self._settings.down_s, now=now)
        return changes

    def _other_delivered(self, host: Key, winner: Route, protocol: Protocol, now: float) -> list[Change]:
        """Another route delivered and direct was not tried, or had no say."""
        self._book.passing.pop(host)
        waiting = self._judge.gates.explained(host, now)
        if waiting is not None:
            kind = waiting.observed[-1].signal.id
            why = f"direct had failed ({kind}) when {winner} delivered {now - waiting.since:.0f} s later"
            return self._judge.rescued(host, winner, protocol, list(waiting.observed), why, now)
        key = self._judge.governing(host, now)
        held = self._book.troubled(key, now)
        if held is None or not concerns(held.cause, protocol):
            return []
        renewed = replace(held, last_good=str(winner), last_good_at=now)
        if held.state is State.BLOCKED:
            renewed = replace(renewed, until=now + self._settings.unvisited_s)
        if renewed.last_good == held.last_good and now - held.last_good_at < VISIT_S:
            return []
        return self._book.hold(key, held, renewed, now)

    # -- the uplink ------------------------------------------------------------------------------------------------

    def delivered_direct(
        self, host: str, *, network: NetworkId, now: float, since: float | None = None
    ) -> list[Change]:
        """A direct connection to `host` brings bytes: of a tunnel that was opened long ago, say. It is no visit, and
        proves that the uplink is well. They may have come as early as `since`; without it, just now."""
        self._tell_time(now)
        if self.is_near(host):
            return self._book.paid([])
        domain = registrable(host)
        came_at = now if since is None else since
        self._hear(network, Moment(domain, came_at))
        return self._book.paid(self._judge.opened(domain, network, now, came_at=came_at))

    def control_wanted(self, network: NetworkId, now: float) -> bool:
        """Whether to ask a control page now, beside a visit: a signal waits, and the user's own traffic has not shown
        that the uplink is well; the caller has given it `control_after_s` for that. True claims it, for a minute; the
        caller reports with `sounded`."""
        self._tell_time(now)
        return self._judge.uplink.control_wanted(network, now, waits=self._judge.gates.waits(network, now))

    def may_be_control(self, host: str, *, network: NetworkId, now: float) -> bool:
        """Whether a page of `host` can tell of the uplink: not while it is in trouble itself, or a sign waits of its
        domain."""
        if self.lookup(host, network=network, now=now).state in TROUBLED:
            return False
        return not self._judge.gates.waits_of(network, registrable(host), now)

    def all_controls_wanted(self, network: NetworkId, now: float) -> bool:
        """Whether to ask all of them at once: so many unrelated hosts have failed that it may be the network, which
        only all together tell."""
        self._tell_time(now)
        return self._judge.uplink.seems_restricted(network, now)

    def doubt(self, network: NetworkId) -> None:
        """Something came in a site's place, as a login page does: a control shall tell."""
        self._judge.uplink.doubt(network)

    def certificate_taken(self, network: NetworkId, now: float) -> None:
        """A client went on once it had seen the certificate that direct brought: it was no login page's."""
        self._tell_time(now)
        self._judge.uplink.trusted(network, now)

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
        self._last = None
        news = self._judge.uplink.sounded(network, host, sounding, now, domestic=domestic)
        if sounding is Sounding.RESIGNED and issuer:
            return self._book.paid(self._findings.resigned(host, issuer, network, now, control=True))
        if self.network_state(network) is NetworkState.PORTAL:
            self._judge.gates.void()
        if news:
            return self._book.paid(self._judge.forget_recent(network, now))
        if sounding in (Sounding.WELL, Sounding.RESIGNED) and started <= now:
            return self._book.paid(self._judge.opened(registrable(host), network, now))
        return self._book.paid([])

    def network_changed(self, now: float) -> list[Change]:
        """Another uplink: what waits for a control can have none any more. Of a network without an identity nothing is
        kept, since the next one has none either."""
        self._tell_time(now)
        self._judge.gates.void()
        self._judge.uplink.forget(UNKNOWN_NETWORK)
        self._judge.lifts.forget(UNKNOWN_NETWORK)
        self._last = None
        meant = on_network(UNKNOWN_NETWORK, None)
        return self._book.paid(self._book.forget(meant, "the network could not be told from others, and was left"))

    def woke(self, now: float) -> None:
        """The machine slept: what waits is void, and for a moment nothing is learned."""
        self._tell_time(now)
        self._judge.gates.void()
        self._judge.uplink.woke(now)
        self._last = None

    def _heard(self, key: Key, now: float) -> None:
        if not self.is_near(key[1]):
            self._hear(key[0], Moment(registrable(key[1]), now))

    def _hear(self, network: NetworkId, by: Working | Moment) -> None:
        well = self._judge.uplink.heard(network, by)
        self._last = by if well and isinstance(by, Working) else None

    # -- flows, refusals, certificates -----------------------------------------------------------------------------

    def carried(
        self,
        host: str,
        route: Route,
        *,
        bytes_down: int,
        network: NetworkId,
        now: float,
        bytes_s: float = math.inf,
    ) -> list[Change]:
        """A route has carried `bytes_down` of a host so far, on one connection, up to `bytes_s` in a second. When a
        relay has carried enough, a direct flow that stopped was frozen by the network, and one that crawled was
        throttled when the relay is much faster; when direct has, it is no more."""
        self._tell_time(now)
        host_key = (network, host)
        if not route.is_direct:
            enough = bytes_down >= self._settings.proof_bytes
            return self._book.paid(self._findings.carried(host_key, route, now, bytes_s=bytes_s) if enough else [])
        key = self._judge.governing(host_key, now)
        held = self._book.troubled(key, now)
        if held is None or held.cause not in PROVEN_BY_BYTES or bytes_down < self._settings.whole_bytes:
            return self._book.paid([])
        if not self._judge.lifts.tells_of(key, host):
            self._book.mark_working(host_key, now)
            return self._book.paid([])
        return self._book.paid(self._recovery.succeeded(key, held, now, f"direct carried {bytes_down} bytes"))

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
            return self._book.paid(self._findings.intercepted_by_known(key, fingerprint, now))
        if trusted:
            return self._book.paid(self._findings.resigned(host, fingerprint, network, now, control=False))
        return self._book.paid(self._findings.intercepted(key, fingerprint, now))

    # -- the way back ----------------------------------------------------------------------------------------------

    def retest_due(self, host: str, *, network: NetworkId, now: float) -> bool:
        """Whether direct shall be tried beside this visit. True claims the re-test: the caller runs it and reports
        with `retested`; what success means, `recovery.retest_needs` says. Whether re-tests are wanted for this host at
        all is for the caller to know."""
        self._tell_time(now)
        return self._recovery.due(self._judge.governing((network, host), now), now)

    def retested(
        self,
        host: str,
        *,
        network: NetworkId,
        now: float,
        direct_ok: bool,
        other_ok: bool,
        forged: bool = False,
    ) -> list[Change]:
        """Takes what a pair of direct and another route showed. When both failed nothing changes. `forged`: direct
        brought a certificate that is not the site's, without which nothing more is known of an interception."""
        self._tell_time(now)
        key = self._judge.governing((network, host), now)
        is_told = self._judge.lifts.tells_of(key, host)
        if direct_ok and (key == (network, host) or not is_told) and self._book.troubled(key, now) is not None:
            self._book.mark_working((network, host), now)
        uplink, sent = self._judge.uplink, now - self._settings.retest_pair_s
        well = uplink.well_since(network, registrable(host), sent) and uplink.may_learn(network, now)
        held = self._book.troubled(key, now)
        alike = forged or held is None or held.cause != "interception"
        changes: list[Change] = []
        if direct_ok and not is_told:
            self._recovery.release(key)
        else:
            changes += self._recovery.retested(key, now, direct_ok=direct_ok, other_ok=other_ok, counts=well and alike)
        if not direct_ok and other_ok:
            self._judge.lifts.note_under(key, host)
        if not direct_ok and other_ok and alike and not well:
            self._judge.failed_again_later(key, (network, host), sent, now)
        if direct_ok:
            self._judge.gates.annul((network, host))
            changes += self.delivered_direct(host, network=network, now=now)
        return self._book.paid(changes)

    def rung_due(self, host: str, *, network: NetworkId, now: float) -> bool:
        """Whether the local means shall be tried beside this visit of a host that a relay carries. True claims it: the
        caller tries them and reports each with `rung_result`."""
        self._tell_time(now)
        return self._recovery.rung_due(self._judge.governing((network, host), now), now)

    def rung_result(self, host: str, route: Route, *, ok: bool, network: NetworkId, now: float) -> list[Change]:
        """Takes whether a local means passed, tried beside a visit or in a race that found no echo of a name."""
        self._tell_time(now)
        key = self._judge.governing((network, host), now)
        return self._book.paid(self._recovery.rung_result(key, route, now, ok=ok))

    def _of_rungs(self, outcome: Outcome, host: Key, now: float) -> list[Change]:
        """What a race shows of local means that failed where another route delivered."""
        if not any(attempt.route.wrap and attempt.symptom for attempt in outcome.attempts):
            return []
        key = self._judge.governing(host, now)
        held = self._book.troubled(key, now)
        if held is None or not concerns(held.cause, outcome.protocol):
            return []
        useless = [a.route for a in outcome.attempts if a.route.wrap and self._condemns(a, outcome, host, now)]
        return self._recovery.rungs_failed(key, useless, now)

    def _condemns(self, rung: Attempt, outcome: Outcome, host: Key, now: float) -> bool:
        """Whether a failed rung is of no use here. An alert or an end at once is the server's, which takes no cut
        hello; else it may be the echo of the plain hello that this same race sent just before."""
        if not rung.route.is_direct or rung.symptom in NEUTRAL or rung.symptom in (Symptom.NONE, Symptom.ABANDONED):
            return False
        if rung.stage is not Stage.FIRST_BYTE:
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
        for key in self._judge.gates.hosts():
            if meant(key):
                self._judge.gates.forget(key)
        if scope is None:
            self._judge.uplink.forget(network)
        self._last = None
        return self._book.forget(meant)

    # -- below -----------------------------------------------------------------------------------------------------

    def _tell_time(self, now: float) -> None:
        if self._book.tell_time(now):
            self._judge.clock_set(now)
            self._findings.clock_set()
            self._recovery.forget_claims()
            self._last = None


def _is_sites_own(outcome: Outcome, direct: Attempt | None) -> bool:
    """Whether where direct is sent on to is where another route is too: then direct reaches the site."""
    return direct is not None and direct.symptom is Symptom.ELSEWHERE and same_for_all(outcome, direct)


def _has_no_way_out(outcome: Outcome, direct: Attempt | None) -> bool:
    """Whether this machine has no route to where direct leads. Where the resolver is a service of the machine's own,
    which only says that it failed, other attempts tell."""
    if direct is None or direct.symptom is Symptom.OFFLINE:
        return direct is not None
    failed = direct.stage is Stage.RESOLVE and direct.symptom is Symptom.RESOLVE_FAILED
    return failed and any(attempt.symptom is Symptom.OFFLINE for attempt in outcome.attempts)


def _is_name(outcome: Outcome) -> bool:
    """Whether any address would have done: a machine without IPv6 has no route to a literal of that family."""
    return outcome.request.destination.address is None


def _got_through(outcome: Outcome) -> bool | None:
    """Whether a relay delivered, of those that had their time; None: none had. One that direct overtook had it."""
    relayed = [attempt for attempt in outcome.attempts if not attempt.route.is_direct]
    if any(attempt.delivered for attempt in relayed):
        return True
    left = outcome.winner is None
    tried = [
        a for a in relayed if a.symptom not in _UNTRIED and not (left and (a.pending or a.symptom is Symptom.ABANDONED))
    ]
    return False if tried else None


def _is_plain(attempt: Attempt) -> bool:
    """Whether an attempt delivered and there is nothing more to say of it."""
    if attempt.stage is not Stage.DONE or attempt.symptom is not Symptom.NONE:
        return False
    evidence = attempt.evidence
    return evidence is NO_EVIDENCE or (
        "dns" not in evidence and "elsewhere" not in evidence and evidence.get("status") not in REFUSALS
    )


def _story(direct: Attempt, winner: Route) -> str:
    """What happened, in half a sentence."""
    if direct.pending or direct.symptom is Symptom.ABANDONED:
        return f"direct had not answered after {direct.elapsed:.1f} s ({direct.stage}) when {winner} delivered"
    said = direct.error or str(direct.symptom)
    where = "" if direct.stage is Stage.FIRST_BYTE else f" ({direct.stage})"
    return f"direct failed after {direct.elapsed:.1f} s{where}: {said}; {winner} delivered"
