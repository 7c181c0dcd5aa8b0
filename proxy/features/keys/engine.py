"""Supervises the engine, mihomo: its start for the keys in use, its restart, its end.

A dial starts the engine, if it does not run, with the keys in use. A change of the keys starts a second process, and
the first one ends when its last tunnel does; so does one from before a sleep, and one that answers no more. Nothing is
started, and this module is not imported, before a relay is a key.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from weakref import WeakValueDictionary

from proxy.config.paths import private_folder
from proxy.features.keys import log_lines
from proxy.features.keys.binary import Binary, NoEngine, find
from proxy.features.keys.engine_config import KEYS_MAX, PLACE, READY, configuration
from proxy.features.keys.key_in_use import KeyInUse
from proxy.features.keys.opening import KeyDialer, RunningEngine, suspended_s
from proxy.features.keys.outward import Outward, ServerOfKey
from proxy.features.keys.process import START_S, EngineFailed, EngineProcess, new_password, remove_left_over
from proxy.model import Destination, Stage, Symptom
from proxy.model.errors import BywayError, DialError, reason_of
from proxy.net.deadline import deadline
from proxy.net.dialers.key_relay import KeyRelay, engine_failed
from proxy.net.poller import Poller
from proxy.net.stream import Stream
from proxy.net.tasks import spawn
from proxy.net.uplink.sleep_watch import reset_stale_connections
from proxy.wire.keys.values import Key

log = logging.getLogger(__name__)

IDLE_S = 600.0
"""Seconds without a tunnel after which the engine is stopped."""

PROCESSES_MAX = 4
"""Processes at once: the present one, and those whose tunnels have not ended yet. Each takes 30 to 60 MB. One more ends
the one with the fewest tunnels."""

TOO_MANY = "Byway ended one of the processes of the engine for keys, since too many had tunnels from before a change"

ASLEEP_S = 60.0
"""Seconds of sleep after which a process gets no new openings, as `[detect] wake_stale_s`."""

CHECK_S = 30.0
"""Seconds between two looks at what runs."""

BACK_OFF_S = 0.5
BACK_OFF_MAX_S = 60.0
"""Pause after a process that ended before it had brought a byte. It doubles each time."""

_READY_POLL_S = 0.01
_READY_WAIT_S = 1.0
_NOWHERE = Destination(PLACE, 1)  # asked for by READY, and never dialed

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
        self._keys: dict[tuple[str, Key], KeyInUse] = {}
        self._by_user: WeakValueDictionary[str, KeyInUse] = WeakValueDictionary()
        self._users = count(1)
        self._running: list[RunningEngine] = []  # the present one last
        self._stopping: set[asyncio.Task[None]] = set()
        self._starting = asyncio.Lock()
        self._outward: Outward | None = None
        self._ready: _Ready | None = None
        self._start: asyncio.Task[str] | None = None  # that under way
        self._failures = 0  # starts and processes in a row that brought nothing
        self._failed_why = ""  # the last of them
        self._not_before = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._suspended_s = suspended_s()
        self._loop = asyncio.get_running_loop()
        self._is_closed = False

    def dialer(self, relay: KeyRelay) -> KeyDialer:
        """See KeyEngine."""
        identity = (relay.name, relay.key)
        key = self._keys.get(identity)
        if key is None:
            for other in [other for other, each in self._keys.items() if not each.dialers]:
                del self._keys[other]  # of an earlier configuration
            user = f"k{next(self._users)}"
            key = self._keys[identity] = self._by_user[user] = KeyInUse(user, relay)
        key.relay = relay
        return KeyDialer(key, self)

    async def close(self) -> None:
        """Ends all processes, also one that is only just starting."""
        self._is_closed = True
        if self._start is not None:
            self._start.cancel()
            await asyncio.wait((self._start,))
        if self._timer is not None:
            self._timer.cancel()
        for running in tuple(self._running):
            self._stop(running, "Byway ends")
        if self._stopping:
            await asyncio.wait(self._stopping)
        if self._outward is not None:
            self._own_ports.discard(self._outward.port)
            await self._outward.close()
            self._outward = None

    # -- start -----------------------------------------------------------------------------------------------------

    async def running_for(self, key: KeyInUse) -> RunningEngine:
        """See Supervisor."""
        if (running := self._with(key)) is not None:
            return running
        async with self._starting:
            while self._start is not None:  # of a visit that has ended since
                await asyncio.wait((self._start,))
            while (running := self._with(key)) is None:  # again when the keys have changed meanwhile
                await self._wait_for_start(key)
            return running

    async def _wait_for_start(self, key: KeyInUse) -> None:
        """Starts a process. A visit that another way has served ends its dial, and not what has begun here: a process
        that is half started is for the next visit. Raises DialError."""
        name = key.relay.name
        if key.is_refused:
            raise engine_failed(name, "the engine does not take this key")
        pause_s = self._not_before - self._loop.time()
        if pause_s > _SHORT_PAUSE_S:
            raise engine_failed(name, f"{self._failed_why}; Byway tries again in {pause_s:.0f} s")
        if pause_s > 0:
            await asyncio.sleep(pause_s)
        start = self._start = spawn(self._start_process(key), name="start the engine", on_end=self._start_ended)
        await asyncio.wait((start,))
        if start.cancelled():
            raise engine_failed(name, "Byway ends")
        if reason := start.result():
            raise engine_failed(name, reason)

    def _start_ended(self) -> None:
        self._start = None

    async def _start_process(self, key: KeyInUse) -> str:
        """Starts a process that has a key. Returns why it did not begin to work; empty: it did."""
        try:
            await self._new_process(key)
        except BywayError as error:
            reason = str(error)
        except OSError as error:
            reason = f"the engine cannot be started: {reason_of(error)}"
        else:
            return ""
        if not key.is_refused:
            self._failed(reason)
        return reason

    def _with(self, key: KeyInUse) -> RunningEngine | None:
        """Returns a process that has the key, for a new opening."""
        running = (each for each in reversed(self._running) if each.has(key) and self._takes_openings(each, key))
        return next(running, None)

    async def _new_process(self, key: KeyInUse) -> None:
        if self._is_closed:
            raise NoEngine("Byway ends")
        binary = await asyncio.to_thread(self._find)
        if self._outward is None:
            self._outward = Outward(self._poller, self._server_of)
            self._own_ports.add(self._outward.port)
            if self._folder is not None:
                await asyncio.to_thread(remove_left_over, self._folder)
        if self._folder is not None:
            private_folder(self._folder)
        running = await self._start_with(key, binary, self._outward.port)
        try:
            await self._begun(running)
        except BaseException:
            await running.process.stop()
            raise
        running.process.on_end = partial(self._ended, running)
        self._own_ports.add(running.process.port)
        self._running.append(running)
        running.on_idle = self.end_unused
        self.end_unused(key)
        if len(self._running) > PROCESSES_MAX:
            self._end_one_with_tunnels()
        self._watch()

    async def _start_with(self, key: KeyInUse, binary: Binary, outward_port: int) -> RunningEngine:
        """Starts a process with the keys in use. One that the engine refuses is left out from then on. Where the engine
        ends and does not say for which, as in a crash, the key has a process of its own."""
        ready_password, is_alone = new_password(), False
        while True:
            others = () if is_alone else self._keys.values()
            used = [each for each in others if each.dialers and each is not key and each.is_ready]
            used.sort(key=KeyInUse.place_in_engine)
            entries = {each: each.entry() for each in (key, *used[: KEYS_MAX - 1])}
            made = partial(
                configuration, tuple(entries.values()), outward_port=outward_port, ready_password=ready_password
            )
            try:
                process = await EngineProcess.start(binary, made, self._folder)
            except EngineFailed as error:
                place = log_lines.refused_outbound("\n".join(error.lines))
                names = [str(outbound["name"]) for outbound in made(0)["proxies"]]
                refused = None if place is None or place >= len(names) else self._by_user.get(names[place])
                if refused is None and error.lines and len(entries) > 1:
                    is_alone = True
                    continue
                if refused is None and not (error.lines and any(each.process.is_alive for each in self._running)):
                    raise
                refused = refused or key  # the engine works, but not with this key
                refused.refuse()
                if refused is key:
                    raise NoEngine("the engine does not take this key") from None
            else:
                return RunningEngine(self._poller, process, entries, ready_password)

    async def _begun(self, running: RunningEngine) -> None:
        """Waits until the engine works. For some milliseconds after it listens, it closes what comes, and what a key
        would have been blamed for. Raises NoEngine."""
        ready = self._ready = _Ready(running.ready_password)
        ends_at = self._loop.time() + START_S
        while running.process.is_alive and not ready.reached.done():
            if self._loop.time() > ends_at:
                raise NoEngine(f"the engine did not begin to work within {START_S:g} s")
            try:
                stream = await running.dial(READY, running.ready_password, "the engine", _NOWHERE)
            except DialError:
                await asyncio.sleep(_READY_POLL_S)
                continue
            try:
                with deadline(_READY_WAIT_S):
                    while not ready.reached.done() and stream.receive_nowait() is None:
                        await asyncio.wait((ready.reached, stream.readable()), return_when=asyncio.FIRST_COMPLETED)
            except (TimeoutError, OSError):
                pass  # asked again
            finally:
                stream.abort()
        if not running.process.is_alive:
            raise NoEngine("the engine ended at its start")

    def _server_of(self, user: str) -> ServerOfKey | None:
        return self._ready if user == READY else self._by_user.get(user)

    # -- end -------------------------------------------------------------------------------------------------------

    def _failed(self, why: str) -> None:
        self._failed_why = why
        pause_s = min(BACK_OFF_S * 2.0 ** min(self._failures, 20), BACK_OFF_MAX_S)
        self._failures += 1
        self._not_before = self._loop.time() + pause_s

    def _ended(self, running: RunningEngine) -> None:
        """A process has ended by itself."""
        self._gone(running)
        log.warning("the engine for keys ended; the next visit starts it again")
        if running.has_delivered:
            self._failures, self._not_before = 0, 0.0
        else:
            self._failed("the engine ended before it brought anything")
        running.ended()

    def _stop(self, running: RunningEngine, why: str) -> None:
        self._gone(running)
        stopping = spawn(running.stop(why), name="stop an engine")
        self._stopping.add(stopping)
        stopping.add_done_callback(self._stopping.discard)

    def _gone(self, running: RunningEngine) -> None:
        if running in self._running:
            self._running.remove(running)
        self._own_ports.discard(running.process.port)

    def end_unused(self, besides: KeyInUse | None = None) -> None:
        """Stops processes without tunnels: the present one after a while, and those that get no new openings at once.
        `besides`: a key that counts as in use."""
        now = self._loop.time()
        for running in tuple(self._running):
            is_present = running is self._running[-1] and self._takes_openings(running, besides)
            if running.is_idle and (not is_present or now >= running.idle_since + self._idle_s):
                self._stop(running, "it carried nothing")

    def _takes_openings(self, running: RunningEngine, key: KeyInUse | None) -> bool:
        """Whether a process is for new openings: not with a key that is no longer in use, not when it answers no more,
        and not from before a sleep of this computer, in which its connections to servers may have died."""
        is_fresh = suspended_s() - running.began_suspended_s < ASLEEP_S
        return is_fresh and not running.is_stuck and running.has_only(key)

    def _end_one_with_tunnels(self) -> None:
        """Stops the process with the fewest tunnels, of those that would end with their tunnels."""
        running = min(self._running[:-1], key=lambda each: len(each.streams))
        log.warning("%s: it had %d connections", TOO_MANY, len(running.streams))
        self._stop(running, TOO_MANY)

    def _check(self) -> None:
        """Looks again and again whether a process is to end, and whether this computer slept."""
        self._timer = None
        before_s, self._suspended_s = self._suspended_s, suspended_s()
        if self._suspended_s - before_s >= ASLEEP_S and self._outward is not None:
            sockets = self._outward.sockets_to_servers()
            spawn(reset_stale_connections(sockets), name="reset connections to servers that did not outlive the sleep")
        self.end_unused()
        self._watch()

    def _watch(self) -> None:
        if self._timer is None and self._running and not self._is_closed:
            self._timer = self._loop.call_later(min(self._idle_s, CHECK_S), self._check)


class _Ready:
    """What the engine asks Byway for as READY."""

    def __init__(self, password: str) -> None:
        self.password = password
        self.reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def dial_server(self, asked: Destination) -> Stream:
        """See ServerOfKey. There is none."""
        if not self.reached.done():
            self.reached.set_result(None)
        raise DialError("the engine works", stage=Stage.CONNECT, symptom=Symptom.REFUSED)
