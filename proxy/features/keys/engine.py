"""Relays that are keys, by a supervised mihomo.

A dial starts the engine, if it does not run, with the keys in use. It asks the engine for the destination, as the user
of its key. The engine says "connected" before it is, so a path counts as open when Byway has reached the key's server,
and as working with the first byte from beyond: until then, an end or silence is the key's failure, unless another
destination has just been reached through the same key. A change of the keys starts a second process, and the first one
ends when its last tunnel does. Nothing is started, and this module is not imported, before a relay is a key.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Sequence, Set
from contextlib import suppress
from functools import partial
from pathlib import Path
from weakref import WeakSet

from proxy.config.paths import private_folder
from proxy.detect.relay_faults import RelayFault
from proxy.features.keys import log_lines
from proxy.features.keys.binary import Binary, NoEngine, find
from proxy.features.keys.engine_config import KEYS_MAX, PLACE, READY, Entry, configuration
from proxy.features.keys.log_lines import LineFault
from proxy.features.keys.outward import Outward, ServerOfKey
from proxy.features.keys.process import START_S, EngineProcess, new_password, remove_left_over
from proxy.model import Destination, Evidence, IPAddress, Stage, Symptom
from proxy.model.errors import BywayError, DialError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.deadline import deadline
from proxy.net.dialers.key_relay import KeyRelay, engine_failed
from proxy.net.dialers.relay_handshake import dial_relay
from proxy.net.dialers.slots import Slot
from proxy.net.dialers.socks import Socks5Dialer
from proxy.net.dialers.tcp import TcpDialer
from proxy.net.dns.resolver import Resolver
from proxy.net.poller import Poller
from proxy.net.stream import CHUNK, Stream, WrappedStream
from proxy.net.tasks import spawn
from proxy.wire.keys.values import AnyTls, Grpc, Http2, Key, Shadowsocks, Ssh, Vmess, Xhttp
from proxy.wire.relay_url import RelayKind, RelayUrl

log = logging.getLogger(__name__)

IDLE_S = 600.0
"""Seconds without a tunnel after which the engine is stopped."""

DELIVERED_S = 10.0
"""Seconds for which a byte from beyond a key shows that the key works: a failure of another destination is then that
one's."""

POOLED_S = 0.3
"""Seconds in which the engine asks for a key's server, if it needs a new connection to it."""

PROCESSES_MAX = 4
"""Processes at once: the present one, and those whose tunnels have not ended yet."""

BACK_OFF_S = 0.5
BACK_OFF_MAX_S = 60.0
"""Pause after a process that ended before it had brought a byte. It doubles each time."""

_READY_POLL_S = 0.01
_READY_WAIT_S = 1.0
_NOWHERE = Destination(PLACE, 1)  # asked for by READY, and dialed by nobody

_SHORT_PAUSE_S = 1.0  # of a back-off, which a visit waits for


class MihomoEngine:
    """See KeyEngine. Belongs to one loop."""

    def __init__(
        self,
        poller: Poller,
        folder: Path | None,
        own_ports: set[int],
        *,
        find_binary: Callable[[], Binary] = find,
        idle_s: float = IDLE_S,
    ) -> None:
        """The engine gets a folder of its own in `folder`; None: in the system's for temporary files. Ports that Byway
        and the engine listen on are added to `own_ports`, which the address guard refuses."""
        self._poller = poller
        self._folder = folder
        self._own_ports = own_ports
        self._find = find_binary
        self._idle_s = idle_s
        self._members: dict[tuple[str, Key], _Member] = {}
        self._running: list[_Running] = []  # the present one last
        self._starting = asyncio.Lock()
        self._outward: Outward | None = None
        self._ready: _Ready | None = None
        self._failures = 0  # processes in a row that brought nothing
        self._not_before = 0.0
        self._idle_check: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._is_closed = False

    def dialer(self, relay: KeyRelay) -> _KeyDialer:
        """See KeyEngine."""
        identity = (relay.name, relay.key)
        member = self._members.get(identity)
        if member is None:
            for other in [key for key, each in self._members.items() if not each.dialers]:
                del self._members[other]  # of an earlier configuration
            number = max((each.number for each in self._members.values()), default=0) + 1
            member = self._members[identity] = _Member(number, relay)
        member.relay = relay
        return _KeyDialer(self, member)

    async def close(self) -> None:
        """Ends all processes."""
        self._is_closed = True
        if self._idle_check is not None:
            self._idle_check.cancel()
        for running in tuple(self._running):
            await self._stop(running)
        if self._outward is not None:
            self._own_ports.discard(self._outward.port)
            await self._outward.close()
            self._outward = None

    # -- for dialers -----------------------------------------------------------------------------------------------

    async def running_for(self, member: _Member) -> _Running:
        """Returns a process that has the key, and starts one if there is none. Raises DialError."""
        if (running := self._with(member)) is not None:
            return running
        async with self._starting:
            if (running := self._with(member)) is not None:
                return running
            if member.is_refused:
                raise engine_failed(member.relay.name, "the engine does not take this key")
            pause_s = self._not_before - self._loop.time()
            if pause_s > _SHORT_PAUSE_S:
                reason = f"the engine ended {self._failures} times in a row; it is started again in {pause_s:.0f} s"
                raise engine_failed(member.relay.name, reason)
            if pause_s > 0:
                await asyncio.sleep(pause_s)
            try:
                return await self._start(member)
            except BywayError as error:
                if not member.is_refused:
                    self._failed()
                raise engine_failed(member.relay.name, str(error)) from None
            except OSError as error:
                self._failed()
                raise engine_failed(member.relay.name, f"the engine cannot be started: {error.strerror}") from None

    def _with(self, member: _Member) -> _Running | None:
        """Returns a process that has the key, and none that is no longer in use."""
        used = {each.user for each in self._members.values() if each.dialers}
        return next((each for each in reversed(self._running) if each.users <= used and each.has(member)), None)

    async def _start(self, member: _Member) -> _Running:
        if self._is_closed:
            raise NoEngine("Byway ends")
        binary = await asyncio.to_thread(self._find)
        if self._outward is None:
            self._outward = Outward(self._poller, self._key_of)
            self._own_ports.add(self._outward.port)
            if self._folder is not None:
                await asyncio.to_thread(remove_left_over, private_folder(self._folder))
        running = await self._start_with(member, binary, self._outward.port)
        assert running.process is not None
        try:
            await self._begun(running)
        except BaseException:
            await running.process.stop()
            raise
        running.idle_since = self._loop.time()
        self._own_ports.add(running.process.port)
        self._running.append(running)
        for old in self._running[:-PROCESSES_MAX]:
            spawn(self._stop(old), name="stop an engine")
        self._check_idle()
        return running

    async def _begun(self, running: _Running) -> None:
        """Waits until the engine works. For some milliseconds after it listens, it closes what comes, and what a key
        would have been blamed for. Raises NoEngine."""
        ready = self._ready = _Ready(running.ready_password)
        ends_at = self._loop.time() + START_S
        while not ready.is_reached:
            if self._loop.time() > ends_at or running.process is None or not running.process.is_alive:
                raise NoEngine(f"the engine did not begin to work within {START_S:g} s")
            try:
                stream = await running.dialer(READY, running.ready_password, "the engine").dial(_NOWHERE)
            except DialError:
                await asyncio.sleep(_READY_POLL_S)
                continue
            try:
                with deadline(_READY_WAIT_S):
                    await ready.reached(stream)
            except (TimeoutError, OSError):
                pass  # asked again
            finally:
                stream.abort()

    async def _start_with(self, member: _Member, binary: Binary, outward_port: int) -> _Running:
        """Starts a process with the keys in use. One that the engine refuses is left out from then on."""
        while True:
            used = [each for each in self._members.values() if each.dialers and each is not member and each.is_ready]
            used.sort(key=_Member.place_in_engine)
            entries = [each.entry() for each in (member, *used)][:KEYS_MAX]
            running = _Running(self._poller, entries)
            try:
                running.process = await EngineProcess.start(
                    binary,
                    partial(configuration, entries, outward_port=outward_port, ready_password=running.ready_password),
                    self._folder,
                    on_line=running.on_line,
                    on_end=partial(self._ended, running),
                )
            except NoEngine:
                refused = self._member_of(running.refused_user(outward_port))
                if refused is None:
                    raise
                refused.is_refused = True
                if refused is member:
                    raise NoEngine("the engine does not take this key") from None
            else:
                return running

    def _key_of(self, user: str) -> ServerOfKey | None:
        return self._ready if user == READY else self._member_of(user)

    def _member_of(self, user: str) -> _Member | None:
        return next((each for each in self._members.values() if each.user == user), None)

    def _failed(self) -> None:
        pause_s = min(BACK_OFF_S * 2.0 ** min(self._failures, 20), BACK_OFF_MAX_S)
        self._failures += 1
        self._not_before = self._loop.time() + pause_s

    def _ended(self, running: _Running) -> None:
        """A process has ended by itself."""
        self._gone(running)
        log.warning("the engine for keys ended; the next visit starts it again")
        if running.has_delivered:
            self._failures, self._not_before = 0, 0.0
        else:
            self._failed()
        running.end()

    async def _stop(self, running: _Running) -> None:
        self._gone(running)
        assert running.process is not None
        await running.process.stop()
        running.end()

    def _gone(self, running: _Running) -> None:
        if running in self._running:
            self._running.remove(running)
        assert running.process is not None
        self._own_ports.discard(running.process.port)

    def _check_idle(self) -> None:
        """Stops processes without tunnels: at once those that are not the present one, and that one after a while."""
        self._look_again()
        now = self._loop.time()
        for running in tuple(self._running):
            is_present = running is self._running[-1]
            if not running.streams and (not is_present or now >= running.idle_since + self._idle_s):
                spawn(self._stop(running), name="stop an idle engine")
                self._gone(running)

    def _look_again(self) -> None:
        """Sets the timer of the next look, as long as anything runs."""
        if self._idle_check is not None:
            self._idle_check.cancel()
        wait_s = min(self._idle_s, 30.0)
        self._idle_check = self._loop.call_later(wait_s, self._check_idle) if self._running else None


class _Ready:
    """What the engine asks Byway for as READY."""

    def __init__(self, password: str) -> None:
        self.password = password
        self.is_reached = False
        self._event = asyncio.Event()

    async def dial_server(self, asked: Destination) -> Stream:
        """See ServerOfKey. There is none."""
        self.is_reached = True
        self._event.set()
        raise DialError("the engine works", stage=Stage.CONNECT, symptom=Symptom.REFUSED)

    async def reached(self, stream: Stream) -> None:
        """Waits until the engine has asked, or has closed the stream by which it was asked to. Raises OSError."""
        asked = spawn(self._event.wait(), name="wait for the engine")
        try:
            while not self.is_reached and stream.receive_nowait() is None:
                await asyncio.wait((asked, stream.readable()), return_when=asyncio.FIRST_COMPLETED)
        finally:
            asked.cancel()


@frozen_dataclass
class _Delivery:
    destination: Destination
    at: float  # by the loop's clock


class _Member:
    """A key in use. `relay` is its latest form: a reload makes a new one, with other dialers on its way."""

    def __init__(self, number: int, relay: KeyRelay) -> None:
        self.number = number
        self.user = f"k{number}"
        self.password = new_password()
        self.relay = relay
        self.dialers: WeakSet[_KeyDialer] = WeakSet()
        self.used_at = 0.0
        self.delivery: _Delivery | None = None
        self.is_over_udp = relay.key.protocol.is_over_udp
        self.is_refused = False  # the engine does not start with it
        self._waiting: list[asyncio.Future[None]] = []  # openings, until the key's server is reached
        self.unproven = 0  # streams that brought no byte yet
        self._open = 0  # connections to the server
        self._dialing = 0
        self._addresses: Sequence[IPAddress] = ()
        self._place = 0

    def place_in_engine(self) -> tuple[bool, float]:
        """Returns what sorts keys by their need to be in the process: those that brought something, the latest used
        first; then those that were not used, since they may be tried next, and each that is not in the process costs a
        start; then those that were used in vain, the latest used last."""
        return (True, self.used_at) if self.delivery is None else (False, -self.used_at)

    # -- over UDP --------------------------------------------------------------------------------------------------

    @property
    def is_ready(self) -> bool:
        """Whether the engine can have its entry: the address of its server is known, if the engine needs it."""
        return not self.is_refused and (not self.is_over_udp or bool(self._addresses))

    def entry(self) -> Entry:
        address = str(self._addresses[self._place % len(self._addresses)]) if self.is_over_udp else ""
        return Entry(self.user, self.password, self.relay.key, address)

    async def resolve(self) -> None:
        """Looks up the server of a key over UDP, whose packets the engine sends. Raises DialError."""
        server = self.relay.key.server
        if server.address is not None:
            self._addresses = (server.address,)
            return
        assert self.relay.lookup is not None
        found = await self.relay.lookup.resolve(server.host)
        if set(found) != set(self._addresses):
            self._addresses, self._place = tuple(found), 0

    def next_address(self) -> None:
        """Takes the next address of the server: the present one does not answer."""
        self._place += 1

    # -- over TCP --------------------------------------------------------------------------------------------------

    async def dial_server(self, asked: Destination) -> Stream:
        """See ServerOfKey. Refuses where no opening needs it: after a failure, the engine would try ten times."""
        relay = self.relay
        if not (self._waiting or self.unproven) or asked.host != PLACE:
            raise DialError("no visit needs this connection", stage=Stage.CONNECT, symptom=Symptom.FORBIDDEN)
        self._dialing += 1
        slot: Slot | None = None
        has_hello = getattr(relay.key, "tls", None) is not None
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
        return _ServerStream(stream, slot, self._closed)

    def _closed(self) -> None:
        self._open -= 1

    def _reached(self, error: DialError | None) -> None:
        """The server was reached, or not: the oldest opening takes the result, and all of them where the engine carries
        several in one connection."""
        taken = self._waiting if _is_pooled(self.relay.key) else self._waiting[:1]
        for opening in tuple(taken):
            self._waiting.remove(opening)
            if opening.done():
                continue
            if error is None:
                opening.set_result(None)
            else:
                opening.set_exception(
                    DialError(str(error), stage=error.stage, symptom=error.symptom, evidence=error.evidence)
                )

    async def reach(self, opening: asyncio.Future[None], timeout_s: float, has_ended: Callable[[], bool]) -> None:
        """Waits until the server is reached for an opening. `has_ended`: the engine gave it up. Raises DialError."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            while not opening.done():
                is_carried = _is_pooled(self.relay.key) and self._open and not self._dialing
                if is_carried and loop.time() - began >= POOLED_S:
                    return
                if has_ended():
                    raise engine_failed(self.relay.name, "the engine gave up the connection")
                if loop.time() - began >= timeout_s:
                    text = f"relay {self.relay.name}: its engine opened no connection within {timeout_s:g} s"
                    raise DialError(text, stage=Stage.RELAY, symptom=Symptom.TIMEOUT)
                await asyncio.wait((opening,), timeout=POOLED_S)
            opening.result()
        finally:
            self.forget(opening)

    def wait_for_server(self) -> asyncio.Future[None]:
        opening: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(opening)
        return opening

    def forget(self, opening: asyncio.Future[None]) -> None:
        with suppress(ValueError):
            self._waiting.remove(opening)
        if not opening.cancel() and not opening.cancelled():
            opening.exception()  # retrieved

    # -- faults ----------------------------------------------------------------------------------------------------

    def delivered(self, destination: Destination) -> None:
        self.delivery = _Delivery(destination, asyncio.get_running_loop().time())

    def works_for_another(self, destination: Destination) -> bool:
        """Whether another destination has just been reached through the key."""
        now, last = asyncio.get_running_loop().time(), self.delivery
        return last is not None and last.destination != destination and now - last.at <= DELIVERED_S

    def fault(self, fault: LineFault) -> DialError | None:
        """Returns the fault of the key, in words."""
        name = self.relay.name
        match fault:
            case LineFault.CERTIFICATE:
                return _key_fault(name, RelayFault.KEY_CERTIFICATE, Symptom.RELAY_AUTH)
            case LineFault.REFUSED:
                return _key_fault(name, RelayFault.KEY_REFUSED, Symptom.RELAY_AUTH)
            case LineFault.CLOSED:
                needs_clock = isinstance(self.relay.key, Vmess) or (
                    isinstance(self.relay.key, Shadowsocks) and self.relay.key.cipher.startswith("2022-")
                )
                closed = RelayFault.KEY_CLOSED_OR_CLOCK if needs_clock else RelayFault.KEY_CLOSED
                return _key_fault(name, closed, Symptom.RELAY_DOWN)
            case LineFault.SILENT:
                text = f"relay {name}: its server took the connection, and did not answer"
                evidence: Evidence = {"relay": Symptom.TIMEOUT}
                return DialError(text, stage=Stage.FIRST_BYTE, symptom=Symptom.RELAY_DOWN, evidence=evidence)
            case LineFault.UNREACHABLE if self.is_over_udp:
                text = f"relay {name} cannot be reached"
                evidence = {"relay": Symptom.UNREACHABLE}
                return DialError(text, stage=Stage.FIRST_BYTE, symptom=Symptom.RELAY_DOWN, evidence=evidence)
            case LineFault.UNREACHABLE:
                return None  # Byway's own dial has said why
            case LineFault.ENGINE:
                text = f"relay {name}: the engine failed"
                evidence = {"relay": "engine"}
                return DialError(text, stage=Stage.FIRST_BYTE, symptom=Symptom.RELAY_DOWN, evidence=evidence)


def _key_fault(relay: str, fault: RelayFault, symptom: Symptom) -> DialError:
    evidence: Evidence = {"relay": fault}
    return DialError(f"relay {relay}: {fault.text}", stage=Stage.FIRST_BYTE, symptom=symptom, evidence=evidence)


def _is_pooled(key: Key) -> bool:
    """Whether the engine carries several openings in one connection to the key's server."""
    return isinstance(key, AnyTls | Ssh) or isinstance(getattr(key, "transport", None), Grpc | Http2 | Xhttp)


class _Running:
    """A process with its streams."""

    process: EngineProcess | None = None

    def __init__(self, poller: Poller, entries: Sequence[Entry]) -> None:
        self._poller = poller
        self._entries = {entry.user: entry for entry in entries}
        self._dialers: dict[str, Socks5Dialer] = {}
        self.streams: set[KeyStream] = set()
        self._by_port: dict[int, KeyStream] = {}  # by the local port of an opening that brought no byte yet
        self.ready_password = new_password()
        self._refused: int | None = None
        self.idle_since = 0.0
        self.has_delivered = False

    @property
    def is_ending(self) -> bool:
        return self.process is None or self.process.is_ending

    @property
    def users(self) -> Set[str]:
        return self._entries.keys()

    def has(self, member: _Member) -> bool:
        """Whether it runs, and has the key, with the present address of its server."""
        assert self.process is not None
        return (
            member.is_ready
            and (entry := self._entries.get(member.user)) is not None
            and entry == member.entry()
            and self.process.is_alive
        )

    def dialer(self, user: str, password: str, name: str) -> Socks5Dialer:
        """Returns the dialer of the engine's listener, as a user; `name` is that of the relay."""
        if user not in self._dialers:
            assert self.process is not None
            here = TcpDialer(self._poller, Resolver(), lambda *_: None, speaks_at_once=True)
            url = RelayUrl(RelayKind.SOCKS5H, "127.0.0.1", self.process.port, user, password)
            self._dialers[user] = Socks5Dialer(_Checked(here, self.process), url, name=name)
        return self._dialers[user]

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
        if not self.streams:
            self.idle_since = asyncio.get_running_loop().time()

    def refused_user(self, outward_port: int) -> str:
        """Returns the user whose outbound the engine refused at its start; empty: it refused none."""
        if self._refused is None:
            return ""
        outbounds = configuration([*self._entries.values()], 0, outward_port=outward_port)["proxies"]
        return str(outbounds[self._refused]["name"]) if self._refused < len(outbounds) else ""

    def on_line(self, line: str) -> None:
        if self.process is None and (place := log_lines.refused_outbound(line)) is not None:
            self._refused = place
            return
        failed = log_lines.read(line)
        stream = None if failed is None else self._by_port.get(failed.port)
        if failed is not None and stream is not None:
            stream.failed(failed.fault)

    def end(self) -> None:
        """The process has ended."""
        for stream in tuple(self.streams):
            stream.engine_ended()


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


class _KeyDialer:
    """Dials through one key."""

    def __init__(self, engine: MihomoEngine, member: _Member) -> None:
        self._engine = engine
        self._member = member
        self._relay = member.relay
        member.dialers.add(self)

    def carries(self, destination: Destination) -> bool:
        """Returns True: the server resolves names."""
        return True

    async def dial(self, destination: Destination) -> Stream:
        """See Dialer. Returns when the key's server is reached; over UDP, when the engine has the request."""
        member, name, timeout_s = self._member, self._relay.name, self._relay.timeout_s
        member.used_at = time.monotonic()
        if member.is_over_udp:
            await member.resolve()
        try:
            with deadline(timeout_s):
                running = await self._engine.running_for(member)
        except TimeoutError:
            raise engine_failed(name, f"the engine did not start within {timeout_s:g} s") from None
        opening = None if member.is_over_udp else member.wait_for_server()
        stream: KeyStream | None = None
        try:
            try:
                inner = await running.dialer(member.user, member.password, name).dial(destination)
            except DialError as error:
                raise engine_failed(name, f"the engine failed ({error})") from None
            stream = KeyStream(inner, running, member, destination)
            if opening is not None:
                stream.on_failure = opening
                await member.reach(opening, timeout_s, stream.has_ended)
                stream.on_failure = None
            return stream
        except BaseException:
            if opening is not None:
                member.forget(opening)
            if stream is not None:
                stream.abort()
            raise

    def __repr__(self) -> str:
        return f"<relay {self._relay.name} by key {self._relay.key!r}>"


class KeyStream(WrappedStream):
    """A stream through a key. It is unproven until the first byte from beyond."""

    __slots__ = ("_destination", "_fault", "_has_ended", "_member", "_running", "is_proven", "local_port", "on_failure")

    is_answer_needed = True

    def __init__(self, inner: Stream, running: _Running, member: _Member, destination: Destination) -> None:
        super().__init__(inner)
        self._running = running
        self._member = member
        self._destination = destination
        self._fault: DialError | None = None
        self._has_ended = False
        self.is_proven = False
        self.on_failure: asyncio.Future[None] | None = None
        """Set while the dial waits: it gets a fault at once."""
        self.local_port: int = inner.lowest_socket.getsockname()[1]
        member.unproven += 1
        running.add(self)

    def receive_nowait(self, limit: int = CHUNK) -> bytes | None:
        if self._fault is not None and not self.is_proven:
            raise ConnectionResetError
        data = self._inner.receive_nowait(limit)
        if data and not self.is_proven:
            self._proven()
        return data

    def lend_nowait(self, limit: int = CHUNK) -> bytes | memoryview | None:
        return self._inner.lend_nowait(limit) if self.is_proven else self.receive_nowait(limit)

    def has_ended(self) -> bool:
        """Whether the engine has closed its end. Takes no byte."""
        try:
            return self.lowest_socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _proven(self) -> None:
        self.is_proven = True
        self._member.unproven -= 1
        self._running.proven(self)
        self._member.delivered(self._destination)

    def failed(self, fault: LineFault) -> None:
        """The engine says that this opening failed. It would try for 5 s."""
        if self.is_proven or self._fault is not None:
            return
        if fault in (LineFault.SILENT, LineFault.UNREACHABLE):
            self._member.next_address()
        error = self._member.fault(fault)
        if error is not None:
            self._break_off(error)

    def engine_ended(self) -> None:
        if not self.is_proven and self._fault is None:
            self._break_off(engine_failed(self._member.relay.name, "the engine ended"))

    def _break_off(self, error: DialError) -> None:
        self._fault = error
        if self.on_failure is not None and not self.on_failure.done():
            self.on_failure.set_exception(error)
        self._wake(receiver=True, sender=True)

    def fault_before_answer(self, symptom: Symptom) -> DialError | None:
        """See Stream."""
        if self._fault is not None:
            return self._fault
        if symptom in (Symptom.EOF, Symptom.RESET) and self._running.is_ending:
            return engine_failed(self._member.relay.name, "the engine ended")
        if self._member.works_for_another(self._destination):
            return None
        if symptom in (Symptom.EOF, Symptom.RESET):
            return self._member.fault(LineFault.CLOSED)
        if symptom in (Symptom.SILENT, Symptom.DROPPED, Symptom.TIMEOUT):
            self._member.next_address()
            return self._member.fault(LineFault.SILENT)
        return None

    def close(self) -> None:
        self._end()
        super().close()

    def abort(self) -> None:
        self._end()
        super().abort()

    def _end(self) -> None:
        if not self._has_ended:
            self._has_ended = True
            if not self.is_proven:
                self._member.unproven -= 1
            self._running.discard(self)


class _ServerStream(WrappedStream):
    """A connection to a key's server. It returns its slot with the first byte of the server."""

    __slots__ = ("_on_close", "_slot")

    def __init__(self, inner: Stream, slot: Slot | None, on_close: Callable[[], None]) -> None:
        super().__init__(inner)
        self._slot = slot
        self._on_close: Callable[[], None] | None = on_close

    def receive_nowait(self, limit: int = CHUNK) -> bytes | None:
        data = self._inner.receive_nowait(limit)
        if data and self._slot is not None:
            self._slot.connected()
            self._slot.release()
            self._slot = None
        return data

    def lend_nowait(self, limit: int = CHUNK) -> bytes | memoryview | None:
        return self._inner.lend_nowait(limit) if self._slot is None else self.receive_nowait(limit)

    def close(self) -> None:
        self._end()
        super().close()

    def abort(self) -> None:
        self._end()
        super().abort()

    def _end(self) -> None:
        if self._slot is not None:  # it had no byte
            error = DialError("", stage=Stage.RELAY, symptom=Symptom.RELAY_DOWN, evidence={"relay": Symptom.SILENT})
            self._slot.failed(error)
            self._slot.release()
            self._slot = None
        if self._on_close is not None:
            on_close, self._on_close = self._on_close, None
            on_close()
