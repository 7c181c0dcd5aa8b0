"""mitmproxy in process: one master for all inspected clients, with the few addons of its own that we need.

What it must not have is anything that opens connections by itself, listens, or keeps an authority. `Master.run` is
never called: the loop, its exception handler and its signals are ours. This module takes about a second to import,
which the bridge does in a thread.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from mitmproxy import exceptions, hooks, options
from mitmproxy.addons import core, disable_h2c, next_layer, proxyserver
from mitmproxy.master import Master

from proxy.config.paths import private_folder
from proxy.config.schema import Inspect
from proxy.intercept.bridge import Faulty, Guest
from proxy.intercept.guests import Guarded, has_hooks, traverse
from proxy.intercept.handler import Handler, close_writer, connect_streams
from proxy.intercept.leaf import Leaf
from proxy.intercept.meeting import Meeting, Way
from proxy.intercept.signing import CIPHERS, Signing, trust_options
from proxy.net.tasks import spawn

log = logging.getLogger(__name__)

IDLE_TIMEOUT_S = 7_440.0
"""As tunnels have it; mitmproxy's ten minutes would end pages that stay open."""


class Engine:
    """See the module's docstring. To be made on the loop that it serves."""

    def __init__(
        self,
        folder: Path,
        settings: Callable[[], Inspect],
        *,
        leaf: Callable[[str], Leaf],
        guests: Callable[[], Sequence[Guest]],
        faulty: Faulty,
    ) -> None:
        _hush()
        self._settings = settings
        self._guests = guests
        self._faulty = faulty
        self._handlers: dict[str, Handler] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._guarded: list[Guarded] = []
        self._seen: tuple[Guest, ...] = ()
        private_folder(folder)
        self.master = Master(options.Options(confdir=str(folder), server=False))
        self.master._legacy_log_events.uninstall()  # hands every log record of the process to addons
        signing = Signing(lambda client: self._handlers[client.id].meeting, leaf)
        self._server = proxyserver.Proxyserver()
        self.master.addons.add(core.Core(), self._server, disable_h2c.DisableH2C(), next_layer.NextLayer(), signing)
        self.master.options.update(ciphers_server=CIPHERS, **trust_options())
        signing.sealed = True

    async def meet(self, meeting: Meeting, client: socket.socket, said: bytes, first: Way | None) -> None:
        """Serves a client from now on; `said` has come from it already. Owns the sockets, whatever happens."""
        self._take_settings()
        self.receive_guests()
        try:
            reader, writer = await connect_streams(client, meeting.client, said)
        except BaseException:
            if first is not None:
                first.sock.close()
            raise
        handler = Handler(self.master, meeting, reader, writer, first, idle_timeout_s=IDLE_TIMEOUT_S)
        task = spawn(self._serve(handler, writer), name=f"inspect {meeting.host}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, handler: Handler, writer: asyncio.StreamWriter) -> None:
        number = handler.client.id
        self._handlers[number] = handler
        try:
            with self._server.register_connection(number, handler):
                await handler.handle_client()
        finally:
            del self._handlers[number]
            handler.close()
            await close_writer(writer)

    def _take_settings(self) -> None:
        limit = str(self._settings().stream_above_bytes)
        if self.master.options.stream_large_bodies != limit:
            self.master.options.update(stream_large_bodies=limit)

    @property
    def active(self) -> int:
        return len(self._handlers)

    # -- addons ----------------------------------------------------------------------------------------------------

    def receive_guests(self) -> None:
        """Takes in what has become of the user's addons since the last time."""
        guests = tuple(self._guests())
        if guests == self._seen:
            return
        self._seen = guests
        wanted = [inner for guest in guests for inner in traverse(guest) if has_hooks(inner.addon)]
        for gone in [guarded for guarded in self._guarded if guarded.guest not in wanted]:
            self._guarded.remove(gone)
            self.master.addons.remove(gone)
        there = [guarded.guest for guarded in self._guarded]
        for guest in wanted:
            if guest not in there:
                self._add(Guarded(guest, self._faulty))

    def _add(self, guarded: Guarded) -> None:
        manager, guest = self.master.addons, guarded.guest
        try:
            manager.add(guarded)
            known = {name: value for name, value in guest.options.items() if name in self.master.options}
            self.master.options.update(**known)
            manager.invoke_addon_sync(guarded, hooks.ConfigureHook(set(self.master.options.keys())))
        except exceptions.MitmproxyException as error:
            self._faulty(guest.name, "configure", error)
            return
        self._guarded.append(guarded)
        running = guarded.running if hasattr(guarded, "running") else None
        if running is not None:
            spawn(self._tell_running(guarded), name=f"addon {guest.name} is running")

    async def _tell_running(self, guarded: Guarded) -> None:
        await self.master.addons.invoke_addon(guarded, hooks.RunningHook())

    # -- the end ---------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Ends what is under way, and tells addons."""
        for handler in tuple(self._handlers.values()):
            await handler.end()
        if self._tasks:
            await asyncio.wait(tuple(self._tasks), timeout=5.0)
        for guarded in self._guarded:
            self.master.addons.remove(guarded)
        self._guarded.clear()


def _hush() -> None:
    """mitmproxy's own log names destinations: it goes where ours goes when everything is asked for."""
    its = logging.getLogger("mitmproxy")
    its.propagate = False
    its.handlers[:] = [_ToDebug()]


class _ToDebug(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR and record.exc_info:
            log.error("a fault in mitmproxy: %s; -vv tells more", type(record.exc_info[1]).__name__)
        log.debug("mitmproxy: %s", record.getMessage(), exc_info=record.exc_info)
