"""The story of one client connection, from accept to the pump.

    accept → sniff → parse → match → plan → dial → flight → first byte → learn → pump → record

Read this first. A Session reads what its client asks for, makes a plan, races the plan's routes until one delivers a
valid server byte, reports the outcome, and hands both sockets to the pump. The client gets "connected" when a route has
really connected. The bytes that it sends then are its flight. They are kept until a server byte is back, so that the
next route can send them again when one fails, and the client notices only the wait. Nothing calls back into a session.

A connection that a rule INSPECTs takes the same way: the inspector takes over the client's socket, and is the client of
this session from then on. Plain HTTP requests are served by `http_requests`.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from proxy.model import ClosedBy, Outcome
from proxy.model.errors import PeerError
from proxy.net.race.race import OpenPath, Race, Winner
from proxy.net.stream import SocketStream
from proxy.session.client import Client
from proxy.session.connection_record import ConnectionRecord
from proxy.session.inbound import ForwardRequest, InboundRequest, OwnPageRequest, TunnelRequest
from proxy.session.services import Services
from proxy.wire.flight import Flight

if TYPE_CHECKING:
    from proxy.session.http_requests import HttpRequests

log = logging.getLogger(__name__)


class Session:
    """One client connection."""

    def __init__(self, stream: SocketStream, services: Services, *, inspected: bool = False) -> None:
        """`inspected`: the client is the inspector, so this connection is not inspected again."""
        self._client = Client(stream)
        self._services = services
        self._inspected = inspected
        self._requests: HttpRequests | None = None
        self.record: ConnectionRecord | None = None
        """The record of the tunnel."""

    async def run(self, request: InboundRequest | None = None) -> None:
        """Serves the client until it leaves, or until the pump or the control server owns its stream. With a `request`,
        none is read from the client. Closes the client unless another owner has it."""
        client, services = self._client, self._services
        setup, peer = services.setup(), client.stream.peer
        race: Race | None = None
        try:
            if request is None:
                request = await setup.inbound.read(client)
                if services.setup().inbound.credentials != setup.inbound.credentials:
                    log.info("%s: the password was changed, so it has to connect again", peer)
                    return None
            if not isinstance(request, TunnelRequest):
                if isinstance(request, ForwardRequest):
                    from proxy.session.http_requests import HttpRequests  # many runs see no plain HTTP

                    self._requests = HttpRequests(client, services, inspected=self._inspected)
                    request = await self._requests.serve(request)
                if isinstance(request, OwnPageRequest):
                    client.handed_over = True
                    return services.adopt(client.stream, request.received)
                if not isinstance(request, TunnelRequest):
                    return None

            # CONNECT and SOCKS: bytes both ways, once a route delivers.
            record = self.record = await ConnectionRecord.open(services, request.destination, request.inbound, peer)
            race, limits = record.race(client.news), record.setup.settings.limits
            # A site with a bad certificate is refused before "connected": afterwards no reason can be sent.
            if record.plan.intercept and not self._inspected and (await record.inspection()).refusal:
                return await client.finish(request.refused(record.symptom, record.told_error), limits.linger_s)
            if not await race.connect(client.waits):
                record.on_lost(race, client.ended(ClosedBy.BYWAY))
                return await client.finish(request.refused(record.symptom, record.told_error), limits.linger_s)
            client.reply(request.accepted)

            flight = Flight()
            if client.reader:  # bytes that the client sent right after the request
                flight.receive_data(client.reader.rest())
            while True:
                path = await client.receive_flight(flight, race, limits)
                if client.unsent_reply:  # nothing else may come before it
                    client.send_reply()
                if path is OpenPath.SERVER_FIRST:
                    return await self._serve_server_first(race, record, flight)
                if client.has_left or not flight.complete:
                    return record.on_lost(
                        race, client.ended(ClosedBy.IDLE if path is OpenPath.QUIET else ClosedBy.BYWAY)
                    )
                if path is OpenPath.CLOSED or record.setup is not services.setup():
                    race.close()
                    record.setup = services.setup()  # nothing was sent yet, so a reload in between still applies
                    await record.plan_again()
                    race, limits = record.race(client.news), record.setup.settings.limits
                record.protocol = flight.protocol
                if flight.server_name is not None and request.destination.address is not None:
                    # A literal address was planned as it is; the name may change that, before a byte of it leaves.
                    await record.plan_again(flight.server_name)
                    race.restrict_to(record.plan.routes, direct_waits=record.plan.direct_waits)
                if not record.plan.intercept or self._inspected:
                    break
                inspection = await record.inspection(flight)
                if inspection.refusal:
                    return None
                if not inspection.inspect:
                    break
                # From here on the inspector answers the client, and sends its own flight.
                client.stream = await services.inspector.intercept(client.stream, flight.data, lambda: record.outcome)
                client.stream.notify = client.news.set
                flight, self._inspected = Flight(), True

            winner = await race.deliver(flight, partial(client.read_flight, flight), limits.idle_timeout_s)
            if winner is None:
                return record.on_lost(race, client.ended(ClosedBy.BYWAY), flight)
            outcome = self._start_pump(winner, race, record, flight)
            record.report_delivered(flight, outcome, winner.answer)
        except PeerError as error:
            log.info("%s: %s", client.stream.peer, error)
            await client.finish(error.reply, setup.settings.limits.linger_s)
        except OSError as error:
            log.debug("%s left: %s", client.stream.peer, error)
            if race is not None and self.record is not None and not client.handed_over:
                self.record.on_lost(race, ClosedBy.CLIENT)
        finally:
            if race is not None:
                race.close()
            if not client.handed_over:
                client.close()
                if self.record is not None:
                    self.record.leave()
                    self.record.release()
            elif self.record is not None:
                del self.record.setup
            if services.programs.cached:
                services.programs.cached.pop(peer, None)
            if services.programs.held:
                services.programs.held.pop(peer, None)
            if self._requests is not None:
                self._requests.close()

    async def _serve_server_first(self, race: Race, record: ConnectionRecord, flight: Flight) -> None:
        """Serves a connection on which the server spoke first. For a literal address, the plan depends on the name in
        the client's flight, so no byte of the flight is sent until it is complete. If the new plan forbids the route,
        the connection ends: the client already has the greeting of this server."""
        client, opened = self._client, race.take_opened(flight)
        if record.request.destination.address is None:
            self._start_pump(opened, race, record, flight)
            return
        from proxy.session.server_first import relay_server_greeting  # few servers speak first

        try:
            record.bytes_down, closed_by = await relay_server_greeting(
                opened,
                client.stream,
                race.notify,
                lambda: client.read_flight(flight) and not flight.complete,
                idle_timeout_s=record.setup.settings.limits.idle_timeout_s,
            )
            record.protocol = flight.protocol
            if not flight.complete:
                record.on_won(race, opened)
                record.closed_by = closed_by
                return
            host = flight.server_name or record.host
            await record.plan_again(host)
            if opened.route in record.plan.routes:
                self._start_pump(replace(opened, answer=b"", unsent=flight.data), race, record, flight)
            else:
                record.error = f"{host} may not go by {opened.route}, where the server had spoken before it was named"
        finally:
            if not client.handed_over:
                opened.stream.abort()

    def _start_pump(self, winner: Winner, race: Race, record: ConnectionRecord, flight: Flight) -> Outcome | None:
        """The end of a tunnel's session: the pump owns both streams and the record from here on."""
        client = self._client
        client.handed_over, client.stream.notify = True, None
        record.flight_bytes = record.bytes_up = len(flight.data) - len(winner.unsent)
        tunnel = self._services.pump.start(
            client.stream, winner.stream, record.on_tunnel_ended, to_upstream=winner.unsent, to_client=winner.answer
        )
        return record.on_won(race, winner, tunnel)
