"""The plain HTTP requests of one client, each planned and raced on its own.

A bodiless request is the flight, and has been sent when a route wins; any other may be sent only once, so the first
route that connects gets it. The connection to the origin is kept for the client's next request, if the plan allows it
then: never for another client.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from proxy.model import ClosedBy, Inbound, Protocol
from proxy.model.errors import DialError, PeerError
from proxy.net.stream import Stream
from proxy.routing.strategies import rewrites_flight
from proxy.session.client import Client
from proxy.session.connection_record import ConnectionRecord
from proxy.session.http_exchange import Exchange, Exchanged
from proxy.session.inbound import ForwardRequest, InboundRequest, http_redirect
from proxy.session.origin_connection import OriginConnection
from proxy.session.services import Services
from proxy.wire.flight import Flight
from proxy.wire.reader import Reader


class HttpRequests:
    """Serves the plain HTTP requests of one client, one after the other."""

    __slots__ = ("_client", "_idle", "_inspected", "_services")

    def __init__(self, client: Client, services: Services, *, inspected: bool) -> None:
        self._client = client
        self._services = services
        self._inspected = inspected
        self._idle: OriginConnection | None = None

    async def serve(self, asked: ForwardRequest) -> InboundRequest | None:
        """Serves requests, from `asked` on. Returns the first that is no plain HTTP request; None when the connection
        ends. Raises PeerError, with the reply to send, for what the client did wrong; OSError when it has left."""
        client, services = self._client, self._services
        while True:
            record = await ConnectionRecord.open(
                services, asked.destination, Inbound.HTTP, client.stream.peer, asked.http
            )
            try:
                if record.plan.intercept and not self._inspected:
                    exchanged = await self._exchange_inspected(asked, record)
                else:
                    exchanged = await self._exchange(asked, record)
            except DialError as error:
                record.on_broken(error)
                exchanged = None
                await self._refuse(asked, record)
            except (OSError, PeerError) as error:
                record.on_client_failed(error)
                raise
            finally:
                if not client.handed_over:
                    record.leave()
                else:
                    del record.setup
                record.release()
            if exchanged is None or not exchanged.client_reusable:
                return None
            inbound = record.setup.inbound
            following = await inbound.next_request(client)
            if services.setup().inbound.credentials != inbound.credentials:
                return None
            if not isinstance(following, ForwardRequest):
                return following
            asked = following

    def close(self) -> None:
        """Closes the idle connection to an origin."""
        if self._idle is not None:
            self._idle.stream.close()

    def _exchange(self, asked: ForwardRequest, record: ConnectionRecord) -> Coroutine[Any, Any, Exchanged | None]:
        """One request and its answer: over the idle origin connection when that fits the plan, otherwise over the
        winner of a race. None: the client got a refusal, or has left. Raises DialError when the route broke before
        anything was answered."""
        idle, self._idle = self._idle, None
        if idle is not None:
            setup = record.setup
            if idle.serves(record.request.destination, record.plan.routes, setup.registry, record.network):
                return self._exchange_over(idle, asked, record)
            idle.stream.close()
        return self._exchange_raced(asked, record)

    async def _exchange_raced(self, asked: ForwardRequest, record: ConnectionRecord) -> Exchanged | None:
        """See `_exchange`."""
        head = asked.head
        client, limits = self._client, record.setup.settings.limits
        race = record.race(client.news)
        record.protocol = Protocol.HTTP
        flight, winner = Flight.of_http(head.forwarded, head.method, bodiless=head.bodiless), None
        try:
            if head.bodiless:
                winner = await race.deliver(flight, client.waits_for_answer, limits.exchange_timeout_s)
            elif await race.connect(client.waits):
                winner = race.take_opened()
            if race.overtaken is not None:
                client.renew_news()  # the race goes on to wait for what it had
            if winner is None:
                record.on_lost(race, client.ended(ClosedBy.BYWAY))
                await self._refuse(asked, record)
                return None
            record.on_won(race, winner)
            if head.bodiless:
                record.report_delivered(flight)
            reusable = not winner.unsent and not (winner.route.wrap and rewrites_flight(winner.route))
            origin = OriginConnection(
                asked.destination,
                winner.route,
                record.setup.registry,
                record.network,
                winner.stream,
                Reader(winner.answer),
                reusable=reusable,
            )
            head_sent = len(flight.data) if head.bodiless else 0
            exchanged = await self._exchange_over(origin, asked, record, head_sent=head_sent)
            if not head.bodiless:  # known to have delivered only now
                record.report_delivered(flight)
            return exchanged
        finally:
            race.close()

    async def _exchange_inspected(self, asked: ForwardRequest, record: ConnectionRecord) -> Exchanged | None:
        """One exchange with the inspector in place of the origin, if it wants to inspect this request. The inspector
        reaches the origin through a tunnel of its own, which has its own row in the log. Returns as `_exchange`."""
        head = asked.head
        inspection = await record.inspection(Flight.of_http(head.forwarded, head.method, bodiless=False))
        if inspection.refusal:
            record.client_message = inspection.refusal
            await self._refuse(asked, record)
            return None
        if not inspection.inspect:
            return await self._exchange(asked, record)
        record.discard()
        client, limits = self._client, record.setup.settings.limits
        origin, answers = await self._services.inspector.serve(record.outcome), Reader()
        try:
            run = Exchange(client.stream, client.reader, origin.stream, answers, asked.head, client.news).run
            exchanged = await run(idle_timeout_s=limits.exchange_timeout_s)
            if exchanged.upgraded:
                self._hand_over(origin.stream, answers, record)
            return exchanged
        except DialError as error:
            record.on_broken_inside(error, origin.inside())
            await self._refuse(asked, record)
            return None
        finally:
            if not client.handed_over:
                origin.stream.abort()

    async def _exchange_over(
        self, origin: OriginConnection, asked: ForwardRequest, record: ConnectionRecord, *, head_sent: int = 0
    ) -> Exchanged | None:
        """Sends one request, streams its answer back, and keeps the connection when it may serve the next one."""
        client, limits = self._client, record.setup.settings.limits
        exchange = Exchange(client.stream, client.reader, origin.stream, origin.reader, asked.head, client.news)
        record.transfer = exchange
        run = exchange.run(head_sent=head_sent, idle_timeout_s=limits.exchange_timeout_s)
        if origin.route.relays:
            from proxy.session.watched_exchange import watched  # most runs send no plain request to a relay

            run = watched(exchange, run, record, origin.route, origin.stream)
        try:
            exchanged = await run
        except DialError:
            record.transfer = None
            origin.stream.abort()
            if head_sent or not (asked.head.bodiless and asked.http.is_repeatable):
                raise
            return await self._exchange_raced(asked, record)  # closed while it was idle: no evidence of anything
        except BaseException:
            origin.stream.abort()
            raise
        record.transfer = None
        record.bytes_up, record.bytes_down = exchanged.bytes_up, exchanged.bytes_down
        record.closed_by = exchanged.closed_by
        if record.winner is None:  # else a race has won with it
            record.on_delivered(origin.reused)
        if exchanged.upgraded:
            self._hand_over(origin.stream, origin.reader, record)
        elif origin.reusable and exchanged.upstream_reusable and exchanged.client_reusable:
            self._idle = origin
        else:
            origin.stream.close()
        return exchanged

    def _hand_over(self, upstream: Stream, answers: Reader, record: ConnectionRecord) -> None:
        """After a change of protocol (WebSocket) the pump owns both streams."""
        client = self._client
        client.handed_over = True
        record.retain()
        record.transfer = self._services.pump.start(
            client.stream,
            upstream,
            record.on_tunnel_ended,
            to_upstream=client.reader.rest(),
            to_client=answers.rest(),
        )

    async def _refuse(self, asked: ForwardRequest, record: ConnectionRecord) -> None:
        """Sends the client the reason why no answer came, or an addon's redirect."""
        if self._client.has_left:
            return
        from proxy.session.error_page import error_answer  # most runs need no page, nor what it loads

        url = await record.redirect_url()
        reply = http_redirect(url) if url else error_answer(record, self._services, asked.head.headers)
        await self._client.finish(reply, record.setup.settings.limits.linger_s)
