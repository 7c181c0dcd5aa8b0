"""A key in use: which of its fields the engine gets, the connections to its server, and what openings wait for them.

The engine asks Byway for the key's server, and Byway dials it: so an opening learns here whether the server was
reached. Over UDP the engine sends the packets itself, and gets an address that was resolved here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from weakref import WeakSet

from proxy.features.keys.engine_config import PLACE, Entry, is_pooled
from proxy.features.keys.process import new_password
from proxy.model import Destination, IPAddress, Stage, Symptom
from proxy.model.errors import DialError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.dialers.key_relay import KeyRelay, engine_failed
from proxy.net.dialers.relay_handshake import dial_relay
from proxy.net.dialers.slots import Slot
from proxy.net.stream import CHUNK, Stream, WrappedStream

DELIVERED_S = 10.0
"""Seconds for which a byte from beyond a key shows that the key works: a failure of another destination is then that
one's."""

REFUSED_S = 600.0
"""Seconds for which a key is left out with which the engine did not start: it may be another version then, or have had
too little memory."""

POOLED_S = 0.3
"""Seconds in which the engine asks for a key's server, if it needs a new connection to it."""


@frozen_dataclass
class _Delivery:
    destination: Destination
    at: float  # by the loop's clock


class KeyInUse:
    """`relay` is its latest form: a reload makes a new one, with other dialers on its way."""

    def __init__(self, user: str, relay: KeyRelay) -> None:
        """`user` is its name in the engine."""
        self.user = user
        self.password = new_password()
        self.relay = relay
        self.dialers: WeakSet[object] = WeakSet()  # those that may still dial
        self.used_at = 0.0
        self.is_over_udp = relay.key.protocol.is_over_udp
        self._refused_until = 0.0  # by the loop's clock
        self.is_cut = False  # the last connection to the server that ended had brought no byte
        self.unproven = 0  # streams that brought no byte yet
        self._delivery: _Delivery | None = None
        self._heard_at = float("-inf")  # by the loop's clock: it was seen that something beyond the key can be reached
        self._openings: list[asyncio.Future[None]] = []  # those that wait until the server is reached
        self._open = 0  # connections to the server
        self._dialing = 0
        address = relay.key.server.address
        self._addresses: Sequence[IPAddress] = () if address is None else (address,)
        self._place = 0

    def refuse(self) -> None:
        """The engine does not start with it."""
        self._refused_until = asyncio.get_running_loop().time() + REFUSED_S

    @property
    def is_refused(self) -> bool:
        """Whether the engine did not start with it a short time ago."""
        return asyncio.get_running_loop().time() < self._refused_until

    def place_in_engine(self) -> tuple[bool, float]:
        """Returns what sorts keys by their need to be in the process: those that brought something, the latest used
        first; then those that were not used, since they may be tried next, and each that is not in the process costs a
        start; then those that were used in vain, the latest used last."""
        return (True, self.used_at) if self._delivery is None else (False, -self.used_at)

    def delivered(self, destination: Destination) -> None:
        self._delivery = _Delivery(destination, asyncio.get_running_loop().time())
        self.heard()

    def heard(self) -> None:
        """Something beyond the key answered, or refused."""
        self._heard_at = asyncio.get_running_loop().time()

    @property
    def was_heard(self) -> bool:
        """Whether anything beyond the key has just been heard."""
        return asyncio.get_running_loop().time() - self._heard_at <= DELIVERED_S

    def works_for_another(self, destination: Destination) -> bool:
        """Whether another destination has just been reached through the key."""
        now, last = asyncio.get_running_loop().time(), self._delivery
        return last is not None and last.destination != destination and now - last.at <= DELIVERED_S

    # -- over UDP --------------------------------------------------------------------------------------------------

    @property
    def is_ready(self) -> bool:
        """Whether the engine can have its entry: the address of its server is known, if the engine needs it."""
        return not self.is_refused and (not self.is_over_udp or bool(self._addresses))

    @property
    def _address(self) -> IPAddress:
        return self._addresses[self._place % len(self._addresses)]

    def entry(self) -> Entry:
        return Entry(self.user, self.password, self.relay.key, str(self._address) if self.is_over_udp else "")

    async def resolve(self) -> None:
        """Looks up the server of a key over UDP, whose packets the engine sends. Raises DialError."""
        if self.relay.lookup is None:  # its server has an address: see __init__
            return
        found = await self.relay.lookup.resolve(self.relay.key.server.host)
        if set(found) != set(self._addresses):
            # Another address is another process: one that the name still has is kept.
            present = self._address if self._addresses else None
            self._addresses, self._place = tuple(found), found.index(present) if present in found else 0

    def next_address(self) -> None:
        """Takes the next address of the server: the present one does not answer."""
        self._place += 1

    # -- over TCP --------------------------------------------------------------------------------------------------

    async def dial_server(self, asked: Destination) -> Stream:
        """See ServerOfKey. Refuses where no opening needs it: after a failure, the engine would try ten times."""
        relay = self.relay
        if not (self._openings or self.unproven) or asked.host != PLACE:
            raise DialError("no visit needs this connection", stage=Stage.CONNECT, symptom=Symptom.FORBIDDEN)
        self._dialing += 1
        slot: Slot | None = None
        has_hello = relay.key.outer_tls is not None
        try:
            slot = None if relay.slots is None else await relay.slots.take(relay.name)
            stream = await dial_relay(relay.via, relay.key.server, relay.name)
        except BaseException as error:
            if slot is not None:
                slot.release()
            if isinstance(error, DialError):
                self._reached(error)
            raise
        finally:
            self._dialing -= 1
        self._reached(None)
        self._open += 1
        if slot is not None and not has_hello:  # its server may be silent until the destination answers
            slot.connected()
            slot.release()
            slot = None
        return ServerStream(stream, slot, self)

    def closed(self, *, has_answered: bool) -> None:
        """A connection to the server is closed."""
        self._open -= 1
        if not has_answered:
            self.is_cut = True

    def _reached(self, error: DialError | None) -> None:
        """The server was reached, or not: the oldest opening takes the result, and all of them where the engine carries
        several in one connection."""
        taken = self._openings if is_pooled(self.relay.key) else self._openings[:1]
        for opening in tuple(taken):
            self._openings.remove(opening)
            if opening.done():
                continue
            if error is None:
                opening.set_result(None)
            else:
                opening.set_exception(
                    DialError(str(error), stage=error.stage, symptom=error.symptom, evidence=error.evidence)
                )

    @contextmanager
    def opening(self) -> Iterator[asyncio.Future[None]]:
        """An opening. Its future is done when the server is reached, and has the error otherwise."""
        opening: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._openings.append(opening)
        try:
            yield opening
        finally:
            with suppress(ValueError):
                self._openings.remove(opening)
            if not opening.cancel() and not opening.cancelled():
                opening.exception()  # retrieved

    async def reach(self, opening: asyncio.Future[None], timeout_s: float, has_ended: Callable[[], bool]) -> None:
        """Waits until the server is reached for an opening. `has_ended`: the engine gave it up. Raises DialError."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not opening.done():
            is_carried = is_pooled(self.relay.key) and self._open and not self._dialing
            if is_carried and loop.time() - began >= POOLED_S:
                return
            if has_ended() and not opening.done():
                raise engine_failed(self.relay.name, "the engine gave up the connection")
            if loop.time() - began >= timeout_s:
                text = f"relay {self.relay.name}: its engine opened no connection within {timeout_s:g} s"
                raise DialError(text, stage=Stage.RELAY, symptom=Symptom.TIMEOUT)
            await asyncio.wait((opening,), timeout=POOLED_S)
        opening.result()


class AnswerStream(WrappedStream):
    """A stream that tells when the first byte of its other side comes, and, once, that it is closed."""

    __slots__ = ("_is_closed", "has_answered")

    def __init__(self, inner: Stream) -> None:
        super().__init__(inner)
        self.has_answered = False
        self._is_closed = False

    def receive_nowait(self, limit: int = CHUNK) -> bytes | None:
        data = self._inner.receive_nowait(limit)
        if data and not self.has_answered:
            self.has_answered = True
            self._answered()
        return data

    def lend_nowait(self, limit: int = CHUNK) -> bytes | memoryview | None:
        return self._inner.lend_nowait(limit) if self.has_answered else self.receive_nowait(limit)

    def close(self) -> None:
        self._end()
        super().close()

    def abort(self) -> None:
        self._end()
        super().abort()

    def _end(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._closed()

    def _answered(self) -> None:
        raise NotImplementedError

    def _closed(self) -> None:
        raise NotImplementedError


class ServerStream(AnswerStream):
    """A connection to a key's server. It returns its slot with the first byte of the server."""

    __slots__ = ("_key", "_slot")

    def __init__(self, inner: Stream, slot: Slot | None, key: KeyInUse) -> None:
        super().__init__(inner)
        self._slot = slot
        self._key = key

    def receive_nowait(self, limit: int = CHUNK) -> bytes | None:
        data = super().receive_nowait(limit)
        if data == b"" and not self.has_answered:
            self._key.is_cut = True
        return data

    def _answered(self) -> None:
        self._key.is_cut = False
        if self._slot is not None:
            self._slot.connected()
            self._slot.release()

    def _closed(self) -> None:
        if self._slot is not None and not self.has_answered:
            error = DialError("", stage=Stage.RELAY, symptom=Symptom.RELAY_DOWN, evidence={"relay": Symptom.SILENT})
            self._slot.failed(error)
            self._slot.release()
        self._key.closed(has_answered=self.has_answered)
