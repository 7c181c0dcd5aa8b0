"""Relays over HTTPS that speak HTTP/2: all tunnels are CONNECT streams of one connection, two at most.

A page of 30 hosts then makes one TLS handshake with the relay in place of 30, and a path takes one round trip in place
of three. The relay selects the protocol in the handshake (ALPN). Dials that come meanwhile wait for it, since they
would only make more handshakes. A relay that selects HTTP/1.1, or that selects HTTP/2 and opens no CONNECT in it, is
used by HTTP/1.1 from then on, and for the visit that found it out.

The second connection is for when the first one has no room, or carries a long transfer, behind whose bytes others would
wait. When a relay ends a connection (GOAWAY), or it is frozen or leads over a way that others have left, its tunnels go
on and later ones get another one. When both are full, tunnels take HTTP/1.1, as they do at other relays.

So do those that would share a connection which loses packets: TCP slows down for each loss, and with it all tunnels of
the connection, where HTTP/1.1 has a connection for each. Tunnels that are open stay where they are: TLS with the site
binds them to their path from its first bytes on, and those that are opened at once have them before a loss shows.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import TYPE_CHECKING
from weakref import WeakSet

from proxy.model import NO_EVIDENCE, Destination, Evidence, Stage, Symptom
from proxy.model.errors import DialError, PeerError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.dialers.dialer import Dialer
from proxy.net.dialers.http_connect import NO_CONNECT, HttpConnectDialer, check_answer
from proxy.net.dialers.relay_handshake import Handshake, Request, dial_relay
from proxy.net.dialers.slots import Slot
from proxy.net.dialers.tls import TlsStream
from proxy.net.stream import Stream
from proxy.net.tasks import spawn

if TYPE_CHECKING:  # it imports h2, which takes 15 ms
    from proxy.net.dialers.http2_connection import Http2Connection

CONNECTIONS_MAX = 2

REMEMBERED_S = 86_400.0
"""Seconds for which a relay that opens no CONNECT in HTTP/2, or does not select it, is used by HTTP/1.1."""

LOSSY = 0.005
"""The share of lost segments from which on a connection counts as lossy. By Reno and at a round trip of 100 ms it then
carries 250 KB/s."""

LOSSY_S = 600.0
"""Seconds for which it is remembered that a connection loses packets, unless the network changes, or LOSSLESS segments
come with fewer losses. One loss alone is not remembered."""

LOSSLESS = 500

SHARED_WHERE_LOSSY = 2
"""Tunnels in use at once in a connection that loses packets."""

_ANOTHER_S = 30.0
"""Seconds between two attempts to open a second connection beside one that works."""

_TRIES = 3
"""Connections on which one CONNECT is sent at most, when the relay did not process it."""

_HTTP_1_1_REQUIRED = 0xD  # RFC 9113 section 7
_BAD_REQUEST = 400  # the answer of some web servers to every CONNECT


@frozen_dataclass
class OpenedByHttp1:
    """A connection on which the relay selected HTTP/1.1, for one of the dials that waited for it."""

    stream: Stream
    slot: Slot | None

    def close(self) -> None:
        self.stream.abort()
        if self.slot is not None:
            self.slot.release()


if TYPE_CHECKING:
    Opened = Http2Connection | OpenedByHttp1 | DialError
    """The result of opening a connection."""


class _Opening:
    """A connection that is being opened, and the dials that wait for it."""

    def __init__(self) -> None:
        self.task: asyncio.Task[Opened]
        self.waiting = 0
        self.is_taken = False  # what was opened is HTTP/1.1, and has its user

    def leave(self) -> None:
        """A dial no longer waits. The last one that leaves ends what nobody uses."""
        self.waiting -= 1
        if self.waiting:
            return
        if not self.task.done():
            self.task.cancel()
            return
        if self.is_taken or self.task.cancelled() or self.task.exception() is not None:
            return
        if isinstance(opened := self.task.result(), OpenedByHttp1):
            self.is_taken = True
            opened.close()


class RelayConnections:
    """The connections to one relay over one path, and what is known of its protocol. Outlives the dialers that use
    it."""

    def __init__(self, all_connections: WeakSet[Http2Connection]) -> None:
        """`all_connections`: where each connection is entered."""
        self.has_accepted = False
        """The relay has answered a CONNECT in HTTP/2 as a proxy does, so a later failure is not for the protocol."""
        self._http1_until = self._another_from = self._lossy_until = 0.0
        self._all = all_connections
        self._open: list[Http2Connection] = []
        self._opening: _Opening | None = None

    @property
    def uses_http1(self) -> bool:
        """Whether the relay is known to speak HTTP/1.1 only."""
        return asyncio.get_running_loop().time() < self._http1_until

    @property
    def is_full(self) -> bool:
        """Whether there are as many connections as may be."""
        return len(self._running) >= CONNECTIONS_MAX

    @property
    def _running(self) -> list[Http2Connection]:
        self._open = [connection for connection in self._open if not connection.is_ending]
        return self._open

    @property
    def is_crowded(self) -> bool:
        """Whether packets are lost on this path, and enough tunnels share a connection, or are about to."""
        now = asyncio.get_running_loop().time()
        running = self._running
        lossy = [connection for connection in running if connection.losses >= max(1, LOSSY * connection.segments)]
        if any(connection.losses > 1 for connection in lossy):
            self._lossy_until = now + LOSSY_S
        elif not lossy and any(connection.segments >= LOSSLESS for connection in running):
            self._lossy_until = 0.0
        if not lossy and now >= self._lossy_until:
            return False
        waiting = self._opening.waiting if self._opening is not None else 0
        return waiting + sum(connection.active_streams for connection in running) >= SHARED_WHERE_LOSSY

    def forget_losses(self) -> None:
        """The network has changed."""
        self._lossy_until = 0.0

    def use_http1(self) -> None:
        """Uses HTTP/1.1 for REMEMBERED_S."""
        self._http1_until = asyncio.get_running_loop().time() + REMEMBERED_S
        for connection in self._running:
            connection.retire()

    def free(self, has_left: Callable[[Http2Connection], bool]) -> Http2Connection | None:
        """Returns the connection for the next tunnel; None: there is none with room. Those whose way others `has_left`
        get no more tunnels."""
        for connection in self._running:
            if has_left(connection):
                connection.retire()
        able = [connection for connection in self._running if connection.can_open]
        return min(able, key=lambda connection: connection.bulk_streams, default=None)

    def add(self, connection: Http2Connection) -> None:
        self._open.append(connection)
        self._all.add(connection)

    async def opened(self, open_one: Callable[[], Awaitable[Opened]]) -> Opened | None:
        """Opens a connection, or waits for the one that is being opened. Returns None when that is HTTP/1.1 and another
        dial uses it."""
        opening = self._opening
        if opening is None or opening.task.cancelling():
            opening = self._begin(open_one)
        opening.waiting += 1
        try:
            await asyncio.wait({opening.task})
            if opening.task.cancelled():
                raise asyncio.CancelledError  # with all tasks, at the end of a run
            opened = opening.task.result()
            if isinstance(opened, OpenedByHttp1):
                if opening.is_taken:
                    return None
                opening.is_taken = True
            return opened
        finally:
            opening.leave()

    def open_another(self, open_one: Callable[[], Awaitable[Opened]]) -> None:
        """Opens a second connection, for later tunnels; not again soon, if that fails."""
        now = asyncio.get_running_loop().time()
        if self._opening is None and not self.is_full and now >= self._another_from:
            self._another_from = now + _ANOTHER_S
            opening = self._begin(open_one)
            opening.waiting += 1
            opening.task.add_done_callback(lambda _: opening.leave())

    def _begin(self, open_one: Callable[[], Awaitable[Opened]]) -> _Opening:
        opening = self._opening = _Opening()
        opening.task = spawn(self._run(opening, open_one), name="open a connection to a relay")
        return opening

    async def _run(self, opening: _Opening, open_one: Callable[[], Awaitable[Opened]]) -> Opened:
        try:
            opened = await open_one()
        finally:
            if self._opening is opening:
                self._opening = None
        if isinstance(opened, OpenedByHttp1):
            self.use_http1()
        elif not isinstance(opened, DialError):
            self.add(opened)
        return opened


class Http2ConnectDialer(HttpConnectDialer):
    """Dials through an https relay, by HTTP/2 where the relay selects it. Its symptoms are those of HTTP/1.1; a stream
    that is reset by a relay which opens others is RELAY_REFUSED."""

    _shares_connections = True

    def __init__(
        self,
        connections: RelayConnections,
        make_http1: Callable[[Dialer | None], HttpConnectDialer],
        *args: object,
        has_left: Callable[[str, float], bool] = lambda peer, since: False,
        **options: object,
    ) -> None:
        """`make_http1` makes a dialer by HTTP/1.1, over a given connection or new ones (None). `has_left`: see
        `WayBeliefs`. The others are as in HandshakeDialer; `via` offers h2."""
        super().__init__(*args, **options)  # type: ignore[arg-type]
        self._connections = connections
        self._make_http1 = make_http1
        self._http1: HttpConnectDialer | None = None  # made when it is first needed
        self._way_has_left = has_left

    @property
    def protocol(self) -> str:
        """The version of HTTP that the relay has selected; empty: it is not known yet."""
        if self._connections.uses_http1:
            return "HTTP/1.1"
        return "HTTP/2" if self._connections.has_accepted else ""

    async def _open_path(self, destination: Destination, request: Request) -> Stream:
        relay, began_at = self._connections, asyncio.get_running_loop().time()
        failure: DialError | None = None
        for _ in range(_TRIES):
            if relay.uses_http1 or (relay.is_crowded and not self._keeps_hellos_apart):
                return await self._by_http1().dial(destination)
            connection = relay.free(self._has_left)
            if connection is None:
                if relay.is_full:
                    return await self._by_http1().dial(destination)
                opened = await relay.opened(self._open_one)
                if isinstance(opened, DialError):
                    raise _again(opened)
                if isinstance(opened, OpenedByHttp1):
                    return await self._over(opened, destination)
                if opened is None or not opened.can_open:
                    continue
                connection = opened
            elif connection.bulk_streams and not self._keeps_hellos_apart:
                relay.open_another(self._open_one)
            result = await self._by_stream(connection, destination, request)
            if isinstance(result, Stream):
                if connection.opened_at > began_at:
                    result.held_s = min(connection.held_s, connection.opened_at - began_at)
                return result
            if isinstance(result, _InVain):
                stream = await self._by_http1().dial(destination)
                if result.is_remembered:
                    relay.use_http1()
                return stream
            failure = result
        if failure is None:  # full each time
            return await self._by_http1().dial(destination)
        raise failure

    @property
    def _keeps_hellos_apart(self) -> bool:
        spacing = self._slots.spacing if self._slots is not None else None
        return spacing is not None and spacing.is_active(asyncio.get_running_loop().time())

    def _has_left(self, connection: Http2Connection) -> bool:
        return self._way_has_left(connection.stream.peer, connection.opened_since)

    def _by_http1(self) -> HttpConnectDialer:
        if self._http1 is None:
            self._http1 = self._make_http1(None)
        return self._http1

    # -- a connection ----------------------------------------------------------------------------------------------

    async def _open_one(self) -> Opened:
        """Opens a connection by whichever protocol the relay selects."""
        slot: Slot | None = None
        keeps_slot = False
        try:
            slot = None if self._slots is None else await self._slots.take(self._name)
            try:
                stream = await dial_relay(self._via, self._endpoint, self._name)
            except DialError as error:
                if slot is not None:
                    slot.failed(error)
                return error
            if slot is not None:
                slot.connected()
            if not isinstance(stream, TlsStream) or stream.alpn != "h2":
                keeps_slot = True
                return OpenedByHttp1(stream, slot)
            try:
                if (module := "proxy.net.dialers.http2_connection") not in sys.modules:
                    await asyncio.to_thread(import_module, module)  # connections go on meanwhile
                from proxy.net.dialers.http2_connection import Http2Connection
            except BaseException:
                stream.abort()
                raise
            connection = Http2Connection(stream)
            connection.held_s = slot.held_s if slot is not None else 0.0
            return connection
        except DialError as error:  # no slot was free
            return error
        finally:
            if slot is not None and not keeps_slot:
                slot.release()

    async def _over(self, opened: OpenedByHttp1, destination: Destination) -> Stream:
        """Dials by HTTP/1.1 over a connection that was opened for it."""
        try:
            stream = await self._make_http1(_Given(opened.stream)).dial(destination)
        finally:
            if opened.slot is not None:
                opened.slot.release()
        if opened.slot is not None:
            stream.held_s = opened.slot.held_s
        return stream

    # -- a stream --------------------------------------------------------------------------------------------------

    async def _by_stream(
        self, connection: Http2Connection, destination: Destination, request: Request
    ) -> Stream | _InVain | DialError:
        """Sends the CONNECT. Returns the path; or, for another try, that HTTP/2 is in vain, or that this connection
        was. Raises DialError."""
        from proxy.net.dialers.http2_connection import Lost
        from proxy.wire.connect_http2 import Answered

        stream = connection.open(str(destination), self._credentials.partition(b": ")[2].strip().decode("ascii"))
        state = Handshake(stream, self._name, self._timeout_s, path_timeout_s=self._path_timeout_s)
        request.waiting[stream] = state
        try:
            with state:
                state.request_sent()
                answer = await stream.answer
                if isinstance(answer, Answered):
                    if not self._connections.has_accepted and answer.status in (*NO_CONNECT, _BAD_REQUEST):
                        if answer.status in NO_CONNECT:
                            self._connections.use_http1()
                        stream.abort()
                        return _InVain(is_remembered=True)
                    self._connections.has_accepted = True
                    check_answer(answer.status, has_page=answer.has_page, signed_in=bool(self._credentials))
                    return stream
                stream.abort()
                if isinstance(answer, Lost):
                    return self._after_loss(connection, answer.error)
                if answer.code == _HTTP_1_1_REQUIRED or not (self._connections.has_accepted or answer.is_unprocessed):
                    return _InVain(is_remembered=not self._connections.has_accepted)
                text = f"the relay refuses the connection ({answer.reason})"
                refused = DialError(text, stage=Stage.RELAY, symptom=Symptom.RELAY_REFUSED)
                if answer.is_unprocessed:
                    return self._named(refused)
                raise refused
        except DialError as error:
            if self._rests_until:  # the end of a loop aborted this request
                raise self._leads_back() from error
            if self._on_broken is not None and error.symptom is Symptom.RELAY_GARBAGE:
                self._on_broken(stream)
            raise
        finally:
            request.waiting.pop(stream, None)
            request.rounds = 0

    def _after_loss(self, connection: Http2Connection, error: OSError | PeerError | None) -> _InVain | DialError:
        """The connection was lost, or froze, before it answered. Raises the error when a loop was ended."""
        if self._rests_until:
            raise self._leads_back()
        gone_away = connection.http2.gone_away
        if error is not None and not self._connections.has_accepted:
            return _InVain(is_remembered=bool(gone_away))  # a relay that closes without a word may have restarted
        text, evidence = "the relay closed the connection during the handshake", NO_EVIDENCE
        symptom = Symptom.RELAY_DOWN
        if isinstance(error, PeerError):
            text, symptom = str(error), Symptom.RELAY_GARBAGE
        elif error is None:
            text, evidence = "the connection to the relay froze", _evidence(Symptom.TIMEOUT)
        else:
            evidence = _evidence(Symptom.RESET)
        if self._on_broken is not None:
            self._on_broken(connection.stream)
        return self._named(DialError(text, stage=Stage.RELAY, symptom=symptom, evidence=evidence))

    def _named(self, error: DialError) -> DialError:
        """Returns the error with the name of the relay, as `Handshake` has it."""
        text = str(error).removeprefix("the relay ")
        said = f"relay {self._name} {text}" if text != str(error) else f"relay {self._name}: {text}"
        return DialError(said, stage=error.stage, symptom=error.symptom, evidence=error.evidence)


@frozen_dataclass
class _InVain:
    """The relay opens no CONNECT in HTTP/2. `is_remembered`: if it opens one in HTTP/1.1, for REMEMBERED_S."""

    is_remembered: bool


class _Given:
    """The dialer of one connection that is open."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    async def dial(self, destination: Destination) -> Stream:
        return self._stream


def _evidence(symptom: Symptom) -> Evidence:
    return {"relay": symptom}


def _again(error: DialError) -> DialError:
    """Returns the same error for another dial that waited for the connection."""
    return DialError(str(error), stage=error.stage, symptom=error.symptom, evidence=error.evidence)
