"""Collects the outcome of one connection, from its plan to its row in the log.

Beliefs learn when a race is decided. A direct attempt that another route overtook is judged seconds later, and the
bytes are known only when the tunnel ends. `retain` says that more facts will come; the last `release` emits the
outcome to the log, exactly once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from proxy.model import (
    DIRECT,
    Action,
    Attempt,
    ClosedBy,
    Destination,
    Evidence,
    HttpRequest,
    Inbound,
    NetworkId,
    Outcome,
    Plan,
    Protocol,
    Request,
    Route,
    Stage,
    Symptom,
)
from proxy.model.errors import DialError, PeerError
from proxy.net.notify import Notify
from proxy.net.race.race import Race, Winner
from proxy.net.race.terms import DialerFor
from proxy.net.tasks import spawn
from proxy.net.tunnel.pump import Tunnel, TunnelResult
from proxy.net.tunnel.watched_flow import FlowSignal, WatchedFlow, WatchedTransfer
from proxy.session.events import Delivered, Doubted, Ended, Rescued, TunnelEnded, Unserved
from proxy.session.inspector import DO_NOT_INSPECT, InspectionDecision
from proxy.session.open_connections import ConnectionState, OpenConnection, Transfer
from proxy.session.outcome_observer import OutcomeObserver
from proxy.session.plan import kept_plan, plan_for
from proxy.session.services import Services
from proxy.session.setup import Setup
from proxy.wire.flight import Flight
from proxy.wire.tls import certificate_reply

if TYPE_CHECKING:
    from proxy.net.race.late_direct import LateDirect


class ConnectionRecord:
    """The log's row for one connection, or for one plain HTTP request."""

    __slots__ = (
        "_flow", "_judging", "_observer", "_race", "_retained", "_services", "_task", "at", "attempts", "bytes_down",
        "bytes_up", "client_message", "closed_by", "duration", "error", "flight_at", "flight_bytes", "host",
        "is_routine", "network", "plan", "protocol", "request", "setup", "transfer", "winner",
    )  # fmt: skip

    @classmethod
    async def open(
        cls,
        services: Services,
        destination: Destination,
        inbound: Inbound,
        client: str,
        http: HttpRequest | None = None,
    ) -> ConnectionRecord:
        """Plans a request of `client` (its address) under the Setup in force, and opens its record. The record is in
        the list of open connections until `leave` is called or its tunnel has ended."""
        setup, network = services.setup(), services.network()
        request = Request(next(services.request_ids), destination, inbound, client, http)
        plan: Plan | None = None
        if setup.named is not None and client:
            from proxy.session.kept_out import planned_if_kept_out  # few name the programs that get relays

            setup, plan = await planned_if_kept_out(request, services)
            network = services.network()
        if plan is None and not services.addons.decides:
            plan = kept_plan(request, services, setup, network, services.now())
        if plan is None:
            plan = await plan_for(request, services, setup)
            if services.beliefs.prefixes:
                from proxy.session.prefix_lookup import is_looked_up  # few networks block prefixes

                if await is_looked_up(destination, plan, services, setup, network):
                    plan = await plan_for(request, services, setup)
            network = services.network()
        record = cls(request, plan, network=network, setup=setup, services=services)
        if plan.decided_by and services.learns:
            services.rule_hits.count(plan.decided_by, record.at)
        record._task = asyncio.current_task()
        services.open_connections.entries[request.id] = record
        return record

    def __init__(self, request: Request, plan: Plan, *, network: NetworkId, setup: Setup, services: Services) -> None:
        self.network = network
        self.setup = setup
        """The Setup of the plan, also after a reload: the routes of the plan need its relays. The session deletes it
        when the pump takes over, since a long tunnel would keep the lists of a replaced Setup in memory."""
        self._services = services
        # The fields of the outcome, see Outcome.
        self.request = request
        self.plan = plan
        self.attempts: tuple[Attempt, ...] = ()
        self.winner: Route | None = None
        self.protocol = Protocol.NONE
        self.host = request.destination.host
        self.at = services.now()
        self.flight_at = 0.0
        self.flight_bytes = self.bytes_up = self.bytes_down = 0
        self.duration = 0.0
        self.closed_by = ClosedBy.BYWAY
        self.error = ""
        self.is_routine = False
        """See `events.Routine`."""
        self._retained = 1
        self._flow: WatchedFlow | None = None
        self._judging: asyncio.Task[None] | None = None  # of a direct attempt that the winner overtook
        self._observer = OutcomeObserver(services, network)
        self._race: Race | None = None  # the one under way
        self._task: asyncio.Task[Any] | None = None  # of the session
        self.transfer: Transfer | None = None
        """The tunnel or exchange under way. `bytes_up` and `bytes_down` do not count its bytes yet."""
        self.client_message = ""
        """The reason of a failure, for the client of a plain HTTP request."""

    @property
    def outcome(self) -> Outcome:
        """The outcome so far."""
        return Outcome(
            self.request,
            self.plan,
            self.attempts,
            self.winner,
            self.protocol,
            self.host,
            self.at,
            self.flight_at,
            self.flight_bytes,
            self.bytes_up,
            self.bytes_down,
            self.duration,
            self.closed_by,
            self.error,
        )

    @property
    def told_error(self) -> str:
        """The reason of a failure, as far as the client may know it."""
        return self.error if self._services.explains else _UNEXPLAINED

    # -- the plan --------------------------------------------------------------------------------------------------

    async def plan_again(self, host: str = "") -> None:
        """Plans again under `setup`; `host` is the name in the flight to a literal address."""
        services, decided_by = self._services, self.plan.decided_by
        plan: Plan | None = None
        if self.setup.named is not None and self.request.client:
            from proxy.session.kept_out import plan_if_kept_out

            plan = await plan_if_kept_out(self.request, services, self.setup, host=host)
        self.plan = plan or await plan_for(self.request, services, self.setup, host=host)
        if self.plan.decided_by and self.plan.decided_by != decided_by and services.learns:
            services.rule_hits.count(self.plan.decided_by, self.at)
        self.host = host or self.host

    def race(self, notify: Notify) -> Race:
        """Returns a race over the routes of the plan; `notify` wakes it. The caller closes it."""
        services, setup = self._services, self.setup
        if self.plan.kept_out:
            assert setup.named is not None
            self._race = Race(self.request.destination, self.plan.routes, setup.named.terms(setup.guard), notify)
            return self._race
        dialer: DialerFor | None = None
        if (
            (check := services.transfer_check()) is not None
            and setup.registry.with_alternatives
            and not services.is_private(self.host)
        ):
            dialer = check.dialer_for(setup)
        plan, findings = self.plan, services.findings
        self._race = setup.race(
            self.request, plan.routes, services.tcp_info, findings, notify, dialer, direct_waits=plan.direct_waits
        )
        return self._race

    async def inspection(self, flight: Flight | None = None) -> InspectionDecision:
        """Asks the inspector about a connection that a rule INSPECTs: without a flight, whether the site's certificate
        is good; with one, also whether the connection can be inspected. A refusal becomes the `error`."""
        if not self.plan.routes:
            return DO_NOT_INSPECT
        decision = await self._services.inspector.decide(self.outcome, flight)
        if decision.refusal:
            self.error = decision.refusal
        return decision

    # -- its life --------------------------------------------------------------------------------------------------

    def retain(self) -> None:
        """Postpones the outcome until one more `release`."""
        self._retained += 1

    async def direct_judged(self) -> None:
        """See OpenRecord."""
        if self._judging is not None:
            await asyncio.wait([self._judging])

    def release(self, outcome: Outcome | None = None) -> None:
        """Emits the outcome when nothing retains the record any more. `outcome`: the present one, if the caller has
        made it already."""
        self._retained -= 1
        if self._retained == 0:
            if not self.duration:  # a tunnel has set it at its end
                self.duration = self._services.now() - self.at
            if self.is_routine:
                self._services.events.emit(Ended(outcome, self.network, self))
            else:
                self._services.events.emit(Ended(outcome or self.outcome, self.network))

    def leave(self) -> None:
        """Takes the connection off the list of open ones."""
        self._services.open_connections.entries.pop(self.request.id, None)

    def discard(self) -> None:
        """Keeps this record out of the log, the list of open connections and the hits of its rule. The inspector's own
        tunnel has a row instead."""
        self._retained += 1
        self.leave()
        if self._services.learns:
            self._services.rule_hits.take_back(self.plan.decided_by)

    @property
    def open_connection(self) -> OpenConnection:
        """The state of the connection now, see Entry."""
        state, (up, down) = ConnectionState.CONNECTING, (0, 0)
        if self.transfer is not None:
            state = ConnectionState.HALF_CLOSED if self.transfer.is_half_closed else ConnectionState.OPEN
            up, down = self.transfer.bytes_moved
        attempts = self.attempts if self._race is None else self._race.attempts
        tried = next((attempt.route for attempt in reversed(attempts) if attempt.pending), None)
        return OpenConnection(
            request=self.request,
            host=self.host,
            action=self.plan.action,
            why=self.plan.why,
            route=tried if self.winner is None else self.winner,
            state=state,
            protocol=self.protocol,
            bytes_up=self.bytes_up + up,
            bytes_down=self.bytes_down + down,
            opened_at=self.at,
            network=self.network,
        )

    def close_for_user(self) -> None:
        """Ends the connection, see Entry. Beliefs learn nothing from this."""
        self.leave()
        if isinstance(self.transfer, Tunnel):
            self.transfer.end(ClosedBy.USER)
            return
        self.closed_by = ClosedBy.USER
        if self._race is not None:
            self._race.close()
            self.attempts, self._race = self._race.attempts, None
        if self.winner is None and not self.error:
            self.error = "the user closed it before an answer came"
        if self._task is not None:
            self._task.cancel()

    # -- how a race ends -------------------------------------------------------------------------------------------

    def on_won(self, race: Race, winner: Winner, tunnel: Tunnel | None = None) -> Outcome | None:
        """A route delivered, or was chosen for a request that cannot be sent twice. A `tunnel` carries the rest, and
        releases the record at its end. Returns the outcome so far, if it was made."""
        self.transfer, self._race = tunnel, None
        self.winner = winner.route if winner.valid else None
        self.attempts, self.flight_at = race.attempts, self._services.now() - race.flight_age
        outcome: Outcome | None = None
        if not (winner.valid and self._works_again()):
            outcome = self._learn() if winner.valid else self.outcome
        elif self._services.health.unconfirmed:
            outcome = self.outcome
        if tunnel is not None:
            self._task = None  # the session ends, and an idle tunnel holds no more memory than it must
            self.keep_open(tunnel)
        if winner.valid and outcome is not None:
            self._observer.judge_relays(outcome)
            if race.overtaken is not None:
                self.retain()
                judging = self._judge_late_direct(race.take_overtaken())
                self._judging = spawn(judging, name=f"judge direct to {self.host}")
        return outcome

    def report_delivered(self, flight: Flight, outcome: Outcome | None = None, answer: bytes = b"") -> None:
        """Lets probes start beside this visit, unless its Setup was replaced: its rules no longer allow a probe.
        `outcome`: the present one, if the caller has made it already. `answer`: its first bytes, if they were
        classified. Without a winner, the answer was an alert, or no TLS."""
        winner, services = self.winner, self._services
        if services.learns and self.plan.learns and self.setup is services.setup():
            is_direct = winner == DIRECT
            if self.plan.action is Action.AUTO and (not is_direct or (self.attempts[1:] and self._got_alert)):
                self._keep_hello(flight)
            if is_direct:
                services.events.emit(Delivered(self.setup, self, flight))
                if flight.protocol is Protocol.HTTP and answer:
                    for attempt in self.attempts:
                        if "doubt" in attempt.evidence:
                            services.events.emit(Doubted(self.setup, self, flight, answer))
            elif winner is not None:
                services.events.emit(Rescued(self.setup, self, flight, outcome or self.outcome))

    @property
    def _got_alert(self) -> bool:
        """Whether direct counts as delivering because all routes got the same TLS alert."""
        return any(attempt.route == DIRECT and attempt.evidence.get("alert") for attempt in self.attempts)

    def _keep_hello(self, flight: Flight) -> None:
        """Keeps the ClientHello for `byway why`: direct did not deliver. Not if the host was forgotten meanwhile."""
        if not (self._services.is_private(self.host) or self._services.beliefs.ignores(self.request.id)):
            self._services.kept_hellos.keep(self.host, flight)

    def on_lost(self, race: Race, closed_by: ClosedBy = ClosedBy.BYWAY, flight: Flight | None = None) -> None:
        """No route delivered the `flight`, or the client left before, or it sent nothing in time (IDLE). Closes the
        race. Lets probes start beside this visit, as `report_delivered` does."""
        race.close()
        if flight is not None and self.plan.action is Action.AUTO and self.plan.learns and self._services.learns:
            self._keep_hello(flight)
        self._race = None
        self.attempts, self.flight_at = race.attempts, self._services.now() - race.flight_age
        self.closed_by = closed_by
        if race.leads_home and self.plan.action is Action.AUTO:  # as the next plan will say
            self.plan = replace(self.plan, is_home=True)
        if closed_by is ClosedBy.CLIENT:
            self.error = _CLIENT_LEFT
        elif closed_by is ClosedBy.IDLE:
            self.error = "the client was connected, and sent no request in time"
        else:
            from proxy.session.refusal_text import client_message, full_reason  # with the first site that fails

            outcome = self.outcome
            self.client_message, self.error = client_message(outcome), full_reason(outcome)
        outcome = self._learn()
        self._observer.judge_relays(outcome)
        if (
            flight is not None
            and closed_by is ClosedBy.BYWAY
            and self._services.learns
            and self.plan.learns
            and self.setup is self._services.setup()
        ):
            self._services.events.emit(Unserved(self.setup, self, flight, outcome))

    def on_delivered(self, reused: Attempt) -> None:
        """A whole answer came without a race that was won: over the only route for a request that cannot be sent twice,
        or over a connection used before. `reused` is the attempt of the latter."""
        if not self.attempts:
            self.attempts = (reused,)
        else:
            attempt = next((a for a in reversed(self.attempts) if a.route == reused.route), reused)
            self._judge(replace(attempt, stage=Stage.DONE))
        self.winner, self.duration = reused.route, self._services.now() - self.at
        if not self._works_again():
            self._learn()

    def on_broken(self, error: DialError) -> None:
        """The chosen route broke before the head of an answer came."""
        attempt = next((a for a in self.attempts if a.pending), None)
        if attempt is not None:
            self._judge(self._failed_now(attempt, error.symptom, str(error)))
            self._learn()
        self.client_message = self.error = f"{self.request.destination}: {error}"
        self.winner, self.is_routine = None, False

    def on_client_failed(self, error: OSError | PeerError) -> None:
        """The client of a plain HTTP request left, or did not send the whole request as it should, before its answer
        came."""
        if self.transfer is not None:
            self.bytes_up, self.bytes_down = self.transfer.bytes_moved
            self.transfer = None
        if isinstance(error, OSError):
            self.closed_by = ClosedBy.CLIENT
        if self.winner is None:
            self.error = _CLIENT_LEFT if isinstance(error, OSError) else str(error)
        if (pending := next((a for a in self.attempts if a.pending), None)) is not None:
            self._judge(replace(pending, symptom=Symptom.ABANDONED))
            self._learn()

    def on_broken_inside(self, error: DialError, inside: Outcome | None) -> None:
        """The inspector closed without an answer. The reason is the error of its own tunnel (`inside`), unless it has
        none, or an addon made the inspector leave."""
        if inside is None or not inside.error or inside.closed_by is ClosedBy.CLIENT:
            self.on_broken(error)
            return
        from proxy.session.refusal_text import client_message

        self.client_message = client_message(inside)
        self.attempts, self.error = inside.attempts, inside.error

    def keep_open(self, tunnel: Tunnel) -> None:
        """Watches the tunnel for stalls, throttling and early resets, if that can teach something."""
        if self.winner is not None:
            self._flow = self._observer.watch(tunnel, self.winner, self.plan, self.host, self)

    def watch_exchange(self, exchange: WatchedTransfer, route: Route) -> Callable[[TunnelResult], None]:
        """Watches a plain HTTP exchange over `route` like a tunnel. Returns a function to call at its end."""
        flow = self._observer.watch(exchange, route, self.plan, self.host, self)
        if flow is None:
            return lambda result: None
        return partial(self._services.flows.ended, flow)

    def on_flow_signal(self, signal: FlowSignal, tunnel: WatchedTransfer) -> None:
        """A flow that goes direct froze, was throttled or was reset after it had delivered. A frozen tunnel is aborted,
        so that the client retries and gets another route."""
        attempt = next((a for a in reversed(self.attempts) if a.route == signal.route), None)
        if attempt is None:
            return
        evidence: Evidence = {**attempt.evidence, **signal.evidence, "bytes": signal.bytes_down}
        error = f"{_FLOW_SENTENCES[signal.kind]} after {signal.bytes_down} bytes"
        if (cut_s := signal.evidence.get("cut_s")) is not None:
            error = f"connections are cut {cut_s:.0f} s after the handshake"
        spoiled = replace(attempt, symptom=signal.kind, error=error, evidence=evidence)
        self.attempts = tuple(spoiled if a is attempt else a for a in self.attempts)
        if signal.route == DIRECT:
            self._learn()
        else:
            again = bool(signal.evidence.get("again")) or cut_s is not None
            self._observer.on_strategy_broke(self.outcome, spoiled, again=again)
        if signal.kind is Symptom.FROZEN:
            tunnel.abort(error)

    def on_unwitnessed_stall(self) -> None:
        self._observer.on_unwitnessed_stall(self.host)

    def on_slow(self, bytes_s: float) -> None:
        self._observer.on_slow(self.outcome, bytes_s)

    def on_direct_bytes(self, within_s: float) -> None:
        # In plain HTTP, the bytes may come from the login page of a captive portal.
        if self.protocol is Protocol.TLS:
            address = next((each.address for each in self.attempts if each.route == self.winner), "")
            self._observer.on_direct_bytes(self.host, address, within_s)

    def on_relay_bytes(self, bytes_down: int, bytes_s: float, tunnel: WatchedTransfer) -> None:
        self._observer.on_relay_bytes(self.outcome, tunnel, bytes_down, bytes_s)

    def on_relay_whole(self, bytes_down: int) -> None:
        self._observer.on_relay_whole(self.outcome, bytes_down)

    def on_relay_lasted(self, lasted_s: float) -> None:
        self._observer.on_relay_lasted(self.outcome, lasted_s)

    def on_direct_carried(self, bytes_down: int, lasted_s: float) -> None:
        self._observer.on_direct_carried(self.outcome, bytes_down, lasted_s)

    def on_relay_upload(self, bytes_up: int) -> None:
        self._observer.on_relay_upload(self.outcome, bytes_up)

    def on_relay_stalled(self, bytes_down: int, tunnel: WatchedTransfer) -> None:
        """The connection to a relay stopped for good. The tunnel is aborted, so that the client retries, over another
        way to the relay if there is one."""
        self._observer.on_relay_stalled(self.outcome, tunnel, bytes_down)
        tunnel.upstream.give_up_connection()
        tunnel.abort(f"the connection to the relay froze after {bytes_down} bytes")

    def on_relay_silent(self, silent_s: float, tunnel: WatchedTransfer) -> None:
        """Aborts the tunnel, so that the client retries. The relay is not blamed: the network may be gone."""
        tunnel.upstream.give_up_connection()
        tunnel.abort(f"the relay was silent for {silent_s:.0f} s: it or the network is gone")

    def on_way_stalled(self, tunnel: WatchedTransfer) -> None:
        """Aborts the tunnel, so that the client retries, over another way to the relay if there is one."""
        tunnel.abort("it was idle, and another connection over the same way to the relay froze")

    def on_tunnel_ended(self, result: TunnelResult) -> None:
        """Both sides of the tunnel are closed."""
        self.leave()
        # This breaks a cycle, so that the tunnel is freed now. Many thousands would otherwise wait for the collector.
        flow, self._flow, self.transfer = self._flow, None, None
        if flow is not None:
            self._services.flows.ended(flow, result)
        self.bytes_up += result.bytes_up
        self.bytes_down += result.bytes_down
        self.closed_by = result.closed_by
        self.duration = self._services.now() - self.at
        if self.winner is None and (pending := next((a for a in self.attempts if a.pending), None)):
            self._judge_only_route(pending, result)
        outcome: Outcome | None = None
        if self.protocol is Protocol.TLS:
            outcome = self.outcome
            reply = certificate_reply(result.head_up, self.bytes_up - self.flight_bytes)
            self._observer.on_tunnel_ended(outcome, reply)
            self._services.events.emit(TunnelEnded(outcome, reply))
        self.release(outcome)

    def add_evidence(self, route: Route, evidence: Evidence) -> None:
        """Adds evidence to the attempt of `route`, and learns from it."""
        self.attempts = self.outcome.with_evidence(route, evidence).attempts
        self._learn()

    @property
    def symptom(self) -> Symptom:
        """The symptom reported to the client: that of the direct attempt; without one, that of the last attempt."""
        if self.plan.action is Action.BLOCK:
            return Symptom.FORBIDDEN
        attempt = self.outcome.direct_attempt or (self.attempts[-1] if self.attempts else None)
        return attempt.symptom if attempt is not None else Symptom.RELAY_DOWN

    async def redirect_url(self) -> str | None:
        """The URL to which an addon redirects a plain HTTP client that got no answer; None: no redirect."""
        outcome, addons = self.outcome, self._services.addons
        http = outcome.request.http
        if (
            not addons.handles_unreachable
            or outcome.plan.action is Action.BLOCK
            or outcome.plan.kept_out
            or http is None
            or http.method not in _SAFE
        ):
            return None
        return await addons.unreachable(outcome.request, outcome)

    # -- results that come later -----------------------------------------------------------------------------------

    def _works_again(self) -> bool:
        """Learns that direct delivered a working host once more, if there is no more to learn, as for most visits.
        Returns False when beliefs have to learn from the outcome."""
        plan = self.plan
        if (
            len(self.attempts) != 1
            or self.winner != DIRECT
            or not self._observer.works_again(plan, self.host, self.attempts[0])
        ):
            return False
        self.is_routine = plan.action is Action.AUTO and not plan.intercept and plan.before is None
        return True

    def _learn(self) -> Outcome:
        self.is_routine = False
        outcome = self.outcome
        if self.plan.kept_out:
            return outcome
        learned = self._observer.learn(outcome)
        if learned is not outcome:
            self.attempts = learned.attempts
        return learned

    async def _judge_late_direct(self, late: LateDirect) -> None:
        try:
            self._judge(await late.judge())
            self._learn()
        finally:
            self._judging = None
            self.release()

    def _judge_only_route(self, attempt: Attempt, result: TunnelResult) -> None:
        """Judges the route of a request that cannot be sent twice: its result is known only when the tunnel ends."""
        if result.bytes_down:
            judged = replace(attempt, stage=Stage.DONE)
            self.winner = attempt.route
        elif result.closed_by is ClosedBy.SERVER:
            symptom = Symptom.RESET if result.error else Symptom.EOF
            judged = self._failed_now(attempt, symptom, result.error or "closed without an answer")
        else:
            judged = replace(attempt, symptom=Symptom.ABANDONED)
        self._judge(judged)
        self._learn()

    def _failed_now(self, attempt: Attempt, symptom: Symptom, error: str) -> Attempt:
        """Returns a failed attempt that was under way when its race ended. Its time includes the time since the flight,
        and not the wait for the client's flight."""
        now = self._services.now()
        elapsed = min(attempt.elapsed + now - self.flight_at, now - self.at - attempt.started)
        return replace(attempt, symptom=symptom, error=error, elapsed=max(attempt.elapsed, round(elapsed, 4)))

    def _judge(self, attempt: Attempt) -> None:
        """Replaces the attempt of this route."""
        self.attempts = self.outcome.with_attempt(attempt).attempts


_UNEXPLAINED = "The connection failed."
_CLIENT_LEFT = "the client left before an answer came"

_SAFE = ("GET", "HEAD")
"""Methods that may be redirected: any other would lose its body."""

_FLOW_SENTENCES = {Symptom.FROZEN: "froze", Symptom.THROTTLED: "went on at a crawl", Symptom.RESET: "was reset"}
