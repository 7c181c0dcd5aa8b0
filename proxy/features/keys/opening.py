"""One opening through a key: the dialer, the stream, and the process that carries it.

The engine says "connected" before it is, so a path counts as open when Byway has reached the key's server, and as
working with the first byte from beyond: until then, an end or silence is the key's failure, unless another destination
has just been reached through the same key.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from proxy.features.keys import log_lines
from proxy.features.keys.engine_config import Entry
from proxy.features.keys.key_in_use import AnswerStream, KeyInUse
from proxy.features.keys.log_lines import LineFault
from proxy.features.keys.process import EngineProcess
from proxy.features.keys.tunnel import asked_of_engine, leads_to
from proxy.model import Destination, IPAddress, Stage, Symptom
from proxy.model.errors import DialError
from proxy.net.deadline import deadline
from proxy.net.dialers.key_relay import DestinationLookup, engine_failed
from proxy.net.dialers.relay_handshake import relay_unreached
from proxy.net.dialers.socks import Socks5Dialer
from proxy.net.dialers.tcp import TcpDialer
from proxy.net.dns.resolver import Resolver
from proxy.net.poller import Poller
from proxy.net.stream import CHUNK, EndedByByway, Stream
from proxy.net.uplink.sleep_watch import Clocks
from proxy.wire.relay_url import RelayKind, RelayUrl

ANSWER_S = 5.0
"""Seconds in which a process answers an opening. It takes some milliseconds, since it does not wait for the server."""

GIVEN_UP_S = 5.0
"""Seconds without an answer after which the engine gives up a server over UDP. An end as late is no answer."""

_NOT_OF_THE_KEY = (Symptom.NO_NAME, Symptom.FORBIDDEN, Symptom.LOCAL, Symptom.OFFLINE)
"""Why a name has no address, whatever the key it was asked through."""


def suspended_s() -> float:
    """Returns the seconds for which this computer slept since it was booted."""
    return Clocks.read().always - time.monotonic()


class RunningEngine:
    """A process with its streams."""

    def __init__(
        self, poller: Poller, process: EngineProcess, entries: Mapping[KeyInUse, Entry], ready_password: str
    ) -> None:
        """`ready_password` is that of the user READY."""
        self.process = process
        process.on_line = self._read_line
        self.ready_password = ready_password
        self.streams: set[KeyStream] = set()
        self.began_suspended_s = suspended_s()
        self.idle_since = asyncio.get_running_loop().time()
        self.on_idle: Callable[[], None] = lambda: None
        """Called when it carries nothing any more."""
        self.has_delivered = False
        self.is_stuck = False  # it runs, and did not answer an opening
        self._poller = poller
        self.entries = entries
        self._dialers: dict[str, Socks5Dialer] = {}
        self._by_port: dict[int, KeyStream] = {}  # by the local port of an opening that brought no byte yet
        self._openings = 0  # that are not a stream yet

    def has(self, key: KeyInUse) -> bool:
        """Whether it runs, and has the key, with the present address of its server."""
        entry = self.entries.get(key)
        return entry is not None and key.is_ready and entry == key.entry() and self.process.is_alive

    def has_only(self, key: KeyInUse | None = None) -> bool:
        """Whether each of its keys is in use, or is `key`."""
        return all(each.dialers or each is key for each in self.entries)

    @property
    def is_idle(self) -> bool:
        return not (self.streams or self._openings)

    @contextmanager
    def opening(self) -> Iterator[None]:
        """An opening, for whose time it is not idle."""
        self._openings += 1
        try:
            yield
        finally:
            self._openings -= 1
            self._check_idle()

    async def dial(self, user: str, password: str, relay: str, destination: Destination) -> Stream:
        """Asks the engine for a destination, as a user. `relay` is the name in messages. Raises DialError."""
        dialer = self._dialers.get(user)
        if dialer is None:
            here = TcpDialer(self._poller, Resolver(), lambda *_: None, speaks_at_once=True)
            url = RelayUrl(RelayKind.SOCKS5H, "127.0.0.1", self.process.port, user, password)
            dialer = self._dialers[user] = Socks5Dialer(_Checked(here, self.process), url, name=relay)
        try:
            with deadline(ANSWER_S):
                return await dialer.dial(destination)
        except TimeoutError:
            self.is_stuck = True
            text = f"it did not answer within {ANSWER_S:g} s"
            raise DialError(text, stage=Stage.RELAY, symptom=Symptom.TIMEOUT) from None

    def add(self, stream: KeyStream) -> None:
        self.streams.add(stream)
        self._by_port[stream.local_port] = stream

    def proven(self, stream: KeyStream) -> None:
        self.has_delivered = True
        self._by_port.pop(stream.local_port, None)

    def discard(self, stream: KeyStream) -> None:
        self.streams.discard(stream)
        if self._by_port.get(stream.local_port) is stream:
            del self._by_port[stream.local_port]
        self._check_idle()

    def _check_idle(self) -> None:
        if self.is_idle:
            self.idle_since = asyncio.get_running_loop().time()
            self.on_idle()

    def _read_line(self, line: str) -> None:
        failed = log_lines.read(line)
        stream = None if failed is None else self._by_port.get(failed.port)
        if failed is not None and stream is not None:
            stream.failed(failed.fault)

    def ended(self) -> None:
        """The process has ended by itself."""
        for stream in tuple(self.streams):
            stream.engine_ended()

    async def stop(self, why: str) -> None:
        """Ends the process, and breaks off its streams with the sentence `why`."""
        for stream in tuple(self.streams):
            stream.cut(why)
        await self.process.stop()


class _Checked:
    """Dials the engine's port. A process that lives after the connect was the one that took it."""

    def __init__(self, via: TcpDialer, process: EngineProcess) -> None:
        self._via = via
        self._process = process

    async def dial(self, destination: Destination) -> Stream:
        stream = await self._via.dial(destination)
        if not self._process.is_alive:
            stream.abort()
            raise DialError("the engine has ended", stage=Stage.CONNECT, symptom=Symptom.REFUSED)
        return stream


class Supervisor(Protocol):
    """The engine, to a dialer."""

    async def running_for(self, key: KeyInUse) -> RunningEngine:
        """Returns the process that has a key, and starts it first. Raises DialError."""

    def end_unused(self) -> None:
        """Ends the processes that nothing needs: a key has left."""


class KeyDialer:
    """Dials through one key."""

    def __init__(self, key: KeyInUse, engine: Supervisor) -> None:
        self._key = key
        self._relay = key.relay
        self._engine = engine
        through = self._relay.lookup_through if self._relay.key.protocol.needs_address else None
        self._lookup = None if through is None else self._lookup_by(through(self))
        key.dialers.add(self)

    def retire(self) -> None:
        """See net.dialers.key_relay.KeyDialer."""
        self._key.dialers.discard(self)
        if not self._key.dialers:
            self._engine.end_unused()

    def carries(self, destination: Destination) -> bool:
        """Whether the key leads there; names are resolved by its server, or at the dial."""
        return destination.address is None or leads_to(self._relay.key, destination.address)

    async def dial(self, destination: Destination) -> Stream:
        """See Dialer. Returns when the key's server is reached; over UDP, when the engine has the request."""
        key, name, timeout_s = self._key, self._relay.name, self._relay.timeout_s
        key.used_at = time.monotonic()
        if self._lookup is not None and destination.address is None:
            await self._running()  # its own faults, before a name is asked through it
        asked = await asked_of_engine(self._relay, self._lookup, destination)
        running = await self._running()
        with running.opening(), key.opening() as opening:
            try:
                inner = await running.dial(key.user, key.password, name, asked)
            except DialError as error:
                raise engine_failed(name, f"the engine failed ({error})") from None
            stream = KeyStream(inner, running, key, destination, opening)
            try:
                if not key.is_over_udp:
                    await key.reach(opening, timeout_s, stream.has_ended)
            except BaseException:
                stream.abort()
                raise
        return stream

    async def _running(self) -> RunningEngine:
        """Returns the process that has the key, whose server has an address. Raises DialError."""
        key, timeout_s = self._key, self._relay.timeout_s
        if key.is_over_udp:
            try:
                await key.resolve()
            except DialError as error:
                raise relay_unreached(error, self._relay.name) from None
        try:
            with deadline(timeout_s):
                return await self._engine.running_for(key)
        except TimeoutError:
            raise engine_failed(self._relay.name, f"the engine did not start within {timeout_s:g} s") from None

    def _lookup_by(self, lookup: DestinationLookup) -> DestinationLookup:
        """Returns the lookup through this key, which blames the key where not even a name server was heard through
        it."""

        async def addresses(destination: Destination) -> Sequence[IPAddress]:
            began = asyncio.get_running_loop().time()
            try:
                return await lookup(destination)
            except DialError as error:
                if error.symptom in _NOT_OF_THE_KEY or self._key.was_heard:
                    raise
                silent = log_lines.fault_of(LineFault.SILENT, self._relay.key, self._relay.name, is_cut=False)
                assert silent is not None
                if asyncio.get_running_loop().time() - began >= GIVEN_UP_S:
                    self._key.next_address()
                raise silent from None

        return addresses

    def __repr__(self) -> str:
        return f"<relay {self._relay.name} by key {self._relay.key!r}>"


class KeyStream(AnswerStream):
    """A stream through a key. It is unproven until the first byte from beyond."""

    __slots__ = ("_began", "_cut", "_destination", "_fault", "_key", "_opening", "_running", "local_port")

    is_answer_needed = True

    def __init__(
        self,
        inner: Stream,
        running: RunningEngine,
        key: KeyInUse,
        destination: Destination,
        opening: asyncio.Future[None],
    ) -> None:
        """While the dial waits for `opening`, a fault goes there at once."""
        super().__init__(inner)
        self._running = running
        self._key = key
        self._destination = destination
        self._opening = opening
        self._began = asyncio.get_running_loop().time()
        self._fault: DialError | None = None
        self._cut = ""  # why Byway has ended the process
        self.local_port: int = inner.lowest_socket.getsockname()[1]
        key.unproven += 1
        running.add(self)

    def receive_nowait(self, limit: int = CHUNK) -> bytes | None:
        self._check()
        data = super().receive_nowait(limit)
        if data == b"":
            self._check_end()
        return data

    def lend_nowait(self, limit: int = CHUNK) -> bytes | memoryview | None:
        if not self.has_answered:
            return self.receive_nowait(limit)
        self._check()
        data = self._inner.lend_nowait(limit)
        if data is not None and not data:
            self._check_end()
        return data

    def _check(self) -> None:
        if self._cut:
            raise EndedByByway(self._cut)
        if self._fault is not None:
            raise ConnectionResetError(str(self._fault))

    def _check_end(self) -> None:
        """Raises ConnectionResetError when the end is not the destination's: the kernel closes the sockets of a killed
        process as if it had closed them, and an answer cut off there would pass as a whole one."""
        if self._running.process.is_ending:
            raise ConnectionResetError("the engine for keys ended")

    def has_ended(self) -> bool:
        """Whether the engine has closed its end. Takes no byte."""
        try:
            if self.lowest_socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                return False
        except BlockingIOError:
            return False
        except OSError:
            pass
        self._running.process.read_lines()
        return True

    def _answered(self) -> None:
        self._key.unproven -= 1
        self._key.delivered(self._destination)
        self._running.proven(self)

    def _closed(self) -> None:
        if not self.has_answered:
            self._key.unproven -= 1
        self._running.discard(self)

    def failed(self, fault: LineFault) -> None:
        """The engine says that this opening failed. It would try for 5 s."""
        if self.has_answered or self._fault is not None:
            return
        if fault is LineFault.DESTINATION:
            self._key.heard()
        if fault in (LineFault.SILENT, LineFault.UNREACHABLE):
            self._key.next_address()
        if (error := self._error(fault)) is not None:
            self._break_off(error)

    def engine_ended(self) -> None:
        if not self.has_answered and self._fault is None:
            self._break_off(self._engine_ended())

    def cut(self, why: str) -> None:
        """Byway ends the process."""
        self._cut = why
        self._break_off(self._engine_ended())

    def _break_off(self, error: DialError) -> None:
        self._fault = error
        if not self._opening.done():
            self._opening.set_exception(error)
        self._wake(receiver=True, sender=True)

    def fault_before_answer(self, symptom: Symptom) -> DialError | None:
        """See Stream."""
        self._running.process.read_lines()  # the line of a failure may have come with the end, and wait to be read
        if self._fault is not None:
            return self._fault
        if symptom in (Symptom.EOF, Symptom.RESET) and self._running.process.is_ending:
            return self._engine_ended()
        if self.has_answered or self._key.works_for_another(self._destination):
            return None
        is_late = asyncio.get_running_loop().time() - self._began >= GIVEN_UP_S
        if symptom in (Symptom.EOF, Symptom.RESET) and not (is_late and self._key.is_over_udp):
            return self._error(LineFault.CLOSED)
        if symptom in (Symptom.EOF, Symptom.RESET, Symptom.SILENT, Symptom.DROPPED, Symptom.TIMEOUT):
            if is_late:  # a change of the address is a start of the engine
                self._key.next_address()
            return self._error(LineFault.SILENT)
        return None

    def _error(self, fault: LineFault) -> DialError | None:
        return log_lines.fault_of(fault, self._key.relay.key, self._key.relay.name, is_cut=self._key.is_cut)

    def _engine_ended(self) -> DialError:
        return engine_failed(self._key.relay.name, "the engine ended")
