"""The story of one client connection, from accept to the pump.

    accept → sniff → parse → match → plan → dial → flight → first byte → learn → pump → record

Read this first. A Session reads what its client asks for, makes a plan, races the plan's routes until one delivers a
valid server byte, reports what that teaches, and hands both sockets to the pump. The client gets "connected" when a
route has really connected. What it sends then is its flight: it is kept until a server byte is back, so that the next
route can send it again when one fails, and the client notices only the wait. Nothing calls back into a session.

A connection that a rule INSPECTs takes the same way: the inspector takes over the client's socket, and is the client of
this session from then on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import replace
from functools import partial

from proxy.model import DIRECT, Destination, HttpRequest, Inbound, Protocol, Request, Symptom
from proxy.model.errors import BywayError, DialError, PeerError
from proxy.net.deadline import deadline
from proxy.net.race.race import OpenPath, Race, Winner
from proxy.net.stream import SocketStream, Stream
from proxy.routing.strategies import rewrites_flight
from proxy.session.connection_record import ConnectionRecord
from proxy.session.events import Delivered, Rescued
from proxy.session.http_exchange import Exchanged, exchange
from proxy.session.inbound import (
    ForwardRequest,
    InboundRequest,
    OwnPageRequest,
    TunnelRequest,
    http_redirect,
    http_refusal,
)
from proxy.session.inspector import DO_NOT_INSPECT, InspectionDecision
from proxy.session.origin_connection import OriginConnection
from proxy.session.plan import plan_for
from proxy.session.server_first import relay_server_greeting
from proxy.session.services import Services
from proxy.wire.flight import Flight
from proxy.wire.http1 import RequestHead
from proxy.wire.reader import Reader

log = logging.getLogger(__name__)

PULL_LIMIT = 128 * 1024
"""Bytes read from a client before any server byte has come back."""


class Session:
    """One client connection."""

    def __init__(self, client: SocketStream, services: Services, *, inspected: bool = False) -> None:
        """`inspected`: the client is the inspector, so that nothing here is to be inspected again."""
        self._client = client
        self._inspected = inspected
        self._reader = Reader()
        self._services = services
        self._setup = services.setup()
        self._idle: OriginConnection | None = None
        self.record: ConnectionRecord | None = None
        """The record of the latest request."""
        self._client_left = False
        self._handed_over = False  # the pump or the control server owns the client's socket

    async def run(self, request: TunnelRequest | None = None) -> None:
        """Serves the client until it leaves, or until the pump or the control server owns its socket. A `request` that
        is known already is not read from the client. Closes the client unless another owner has it."""
        try:
            asked: InboundRequest | None = request or await self._setup.inbound.read(self._client, self._reader)
            while isinstance(asked, ForwardRequest):
                asked = await self._forward(asked)
            if isinstance(asked, TunnelRequest):
                await self._tunnel(asked)
            elif isinstance(asked, OwnPageRequest):
                self._handed_over = True
                self._services.adopt(self._client, asked.received)
        except PeerError as error:
            log.info("%s: %s", self._client.peer, error)
            await self._send_final_and_linger(error.reply)
        except OSError as error:
            log.debug("%s left: %s", self._client.peer, error)
        finally:
            if not self._handed_over:
                self._client.close()
            if self._idle is not None:
                self._idle.stream.close()

    # -- a tunnel: CONNECT and SOCKS -------------------------------------------------------------------------------

    async def _tunnel(self, asked: TunnelRequest) -> None:
        record = await self._open_record(asked.destination, asked.inbound)
        race = self._open_race(record)
        try:
            # A site with a bad certificate is refused before "connected": afterwards no reason can be sent.
            if record.plan.intercept and (await self._inspection_decision(record)).refusal:
                await self._send_final_and_linger(asked.refused(Symptom.CERTIFICATE, record.error))
                return
            self._client.notify = race.notify.set
            if not await race.connect(self._client_waits):
                record.on_lost(race, client_left=self._client_left)
                await self._send_final_and_linger(asked.refused(record.symptom, record.error))
                return
            await self._client.send(asked.accepted)

            flight = Flight()
            if len(self._reader):  # sent ahead, behind the request
                flight.receive_data(self._reader.rest())
            ready = await self._first_flight(race, record, flight)
            if ready is None:
                return
            race = ready
            decision = await self._inspection_decision(record, flight) if record.plan.intercept else DO_NOT_INSPECT
            if decision.refusal:
                return
            if decision.inspect:  # the inspector answers the client, and sends a flight of its own
                received, flight = flight.data, Flight()
                self._client = await self._services.inspector.intercept(self._client, received, lambda: record.outcome)
                ready = await self._first_flight(race, record, flight)
                if ready is None:
                    return
                race = ready

            limit_s = self._setup.settings.limits.idle_timeout_s
            winner = await race.deliver(flight, partial(self._read_flight, flight), limit_s)
            if winner is None:
                record.on_lost(race, client_left=self._client_left)
            else:
                self._start_pump(winner, race, record, flight)
                self._report_delivered(record, flight)
        finally:
            record.release()
            race.close()

    async def _first_flight(self, race: Race, record: ConnectionRecord, flight: Flight) -> Race | None:
        """Waits until the client's flight is complete, makes the plan again on the name in it, and returns the race
        that is to deliver it: a new one when the open path was closed or the Setup was replaced meanwhile. None: there
        is nothing to deliver, since the server spoke first or the client left, and the record has it."""
        self._client.notify = race.notify.set
        limits = self._setup.settings.limits
        ends_at, path = asyncio.get_running_loop().time() + limits.idle_timeout_s, OpenPath.QUIET
        while self._read_flight(flight) and not flight.complete:
            was_closed, path = path is OpenPath.CLOSED, race.poll_open_path()
            if path is OpenPath.SERVER_FIRST:
                await self._serve_server_first(race, record, flight)
                return None
            if path is OpenPath.CLOSED and not was_closed:
                # Browsers open tunnels ahead of need, and a late flight still gets a new path.
                ends_at = min(ends_at, asyncio.get_running_loop().time() + limits.late_flight_s)
            if asyncio.get_running_loop().time() >= ends_at:  # notified for less than a complete flight, too
                break
            await race.notify.wait(ends_at)
        path = race.poll_open_path()
        if path is OpenPath.SERVER_FIRST:
            await self._serve_server_first(race, record, flight)
            return None
        if not flight.complete:
            record.on_lost(race, client_left=self._client_left)
            return None
        if path is OpenPath.CLOSED or self._setup is not self._services.setup():
            race.close()
            self._setup = self._services.setup()  # nothing was sent yet, so a reload in between still applies
            record.update(plan=await plan_for(record.request, self._services, self._setup))
            race = self._open_race(record)
            self._client.notify = race.notify.set
        record.update(protocol=flight.protocol)
        if flight.server_name is not None and record.request.destination.address is not None:
            # A literal address was planned as it is; the name may change that, before a byte of the flight leaves.
            plan = await plan_for(record.request, self._services, self._setup, host=flight.server_name)
            record.update(host=flight.server_name, plan=plan)
            race.restrict_to(plan.routes)
        return race

    async def _inspection_decision(self, record: ConnectionRecord, flight: Flight | None = None) -> InspectionDecision:
        """Asks the inspector about a connection that a rule INSPECTs: without a flight, whether the site has a good
        certificate; with one, also whether it holds anything to inspect. Notes a refusal in the record."""
        if self._inspected or not record.plan.routes:
            return DO_NOT_INSPECT
        decision = await self._services.inspector.decide(record.outcome, flight)
        if decision.refusal:
            record.update(error=decision.refusal)
        return decision

    async def _serve_server_first(self, race: Race, record: ConnectionRecord, flight: Flight) -> None:
        """The server spoke first. On a literal address the plan depends on the name in the client's first bytes, so
        none of them is sent until they are complete. The greeting cannot be undone: when the plan then forbids the
        route, the connection ends."""
        opened = race.take_opened(flight)
        if record.request.destination.address is None:
            self._start_pump(opened, race, record, flight)
            return
        try:
            limit_s = self._setup.settings.limits.idle_timeout_s
            is_incomplete = partial(self._flight_incomplete, flight)
            relayed = await relay_server_greeting(
                opened, self._client, race.notify, is_incomplete, idle_timeout_s=limit_s
            )
            host = flight.server_name or record.host
            plan = await plan_for(record.request, self._services, self._setup, host=host)
            record.update(protocol=flight.protocol, host=host, plan=plan, bytes_down=relayed)
            if flight.complete and opened.route in plan.routes:
                self._start_pump(replace(opened, answer=b"", unsent=flight.data), race, record, flight)
            elif flight.complete:
                record.update(
                    error=f"{host} may not go by {opened.route}, where the server had spoken before it was named"
                )
        finally:
            if not self._handed_over:
                opened.stream.abort()

    def _flight_incomplete(self, flight: Flight) -> bool:
        """Whether the client is there and its flight is not complete yet."""
        return self._read_flight(flight) and not flight.complete

    def _read_flight(self, flight: Flight) -> bool:
        """Moves what the client has sent into its flight. False: the client has left."""
        if self._client.drained:
            return not self._client_left
        broken = not self._read_available(flight)
        # A TLS client that finishes sending before the handshake has left; another may only have nothing more to send.
        self._client_left = broken or (flight.ended and (not flight.data or flight.protocol is Protocol.TLS))
        return not self._client_left

    def _start_pump(self, winner: Winner, race: Race, record: ConnectionRecord, flight: Flight) -> None:
        """The end of a tunnel's session: the pump owns both sockets from here on."""
        self._handed_over = True
        self._client.notify = None
        record.flight_bytes = record.bytes_up = len(flight.data) - len(winner.unsent)
        record.on_won(race, winner)
        record.retain()
        tunnel = self._services.pump.start(
            self._client, winner.stream, record.on_tunnel_ended, to_upstream=winner.unsent, to_client=winner.answer
        )
        record.watch(tunnel)

    # -- plain HTTP: each request on its own -----------------------------------------------------------------------

    async def _forward(self, asked: ForwardRequest) -> InboundRequest | None:
        """Serves one request. Returns the next one; None when the connection ends."""
        record = await self._open_record(
            asked.destination, Inbound.HTTP, HttpRequest(asked.head.method, asked.head.target)
        )
        try:
            exchanged = await self._exchange(asked, record)
        except DialError as error:
            record.on_broken(error)
            exchanged = None
            await self._refuse(record)
        finally:
            self._client.notify = None
            record.release()
        if exchanged is None or not exchanged.client_reusable:
            return None
        return await self._setup.inbound.next_request(self._client, self._reader)

    async def _exchange(self, asked: ForwardRequest, record: ConnectionRecord) -> Exchanged | None:
        """One request and its answer: over the idle origin connection when that fits the plan, otherwise over the
        winner of a race. None: the client got a refusal, or has left. Raises DialError when the route broke before
        anything was answered."""
        if record.plan.intercept:
            flight = Flight.of_http(asked.head.forwarded(), asked.head.method, bodiless=False)
            decision = await self._inspection_decision(record, flight)
            if decision.refusal:
                record.client_message = decision.refusal
                await self._refuse(record)
                return None
            if decision.inspect:
                return await self._exchange_inspected(asked, record)
        idle = self._take_idle(record)
        if idle is not None:
            try:
                return await self._exchange_over(idle, asked, record, head_sent=False)
            except DialError:  # the origin closed it while it was idle: no evidence of anything
                if not asked.head.bodiless:
                    raise
        race = self._open_race(record)
        try:
            upstream = await self._open_upstream(asked, record, race)
            if upstream is None:
                await self._refuse(record)
                return None
            exchanged = await self._exchange_over(upstream, asked, record, head_sent=asked.head.bodiless)
            if not asked.head.bodiless:  # known to have delivered only now
                self._report_delivered(record, _flight_of(asked.head))
            return exchanged
        finally:
            race.close()

    async def _exchange_inspected(self, asked: ForwardRequest, record: ConnectionRecord) -> Exchanged | None:
        """One exchange with the inspector in place of the origin. The inspector reaches the origin through a tunnel of
        its own, which has its own row in the log. None: the client got a refusal."""
        record.discard()
        origin = await self._services.inspector.serve(record.outcome)
        try:
            return await self._run_exchange(origin.stream, Reader(), asked, record, head_sent=False)
        except DialError as error:
            record.on_broken_inside(error, origin.inside())
            await self._refuse(record)
            return None
        finally:
            if not self._handed_over:
                origin.stream.abort()

    async def _open_upstream(
        self, asked: ForwardRequest, record: ConnectionRecord, race: Race
    ) -> OriginConnection | None:
        """Races for one request. A bodiless one is the flight, and has been sent when a route wins; any other may be
        sent only once, so the first route that connects gets it. None: no route delivered, or the client left."""
        record.update(protocol=Protocol.HTTP)
        flight = _flight_of(asked.head)
        winner: Winner | None = None
        self._client.notify = race.notify.set
        if asked.head.bodiless:
            limit_s = self._setup.settings.limits.exchange_timeout_s
            winner = await race.deliver(flight, self._read_pipelined, limit_s)
        elif await race.connect(self._client_waits):
            winner = race.take_opened()
        self._client.notify = None
        if winner is None:
            record.on_lost(race, client_left=self._client_left)
            return None
        record.on_won(race, winner)
        if asked.head.bodiless:
            self._report_delivered(record, flight)
        return OriginConnection(
            asked.destination,
            winner.route,
            self._setup.registry,
            record.network,
            winner.stream,
            Reader(winner.answer),
            reusable=not winner.unsent and not rewrites_flight(winner.route),
        )

    def _client_waits(self) -> bool:
        """Whether the client is still there while no route has connected. Keeps what it sends ahead."""
        self._client_left = not self._read_available(self._reader) or (self._reader.ended and not len(self._reader))
        return not self._client_left

    def _read_pipelined(self) -> bool:
        """The same for a bodiless request, whose client may have finished sending."""
        self._client_left = not self._read_available(self._reader)
        return not self._client_left

    async def _exchange_over(
        self, upstream: OriginConnection, asked: ForwardRequest, record: ConnectionRecord, *, head_sent: bool
    ) -> Exchanged:
        """Sends one request, streams its answer back, and keeps the connection when it may serve the next one."""
        try:
            exchanged = await self._run_exchange(upstream.stream, upstream.reader, asked, record, head_sent=head_sent)
        except (BywayError, OSError):
            upstream.stream.abort()
            raise
        record.on_delivered(upstream.route, upstream.stream.peer)
        if exchanged.upgraded:
            pass  # the pump owns the stream now
        elif upstream.reusable and exchanged.upstream_reusable and exchanged.client_reusable:
            self._idle = upstream
        else:
            upstream.stream.close()
        return exchanged

    async def _run_exchange(
        self, upstream: Stream, answers: Reader, asked: ForwardRequest, record: ConnectionRecord, *, head_sent: bool
    ) -> Exchanged:
        """Runs the exchange and notes its bytes. After a change of protocol (WebSocket) the pump owns both streams."""
        exchanged = await exchange(
            self._client,
            self._reader,
            upstream,
            answers,
            asked.head,
            head_sent=head_sent,
            idle_timeout_s=self._setup.settings.limits.exchange_timeout_s,
        )
        record.update(bytes_up=exchanged.bytes_up, bytes_down=exchanged.bytes_down, closed_by=exchanged.closed_by)
        if exchanged.upgraded:
            self._handed_over = True
            record.retain()
            to_upstream, to_client = self._reader.rest(), answers.rest()
            self._services.pump.start(
                self._client, upstream, record.on_tunnel_ended, to_upstream=to_upstream, to_client=to_client
            )
        return exchanged

    def _take_idle(self, record: ConnectionRecord) -> OriginConnection | None:
        """The idle origin connection when it fits this request; otherwise closes it."""
        idle, self._idle = self._idle, None
        if idle is not None and not idle.serves(
            record.request.destination, record.plan.routes, self._setup.registry, record.network
        ):
            idle.stream.close()
            return None
        return idle

    # -- shared by tunnels and plain HTTP --------------------------------------------------------------------------

    async def _open_record(
        self, destination: Destination, inbound: Inbound, http: HttpRequest | None = None
    ) -> ConnectionRecord:
        """Plans a request under the Setup in force, and opens its record."""
        self._setup = self._services.setup()
        request = Request(next(self._services.request_ids), destination, inbound, self._client.peer, http)
        plan = await plan_for(request, self._services, self._setup)
        self.record = ConnectionRecord(request, plan, network=self._services.network(), services=self._services)
        return self.record

    def _read_available(self, buffer: Flight | Reader) -> bool:
        """Reads what the client has sent, without waiting, up to PULL_LIMIT. False: the connection broke."""
        client = self._client
        while not client.drained and len(buffer) < PULL_LIMIT and not buffer.ended:
            try:
                data = client.receive_nowait()
            except OSError:
                return False
            if data is None:
                break
            buffer.receive_data(data)
        return True

    def _open_race(self, record: ConnectionRecord) -> Race:
        services = self._services
        return self._setup.race(record.request, record.plan.routes, services.tcp_info, services.down_cache)

    def _report_delivered(self, record: ConnectionRecord, flight: Flight) -> None:
        """Lets probes start beside this visit, unless its Setup was replaced: rules that are gone allow no probe."""
        winner, services = record.winner, self._services
        if winner is not None and services.learns and self._setup is services.setup():
            kind = Delivered if winner is DIRECT or winner == DIRECT else Rescued
            services.events.emit(kind(self._setup, record, flight))

    async def _refuse(self, record: ConnectionRecord) -> None:
        """Sends a plain HTTP client the reason why no answer came, or an addon's redirect."""
        if self._client_left:
            return
        url = await record.redirect_url()
        await self._send_final_and_linger(
            http_redirect(url) if url else http_refusal(record.symptom, record.client_message)
        )

    async def _send_final_and_linger(self, reply: bytes) -> None:
        """Sends a final answer, then reads for `linger_s` at most: closing with unread bytes would reset the connection
        and could destroy the answer on its way (RFC 9112, section 9.6)."""
        if not reply:
            return
        with contextlib.suppress(OSError, TimeoutError), deadline(self._setup.settings.limits.linger_s):
            await self._client.send(reply)
            self._client.send_eof()
            while await self._client.receive():
                pass


def _flight_of(head: RequestHead) -> Flight:
    return Flight.of_http(head.forwarded(), head.method, bodiless=head.bodiless)
