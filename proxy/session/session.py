"""The story of one client connection, from accept to the pump.

    accept → sniff → parse → match → plan → dial → flight → first byte → learn → pump → record

Read this first. A Session greets its client, makes a plan for what is asked, races the plan's routes until one brings
a valid server byte, says what that teaches, and hands both sockets to the pump. The client is told "connected" when a
route has really connected; what it sends then, its flight, is kept until a server byte is back, so that a route that
fails on the way is left without the client noticing more than the wait. Nobody calls back into a session.

What a rule INSPECTs goes the same way: an inspector steps between, and from then on it is the client.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable
from dataclasses import replace
from functools import partial

from proxy.model import Destination, HttpRequest, Inbound, Outcome, Protocol, Request, Symptom
from proxy.model.errors import BywayError, DialError, PeerError
from proxy.net.deadline import deadline
from proxy.net.race.race import OpenPath, Race, Winner
from proxy.net.stream import SocketStream, Stream
from proxy.routing.strategies import is_shaped
from proxy.session.connection_record import ConnectionRecord
from proxy.session.events import Delivered
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
"""Bytes of a client that are taken in before any server byte has come back."""


class Session:
    """One client connection."""

    def __init__(self, client: SocketStream, services: Services, *, inspected: bool = False) -> None:
        """`inspected`: the client is the inspector, which looks into what it sends by itself."""
        self._client = client
        self._inspected = inspected
        self._reader = Reader()
        self._services = services
        self._setup = services.setup()
        self._idle: OriginConnection | None = None
        self.record: ConnectionRecord | None = None
        """The line in the log of what was asked last."""
        self._client_left = False
        self._owned_by_pump = False

    async def run(self, asked: TunnelRequest | None = None) -> None:
        """Serves the client until it has gone, or its bytes are the pump's or the control server's. `asked` is what it
        wants when it has said so already."""
        try:
            opening: InboundRequest | None = asked or await self._setup.inbound.read(self._client, self._reader)
            while isinstance(opening, ForwardRequest):
                opening = await self._forward(opening)
            if isinstance(opening, TunnelRequest):
                await self._tunnel(opening)
            elif isinstance(opening, OwnPageRequest):
                self._owned_by_pump = True
                self._services.adopt(self._client, opening.received)
        except PeerError as error:
            log.info("%s: %s", self._client.peer, error)
            await self._send_final_and_linger(error.reply)
        except OSError as error:
            log.debug("%s left: %s", self._client.peer, error)
        finally:
            if not self._owned_by_pump:
                self._client.close()
            if self._idle is not None:
                self._idle.stream.close()

    # -- a tunnel: CONNECT and SOCKS -------------------------------------------------------------------------------

    async def _tunnel(self, tunnel: TunnelRequest) -> None:
        record = await self._open_record(tunnel.destination, tunnel.inbound)
        race = self._race(record)
        try:
            if record.plan.intercept and (await self._inspection_decision(record)).refusal:
                await self._send_final_and_linger(tunnel.refused(Symptom.CERTIFICATE, record.outcome.error))
                return
            self._client.notify = race.notify.set
            if not await race.connect(self._waits):
                record.on_lost(race, client_left=self._client_left)
                await self._send_final_and_linger(tunnel.refused(record.symptom, record.outcome.error))
                return
            await self._client.send(tunnel.accepted)

            flight = Flight()
            if len(self._reader):
                flight.receive_data(self._reader.rest())
            heard = await self._first_flight(race, record, flight)
            if heard is None:
                return
            race = heard
            look = await self._inspection_decision(record, flight) if record.plan.intercept else DO_NOT_INSPECT
            if look.refusal:
                return
            if look.inspect:
                said, flight = flight.data, Flight()
                self._client = await self._services.inspector.intercept(self._client, said, lambda: record.outcome)
                heard = await self._first_flight(race, record, flight)
                if heard is None:
                    return
                race = heard

            limit_s = self._setup.settings.limits.idle_timeout_s
            winner = await _within(limit_s, race.deliver(flight, partial(self._read_flight, flight)))
            if winner is None:
                record.on_lost(race, client_left=self._client_left)
            else:
                self._pump(winner, race, record, flight)
                self._report_delivered(record, flight)
        finally:
            record.release()
            race.close()

    async def _first_flight(self, race: Race, record: ConnectionRecord, flight: Flight) -> Race | None:
        """The client's flight, and the race that it is for: another one when the path that was open has closed. None:
        there is none to send, and all is said."""
        before = await self._await_flight(race, flight)
        if before is OpenPath.SERVER_FIRST:
            await self._serve_spoken(race, record, flight)
            return None
        if not flight.complete:
            record.on_lost(race, client_left=self._client_left)
            return None
        if before is OpenPath.CLOSED or self._setup is not self._services.setup():
            race.close()
            self._setup = self._services.setup()  # nothing has gone yet, so what was said since holds
            record.update(plan=await plan_for(record.outcome.request, self._services, self._setup))
            race = self._race(record)
            self._client.notify = race.notify.set
        await self._plan_on_name(flight, race, record)
        return race

    async def _inspection_decision(self, record: ConnectionRecord, flight: Flight | None = None) -> InspectionDecision:
        """What becomes of what shall be inspected. Without a flight yet, this is the question whether the site shows a
        good certificate; with one, also whether there is anything to look into."""
        if self._inspected or not record.plan.routes:
            return DO_NOT_INSPECT
        look = await self._services.inspector.decide(record.outcome, flight)
        if look.refusal:
            record.update(error=look.refusal)
        return look

    async def _await_flight(self, race: Race, flight: Flight) -> OpenPath:
        """Until the client's flight is whole, the server spoke first, or the client left. A path that closes before is
        waited out for a moment: browsers open tunnels ahead of need, and a flight that comes yet finds a new path."""
        self._client.notify = race.notify.set
        loop = asyncio.get_running_loop()
        limits = self._setup.settings.limits
        ends_at = loop.time() + limits.idle_timeout_s
        closed = False
        while self._flight_incomplete(flight):
            before = race.poll_open_path()
            if before is OpenPath.SERVER_FIRST:
                return before
            if before is OpenPath.CLOSED and not closed:
                closed = True
                ends_at = min(ends_at, loop.time() + limits.late_flight_s)
            left_s = ends_at - loop.time()  # the bell may ring for less than a whole flight
            if left_s <= 0:
                return OpenPath.CLOSED
            await race.notify.wait(left_s)
        return race.poll_open_path()

    async def _serve_spoken(self, race: Race, record: ConnectionRecord, flight: Flight) -> None:
        """The server spoke first. On a literal address the plan hangs on the client's first words, so these go nowhere
        until they are whole. What was said cannot be taken back, so a plan that forbids the path ends it."""
        opened = race.take_opened(flight)
        if record.outcome.request.destination.address is None:
            self._pump(opened, race, record, flight)
            return
        try:
            limit_s = self._setup.settings.limits.idle_timeout_s
            still = partial(self._flight_incomplete, flight)
            said = await relay_server_greeting(opened, self._client, race.notify, still, idle_timeout_s=limit_s)
            host = flight.server_name or record.outcome.host
            plan = await plan_for(record.outcome.request, self._services, self._setup, host=host)
            record.update(protocol=flight.protocol, host=host, plan=plan, bytes_down=said)
            if flight.complete and opened.route in plan.routes:
                self._pump(replace(opened, answer=b"", unsent=flight.data), race, record, flight)
            elif flight.complete:
                record.update(
                    error=f"{host} may not go by {opened.route}, where the server had spoken before it was named"
                )
        finally:
            if not self._owned_by_pump:
                opened.stream.abort()

    def _flight_incomplete(self, flight: Flight) -> bool:
        """Whether the client is there and has more to say of its first words."""
        return self._read_flight(flight) and not flight.complete

    def _read_flight(self, flight: Flight) -> bool:
        """Moves what the client has sent on into its flight. False: the client has gone."""
        broken = not self._read_available(flight)
        # A TLS client that ends its side before the handshake has left; others may have said all they had to say.
        self._client_left = broken or (flight.ended and (not flight.data or flight.protocol is Protocol.TLS))
        return not self._client_left

    async def _plan_on_name(self, flight: Flight, race: Race, record: ConnectionRecord) -> None:
        """A literal address was planned as it is; the name in the flight may say otherwise, before a byte of it
        leaves."""
        record.update(protocol=flight.protocol)
        if record.outcome.request.destination.address is not None and flight.server_name is not None:
            plan = await plan_for(record.outcome.request, self._services, self._setup, host=flight.server_name)
            record.update(host=flight.server_name, plan=plan)
            race.restrict_to(plan.routes)

    def _pump(self, winner: Winner, race: Race, record: ConnectionRecord, flight: Flight) -> None:
        """The end of the session: from here on the bytes go by themselves."""
        self._owned_by_pump = True
        self._client.notify = None
        sent = len(flight.data) - len(winner.unsent)
        record.update(bytes_up=sent, flight_bytes=sent)
        record.on_won(race, winner)
        record.retain()
        tunnel = self._services.pump.start(
            self._client, winner.stream, record.on_tunnel_ended, to_upstream=winner.unsent, to_client=winner.answer
        )
        record.watch(tunnel)

    # -- plain HTTP: each request on its own -----------------------------------------------------------------------

    async def _forward(self, asked: ForwardRequest) -> InboundRequest | None:
        """Serves one request; returns the next one when the connection stays open."""
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
        """One exchange, on the idle connection when that fits the plan, else on the winner of a race. None: the client
        was told why not, or has gone. Raises DialError when it broke off before anything was answered."""
        if record.plan.intercept:
            flight = Flight.of_http(asked.head.forwarded(), asked.head.method, bodiless=False)
            look = await self._inspection_decision(record, flight)
            if look.refusal:
                record.client_message = look.refusal
                await self._refuse(record)
                return None
            if look.inspect:
                return await self._exchange_inspected(asked, record)
        idle = self._take_idle(record.outcome)
        if idle is not None:
            try:
                return await self._exchange_over(idle, asked, record, head_sent=False)
            except DialError:  # the origin closed it while it was idle: no sign of anything
                if not asked.head.bodiless:
                    raise
        race = self._race(record)
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
        """One exchange with the inspector, in the place of the origin. How it goes on from there is a tunnel of its
        own, with a line in the log of its own. None: the client was told why no answer came."""
        record.discard()
        stead = await self._services.inspector.serve(record.outcome)
        try:
            return await self._pass(stead.stream, Reader(), asked, record, head_sent=False)
        except DialError as error:
            record.on_broken_inside(error, stead.inside())
            await self._refuse(record)
            return None
        finally:
            if not self._owned_by_pump:
                stead.stream.abort()

    async def _open_upstream(
        self, asked: ForwardRequest, record: ConnectionRecord, race: Race
    ) -> OriginConnection | None:
        """The winner of a race for one request. A bodiless one is the flight and has gone out; any other is sent once,
        on the first route that connects. None: no route brought anything, or the client has gone."""
        record.update(protocol=Protocol.HTTP)
        flight = _flight_of(asked.head)
        winner: Winner | None = None
        self._client.notify = race.notify.set
        if asked.head.bodiless:
            limit_s = self._setup.settings.limits.exchange_timeout_s
            winner = await _within(limit_s, race.deliver(flight, self._pull_pipelined))
        elif await race.connect(self._waits):
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
            reusable=not winner.unsent and not is_shaped(winner.route),
        )

    def _waits(self) -> bool:
        """Whether a client whose tunnel, or whose request with a body, has no path yet is still there. Keeps what it
        sends ahead."""
        self._client_left = not self._read_available(self._reader) or (self._reader.ended and not len(self._reader))
        return not self._client_left

    def _pull_pipelined(self) -> bool:
        """Keeps what a waiting client sends ahead. False: it has gone."""
        self._client_left = not self._read_available(self._reader)
        return not self._client_left

    async def _exchange_over(
        self, upstream: OriginConnection, asked: ForwardRequest, record: ConnectionRecord, *, head_sent: bool
    ) -> Exchanged:
        """Sends one request, streams its answer back, and keeps the connection when it may serve the next."""
        try:
            exchanged = await self._pass(upstream.stream, upstream.reader, asked, record, head_sent=head_sent)
        except (BywayError, OSError):
            upstream.stream.abort()
            raise
        record.on_delivered(upstream.route, upstream.stream.peer)
        if exchanged.upgraded:
            pass  # the pump has it
        elif upstream.reusable and exchanged.upstream_reusable and exchanged.client_reusable:
            self._idle = upstream
        else:
            upstream.stream.close()
        return exchanged

    async def _pass(
        self, upstream: Stream, answers: Reader, asked: ForwardRequest, record: ConnectionRecord, *, head_sent: bool
    ) -> Exchanged:
        """The exchange itself; where it ends in another protocol, the pump goes on."""
        exchanged = await exchange(
            self._client,
            self._reader,
            upstream,
            answers,
            asked.head,
            head_sent=head_sent,
            idle_timeout_s=self._setup.settings.limits.exchange_timeout_s,
        )
        record.update(
            bytes_up=exchanged.bytes_up,
            bytes_down=exchanged.bytes_down,
            closed_by=exchanged.closed_by,
        )
        if exchanged.upgraded:
            self._owned_by_pump = True
            record.retain()
            to_upstream, to_client = self._reader.rest(), answers.rest()
            self._services.pump.start(
                self._client, upstream, record.on_tunnel_ended, to_upstream=to_upstream, to_client=to_client
            )
        return exchanged

    def _take_idle(self, outcome: Outcome) -> OriginConnection | None:
        """The idle connection, when it serves this request too."""
        idle, self._idle = self._idle, None
        if idle is not None and not idle.serves(
            outcome.request.destination, outcome.plan.routes, self._setup.registry, self._services.network()
        ):
            idle.stream.close()
            return None
        return idle

    # -- what all of them need -------------------------------------------------------------------------------------

    async def _open_record(
        self, destination: Destination, inbound: Inbound, http: HttpRequest | None = None
    ) -> ConnectionRecord:
        """A request, its plan, and the line in the log that will tell of it."""
        self._setup = self._services.setup()
        request = Request(next(self._services.request_ids), destination, inbound, self._client.peer, http)
        plan = await plan_for(request, self._services, self._setup)
        self.record = ConnectionRecord(request, plan, network=self._services.network(), services=self._services)
        return self.record

    def _read_available(self, kept: Flight | Reader) -> bool:
        """Reads what the client has sent, within bounds, without waiting. False: its connection is broken."""
        while len(kept) < PULL_LIMIT and not kept.ended:
            try:
                data = self._client.receive_nowait()
            except OSError:
                return False
            if data is None:
                break
            kept.receive_data(data)
        return True

    def _race(self, record: ConnectionRecord) -> Race:
        services = self._services
        return self._setup.race(
            record.outcome.request, record.outcome.plan.routes, services.tcp_info, services.down_cache
        )

    def _report_delivered(self, record: ConnectionRecord, flight: Flight) -> None:
        """What our own connections beside this visit may find out. By rules that hold no longer none are made."""
        if self._setup is self._services.setup() and self._services.learns:
            self._services.events.emit(Delivered(self._setup, record, flight))

    async def _refuse(self, record: ConnectionRecord) -> None:
        if self._client_left:
            return
        elsewhere = await record.redirect_url()
        await self._send_final_and_linger(
            http_redirect(elsewhere) if elsewhere else http_refusal(record.symptom, record.client_message)
        )

    async def _send_final_and_linger(self, reply: bytes) -> None:
        """Sends a final answer, and reads on for a moment: closing on unread bytes would reset the connection and take
        the answer with it (RFC 9112, section 9.6)."""
        if not reply:
            return
        with contextlib.suppress(OSError, TimeoutError), deadline(self._setup.settings.limits.linger_s):
            await self._client.send(reply)
            self._client.send_eof()
            while await self._client.receive():
                pass


def _flight_of(head: RequestHead) -> Flight:
    return Flight.of_http(head.forwarded(), head.method, bodiless=head.bodiless)


async def _within(limit_s: float, delivered: Awaitable[Winner | None]) -> Winner | None:
    """None also when nothing has come of it within `limit_s`."""
    with contextlib.suppress(TimeoutError), deadline(limit_s):
        return await delivered
    return None
