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

from proxy.diagnosis import Diagnosis
from proxy.entry import Entry
from proxy.errors import BywayError, DialError, PeerError
from proxy.model import (
    Destination,
    HttpRequest,
    Inbound,
    Outcome,
    Protocol,
    Request,
    Symptom,
)
from proxy.net.deadline import deadline
from proxy.net.exchange import Exchanged, exchange
from proxy.net.front import ForUs, Opening, PlainHttp, Tunnel, http_redirect, http_refusal
from proxy.net.race import BeforeFlight, Race, Winner
from proxy.net.stream import SocketStream, Stream
from proxy.net.upstream import Upstream
from proxy.planning import plan_for
from proxy.routing.ladder import is_shaped
from proxy.services import UNTOUCHED, Look, Services
from proxy.spoken import hear_out
from proxy.way_back import WayBack
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
        self._way_back = WayBack(services)
        self._diagnosis = Diagnosis(services)
        self._idle: Upstream | None = None
        self.entry: Entry | None = None
        """The line in the log of what was asked last."""
        self._client_left = False
        self._handed_over = False

    async def run(self, asked: Tunnel | None = None) -> None:
        """Serves the client until it has gone, or its bytes are the pump's or the control server's. `asked` is what it
        wants when it has said so already."""
        try:
            opening: Opening | None = asked or await self._setup.front.greet(self._client, self._reader)
            while isinstance(opening, PlainHttp):
                opening = await self._forward(opening)
            if isinstance(opening, Tunnel):
                await self._tunnel(opening)
            elif isinstance(opening, ForUs):
                self._handed_over = True
                self._services.adopt(self._client, opening.received)
        except PeerError as error:
            log.info("%s: %s", self._client.peer, error)
            await self._last_words(error.reply)
        except OSError as error:
            log.debug("%s left: %s", self._client.peer, error)
        finally:
            if not self._handed_over:
                self._client.close()
            if self._idle is not None:
                self._idle.stream.close()

    # -- a tunnel: CONNECT and SOCKS -------------------------------------------------------------------------------

    async def _tunnel(self, tunnel: Tunnel) -> None:
        entry = await self._begin(tunnel.destination, tunnel.inbound)
        race = self._race(entry)
        try:
            if entry.plan.intercept and (await self._look(entry)).refusal:
                await self._last_words(tunnel.refused(Symptom.CERTIFICATE, entry.outcome.error))
                return
            self._client.notify = race.bell.ring
            if not await race.connect(self._waits):
                entry.lost(race, client_left=self._client_left)
                await self._last_words(tunnel.refused(entry.symptom, entry.outcome.error))
                return
            await self._client.send(tunnel.accepted)

            flight = Flight()
            if len(self._reader):
                flight.receive_data(self._reader.rest())
            heard = await self._hear(race, entry, flight)
            if heard is None:
                return
            race = heard
            look = await self._look(entry, flight) if entry.plan.intercept else UNTOUCHED
            if look.refusal:
                return
            if look.inspect:
                said, flight = flight.data, Flight()
                self._client = await self._services.inspector.stand_between(self._client, said, lambda: entry.outcome)
                heard = await self._hear(race, entry, flight)
                if heard is None:
                    return
                race = heard

            limit_s = self._setup.settings.limits.idle_timeout_s
            winner = await _within(limit_s, race.deliver(flight, partial(self._pull, flight)))
            if winner is None:
                entry.lost(race, client_left=self._client_left)
            else:
                self._pump(winner, race, entry, flight)
                self._look_beside(entry, flight)
        finally:
            entry.close()
            race.close()

    async def _hear(self, race: Race, entry: Entry, flight: Flight) -> Race | None:
        """The client's flight, and the race that it is for: another one when the path that was open has closed. None:
        there is none to send, and all is said."""
        before = await self._await_flight(race, flight)
        if before is BeforeFlight.SPOKE:
            await self._serve_spoken(race, entry, flight)
            return None
        if not flight.complete:
            entry.lost(race, client_left=self._client_left)
            return None
        if before is BeforeFlight.CLOSED or self._setup is not self._services.setup():
            race.close()
            self._setup = self._services.setup()  # nothing has gone yet, so what was said since holds
            entry.say(plan=await plan_for(entry.outcome.request, self._services, self._setup))
            race = self._race(entry)
            self._client.notify = race.bell.ring
        await self._plan_on_name(flight, race, entry)
        return race

    async def _look(self, entry: Entry, flight: Flight | None = None) -> Look:
        """What becomes of what shall be inspected. Without a flight yet, this is the question whether the site shows a
        good certificate; with one, also whether there is anything to look into."""
        if self._inspected or not entry.plan.routes:
            return UNTOUCHED
        look = await self._services.inspector.look(entry.outcome, flight)
        if look.refusal:
            entry.say(error=look.refusal)
        return look

    async def _await_flight(self, race: Race, flight: Flight) -> BeforeFlight:
        """Until the client's flight is whole, the server spoke first, or the client left. A path that closes before is
        waited out for a moment: browsers open tunnels ahead of need, and a flight that comes yet finds a new path."""
        self._client.notify = race.bell.ring
        loop = asyncio.get_running_loop()
        limits = self._setup.settings.limits
        ends_at = loop.time() + limits.idle_timeout_s
        closed = False
        while self._awaits(flight):
            before = race.before_flight()
            if before is BeforeFlight.SPOKE:
                return before
            if before is BeforeFlight.CLOSED and not closed:
                closed = True
                ends_at = min(ends_at, loop.time() + limits.late_flight_s)
            left_s = ends_at - loop.time()  # the bell may ring for less than a whole flight
            if left_s <= 0:
                return BeforeFlight.CLOSED
            await race.bell.wait(left_s)
        return race.before_flight()

    async def _serve_spoken(self, race: Race, entry: Entry, flight: Flight) -> None:
        """The server spoke first. On a literal address the plan hangs on the client's first words, so these go nowhere
        until they are whole. What was said cannot be taken back, so a plan that forbids the path ends it."""
        opened = race.take_opened(flight)
        if entry.outcome.request.destination.address is None:
            self._pump(opened, race, entry, flight)
            return
        try:
            limit_s = self._setup.settings.limits.idle_timeout_s
            still = partial(self._awaits, flight)
            said = await hear_out(opened, self._client, race.bell, still, idle_timeout_s=limit_s)
            host = flight.server_name or entry.outcome.host
            plan = await plan_for(entry.outcome.request, self._services, self._setup, host=host)
            entry.say(protocol=flight.protocol, host=host, plan=plan, bytes_down=said)
            if flight.complete and opened.route in plan.routes:
                self._pump(replace(opened, answer=b"", unsent=flight.data), race, entry, flight)
            elif flight.complete:
                entry.say(error=f"{host} may not go by {opened.route}, where the server had spoken before it was named")
        finally:
            if not self._handed_over:
                opened.stream.abort()

    def _awaits(self, flight: Flight) -> bool:
        """Whether the client is there and has more to say of its first words."""
        return self._pull(flight) and not flight.complete

    def _pull(self, flight: Flight) -> bool:
        """Moves what the client has sent on into its flight. False: the client has gone."""
        broken = not self._take_in(flight)
        # A TLS client that ends its side before the handshake has left; others may have said all they had to say.
        self._client_left = broken or (flight.ended and (not flight.data or flight.protocol is Protocol.TLS))
        return not self._client_left

    async def _plan_on_name(self, flight: Flight, race: Race, entry: Entry) -> None:
        """A literal address was planned as it is; the name in the flight may say otherwise, before a byte of it
        leaves."""
        entry.say(protocol=flight.protocol)
        if entry.outcome.request.destination.address is not None and flight.server_name is not None:
            plan = await plan_for(entry.outcome.request, self._services, self._setup, host=flight.server_name)
            entry.say(host=flight.server_name, plan=plan)
            race.narrow(plan.routes)

    def _pump(self, winner: Winner, race: Race, entry: Entry, flight: Flight) -> None:
        """The end of the session: from here on the bytes go by themselves."""
        self._handed_over = True
        self._client.notify = None
        sent = len(flight.data) - len(winner.unsent)
        entry.say(bytes_up=sent, flight_bytes=sent)
        entry.won(race, winner)
        entry.hold()
        tunnel = self._services.pump.carry(
            self._client, winner.stream, entry.carried, to_upstream=winner.unsent, to_client=winner.answer
        )
        entry.watch(tunnel)

    # -- plain HTTP: each request on its own -----------------------------------------------------------------------

    async def _forward(self, asked: PlainHttp) -> Opening | None:
        """Serves one request; returns the next one when the connection stays open."""
        entry = await self._begin(asked.destination, Inbound.HTTP, HttpRequest(asked.head.method, asked.head.target))
        try:
            exchanged = await self._exchange(asked, entry)
        except DialError as error:
            entry.broke(error)
            exchanged = None
            await self._refuse(entry)
        finally:
            self._client.notify = None
            entry.close()
        if exchanged is None or not exchanged.client_reusable:
            return None
        return await self._setup.front.next_request(self._client, self._reader)

    async def _exchange(self, asked: PlainHttp, entry: Entry) -> Exchanged | None:
        """One exchange, on the idle connection when that fits the plan, else on the winner of a race. None: the client
        was told why not, or has gone. Raises DialError when it broke off before anything was answered."""
        if entry.plan.intercept:
            flight = Flight.of_http(asked.head.forwarded(), asked.head.method, bodiless=False)
            look = await self._look(entry, flight)
            if look.refusal:
                entry.told = look.refusal
                await self._refuse(entry)
                return None
            if look.inspect:
                return await self._exchange_inspected(asked, entry)
        idle = self._take_idle(entry.outcome)
        if idle is not None:
            try:
                return await self._exchange_over(idle, asked, entry, head_sent=False)
            except DialError:  # the origin closed it while it was idle: no sign of anything
                if not asked.head.bodiless:
                    raise
        race = self._race(entry)
        try:
            upstream = await self._open_upstream(asked, entry, race)
            if upstream is None:
                await self._refuse(entry)
                return None
            exchanged = await self._exchange_over(upstream, asked, entry, head_sent=asked.head.bodiless)
            if not asked.head.bodiless:  # known to have delivered only now
                self._look_beside(entry, _flight_of(asked.head))
            return exchanged
        finally:
            race.close()

    async def _exchange_inspected(self, asked: PlainHttp, entry: Entry) -> Exchanged | None:
        """One exchange with the inspector, in the place of the origin. How it goes on from there is a tunnel of its
        own, with a line in the log of its own. None: the client was told why no answer came."""
        entry.untold()
        stead = await self._services.inspector.serve(entry.outcome)
        try:
            return await self._pass(stead.stream, Reader(), asked, entry, head_sent=False)
        except DialError as error:
            entry.broke_inside(error, stead.inside())
            await self._refuse(entry)
            return None
        finally:
            if not self._handed_over:
                stead.stream.abort()

    async def _open_upstream(self, asked: PlainHttp, entry: Entry, race: Race) -> Upstream | None:
        """The winner of a race for one request. A bodiless one is the flight and has gone out; any other is sent once,
        on the first route that connects. None: no route brought anything, or the client has gone."""
        entry.say(protocol=Protocol.HTTP)
        flight = _flight_of(asked.head)
        winner: Winner | None = None
        self._client.notify = race.bell.ring
        if asked.head.bodiless:
            limit_s = self._setup.settings.limits.exchange_timeout_s
            winner = await _within(limit_s, race.deliver(flight, self._pull_pipelined))
        elif await race.connect(self._waits):
            winner = race.take_opened()
        self._client.notify = None
        if winner is None:
            entry.lost(race, client_left=self._client_left)
            return None
        entry.won(race, winner)
        if asked.head.bodiless:
            self._look_beside(entry, flight)
        return Upstream(
            asked.destination,
            winner.route,
            self._setup.registry,
            entry.network,
            winner.stream,
            Reader(winner.answer),
            reusable=not winner.unsent and not is_shaped(winner.route),
        )

    def _waits(self) -> bool:
        """Whether a client whose tunnel, or whose request with a body, has no path yet is still there. Keeps what it
        sends ahead."""
        self._client_left = not self._take_in(self._reader) or (self._reader.ended and not len(self._reader))
        return not self._client_left

    def _pull_pipelined(self) -> bool:
        """Keeps what a waiting client sends ahead. False: it has gone."""
        self._client_left = not self._take_in(self._reader)
        return not self._client_left

    async def _exchange_over(self, upstream: Upstream, asked: PlainHttp, entry: Entry, *, head_sent: bool) -> Exchanged:
        """Sends one request, streams its answer back, and keeps the connection when it may serve the next."""
        try:
            exchanged = await self._pass(upstream.stream, upstream.reader, asked, entry, head_sent=head_sent)
        except (BywayError, OSError):
            upstream.stream.abort()
            raise
        entry.delivered(upstream.route, upstream.stream.peer)
        if exchanged.upgraded:
            pass  # the pump has it
        elif upstream.reusable and exchanged.upstream_reusable and exchanged.client_reusable:
            self._idle = upstream
        else:
            upstream.stream.close()
        return exchanged

    async def _pass(
        self, upstream: Stream, answers: Reader, asked: PlainHttp, entry: Entry, *, head_sent: bool
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
        entry.say(
            bytes_up=exchanged.bytes_up,
            bytes_down=exchanged.bytes_down,
            closed_by=exchanged.closed_by,
        )
        if exchanged.upgraded:
            self._handed_over = True
            entry.hold()
            to_upstream, to_client = self._reader.rest(), answers.rest()
            self._services.pump.carry(
                self._client, upstream, entry.carried, to_upstream=to_upstream, to_client=to_client
            )
        return exchanged

    def _take_idle(self, outcome: Outcome) -> Upstream | None:
        """The idle connection, when it serves this request too."""
        idle, self._idle = self._idle, None
        if idle is not None and not idle.serves(
            outcome.request.destination, outcome.plan.routes, self._setup.registry, self._services.network()
        ):
            idle.stream.close()
            return None
        return idle

    # -- what all of them need -------------------------------------------------------------------------------------

    async def _begin(self, destination: Destination, inbound: Inbound, http: HttpRequest | None = None) -> Entry:
        """A request, its plan, and the line in the log that will tell of it."""
        self._setup = self._services.setup()
        request = Request(next(self._services.request_ids), destination, inbound, self._client.peer, http)
        plan = await plan_for(request, self._services, self._setup)
        self.entry = Entry(request, plan, network=self._services.network(), services=self._services)
        return self.entry

    def _take_in(self, kept: Flight | Reader) -> bool:
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

    def _race(self, entry: Entry) -> Race:
        services = self._services
        return self._setup.race(entry.outcome.request, entry.outcome.plan.routes, services.oracle, services.alarms)

    def _look_beside(self, entry: Entry, flight: Flight) -> None:
        """What our own connections beside this visit may find out. By rules that hold no longer none are made."""
        if self._setup is self._services.setup() and self._services.teaches:
            self._way_back.look(self._setup, entry.outcome, flight)
            self._diagnosis.look(self._setup, entry, flight)
            self._services.visit_won(entry.outcome)

    async def _refuse(self, entry: Entry) -> None:
        if self._client_left:
            return
        elsewhere = await entry.instead()
        await self._last_words(http_redirect(elsewhere) if elsewhere else http_refusal(entry.symptom, entry.told))

    async def _last_words(self, reply: bytes) -> None:
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
