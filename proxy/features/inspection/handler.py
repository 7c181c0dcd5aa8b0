"""Handles one inspected client: mitmproxy's protocol layers over Byway's sockets.

Paths to origins come from InspectedClient; mitmproxy opens none itself. Its `ConnectionHandler` reads both sides and
calls addons through `handle_hook`, where this class observes certificates, requests and answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from mitmproxy import connection, flow, http
from mitmproxy.connection import ConnectionState
from mitmproxy.proxy import commands, events, layers, mode_specs, server_hooks
from mitmproxy.proxy.mode_servers import ProxyConnectionHandler
from mitmproxy.proxy.server import ConnectionIO

from proxy.features.inspection.client_context import InspectedClient, UpstreamPath
from proxy.model import Outcome
from proxy.model.errors import DialError
from proxy.net.deadline import deadline
from proxy.wire import hostnames

if TYPE_CHECKING:
    from mitmproxy.master import Master

log = logging.getLogger(__name__)

_REJECTED = ("unknown ca", "bad certificate", "certificate unknown", "certificate revoked", "unsupported certificate")
"""OpenSSL's texts for the alerts of a client that rejects a certificate."""

_HUNG_UP = ("client disconnected during the handshake", "unexpected eof")
"""mitmproxy's and OpenSSL's texts for a client that closed the connection."""

_STREAMED = ("text/event-stream", "multipart/x-mixed-replace", "application/grpc")
"""Content types of answers that never end, or whose parts the client uses as they arrive."""

LINGER_S = 5.0

MESSAGES_KEPT = 16
"""The most messages of a WebSocket or TCP stream that addons can read. mitmproxy would keep all, for days."""

Faulted = Literal[True] | tuple[type[BaseException], BaseException, TracebackType | None] | BaseException | None


class Handler(ProxyConnectionHandler):
    """One client. Run `handle_client`, then call `close` and close the writer."""

    def __init__(
        self,
        master: Master,
        inspected: InspectedClient,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        first: UpstreamPath | None,
        *,
        idle_timeout_s: float,
    ) -> None:
        super().__init__(master, reader, writer, master.options, mode_specs.ProxyMode.parse("transparent"))
        self.inspected = inspected
        self.timeout_watchdog.timeout = int(idle_timeout_s)
        self._first = first
        self._outcomes: dict[connection.Server, Callable[[], Outcome]] = {}  # of the paths that are open
        self._is_verdict_known = False  # on our certificate, by the client
        self._has_request = False
        context = self.layer.context
        context.server.address = (inspected.host, inspected.destination.port)
        self.layer = layers.modes.TransparentProxy(context)

    # -- upstream ------------------------------------------------------------------------------------------------

    async def open_connection(self, command: commands.OpenConnection) -> None:
        """Opens a connection as mitmproxy's own method does, over a path of Byway instead of a socket of mitmproxy."""
        server = command.connection
        assert isinstance(server, connection.Server)
        data = server_hooks.ServerConnectionHookData(client=self.client, server=server)
        await self.handle_hook(server_hooks.ServerConnectHook(data))
        try:
            server.timestamp_start = time.time()
            path = await self._open(server)
        except (DialError, OSError, asyncio.CancelledError) as error:
            server.error = str(error) or "the client disconnected"
            await self.handle_hook(server_hooks.ServerConnectErrorHook(data))
            await self.server_event(events.OpenConnectionCompleted(command, server.error))
            if isinstance(error, asyncio.CancelledError):
                raise
            return
        assert server.address is not None
        reader, writer = await connect_streams(path.sock, server.address)
        self._outcomes[server] = path.outcome
        server.timestamp_tcp_setup = time.time()
        server.state = ConnectionState.OPEN
        server.peername = server.sockname = server.address
        self.transports[server] = ConnectionIO(handler=asyncio.current_task(), reader=reader, writer=writer)
        await self.handle_hook(server_hooks.ServerConnectedHook(data))
        await self.server_event(events.OpenConnectionCompleted(command, None))
        try:
            await self.handle_connection(server)
        finally:
            server.timestamp_end = time.time()
            self._outcomes.pop(server, None)
            await self.handle_hook(server_hooks.ServerDisconnectedHook(data))

    async def _open(self, server: connection.Server) -> UpstreamPath:
        """Returns the path to a server. Raises DialError and OSError."""
        if server.error:  # set by an addon in `server_connect`
            raise OSError(server.error)
        if server.address is None or server.transport_protocol != "tcp":
            raise OSError("only TCP to a host and port is possible")
        inspected = self.inspected
        if tuple(server.address[:2]) == (inspected.host, inspected.destination.port):
            first, self._first = self._first, None
            return first or await inspected.open(inspected.destination)
        try:
            elsewhere = hostnames.destination(*server.address[:2])
        except ValueError as error:
            raise OSError(str(error)) from None
        return await inspected.open(elsewhere)

    # -- observing -----------------------------------------------------------------------------------------------

    async def handle_hook(self, hook: commands.StartHook) -> None:
        (data,) = hook.args()
        if isinstance(data, flow.Flow):
            self._annotate(data)
        await super().handle_hook(hook)
        match hook.name:
            case "requestheaders":
                self._has_request = True
            case "responseheaders":
                _stream_endless_answer(data)
            case "error" if self.inspected.is_silent and data.response is None:
                data.error = flow.Error(flow.Error.KILLED_MESSAGE)  # so mitmproxy writes no error page
            case "websocket_message":
                del data.websocket.messages[:-MESSAGES_KEPT]
            case "tcp_message":
                del data.messages[:-MESSAGES_KEPT]
            case "response":
                self._report_exchange(data)
            case "tls_failed_client":
                self._on_client_tls_failed(str(data.conn.error or ""))
            case "tls_failed_server":
                self.inspected.on_origin_distrusted()
            case "tls_established_client":
                self.inspected.on_certificate_accepted()
            case "tls_established_server":
                self._check_chain(data.conn)

    def _annotate(self, observed: flow.Flow) -> None:
        """Puts the plan and the route into the flow's metadata, for addons."""
        outcome = self._outcomes.get(observed.server_conn)
        if outcome is None:
            return
        present = outcome()
        observed.metadata["byway.plan"] = present.plan.why
        observed.metadata["byway.route"] = str(present.winner) if present.winner is not None else ""

    def _report_exchange(self, observed: http.HTTPFlow) -> None:
        outcome = self._outcomes.get(observed.server_conn)
        if outcome is not None and observed.response is not None:
            size = len(observed.response.raw_content or b"")
            self.inspected.on_response(outcome(), observed.request.method, observed.request.path, size)

    def _check_chain(self, server: connection.Server) -> None:
        """Rejects a chain that the system trusts but we do not. mitmproxy has verified it; nothing was sent yet."""
        chain = [ssl.PEM_cert_to_DER_cert(cert.to_pem().decode()) for cert in server.certificate_list]
        if reason := self.inspected.rejection_reason(chain):
            server.error = f"invalid certificate: {reason}"
            self.inspected.on_origin_distrusted()
            self.close_connection(server)

    def _on_client_tls_failed(self, error: str) -> None:
        if self._is_verdict_known:
            return
        self._is_verdict_known = True
        if any(word in error for word in _REJECTED):
            self.inspected.on_certificate_rejected(by_alert=True)
        elif any(word in error for word in _HUNG_UP) and self.layer.context.server.tls_established:
            self.inspected.on_certificate_rejected(by_alert=False)

    def log(self, message: str, level: int = logging.INFO, exc_info: Faulted = None) -> None:
        """Logs mitmproxy's messages at debug level: they name hosts."""
        if not self._has_request and message.startswith("TLS Error") and any(word in message for word in _REJECTED):
            self._is_verdict_known = True  # Firefox completes the handshake before it sends its alert
            self.inspected.on_certificate_rejected(by_alert=True)
        if exc_info:
            log.error("mitmproxy failed and closed an inspected connection; use -vv for details")
        log.debug("%s", message, exc_info=exc_info)

    async def end(self) -> None:
        """Ends the connection from outside, as the idle timeout does."""
        io = self.transports.get(self.client)
        if io is not None and io.handler is not None:
            io.handler.cancel("Byway ends")

    def close(self) -> None:
        """Closes the first path if it was never used."""
        if self._first is not None:
            self._first.sock.close()
            self._first = None


class _NamedWriter(asyncio.StreamWriter):
    """A writer that reports the real client as its peer, in place of the other end of the socket pair."""

    peer: tuple[str, int] = ("", 0)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name in ("peername", "sockname"):
            return self.peer
        return super().get_extra_info(name, default)


async def connect_streams(
    sock: socket.socket, peer: tuple[str, int], received: bytes = b""
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Returns asyncio streams over a connected socket, which they own from now on. `received` are bytes that were
    already read from it. Raises OSError, and then closes the socket."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(loop=loop)
    if received:
        reader.feed_data(received)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    try:
        transport, _ = await loop.create_connection(lambda: protocol, sock=sock)
    except BaseException:
        sock.close()
        raise
    writer = _NamedWriter(transport, protocol, reader, loop)
    writer.peer = peer
    return reader, writer


async def close_writer(writer: asyncio.StreamWriter) -> None:
    """Closes a writer and its socket. Unsent bytes have LINGER_S to be sent."""
    writer.close()
    with contextlib.suppress(OSError):
        try:
            with deadline(LINGER_S):
                await writer.wait_closed()
        except TimeoutError:
            writer.transport.abort()


def _stream_endless_answer(exchanged: http.HTTPFlow) -> None:
    answer = exchanged.response
    if answer is not None and not answer.stream and answer.headers.get("content-type", "").startswith(_STREAMED):
        answer.stream = True
