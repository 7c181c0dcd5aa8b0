"""An outcome on its way to the log: it gains facts until there is nothing more to learn, and is then written, once.

Learning happens the moment a race is decided; a direct attempt that was overtaken is judged seconds later, and the
bytes are known only when the tunnel ends. An Entry keeps the one outcome value that all of these add to. `retain` says
that something is still to come; the last `close` writes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from typing import Any

from proxy.model import (
    DIRECT,
    Action,
    Attempt,
    Belief,
    Cause,
    ClosedBy,
    Evidence,
    NetworkId,
    Outcome,
    Plan,
    Protocol,
    Request,
    Route,
    Stage,
    Symptom,
    frozen_evidence,
)
from proxy.model.errors import DialError
from proxy.net.race.race import Race, Winner
from proxy.net.tasks import spawn
from proxy.net.tunnel.flow_monitor import FlowSignal, WatchedFlow
from proxy.net.tunnel.pump import Tunnel, TunnelResult
from proxy.session.events import Ended, Learned, SignalWaits, TunnelEnded
from proxy.session.services import Services

FINISHED_BYTES = 256
"""A client that takes a certificate says more than this behind its hello, a Finished and a request; one that refuses
it, an alert: a few bytes, and a few more before it with TLS 1.3."""


class ConnectionRecord:
    """One connection's, or one plain HTTP request's, line in the log."""

    __slots__ = ("_facts", "_flow", "_holds", "_outcome", "_services", "_told_attempts", "client_message", "network")

    def __init__(self, request: Request, plan: Plan, *, network: NetworkId, services: Services) -> None:
        self.network = network
        self._services = services
        self._facts: dict[str, Any] = {
            "request": request,
            "plan": plan,
            "host": request.destination.host,
            "at": services.now(),
        }
        self._outcome: Outcome | None = None
        self._holds = 1
        self._flow: WatchedFlow | None = None
        self._told_attempts: tuple[tuple[Route, Stage, Symptom], ...] = ()
        self.client_message = ""
        """Why it failed, for who asked in plain HTTP: see `_told`."""

    @property
    def outcome(self) -> Outcome:
        """All that is known so far, as one value: made when it is asked for, since facts come in many small steps."""
        if self._outcome is None:
            self._outcome = Outcome(**self._facts)
        return self._outcome

    @property
    def plan(self) -> Plan:
        """The outcome's, without making the rest of it."""
        plan: Plan = self._facts["plan"]
        return plan

    def update(self, **facts: Any) -> None:
        """Adds facts: fields of the outcome."""
        self._facts.update(facts)
        self._outcome = None

    def retain(self) -> None:
        """Something more is to come; it ends with a `close` of its own."""
        self._holds += 1

    def release(self) -> None:
        """Writes the outcome when nothing more is to come."""
        self._holds -= 1
        if self._holds == 0:
            self.update(duration=self._services.now() - self._facts["at"])
            self._services.events.emit(Ended(self.outcome, self.network))

    def discard(self) -> None:
        """Another line tells of it: this one is never written."""
        self._holds += 1

    # -- how a race ends -------------------------------------------------------------------------------------------

    def on_won(self, race: Race, winner: Winner) -> None:
        """A route delivered, or was left alone with a request that cannot be sent twice."""
        self._take(race)
        self.update(winner=winner.route if winner.valid else None)
        if not winner.valid:
            return
        self._learn()
        self._judge_relays()
        if race.direct_pending:
            self.retain()
            spawn(self._judge_overtaken(race), name=f"judge direct to {self.outcome.host}")

    def on_lost(self, race: Race, *, client_left: bool = False) -> None:
        """No route delivered, or the client left before one did."""
        race.close()
        self._take(race)
        if client_left:
            self.update(closed_by=ClosedBy.CLIENT, error="the client left before an answer came")
        else:
            self.client_message = _told(self.outcome)
            self.update(error=_reason(self.outcome))
        self._learn()
        self._judge_relays()

    def _judge_relays(self) -> None:
        """What the race showed of the relays it tried."""
        services, outcome = self._services, self.outcome
        if not services.health.is_waiting and all(attempt.route.is_direct for attempt in outcome.attempts):
            return  # most connections
        if services.network() == self.network:
            now = services.now()
            conditions = services.beliefs.relay_conditions(outcome.host, network=self.network, now=now)
            if services.health.learn(outcome, now, conditions) and services.beliefs.doubt_if_quiet(self.network, now):
                services.events.emit(SignalWaits())

    def _take(self, race: Race) -> None:
        self.update(attempts=race.attempts, flight_at=self._services.now() - race.flight_age)

    def on_delivered(self, route: Route, address: str) -> None:
        """A whole answer came over `route`: on a connection that was left to it, or on one used before."""
        attempt = next((a for a in reversed(self.outcome.attempts) if a.route == route), None)
        if attempt is None:
            attempt = Attempt(route, Stage.DONE, address=address, evidence=_REUSED)
        if not attempt.delivered or attempt.evidence is _REUSED:
            self._judge(replace(attempt, stage=Stage.DONE))
            self.update(winner=route)
            self._learn()

    def on_broken(self, error: DialError) -> None:
        """The chosen path broke before an answer was whole enough to pass on."""
        attempt = next((a for a in self.outcome.attempts if a.pending), None)
        if attempt is not None:
            self._judge(replace(attempt, symptom=error.symptom, error=str(error)))
            self._learn()
        self.client_message = f"{self.outcome.request.destination}: {error}"
        self.update(winner=None, error=self.client_message)

    def on_broken_inside(self, error: DialError, inside: Outcome | None) -> None:
        """The same for what went on from an inspector: where no route delivered to it, that is why. It may also have
        left, since an addon wanted it so."""
        if inside is None or not inside.error or inside.closed_by is ClosedBy.CLIENT:
            self.on_broken(error)
            return
        self.client_message = _told(inside)
        self.update(attempts=inside.attempts, error=inside.error)

    def watch(self, tunnel: Tunnel) -> None:
        """Hears of what happens to the flow of a tunnel after it delivered. Only where that may teach something: one
        on our own network goes on through any outage."""
        outcome = self.outcome
        if outcome.plan.action is not Action.AUTO or outcome.winner is None or tunnel.over:
            return
        if not self._services.learns or self._services.beliefs.is_near(outcome.host):
            return
        if outcome.winner == DIRECT:
            brings = (
                self._on_direct_bytes if outcome.protocol is Protocol.TLS else None
            )  # a login page may bring the rest
            self._flow = self._services.flows.watch(
                tunnel, outcome.host, partial(self._on_flow_signal, tunnel), direct=True, brings=brings
            )
        elif outcome.winner.relays and self._held().cause in _PROVEN_BY_BYTES:
            self._flow = self._services.flows.watch(
                tunnel, outcome.host, _nothing, direct=False, proven=partial(self._on_relay_bytes, outcome.winner)
            )

    def _held(self) -> Belief:
        services = self._services
        return services.beliefs.lookup(self.outcome.host, network=self.network, now=services.now())

    def _on_flow_signal(self, tunnel: Tunnel, finding: FlowSignal) -> None:
        """Something became of a direct flow that had delivered. One that is frozen is ended, so that its client begins
        anew, elsewhere."""
        attempt = next((a for a in self.outcome.attempts if a.route == DIRECT), None)
        if attempt is None:
            return
        evidence: Evidence = {**attempt.evidence, **finding.evidence, "bytes": finding.bytes_down}
        error = f"{_FLOWS[finding.kind]} after {finding.bytes_down} bytes"
        spoiled = replace(attempt, symptom=finding.kind, error=error, evidence=evidence)
        self.update(attempts=tuple(spoiled if a is attempt else a for a in self.outcome.attempts))
        self._learn()
        if finding.kind is Symptom.FROZEN:
            tunnel.abort(error)

    def _on_direct_bytes(self, within_s: float) -> None:
        """The direct flow goes on, so the uplink is well: a page that stays open tells it as a visit does."""
        services = self._services
        if services.network() != self.network:
            return
        now = services.now()
        changes = services.beliefs.delivered_direct(
            self.outcome.host, network=self.network, now=now, since=now - within_s
        )
        if changes:
            services.events.emit(Learned(changes))

    def _on_relay_bytes(self, route: Route, bytes_down: int, bytes_s: float) -> None:
        """A relay brings what direct did not."""
        services, host = self._services, self.outcome.host
        if services.network() == self.network:
            now = services.now()
            changes = services.beliefs.carried(
                host, route, bytes_down=bytes_down, bytes_s=bytes_s, network=self.network, now=now
            )
            services.events.emit(Learned(changes))

    def on_tunnel_ended(self, carried: TunnelResult) -> None:
        """The pump has ended."""
        if self._flow is not None:
            self._services.flows.ended(self._flow, carried)
        self.update(
            bytes_up=self._facts.get("bytes_up", 0) + carried.bytes_up,
            bytes_down=self._facts.get("bytes_down", 0) + carried.bytes_down,
            closed_by=carried.closed_by,
            duration=self._services.now() - self._facts["at"],
        )
        attempts: tuple[Attempt, ...] = self._facts.get("attempts", ())
        if self._facts.get("winner") is None and (pending := next((a for a in attempts if a.pending), None)):
            self._judge_alone(pending, carried)
        beliefs = self._services.beliefs
        if (
            _went_on(self.outcome)
            and self._services.network() == self.network
            and not beliefs.is_near(self.outcome.host)
        ):
            beliefs.certificate_taken(self.network, self._services.now())
        self._services.events.emit(TunnelEnded(self.outcome))
        self.release()

    def add_evidence(self, route: Route, evidence: Evidence) -> None:
        """More has been found out of what became of a route."""
        self.update(attempts=self.outcome.with_evidence(route, evidence).attempts)
        self._learn()

    @property
    def symptom(self) -> Symptom:
        """What the client is told: the direct route's trouble, else the last one's."""
        if self.outcome.plan.action is Action.BLOCK:
            return Symptom.FORBIDDEN
        attempts = self.outcome.attempts
        told = self.outcome.direct_attempt or (attempts[-1] if attempts else None)
        return told.symptom if told is not None else Symptom.RELAY_DOWN

    async def redirect_url(self) -> str | None:
        """Where an addon sends who asked in plain HTTP and got no answer."""
        outcome, addons = self.outcome, self._services.addons
        asked = outcome.request.http
        if (
            not addons.handles_unreachable
            or outcome.plan.action is Action.BLOCK
            or asked is None
            or asked.method not in _SAFE
        ):
            return None
        return await addons.unreachable(outcome.request, outcome)

    # -- what it teaches -------------------------------------------------------------------------------------------

    def _learn(self) -> None:
        if not self._services.learns:
            return
        if self._services.addons.wants_attempts:
            self._tell_attempts()
        if self._services.network() != self.network:
            return  # what happened on another uplink says nothing of this one
        addresses = self._services.known_addresses(self.outcome.host)
        changes = self._services.beliefs.learn(
            self.outcome, network=self.network, now=self._services.now(), addresses=addresses
        )
        if self._services.addons.refines and (
            refined := self._services.addons.take_refinements(self.outcome.request.id)
        ):
            self._note_refined(refined)
        if changes:
            self._services.events.emit(Learned(changes))
        if changes or self._facts.get("winner") != DIRECT or self._services.beliefs.is_uneasy(self.network):
            self._services.events.emit(SignalWaits())

    def _note_refined(self, refined: str) -> None:
        """What addons made of signals, behind what they had made of earlier ones: a replay compares all of it."""
        direct = self.outcome.direct_attempt
        before = "" if direct is None else direct.evidence.get("addons", "")
        evidence: Evidence = {"addons": f"{before}; {refined}" if before else refined}
        self.update(attempts=self.outcome.with_evidence(DIRECT, evidence).attempts)

    def _tell_attempts(self) -> None:
        """Each once it is judged, and again when more became of it."""
        outcome = self.outcome
        if self._services.is_private(outcome.host):
            return
        for attempt in outcome.attempts:
            judged = (attempt.route, attempt.stage, attempt.symptom)
            if attempt.pending or attempt.symptom is Symptom.ABANDONED or judged in self._told_attempts:
                continue
            self._told_attempts = (*self._told_attempts, judged)
            self._services.addons.notify_attempt(outcome.request.with_host(outcome.host), attempt)

    async def _judge_overtaken(self, race: Race) -> None:
        try:
            attempt = await race.judge_late_direct()
            if attempt is not None:
                self._judge(attempt)
                self._learn()
        finally:
            self.release()

    def _judge_alone(self, attempt: Attempt, carried: TunnelResult) -> None:
        """A request that could not be sent twice was left to one route: what came of it is known only now."""
        if carried.bytes_down:
            judged = replace(attempt, stage=Stage.DONE)
            self.update(winner=attempt.route)
        elif carried.closed_by is ClosedBy.SERVER:
            symptom = Symptom.RESET if carried.error else Symptom.EOF
            judged = replace(attempt, symptom=symptom, error=carried.error or "closed without an answer")
        else:
            judged = replace(attempt, symptom=Symptom.ABANDONED)
        self._judge(judged)
        self._learn()

    def _judge(self, attempt: Attempt) -> None:
        """Puts what became of an attempt in place of what was known before."""
        self.update(attempts=self.outcome.with_attempt(attempt).attempts)


_SAFE = ("GET", "HEAD")
"""Methods that a client may be sent elsewhere with: any other would lose what it carries."""

_PROVEN_BY_BYTES = frozenset({Cause.FROZEN, Cause.THROTTLED})
_FLOWS = {Symptom.FROZEN: "froze", Symptom.THROTTLED: "went on at a crawl", Symptom.RESET: "was reset"}


def _nothing(finding: FlowSignal) -> None:
    """A relay's flow says nothing of the network."""


_REUSED = frozen_evidence({"reused": 1})


def _went_on(outcome: Outcome) -> bool:
    """Whether the client took the certificate that direct brought it."""
    said_after = outcome.bytes_up - outcome.flight_bytes
    return outcome.winner == DIRECT and outcome.protocol is Protocol.TLS and said_after >= FINISHED_BYTES


def _reason(outcome: Outcome) -> str:
    """One sentence for the client and the log."""
    destination = outcome.request.destination
    if not outcome.plan.routes:
        return f"{destination} was not tried: {outcome.plan.why}"
    if not outcome.attempts:
        return f"{destination} closed the connection before anything was sent to it"
    tries = Counter(a.route for a in outcome.attempts)
    results = {a.route: _trouble(a) for a in outcome.attempts}  # of each route's last try
    tried = "; ".join(
        f"{route}: {result}" + (f" ({tries[route]} tries)" if tries[route] > 1 else "")
        for route, result in results.items()
    )
    return f"{destination} could not be reached ({outcome.plan.why}). Tried {tried}."


def _told(outcome: Outcome) -> str:
    """The reason for a client whose answer a script of the site's may read, as it may in plain HTTP: it names no relay,
    and no rule or belief that may name one. The log has the whole of it."""
    if outcome.plan.action is Action.BLOCK:
        return _reason(outcome)
    tried = [f"direct: {_trouble(a)}" for a in outcome.attempts if a.route == DIRECT]
    if len(tried) < len(outcome.attempts):
        tried.append("all other routes failed too" if tried else "all allowed routes failed")
    reason = "; ".join(tried) or "no route is allowed"
    return f"{outcome.request.destination} could not be reached: {reason}. For details: `byway why {outcome.host}`"


def _trouble(attempt: Attempt) -> str:
    if attempt.error or attempt.symptom not in (Symptom.NONE, Symptom.ABANDONED):
        return attempt.error or attempt.symptom
    return "no answer"
