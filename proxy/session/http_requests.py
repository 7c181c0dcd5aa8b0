"""The plain HTTP requests of one client, each planned and raced on its own.

A request without a body is the flight, so it has been sent when a route wins. A request with a body may be sent only
once, so the first route that connects gets it. The connection to the origin is kept for the next request of the same
client, if its plan allows that.
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
from proxy.session.inbound import ForwardRequest, InboundRequest, http_redirect, http_refusal
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

    async def serve(self, request: ForwardRequest) -> InboundRequest | None:
        """Serves `request` and all that follow it. Returns the first that is no plain HTTP request; None when the
        connection ends. Raises PeerError, with the reply to send, for an error of the client; OSError when it has
        left."""
        client, services = self._client, self._services
        while True:
            record = await ConnectionRecord.open(
                services, request.destination, Inbound.HTTP, client.stream.peer, request.http
            )
            try:
                if record.plan.intercept and not self._inspected:
                    exchanged = await self._exchange_inspected(request, record)
                else:
                    exchanged = await self._exchange(request, record)
            except DialError as error:
                record.on_broken(error)
                exchanged = None
                await self._refuse(request, record)
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
            request = following

    def close(self) -> None:
        """Closes the idle connection to an origin."""
        if self._idle is not None:
            self._idle.stream.close()

    def _exchange(self, request: ForwardRequest, record: ConnectionRecord) -> Coroutine[Any, Any, Exchanged | None]:
        """Serves one request: over the idle connection to the origin if the plan allows it, else over the winner of a
        race. Returns None when the client got a refusal or has left. Raises DialError when the route broke before an
        answer came."""
        idle, self._idle = self._idle, None
        if idle is not None:
            setup = record.setup
            if idle.serves(record.request.destination, record.plan.routes, setup.registry, record.network):
                return self._exchange_over(idle, request, record)
            idle.stream.close()
        return self._exchange_raced(request, record)

    async def _exchange_raced(self, request: ForwardRequest, record: ConnectionRecord) -> Exchanged | None:
        """Serves one request over the winner of a race. Returns and raises as `_exchange`."""
        head = request.head
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
                client.renew_news()  # the overtaken attempt still waits on the old one
            if winner is None:
                record.on_lost(race, client.ended(ClosedBy.BYWAY), flight if head.bodiless else None)
                await self._refuse(request, record)
                return None
            record.on_won(race, winner)
            if head.bodiless:
                record.report_delivered(flight, answer=winner.answer)
            reusable = not winner.unsent and not (winner.route.wrap and rewrites_flight(winner.route))
            origin = OriginConnection(
                request.destination,
                winner.route,
                record.setup.registry,
                record.network,
                winner.stream,
                Reader(winner.answer),
                reusable=reusable,
            )
            head_sent = len(flight.data) if head.bodiless else 0
            exchanged = await self._exchange_over(origin, request, record, head_sent=head_sent)
            if not head.bodiless:  # only the answer shows that the route delivered
                record.report_delivered(flight)
            return exchanged
        finally:
            race.close()

    async def _exchange_inspected(self, request: ForwardRequest, record: ConnectionRecord) -> Exchanged | None:
        """Exchanges a request with the inspector in place of the origin, if it wants to inspect the request. The
        inspector reaches the origin through its own tunnel, which has its own row in the log. Returns as
        `_exchange`."""
        head = request.head
        inspection = await record.inspection(Flight.of_http(head.forwarded, head.method, bodiless=False))
        if inspection.refusal:
            record.client_message = inspection.refusal
            await self._refuse(request, record)
            return None
        if not inspection.inspect:
            return await self._exchange(request, record)
        record.discard()
        client, limits = self._client, record.setup.settings.limits
        origin, answers = await self._services.inspector.serve(record.outcome), Reader()
        try:
            run = Exchange(client.stream, client.reader, origin.stream, answers, request.head, client.news).run
            exchanged = await run(idle_timeout_s=limits.exchange_timeout_s)
            if exchanged.upgraded:
                self._hand_over(origin.stream, answers, record)
            return exchanged
        except DialError as error:
            record.on_broken_inside(error, origin.inside())
            await self._refuse(request, record)
            return None
        finally:
            if not client.handed_over:
                origin.stream.abort()

    async def _exchange_over(
        self, origin: OriginConnection, request: ForwardRequest, record: ConnectionRecord, *, head_sent: int = 0
    ) -> Exchanged | None:
        """Sends one request, streams its answer back, and keeps the connection if it may serve the next request."""
        client, limits = self._client, record.setup.settings.limits
        exchange = Exchange(client.stream, client.reader, origin.stream, origin.reader, request.head, client.news)
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
            if head_sent or not (request.head.bodiless and request.http.is_repeatable):
                raise
            return await self._exchange_raced(request, record)  # the server closed it while it was idle: no evidence
        except BaseException:
            origin.stream.abort()
            raise
        record.transfer = None
        record.bytes_up, record.bytes_down = exchanged.bytes_up, exchanged.bytes_down
        record.closed_by = exchanged.closed_by
        if record.winner is None:  # no race has recorded the answer
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

    async def _refuse(self, request: ForwardRequest, record: ConnectionRecord) -> None:
        """Sends the client the reason why no answer came, or an addon's redirect."""
        if self._client.has_left:
            return
        if not self._services.explains:
            reply = http_refusal(record.symptom, record.told_error)
        else:
            from proxy.session.error_page import error_answer  # rarely needed

            url = await record.redirect_url()
            reply = http_redirect(url) if url else error_answer(record, self._services, request.head.headers)
        await self._client.finish(reply, record.setup.settings.limits.linger_s)
