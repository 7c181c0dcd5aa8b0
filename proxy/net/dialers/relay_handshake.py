"""The common part of all handshakes with relays.

A handshake has one deadline for all its bytes; its faults become DialErrors; credentials are sent only where they may
be; bytes received together with its end belong to the stream. A stream that failed its handshake is reset, and its
bytes are discarded: a relay's error page must never be taken for the site's.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import Enum
from types import TracebackType

from proxy.model import NO_EVIDENCE, Destination, Evidence, Stage, Symptom
from proxy.model.bounded import Bounded
from proxy.model.errors import DialError, PeerError
from proxy.net.deadline import PASSES, Deadline
from proxy.net.dialers.dialer import HANDSHAKE_TIMEOUT_S, Dialer
from proxy.net.dialers.slots import Slot, Slots
from proxy.net.kernel.tcp_info import dropped, unacknowledged
from proxy.net.loop.timers import call_at
from proxy.net.stream import CHUNK, Stream, WrappedStream
from proxy.wire.home_network import LOOPBACK, PREFIXES
from proxy.wire.reader import Reader
from proxy.wire.relay_url import RelayUrl


class SendCredentials(Enum):
    """The paths on which a relay's user and password may be sent."""

    ANYWHERE = "anywhere"  # the path is verified TLS, or the user allowed it
    TO_LOOPBACK = "to loopback"  # only to a first hop on this computer
    NOWHERE = "nowhere"

    def check(self, stream: Stream) -> None:
        """Raises DialError when they may not be sent over `stream`."""
        if self is SendCredentials.ANYWHERE:
            return
        sock = stream.lowest_socket  # a name like `localhost` could have resolved elsewhere
        if self is SendCredentials.TO_LOOPBACK and ipaddress.ip_address(sock.getpeername()[0]).is_loopback:
            return
        text = "the relay's password would go unencrypted; use https, or set allow_plaintext_credentials = true"
        raise DialError(text, stage=Stage.RELAY, symptom=Symptom.RELAY_AUTH, evidence={"relay": "in_clear"})


def is_beyond_home(stream: Stream) -> bool:
    """Whether the peer of `stream` is neither this computer nor on the home network."""
    address = ipaddress.ip_address(stream.peer.rpartition(":")[0].strip("[]"))
    return not any(address in network for network in _AT_HOME)


_AT_HOME = [ipaddress.ip_network(prefix) for prefix in (*LOOPBACK, *PREFIXES)]


class Handshake(Deadline):
    """A handshake with a relay, as the context of one block. `reader` holds bytes that are not parsed yet.

    DialError, OSError and PeerError leave the block as a DialError of stage RELAY. The stream is aborted after every
    exception, also when the task is cancelled."""

    __slots__ = (
        *("_path_timeout_s", "_relay", "_slot", "_stream", "_timeout_s"),
        *("asked", "is_answered", "is_socks", "reader"),
    )

    def __init__(
        self,
        stream: Stream,
        relay: str,
        timeout_s: float,
        *,
        path_timeout_s: float | None = None,
        slot: Slot | None = None,
    ) -> None:
        """`relay` is the name in messages. The handshake may take `timeout_s`. Once the relay has the request, `slot`
        is told, and the time is set to `path_timeout_s` from then; with None, the time that is left stays."""
        super().__init__(asyncio.get_running_loop().time() + timeout_s)
        self._stream = stream
        self._relay = relay
        self._timeout_s = timeout_s
        self._path_timeout_s = path_timeout_s
        self._slot = slot
        self.reader = Reader()
        self.asked = False
        """The relay has the request, so that its silence may be the destination's."""
        self.is_socks = False
        """SOCKS is spoken with the first relay of a route. If it goes unencrypted to another network, that network may
        filter the protocol."""
        self.is_answered = False
        """A byte came back for the greeting."""

    def request_sent(self) -> None:
        """The relay has the request. From now on it waits for the destination."""
        self.asked = True
        if self._slot is not None:
            self._slot.request_sent()
        if self._path_timeout_s is not None:
            self.reschedule(asyncio.get_running_loop().time() + self._path_timeout_s)

    def _due(self) -> None:
        """A request that is not even acknowledged when the time of the handshake is over is given up then."""
        if self.asked and self._unacked(unacknowledged):
            self._when = asyncio.get_running_loop().time()
        super()._due()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            super().__exit__(kind, error, traceback)
        except TimeoutError as late:
            error = late
        if error is None:
            return
        filtered = self._filtered(error)
        self._stream.abort()
        if isinstance(error, DialError | OSError | PeerError):
            limits_s = self._timeout_s, self._path_timeout_s or self._timeout_s
            text, symptom, evidence = _classify(error, self, *limits_s, is_lost=bool(filtered.get("unacked")))
            if symptom is Symptom.RELAY_DOWN:
                evidence = {**evidence, **filtered}
            # The name of the relay stands in place of "the relay" at the beginning of a sentence, else before it.
            generic = "the relay "
            is_subject = text.startswith(generic)
            said = f"relay {self._relay} {text.removeprefix(generic)}" if is_subject else f"relay {self._relay}: {text}"
            raise DialError(said, stage=Stage.RELAY, symptom=symptom, evidence=evidence) from error

    def _filtered(self, error: BaseException) -> Evidence:
        """Returns the evidence that the network may filter SOCKS; empty: there is none. Either no byte came back, or
        what was sent last is not even acknowledged: a filter may let the first packet pass."""
        unacked = self._unacked(unacknowledged)
        is_answered = self.is_answered or len(self.reader) > 0
        if unacked is None or (is_answered and not (unacked and _is_silence(error))):
            return NO_EVIDENCE
        return {"greeting": 1, "unacked": unacked}

    def _unacked(self, count: Callable[[socket.SocketType], int]) -> int | None:
        """Returns the number of segments that the relay has not acknowledged; None: no other network sees SOCKS."""
        plain = self._stream.plain_socket
        is_seen = self.is_socks and plain is not None and is_beyond_home(self._stream)
        return count(plain) if is_seen and plain is not None else None

    def dropped(self) -> Evidence:
        """Returns the same evidence of a handshake that is under way; empty: its relay may only be slow."""
        unacked = self._unacked(dropped)
        return {"greeting": 1, "unacked": unacked} if unacked else NO_EVIDENCE


def _classify(
    error: DialError | OSError | PeerError, state: Handshake, timeout_s: float, path_timeout_s: float, *, is_lost: bool
) -> tuple[str, Symptom, Evidence]:
    """Returns a sentence, the symptom, and the evidence. `is_lost`: what was sent last is not acknowledged."""
    if isinstance(error, DialError):
        return str(error), error.symptom, error.evidence
    if isinstance(error, PeerError):
        if state.reader.ended:
            return "the relay closed the connection during the handshake", Symptom.RELAY_DOWN, {"relay": Symptom.EOF}
        return str(error), Symptom.RELAY_GARBAGE, NO_EVIDENCE
    if _is_silence(error):
        if state.asked and not len(state.reader) and not is_lost:
            return f"the relay did not reach the destination within {path_timeout_s:g} s", Symptom.TIMEOUT, NO_EVIDENCE
        text = f"the relay did not complete its handshake within {timeout_s:g} s"
        return text, Symptom.RELAY_DOWN, {"relay": Symptom.TIMEOUT}
    text = f"the relay closed the connection during the handshake ({error.strerror or error})"
    return text, Symptom.RELAY_DOWN, {"relay": Symptom.RESET}


def _is_silence(error: BaseException) -> bool:
    """Whether the time of the handshake was over, and not that of the kernel."""
    return isinstance(error, TimeoutError) and error.errno is None


async def dial_relay(via: Dialer, endpoint: Destination, relay: str) -> Stream:
    """Dials a relay's own endpoint. Raises DialError: RELAY_DOWN when the relay cannot be reached. A symptom with its
    cause on this computer is kept."""
    try:
        return await via.dial(endpoint)
    except DialError as error:
        unreached = relay_unreached(error, relay)
        if unreached is error:
            raise
        raise unreached from error


def relay_unreached(error: DialError, relay: str) -> DialError:
    """Returns the error of a relay whose own endpoint was not reached, or has no address, because of `error`: that one
    itself, if its cause is on this computer."""
    if error.symptom in _NOT_THE_RELAYS or error.symptom.blames_relay:
        return error
    text = f"relay {relay} cannot be reached: {error}"
    evidence: Evidence = {**error.evidence, "relay": error.symptom}
    return DialError(text, stage=error.stage, symptom=Symptom.RELAY_DOWN, evidence=evidence)


_NOT_THE_RELAYS = frozenset({Symptom.OFFLINE, Symptom.LOCAL, Symptom.FORBIDDEN, Symptom.SKIPPED, Symptom.ABANDONED})

_BROKEN = frozenset({Symptom.RELAY_DOWN, Symptom.RELAY_GARBAGE})

_REQUESTS_KEPT = 512
"""The number of destinations whose request to a relay is remembered."""

LOOP_REQUESTS = 128
"""Requests for one destination that wait at once. With more, the relay may lead back to us, and further requests go in
rounds. No more than this may wait at a remote relay, so only a relay on this computer causes rounds."""

LOOP_ROUNDS = 10
"""The number of rounds with an equal number of requests that show that the relay leads back."""

LOOP_ROUND_S = 0.05
"""Seconds for which the requests of a round are held back."""

LOOP_GAP_S = 0.3
"""The most seconds that a request takes to come back through a few other programs, which hold it back as well."""

LOOP_LAST_ROUND_S = 0.4
"""Seconds for which the requests of the last round are held back: longer than LOOP_GAP_S and a round. A program that
sends requests by a clock makes more of them in this round than in earlier ones; a loop makes as many."""

LOOP_REST_S = 10.0
"""Seconds without a request to a relay that leads back, so that the loop ends."""


class Request:
    """The request to a relay for one destination."""

    __slots__ = ("_held", "_released", "_released_at", "_round", "data", "rounds", "waiting")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.waiting: dict[Stream, Handshake] = {}  # where it is not answered yet, the oldest first
        self._round: asyncio.Event | None = None  # set at the end of the round
        self._held = 0  # requests that are held back in this round
        self._released = 0  # requests of the round before
        self._released_at = 0.0
        self.rounds = 0  # consecutive rounds with an equal number of requests, while none was answered

    async def goes_round(self) -> bool:
        """Holds a request back until the end of its round. Returns whether each request causes the next one. Every
        round then has as many requests as the one before, however long it is, and follows soon after it. Requests of
        clients come at random, or by a clock."""
        loop = asyncio.get_running_loop()
        if self._round is None:
            if loop.time() > self._released_at + LOOP_GAP_S:
                self.rounds = 0
            self._round = asyncio.Event()
            held_s = LOOP_LAST_ROUND_S if self.rounds == LOOP_ROUNDS - 1 else LOOP_ROUND_S
            call_at(loop.time() + held_s, self._end_round, passes=PASSES)
        self._held += 1
        await self._round.wait()
        return self.rounds >= LOOP_ROUNDS

    def _end_round(self) -> None:
        assert self._round is not None
        self.rounds = self.rounds + 1 if self._held == self._released else 0
        self._released, self._released_at, self._held = self._held, asyncio.get_running_loop().time(), 0
        self._round.set()
        self._round = None


class HandshakeDialer(ABC):
    """Dials through one relay, reached by `via`. The steps are the same for every kind; a subclass gives the bytes.

    A relay may lead back here: another Byway whose relay is this one, or a client that obeys the system's proxy. Each
    request then causes the next one, and none is answered. This is how a loop is recognised. A mark in the request
    would tell networks of Byway, and the number of waiting requests proves nothing: a slow relay has many.
    """

    def __init__(
        self,
        via: Dialer,
        relay: RelayUrl,
        *,
        name: str = "",
        send_credentials: SendCredentials = SendCredentials.TO_LOOPBACK,
        timeout_s: float = HANDSHAKE_TIMEOUT_S,
        path_timeout_s: float | None = None,
        slots: Slots | None = None,
        on_broken: Callable[[Stream], None] | None = None,
    ) -> None:
        """`path_timeout_s` is the time in which the relay has to open a path once it has the request; with None,
        `timeout_s` covers this too. `on_broken` gets each stream on which the relay did not complete its handshake.

        Raises ValueError for credentials that this kind of relay cannot carry."""
        self._via = via
        self._is_first = not isinstance(via, HandshakeDialer)  # the first relay of a chain
        self._relay = relay
        self._endpoint = relay.endpoint
        self._name = name or str(relay)
        self._send_credentials = send_credentials
        self._timeout_s = timeout_s
        self._path_timeout_s = path_timeout_s
        self._slots = slots
        self._on_broken = on_broken
        self._requests: Bounded[tuple[str, int], Request] = Bounded(_REQUESTS_KEPT)  # by host and port
        self._rests_until = 0.0  # the end of the rest of a relay that led back; 0: none
        self._credentials = self._authenticate(relay.user, relay.password) if relay.sends_credentials else b""

    @abstractmethod
    def _authenticate(self, user: str, password: str) -> bytes:
        """Returns the credentials in this kind's encoding. Raises ValueError for credentials that it cannot carry."""

    @abstractmethod
    def carries(self, destination: Destination) -> bool:
        """Whether the relay takes this kind of destination: a name, or an address of this family."""

    @abstractmethod
    def _request(self, destination: Destination) -> bytes:
        """Returns the request for the destination. Raises ValueError when the relay's protocol cannot express it."""

    @abstractmethod
    async def _shake_hands(self, stream: Stream, state: Handshake, request: bytes) -> None:
        """Runs the handshake up to the last byte of the relay's reply. Raises DialError, PeerError and OSError."""

    async def dial(self, destination: Destination) -> Stream:
        """See Dialer. Raises SKIPPED, with nothing sent, for a destination that the relay cannot carry."""
        key = destination.host, destination.port
        if (request := self._requests.get(key)) is None:
            request = self._requests[key] = Request(self._request_if_carried(destination))
        if self._rests_until:
            if asyncio.get_running_loop().time() < self._rests_until:
                raise self._leads_back()
            self._rests_until = 0.0
        if len(request.waiting) > LOOP_REQUESTS and await request.goes_round():
            self._rests_until = asyncio.get_running_loop().time() + LOOP_REST_S
            for waiting in tuple(request.waiting):
                waiting.abort()
            raise self._leads_back()
        if self._shares_connections:
            return await self._open_path(destination, request)
        slot = None if self._slots is None else await self._slots.take(self._name)
        try:
            try:
                stream = await dial_relay(self._via, self._endpoint, self._name)
            except DialError as error:
                if slot is not None:
                    slot.failed(error)
                raise
            if slot is not None:
                slot.connected()
            state = Handshake(stream, self._name, self._timeout_s, path_timeout_s=self._path_timeout_s, slot=slot)
            request.waiting[stream] = state
            try:
                with state:
                    if self._credentials:
                        self._send_credentials.check(stream)
                    await self._shake_hands(stream, state, request.data)
            except DialError as error:
                if self._rests_until:  # the end of a loop aborted this request
                    raise self._leads_back() from error
                if self._on_broken is not None and error.symptom in _BROKEN:
                    self._on_broken(stream)
                raise
            finally:
                request.waiting.pop(stream, None)
                request.rounds = 0
        finally:
            if slot is not None:
                slot.release()
        opened = PrefixedStream(stream, state.reader.rest()) if state.reader else stream
        if slot is not None:
            opened.held_s = slot.held_s
        return opened

    def dropped(self, destination: Destination) -> Evidence:
        """Returns the evidence that the network drops the handshake for `destination` that has been under way for
        longest; empty: there is none."""
        request = self._requests.get((destination.host, destination.port))
        return next((state.dropped() for state in request.waiting.values()), NO_EVIDENCE) if request else NO_EVIDENCE

    _shares_connections = False

    async def _open_path(self, destination: Destination, request: Request) -> Stream:
        """Opens a path for a request that may go out, in a dialer that `_shares_connections`. Raises DialError."""
        raise NotImplementedError

    def _leads_back(self) -> DialError:
        text = f"relay {self._name} leads back here: what it is asked for, this Byway is asked for again"
        return DialError(text, stage=Stage.RELAY, symptom=Symptom.RELAY_LOOP)

    def _request_if_carried(self, destination: Destination) -> bytes:
        """Returns the request, before anything is dialed. Raises DialError SKIPPED for a destination that the relay
        cannot carry."""
        if self.carries(destination):
            try:
                return self._request(destination)
            except ValueError as error:
                reason = str(error)
        else:
            takes = "addresses only" if destination.address is None else "IPv4 addresses only"
            reason = f"it ({self._relay.addresses_only}) takes {takes}"
        raise DialError(f"relay {self._name} is skipped: {reason}", stage=Stage.RELAY, symptom=Symptom.SKIPPED)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name}>"


class PrefixedStream(WrappedStream):
    """A stream that returns bytes which were already read from it, before its further bytes."""

    __slots__ = ("_prefix",)

    def __init__(self, inner: Stream, prefix: bytes) -> None:
        super().__init__(inner)
        self._prefix = prefix

    @property
    def plain_socket(self) -> socket.SocketType | None:
        return None if self._prefix else self._inner.plain_socket

    def receive_nowait(self, limit: int = CHUNK) -> bytes | None:
        if not self._prefix:
            return self._inner.receive_nowait(limit)
        data, self._prefix = self._prefix[:limit], self._prefix[limit:]
        return data

    def close(self) -> None:
        self._prefix = b""
        super().close()

    def abort(self) -> None:
        self._prefix = b""
        super().abort()
